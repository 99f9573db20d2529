"""Making an ext4: what mke2fs 1.47.0 writes, with the features that Debian 12 turns on.

Source: Linux, Documentation/filesystems/ext4; e2fsprogs 1.47.0, misc/mke2fs.c and lib/ext2fs. The tests
compare every byte with mke2fs's own, but for the number of KiB that it says it wrote.
"""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Protocol

from b2dinspect.fields import packer
from b2dinspect.filesystems import superblock
from b2dinspect.filesystems.ext4.layout import GROUP_DESCRIPTOR, GROUP_DESCRIPTOR_HIGH
from b2dinspect.filesystems.ext4.writing.contents import (
    JOURNAL_INODE,
    Contents,
    file_blocks,
    inode_table,
    journal_backup,
    place_contents,
)
from b2dinspect.filesystems.ext4.writing.geometry import (
    BLOCK,
    DESCRIPTOR,
    FIRST_INODE,
    FLEX,
    INODE,
    MAX_GROUP,
    Geometry,
    GroupTables,
    UsedBlocks,
    geometry_for,
    place_tables,
    used_blocks,
)
from b2dinspect.filesystems.ext4.writing.inode import EXTRA
from b2dinspect.filesystems.ext4.writing.record import Record
from b2dinspect.filesystems.superblock import crc32c
from b2dinspect.records import NamedTuple

COMPAT = 0x4 | 0x8 | 0x10 | 0x20
"""has_journal ext_attr resize_inode dir_index"""
INCOMPAT = 0x2 | 0x40 | 0x80 | 0x200
"""filetype extent 64bit flex_bg"""
RO_COMPAT = 0x1 | 0x2 | 0x8 | 0x20 | 0x40 | 0x400
"""sparse_super large_file huge_file dir_nlink extra_isize metadata_csum"""
MOUNT_OPTIONS = 0x4 | 0x8
"""user_xattr acl"""
INODE_UNINIT, BLOCK_UNINIT = 0x1, 0x2
HALF_MD4, SIGNED, CRC32C = 1, 1, 1


class Target(Protocol):
    """What a filesystem is made on."""

    def pwrite(self, offset: int, data: bytes) -> None:
        """Write bytes at an offset of the partition."""


class Identity(NamedTuple):
    """What distinguishes a filesystem from others made the same way.

    Attributes:
        label: At most 16 bytes.
        uuid: Its identity.
        hash_seed: Seed of the hash of large directories.
        time: Of everything in it: seconds since 1970.
    """

    label: bytes
    uuid: uuid.UUID
    hash_seed: uuid.UUID
    time: int


def make(target: Target, size: int, inode_ratio: int, identity: Identity) -> None:
    """Make an empty ext4, with a root directory, lost+found and a journal.

    Args:
        target: The partition. What was on it stays where nothing of the new one is.
        size: Bytes of it.
        inode_ratio: Bytes for which there is to be an inode (``-i``).
        identity: Label, UUID and time.

    Raises:
        FilesystemError: The size is too small or too large.
    """
    maker = _Maker(geometry_for(size, inode_ratio), identity)
    for block, data in sorted(maker.blocks()):
        target.pwrite(block * BLOCK, data)


