"""Small files of one name and one extent, told from their inodes: most are so, and copied by the thousand."""

from __future__ import annotations

import struct

from b2dinspect.fields import packer
from b2dinspect.filesystems.ext4 import layout
from b2dinspect.filesystems.ext4.inodes import time_of
from b2dinspect.filesystems.node import PlainFile

SMALL = 1 << 20
"""Bytes that such a file may have."""

_REGULAR = 0o10
_NOT_PLAIN = layout.ENCRYPTED | layout.INLINE_DATA
_EXTRA = 16
"""Bytes of the larger part that an inode uses when it has times in nanoseconds."""
_HEADER, _EXTENT = packer(layout.EXTENT_HEADER), packer(layout.EXTENT)
_INODE = struct.Struct(
    packer(
        layout.INODE,
        *("mode", "uid_lo", "size_lo", "atime", "mtime", "gid_lo", "links", "flags", "block"),
        *("size_hi", "uid_hi", "gid_hi"),
    ).format
    + packer(layout.INODE_EXTRA, "extra_size", "mtime_extra", "atime_extra").format.lstrip("<")
)


def plain_file(name: bytes, number: int, raw: bytes, block_size: int) -> PlainFile | None:
    """Return what is to be known of a file; None when it is none of these.

    Args:
        name: Its name.
        number: Its inode.
        raw: The inode's bytes.
        block_size: Bytes a block.
    """
    if len(raw) < _INODE.size:
        return None
    (
        mode, uid, size, atime, mtime, gid, links, flags, block,
        size_hi, uid_hi, gid_hi, used, mtime_extra, atime_extra,
    ) = _INODE.unpack_from(raw)  # fmt: skip
    if mode >> 12 != _REGULAR or links != 1 or size_hi or size > SMALL or flags & _NOT_PLAIN or used < _EXTRA:
        return None
    start = 0
    if size:
        magic, entries, _, depth, _ = _HEADER.unpack_from(block)
        logical, count, high, low = _EXTENT.unpack_from(block, _HEADER.size)
        if not flags & layout.EXTENTS or magic != layout.EXTENT_MAGIC or entries != 1 or depth or logical:
            return None
        if not size <= count * block_size <= layout.INITIALIZED * block_size:
            return None
        start = (low | high << 32) * block_size
    return PlainFile(
        name, number, mode, uid | uid_hi << 16, gid | gid_hi << 16,
        time_of(atime, atime_extra), time_of(mtime, mtime_extra), start, size,
    )  # fmt: skip
