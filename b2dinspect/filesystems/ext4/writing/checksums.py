"""The checksums of ext4's metadata.

Source: Linux, Documentation/filesystems/ext4/checksums.rst: crc32c, seeded with the filesystem's UUID; what
belongs to an inode is seeded with its number and generation, too. Without metadata_csum, uninit_bg has a
crc16 of each group descriptor.
"""

from __future__ import annotations

import functools

from b2dinspect.fields import size_of
from b2dinspect.filesystems.ext4.layout import DIRECTORY_TAIL
from b2dinspect.filesystems.superblock import crc32c

TAIL = size_of(DIRECTORY_TAIL)
"""Bytes that end a block of a directory when there are checksums."""


def number(value: int) -> bytes:
    """Return 32 bits, little-endian."""
    return value.to_bytes(4, "little")


def inode_seed(seed: int, inode: int, generation: int) -> int:
    """Return the seed for all that belongs to an inode."""
    return crc32c(number(generation), crc32c(number(inode), seed))


def sealed_directory(data: bytes, seed: int) -> bytes:
    """Return a block of a directory with its checksum behind the entries.

    Args:
        data: The entries, without the tail.
        seed: The inode's.
    """
    tail = {"inode": 0, "length": TAIL, "name_length": 0, "file_type": 0xDE, "checksum": crc32c(data, seed)}
    return data + bytes(DIRECTORY_TAIL.build(tail))


def sealed_extents(data: bytes, seed: int) -> bytes:
    """Return a block of an extent tree with its checksum behind the last entry that fits.

    Args:
        data: Header and room for entries: the block without its last four bytes.
        seed: The inode's.
    """
    return data + number(crc32c(data, seed))


def crc16(data: bytes, seed: int = 0xFFFF) -> int:
    """Return the CRC-16 (ANSI, reflected) of uninit_bg.

    >>> hex(crc16(b"123456789"))
    '0x4b37'
    """
    table, crc = _crc16_table(), seed
    for byte in data:
        crc = crc >> 8 ^ table[(crc ^ byte) & 0xFF]
    return crc


@functools.cache
def _crc16_table() -> tuple[int, ...]:
    table = list(range(256))
    for _ in range(8):
        table = [crc >> 1 ^ (0xA001 & -(crc & 1)) for crc in table]
    return tuple(table)
