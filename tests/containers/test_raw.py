"""Raw images, and what open_container makes of files that are none."""

from __future__ import annotations

import lzma
from pathlib import Path

import pytest

from b2dinspect.containers import FORMATS, open_container, vdi
from b2dinspect.containers.raw import reader as raw
from b2dinspect.errors import ContainerError, UsageError
from b2dinspect.evidence.file import open_evidence
from b2dinspect.source import FileSource, MemorySource
from tests.cli.helpers import unpacked
from tests.oracles import needs, run


def test_any_bytes_are_a_disk() -> None:
    disk = open_container(MemorySource(b"boot2docker, please format-me"))
    assert isinstance(disk, raw.RawContainer)
    assert (disk.format, disk.variant, disk.size, disk.allocated_size) == ("raw", "flat", 29, 29)
    assert disk.pread(0, 100) == b"boot2docker, please format-me"
    assert disk.headers == ()


def test_a_file_shorter_than_any_header_is_raw() -> None:
    for length in (1, 63, 64, 67, 71):
        assert open_container(MemorySource(bytes(length))).size == length


def test_a_sparse_file_says_so(tmp_path: Path) -> None:
    path = tmp_path / "disk"
    with path.open("wb") as stream:
        stream.truncate(1 << 20)
    source = open_evidence(str(path))
    disk = open_container(source)
    assert (disk.variant, disk.allocated_size) == ("sparse", 0)
    assert disk.describe() == {}
    source.close()


@pytest.mark.parametrize("origin", ["gzip", "stream", "block device"])
def test_describes_where_it_was_read_from(origin: str) -> None:
    assert raw.RawContainer(FileSource(-1, 512, origin)).describe() == {"read from": origin}


def test_allocated_size_never_exceeds_the_disk() -> None:
    assert raw.RawContainer(FileSource(-1, 512, allocated=4096)).allocated_size == 512


def refusal(data: bytes) -> str:
    with pytest.raises(ContainerError, match="no format matches") as caught:
        open_container(MemorySource(data))
    return str(caught.value)


@needs("qemu-img")
@pytest.mark.parametrize("name", ["qcow"])
def test_formats_that_are_not_read_are_named_with_the_way_out(tmp_path: Path, name: str) -> None:
    path = tmp_path / "disk"
    run("qemu-img", "create", "-q", "-f", name, path, "8M")
    data = path.read_bytes()
    assert f"qemu-img convert -f {name} -O raw" in refusal(data)
    assert open_container(MemorySource(data), "raw").pread(0, len(data)) == data


def test_an_old_vmdk_is_named() -> None:
    assert "COWD" in refusal(b"COWD\1\0\0\0")


@pytest.mark.parametrize(
    ("data", "name"),
    [
        (lzma.compress(b"disk"), "xz"),
        (bytes.fromhex("28b52ffd0458210000 6469736b"), "zstd"),
        (b"PK\x03\x04" + bytes(26), "zip"),
    ],
)
def test_packed_files_are_named(data: bytes, name: str) -> None:
    text = refusal(data)
    assert name in text
    assert "unpack it first" in text


def test_an_empty_file_is_no_disk() -> None:
    assert "the file is empty" in refusal(b"")


def test_every_refusal_gives_the_reason_of_every_format() -> None:
    text = refusal(b"QFI\xfb\0\0\0\1".ljust(100, b"\0"))
    assert "vdi: no signature 7f10dabe at byte 64, but 00000000" in text
    assert "raw: this is a qcow of version 1" in text


def test_an_unknown_format_name() -> None:
    with pytest.raises(
        UsageError, match="no container format 'iso'; there are vdi, vhd, vhdx, vmdk, qcow2, raw"
    ):
        open_container(MemorySource(bytes(512)), "iso")


def test_asking_for_a_format_that_the_file_is_not() -> None:
    with pytest.raises(ContainerError, match="VDI pre-header: wrong signature") as caught:
        open_container(MemorySource(bytes(512)), "vdi")
    assert caught.value.offset == 64


def test_raw_comes_last() -> None:
    assert list(FORMATS)[-1] == "raw"
    assert vdi.probe(MemorySource(bytes(64) + bytes.fromhex("7f10dabe"))).matched
    assert not vdi.probe(MemorySource(bytes(64) + bytes.fromhex("beda107f"))).matched


LOST = {
    "vdi": (512, "block map"),
    "qcow2": (512, "refcount table"),
    "vhdx": (64 << 10, "'head' stands at byte 0x10000"),
    "vmdk": (512, "a descriptor stands at byte 0x200"),
    "vpc": (512, "'cxsparse' stands at byte 0x200"),
}


@needs("qemu-img")
@pytest.mark.parametrize("name", LOST)
@pytest.mark.slow(but=2)
def test_a_container_without_its_signature_is_no_raw_disk(tmp_path: Path, name: str) -> None:
    """Else what lies in it would be told at the file's offsets, as a disk that has lost its table."""
    lost, sign = LOST[name]
    path = tmp_path / "disk"
    run("qemu-img", "convert", "-O", name, unpacked("provisioned-automount.vdi"), path)
    end = 512 if name == "vpc" else 0  # its footer at the end is enough
    data = bytes(lost) + path.read_bytes()[lost:]
    with pytest.raises(ContainerError, match="whose first bytes are gone") as caught:
        open_container(MemorySource(data[: len(data) - end]))
    assert sign in str(caught.value)
    assert open_container(MemorySource(data), "raw").size == len(data)


@pytest.mark.parametrize(
    "data",
    [
        bytes(2 << 20),
        b"\xff" * (2 << 20),
        bytes(512) + bytes(range(256)) * 9,
        bytes(512) + b"\1\0\0\0" + bytes(4096),
    ],
)
def test_other_bytes_are_no_trace_of_a_container(data: bytes) -> None:
    assert open_container(MemorySource(data)).format == "raw"
