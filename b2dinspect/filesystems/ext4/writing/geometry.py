"""Where the parts of a new ext4 go: groups, descriptors, bitmaps, inode tables, as mke2fs 1.47.0 has them.

Source: e2fsprogs 1.47.0, lib/ext2fs/initialize.c (sizes), alloc_tables.c (flexible groups) and mkjournal.c
(the journal's size and place); Linux, Documentation/filesystems/ext4/blockgroup.rst.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Iterator

from b2dinspect.errors import FilesystemError
from b2dinspect.records import NamedTuple

BLOCK = 4096
INODE = 256
DESCRIPTOR = 64
"""Bytes of a block, an inode and a group descriptor."""
FLEX = 16
"""Groups whose bitmaps and inode tables lie together."""
FIRST_INODE = 11
RESERVED_PERCENT = 5
ADDRESSES = BLOCK // 4
MAX_GROUP = 8 * BLOCK
MIN_BLOCKS = 2048
"""Fewer have no room for a journal."""
JOURNALS = (
    (32768, 1024),
    (256 << 10, 4096),
    (512 << 10, 8192),
    (4096 << 10, 16384),
    (8192 << 10, 32768),
    (16384 << 10, 65536),
    (32768 << 10, 131072),
)
"""Blocks of a filesystem below which its journal has so many blocks."""
MAX_JOURNAL = 262144


class Geometry(NamedTuple):
    """The sizes of a filesystem with blocks of 4096 bytes. All counts are in blocks, or as named.

    Attributes:
        blocks: In all.
        group_blocks: In a group.
        group_inodes: Inodes in a group.
        groups: Number of groups.
        descriptor_blocks: That all group descriptors take.
        spare_blocks: Kept behind them, for descriptors of a larger filesystem (resize_inode).
        reserved: For the super user.
    """

    blocks: int
    group_blocks: int
    group_inodes: int
    groups: int
    descriptor_blocks: int
    spare_blocks: int
    reserved: int

    @property
    def table_blocks(self) -> int:
        """Blocks of the inode table of one group."""
        return self.group_inodes * INODE // BLOCK

    @property
    def head_blocks(self) -> int:
        """Blocks of a superblock, the descriptors behind it, and what is kept behind those."""
        return 1 + self.descriptor_blocks + self.spare_blocks

    @property
    def journal_blocks(self) -> int:
        """Blocks of the journal."""
        return next((size for limit, size in JOURNALS if self.blocks < limit), MAX_JOURNAL)

    def heads(self) -> list[int]:
        """Return the groups that begin with a superblock: 0 and 1, and the powers of 3, 5 and 7."""
        powers = {base**n for base in (3, 5, 7) for n in range(21)}
        return sorted(group for group in {0} | powers if group < self.groups)

    def group_start(self, group: int) -> int:
        """Return the first block of a group."""
        return group * self.group_blocks

    def group_end(self, group: int) -> int:
        """Return the block behind a group."""
        return min(self.blocks, (group + 1) * self.group_blocks)


def geometry_for(size: int, inode_ratio: int) -> Geometry:
    """Return what mke2fs makes of a partition.

    Args:
        size: Bytes of the partition.
        inode_ratio: Bytes for which there is to be an inode (``-i``).

    Raises:
        FilesystemError: Too small for a journal, or too large for block numbers of 32 bits.
    """
    wanted = blocks = size // BLOCK
    reserved = wanted * RESERVED_PERCENT // 100
    inodes = min(wanted * BLOCK // inode_ratio, 0xFFFFFFFF)
    group_blocks = MAX_GROUP
    if wanted < MIN_BLOCKS:
        raise FilesystemError(f"{size} bytes are too few for an ext4 with a journal")
    if wanted >= 1 << 32:
        raise FilesystemError(f"{size} bytes: an ext4 of 16 TiB and more is not made here")
    while True:
        groups = -(-blocks // group_blocks)
        per_group = -(-inodes // groups)
        if per_group > MAX_GROUP:  # one block of bitmap has no more bits: smaller groups, then
            group_blocks -= 8
            blocks = wanted
            continue
        found = _sized(blocks, group_blocks, per_group, reserved)
        last = blocks % group_blocks
        need = 2 + found.table_blocks + (found.head_blocks if groups - 1 in found.heads() else 0)
        if groups == 1 or not last or last >= need + 50:
            return found
        blocks -= last  # the last group would hold nothing but its own tables
        reserved = int(100.0 * (wanted * RESERVED_PERCENT // 100) / wanted * blocks / 100.0)


def _sized(blocks: int, group_blocks: int, per_group: int, reserved: int) -> Geometry:
    groups = -(-blocks // group_blocks)
    inodes = _whole_blocks(per_group)
    while inodes * groups > 0xFFFFFFFF:
        per_group -= 1
        inodes = _whole_blocks(per_group)
    while inodes * groups < FIRST_INODE + 1:
        per_group += 8
        inodes = _whole_blocks(per_group)
    per_block = BLOCK // DESCRIPTOR
    descriptors = -(-groups // per_block)
    largest = min(0xFFFFFFFF, blocks * 1024) if blocks < 0xFFFFFFFF // 1024 else 0xFFFFFFFF
    later = -(-largest // group_blocks)
    spare = min(-(-later // per_block) - descriptors, ADDRESSES)
    return Geometry(blocks, group_blocks, inodes, groups, descriptors, spare, reserved)


def _whole_blocks(inodes: int) -> int:
    """Return so many inodes that they fill the blocks of their table, and whole bytes of a bitmap."""
    per_block = BLOCK // INODE
    return max(8, -(-inodes // per_block) * per_block) & ~7


class UsedBlocks:
    """The used blocks of a filesystem in the making, as runs.

    Args:
        blocks: In all.
    """

    def __init__(self, blocks: int) -> None:
        self.blocks = blocks
        self._starts: list[int] = []
        self._ends: list[int] = []

    def claim(self, start: int, count: int) -> int:
        """Mark blocks that were free as used, and return the first."""
        at = bisect_right(self._starts, start)
        joins_left = at > 0 and self._ends[at - 1] == start
        joins_right = at < len(self._starts) and self._starts[at] == start + count
        if joins_left and joins_right:
            self._ends[at - 1] = self._ends.pop(at)
            del self._starts[at]
        elif joins_left:
            self._ends[at - 1] = start + count
        elif joins_right:
            self._starts[at] = start
        else:
            self._starts.insert(at, start)
            self._ends.insert(at, start + count)
        return start

    def find(self, start: int, stop: int, count: int) -> int | None:
        """Return the first of so many free blocks in a row, which begin between ``start`` and ``stop``."""
        at = bisect_right(self._ends, start)
        while start < stop and start + count <= self.blocks:
            if at == len(self._starts) or self._starts[at] >= start + count:
                return start
            start = self._ends[at]
            at += 1
        return None

    def take(self, goal: int, count: int, longest: int) -> list[tuple[int, int]]:
        """Claim blocks from ``goal`` on, then from 0; return the runs, each of at most ``longest``.

        Raises:
            FilesystemError: There are not so many.
        """
        runs: list[tuple[int, int]] = []
        position, has_turned = goal, False
        while count:
            at = bisect_right(self._ends, position)
            if at < len(self._starts) and self._starts[at] <= position:
                position = self._ends[at]
            if position >= self.blocks:
                if has_turned:
                    raise FilesystemError("the filesystem has too few free blocks")
                position, has_turned = 0, True
                continue
            at = bisect_left(self._starts, position)
            end = self._starts[at] if at < len(self._starts) else self.blocks
            length = min(count, end - position, longest)
            runs.append((self.claim(position, length), length))
            position += length
            count -= length
        return runs

    def within(self, start: int, stop: int) -> Iterator[tuple[int, int]]:
        """Yield the used runs of a range of blocks in order, as (first block, block behind)."""
        for at in range(bisect_right(self._ends, start), len(self._starts)):
            if self._starts[at] >= stop:
                return
            yield max(start, self._starts[at]), min(stop, self._ends[at])


class GroupTables(NamedTuple):
    """Where each group has its bitmaps and its inode table: blocks, by group."""

    block_bitmaps: list[int]
    inode_bitmaps: list[int]
    inode_tables: list[int]


def place_tables(geometry: Geometry, space: UsedBlocks) -> GroupTables:
    """Claim the heads, bitmaps and inode tables of all groups: sixteen groups have theirs together."""
    for group in geometry.heads():
        space.claim(geometry.group_start(group), geometry.head_blocks)
    tables = GroupTables([], [], [])
    for group in range(geometry.groups):
        for kind, places in enumerate(tables):
            places.append(_place(geometry, space, tables, kind, group))
    return tables


def _place(geometry: Geometry, space: UsedBlocks, tables: GroupTables, kind: int, group: int) -> int:
    """Claim one table of a group: behind that of the group before, or else where there is room for it."""
    count = geometry.table_blocks if kind == 2 else 1
    first = group - group % FLEX
    last = min(first + FLEX, geometry.groups) - 1
    stop = geometry.group_end(last) - 1
    together = min((last - group + 1) * count, geometry.group_blocks // 4)
    goal: int | None = None
    if group > first:
        goal = tables[kind][group - 1] + count
    elif kind:
        is_last = last == geometry.groups - 1 and last > first  # the last ones are kept close together
        goal = tables[kind - 1][group] + (last - first + 1 if is_last else FLEX)
    found = None if goal is None else space.find(goal, goal + together, count)
    start = geometry.group_start(first)
    if found is None:
        found = space.find(start, stop, together)
    if found is None:
        found = space.find(start, stop, count)
    if found is None:
        found = space.find(0, stop, count)
    if found is None:
        raise FilesystemError("the tables of the groups find no room")
    return space.claim(found, count)


def used_blocks(geometry: Geometry, space: UsedBlocks) -> list[int]:
    """Return the used blocks of each group."""
    used = [0] * geometry.groups
    for start, end in space.within(0, geometry.blocks):
        while start < end:
            group = start // geometry.group_blocks
            stop = min(end, geometry.group_end(group))
            used[group] += stop - start
            start = stop
    return used


def journal_goal(geometry: Geometry, used: list[int]) -> int:
    """Return the block from which on the journal is placed: in the middle, where there is room.

    Args:
        geometry: The filesystem's.
        used: The used blocks of each group.
    """

    def free(group: int) -> int:
        return geometry.group_end(group) - geometry.group_start(group) - used[group]

    group = geometry.blocks // 2 // geometry.group_blocks
    start = max(0, group - 1)
    if group > FLEX:
        group &= ~(FLEX - 1)
        start = next((one for one in range(group, geometry.groups) if free(one)), 0)
        group = start
    end = min(group + 1, geometry.groups - 1)
    return geometry.group_start(max(range(start, end + 1), key=free))
