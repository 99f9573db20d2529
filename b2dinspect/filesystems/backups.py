"""The copies of an ext superblock that each filesystem of several groups keeps, and what is read with them.

Source: Linux, Documentation/filesystems/ext4/blockgroup.rst and group_descr.rst. With sparse_super, groups 1
and the powers of 3, 5 and 7 begin with a copy, and the group descriptors follow each. A group has as many
blocks as a block has bits, unless mke2fs was told otherwise, or asked for more inodes than a bitmap has bits:
then groups get smaller by eight blocks until they fit (lib/ext2fs/initialize.c; 16400 blocks with the
``-i 2048`` of minikube). A copy's ``block_group`` is the group it is in.
"""

from __future__ import annotations

import functools
from typing import Any

from b2dinspect.errors import FilesystemError
from b2dinspect.filesystems import superblock
from b2dinspect.records import NamedTuple
from b2dinspect.source import ByteSource, PatchedSource, read_lenient

GROUPS = (1, 3, 5, 7, 9, 25, 27, 49)
"""Groups that are looked at for a copy."""
BLOCK_SIZES = (1024, 2048, 4096)
META_BG, HAS_64BIT = 0x10, 0x80
MAX_DESCRIPTORS = 16 << 20
"""Bytes of group descriptors that are taken from a copy: those of 8 TiB."""
FEWEST_BLOCKS = 8 << 10
"""Blocks of a group of 4 KiB blocks, down to which a copy is looked for: an inode for every 1024 bytes."""
LOCATIONS = 12
"""Bytes of a descriptor that say where its bitmaps and inodes are; the rest of it changes in use."""


class Copy(NamedTuple):
    """A superblock, wherever it is.

    Attributes:
        offset: Byte of the filesystem at which it stands.
        block: It, parsed.
        raw: Its 1024 bytes.
    """

    offset: int
    block: Any
    raw: bytes

    @property
    def number(self) -> int:
        """The block that it is in, as ``e2fsck -b`` wants it."""
        return self.offset // superblock.block_size(self.block)

    @property
    def start(self) -> int:
        """Byte at which the filesystem begins, as this copy has it, counted from where ``offset`` counts."""
        size = superblock.block_size(self.block)
        group: int = self.block.block_group
        within: int = (group * self.block.blocks_per_group + self.block.first_data_block) * size
        return self.offset - (within if group else superblock.OFFSET)


def copy_at(source: ByteSource, offset: int) -> Copy | None:
    """Return the superblock at a byte of a filesystem or disk; None when there is none that makes sense."""
    return copy_in(read_lenient(source, offset, superblock.SIZE), offset)


def copy_in(raw: bytes, offset: int) -> Copy | None:
    """Return the superblock in these bytes, which were read at ``offset``; None when it makes no sense."""
    if len(raw) < superblock.SIZE or not superblock.has_magic(raw):
        return None
    try:
        return Copy(offset, superblock.parse_copy(raw), raw)
    except FilesystemError:
        return None


@functools.cache
def places() -> tuple[int, ...]:
    """Return the bytes of a filesystem at which mke2fs puts copies, the nearest first."""
    found = (
        (group * 8 * size + (size == superblock.OFFSET)) * size for group in GROUPS for size in BLOCK_SIZES
    )
    return tuple(sorted(found))


@functools.cache
def narrow_places() -> tuple[int, ...]:
    """Return the bytes at which group 1 begins where groups have fewer blocks than a block has bits."""
    return tuple(blocks * 4096 for blocks in range(8 * 4096 - 8, FEWEST_BLOCKS - 1, -8))


def find_backup(fs: ByteSource, identity: object = None) -> Copy | None:
    """Return the first copy of a filesystem's superblock that is where it says.

    Args:
        fs: The filesystem, from its first byte.
        identity: Its UUID, when that is known; copies of another one do not count.
    """
    for offset in (*places(), *narrow_places()):
        copy = copy_at(fs, offset) if offset < fs.size else None
        if copy and copy.block.block_group and copy.start == 0 and identity in (None, copy.block.uuid):
            return copy
    return None


def view(fs: ByteSource, copy: Copy) -> ByteSource:
    """Return the filesystem as read with a copy: its superblock in front, its descriptors if need be."""
    patched = PatchedSource(fs, superblock.OFFSET, copy.raw)
    first = (copy.block.first_data_block + 1) * superblock.block_size(copy.block)
    own, theirs = _descriptors(fs, first, copy.block), _copied_descriptors(fs, copy)
    if not theirs or _locations(own, copy.block) == _locations(theirs, copy.block):
        return patched
    return PatchedSource(patched, first, theirs)


def has_descriptors(fs: ByteSource, copy: Copy) -> bool:
    """Tell whether sensible group descriptors follow a superblock, primary or copy."""
    size, block = superblock.block_size(copy.block), copy.block
    if block.feature_incompat & META_BG:
        return True
    own = copy.start + superblock.OFFSET // size * size  # bigalloc counts from 0 even with blocks of 1 KiB
    at = (copy.offset if block.block_group else own) + size
    first = read_lenient(fs, at, LOCATIONS)
    numbers = [int.from_bytes(first[i : i + 4], "little") for i in range(0, LOCATIONS, 4)]
    return len(first) == LOCATIONS and all(0 < number < superblock.block_count(block) for number in numbers)


def _copied_descriptors(fs: ByteSource, copy: Copy) -> bytes:
    if copy.block.feature_incompat & META_BG or not has_descriptors(fs, copy):
        return b""
    return _descriptors(fs, copy.offset + superblock.block_size(copy.block), copy.block)


def _descriptors(fs: ByteSource, offset: int, block: Any) -> bytes:
    blocks = superblock.block_count(block) - block.first_data_block
    length = -(-blocks // block.blocks_per_group) * _descriptor_size(block)
    return read_lenient(fs, offset, length) if length <= MAX_DESCRIPTORS else b""


def _descriptor_size(block: Any) -> int:
    wide = bool(block.feature_incompat & HAS_64BIT) and 32 <= block.descriptor_size <= 1024
    return int(block.descriptor_size) if wide else 32


def _locations(descriptors: bytes, block: Any) -> list[bytes]:
    size = _descriptor_size(block)
    return [descriptors[at : at + LOCATIONS] for at in range(0, len(descriptors), size)]
