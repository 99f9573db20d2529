"""ByteSource: a size and positional, read-only access to bytes. Everything above reads through one.

There is no shared seek position and no way to write. A read is clamped at the end of the source, so a
slice can never leak its neighbour's bytes.
"""

from __future__ import annotations

import os
import threading
import warnings
from abc import ABC, abstractmethod
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from typing import Literal, NamedTuple, Self

from b2dinspect.errors import EvidenceError, MissingDataError, SourceError

SECTOR = 512
HEAD = 32
"""Bytes that are looked at first, to tell what is not zeros."""


class Extent(NamedTuple):
    """A run of bytes that are alike in where they come from. Offsets and lengths in bytes.

    Attributes:
        offset: Start within the source that was asked.
        length: Bytes.
        kind: ``data`` is stored, ``zero`` reads as zeros without being stored, ``missing`` cannot be read.
        file_offset: Where ``data`` begins in the file on the examiner's disk; None for the other kinds, and
            for data that no file holds as such.
    """

    offset: int
    length: int
    kind: Literal["data", "zero", "missing"]
    file_offset: int | None = None


class Closing:
    """Something that is to be closed: a context manager; or call ``close()``."""

    def close(self) -> None:
        """Let go of what this opened; closing twice is harmless."""

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class ByteSource(Closing, ABC):
    """``size`` bytes that can be read at any offset.

    Whoever opens a file closes it: a source that was given what it reads from leaves that open.
    """

    size: int

    def pread(self, offset: int, length: int) -> bytes:
        """Return up to ``length`` bytes at ``offset``; fewer only at the end of the source.

        Raises:
            MissingDataError: Some of the range is known to exist but is not in this evidence.
            SourceError: The operating system could not read the file.
        """
        start, end = self._clamp(offset, length)
        return self._pread(start, end - start) if start < end else b""

    @abstractmethod
    def _pread(self, offset: int, length: int) -> bytes:
        """Return exactly ``length`` bytes; the range lies within the source and is not empty."""

    @abstractmethod
    def extents(self, offset: int = 0, length: int | None = None) -> Iterator[Extent]:
        """Yield the extents that cover the range in order, without gaps, clamped at the end."""

    def locate(self, offset: int) -> int | None:
        """Return the offset in the file that holds this byte, or None when no file does."""
        extent = next(self.extents(offset, 1), None)
        return extent.file_offset if extent else None

    def in_file(self) -> tuple[FileSource, int] | None:
        """Return the open file that holds this as it is, and where in it this begins; None for no such."""
        return None

    def _clamp(self, offset: int, length: int | None) -> tuple[int, int]:
        if offset < 0 or (length or 0) < 0:
            raise ValueError(f"offset {offset} and length {length} must not be negative")
        end = self.size if length is None else min(self.size, offset + length)
        return min(offset, end), end


class MemorySource(ByteSource):
    """Bytes in memory."""

    def __init__(self, data: bytes) -> None:
        self._data = data
        self.size = len(data)

    def _pread(self, offset: int, length: int) -> bytes:
        return bytes(self._data[offset : offset + length])

    def extents(self, offset: int = 0, length: int | None = None) -> Iterator[Extent]:
        """Yield one extent that no file holds."""
        start, end = self._clamp(offset, length)
        if start < end:
            yield Extent(start, end - start, "data")


