"""Whose a byte of the disk is: which partition, and which file of it.

A filesystem knows which blocks a file has, not which file has a block. To turn that around for a few hits,
inodes are read a handful of groups at a time, those nearest to the block first, since ext4 puts a file's
blocks near its inode, and the inode near its directory's (Linux, fs/ext4/{balloc,ialloc}.c). A block that its
bitmap has as free costs no inode at all. What was read once is kept, as plain numbers.
"""

from __future__ import annotations

import stat
from array import array
from bisect import bisect_right
from collections.abc import Iterable, Iterator

from b2dinspect.errors import EvidenceError
from b2dinspect.filesystems import superblock
from b2dinspect.filesystems.ext4.claims import blocks_of
from b2dinspect.filesystems.ext4.inodes import Inode, Inodes
from b2dinspect.filesystems.ext4.layout import ROOT
from b2dinspect.filesystems.ext4.mapping import Mapper
from b2dinspect.filesystems.ext4.reader import ExtReader
from b2dinspect.inspection.facts import Inspection
from b2dinspect.inspection.volumes import Volume
from b2dinspect.records import NamedTuple
from b2dinspect.search.facts import Area, Place
from b2dinspect.source import ByteSource

TOGETHER = 16
"""Groups whose inodes are read together: a flexible group of mke2fs, with their tables side by side."""
MAX_INODES = 8 << 20
"""Inodes that are looked at: a disk of 64 GB has as many; what lies behind them has no name."""
MAX_CLIMB = 128
FIRST = 11
"""The first inode that is a user's (Linux, fs/ext4/ext4.h, EXT4_GOOD_OLD_FIRST_INO)."""
PAGE = 1024
"""Inodes whose directories are noted together."""


class Owners:
    """The owners of bytes of one disk.

    Args:
        facts: The disk, open.
    """

    def __init__(self, facts: Inspection) -> None:
        volumes = [one for one in (*facts.volumes, *facts.living) if one.filesystem != "extended"]
        self._volumes = sorted(volumes, key=lambda one: (one.partition.offset, -one.partition.size))
        self._files: dict[int, BlockOwners | None] = {}
        self._names: dict[tuple[int, int], Place] = {}

    def place(self, offset: int) -> Place:
        """Return whose a byte of the disk is; never raises for what the disk holds."""
        number = next((i for i, one in enumerate(self._volumes) if _holds(one, offset)), None)
        if number is None:
            return Place(None, "gap")
        volume = self._volumes[number]
        part = volume.partition.number
        if volume.filesystem == "swap":
            return Place(part, "swap")
        if not volume.is_ext:
            return Place(part, "unallocated" if volume.filesystem == "none" else "unknown")
        try:
            if number not in self._files:
                self._files[number] = None
                self._files[number] = BlockOwners(volume.source, volume.superblock)
            owners = self._files[number]
            return owners.place(part, offset - volume.partition.offset) if owners else Place(part, "unknown")
        except EvidenceError:
            return Place(part, "unknown")


def _holds(volume: Volume, offset: int) -> bool:
    start = volume.partition.offset
    return start <= offset < start + volume.partition.size


class _Blocks(NamedTuple):
    """Runs of blocks of some groups' inodes, by their first block."""

    firsts: array[int]
    counts: array[int]
    inodes: array[int]

    def find(self, block: int) -> int:
        """Return the inode that has a block; 0 for none of these."""
        at = bisect_right(self.firsts, block) - 1
        return self.inodes[at] if at >= 0 and block < self.firsts[at] + self.counts[at] else 0


def _blocks(found: Iterable[tuple[int, int, int]]) -> _Blocks:
    """Return runs of blocks, each with its inode, in their order; neighbours of one inode joined."""
    blocks = _Blocks(array("Q"), array("Q"), array("I"))
    end = owner = -1
    for first, count, inode in sorted(found):
        if first == end and inode == owner:
            blocks.counts[-1] += count
        else:
            blocks.firsts.append(first)
            blocks.counts.append(count)
            blocks.inodes.append(inode)
        end, owner = first + count, inode
    return blocks