class _Maker:
    def __init__(self, geometry: Geometry, identity: Identity) -> None:
        self._geometry, self._identity = geometry, identity
        self._seed = crc32c(identity.uuid.bytes)
        self._crcs: dict[bytes, int] = {}
        self._space = UsedBlocks(geometry.blocks)
        self._tables: GroupTables = place_tables(geometry, self._space)
        self._overhead = sum(used_blocks(geometry, self._space)) + geometry.journal_blocks
        self._contents: Contents = place_contents(geometry, self._space)
        self._used = used_blocks(geometry, self._space)

    def blocks(self) -> Iterator[tuple[int, bytes]]:
        """Yield all that is written, as (first block, bytes)."""
        geometry, bitmaps = self._geometry, dict(self._block_bitmaps())
        inodes = inode_table(geometry, self._contents, self._seed, self._identity.time)
        found = [
            *((self._tables.block_bitmaps[group], data) for group, data in bitmaps.items()),
            (self._tables.inode_bitmaps[0], self._inode_bitmap()),
            (self._tables.inode_tables[0], inodes),
            *file_blocks(geometry, self._contents, self._seed, self._identity.uuid),
        ]
        yield from found
        descriptors, written = self._descriptors(bitmaps), sum(len(data) for _, data in found)
        for group in geometry.heads():
            head = (b"" if group else bytes(superblock.OFFSET)) + self._superblock(group, written >> 10)
            yield geometry.group_start(group), head.ljust(BLOCK, b"\0") + descriptors

    def _block_bitmaps(self) -> Iterator[tuple[int, bytes]]:
        """Yield groups whose bitmap is written, and it; those of the others follow from their heads."""
        geometry, heads = self._geometry, {*self._geometry.heads()}
        for group in range(geometry.groups):
            own = geometry.head_blocks if group in heads else 0
            if self._used[group] != own or group == geometry.groups - 1:
                start, end = geometry.group_start(group), geometry.group_end(group)
                used = [(first - start, stop - start) for first, stop in self._space.within(start, end)]
                yield (
                    group,
                    _bitmap([*used, (end - start, MAX_GROUP)]),
                )  # what is behind the end counts as used

    def _inode_bitmap(self) -> bytes:
        return _bitmap([(0, FIRST_INODE), (self._geometry.group_inodes, MAX_GROUP)])

    def _descriptors(self, bitmaps: dict[int, bytes]) -> bytes:
        """Return all group descriptors, in whole blocks."""
        low, high = packer(GROUP_DESCRIPTOR), packer(GROUP_DESCRIPTOR_HIGH)
        rows = []
        for group in range(self._geometry.groups):
            flags = (INODE_UNINIT if group else 0) | (0 if group in bitmaps else BLOCK_UNINIT)
            values = self._descriptor(group, bitmaps.get(group))
            lower = [value & mask for value, (_, mask) in zip(values, _HALVES, strict=True)]
            upper = [value >> bits for value, (bits, _) in zip(values, _HALVES, strict=True)]
            first = low.pack(*lower[:6], flags, 0, *lower[6:], 0)
            second = high.pack(*upper[:6], upper[8], 0, *upper[6:8], 0)
            crc = crc32c(first + second, crc32c(group.to_bytes(4, "little"), self._seed))
            rows.append(first[:-2] + (crc & 0xFFFF).to_bytes(2, "little") + second)
        return b"".join(rows).ljust(self._geometry.descriptor_blocks * BLOCK, b"\0")

    def _descriptor(self, group: int, bitmap: bytes | None) -> list[int]:
        """Return places, counts, checksums of bitmaps, and inodes never used, in the declaration's order."""
        geometry, inodes = self._geometry, self._geometry.group_inodes
        length = geometry.group_end(group) - geometry.group_start(group)
        crcs = [0, 0]
        if bitmap is not None:
            crcs[0] = self._bitmap_crc(bitmap)
        if group == 0:
            crcs[1] = crc32c(self._inode_bitmap()[: inodes // 8], self._seed)
        free = inodes - (FIRST_INODE if group == 0 else 0)
        counts = [length - self._used[group], free, 2 if group == 0 else 0]
        return [*(places[group] for places in self._tables), *counts, *crcs, free]

    def _bitmap_crc(self, bitmap: bytes) -> int:
        """Return a block bitmap's checksum; most of them are equal, so each is computed once."""
        if bitmap not in self._crcs:
            self._crcs[bitmap] = crc32c(bitmap[: self._geometry.group_blocks // 8], self._seed)
        return self._crcs[bitmap]

    def _superblock(self, group: int, kibibytes: int) -> bytes:
        geometry, identity = self._geometry, self._identity
        inodes = geometry.groups * geometry.group_inodes
        block = Record(bytes(superblock.SIZE), superblock.SUPERBLOCK)
        block.set(
            inodes_count=inodes,
            blocks_count=geometry.blocks,
            reserved_blocks=geometry.reserved,
            free_blocks=geometry.blocks - sum(self._used),
            free_inodes=inodes - FIRST_INODE,
            log_block_size=BLOCK.bit_length() - 11,
            log_cluster_size=BLOCK.bit_length() - 11,
            blocks_per_group=geometry.group_blocks,
            clusters_per_group=geometry.group_blocks,
            inodes_per_group=geometry.group_inodes,
            write_time=identity.time,
            max_mount_count=0xFFFF,
            magic=superblock.MAGIC,
            state=0 if group else superblock.STATE_CLEAN,
            errors=1,
            last_check=identity.time,
            revision=1,
            first_inode=FIRST_INODE,
            inode_size=INODE,
            block_group=group & 0xFFFF,  # a field of 16 bits, from which mke2fs lets the rest fall
            feature_compat=COMPAT,
            feature_incompat=INCOMPAT,
            feature_ro_compat=RO_COMPAT,
            uuid=identity.uuid.bytes,
            label=identity.label,
            reserved_gdt_blocks=geometry.spare_blocks,
            journal_inode=JOURNAL_INODE,
            hash_seed=identity.hash_seed.bytes,
            hash_version=HALF_MD4,
            journal_backup_type=1,
            descriptor_size=DESCRIPTOR,
            default_mount_options=MOUNT_OPTIONS,
            made_time=identity.time,
            journal_blocks=journal_backup(geometry, self._contents, self._seed),
            min_extra_isize=EXTRA,
            want_extra_isize=EXTRA,
            flags=SIGNED,
            log_groups_per_flex=FLEX.bit_length() - 1,
            checksum_type=CRC32C,
            kbytes_written=kibibytes,
            overhead_blocks=self._overhead,
        )
        block.set(checksum=crc32c(bytes(block.data[: block.place("checksum").start])))
        return bytes(block.data)


_HALVES = (*3 * ((32, 0xFFFFFFFF),), *6 * ((16, 0xFFFF),))
"""Bits of the low halves of what ``_descriptor`` returns, and their masks."""


def _bitmap(runs: list[tuple[int, int]]) -> bytes:
    """Return a block of bits, of which the runs (first, behind) are set."""
    bits = 0
    for first, stop in runs:
        bits |= ((1 << stop - first) - 1) << first
    return bits.to_bytes(BLOCK, "little")
