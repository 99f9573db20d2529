"""Logs on the data partition, and deleted names."""

from __future__ import annotations

import functools
import tempfile
from pathlib import Path

import pytest

from b2dinspect.errors import UsageError
from b2dinspect.identity import Identities
from b2dinspect.inspection.facts import Inspection
from b2dinspect.inspection.walk import inspect
from b2dinspect.provisioning.disk.ext4 import PartitionSpan, editing
from b2dinspect.provisioning.disk.rework import rework
from b2dinspect.views.logs import MAX_FILES, read_logs
from tests.cli.helpers import document, invoke, unpacked
from tests.opened import keep
from tests.oracles import needs, run

FILES = {
    "/var/log/messages": b"one\ntwo\nthree\n",
    "/var/log/journal/abc/system.journal": b"\x00\x01binary\xff",
    "/var/lib/boot2docker/docker.log": b"\x1b[31mred\n" * 20,
    "/var/lib/boot2docker/log/udhcp.log": b"",
    "/var/lib/boot2docker/profile": b"no log\n",
}
DELETED = "/var/lib/boot2docker/authorized_keys.old"
_FOLDER = tempfile.TemporaryDirectory(prefix="b2dinspect-logs-")


@functools.cache
def disk() -> Path:
    """Return a minikube disk on which a guest wrote logs, and deleted one."""
    image = Path(_FOLDER.name) / "logs.vdi"
    image.write_bytes(unpacked("provisioned-minikube.vdi").read_bytes())
    facts = keep(inspect(str(image)))
    assert facts.data is not None
    part = facts.data.volume.partition
    with (
        rework(image, Identities()) as writable,
        editing(PartitionSpan(writable, part.offset, part.size), Identities()) as edits,
    ):
        for folder in (b"/var/log/journal", b"/var/log/journal/abc", b"/var/lib/boot2docker/log"):
            edits.make_directory(folder)
        for number, (path, content) in enumerate(FILES.items()):
            edits.write(path.encode(), content)
            edits.set_times(path.encode(), 1_600_000_000 + number)
        edits.write(DELETED.encode(), b"gone")
        edits.remove(DELETED.encode())
        edits.symlink(b"/var/log/link", b"/etc/passwd")
    return image


def facts() -> Inspection:
    return keep(inspect(str(disk())))


@needs("debugfs")
def test_logs_are_found_oldest_first() -> None:
    found = read_logs(facts(), 2)
    assert [log.path.decode() for log in found.logs] == [path for path in FILES if "profile" not in path]
    assert found.logs[0].tail == (b"two", b"three")
    assert found.logs[3].tail == ()
    assert found.problems == ()


@needs("debugfs")
def test_deleted_names_are_told() -> None:
    assert b"/var/lib/boot2docker/authorized_keys.old" in {
        item.path for item in read_logs(facts(), 0).deleted
    }


@needs("fls")
@pytest.mark.slow
def test_the_sleuth_kit_tells_the_same_deleted_names(tmp_path: Path) -> None:
    raw = tmp_path / "raw"
    run("qemu-img", "convert", "-O", "raw", disk(), raw)
    said = run("fls", "-d", "-r", "-p", "-o", 2048, raw).stdout.decode()
    for item in read_logs(facts(), 0).deleted:
        assert item.path.decode().lstrip("/") in said


@needs("debugfs")
@pytest.mark.slow
def test_on_the_screen_nothing_of_it_is_obeyed() -> None:
    done = invoke("logs", disk())
    assert done.returncode == 0
    assert b"\x1b" not in done.stdout
    assert b"\\x1b[31mred" in done.stdout
    assert b"deleted names" in done.stdout
    found = document(invoke("logs", disk(), "--json", "-n", "1"), "logs")
    assert found["logs"][0]["path"] == "/var/log/messages"
    assert found["logs"][0]["tail"] == ["three"]


def test_a_disk_without_logs() -> None:
    found = read_logs(keep(inspect(str(unpacked("provisioned-automount.vdi")))), 5)
    assert (found.logs, found.problems) == ((), ())
    assert b"no log files" in invoke("logs", unpacked("provisioned-automount.vdi")).stdout


def test_a_disk_without_a_data_partition() -> None:
    with pytest.raises(UsageError, match="no data partition"):
        read_logs(keep(inspect(str(unpacked("fresh.vdi")))), 5)


def test_there_is_a_limit() -> None:
    assert MAX_FILES <= 10_000