class FileSource(ByteSource):
    """An open file descriptor: a regular file, or a block device.

    One that is dropped unclosed is closed with a ResourceWarning, as Python's own files are.

    Args:
        fd: Open for reading; closed by ``close()``.
        size: Bytes.
        origin: What the bytes are, for people: ``"file"``, ``"block device"``, ``"gzip"``, ``"stream"``.
        allocated: Bytes that the file system stores for the file.
        written: What was written of it, in order, as (start, end), when that is known: all else is zeros.
    """

    def __init__(
        self,
        fd: int,
        size: int,
        origin: str = "file",
        allocated: int | None = None,
        written: Sequence[tuple[int, int]] | None = None,
    ) -> None:
        self._fd = fd
        self._written = written
        self._lock = threading.Lock()
        self.size = size
        self.origin = origin
        self.allocated = size if allocated is None else allocated

    def _pread(self, offset: int, length: int) -> bytes:
        pieces: list[bytes] = []
        while length:
            piece = self._read_some(offset, min(length, 1 << 30))
            if len(piece) == length and not pieces:
                return piece
            if not piece:
                raise SourceError("the file ends here, but was longer when it was opened", offset=offset)
            pieces.append(piece)
            offset += len(piece)
            length -= len(piece)
        return b"".join(pieces)

    def in_file(self) -> tuple[FileSource, int] | None:
        """Return this."""
        return self, 0

    def fileno(self) -> int:
        """Return the descriptor, for the system to copy from; it stays ours."""
        return self._fd

    def _read_some(self, offset: int, length: int) -> bytes:
        try:
            if hasattr(os, "pread"):
                return os.pread(self._fd, length, offset)
            with self._lock:  # Windows has no pread
                os.lseek(self._fd, offset, os.SEEK_SET)
                return os.read(self._fd, length)
        except OSError as error:
            reason = "it is closed" if self._fd < 0 else error.strerror
            raise SourceError(f"cannot read: {reason}", offset=offset) from error

    def extents(self, offset: int = 0, length: int | None = None) -> Iterator[Extent]:
        """Yield data and holes as the file system tells them (SEEK_DATA); all data where it cannot."""
        position, end = self._clamp(offset, length)
        while position < end:
            data, hole = self._next_data(position, end)
            if data > position:
                yield Extent(position, data - position, "zero")
            if hole > data:
                yield Extent(data, hole - data, "data", data)
            position = max(hole, data)

    def _next_data(self, position: int, end: int) -> tuple[int, int]:
        if self.origin == "block device":
            return position, end
        if not hasattr(os, "SEEK_DATA"):
            return self._next_written(position, end)
        with self._lock:
            try:
                data = min(end, os.lseek(self._fd, position, os.SEEK_DATA))
                return data, min(end, os.lseek(self._fd, data, os.SEEK_HOLE)) if data < end else end
            except OSError as error:
                import errno

                return (end, end) if error.errno == errno.ENXIO else (position, end)

    def _next_written(self, position: int, end: int) -> tuple[int, int]:
        """Return the next stored bytes where SEEK_DATA is missing: as was noted, or as Windows tells."""
        if self._written is not None:
            at = bisect_right(self._written, position, key=lambda run: run[1])
            start, stop = self._written[at] if at < len(self._written) else (end, end)
            return (end, end) if start >= end else (max(start, position), min(stop, end))
        from b2dinspect.sparse import next_data

        return next_data(self._fd, position, end) or (position, end)

    def close(self) -> None:
        """Close the descriptor; closing twice is harmless."""
        fd, self._fd = self._fd, -1
        if fd >= 0:
            os.close(fd)

    # bound here: at the end of the interpreter, modules may be empty
    def __del__(self, _warn: Callable[..., None] = warnings.warn) -> None:
        if self._fd >= 0:
            try:
                _warn(f"unclosed {self.origin} of {self.size} bytes", ResourceWarning, source=self)
            finally:
                self.close()


class SliceSource(ByteSource):
    """A window on another source, clamped to it."""

    def __init__(self, parent: ByteSource, offset: int, length: int) -> None:
        self._parent = parent
        self._offset = min(max(offset, 0), parent.size)
        self.size = max(0, min(length, parent.size - self._offset))

    def _pread(self, offset: int, length: int) -> bytes:
        return self._parent.pread(self._offset + offset, length)

    def in_file(self) -> tuple[FileSource, int] | None:
        """Return the parent's file."""
        found = self._parent.in_file()
        return (found[0], found[1] + self._offset) if found else None

    def extents(self, offset: int = 0, length: int | None = None) -> Iterator[Extent]:
        """Yield the parent's extents, counted from the start of the slice."""
        start, end = self._clamp(offset, length)
        for extent in self._parent.extents(self._offset + start, end - start):
            yield extent._replace(offset=extent.offset - self._offset)


class PatchedSource(ByteSource):
    """A source with some of its bytes replaced in the reader's eyes: the evidence stays as it is."""

    def __init__(self, parent: ByteSource, offset: int, patch: bytes) -> None:
        self._parent = parent
        self._offset = offset
        self._patch = patch
        self.size = parent.size

    def _split(self, start: int, end: int) -> tuple[int, int]:
        """Return where the patch begins and ends within the range."""
        first = min(max(start, self._offset), end)
        return first, min(max(first, self._offset + len(self._patch)), end)

    def _pread(self, offset: int, length: int) -> bytes:
        end = offset + length
        first, last = self._split(offset, end)
        return b"".join(
            (
                self._parent.pread(offset, first - offset),
                self._patch[first - self._offset : last - self._offset] if first < last else b"",
                self._parent.pread(last, end - last),
            )
        )

    def extents(self, offset: int = 0, length: int | None = None) -> Iterator[Extent]:
        """Yield the parent's extents, and the patch as data that no file holds."""
        start, end = self._clamp(offset, length)
        first, last = self._split(start, end)
        yield from self._parent.extents(start, first - start)
        if first < last:
            yield Extent(first, last - first, "data")
        yield from self._parent.extents(last, end - last)


class Run(NamedTuple):
    """Part of a scattered file: ``length`` bytes of it at ``parent_offset``, or a hole when that is None."""

    length: int
    parent_offset: int | None


