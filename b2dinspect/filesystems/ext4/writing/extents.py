"""Extent trees as they are written: up to four extents in the inode, more of them in blocks below it.

Source: Linux, Documentation/filesystems/ext4/ifork.rst (extent tree).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

from b2dinspect.errors import FilesystemError
from b2dinspect.fields import size_of
from b2dinspect.filesystems.ext4.layout import EXTENT, EXTENT_HEADER, EXTENT_INDEX, EXTENT_MAGIC, INITIALIZED
from b2dinspect.filesystems.ext4.writing.checksums import sealed_extents
from b2dinspect.records import NamedTuple

ENTRY = size_of(EXTENT)
IN_INODE = 4
MAP = 60
"""Bytes of the inode that hold the tree's root."""


class BlockRun(NamedTuple):
    """Blocks of a file that lie in a row.

    Attributes:
        logical: First block of the file.
        physical: First block of the filesystem.
        length: Blocks.
    """

    logical: int
    physical: int
    length: int


def joined(blocks: Sequence[tuple[int, int]], start: int = 0) -> list[BlockRun]:
    """Return the runs of a file without holes.

    Args:
        blocks: Runs of the filesystem's blocks, as (first, count), in the order of the file.
        start: The first block of the file.
    """
    runs: list[BlockRun] = []
    for first, count in blocks:
        last = runs[-1] if runs else None
        if last and last.physical + last.length == first and last.length + count <= INITIALIZED:
            runs[-1] = last._replace(length=last.length + count)
        else:
            runs.append(BlockRun(start, first, count))
        start += count
    return runs


def leaves_needed(runs: int, block_size: int) -> int:
    """Return how many blocks besides the inode a tree of so many extents takes.

    Raises:
        FilesystemError: More than two levels would be needed.
    """
    if runs <= IN_INODE:
        return 0
    leaves = -(-runs // capacity(block_size))
    if leaves > IN_INODE:
        raise FilesystemError("the free blocks are too scattered for one file")
    return leaves


def capacity(block_size: int) -> int:
    """Return how many extents a block holds; the checksum, if any, is behind them."""
    return (block_size - size_of(EXTENT_HEADER)) // ENTRY


def build_tree(
    runs: Sequence[BlockRun], leaves: Sequence[int], block_size: int, seed: int | None
) -> tuple[bytes, list[tuple[int, bytes]]]:
    """Return the 60 bytes for the inode, and what is to be written to which block.

    Args:
        runs: The file's, in order.
        leaves: Blocks for the tree, as many as ``leaves_needed`` says.
        block_size: Bytes.
        seed: The inode's, for checksums; None without metadata_csum.
    """
    if not leaves:
        return _node(runs, IN_INODE, 0, _extent).ljust(MAP, b"\0"), []
    size = capacity(block_size)
    parts = [runs[at : at + size] for at in range(0, len(runs), size)]
    written = []
    for block, part in zip(leaves, parts, strict=True):
        body = _node(part, size, 0, _extent)
        whole = body.ljust(block_size, b"\0")
        end = size_of(EXTENT_HEADER) + size * ENTRY
        written.append((block, whole if seed is None else sealed_extents(whole[:end], seed)))
    index = [BlockRun(part[0].logical, block, 0) for block, part in zip(leaves, parts, strict=True)]
    return _node(index, IN_INODE, 1, _index).ljust(MAP, b"\0"), written


def _node(runs: Sequence[BlockRun], size: int, depth: int, entry: Callable[[BlockRun], bytes]) -> bytes:
    header = {"magic": EXTENT_MAGIC, "entries": len(runs), "capacity": size, "depth": depth, "generation": 0}
    return bytes(EXTENT_HEADER.build(header)) + b"".join(entry(run) for run in runs)


def _extent(run: BlockRun) -> bytes:
    high, low = run.physical >> 32, run.physical & 0xFFFFFFFF
    fields = {"logical": run.logical, "length": run.length, "physical_hi": high, "physical_lo": low}
    return bytes(EXTENT.build(fields))


def _index(run: BlockRun) -> bytes:
    high, low = run.physical >> 32, run.physical & 0xFFFFFFFF
    fields = {"logical": run.logical, "leaf_lo": low, "leaf_hi": high, "unused": 0}
    return bytes(EXTENT_INDEX.build(fields))
