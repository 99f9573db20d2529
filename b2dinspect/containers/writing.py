"""The loop that all writers share: a range of the disk, block by block, to its places in the file."""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator
from typing import TYPE_CHECKING

from b2dinspect.source import is_zeros

if TYPE_CHECKING:
    from b2dinspect.newfile import Sink
    from b2dinspect.source import FileSource


class BlockWriter(ABC):
    """A new disk, of which a block is stored when something other than zeros is first written to it.

    Args:
        sink: An empty file to write to.
        size: Virtual size in bytes.
        block_size: Bytes that the format stores together.

    Attributes:
        size: The virtual size.
    """

    def __init__(self, sink: Sink, size: int, block_size: int) -> None:
        self.size = size
        self._sink = sink
        self._block_size = block_size

    @abstractmethod
    def _locate(self, offset: int) -> int | None:
        """Return the file offset of a byte of the disk, or None when its block is not stored."""

    @abstractmethod
    def _allocate(self, offset: int) -> int:
        """Give the block of this byte a place in the file, and return the byte's."""

    @abstractmethod
    def flush(self) -> None:
        """Write headers and tables, give the file its full length, and sync. Writing may go on."""

    def locate(self, offset: int) -> int | None:
        """Return the file offset of a byte of the disk; None where it is not stored, or packed."""
        return self._locate(offset) if 0 <= offset < self.size else None

    def pwrite(self, offset: int, data: bytes) -> None:
        """Write ``data`` at a virtual ``offset``; blocks that are neighbours in the file go out together.

        Raises:
            ValueError: The range does not lie within the disk.
        """
        self._check(offset, len(data))
        view = memoryview(data)
        for place, start, end in self._runs(offset, len(data), view):
            self._sink.pwrite(place, view[start:end])

    def pcopy(self, offset: int, source: FileSource, begin: int, length: int) -> None:
        """Write ``length`` bytes of an open file, from its byte ``begin`` on, at a virtual ``offset``.

        The system copies them, unseen: all of them are stored, zeros too.

        Raises:
            ValueError: The range does not lie within the disk.
        """
        self._check(offset, length)
        for place, start, end in self._runs(offset, length, None):
            self._sink.pcopy(place, source, begin + start, end - start)

    def pread(self, offset: int, length: int) -> bytes:
        """Return up to ``length`` bytes at a virtual ``offset``, as written so far; fewer only at the end."""
        if offset < 0 or length < 0:
            raise ValueError(f"offset {offset} and length {length} must not be negative")
        end = min(self.size, offset + length)
        return b"".join(self._read(offset + position, count) for position, count in self._pieces(offset, end))

    def _runs(self, offset: int, length: int, view: memoryview | None) -> Iterator[tuple[int, int, int]]:
        """Yield where in the file a range goes, and what of it: start and end, counted from its first byte.

        Blocks that are neighbours in the file are one run. Without ``view`` of the bytes none are zeros.
        """
        start = place = 0  # what is between start and position is pending, and belongs at `place`
        for position, count in self._pieces(offset, offset + length):
            piece = view[position : position + count] if view is not None else None
            where = self._place(offset + position, count, piece)
            if where is None or where != place + position - start:
                if start < position:
                    yield place, start, position
                start, place = (position, where) if where is not None else (position + count, 0)
        if start < length:
            yield place, start, length

    def _place(self, offset: int, count: int, piece: memoryview | None) -> int | None:
        """Return where in the file a piece of a block goes; None for zeros that need not be stored."""
        where = self._locate(offset)
        if where is None and not (piece is not None and is_zeros(piece)):
            where = self._allocate(offset)
        return where

    def _read(self, offset: int, count: int) -> bytes:
        """Return a piece of a block."""
        where = self._locate(offset)
        return (b"" if where is None else self._sink.pread(where, count)).ljust(count, b"\0")

    def _pieces(self, offset: int, end: int) -> Iterator[tuple[int, int]]:
        """Yield, block by block, where in the range it begins, and its bytes there."""
        position = offset
        while position < end:
            count = min(self._block_size - position % self._block_size, end - position)
            yield position - offset, count
            position += count

    def _check(self, offset: int, length: int) -> None:
        if offset < 0 or offset + length > self.size:
            raise ValueError(f"{length} bytes at {offset} do not fit on a disk of {self.size}")
