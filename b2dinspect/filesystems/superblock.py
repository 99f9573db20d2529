"""The ext2/3/4 superblock: 1024 bytes at byte 1024 of the filesystem.

Source: Linux, Documentation/filesystems/ext4/super.rst and fs/ext4/ext4.h. The checksum is crc32c over the
bytes before it, seeded with all ones.
"""

from __future__ import annotations

import functools
from typing import Any

from construct import Array, Bytes, Int8ul, Int16ul, Int32ul, Int64ul, Struct

from b2dinspect.errors import FilesystemError
from b2dinspect.fields import Bits, Named, UuidBE
from b2dinspect.source import ByteSource, read_exactly

OFFSET = 1024
SIZE = 1024
MAGIC = 0xEF53
MAGIC_OFFSET = 56
LABEL_OFFSET = 120
MAX_LOG_BLOCK_SIZE = 6  # 64 KiB
LAYER = "ext4 superblock"

COMPAT = {
    0x4: "has_journal",
    0x8: "ext_attr",
    0x10: "resize_inode",
    0x20: "dir_index",
    0x200: "sparse_super2",
} | {
    0x1: "dir_prealloc",
    0x2: "imagic_inodes",
    0x400: "fast_commit",
    0x800: "stable_inodes",
    0x1000: "orphan_file",
}
INCOMPAT = {
    0x1: "compression",
    0x2: "filetype",
    0x4: "needs_recovery",
    0x8: "journal_dev",
    0x10: "meta_bg",
    0x40: "extent",
    0x80: "64bit",
    0x100: "mmp",
    0x200: "flex_bg",
    0x400: "ea_inode",
    0x1000: "dirdata",
    0x2000: "metadata_csum_seed",
    0x4000: "large_dir",
    0x8000: "inline_data",
    0x10000: "encrypt",
    0x20000: "casefold",
}
RO_COMPAT = {
    0x1: "sparse_super",
    0x2: "large_file",
    0x8: "huge_file",
    0x10: "uninit_bg",
    0x20: "dir_nlink",
    0x40: "extra_isize",
    0x100: "quota",
    0x200: "bigalloc",
    0x400: "metadata_csum",
    0x2000: "project",
    0x8000: "verity",
    0x10000: "orphan_present",
}
EXT4_ONLY_INCOMPAT = ~(0x2 | 0x4 | 0x10 | 0x1)
EXT4_ONLY_RO_COMPAT = ~(0x1 | 0x2 | 0x4)
STATE_CLEAN, STATE_ERRORS = 0x1, 0x2
NEEDS_RECOVERY = 0x4
JOURNAL_DEVICE = 0x8

