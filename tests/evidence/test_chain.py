"""Disks of several files: what is opened, and what is refused unopened."""

from __future__ import annotations

import bz2
import json
import lzma
import os
import tarfile
from collections.abc import Iterator
from pathlib import Path

import pytest
import zstandard
from hypothesis import given, settings
from hypothesis import strategies as st
from typer.testing import CliRunner

from b2dinspect.cli.main import app
from b2dinspect.containers import open_container
from b2dinspect.containers.vdi.layout import DIFFERENCING
from b2dinspect.containers.vdi.reader import VdiContainer
from b2dinspect.containers.vdi.writer import Identity, VdiWriter
from b2dinspect.containers.vmdk.writer import VmdkWriter
from b2dinspect.errors import B2dError, ContainerError, MissingDataError, SourceError, UsageError
from b2dinspect.evidence import chain
from b2dinspect.evidence.chain import OpenDisk, Rules, open_disk
from b2dinspect.evidence.packing import unpack
from b2dinspect.evidence.vbox import read_settings
from b2dinspect.newfile import NewFile
from b2dinspect.source import ByteSource, MemorySource
from tests.oracles import needs, run

MIB = 1 << 20
SIZE = 4 * MIB


def create(path: Path, backing: str | Path, backing_format: str = "raw") -> Path:
    """A qcow2 whose backing file's name is not looked at when it is made."""
    run("qemu-img", "create", "-q", "-u", "-f", "qcow2", "-F", backing_format, "-b", backing, path, SIZE)
    return path


def ids(opened: OpenDisk) -> list[str]:
    return [one.id for one in opened.container.findings]


def told(opened: OpenDisk) -> str:
    return "\n".join(one.message for one in opened.container.findings)


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


