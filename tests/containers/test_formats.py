"""The registry: each format as its package tells of it, and one from outside that joins."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from typer.testing import CliRunner

from b2dinspect.cli.main import app
from b2dinspect.cli.provision.main import app as provision
from b2dinspect.containers import FORMATS, format_of
from b2dinspect.containers.formats import Format
from b2dinspect.containers.writers import format_for, kept_format, written_formats
from b2dinspect.evidence.chain import open_disk
from b2dinspect.source import MemorySource
from tests.cli.helpers import unpacked
from tests.containers import toy
from tests.oracles import needs


def run(*words: object, status: int = 0, of: object = app) -> str:
    done = CliRunner().invoke(of, [str(word) for word in words])  # type: ignore[arg-type]
    assert done.exit_code == status, done.output
    return done.output


@pytest.fixture
def disk(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    """A toy disk, converted from a sample; the format joins behind raw, which is asked last all the same."""
    monkeypatch.setitem(FORMATS, "toy", toy.FORMAT)
    path = tmp_path / "disk.toy"
    said = run("convert", unpacked("provisioned-autoformat.vdi"), path, "--verify", of=provision)
    assert "toy, a disk of" in said
    assert "read back and compared" in said
    return path


@pytest.mark.slow
def test_a_format_from_outside_is_shown(disk: Path) -> None:
    shown = run("show", disk)
    assert "toy" in shown
    assert "provisioned" in shown
    assert "TOY DISK" in run("show", disk, "--headers")
    facts = json.loads(run("show", disk, "--json"))
    assert facts["container"]["format"] == "toy"
    same = json.loads(run("show", unpacked("provisioned-autoformat.vdi"), "--json"))
    assert facts["state"] == same["state"]


def test_a_format_from_outside_is_verified(disk: Path) -> None:
    assert "toy" in run("verify", disk)
    data = bytearray(disk.read_bytes())
    data[16:20] = b"\xff\xff\xff\0"
    disk.write_bytes(data)
    assert "block 0 lies past the end of the file" in " ".join(run("verify", disk, status=1).split())


@pytest.mark.slow
def test_a_format_from_outside_is_drawn(disk: Path) -> None:
    assert "the file (toy)" in run("map", disk)
    shown = run("hexdump", disk, "--at", "map", "--length", "64")
    assert "toy table[0]" in shown
    assert "not stored" in run("hexdump", disk, "--at", "map")


def test_a_format_from_outside_is_converted(disk: Path, tmp_path: Path) -> None:
    run("convert", disk, tmp_path / "back.vdi", "--verify", of=provision)
    with open_disk(str(disk)) as one, open_disk(str(tmp_path / "back.vdi")) as two:
        assert one.container.pread(0, 4 << 20) == two.container.pread(0, 4 << 20)


def test_a_format_from_outside_is_named(disk: Path) -> None:
    assert format_of(MemorySource(toy.SIGNATURE + bytes(504))) is toy.FORMAT
    assert format_for("x.TOY") == "toy"
    assert kept_format("toy") == "toy"
    assert "toy" in run("show", disk, "--format", "nothing", status=2)


@pytest.mark.parametrize("known", FORMATS.values(), ids=FORMATS)
def test_every_format_is_told_whole(known: Format) -> None:
    folder = Path(sys.modules[known.package].__file__ or "").parent
    modules = {path.stem for path in folder.glob("*.py")}
    wanted = {"__init__", "reader"} | ({"writer"} if known.is_written else set())
    assert wanted <= modules
    assert known.is_last or {"layout", "survey"} <= modules
    assert known.load("reader").__dict__[known.reader].format == known.name
    assert known.suffixes


@needs("qemu-img")
def test_qemu_knows_the_names_that_are_told_as_its_own() -> None:
    shown = subprocess.run(["qemu-img", "--help"], capture_output=True, text=True, check=False).stdout
    supported = shown.partition("Supported formats:")[2].split()
    for known in FORMATS.values():
        assert not known.qemu_names or known.qemu_names[0] in supported


def test_a_copy_of_what_cannot_be_written_is_raw() -> None:
    assert "vhdx" not in written_formats()
    assert kept_format("vhdx") == "raw"
    assert kept_format("vmdk") == "vmdk"


@pytest.mark.slow
def test_what_inspects_loads_no_writer(tmp_path: Path) -> None:
    """Not by a list of modules: by those that a run of every format really loads."""
    for known in FORMATS.values():
        if known.is_written and not known.is_last:
            run("convert", unpacked("fresh.vdi"), tmp_path / f"disk.{known.suffixes[0]}", of=provision)
    program = """
import sys
from b2dinspect.cli.main import app
for image in sys.argv[1:]:
    for name in ("show", "verify", "map", "hexdump"):
        try:
            app([name, image])
        except SystemExit as end:
            assert end.code in (0, 1), (name, image)
names = [name for name in sys.modules if name.startswith("b2dinspect.containers")]
bad = [name for name in names if name.rsplit(".", 1)[1] in ("writer", "writers", "writing", "stores")]
print(len(names), bad, file=sys.stderr)
"""
    images = sorted(str(path) for path in tmp_path.iterdir())
    done = subprocess.run([sys.executable, "-c", program, *images], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    assert done.stderr.splitlines()[-1].endswith(" []")
    assert int(done.stderr.splitlines()[-1].split()[0]) > 2 * len(images)