class RunsSource(ByteSource):
    """A file scattered over a parent source, as a filesystem lays it out.

    Args:
        parent: What the runs point into.
        runs: In file order; bytes after the last one read as zeros (a sparse tail).
        size: Size of the file in bytes.
    """

    def __init__(self, parent: ByteSource, runs: Sequence[Run], size: int) -> None:
        self._parent = parent
        self._runs = [*runs]
        self.size = size
        self._starts = [0]
        for run in self._runs:
            self._starts.append(self._starts[-1] + run.length)
        if self._starts[-1] < size:
            self._runs.append(Run(size - self._starts[-1], None))

    def _pieces(self, start: int, end: int) -> Iterator[tuple[int, int, int | None]]:
        index = max(0, bisect_right(self._starts, start) - 1)
        while start < end:
            run, begin = self._runs[index], self._starts[index]
            length = min(end, begin + run.length) - start
            if length > 0:
                yield start, length, None if run.parent_offset is None else run.parent_offset + start - begin
                start += length
            index += 1

    def _pread(self, offset: int, length: int) -> bytes:
        return b"".join(
            self._read_piece(start, count, where)
            for start, count, where in self._pieces(offset, offset + length)
        )

    def _read_piece(self, start: int, count: int, where: int | None) -> bytes:
        if where is None:
            return bytes(count)
        data = self._parent.pread(where, count)
        if len(data) < count:
            raise MissingDataError(
                "the file's blocks lie past the end of the disk", layer="file content", offset=start
            )
        return data

    def extents(self, offset: int = 0, length: int | None = None) -> Iterator[Extent]:
        """Yield the parent's extents in the order of the file."""
        start, end = self._clamp(offset, length)
        for position, count, where in self._pieces(start, end):
            if where is None:
                yield Extent(position, count, "zero")
                continue
            covered = 0
            for extent in self._parent.extents(where, count):
                yield extent._replace(offset=position + extent.offset - where)
                covered += extent.length
            if covered < count:
                yield Extent(position + covered, count - covered, "missing")

    def parent_offset(self, offset: int) -> int | None:
        """Return where in the parent this byte lies, or None in a hole."""
        piece = next(self._pieces(*self._clamp(offset, 1)), None)
        return piece[2] if piece else None


class Piece(NamedTuple):
    """A part of a disk that is cut into files.

    Attributes:
        name: Of the file.
        size: Bytes of the disk that it is to hold.
        source: What is there of them; None when the file is not there.
    """

    name: str
    size: int
    source: ByteSource | None


class JoinedSource(ByteSource):
    """Pieces, one behind the other. Where one is not there or ends too soon, its bytes are missing.

    Args:
        pieces: In their order.

    Attributes:
        allocated: Bytes that the file system stores for all of them.
    """

    origin = "pieces"

    def __init__(self, pieces: Sequence[Piece]) -> None:
        self._pieces = [*pieces]
        self._starts = [0]
        for piece in self._pieces:
            self._starts.append(self._starts[-1] + piece.size)
        self.size = self._starts.pop()
        there = [one.source for one in self._pieces if one.source]
        self.allocated = sum(one.allocated if isinstance(one, FileSource) else one.size for one in there)

    def _parts(self, start: int, end: int) -> Iterator[tuple[Piece, int, int, int]]:
        """Yield each piece of a range, where it begins, and the first byte in it and their number."""
        index = max(0, bisect_right(self._starts, start) - 1)
        while start < end:
            piece, begin = self._pieces[index], self._starts[index]
            count = min(end, begin + piece.size) - start
            if count > 0:
                yield piece, begin, start - begin, count
            start += count
            index += 1

    def _pread(self, offset: int, length: int) -> bytes:
        found = []
        for piece, begin, within, count in self._parts(offset, offset + length):
            data = piece.source.pread(within, count) if piece.source else b""
            if len(data) < count:
                why = "ends too soon" if piece.source else "is not there"
                at = begin + within + len(data)
                raise MissingDataError(f"the piece {piece.name} {why}", layer="pieces", offset=at)
            found.append(data)
        return found[0] if len(found) == 1 else b"".join(found)

    def extents(self, offset: int = 0, length: int | None = None) -> Iterator[Extent]:
        """Yield the pieces' extents; what no piece holds is missing."""
        for piece, begin, within, count in self._parts(*self._clamp(offset, length)):
            covered = 0
            for extent in piece.source.extents(within, count) if piece.source else ():
                at = begin + extent.offset
                yield extent._replace(offset=at, file_offset=at if extent.kind == "data" else None)
                covered += extent.length
            if covered < count:
                yield Extent(begin + within + covered, count - covered, "missing")


def is_zeros(data: bytes | memoryview) -> bool:
    """Tell whether all bytes are zero; most that are not show it in their first ones."""
    return not any(data[:HEAD]) and bytes(data) == bytes(len(data))


def read_exactly(
    source: ByteSource, offset: int, length: int, error: type[EvidenceError], layer: str
) -> bytes:
    """Return ``length`` bytes at ``offset``.

    Raises:
        EvidenceError: As ``error``, naming ``layer``, when the source ends before that.
    """
    data = source.pread(offset, length) if offset <= source.size else b""
    if len(data) < length:
        raise error(
            "cut short", layer=layer, offset=offset, expected=f"{length} bytes", found=f"{len(data)} bytes"
        )
    return data


def read_lenient(source: ByteSource, offset: int, length: int) -> bytes:
    """Return what can be read at ``offset``: empty where the evidence holds no bytes."""
    try:
        return source.pread(offset, length)
    except MissingDataError:
        return b""


def align(value: int, unit: int) -> int:
    """Return the next multiple of a unit.

    >>> align(513, 512)
    1024
    """
    return -(-value // unit) * unit