@pytest.fixture
def traps(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Names that an image may have for its parent, and that must not be opened."""
    folder = tmp_path / "evidence"
    folder.mkdir()
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret" * 100_000)
    os.mkfifo(folder / "fifo")
    (folder / "link").symlink_to(secret)
    yield {
        "absolute": str(secret),
        "passwd": "/etc/passwd",
        "relative": "../secret",
        "device": "/dev/zero",
        "fifo": "fifo",
        "folder": ".",
        "link": "link",
        "url": "http://127.0.0.1:9/disk",
        "nbd": "nbd://127.0.0.1/disk",
        "json": 'json:{"driver":"host_device","filename":"/dev/zero"}',
        "file url": f"file://{secret}",
        "itself": "image",
        "other machine": "file://server/share/disk",
        "windows": "C:\\Users\\me\\secret",
    }


TRAPS = (
    "absolute",
    "passwd",
    "relative",
    "device",
    "fifo",
    "folder",
    "link",
    "url",
    "nbd",
    "json",
    "file url",
    "itself",
    "other machine",
    "windows",
)


@needs("qemu-img")
@pytest.mark.parametrize("trap", TRAPS)
@pytest.mark.parametrize("role", ["parent", "extent", "data file"])
def test_a_trap_is_refused_unopened(
    traps: dict[str, str], trap: str, role: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, path = traps[trap], tmp_path / "evidence" / "image"
    if role == "parent":
        create(path, name)
    elif role == "extent":
        lines = (
            "# Disk DescriptorFile",
            "version=1",
            "CID=1",
            "parentCID=ffffffff",
            'createType="monolithicFlat"',
        )
        path.write_text("\n".join((*lines, f'RW 64 FLAT "{name}" 0'.replace('"driver"', "driver"))))
    else:
        run("qemu-img", "create", "-q", "-f", "qcow2", "-o", f"data_file={tmp_path / 'data'}", path, SIZE)
        path.write_bytes(with_data_file_name(path.read_bytes(), name))
    opened_files: list[str] = []
    real = chain.open_evidence
    monkeypatch.setattr(
        chain, "open_evidence", lambda path, *rest: opened_files.append(path) or real(path, *rest)
    )
    with open_disk(str(path)) as opened:
        assert opened_files == [str(path)]
        assert opened.links == []
        assert {"chain-refused", "vmdk-extent-missing"} & {*ids(opened)}
        assert b"secret" not in b"".join(
            opened.container.pread(one.offset, one.length)
            for one in opened.container.extents()
            if one.kind != "missing"
        )


def with_data_file_name(data: bytes, name: str) -> bytes:
    """Return a qcow2 image whose header extensions are only a data file's name."""
    length = int.from_bytes(data[100:104], "big")
    raw = name.encode()
    extension = (
        (0x44415441).to_bytes(4, "big")
        + len(raw).to_bytes(4, "big")
        + raw.ljust(-(-len(raw) // 8) * 8, b"\0")
    )
    return (data[:length] + extension + bytes(8)).ljust(65536, b"\0") + data[65536:]


# --- VDI, which keeps no names, and VMDK ---


def differencing_vdi(path: Path, parent: Path) -> None:
    """A child with one block of its own, made of a dynamic image by changing its header."""
    base = open_container(MemorySource(parent.read_bytes()), "vdi")
    with NewFile(path) as file:
        writer = VdiWriter(file, SIZE)
        writer.pwrite(MIB, b"child" * 100)
        writer.flush()
    data = bytearray(path.read_bytes())
    header = open_container(MemorySource(bytes(data)), "vdi").headers[1]
    places = {field.name: header.offset + field.offset for field in header.fields()}
    data[places["type"] : places["type"] + 4] = DIFFERENCING.to_bytes(4, "little")
    for field, value in (
        ("uuid_linkage", base.header.uuid_create),
        ("uuid_parent_modify", base.header.uuid_modify),
    ):
        data[places[field] : places[field] + 16] = value.bytes_le
    path.write_bytes(data)


def base_vdi(path: Path, identity: Identity | None = None) -> None:
    with NewFile(path) as file:
        writer = VdiWriter(file, SIZE, identity=identity)
        writer.pwrite(0, b"parent" * 1000)
        writer.pwrite(MIB, b"old")
        writer.flush()


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


# --- packed disks ---

PACKERS = {"xz": lzma.compress, "bzip2": bz2.compress, "zstd": zstandard.ZstdCompressor().compress}
CONTENT = b"boot2docker" * 5000 + bytes(3 * MIB) + b"end" + bytes(457)


@pytest.mark.parametrize("packing", PACKERS)
def test_a_packed_disk_opens(tmp_path: Path, packing: str) -> None:
    path = tmp_path / "disk"
    path.write_bytes(PACKERS[packing](CONTENT))
    with open_disk(str(path)) as opened:
        assert opened.origin == packing
        assert opened.container.pread(0, len(CONTENT) + 1) == CONTENT


class Pieces:
    def __init__(self, data: bytes) -> None:
        self._data = data

    def read(self, length: int) -> bytes:
        piece, self._data = self._data[:7], self._data[7:]
        return piece


@pytest.mark.parametrize("packing", PACKERS)
def test_members_and_padding(packing: str) -> None:
    packed = PACKERS[packing](b"one") + bytes(20) + PACKERS[packing](b"two") + bytes(9)
    assert b"".join(unpack(packing, Pieces(packed))) == b"onetwo"


@pytest.mark.parametrize("packing", PACKERS)
@settings(max_examples=60)
@given(data=st.data())
def test_a_damaged_stream_is_one_clear_error(packing: str, data: st.DataObject) -> None:
    packed = bytearray(PACKERS[packing](b"content" * 100))
    at = data.draw(st.integers(0, len(packed) - 1))
    cut = data.draw(st.booleans())
    try:
        if cut:
            list(unpack(packing, Pieces(bytes(packed[:at]))))
            assert at == 0
        else:
            packed[at] ^= data.draw(st.integers(1, 255))
            list(unpack(packing, Pieces(bytes(packed))))
    except SourceError as error:
        assert error.layer == packing


@pytest.mark.parametrize("packing", PACKERS)
def test_a_bomb_comes_in_chunks(packing: str) -> None:
    packed = PACKERS[packing](bytes(64 * MIB))

    class Whole:
        done = False

        def read(self, length: int) -> bytes:
            piece, self.done = (b"" if self.done else packed), True
            return piece

    assert max(len(chunk) for chunk in unpack(packing, Whole())) <= 140 * MIB // 4


# --- OVA ---


def ova(path: Path, *names: str) -> None:
    disk = path.with_name("inner.vmdk")
    with NewFile(disk, force=True) as file:
        writer = VmdkWriter(file, SIZE, variant="streamOptimized")
        writer.pwrite(0, CONTENT[:55000])
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
        assert opened.container.pread(0, 55000) == CONTENT[:55000]
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
