"""Which blocks a file has: the extent tree of ext4, and the block map of ext2 and ext3.

Source: Linux, Documentation/filesystems/ext4/ifork.rst. A tree is believed in nothing: its depth falls by
one at each level, no block of it is read twice, and what it says has an end.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from typing import NamedTuple

from b2dinspect.errors import FilesystemError
from b2dinspect.fields import packer
from b2dinspect.filesystems.ext4 import layout
from b2dinspect.filesystems.ext4.inodes import Inode
from b2dinspect.source import ByteSource, Run, read_exactly

MAX_RUNS = 500_000
"""Pieces of one file."""
MAX_NODES = 50_000
"""Blocks of one file's tree or map."""
DIRECT = 12
"""Blocks that a block map names in the inode itself."""

_HEADER = packer(layout.EXTENT_HEADER)
_EXTENT = packer(layout.EXTENT)
_INDEX = packer(layout.EXTENT_INDEX)
_ONE_EXTENT = b"\x0a\xf3\1\0\4\0\0\0"
"""How a header begins that has room for four extents, and one of them."""


class MappedBlocks(NamedTuple):
    """Blocks of a file that lie in a row.

    Attributes:
        logical: The first of them, counted in the file.
        length: How many.
        physical: The first of them, counted on the filesystem.
        is_written: Whether the file's content is in them; else they are only kept for it.
    """

    logical: int
    length: int
    physical: int
    is_written: bool


class Mapper:
    """The blocks of files on one filesystem.

    Args:
        fs: The filesystem, from its first byte.
        block_size: Bytes a block.
    """

    def __init__(self, fs: ByteSource, block_size: int) -> None:
        self._fs = fs
        self._block_size = block_size

    def runs(self, inode: Inode) -> list[Run]:
        """Return where a file's bytes are, in order; a hole, or room that was never written, is None.

        Raises:
            FilesystemError: The tree makes no sense, or has no end.
            MissingDataError: This evidence does not hold all of the tree.
        """
        size = self._block_size
        if inode.flags & layout.EXTENTS and inode.block.startswith(_ONE_EXTENT):  # most files are so
            logical, count, high, low = _EXTENT.unpack_from(inode.block, _HEADER.size)
            if not logical and 0 < count <= layout.INITIALIZED:
                return [Run(count * size, (low | high << 32) * size)]
        found: list[Run] = []
        position = begin = 0
        start: int | None = None
        for logical, count, physical, is_written in self._pieces(inode, set()):
            place = physical if is_written else None
            if logical < position:
                raise _fault(inode, f"block {logical} of the file comes behind block {position - 1}")
            if start is not None and place == start + position - begin and logical == position:
                position += count  # goes on where the last one ended
                continue
            if position > begin:
                found.append(_run(position - begin, start, size))
            if logical > position:
                found.append(_run(logical - position, None, size))
            begin, position, start = logical, logical + count, place
            if len(found) > MAX_RUNS:
                raise _fault(inode, f"a file in more than {MAX_RUNS} pieces")
        if position > begin:
            found.append(_run(position - begin, start, size))
        return found

    def taken(self, inode: Inode) -> list[tuple[int, int]]:
        """Return all blocks that a file takes, as (first, count): its content, written or not, and its tree.

        Raises:
            FilesystemError, MissingDataError: As ``runs``.
        """
        tree: set[int] = set()
        found = [(physical, count) for _, count, physical, _ in self._pieces(inode, tree)]
        return found + [(block, 1) for block in sorted(tree)]

    def unwritten(self, inode: Inode) -> list[tuple[int, int]]:
        """Return the blocks that are kept for a file and were never written, as (first, count).

        Raises:
            FilesystemError, MissingDataError: As ``runs``.
        """
        pieces = self._pieces(inode, set())
        return [(physical, count) for _, count, physical, is_written in pieces if not is_written]

    def _pieces(self, inode: Inode, seen: set[int]) -> Iterator[MappedBlocks]:
        """Yield the pieces of a file; ``seen`` takes the blocks of its tree."""
        if inode.flags & layout.EXTENTS:
            yield from self._extents(inode, inode.block, None, seen)
            return
        last = -(-inode.size // self._block_size)
        pointers = struct.unpack("<15I", inode.block)
        yield from (MappedBlocks(at, 1, block, True) for at, block in enumerate(pointers[:DIRECT]) if block)
        position, span = DIRECT, self._block_size // 4
        for level, block in enumerate(pointers[DIRECT:]):
            if block and position < last:
                yield from self._indirect(inode, block, level, position, last, seen)
            position += span ** (level + 1)

    def _extents(
        self, inode: Inode, node: bytes, depth: int | None, seen: set[int]
    ) -> Iterator[MappedBlocks]:
        """Yield what a node of the extent tree, and all below it, says; ``depth`` is what it has to have."""
        magic, entries, _, levels, _ = _HEADER.unpack_from(node)
        end = _HEADER.size + entries * _EXTENT.size
        if magic != layout.EXTENT_MAGIC or end > len(node):
            raise _fault(inode, "no extent tree where one should be")
        if levels > layout.MAX_EXTENT_DEPTH if depth is None else levels != depth:
            raise _fault(
                inode, f"an extent tree with {levels} levels, where {depth or 'up to 5'} are possible"
            )
        body = node[_HEADER.size : end]
        if levels:
            for _, low, high, _ in _INDEX.iter_unpack(body):
                below = self._read(inode, low | high << 32, seen)
                yield from self._extents(inode, below, levels - 1, seen)
            return
        for logical, count, high, low in _EXTENT.iter_unpack(body):
            is_written = count <= layout.INITIALIZED
            length = count if is_written else count - layout.INITIALIZED
            yield MappedBlocks(logical, length, low | high << 32, is_written)

    def _indirect(
        self, inode: Inode, block: int, level: int, position: int, last: int, seen: set[int]
    ) -> Iterator[MappedBlocks]:
        """Yield what an indirect block, for the blocks from ``position`` on, says up to ``last``."""
        pointers = struct.unpack(f"<{self._block_size // 4}I", self._read(inode, block, seen))
        if not any(pointers):
            return
        span = len(pointers) ** level
        for at, pointer in enumerate(pointers):
            here = position + at * span
            if here >= last:
                return
            if pointer and level:
                yield from self._indirect(inode, pointer, level - 1, here, last, seen)
            elif pointer:
                yield MappedBlocks(here, 1, pointer, True)

    def _read(self, inode: Inode, block: int, seen: set[int]) -> bytes:
        """Return a block of a tree, unless it was read before."""
        if block in seen:
            raise _fault(inode, f"block {block} is twice in its tree")
        if len(seen) >= MAX_NODES:
            raise _fault(inode, f"more than {MAX_NODES} blocks of a tree")
        seen.add(block)
        return read_exactly(
            self._fs, block * self._block_size, self._block_size, FilesystemError, "block map"
        )


def _run(count: int, start: int | None, size: int) -> Run:
    return Run(count * size, None if start is None else start * size)


def _fault(inode: Inode, text: str) -> FilesystemError:
    return FilesystemError(f"inode {inode.number}: {text}", layer="block map")
