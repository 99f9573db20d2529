"""Copying disks between formats, and comparing them."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from b2dinspect.cli.provision.main import app
from b2dinspect.containers import FORMATS, open_container
from b2dinspect.containers.raw import writer as raw_writer
from b2dinspect.containers.writers import written_formats
from b2dinspect.errors import ContainerError, MissingDataError
from b2dinspect.evidence.chain import open_disk
from b2dinspect.evidence.file import open_evidence
from b2dinspect.identity import Identities
from b2dinspect.newfile import NewFile
from b2dinspect.provisioning.disk.convert import convert
from b2dinspect.provisioning.disk.copying import first_difference
from b2dinspect.provisioning.disk.rework import opened
from b2dinspect.source import MemorySource, PatchedSource
from tests.cli.helpers import SAMPLES, unpacked
from tests.containers.handmade import FREE, ZERO, make_vdi
from tests.oracles import needs, run

MIB = 1 << 20
QEMU = {"raw": "raw", "vdi": "vdi", "vhd": "vpc", "vmdk": "vmdk", "qcow2": "qcow2"}


def invoke(*words: object) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, ["convert", *(str(word) for word in words)], catch_exceptions=False)
    return done.exit_code, done.stdout, done.stderr


@needs("qemu-img")
@pytest.mark.parametrize("target", sorted(written_formats()))
@pytest.mark.slow(but=2)
def test_qemu_img_finds_no_difference(target: str, tmp_path: Path) -> None:
    source, out = unpacked("out-of-order.vdi"), tmp_path / f"disk.{target}"
    status, said, complaint = invoke(source, out, "--verify", "--format", target)
    assert (status, complaint) == (0, "")
    assert "read back and compared" in said
    formats = ("-f", "vdi", "-F", QEMU[target])
    assert b"Images are identical" in run("qemu-img", "compare", *formats, source, out).stdout
    assert out.stat().st_blocks * 512 < 64 * MIB


@needs("qemu-img")
@pytest.mark.parametrize(
    ("target", "subformat"), [(name, kind) for name, known in FORMATS.items() for kind in known.subformats]
)
def test_every_subformat_is_the_same_disk(target: str, subformat: str, tmp_path: Path) -> None:
    source, out = tmp_path / "small.vdi", tmp_path / f"disk.{target}"
    blocks = [FREE, b"a" * MIB, ZERO, b"c" * MIB, *[FREE] * 27, b"e" * MIB]
    source.write_bytes(make_vdi(blocks, stored_order=(31, 1, 3)))
    status, _, complaint = invoke(source, out, "--verify", "--subformat", subformat)
    assert (status, complaint) == (0, "")
    formats = ("-f", "vdi", "-F", QEMU[target])
    assert b"Images are identical" in run("qemu-img", "compare", *formats, source, out).stdout
    with open_disk(str(out)) as opened:
        assert opened.container.variant == subformat
        assert opened.container.findings == ()
    assert len(list(tmp_path.iterdir())) == (3 if subformat == "monolithicFlat" else 2)


@needs("img_cat")
@pytest.mark.parametrize("subformat", ["monolithicSparse", "streamOptimized", "monolithicFlat"])
@pytest.mark.slow
def test_a_vmdk_opens_in_the_sleuth_kit_by_its_own_name(subformat: str, tmp_path: Path) -> None:
    source, out = unpacked("out-of-order.vdi"), tmp_path / "a disk.vmdk"
    assert invoke(source, out, "--subformat", subformat)[0] == 0
    with open_disk(str(source)) as opened:
        start = opened.container.pread(0, MIB)
    until = MIB // 512 - 1  # or it would print 20 GB
    assert run("img_cat", "-i", "vmdk", "-e", until, out).stdout == start


def test_a_subformat_that_does_not_exist(tmp_path: Path) -> None:
    status, _, complaint = invoke(unpacked("fresh.vdi"), tmp_path / "x.qcow2", "--subformat", "fixed")
    assert (status, list(tmp_path.iterdir())) == (2, [])
    assert "no subformat 'fixed' of qcow2" in complaint


@pytest.mark.slow
def test_there_and_back_is_the_same(tmp_path: Path) -> None:
    source = SAMPLES / "provisioned-minikube.vdi.gz"
    assert invoke(source, tmp_path / "a.vhd")[0] == 0
    assert invoke(tmp_path / "a.vhd", tmp_path / "b.raw")[0] == 0
    one, two = open_evidence(str(source)), open_evidence(str(tmp_path / "b.raw"))
    try:
        assert first_difference(open_container(one), open_container(two)) is None
    finally:
        one.close()
        two.close()


@pytest.mark.parametrize("at", [0, MIB, 3 * MIB - 1])
def test_the_first_difference_is_found(at: int) -> None:
    data = MemorySource(bytes(3 * MIB))
    assert first_difference(data, data) is None
    assert first_difference(data, PatchedSource(data, at, b"x")) == at
    assert first_difference(data, MemorySource(bytes(MIB))) == MIB


def test_what_was_written_wrongly_never_gets_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    make = raw_writer.new_disk

    def forgetful(*arguments: object, **options: object) -> object:
        writer = make(*arguments, **options)  # type: ignore[arg-type]
        monkeypatch.setattr(writer, "pcopy", lambda offset, source, begin, length: None)
        return writer

    monkeypatch.setattr(raw_writer, "new_disk", forgetful)
    source = open_evidence(str(unpacked("fresh.vdi")))
    try:
        with pytest.raises(ContainerError, match="what was read back differs"):
            convert(open_container(source), tmp_path / "x.raw", "raw", Identities(), verify=True)
    finally:
        source.close()
    assert list(tmp_path.iterdir()) == []


def test_a_disk_that_is_not_all_there_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "child.vdi"
    path.write_bytes(make_vdi([bytes(4096), 0xFFFFFFFF], type=4))
    source = open_evidence(str(path))
    try:
        with pytest.raises(MissingDataError):
            convert(open_container(source), tmp_path / "x.raw", "raw", Identities())
    finally:
        source.close()
    assert [one.name for one in tmp_path.iterdir()] == ["child.vdi"]


def test_an_existing_file_is_kept(tmp_path: Path) -> None:
    out = tmp_path / "disk.raw"
    out.write_text("mine")
    status, _, complaint = invoke(unpacked("fresh.raw"), out)
    assert (status, complaint.count("\n")) == (2, 1)
    assert out.read_text() == "mine"
    assert invoke(unpacked("fresh.raw"), out, "--force")[0] == 0


@pytest.mark.parametrize("kept", [0, 1], ids=["neither was renamed", "the data were"])
def test_two_files_are_replaced_as_one(kept: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The descriptor is the switch: until it is replaced, the old data are whole under their name."""
    out = tmp_path / "disk.vmdk"
    old, new = (MemorySource(byte * MIB) for byte in (b"o", b"n"))
    convert(old, out, "vmdk", Identities.from_seed("x"), subformat="monolithicFlat")
    commits = itertools.count()

    def commit(file: NewFile, as_ever: Callable[[NewFile], None] = NewFile.commit) -> None:
        if next(commits) == kept:
            file.discard()
            raise KeyboardInterrupt
        as_ever(file)

    with monkeypatch.context() as patched, pytest.raises(KeyboardInterrupt):
        patched.setattr(NewFile, "commit", commit)
        convert(new, out, "vmdk", Identities.from_seed("x"), subformat="monolithicFlat", force=True)
    with opened(out) as disk:
        assert first_difference(disk, old) is None
    convert(new, out, "vmdk", Identities.from_seed("x"), subformat="monolithicFlat", force=True)
    with opened(out) as disk:
        assert first_difference(disk, new) is None
    assert not (tmp_path / "disk-flat.vmdk").exists()
