"""Extended attributes: in the inode, in a block of their own, and large values in an inode of theirs.

Source: Linux, Documentation/filesystems/ext4/attributes.rst, and fs/ext4/acl.h for how access control lists
are stored, which is not how programs see them.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator

from b2dinspect.errors import FilesystemError
from b2dinspect.fields import packer
from b2dinspect.filesystems.ext4 import layout

MAX_VALUE = 1 << 20
MAX_ATTRIBUTES = 4096
SYSTEM_DATA = b"system.data"
"""Holds what of inline data has no room in the inode's block map; no attribute that a program sees."""

_HEADER = packer(layout.XATTR_HEADER)
_ENTRY = packer(layout.XATTR_ENTRY)
_ACL_ENTRY = struct.Struct("<HH")
_ACL_NAMED = (0x02, 0x08)  # ACL_USER and ACL_GROUP: these have an id

LargeValue = Callable[[int, int], bytes]
"""Return the value of so many bytes that an inode holds."""


def in_inode(rest: bytes, large: LargeValue) -> Iterator[tuple[bytes, bytes]]:
    """Yield names and values that stand behind the fields of an inode.

    Raises:
        FilesystemError: An attribute does not fit; those before it have been yielded.
    """
    if len(rest) >= 4 and int.from_bytes(rest[:4], "little") == layout.XATTR_MAGIC:
        yield from _attributes(rest[4:], 0, large)


def in_block(data: bytes, large: LargeValue) -> Iterator[tuple[bytes, bytes]]:
    """Yield names and values in a block of attributes.

    Raises:
        FilesystemError: It is none, or an attribute does not fit; those before it have been yielded.
    """
    if int.from_bytes(data[:4], "little") != layout.XATTR_MAGIC:
        raise FilesystemError("no extended attributes where some should be", layer="extended attributes")
    yield from _attributes(data, _HEADER.size, large)


def _attributes(data: bytes, offset: int, large: LargeValue) -> Iterator[tuple[bytes, bytes]]:
    for _ in range(MAX_ATTRIBUTES):
        if offset + 4 > len(data) or not any(data[offset : offset + 4]):
            return
        if offset + _ENTRY.size > len(data):
            break
        name_length, index, value_offset, inode, size, _ = _ENTRY.unpack_from(data, offset)
        start = offset + _ENTRY.size
        name = layout.XATTR_PREFIXES.get(index, b"unknown.") + data[start : start + name_length]
        if size > MAX_VALUE or (not inode and value_offset + size > len(data)):
            break
        value = large(inode, size) if inode else data[value_offset : value_offset + size]
        yield name, _acl(value) if index in (2, 3) else value
        offset = start + (name_length + 3 & ~3)
    raise FilesystemError("an attribute that does not fit", layer="extended attributes", offset=offset)


def _acl(stored: bytes) -> bytes:
    """Return an access control list as ``getxattr`` gives it: version 2, with an id in each entry."""
    found, offset = struct.pack("<I", 2), 4
    while offset + 4 <= len(stored):
        tag, permissions = _ACL_ENTRY.unpack_from(stored, offset)
        offset += 4
        who = 0xFFFFFFFF
        if tag in _ACL_NAMED:
            who = int.from_bytes(stored[offset : offset + 4], "little")
            offset += 4
        found += struct.pack("<HHI", tag, permissions, who)
    return found