SUPERBLOCK = Struct(
    "inodes_count" / Int32ul * "inodes in all",
    "blocks_count_lo" / Int32ul * "blocks in all, low half",
    "reserved_blocks_lo" / Int32ul * "blocks for the super user, low half",
    "free_blocks_lo" / Int32ul * "free blocks, low half",
    "free_inodes" / Int32ul * "free inodes",
    "first_data_block" / Int32ul * "1 with blocks of 1 KiB, else 0",
    "log_block_size" / Int32ul * "block size is 1024 << this",
    "log_cluster_size" / Int32ul * "cluster size is 1024 << this (bigalloc)",
    "blocks_per_group" / Int32ul * "blocks a group",
    "clusters_per_group" / Int32ul * "clusters a group",
    "inodes_per_group" / Int32ul * "inodes a group",
    "mount_time" / Int32ul * "last mount, seconds since 1970",
    "write_time" / Int32ul * "last write, seconds since 1970",
    "mount_count" / Int16ul * "mounts since the last check",
    "max_mount_count" / Int16ul * "mounts after which to check",
    "magic" / Int16ul * "0xEF53",
    "state"
    / Bits(Int16ul, {STATE_CLEAN: "clean", STATE_ERRORS: "errors", 0x4: "orphans"})
    * "how it was left",
    "errors" / Named(Int16ul, {1: "continue", 2: "remount-ro", 3: "panic"}) * "what to do on an error",
    "minor_revision" / Int16ul * "minor revision",
    "last_check" / Int32ul * "last check, seconds since 1970",
    "check_interval" / Int32ul * "seconds between checks",
    "creator_os" / Named(Int32ul, {0: "Linux", 1: "Hurd", 3: "FreeBSD"}) * "who made it",
    "revision" / Named(Int32ul, {0: "original", 1: "dynamic"}) * "revision level",
    "default_reserved_uid" / Int16ul * "uid that may use reserved blocks",
    "default_reserved_gid" / Int16ul * "gid that may use reserved blocks",
    "first_inode" / Int32ul * "first inode that is not reserved",
    "inode_size" / Int16ul * "bytes an inode",
    "block_group" / Int16ul * "the group that holds this copy",
    "feature_compat" / Bits(Int32ul, COMPAT) * "a kernel may ignore these",
    "feature_incompat" / Bits(Int32ul, INCOMPAT) * "a kernel must know these",
    "feature_ro_compat" / Bits(Int32ul, RO_COMPAT) * "a kernel must know these to write",
    "uuid" / UuidBE() * "identity of the filesystem",
    "label" / Bytes(16) * "volume label",
    "last_mounted" / Bytes(64) * "where it was mounted last",
    "algorithm_usage" / Int32ul * "for compression",
    "prealloc_blocks" / Int8ul * "blocks to preallocate for files",
    "prealloc_dir_blocks" / Int8ul * "blocks to preallocate for directories",
    "reserved_gdt_blocks" / Int16ul * "kept for growing the group descriptors",
    "journal_uuid" / UuidBE() * "identity of the journal",
    "journal_inode" / Int32ul * "inode of the journal",
    "journal_device" / Int32ul * "device of an external journal",
    "last_orphan" / Int32ul * "first inode of the orphan list",
    "hash_seed" / Bytes(16) * "seed of the directory hash",
    "hash_version" / Named(Int8ul, {0: "legacy", 1: "half_md4", 2: "tea", 6: "siphash"}) * "directory hash",
    "journal_backup_type" / Int8ul * "what journal_blocks holds",
    "descriptor_size" / Int16ul * "bytes a group descriptor with 64bit",
    "default_mount_options" / Int32ul * "default mount options",
    "first_meta_bg" / Int32ul * "first metadata block group",
    "made_time" / Int32ul * "when mkfs made it, seconds since 1970",
    "journal_blocks" / Array(17, Int32ul) * "backup of the journal inode's blocks",
    "blocks_count_hi" / Int32ul * "blocks in all, high half",
    "reserved_blocks_hi" / Int32ul * "high half",
    "free_blocks_hi" / Int32ul * "high half",
    "min_extra_isize" / Int16ul * "bytes all inodes have beyond 128",
    "want_extra_isize" / Int16ul * "bytes new inodes should have",
    "flags" / Bits(Int32ul, {1: "signed_hash", 2: "unsigned_hash", 4: "test"}) * "miscellaneous",
    "raid_stride" / Int16ul * "blocks",
    "mmp_interval" / Int16ul * "seconds",
    "mmp_block" / Int64ul * "block of the multi-mount protection",
    "raid_stripe_width" / Int32ul * "blocks",
    "log_groups_per_flex" / Int8ul * "groups a flexible group, log2",
    "checksum_type" / Named(Int8ul, {0: "none", 1: "crc32c"}) * "of metadata",
    "reserved_pad" / Int16ul * "zero",
    "kbytes_written" / Int64ul * "over its lifetime",
    "snapshots" / Bytes(20) * "unused",
    "error_count" / Int32ul * "errors seen",
    "first_error_time" / Int32ul * "seconds since 1970",
    "first_error" / Bytes(48) * "inode, block, function, line",
    "last_error_time" / Int32ul * "seconds since 1970",
    "last_error" / Bytes(48) * "inode, line, block, function",
    "mount_options" / Bytes(64) * "default mount options as text",
    "user_quota_inode" / Int32ul * "inode",
    "group_quota_inode" / Int32ul * "inode",
    "overhead_blocks" / Int32ul * "blocks that metadata takes",
    "backup_groups" / Array(2, Int32ul) * "with sparse_super2",
    "encrypt_algorithms" / Bytes(4) * "in use",
    "encrypt_salt" / Bytes(16) * "for passwords",
    "lost_found_inode" / Int32ul * "inode",
    "project_quota_inode" / Int32ul * "inode",
    "checksum_seed" / Int32ul * "crc32c of the UUID with metadata_csum_seed",
    "high_times" / Bytes(8) * "upper bits of the times, error codes",
    "encoding" / Int16ul * "of file names with casefold",
    "encoding_flags" / Int16ul * "of file names with casefold",
    "orphan_file_inode" / Int32ul * "inode of the orphan file",
    "reserved" / Bytes(376) * "unused",
    "checksum" / Int32ul * "crc32c of the bytes before it",
)


def parse_superblock(fs: ByteSource) -> tuple[Any, bytes]:
    """Return the parsed superblock and its 1024 bytes, every size in it checked against reason.

    Args:
        fs: The filesystem, from its first byte.

    Raises:
        FilesystemError: Not an ext filesystem, or a value that no such filesystem can have.
    """
    raw = read_exactly(fs, OFFSET, SIZE, FilesystemError, LAYER)
    return parse_copy(raw), raw


def has_magic(raw: bytes) -> bool:
    """Tell whether these bytes can be a superblock: two of them say so."""
    return raw[MAGIC_OFFSET : MAGIC_OFFSET + 2] == b"\x53\xef"


