"""Who else claims the blocks of a file: on a damaged or forged filesystem writing to it would spread.

Source: e2fsprogs, e2fsck/pass1b.c, which looks for blocks that several inodes claim.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator, Sequence

from b2dinspect.errors import FilesystemError
from b2dinspect.filesystems import superblock
from b2dinspect.filesystems.ext4 import layout
from b2dinspect.filesystems.ext4.inodes import Inode, Inodes
from b2dinspect.filesystems.ext4.mapping import Mapper
from b2dinspect.source import ByteSource

FAST_LINK = 60
"""Bytes of a link's target that the inode itself has room for."""
MAX_INODES = 8 << 20
"""Inodes that are looked at: of those that were ever written, a full disk of 128 GB has as many."""
MAX_GROUPS = 1 << 18
"""Groups that are looked at: of 128 MiB, a disk of 32 TiB has as many; minikube's have half of that."""
Blocks = tuple[int, int]
"""The first block, and how many."""


def other_claims(fs: ByteSource, number: int) -> Iterator[str]:
    """Yield who, beside an inode, claims blocks of it: other inodes, and the filesystem for itself.

    Args:
        fs: The filesystem, from its first byte.
        number: The inode.

    Raises:
        FilesystemError: What others claim cannot be told: a tree makes no sense, or inodes are too many.
        MissingDataError: This evidence does not hold all that must be looked at.
    """
    block = superblock.parse_superblock(fs)[0]
    inodes = Inodes(fs, block)
    if inodes.groups > MAX_GROUPS:
        raise FilesystemError(f"{inodes.groups} groups; {MAX_GROUPS} are looked at", layer="inode")
    if (written := sum(map(inodes.ever_used, range(inodes.groups)))) > MAX_INODES:
        raise FilesystemError(f"{written} inodes; {MAX_INODES} are looked at", layer="inode")
    mapper = Mapper(fs, inodes.block_size)
    mine = sorted(mapper.taken(inodes.inode(number)))
    if _meets(mine, [(0, superblock.OFFSET // inodes.block_size + 1)]):
        yield "the superblock"
    for group in range(inodes.groups):
        if _meets(mine, inodes.own_blocks(group)):
            yield f"group {group} for its bitmaps and inodes"
    for inode in inodes.used():
        if inode.number != number and _meets(mine, blocks_of(mapper, inode)):
            yield f"inode {inode.number}"


def blocks_of(mapper: Mapper, inode: Inode) -> list[Blocks]:
    """Return all blocks of an inode, that of its attributes too; several may share that, but with no file.

    Raises:
        FilesystemError, MissingDataError: Its tree makes no sense, or is not all there.
    """
    found = [(inode.xattr_block, 1)] if inode.xattr_block else []
    mode = inode.mode
    is_short = stat.S_ISLNK(mode) and inode.size < FAST_LINK and not inode.flags & layout.EXTENTS
    has_map = stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode)
    if has_map and not is_short and not inode.flags & layout.INLINE_DATA:
        found += mapper.taken(inode)
    return found


def _meets(mine: Sequence[Blocks], others: Sequence[Blocks]) -> bool:
    low, high = mine[0][0], sum(mine[-1])
    near = [(first, count) for first, count in others if first < high and first + count > low]
    return any(first < at + length and first + count > at for first, count in near for at, length in mine)
