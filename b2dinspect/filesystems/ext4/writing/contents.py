"""What is in a new ext4 before anybody uses it: root, lost+found, the journal and the inode for growing.

Source: e2fsprogs 1.47.0, misc/mke2fs.c (root, lost+found), lib/ext2fs/mkjournal.c and res_gdt.c.
"""

from __future__ import annotations

import struct
import uuid
from collections.abc import Iterator

from b2dinspect.filesystems.ext4.layout import (
    EXTENTS,
    INITIALIZED,
    JOURNAL,
    JOURNAL_MAGIC,
    JOURNAL_VERSION_2,
    ROOT,
)
from b2dinspect.filesystems.ext4.writing import extents, linear
from b2dinspect.filesystems.ext4.writing.checksums import TAIL, inode_seed, sealed_directory
from b2dinspect.filesystems.ext4.writing.geometry import (
    ADDRESSES,
    BLOCK,
    FIRST_INODE,
    INODE,
    Geometry,
    UsedBlocks,
    journal_goal,
    used_blocks,
)
from b2dinspect.filesystems.ext4.writing.inode import DIRECTORY_TYPE, InodeRecord, new_inode
from b2dinspect.records import NamedTuple

BAD_BLOCKS, RESIZE, JOURNAL_INODE, LOST_FOUND = 1, 7, 8, FIRST_INODE
LOST_FOUND_BLOCKS = 4
DOUBLE = slice(52, 56)
"""Where the block map of an inode names the double indirect block."""
DIRECT = 12


class Contents(NamedTuple):
    """Where the first files are.

    Attributes:
        root: Block of the root directory.
        lost_found: Runs of lost+found, as (first block, count).
        resize: Block that lists the blocks kept for descriptors; 0 for none.
        journal: The journal's runs.
        leaves: Blocks of its extent tree.
    """

    root: int
    lost_found: list[tuple[int, int]]
    resize: int
    journal: list[extents.BlockRun]
    leaves: list[int]


def place_contents(geometry: Geometry, space: UsedBlocks) -> Contents:
    """Claim the blocks of the first files, in the order in which mke2fs does."""
    root = space.take(0, 1, 1)[0][0]
    lost_found = space.take(0, LOST_FOUND_BLOCKS, LOST_FOUND_BLOCKS)
    resize = 0
    if geometry.spare_blocks:
        resize = space.take(geometry.head_blocks + 2 + geometry.table_blocks, 1, 1)[0][0]
    goal = journal_goal(geometry, used_blocks(geometry, space))
    journal = extents.joined(space.take(goal, geometry.journal_blocks, INITIALIZED))
    needed = extents.leaves_needed(len(journal), BLOCK)
    leaves = [first for first, _ in space.take(journal[0].physical - 1, needed, 1)]
    return Contents(root, lost_found, resize, journal, leaves)


