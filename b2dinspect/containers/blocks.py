"""What formats share that store a disk in blocks of their own order, and may have a parent."""

from __future__ import annotations

from abc import abstractmethod
from bisect import bisect_left
from collections.abc import Iterable, Iterator
from itertools import pairwise
from typing import ClassVar, Literal

from b2dinspect.containers.base import Container
from b2dinspect.errors import MissingDataError
from b2dinspect.records import NamedTuple
from b2dinspect.source import ByteSource, Extent


class Piece(NamedTuple):
    """An extent whose bytes may also be the parent's, or packed.

    ``where`` is the offset of data in its file, in bytes; for packed data, what the format finds it by.
    """

    offset: int
    length: int
    kind: Literal["data", "packed", "zero", "parent", "missing"]
    where: int = 0


class BlockContainer(Container):
    """A disk of which each piece is data in the file, packed data, zeros, the parent's or missing.

    Attributes:
        layer: The format, as errors name it.
    """

    layer: ClassVar[str]

    @abstractmethod
    def _piece_at(self, position: int, end: int) -> Piece:
        """Return the piece that begins here, as long as one look at the tables tells."""

    @abstractmethod
    def _why_missing(self, offset: int) -> str:
        """Say why the byte at this virtual offset cannot be read."""

    @property
    def _data(self) -> ByteSource | None:
        """The file that data is in."""
        return self.file

    def _unpack(self, piece: Piece) -> bytes:
        """Return the bytes of a packed piece."""
        raise NotImplementedError

    def extents(self, offset: int = 0, length: int | None = None) -> Iterator[Extent]:
        """Yield what the tables say, neighbours joined; the parent's extents without file offsets."""
        for piece in self._pieces(*self._clamp(offset, length)):
            if piece.kind == "parent":
                yield from self._parent_extents(piece)
            else:
                kind = "data" if piece.kind == "packed" else piece.kind
                is_here = piece.kind == "data" and self._data is self.file
                yield Extent(piece.offset, piece.length, kind, piece.where if is_here else None)

    def _parent_extents(self, piece: Piece) -> Iterator[Extent]:
        covered = 0
        if self.parent is not None:
            for extent in self.parent.extents(piece.offset, piece.length):
                yield extent._replace(file_offset=None)
                covered += extent.length
        if covered < piece.length:
            yield Extent(piece.offset + covered, piece.length - covered, "zero")

    def _pieces(self, position: int, end: int) -> Iterator[Piece]:
        pending: Piece | None = None
        while position < end:
            piece = self._piece_at(position, end)
            position += piece.length
            if pending and (joined := _join(pending, piece)):
                pending = joined
                continue
            if pending:
                yield pending
            pending = piece
        if pending:
            yield pending

    def _pread(self, offset: int, length: int) -> bytes:
        pieces = [self._read_piece(piece) for piece in self._pieces(offset, offset + length)]
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _read_piece(self, piece: Piece) -> bytes:
        if piece.kind == "data" and self._data is not None:
            return self._data.pread(piece.where, piece.length)
        if piece.kind == "packed":
            return self._unpack(piece)
        if piece.kind == "missing":
            raise MissingDataError(self._why_missing(piece.offset), layer=self.layer, offset=piece.offset)
        if piece.kind == "parent" and self.parent is not None:
            return self.parent.pread(piece.offset, piece.length).ljust(piece.length, b"\0")
        return bytes(piece.length)


def _join(first: Piece, second: Piece) -> Piece | None:
    """Return both as one piece when the second continues the first."""
    if (
        first.kind != second.kind
        or first.kind == "packed"
        or (first.kind == "data" and first.where + first.length != second.where)
    ):
        return None
    return first._replace(length=first.length + second.length)


class Fault:
    """The first place that has a fault, and how many have it.

    Attributes:
        number: Of the block, grain, cluster or table.
        offset: Byte of the file where its entry is.
        count: How many have it.
    """

    def __init__(self) -> None:
        self.number = self.offset = -1
        self.count = 0

    def add(self, number: int, offset: int = -1, count: int = 1) -> None:
        """Count one or more."""
        if not self.count:
            self.number, self.offset = number, offset
        self.count += count

    @property
    def more(self) -> str:
        """What to say of the others."""
        return f" ({self.count - 1} more like it)" if self.count > 1 else ""


def run(bits: str, sector: int) -> tuple[bool, int]:
    """Return whether this sector's bit is "1", and the first sector behind it whose bit differs."""
    is_set = bits[sector] == "1"
    end = bits.find("0" if is_set else "1", sector)
    return is_set, len(bits) if end < 0 else end


def overlapping(starts: list[int], stride: int, regions: Iterable[tuple[int, int]]) -> set[int]:
    """Return the starts of blocks that begin inside another one, or share room with a region.

    Args:
        starts: Sorted, in any unit.
        stride: Length of a block, in the same unit.
        regions: Start and end of what is no block, in the same unit.
    """
    bad = {later for earlier, later in pairwise(starts) if later - earlier < stride}
    for start, end in regions:
        bad.update(starts[bisect_left(starts, start - stride + 1) : bisect_left(starts, end)])
    return bad
