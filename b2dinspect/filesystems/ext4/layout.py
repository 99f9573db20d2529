"""What lies in an ext2/3/4 filesystem behind its superblock: descriptors, inodes, extents, names, attributes.

Source: Linux, Documentation/filesystems/ext4 (group_descr, inodes, ifork, directory, attributes), and
fs/ext4/ext4.h, ext4_extents.h and xattr.h where that page says less. All little-endian.
"""

from __future__ import annotations

from construct import Array, Bytes, Int8ul, Int16ul, Int32ub, Int32ul, Struct

from b2dinspect.fields import Bits, Named, UuidBE

ROOT = 2
"""Inode of the root directory."""
BLOCK_GROUP_SIZE = 32
"""Bytes of a group descriptor without 64bit."""

GROUP_DESCRIPTOR = Struct(
    "block_bitmap_lo" / Int32ul * "block of the block bitmap, low half",
    "inode_bitmap_lo" / Int32ul * "block of the inode bitmap, low half",
    "inode_table_lo" / Int32ul * "first block of the inode table, low half",
    "free_blocks_lo" / Int16ul * "free blocks (clusters), low half",
    "free_inodes_lo" / Int16ul * "free inodes, low half",
    "used_directories_lo" / Int16ul * "directories, low half",
    "flags"
    / Bits(Int16ul, {0x1: "inode_uninit", 0x2: "block_uninit", 0x4: "inode_zeroed"})
    * "what was never written",
    "exclude_bitmap_lo" / Int32ul * "for snapshots",
    "block_bitmap_checksum_lo" / Int16ul * "crc32c of the block bitmap, low half",
    "inode_bitmap_checksum_lo" / Int16ul * "crc32c of the inode bitmap, low half",
    "unused_inodes_lo" / Int16ul * "inodes at the end of the table never used, low half",
    "checksum" / Int16ul * "crc16, or the low half of a crc32c, of this descriptor",
)
"""The first 32 bytes; with 64bit, GROUP_DESCRIPTOR_HIGH follows."""

GROUP_DESCRIPTOR_HIGH = Struct(
    "block_bitmap_hi" / Int32ul * "high half",
    "inode_bitmap_hi" / Int32ul * "high half",
    "inode_table_hi" / Int32ul * "high half",
    "free_blocks_hi" / Int16ul * "high half",
    "free_inodes_hi" / Int16ul * "high half",
    "used_directories_hi" / Int16ul * "high half",
    "unused_inodes_hi" / Int16ul * "high half",
    "exclude_bitmap_hi" / Int32ul * "high half",
    "block_bitmap_checksum_hi" / Int16ul * "high half",
    "inode_bitmap_checksum_hi" / Int16ul * "high half",
    "reserved" / Int32ul * "zero",
)

INODE_FLAGS = {
    0x1: "secure_deletion",
    0x2: "undelete",
    0x4: "compressed",
    0x8: "synchronous",
    0x10: "immutable",
    0x20: "append_only",
    0x40: "no_dump",
    0x80: "no_atime",
    0x800: "encrypted",
    0x1000: "index",
    0x4000: "journal_data",
    0x8000: "no_tail",
    0x10000: "synchronous_directory",
    0x20000: "top_of_hierarchy",
    0x40000: "huge_file",
    0x80000: "extents",
    0x100000: "verity",
    0x200000: "xattr_inode",
    0x10000000: "inline_data",
    0x20000000: "project_inherit",
    0x40000000: "casefold",
}
IMMUTABLE, APPEND_ONLY, ENCRYPTED, INDEX, HUGE_FILE = 0x10, 0x20, 0x800, 0x1000, 0x40000
EXTENTS, VERITY, XATTR_INODE, INLINE_DATA, CASEFOLD = 0x80000, 0x100000, 0x200000, 0x10000000, 0x40000000

INODE = Struct(
    "mode" / Int16ul * "type and permission bits, as Unix has them",
    "uid_lo" / Int16ul * "owner, low half",
    "size_lo" / Int32ul * "bytes, low half",
    "atime" / Int32ul * "last access, seconds since 1970",
    "ctime" / Int32ul * "last change of the inode, seconds since 1970",
    "mtime" / Int32ul * "last change of the content, seconds since 1970",
    "dtime" / Int32ul * "deletion, seconds since 1970, or the next orphan",
    "gid_lo" / Int16ul * "group, low half",
    "links" / Int16ul * "names",
    "blocks_lo" / Int32ul * "sectors of 512 bytes (blocks with huge_file), low half",
    "flags" / Bits(Int32ul, INODE_FLAGS) * "flags",
    "version_lo" / Int32ul * "change counter, low half",
    "block" / Bytes(60) * "block map, extent tree, short link target or inline data",
    "generation" / Int32ul * "for NFS",
    "xattr_block_lo" / Int32ul * "block of extended attributes, low half",
    "size_hi" / Int32ul * "bytes, high half",
    "fragment" / Int32ul * "unused",
    "blocks_hi" / Int16ul * "high half",
    "xattr_block_hi" / Int16ul * "high half",
    "uid_hi" / Int16ul * "high half",
    "gid_hi" / Int16ul * "high half",
    "checksum_lo" / Int16ul * "crc32c of the inode, low half",
    "reserved" / Int16ul * "zero",
)
"""The first 128 bytes; larger inodes go on with INODE_EXTRA."""