def inode_table(geometry: Geometry, contents: Contents, seed: int, time: int) -> bytes:
    """Return the blocks of the first inode table that are used.

    Args:
        geometry: The filesystem's.
        contents: Where its files are.
        seed: Of its checksums.
        time: Seconds since 1970.
    """
    root = new_inode(INODE, 0o40755, time, links=3)
    root.map_extents([extents.BlockRun(0, contents.root, 1)], (), BLOCK, None)
    lost_found = new_inode(INODE, 0o40700, time, links=2)
    lost_found.map_extents(extents.joined(contents.lost_found), (), BLOCK, None)
    bad = InodeRecord(bytes(INODE))
    bad.set(atime=time, ctime=time, mtime=time)
    inodes = {
        BAD_BLOCKS: bad,
        ROOT: root,
        RESIZE: _resize_inode(geometry, contents, time),
        JOURNAL_INODE: _journal_inode(geometry, contents, seed, time)[0],
        LOST_FOUND: lost_found,
    }
    used = [inodes.get(one, InodeRecord(bytes(INODE))).sealed(seed, one) for one in range(1, FIRST_INODE + 1)]
    per_block = BLOCK // INODE
    return b"".join(used).ljust(-(-FIRST_INODE // per_block) * BLOCK, b"\0")


def file_blocks(
    geometry: Geometry, contents: Contents, seed: int, identity: uuid.UUID
) -> Iterator[tuple[int, bytes]]:
    """Yield what the first files hold, as (block, bytes)."""
    size, root = BLOCK - TAIL, inode_seed(seed, ROOT, 0)
    own = linear.entry(ROOT, 12, DIRECTORY_TYPE, b".") + linear.entry(ROOT, 12, DIRECTORY_TYPE, b"..")
    own += linear.entry(LOST_FOUND, size - 24, DIRECTORY_TYPE, b"lost+found")
    yield contents.root, sealed_directory(own, root)
    lost = inode_seed(seed, LOST_FOUND, 0)
    block = linear.first(LOST_FOUND, ROOT, size, DIRECTORY_TYPE)
    for first, count in contents.lost_found:
        for place in range(first, first + count):
            yield place, sealed_directory(block, lost)
            block = linear.empty(size)
    journal = {"magic": JOURNAL_MAGIC, "block_type": JOURNAL_VERSION_2, "sequence": 0, "block_size": BLOCK}
    journal |= {"blocks": geometry.journal_blocks, "first": 1, "next_sequence": 1, "start": 0, "error": 0}
    header = JOURNAL.build(journal | {"features": [0, 0, 0], "uuid": identity, "users": 1})
    yield contents.journal[0].physical, header.ljust(BLOCK, b"\0")
    yield from _journal_inode(geometry, contents, seed, 0)[1]
    yield from _resize_blocks(geometry, contents)


def journal_backup(geometry: Geometry, contents: Contents, seed: int) -> bytes:
    """Return the copy of the journal's block map and size that the superblock keeps."""
    inode = _journal_inode(geometry, contents, seed, 0)[0]
    return inode.raw("block") + inode.raw("size_hi") + inode.raw("size_lo")


def _journal_inode(
    geometry: Geometry, contents: Contents, seed: int, time: int
) -> tuple[InodeRecord, list[tuple[int, bytes]]]:
    inode = new_inode(INODE, 0o100600, time, links=1)
    own = inode_seed(seed, JOURNAL_INODE, 0)
    below = inode.map_extents(contents.journal, contents.leaves, BLOCK, own)
    inode.set(size=geometry.journal_blocks * BLOCK)
    return inode, below


def _resize_inode(geometry: Geometry, contents: Contents, time: int) -> InodeRecord:
    """Return the inode that owns the spare descriptor blocks: each lists its copies behind the backups."""
    if not contents.resize:
        return InodeRecord(bytes(INODE))
    inode = new_inode(INODE, 0o100600, time, links=1)
    copies = sum(1 for _ in geometry.heads()) - 1
    blocks = 1 + geometry.spare_blocks * (1 + copies)
    table = bytearray(extents.MAP)
    table[DOUBLE] = contents.resize.to_bytes(4, "little")
    size = (ADDRESSES * ADDRESSES + ADDRESSES + DIRECT) * BLOCK
    inode.set(flags=inode.get("flags") & ~EXTENTS, block=bytes(table), size=size)
    inode.set(blocks_lo=blocks * (BLOCK // 512))
    return inode


def _resize_blocks(geometry: Geometry, contents: Contents) -> Iterator[tuple[int, bytes]]:
    if not contents.resize:
        return
    spare, first = geometry.spare_blocks, 1 + geometry.descriptor_blocks
    table = [0] * ADDRESSES
    starts = [geometry.group_start(group) for group in geometry.heads()][1:]
    rows = []
    for number in range(spare):
        table[(geometry.descriptor_blocks + number) % ADDRESSES] = first + number
        copies = [start + first + number for start in starts]
        rows.append(struct.pack(f"<{len(copies)}I", *copies).ljust(BLOCK, b"\0"))
    yield first, b"".join(rows)
    yield contents.resize, struct.pack(f"<{ADDRESSES}I", *table)
