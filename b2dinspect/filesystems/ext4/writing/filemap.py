"""Giving a file its blocks: an extent tree, or on ext2 and ext3 a block map.

Source: Linux, Documentation/filesystems/ext4/ifork.rst.
"""

from __future__ import annotations

import struct
from collections.abc import Sequence

from b2dinspect.errors import FilesystemError
from b2dinspect.filesystems.ext4.layout import EXTENTS
from b2dinspect.filesystems.ext4.mapping import DIRECT
from b2dinspect.filesystems.ext4.writing import extents
from b2dinspect.filesystems.ext4.writing.checksums import inode_seed
from b2dinspect.filesystems.ext4.writing.groups import Groups, Storage, Super, as_blocks
from b2dinspect.filesystems.ext4.writing.inode import InodeRecord
from b2dinspect.source import SECTOR

HAS_EXTENTS = 0x40


def give_blocks(
    fs: Storage,
    block: Super,
    groups: Groups,
    inode: InodeRecord,
    number: int,
    runs: Sequence[tuple[int, int]],
) -> None:
    """Give an inode its blocks, in the order of the file and without holes; it must have no others.

    Blocks for the tree are claimed, too. The size of the file becomes that of its blocks.

    Args:
        fs: The filesystem.
        block: Its superblock.
        groups: Where blocks come from.
        inode: The inode.
        number: Its number.
        runs: Blocks, as (first, count).

    Raises:
        FilesystemError: The file is too scattered, or too large for a block map.
    """
    goal = (number - 1) // block.group_inodes
    if block.get("feature_incompat") & HAS_EXTENTS:
        found = extents.joined(runs)
        needed = extents.leaves_needed(len(found), block.block_size)
        leaves = as_blocks(groups.take_blocks(goal, needed)) if needed else []
        seed = inode_seed(block.seed, number, inode.get("generation")) if block.has_checksums else None
        below = inode.map_extents(found, leaves, block.block_size, seed)
    else:
        below = _map_blocks(block, groups, inode, goal, as_blocks(runs))
    for place, data in below:
        fs.pwrite(place * block.block_size, data)


def _map_blocks(
    block: Super, groups: Groups, inode: InodeRecord, goal: int, blocks: list[int]
) -> list[tuple[int, bytes]]:
    per_block = block.block_size // 4
    direct, rest = blocks[:DIRECT], blocks[DIRECT:]
    single, double = rest[:per_block], rest[per_block:]
    if len(double) > per_block * per_block:
        raise FilesystemError("the file is too large for a block map that is made here")
    parts = [double[at : at + per_block] for at in range(0, len(double), per_block)]
    needed = bool(single) + bool(parts) + len(parts)
    nodes = iter(as_blocks(groups.take_blocks(goal, needed)) if needed else [])
    written: list[tuple[int, bytes]] = []
    pointers = [*direct, *[0] * (DIRECT - len(direct)), 0, 0, 0]
    if single:
        pointers[DIRECT] = next(nodes)
        written.append((pointers[DIRECT], _pointers(single, per_block)))
    if parts:
        pointers[DIRECT + 1] = next(nodes)
        below = [next(nodes) for _ in parts]
        written.append((pointers[DIRECT + 1], _pointers(below, per_block)))
        written += [(node, _pointers(part, per_block)) for node, part in zip(below, parts, strict=True)]
    inode.set(flags=inode.get("flags") & ~EXTENTS, block=struct.pack("<15I", *pointers))
    inode.set(size=len(blocks) * block.block_size)
    inode.set(blocks=(len(blocks) + needed) * (block.block_size // SECTOR))
    return written


def _pointers(blocks: Sequence[int], per_block: int) -> bytes:
    return struct.pack(f"<{per_block}I", *blocks, *[0] * (per_block - len(blocks)))