INODE_EXTRA = Struct(
    "extra_size" / Int16ul * "bytes of this part that are used",
    "checksum_hi" / Int16ul * "high half",
    "ctime_extra" / Int32ul * "nanoseconds << 2, and two upper bits of the seconds",
    "mtime_extra" / Int32ul * "the same",
    "atime_extra" / Int32ul * "the same",
    "crtime" / Int32ul * "creation, seconds since 1970",
    "crtime_extra" / Int32ul * "nanoseconds << 2, and two upper bits of the seconds",
    "version_hi" / Int32ul * "high half",
    "project" / Int32ul * "project for quota",
)

EXTENT_MAGIC = 0xF30A
EXTENT_HEADER = Struct(
    "magic" / Int16ul * "0xF30A",
    "entries" / Int16ul * "entries that follow",
    "capacity" / Int16ul * "entries that fit",
    "depth" / Int16ul * "levels below; 0: the entries are extents",
    "generation" / Int32ul * "unused",
)
EXTENT = Struct(
    "logical" / Int32ul * "first block of the file",
    "length" / Int16ul * "blocks; more than 32768: so many less, allocated and not written",
    "physical_hi" / Int16ul * "first block on the disk, high half",
    "physical_lo" / Int32ul * "low half",
)
EXTENT_INDEX = Struct(
    "logical" / Int32ul * "first block of the file below here",
    "leaf_lo" / Int32ul * "block of the next level, low half",
    "leaf_hi" / Int16ul * "high half",
    "unused" / Int16ul * "zero",
)
MAX_EXTENT_DEPTH = 5
INITIALIZED = 32768
"""Most blocks that a written extent has."""

FILE_TYPES = {
    0: "unknown",
    1: "file",
    2: "directory",
    3: "character device",
    4: "block device",
    5: "FIFO",
    6: "socket",
    7: "symbolic link",
    0xDE: "checksum",
}
DIRECTORY_ENTRY = Struct(
    "inode" / Int32ul * "0: unused",
    "length" / Int16ul * "bytes to the next entry",
    "name_length" / Int8ul * "bytes of the name, which follows",
    "file_type" / Named(Int8ul, FILE_TYPES) * "with filetype; else the name length's high byte",
)
DIRECTORY_TAIL = Struct(
    "inode" / Int32ul * "0",
    "length" / Int16ul * "12",
    "name_length" / Int8ul * "0",
    "file_type" / Named(Int8ul, FILE_TYPES) * "0xDE",
    "checksum" / Int32ul * "crc32c of the block before this",
)

XATTR_MAGIC = 0xEA020000
XATTR_HEADER = Struct(
    "magic" / Int32ul * "0xEA020000",
    "references" / Int32ul * "inodes that share the block",
    "blocks" / Int32ul * "1",
    "hash" / Int32ul * "of all attributes",
    "checksum" / Int32ul * "crc32c of the block",
    "reserved" / Array(3, Int32ul) * "zero",
)
"""At the start of a block of attributes; those in an inode have only the magic number before them."""
XATTR_ENTRY = Struct(
    "name_length" / Int8ul * "bytes of the name, which follows",
    "name_index" / Int8ul * "which prefix the name has",
    "value_offset" / Int16ul * "from the block's start, or in an inode from the first entry",
    "value_inode" / Int32ul * "inode that holds the value, 0 for here",
    "value_size" / Int32ul * "bytes",
    "hash" / Int32ul * "of name and value",
)
XATTR_PREFIXES = {
    0: b"",
    1: b"user.",
    2: b"system.posix_acl_access",
    3: b"system.posix_acl_default",
    4: b"trusted.",
    6: b"security.",
    7: b"system.",
    8: b"system.richacl",
}

JOURNAL_MAGIC = 0xC03B3998
JOURNAL_VERSION_2 = 4
JOURNAL = Struct(
    "magic" / Int32ub * "0xC03B3998",
    "block_type" / Named(Int32ub, {3: "superblock v1", 4: "superblock v2"}) * "kind of this block",
    "sequence" / Int32ub * "unused here",
    "block_size" / Int32ub * "bytes a block",
    "blocks" / Int32ub * "blocks of the journal",
    "first" / Int32ub * "first block of log",
    "next_sequence" / Int32ub * "first commit expected in the log",
    "start" / Int32ub * "block where the log begins; 0: nothing to replay",
    "error" / Int32ub * "what made the kernel abort it",
    "features" / Array(3, Int32ub) * "compatible, incompatible, read-only compatible",
    "uuid" / UuidBE() * "identity",
    "users" / Int32ub * "filesystems that share it",
)
"""The first block of the journal, as far as it is used here: the only big-endian part (journal.rst)."""