class BlockOwners:
    """The owners of one filesystem's blocks.

    Args:
        fs: The filesystem, from its first byte.
        block: Its superblock, parsed.

    Raises:
        FilesystemError: It makes no sense.
    """

    def __init__(self, fs: ByteSource, block: object) -> None:
        self._super = block
        self._inodes = Inodes(fs, block)
        self._reader = ExtReader(fs)
        self._size = self._inodes.block_size
        self._mapper = Mapper(fs, self._size)
        self._count = superblock.block_count(block)
        self._per_group = int(block.blocks_per_group)  # type: ignore[attr-defined]
        self._first = int(block.first_data_block)  # type: ignore[attr-defined]
        self._journal = self._journal_blocks()
        self._loaded: dict[int, _Blocks] = {}
        self._own: dict[int, list[tuple[int, int]]] = {}
        self._directories: dict[int, list[int]] = {}
        self._parents: dict[int, array[int]] = {}
        self._looked_at = 0

    def _journal_blocks(self) -> _Blocks:
        number = int(self._super.journal_inode)  # type: ignore[attr-defined]
        try:
            taken = self._mapper.taken(self._inodes.inode(number)) if number else []
        except EvidenceError:
            taken = []
        return _blocks((first, count, number) for first, count in taken)

    def place(self, partition: int, offset: int) -> Place:
        """Return whose a byte of the filesystem is.

        Raises:
            EvidenceError: The structures that say so cannot be read.
        """
        block = offset // self._size
        if self._journal.find(block):
            return Place(partition, "journal")
        if block < self._first or self._is_own(block):
            return Place(partition, "filesystem")
        if block >= self._count or not self._inodes.is_allocated(block):
            return Place(partition, "unallocated")
        number = self._owner(block)
        if not number:
            return Place(partition, "filesystem" if self._looked_at < MAX_INODES else "unknown")
        inode = self._inodes.inode(number)
        within = self._within(inode, offset)
        area: Area = "filesystem" if within is None else "slack" if within >= inode.size else "file"
        return Place(partition, area, self.path(number), number)

    def _is_own(self, block: int) -> bool:
        """Tell whether a block is one that the filesystem keeps for itself, near where it keeps it."""
        group = (block - self._first) // self._per_group
        if group >= self._inodes.groups:
            return False
        handful = group // TOGETHER
        if handful not in self._own:
            start = handful * TOGETHER
            groups = range(start, min(start + TOGETHER, self._inodes.groups))
            self._own[handful] = [area for one in groups for area in self._inodes.own_blocks(one)]
        own = [self._inodes.own_area(group), *self._own[handful]]
        return any(first <= block < first + count for first, count in own)

    def _owner(self, block: int) -> int:
        """Return the inode that has a block; 0 for none."""
        for blocks in self._loaded.values():
            if number := blocks.find(block):
                return number
        for handful in self._near((block - self._first) // self._per_group // TOGETHER):
            if handful not in self._loaded and (number := self._load(handful).find(block)):
                return number
        return 0

    def _near(self, handful: int) -> Iterator[int]:
        """Yield all handfuls of groups, the nearest first."""
        last = -(-self._inodes.groups // TOGETHER)
        yield from sorted(range(last), key=lambda one: abs(one - handful))

    def _load(self, handful: int) -> _Blocks:
        """Read the inodes of a handful of groups; one that makes no sense costs itself."""
        found: list[tuple[int, int, int]] = []
        directories = []
        start = handful * TOGETHER
        for group in range(start, min(start + TOGETHER, self._inodes.groups)):
            for inode in self._used_in(group):
                if stat.S_ISDIR(inode.mode):
                    directories.append(inode.number)
                elif inode.number < FIRST:
                    continue  # the filesystem's own: the journal, room for growing
                try:
                    found += [(first, count, inode.number) for first, count in blocks_of(self._mapper, inode)]
                except EvidenceError:
                    continue
        blocks = self._loaded[handful] = _blocks(found)
        self._directories[handful] = directories
        return blocks

    def _used_in(self, group: int) -> Iterator[Inode]:
        if self._looked_at >= MAX_INODES:
            return
        try:
            for inode in self._inodes.used_in(group):
                self._looked_at += 1
                yield inode
        except EvidenceError:
            return

    def _within(self, inode: Inode, offset: int) -> int | None:
        """Return which byte of a file a byte of the filesystem is; None when it is none of its content."""
        position = 0
        for run in self._mapper.runs(inode):
            start = run.parent_offset
            if start is not None and start <= offset < start + run.length:
                return position + offset - start
            position += run.length
        return None if not inode.size or stat.S_ISDIR(inode.mode) else self._kept(inode, offset)

    def _kept(self, inode: Inode, offset: int) -> int | None:
        """Return a byte behind a file's end for a block that is kept for it and was never written."""
        block = offset // self._size
        is_kept = any(first <= block < first + count for first, count in self._mapper.unwritten(inode))
        return inode.size if is_kept else None

    def path(self, inode: int) -> bytes | None:
        """Return a path that leads to an inode; None when no directory that was read names it."""
        parts: list[bytes] = []
        while inode != ROOT:
            parent = self._parent(inode)
            if not parent or len(parts) > MAX_CLIMB:
                return None
            names = self._reader.names(parent, [])
            parts.append(next((name for name, child in names if child == inode), b"?"))
            inode = parent
        return b"/" + b"/".join(reversed(parts))

    def _parent(self, inode: int) -> int:
        """Return the directory that names an inode; 0 for none."""
        if found := self._noted(inode):
            return found
        self._note(ROOT)
        if found := self._noted(inode):
            return found
        group = (inode - 1) // self._inodes.per_group
        for handful in self._near(group // TOGETHER):
            if handful not in self._loaded:
                self._load(handful)
            directories, self._directories[handful] = self._directories[handful], []
            for directory in directories:
                self._note(directory)
            if found := self._noted(inode):
                return found
        return 0

    def _noted(self, inode: int) -> int:
        page = self._parents.get(inode // PAGE)
        return page[inode % PAGE] if page else 0

    def _note(self, directory: int) -> None:
        """Note for all that a directory names that it does."""
        try:
            names = self._reader.names(directory, [])
        except EvidenceError:
            return
        for _, child in names:
            if 0 < child <= self._inodes.count:
                page = self._parents.setdefault(child // PAGE, array("I", bytes(4 * PAGE)))
                page[child % PAGE] = directory
