"""Many disks, a record each; processes that hang or die; and what is told across the records."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

from b2dinspect.audit import record, workers
from b2dinspect.audit.store import Store, part_of, records_in
from b2dinspect.audit.subjects import is_image, subjects_below
from b2dinspect.audit.summary import summarise
from b2dinspect.errors import UsageError
from tests.cli.helpers import PROGRAM, SAMPLES, environment, invoke, unpacked, validator
from tests.oracles import PATIENCE

AT = 1_700_000_000
NAMES = ("fresh.vdi", "blank.vdi", "key-replaced.vdi")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("disks")
    for name in NAMES:
        (path / name).symlink_to(unpacked(name))
    shutil.copyfile(SAMPLES / "fresh.vdi.gz", path / "a.vdi.gz")
    shutil.copyfile(SAMPLES / "keys-differ.vdi.gz", path / "b.vdi.gz")
    shutil.copyfile(SAMPLES / "incidents" / "key-regenerated.tar.xz", path / "c.tar.xz")
    (path / "broken.qcow2").write_bytes(b"QFI\xfb\0\0\0\3" + bytes(600))
    (path / "notes.txt").write_bytes(b"no disk")
    return path


def audited(folder: Path, output: Path, *words: object) -> list[dict[str, Any]]:
    done = invoke("audit", folder, "-o", output, "--at", "2023-11-14", *words)
    assert done.returncode == 1, done.stderr
    return [*records_in(output)]


def test_a_record_each_in_order(folder: Path, tmp_path: Path) -> None:
    found = audited(folder, tmp_path / "audit.ndjson", "--hash")
    names = [Path(one["subject"]).name for one in found]
    assert names == ["a.vdi.gz", "b.vdi.gz", "broken.qcow2", "c.tar.xz"]  # links are not followed
    for one in found:
        validator("audit").validate(one)
    fresh, _, broken, machine = found
    assert (fresh["state"], fresh["can_enter"], len(fresh["sha256"])) == ("fresh", True, 64)
    assert broken["error"]
    assert (machine["key"], bool(machine["private_key_sha256"])) == ("differs", True)
    assert not part_of(tmp_path / "audit.ndjson").exists()
    done = invoke("audit", folder, "-o", tmp_path / "audit.ndjson")
    assert (done.returncode, b"--force" in done.stderr) == (2, True)


def test_an_audit_goes_on_where_it_stopped(folder: Path, tmp_path: Path) -> None:
    whole = audited(folder, tmp_path / "whole.ndjson", "--jobs", 1)
    lines = (tmp_path / "whole.ndjson").read_bytes().splitlines(keepends=True)
    again = tmp_path / "again.ndjson"
    part_of(again).write_bytes(lines[0] + lines[1] + lines[2][:20])
    done = invoke("audit", folder, "-o", again, "--at", "2023-11-14")
    assert b"2 records are there" in done.stderr
    assert [*records_in(again)] == whole


def test_a_killed_audit_leaves_no_process_and_goes_on(folder: Path, tmp_path: Path) -> None:
    many = tmp_path / "many"
    many.mkdir()
    for number in range(6):
        shutil.copyfile(folder / "b.vdi.gz", many / f"{number:02}.vdi.gz")
    output = tmp_path / "audit.ndjson"
    command = [*PROGRAM, "audit", str(many), "-o", str(output), "-j", "2", "--at", "2023-11-14"]
    with subprocess.Popen(
        command, stderr=subprocess.DEVNULL, env=environment(), start_new_session=True
    ) as process:
        for _ in range(int(PATIENCE / 0.02)):
            if part_of(output).exists() and part_of(output).stat().st_size:
                break
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait(PATIENCE)
    for _ in range(200):
        if not _in_session(process.pid):
            break
        time.sleep(0.05)
    assert _in_session(process.pid) == []
    found = audited(many, output)
    assert [Path(one["subject"]).name for one in found] == [f"{number:02}.vdi.gz" for number in range(6)]


def _in_session(leader: int) -> list[str]:
    found = []
    for status in Path("/proc").glob("[0-9]*/stat"):
        try:
            words = status.read_text().rpartition(")")[2].split()
        except OSError:
            continue
        if int(words[3]) == leader and words[0] != "Z":
            found.append(status.parent.name)
    return found


def test_a_process_that_hangs_or_dies_costs_its_own_record(monkeypatch: pytest.MonkeyPatch) -> None:
    def line_of(subject: str, at: int, hashes: bool) -> str:
        if subject == "hangs":
            time.sleep(60)
        if subject == "dies":
            os._exit(7)
        return json.dumps({"schema_version": 1, "subject": subject})

    monkeypatch.setattr(workers, "line_of", line_of)
    subjects = ["a", "hangs", "b", "dies", *map(str, range(20))]
    found = [json.loads(line) for line in workers.lines(subjects, AT, False, 2, 0.5)]
    assert [one["subject"] for one in found] == subjects
    assert {one["subject"]: one["error"] for one in found if "error" in one} == {
        "hangs": "not inspected within 0.5 seconds",
        "dies": "the process that inspected it ended with status 7",
    }


def test_an_error_of_any_kind_is_a_record(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(record, "open_case", lambda *_, **__: 1 // 0)
    assert record.record_of("x", AT)["error"].startswith("ZeroDivisionError")


@pytest.mark.parametrize(
    ("name", "taken"),
    [
        *(("disk.VDI", True), ("disk.vmdk.gz", True), ("machine.tar.xz", True), ("disk.001", True)),
        *(("disk-s001.vmdk", False), ("disk-flat.vmdk", False), ("disk.002", False), ("readme.md", False)),
    ],
)
def test_names_of_images(name: str, taken: bool) -> None:
    assert is_image(name) is taken


def test_a_root_that_is_not_there() -> None:
    with pytest.raises(UsageError, match="no such file"):
        [*subjects_below(["/nowhere/at/all"])]


def key(name: str, in_force: bool) -> dict[str, Any]:
    return {"fingerprint_sha256": name, "comment": "", "source": "data", "in_force": in_force}


def test_the_questions_across_records(tmp_path: Path) -> None:
    engine = {"engine": "docker", "containers": 2, "images": 1, "volumes": 0}
    rows = [
        {"subject": "a", "keys": [key("K1", True), key("K2", False)], "can_enter": True, "owner": "ours"},
        {"subject": "b", "keys": [key("K1", True)], "can_enter": True, "engines": [engine, engine]},
        {
            "subject": "c",
            "private_key_sha256": "K1",
            "machine": "c",
            "can_enter": False,
            "findings": ["f", "f"],
        },
        {"subject": "d", "error": "broken"},
    ]
    found = summarise({"schema_version": 1, "state": "fresh", **one} for one in rows)
    assert found.opens == found.shared == {"K1": ("a", "b")}
    assert found.elsewhere == {"K1": ("c",)}
    assert found.closed == ("c",)
    assert (found.findings, found.failed) == ({"f": 1}, (("d", "broken"),))
    assert found.engines == {"docker": {"containers": 4, "images": 2, "volumes": 0}}


def test_a_summary_is_printed(folder: Path, tmp_path: Path) -> None:
    path = tmp_path / "audit.ndjson"
    audited(folder, path)
    done = invoke("audit", "--summary", path, columns=160)
    assert done.returncode == 1
    assert b"keys that open more than one" not in done.stderr
    assert b"not inspected" in done.stdout
    document = json.loads(invoke("audit", "--summary", path, "--json").stdout)
    assert document["subjects"] == 4
    (tmp_path / "no.ndjson").write_bytes(b"no records\n")
    assert invoke("audit", "--summary", tmp_path / "no.ndjson").returncode == 2


def test_a_parquet_holds_the_same(folder: Path, tmp_path: Path) -> None:
    pytest.importorskip("pyarrow", reason="pyarrow is not installed (pip install 'b2dinspect[audit]')")
    lines, table = tmp_path / "audit.ndjson", tmp_path / "audit.parquet"
    audited(folder, lines)
    found = audited(folder, table)
    assert [one["subject"] for one in found] == [one["subject"] for one in records_in(lines)]
    assert summarise(records_in(table)) == summarise(records_in(lines))


@pytest.mark.slow
def test_a_cluster_gives_the_same_though_a_worker_dies(folder: Path, tmp_path: Path) -> None:
    distributed = pytest.importorskip(
        "distributed", reason="dask.distributed is not installed (pip install 'b2dinspect[audit]')"
    )
    many = tmp_path / "many"
    many.mkdir()
    for number in range(10):
        shutil.copyfile(folder / ("a.vdi.gz" if number % 2 else "b.vdi.gz"), many / f"{number:02}.vdi.gz")
    here = audited(many, tmp_path / "here.ndjson")
    with distributed.LocalCluster(
        n_workers=2, threads_per_worker=1, dashboard_address=None, host="127.0.0.1"
    ) as cluster:
        from b2dinspect.audit.cluster import lines

        found, pid = [], next(iter(cluster.workers.values())).pid
        for line in lines(subjects_below([str(many)]), AT, False, cluster.scheduler_address):
            found.append(json.loads(line))
            if len(found) == 1:
                os.kill(pid, signal.SIGKILL)
    assert [one["subject"] for one in found] == [one["subject"] for one in here]
    assert all(one["state"] for one in found)


def test_a_store_without_its_library(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setitem(__import__("sys").modules, "pyarrow", None)
    with pytest.raises(UsageError, match=r"pip install 'b2dinspect\[audit\]'"):
        Store(tmp_path / "audit.parquet")