def is_journal(raw: bytes) -> bool:
    """Tell whether a superblock says that it is an external journal's, which has no inodes."""
    return has_magic(raw) and bool(SUPERBLOCK.parse(raw).feature_incompat & JOURNAL_DEVICE)


def parse_copy(raw: bytes) -> Any:
    """Return a superblock, primary or backup, parsed from its 1024 bytes.

    Raises:
        FilesystemError: No magic number, or a value that no such filesystem can have.
    """
    if not has_magic(raw):
        found = raw[56:58].hex(" ")
        raise FilesystemError(
            "no magic number", layer=LAYER, offset=OFFSET + 56, expected="53 ef", found=found
        )
    block = SUPERBLOCK.parse(raw)
    _check(block)
    return block


def _check(block: Any) -> None:
    block_size = 1024 << min(block.log_block_size, MAX_LOG_BLOCK_SIZE)
    groups = -(-(block_count(block) - block.first_data_block) // max(1, block.blocks_per_group))
    checks = [
        ("log_block_size", 24, block.log_block_size <= MAX_LOG_BLOCK_SIZE, "0 to 6"),
        ("revision", 76, block.revision <= 1, "0 or 1"),
        ("first_data_block", 20, block.first_data_block <= 1, "0 or 1"),
        ("blocks_per_group", 32, 0 < block.blocks_per_group <= 65528 << 5, "1 or more"),
        ("inodes_per_group", 40, 0 < block.inodes_per_group <= 8 * block_size, f"1 to {8 * block_size}"),
        ("inode_size", 88, _is_inode_size(block, block_size), f"a power of two, 128 to {block_size}"),
        ("blocks_count", 4, block_count(block) > block.first_data_block, "more than the first data block"),
        (
            "inodes_count",
            0,
            block.inodes_count == groups * block.inodes_per_group,
            groups * block.inodes_per_group,
        ),
    ]
    for name, offset, is_sound, expected in checks:
        if not is_sound:
            found = block_count(block) if name == "blocks_count" else block[name]
            raise FilesystemError(
                f"{name} makes no sense", layer=LAYER, offset=OFFSET + offset, expected=expected, found=found
            )


def _is_inode_size(block: Any, block_size: int) -> bool:
    size = block.inode_size
    return block.revision == 0 or (128 <= size <= block_size and not size & (size - 1))


def block_size(block: Any) -> int:
    """Return the block size in bytes."""
    return int(1024 << block.log_block_size)


def block_count(block: Any) -> int:
    """Return the number of blocks, both halves where 64bit is on."""
    high = block.blocks_count_hi if block.feature_incompat & 0x80 else 0
    return int(high << 32 | block.blocks_count_lo)


def free_block_count(block: Any) -> int:
    """Return the number of free blocks, as it was last written down."""
    high = block.free_blocks_hi if block.feature_incompat & 0x80 else 0
    return int(high << 32 | block.free_blocks_lo)


def used_blocks(block: Any) -> int:
    """Return the number of blocks that files take, as ``df`` has it: without the filesystem's own.

    A mke2fs that did not note these (before 1.42) had most of them in its tables of inodes.
    """
    own = block.overhead_blocks or block.inodes_count * block.inode_size // block_size(block)
    return max(0, block_count(block) - free_block_count(block) - int(own))


def kind(block: Any) -> str:
    """Return ``ext2``, ``ext3`` or ``ext4``, told from the features as blkid does."""
    if block.feature_incompat & EXT4_ONLY_INCOMPAT or block.feature_ro_compat & EXT4_ONLY_RO_COMPAT:
        return "ext4"
    return "ext3" if block.feature_compat & 0x4 else "ext2"


def checksum_fault(block: Any, raw: bytes) -> str:
    """Return what is wrong with the superblock's checksum, "" when it is right or there is none."""
    if not block.feature_ro_compat & 0x400:
        return ""
    computed = crc32c(raw[:1020])
    return "" if computed == block.checksum else f"expected {computed:#010x}, found {block.checksum:#010x}"


def crc32c(data: bytes, seed: int = 0xFFFFFFFF) -> int:
    """Return the CRC-32C (Castagnoli) register as ext4 keeps it: not inverted at the end.

    Args:
        data: The bytes.
        seed: The register before them: ones, or what other bytes left in it.

    >>> hex(crc32c(b"123456789") ^ 0xFFFFFFFF)
    '0xe3069283'
    """
    table, crc = _crc_table(), seed
    for byte in data:
        crc = crc >> 8 ^ table[(crc ^ byte) & 0xFF]
    return crc


@functools.cache
def _crc_table() -> tuple[int, ...]:
    table = list(range(256))
    for _ in range(8):
        table = [crc >> 1 ^ (0x82F63B78 & -(crc & 1)) for crc in table]
    return tuple(table)
