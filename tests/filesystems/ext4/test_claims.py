"""Blocks that are claimed twice, made by hand; e2fsck as the witness of what is sound."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest

from b2dinspect.errors import FilesystemError
from b2dinspect.filesystems.ext4.claims import other_claims
from b2dinspect.filesystems.ext4.inodes import Inodes
from b2dinspect.filesystems.superblock import parse_superblock
from b2dinspect.source import MemorySource
from tests.filesystems.ext4.writing.model import Partition, made
from tests.oracles import needs, run


def two_files() -> tuple[Partition, int, int]:
    partition = made(16 << 20)
    edits = partition.edits()
    edits.write(b"one", b"1" * 5000)
    edits.write(b"two", b"2" * 5000)
    numbers = edits.find(b"one"), edits.find(b"two")
    edits.flush()
    return partition, *numbers


def with_block(partition: Partition, number: int, block: bytes) -> None:
    edits = partition.edits()
    inode = edits._inode(number)
    inode.set(block=block)
    edits._put(number, inode)
    edits.flush()


def test_a_sound_file_has_its_blocks_for_itself() -> None:
    partition, one, two = two_files()
    assert [*other_claims(partition, one), *other_claims(partition, two)] == []


def test_a_block_of_two_files_is_found() -> None:
    partition, one, two = two_files()
    with_block(partition, two, partition.edits()._inode(one).raw("block"))
    assert list(other_claims(partition, one)) == [f"inode {two}"]


def test_a_block_of_descriptors_is_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A disk of 8 TiB has 131,072 groups, and each was read five times."""
    partition = made(144 << 20)
    inodes = Inodes(partition, parse_superblock(partition)[0])
    asked: list[int] = []
    as_ever = Partition._pread

    def pread(self: Partition, offset: int, length: int) -> bytes:
        asked.append(offset)
        return as_ever(self, offset, length)

    monkeypatch.setattr(Partition, "_pread", pread)
    assert inodes.groups == 2
    assert [(inodes.own_blocks(group), inodes.ever_used(group)) for group in range(2)]
    assert asked == [inodes.block_size]


@pytest.mark.parametrize("part", [0, 1, 2])
def test_a_file_in_what_is_the_filesystems_own(part: int) -> None:
    """An extent in a bitmap or the inode table: writing to the file would write inodes."""
    partition, one, _ = two_files()
    place = Inodes(partition, parse_superblock(partition)[0]).own_blocks(0)[part][0]
    extent = struct.pack("<5HH", 0xF30A, 1, 4, 0, 0, 0) + struct.pack("<I2HI", 0, 1, 0, place)
    with_block(partition, one, extent.ljust(60, b"\0"))
    assert list(other_claims(partition, one)) == ["group 0 for its bitmaps and inodes"]


def test_another_file_that_makes_no_sense_leaves_it_open() -> None:
    partition, one, two = two_files()
    with_block(partition, two, b"\0" * 60)
    with pytest.raises(FilesystemError, match=f"inode {two}: no extent tree"):
        list(other_claims(partition, one))


KINDS = {
    "ext2": ["-t", "ext2", "-b", "1024"],
    "ext3": ["-t", "ext3"],
    "ext4": ["-t", "ext4"],
    "without checksums": ["-t", "ext4", "-O", "^metadata_csum,^uninit_bg"],
    "lazy": ["-t", "ext4", "-E", "lazy_itable_init=1"],
    "meta_bg": ["-t", "ext4", "-O", "meta_bg,^resize_inode", "-b", "1024"],
    "inline_data": ["-t", "ext4", "-O", "inline_data"],
}


@needs("mke2fs", "debugfs", "e2fsck")
@pytest.mark.parametrize("kind", KINDS)
def test_what_e2fsprogs_made_and_crossed(kind: str, tmp_path: Path) -> None:
    image, content = tmp_path / "fs", tmp_path / "content"
    run("mke2fs", "-q", *KINDS[kind], image, "32M")
    content.write_bytes(b"x" * 50_000)
    script = "".join(f"write {content} {name}\n" for name in ("one", "two")) + "mkdir d\nsymlink l one\n"
    run("debugfs", "-w", "-f", "/dev/stdin", image, input=script.encode())
    run("e2fsck", "-fn", image)
    assert claims_of(image, b"one") == []
    at, place = (3, "block[3]") if kind in ("ext2", "ext3") else (0, "block[5]")  # of the map, of an extent
    value = run("debugfs", "-R", f"bmap one {at}", image).stdout.split()[0].decode()
    run("debugfs", "-w", "-R", f"sif two {place} {value}", image)
    assert len(claims_of(image, b"one")) == 1


def claims_of(image: Path, name: bytes) -> list[str]:
    found = run("debugfs", "-R", f"stat {name.decode()}", image).stdout
    number = int(found.split(b"Inode:")[1].split()[0])
    return list(other_claims(MemorySource(image.read_bytes()), number))
