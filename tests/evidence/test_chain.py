"""Disks of several files: what is opened, and what is refused unopened."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from b2dinspect.cli.main import app
from b2dinspect.containers import open_container
from b2dinspect.containers.vdi.reader import VdiContainer
from b2dinspect.containers.vdi.writer import Identity
from b2dinspect.errors import MissingDataError, UsageError
from b2dinspect.evidence import chain
from b2dinspect.evidence.chain import Rules, open_disk
from b2dinspect.source import ByteSource, MemorySource
from tests.evidence.handmade import MIB, SIZE, base_vdi, create, differencing_vdi, ids, told
from tests.oracles import needs, run

# --- qcow2 ---


@pytest.fixture
def stack(tmp_path: Path) -> list[Path]:
    """Three images, each written to over the one below."""
    base, middle, top = (tmp_path / name for name in ("base.raw", "middle.qcow2", "top ü.qcow2"))
    base.write_bytes(b"1" * SIZE)
    create(middle, "base.raw")
    run("qemu-io", "-c", "write -P 0x32 1M 1M", middle)
    create(top, "middle.qcow2", "qcow2")
    run("qemu-io", "-c", "write -P 0x33 1536k 1M", top)
    return [top, middle, base]


@needs("qemu-img", "qemu-io")
def test_a_chain_reads_as_qemu_reads_it(stack: list[Path], tmp_path: Path) -> None:
    run("qemu-img", "convert", "-O", "raw", stack[0], tmp_path / "flat")
    with open_disk(str(stack[0])) as opened:
        assert opened.container.pread(0, SIZE) == (tmp_path / "flat").read_bytes()
        assert [(link.path, link.format) for link in opened.links] == [
            (str(stack[1]), "qcow2"),
            (str(stack[2]), "raw"),
        ]
        assert ids(opened) == []


@needs("qemu-img", "qemu-io")
def test_a_parent_that_is_gone_is_missing(stack: list[Path]) -> None:
    stack[2].unlink()
    with open_disk(str(stack[0])) as opened:
        assert "chain-refused" in ids(opened)
        assert opened.container.pread(2 * MIB, 512) == b"3" * 512
        with pytest.raises(MissingDataError, match="backing file"):
            opened.container.pread(0, 1)


@needs("qemu-img", "qemu-io")
def test_a_parent_elsewhere_must_be_allowed(stack: list[Path], tmp_path: Path) -> None:
    other = tmp_path / "other folder"
    other.mkdir()
    stack[2].rename(other / "base.raw")
    with open_disk(str(stack[0])) as opened:
        assert "chain-refused" in ids(opened)
    with open_disk(str(stack[0]), rules=Rules((str(other),))) as opened:
        assert opened.container.pread(0, 1) == b"1"
    done = CliRunner().invoke(app, ["show", "--json", str(stack[0]), "--allow-chain", str(other)])
    files = json.loads(done.stdout)["container"]["files"]
    assert [one["path"] for one in files] == [str(stack[1]), str(other / "base.raw")]


def test_an_allowed_folder_must_be_one(tmp_path: Path) -> None:
    (tmp_path / "disk").write_bytes(bytes(512))
    with pytest.raises(UsageError, match="not a folder"):
        open_disk(str(tmp_path / "disk"), rules=Rules((str(tmp_path / "none"),)))


@needs("qemu-img")
def test_images_that_stand_on_each_other(tmp_path: Path) -> None:
    one, two = tmp_path / "one.qcow2", tmp_path / "two.qcow2"
    create(one, "two.qcow2", "qcow2")
    create(two, "one.qcow2", "qcow2")
    with open_disk(str(one)) as opened:
        assert "is the image itself, or one that stands on it" in told(opened)


@needs("qemu-img")
def test_a_chain_without_end_is_cut(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chain, "MAX_DEPTH", 4)
    for number in range(8):
        create(tmp_path / f"{number}.qcow2", f"{number + 1}.qcow2", "qcow2")
    with open_disk(str(tmp_path / "0.qcow2")) as opened:
        assert "more than 4 images" in told(opened)


# --- VDI, which keeps no names, and VMDK ---


def test_a_vdi_finds_its_parent_by_uuid(tmp_path: Path) -> None:
    base_vdi(tmp_path / "a stranger.vdi")
    base_vdi(tmp_path / "disk.vdi")
    (tmp_path / "broken.vdi").write_bytes(b"no disk")
    differencing_vdi(tmp_path / "child.vdi", tmp_path / "disk.vdi")
    with open_disk(str(tmp_path / "child.vdi")) as opened:
        assert opened.container.pread(0, 6) == b"parent"
        assert opened.container.pread(MIB, 5) == b"child"
        assert opened.links[0].path == str(tmp_path / "disk.vdi")
        assert ids(opened) == []
    (tmp_path / "disk.vdi").unlink()
    with open_disk(str(tmp_path / "child.vdi")) as opened:
        assert ids(opened) == ["chain-refused", "vdi-parent-missing"]


def test_each_image_of_a_chain_is_read_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    base_vdi(tmp_path / "0.vdi")
    for number in range(1, 12):
        differencing_vdi(tmp_path / f"{number}.vdi", tmp_path / f"{number - 1}.vdi")
    read: list[VdiContainer] = []

    def count(disk: VdiContainer, file: ByteSource) -> None:
        read.append(disk)
        init(disk, file)

    init = VdiContainer.__init__
    monkeypatch.setattr(VdiContainer, "__init__", count)
    with open_disk(str(tmp_path / "11.vdi")) as opened:
        assert len(opened.links) == 11
        assert opened.container.pread(0, 6) == b"parent"
    assert len(read) == 12


def test_a_vdi_parent_that_was_written_to_since(tmp_path: Path) -> None:
    base_vdi(tmp_path / "disk.vdi")
    differencing_vdi(tmp_path / "child.vdi", tmp_path / "disk.vdi")
    parent = open_container(MemorySource((tmp_path / "disk.vdi").read_bytes()), "vdi")
    (tmp_path / "disk.vdi").unlink()
    base_vdi(tmp_path / "disk.vdi", Identity(parent.header.uuid_create, parent.header.uuid_linkage))
    with open_disk(str(tmp_path / "child.vdi")) as opened:
        assert "vdi-parent-changed" in ids(opened)
