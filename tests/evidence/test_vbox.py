"""NAME.vbox leads to the live disk."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from b2dinspect.cli.main import app
from b2dinspect.errors import SourceError
from b2dinspect.evidence.chain import open_disk
from b2dinspect.evidence.vbox import read_settings
from b2dinspect.source import MemorySource
from tests.evidence.handmade import MIB, SIZE, ids, told
from tests.oracles import needs, run


@pytest.fixture
def machine(tmp_path: Path) -> Path:
    """A VirtualBox machine with one snapshot."""
    folder = tmp_path / "default"
    (folder / "Snapshots").mkdir(parents=True)
    run("qemu-img", "create", "-q", "-f", "vmdk", folder / "disk.vmdk", SIZE)
    run("qemu-io", "-f", "vmdk", "-c", "write -P 1 0 2M", folder / "disk.vmdk")
    child = folder / "Snapshots" / "{2}.vmdk"
    run("qemu-img", "create", "-q", "-f", "vmdk", "-F", "vmdk", "-b", folder / "disk.vmdk", child)
    run("qemu-io", "-f", "vmdk", "-c", "write -P 2 1M 64k", child)
    (folder / "default.vbox").write_text(
        """<?xml version="1.0"?><VirtualBox xmlns="http://www.virtualbox.org/">
        <Machine uuid="{0}" name="default"><MediaRegistry><HardDisks>
        <HardDisk uuid="{1}" location="disk.vmdk" format="VMDK">
        <HardDisk uuid="{2}" location="Snapshots/{2}.vmdk" format="VMDK"/>
        </HardDisk></HardDisks></MediaRegistry>
        <Snapshot uuid="{s}"><Hardware><StorageControllers><StorageController>
        <AttachedDevice type="HardDisk"><Image uuid="{1}"/></AttachedDevice>
        </StorageController></StorageControllers></Hardware></Snapshot>
        <Hardware><StorageControllers><StorageController name="SATA">
        <AttachedDevice type="DVD"><Image uuid="{9}"/></AttachedDevice>
        <AttachedDevice type="HardDisk" port="1"><Image uuid="{2}"/></AttachedDevice>
        </StorageController></StorageControllers></Hardware></Machine></VirtualBox>"""
    )
    return folder


@needs("qemu-img", "qemu-io")
def test_the_settings_of_virtualbox_lead_to_the_live_disk(machine: Path) -> None:
    with open_disk(str(machine / "default.vbox")) as opened:
        assert opened.container.pread(MIB, 1) == b"\2"
        assert opened.container.pread(0, 1) == b"\1"
        assert "disk.vmdk is stale" in told(opened)
        assert [link.path for link in opened.links] == [str(machine / "disk.vmdk")]
    done = CliRunner().invoke(app, ["show", str(machine / "default.vbox")])
    assert "Snapshots/{2}.vmdk now" in " ".join(done.stdout.split())


@needs("qemu-img", "qemu-io")
def test_a_moved_machine_still_finds_its_parents(machine: Path, tmp_path: Path) -> None:
    moved = machine.rename(tmp_path / "elsewhere")
    with open_disk(str(moved / "default.vbox")) as opened:
        assert opened.container.pread(0, 1) == b"\1"


@needs("qemu-img", "qemu-io")
def test_a_vmdk_parent_that_was_written_to_since(machine: Path) -> None:
    data = (machine / "disk.vmdk").read_bytes()
    at = data.index(b"CID=") + 4
    (machine / "disk.vmdk").write_bytes(data[:at] + b"00000007" + data[at + 8 :])
    with open_disk(str(machine / "default.vbox")) as opened:
        assert "vmdk-parent-changed" in ids(opened)


@pytest.mark.parametrize(
    "text", ["", "<a", "<!DOCTYPE a [<!ENTITY b 'c'>]><a>&b;</a>", "<VirtualBox/>", "\0\1", "<a>" * 100]
)
def test_settings_that_name_no_disk(tmp_path: Path, text: str) -> None:
    (tmp_path / "a.vbox").write_text(text)
    with pytest.raises(SourceError, match="VirtualBox settings"):
        open_disk(str(tmp_path / "a.vbox"))


@settings(max_examples=150)
@given(st.binary(max_size=300))
def test_any_settings(data: bytes) -> None:
    for text in (data, b"<VirtualBox>" + data + b"</VirtualBox>"):
        try:
            read_settings(MemorySource(text))
        except SourceError:
            continue
