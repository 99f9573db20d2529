"""The ext superblock: against dumpe2fs, with one fault at a time, and with any bytes at all."""

from __future__ import annotations

import functools
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from b2dinspect.errors import FilesystemError
from b2dinspect.filesystems import superblock
from b2dinspect.filesystems.superblock import OFFSET, SUPERBLOCK, checksum_fault, parse_superblock
from b2dinspect.source import MemorySource
from tests.disks import MIB, make_ext, new_path
from tests.oracles import needs, run

pytestmark = needs("mke2fs", "dumpe2fs")

UUID = "12345678-9abc-def0-1234-56789abcdef0"
KINDS = {
    "1 KiB blocks": ("ext4", "-b", "1024"),
    "4 KiB blocks": ("ext4", "-b", "4096"),
    "64bit": ("ext4", "-O", "64bit,metadata_csum"),
    "no 64bit, no checksum": ("ext4", "-O", "^64bit,^metadata_csum"),
    "inline data": ("ext4", "-O", "inline_data"),
    "no journal": ("ext4", "-O", "^has_journal"),
    "no extents": ("ext4", "-O", "^extent,^64bit"),
    "small inodes": ("ext4", "-I", "128"),
    "checksum seed": ("ext4", "-O", "metadata_csum_seed"),
    "ext3": ("ext3",),
    "ext2": ("ext2",),
    "original revision": ("ext2", "-r", "0"),
}


@functools.cache
def image(kind: str, *options: str) -> Path:
    path = new_path("fs.img")
    make_ext(path, 32 * MIB, *options, *(() if "-r" in options else ("-U", UUID)), kind=kind)
    return path


def head(path: Path) -> bytes:
    with path.open("rb") as file:
        return file.read(4096)


def field_offset(name: str) -> int:
    names = [part.name for part in SUPERBLOCK.subcons]
    before = names.index("blocks_count_lo" if name == "blocks_count" else name)
    return sum(part.sizeof() for part in SUPERBLOCK.subcons[:before])


def dumpe2fs(path: Path) -> dict[str, str]:
    lines = run("dumpe2fs", "-h", path).stdout.decode().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


@pytest.mark.parametrize("options", KINDS.values(), ids=KINDS)
def test_says_what_dumpe2fs_says(options: tuple[str, ...]) -> None:
    path = image(*options)
    told = dumpe2fs(path)
    block, raw = parse_superblock(MemorySource(head(path)))
    assert block.label.rstrip(b"\0").decode() == told["Filesystem volume name"]
    assert superblock.block_count(block) == int(told["Block count"])
    assert superblock.block_size(block) == int(told["Block size"])
    assert block.inodes_count == int(told["Inode count"])
    assert block.free_blocks_lo == int(told["Free blocks"])
    assert block.free_inodes == int(told["Free inodes"])
    assert block.blocks_per_group == int(told["Blocks per group"])
    assert block.inodes_per_group == int(told["Inodes per group"])
    assert block.first_data_block == int(told["First block"])
    assert superblock.kind(block) == options[0]
    assert checksum_fault(block, raw) == ""
    if block.revision:
        assert str(block.uuid) == UUID == told["Filesystem UUID"]
        assert block.inode_size == int(told["Inode size"])
    if "Checksum" in told:
        assert block.checksum == int(told["Checksum"], 16)


@pytest.mark.parametrize("options", KINDS.values(), ids=KINDS)
def test_feature_names_are_those_of_dumpe2fs(options: tuple[str, ...]) -> None:
    path = image(*options)
    block, _ = parse_superblock(MemorySource(head(path)))
    fields = (
        (block.feature_compat, superblock.COMPAT),
        (block.feature_incompat, superblock.INCOMPAT),
        (block.feature_ro_compat, superblock.RO_COMPAT),
    )
    ours = {names[1 << bit] for value, names in fields for bit in range(32) if value >> bit & 1}
    assert ours == set(dumpe2fs(path)["Filesystem features"].split()) - {"(none)"}


