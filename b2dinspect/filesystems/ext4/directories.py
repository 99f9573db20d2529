"""The names in a directory's blocks, read one after the other: the hash tree hides in entries of no inode.

Source: Linux, Documentation/filesystems/ext4/directory.rst, and ext4_rec_len_from_disk in fs/ext4/ext4.h for
blocks of 64 KiB.
"""

from __future__ import annotations

from collections.abc import Iterator

from b2dinspect.errors import FilesystemError
from b2dinspect.fields import packer
from b2dinspect.filesystems.ext4.layout import DIRECTORY_ENTRY

_ENTRY = packer(DIRECTORY_ENTRY)


def names_in(data: bytes, has_types: bool) -> Iterator[tuple[bytes, int]]:
    """Yield names and inode numbers of a directory's block, without ``.`` and ``..``.

    Args:
        data: The block, or the part of an inode that holds entries.
        has_types: Whether entries say a file's type (``filetype``); else a name's length has two bytes.

    Raises:
        FilesystemError: An entry does not fit; those before it have been yielded.
    """
    offset, end = 0, len(data)
    while offset + _ENTRY.size <= end:
        inode, length, name_length, high = _ENTRY.unpack_from(data, offset)
        if end >= 1 << 16:
            length = 1 << 16 if length in (0, 0xFFFF) else length & 0xFFFC | (length & 3) << 16
        name_length += 0 if has_types else high << 8
        if length < _ENTRY.size or offset + length > end or _ENTRY.size + name_length > length:
            raise FilesystemError("a name that does not fit", layer="directory", offset=offset)
        if inode and name_length:
            start = offset + _ENTRY.size
            name = data[start : start + name_length]
            if name not in (b".", b".."):
                yield name, inode
        offset += length
