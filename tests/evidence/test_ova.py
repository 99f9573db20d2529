"""OVA: the disk in it, and archives that are none."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from b2dinspect.cli.main import app
from b2dinspect.containers.vmdk.writer import VmdkWriter
from b2dinspect.errors import B2dError, ContainerError
from b2dinspect.evidence.chain import open_disk
from b2dinspect.newfile import NewFile
from tests.evidence.handmade import SIZE, told

CONTENT = b"boot2docker" * 5000


def ova(path: Path, *names: str) -> None:
    disk = path.with_name("inner.vmdk")
    with NewFile(disk, force=True) as file:
        writer = VmdkWriter(file, SIZE, variant="streamOptimized")
        writer.pwrite(0, CONTENT)
        writer.flush()
    with tarfile.open(path, "w", format=tarfile.USTAR_FORMAT) as archive:
        for name in names:
            source = path.with_name("text")
            source.write_text("<Envelope/>")
            archive.add(disk if name.endswith("vmdk") else source, name)


def test_an_ova_opens_at_its_disk(tmp_path: Path) -> None:
    ova(tmp_path / "machine.ova", "machine.ovf", "machine.mf", "disk1.vmdk", "disk2.vmdk")
    with open_disk(str(tmp_path / "machine.ova")) as opened:
        assert opened.origin == "ova"
        assert opened.container.variant == "streamOptimized"
        assert opened.container.pread(0, len(CONTENT)) == CONTENT
        assert "disk1.vmdk" in told(opened)
        assert "not looked at: disk2.vmdk" in told(opened)
    done = CliRunner().invoke(app, ["verify", str(tmp_path / "machine.ova")])
    assert done.exit_code == 0


@pytest.mark.parametrize("names", [("machine.ovf",), ("machine.ovf", "readme.txt")])
def test_an_ova_without_a_disk(tmp_path: Path, names: tuple[str, ...]) -> None:
    ova(tmp_path / "machine.ova", *names)
    with pytest.raises(ContainerError, match="no disk among its members"):
        open_disk(str(tmp_path / "machine.ova"))


def test_an_ova_that_is_cut(tmp_path: Path) -> None:
    ova(tmp_path / "machine.ova", "machine.ovf", "disk.vmdk")
    whole = (tmp_path / "machine.ova").read_bytes()
    (tmp_path / "cut.ova").write_bytes(whole[:3000])
    with pytest.raises(ContainerError, match=r"ends inside disk\.vmdk"):
        open_disk(str(tmp_path / "cut.ova"))


@settings(max_examples=60)
@given(at=st.integers(0, 2000), value=st.binary(min_size=1, max_size=8))
def test_any_change_of_an_ova(at: int, value: bytes, tmp_path_factory: pytest.TempPathFactory) -> None:
    folder = tmp_path_factory.mktemp("ova")
    ova(folder / "machine.ova", "machine.ovf", "disk.vmdk")
    data = bytearray((folder / "machine.ova").read_bytes())
    data[at : at + len(value)] = value
    (folder / "machine.ova").write_bytes(data)
    try:
        open_disk(str(folder / "machine.ova")).close()
    except B2dError:
        return