@pytest.mark.parametrize(
    ("name", "offset", "value"),
    [
        ("log_block_size", 24, (0x7FFFFFFF).to_bytes(4, "little")),
        ("log_block_size", 24, (7).to_bytes(4, "little")),
        ("revision", 76, (2).to_bytes(4, "little")),
        ("first_data_block", 20, (2).to_bytes(4, "little")),
        ("first_data_block", 20, b"\xff\xff\xff\xff"),
        ("blocks_per_group", 32, bytes(4)),
        ("blocks_per_group", 32, b"\xff\xff\xff\xff"),
        ("inodes_per_group", 40, bytes(4)),
        ("inodes_per_group", 40, (8 * 1024 + 1).to_bytes(4, "little")),
        ("inode_size", 88, bytes(2)),
        ("inode_size", 88, (3).to_bytes(2, "little")),
        ("inode_size", 88, (192).to_bytes(2, "little")),
        ("inode_size", 88, (2048).to_bytes(2, "little")),
        ("inode_size", 88, (65535).to_bytes(2, "little")),
        ("blocks_count", 4, bytes(4)),
        ("blocks_count", 4, (1).to_bytes(4, "little")),
        ("inodes_count", 4, b"\xff\xff\xff\xff"),  # so many blocks would need more inodes
        ("inodes_count", 0, bytes(4)),
        ("inodes_count", 0, b"\xff\xff\xff\xff"),
        ("inodes_count", 0x150, b"\xff\xff\xff\xff"),  # the high half of the block count
    ],
)
def test_one_senseless_value_is_refused_by_name(name: str, offset: int, value: bytes) -> None:
    data = bytearray(head(image("ext4", "-b", "1024", "-O", "64bit")))
    data[OFFSET + offset : OFFSET + offset + len(value)] = value
    with pytest.raises(FilesystemError, match=f"ext4 superblock: {name} makes no sense") as caught:
        parse_superblock(MemorySource(bytes(data)))
    assert caught.value.offset == OFFSET + field_offset(name)
    assert caught.value.found != caught.value.expected


def test_a_wrong_checksum_is_told_but_does_not_stop_the_reading() -> None:
    data = bytearray(head(image("ext4", "-O", "metadata_csum")))
    data[OFFSET + 1020] ^= 1
    block, raw = parse_superblock(MemorySource(bytes(data)))
    assert re.fullmatch(r"expected 0x[0-9a-f]{8}, found 0x[0-9a-f]{8}", checksum_fault(block, raw))


def test_the_checksum_covers_the_label() -> None:
    data = bytearray(head(image("ext4", "-O", "metadata_csum")))
    data[OFFSET + 120] ^= 0x20
    assert checksum_fault(*parse_superblock(MemorySource(bytes(data))))


@pytest.mark.parametrize("length", [0, 1023, 1024, 1082, 2047])
def test_a_short_source_is_cut_short(length: int) -> None:
    with pytest.raises(FilesystemError, match="cut short"):
        parse_superblock(MemorySource(head(image("ext4"))[:length]))


def test_no_magic_number_is_told_where() -> None:
    with pytest.raises(FilesystemError, match=r"no magic number .*53 ef.* at byte 0x438"):
        parse_superblock(MemorySource(bytes(4096)))


@given(st.lists(st.tuples(st.integers(0, 1023), st.integers(0, 255)), max_size=12))
@pytest.mark.slow
def test_changed_bytes_raise_nothing_but_a_filesystem_error(changes: list[tuple[int, int]]) -> None:
    data = bytearray(head(image("ext4")))
    for place, value in changes:
        data[OFFSET + place] = value
    try:
        block, raw = parse_superblock(MemorySource(bytes(data)))
    except FilesystemError:
        return
    assert 1024 <= superblock.block_size(block) <= 65536
    assert superblock.block_count(block) > 0
    assert isinstance(checksum_fault(block, raw), str)
