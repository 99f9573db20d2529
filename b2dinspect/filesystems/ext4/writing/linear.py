"""Blocks of a linear directory: entries that fill each block, and perhaps a checksum behind them.

Source: Linux, Documentation/filesystems/ext4/directory.rst (linear directories, ext4_dir_entry_tail).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from b2dinspect.errors import FilesystemError
from b2dinspect.fields import packer, size_of
from b2dinspect.filesystems.ext4.layout import DIRECTORY_ENTRY
from b2dinspect.records import NamedTuple

HEAD = size_of(DIRECTORY_ENTRY)
MAX_NAME = 255
_ENTRY: struct.Struct = packer(DIRECTORY_ENTRY)


class LinearEntry(NamedTuple):
    """An entry of a block.

    Attributes:
        offset: In the block, in bytes.
        length: Bytes to the next entry.
        inode: What it names; 0: nothing.
        file_type: As ``FILE_TYPES`` has it.
        name: As stored.
    """

    offset: int
    length: int
    inode: int
    file_type: int
    name: bytes

    @property
    def needs(self) -> int:
        """Bytes that the entry itself takes."""
        return room(self.name) if self.inode else 0


def room(name: bytes) -> int:
    """Return the bytes that an entry of that name takes."""
    return HEAD + -(-len(name) // 4) * 4


def entry(inode: int, length: int, file_type: int, name: bytes) -> bytes:
    """Return an entry of so many bytes."""
    return (_ENTRY.pack(inode, length, len(name), file_type) + name).ljust(length, b"\0")


def empty(size: int) -> bytes:
    """Return a block without names."""
    return entry(0, size, 0, b"")


def first(inode: int, parent: int, size: int, file_type: int) -> bytes:
    """Return the first block of a new directory: itself and its parent."""
    return entry(inode, 12, file_type, b".") + entry(parent, size - 12, file_type, b"..")


def names(block: bytes) -> Iterator[LinearEntry]:
    """Yield the entries of a block, used or not, without what a checksum takes behind them.

    Raises:
        FilesystemError: An entry that does not fit in the block.
    """
    at = 0
    while at < len(block):
        if at + HEAD > len(block):
            raise FilesystemError("a directory's entries do not fill its block")
        inode, length, name_length, file_type = _ENTRY.unpack_from(block, at)
        name = block[at + HEAD : at + HEAD + name_length]
        if length % 4 or length < HEAD + name_length or at + length > len(block):
            raise FilesystemError(f"a directory has an entry of {length} bytes at byte {at} of a block")
        yield LinearEntry(at, length, inode, file_type, name)
        at += length


def with_name(block: bytes, inode: int, file_type: int, name: bytes) -> bytes | None:
    """Return the block with one name more; None when it is full."""
    need = room(name)
    for one in names(block):
        if one.length - one.needs >= need:
            own = entry(one.inode, one.needs, one.file_type, one.name) if one.inode else b""
            added = entry(inode, one.length - one.needs, file_type, name)
            return block[: one.offset] + own + added + block[one.offset + one.length :]
    return None


def without_name(block: bytes, name: bytes) -> bytes | None:
    """Return the block without a name: the entry before takes its room. None when it is not there."""
    before: LinearEntry | None = None
    for one in names(block):
        if one.inode and one.name == name:
            if before is None:
                gone = entry(0, one.length, 0, b"")
                return gone + block[one.length :]
            length = before.length + one.length
            kept = _ENTRY.pack(before.inode, length, len(before.name), before.file_type)
            return block[: before.offset] + kept + block[before.offset + HEAD :]
        before = one
    return None
