"""Strings from the evidence are shown harmlessly as text and losslessly as JSON, wherever they come from."""

from __future__ import annotations

import io
import os
import tarfile
from pathlib import Path

import pytest

from b2dinspect.containers.vdi.writer import VdiWriter
from b2dinspect.newfile import NewFile
from b2dinspect.render.text import visible
from b2dinspect.userdata.tarball import MAGIC
from tests.cli.conftest import HOSTILE, Disk
from tests.cli.helpers import b2d, document, evidence_bytes, invoke, is_harmless, on_terminal
from tests.disks import OTHER_PUB, PUB

COMMENTS = [name.replace(b"\n", b"\x0b") for name in HOSTILE]
KEYS = b"".join(OTHER_PUB.rstrip() + b" " + comment + b"\n" for comment in COMMENTS)
WIDE = 400


def hostile_tar() -> bytes:
    """Return a userdata tar with hostile names, link targets and key comments."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w", format=tarfile.USTAR_FORMAT, errors="surrogateescape") as tar:
        for name, content in (
            (MAGIC, MAGIC),
            (b".ssh/authorized_keys", KEYS),
            (b".ssh/authorized_keys2", PUB),
        ):
            entry = tarfile.TarInfo(name.decode())
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
        for name in HOSTILE:
            entry = tarfile.TarInfo(name.decode("utf-8", "surrogateescape"))
            entry.type, entry.linkname = tarfile.SYMTYPE, entry.name
            tar.addfile(entry)
    return out.getvalue()


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A VDI with a hostile comment in its header and a hostile tar on its disk."""
    path = tmp_path_factory.mktemp("hostile") / "disk.vdi"
    with NewFile(path) as file:
        writer = VdiWriter(file, 16 << 20, comment=b" ".join(HOSTILE))
        writer.pwrite(0, hostile_tar())
        writer.flush()
    return path


def folded(text: str) -> str:
    """Return text without its line breaks and blanks, for finding what was folded."""
    return "".join(text.split())


def assert_shown(text: str, strings: list[bytes] | tuple[bytes, ...]) -> None:
    assert is_harmless(text)
    for string in strings:
        assert folded(visible(string)) in folded(text)


@pytest.mark.parametrize("columns", [60, 80, WIDE])
@pytest.mark.slow
def test_show(image: Path, columns: int) -> None:
    text = invoke("show", image, columns=columns).stdout.decode()
    assert is_harmless(text)
    text = invoke("show", "--headers", image, columns=WIDE).stdout.decode()
    assert_shown(text, (*HOSTILE, *COMMENTS))


def test_show_json(image: Path) -> None:
    found = document(invoke("show", "--json", "--headers", image), "show")
    assert evidence_bytes(found["container"]["header"]["comment"]) == b" ".join(HOSTILE)
    links = [entry for entry in found["userdata"][0]["entries"] if entry["type"] == "symlink"]
    assert [evidence_bytes(entry["name"]) for entry in links] == list(HOSTILE)
    assert [evidence_bytes(entry["linkname"]) for entry in links] == list(HOSTILE)
    assert [evidence_bytes(key["comment"]) for key in found["keys"]] == [*COMMENTS, b""]


def test_keys(image: Path) -> None:
    assert invoke("keys", image).stdout == KEYS + PUB
    assert invoke("keys", "--from", "fresh", image).stdout == KEYS
    assert_shown(invoke("keys", "--fingerprints", image, columns=WIDE).stdout.decode(), COMMENTS)
    found = document(invoke("keys", "--json", image), "keys")["keys"]
    assert [evidence_bytes(key["comment"]) for key in found] == [*COMMENTS, b""]


def test_a_broken_line_is_quoted_harmlessly(tmp_path: Path) -> None:
    broken = tmp_path / "broken"
    broken.write_bytes(b"".join(name + b"\n" for name in COMMENTS))
    text = invoke("diff", broken, broken, columns=WIDE).stdout.decode()
    assert text.count("is not accepted") == 2 * len(COMMENTS)
    assert is_harmless(text)


@pytest.mark.parametrize("comment", COMMENTS)
def test_diff(tmp_path: Path, comment: bytes) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_bytes(OTHER_PUB.rstrip() + b" " + comment + b"\n")
    two.write_bytes(OTHER_PUB + PUB.rstrip() + b" " + comment + b"\n")
    assert_shown(invoke("diff", one, two, columns=WIDE).stdout.decode(), [comment])
    (found,) = document(invoke("diff", "--json", one, two), "diff")["comparisons"]
    assert evidence_bytes(found["changed"][0]["left"]["comment"]) == comment
    assert evidence_bytes(found["only_right"][0]["comment"]) == comment


@pytest.mark.parametrize("options", [b'command="\x1b]0;x\x07 [red]"', b'environment="A=\xe2\x80\xae\xff"'])
def test_options(tmp_path: Path, options: bytes) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_bytes(options + b" " + PUB)
    two.write_bytes(PUB)
    assert_shown(invoke("diff", one, two, columns=WIDE).stdout.decode(), [options])
    (found,) = document(invoke("diff", "--json", one, two), "diff")["comparisons"]
    assert [evidence_bytes(option) for option in found["changed"][0]["left"]["options"]] == [options]


@pytest.mark.parametrize("columns", [60, WIDE])
def test_ls(disk: Disk, columns: int) -> None:
    assert_shown(invoke("ls", disk.image, "hostile", columns=columns).stdout.decode(), HOSTILE)


def test_ls_shows_one_name_a_line(disk: Disk) -> None:
    lines = invoke("ls", disk.image, "hostile", columns=WIDE).stdout.decode().splitlines()
    assert len(lines) == len(HOSTILE) + 1


@pytest.mark.parametrize("command", ["show", "ls", "cat", "get"])
@pytest.mark.parametrize("name", HOSTILE)
@pytest.mark.slow
def test_messages(disk: Disk, tmp_path: Path, command: str, name: bytes) -> None:
    path = name.decode("utf-8", "surrogateescape")
    words = {"show": [path], "get": [disk.image, path, tmp_path]}.get(command, [disk.image, path])
    done = invoke(command, *words)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.count(b"\n") == 1
    assert is_harmless(done.stderr.decode())


@pytest.mark.slow
def test_a_terminal_is_told_nothing_either(image: Path, disk: Disk) -> None:
    dumb = {"TERM": "dumb", "COLUMNS": str(WIDE)}
    for command in (("show", "--headers", image), ("keys", image), ("ls", disk.image, "hostile")):
        status, printed = on_terminal(*command, env=dumb)
        assert status in (0, 1)
        assert printed
        assert is_harmless(printed.decode())


def test_names_can_be_typed_back(disk: Disk) -> None:
    for name in HOSTILE:
        assert invoke("cat", disk.image, "hostile/" + os.fsdecode(name)).stdout == name
    assert b2d("cat", disk.image, b"hostile/not\xff\xfeutf-8").stdout == b"not\xff\xfeutf-8"
