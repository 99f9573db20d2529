"""What a disk stores, as windows of neighbouring bytes, read ahead by threads while others are searched."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator

from b2dinspect.errors import MissingDataError, SourceError
from b2dinspect.records import NamedTuple
from b2dinspect.source import SECTOR, ByteSource

WINDOW = 512 << 10
"""Bytes that are read and searched at once: as many as a processor's own cache holds."""
HOLE = 64 << 10
"""A hole up to this size, in bytes, is read with what lies around it."""
READERS = 2
"""Threads: one unpacks, or waits for a file, while another does."""
SMALLEST = 4096
"""Bytes that are given up together where something among them cannot be read."""


class Range(NamedTuple):
    """Bytes of the disk.

    Attributes:
        start: First byte.
        end: Behind the last.
        is_behind_zeros: Whether what comes before reads as zeros; else it is missing, or the disk's start.
        is_before_zeros: The same of what comes behind.
    """

    start: int
    end: int
    is_behind_zeros: bool = False
    is_before_zeros: bool = False


class Window(NamedTuple):
    """Bytes that were read.

    Attributes:
        start: Byte of the disk.
        data: What stands there.
        is_behind_zeros: See ``Range``.
        is_before_zeros: See ``Range``.
        missing: Bytes before these, since the last window, that could not be read.
        signs: What a first look at its sectors showed.
    """

    start: int
    data: bytes
    is_behind_zeros: bool = False
    is_before_zeros: bool = False
    missing: int = 0
    signs: tuple[tuple[int, str], ...] = ()

    @property
    def end(self) -> int:
        """Byte of the disk behind the last one."""
        return self.start + len(self.data)


class Stored:
    """A walk over what a disk stores.

    Args:
        disk: The disk.
        look: What the reading threads do with each window, which begins with a sector: see ``Window.signs``.

    Attributes:
        missing: Bytes that the evidence does not hold, as far as the walk has come.
    """

    def __init__(self, disk: ByteSource, look: Callable[[bytes], Iterable[tuple[int, str]]]) -> None:
        self._disk = disk
        self._look = look
        self.missing = 0

    def ranges(self) -> Iterator[Range]:
        """Yield runs of bytes that are stored, with small holes in them, none longer than a window."""
        for start, end, behind, before in self._runs():
            for at in range(start, end, WINDOW):
                stop = min(at + WINDOW, end)
                yield Range(at, stop, behind and at == start, before and stop == end)

    def _runs(self) -> Iterator[tuple[int, int, bool, bool]]:
        """Yield start and end of each run, and whether zeros come before and behind it."""
        run: tuple[int, int, bool] | None = None
        is_after_zeros = has_hole = False
        for extent in self._disk.extents():
            if extent.kind == "data":
                begin, end = extent.offset - extent.offset % SECTOR, extent.offset + extent.length
                run, has_hole = (run[0], end, run[2]) if run else (begin, end, is_after_zeros), False
            elif extent.kind == "zero" and run and extent.length <= HOLE:
                has_hole = True  # the next data, if there is any, takes it in
            else:
                if run:
                    yield (*run, has_hole or extent.kind == "zero")
                run, is_after_zeros = None, extent.kind == "zero"
                self.missing += extent.length if extent.kind == "missing" else 0
        if run:
            yield (*run, has_hole)

    def windows(self) -> Generator[Window, None, None]:
        """Yield what is stored, in the order of the disk; what cannot be read is left out and counted."""
        from concurrent.futures import Future, ThreadPoolExecutor

        pool = ThreadPoolExecutor(READERS, "b2dinspect-read")
        waiting: deque[Future[list[Window]]] = deque()
        ranges = self.ranges()
        try:
            for one in ranges:
                waiting.append(pool.submit(self._read, one))
                if len(waiting) > READERS:
                    yield from self._counted(waiting.popleft().result())
            while waiting:
                yield from self._counted(waiting.popleft().result())
        finally:
            pool.shutdown(cancel_futures=True)

    def _counted(self, windows: Iterable[Window]) -> Iterator[Window]:
        for one in windows:
            self.missing += one.missing
            if one.data:
                yield one

    def _read(self, one: Range) -> list[Window]:
        try:
            data = self._disk.pread(one.start, one.end - one.start)
        except (MissingDataError, SourceError):
            return [*self._parts(one)]
        signs = tuple(self._look(data)) if not one.start % SECTOR else ()
        return [Window(one.start, data, one.is_behind_zeros, one.is_before_zeros, signs=signs)]

    def _parts(self, one: Range) -> Iterator[Window]:
        """Yield what can be read of a range, in the pieces that are left."""
        if one.end - one.start <= SMALLEST:
            yield Window(one.start, b"", missing=one.end - one.start)
            return
        middle = (one.start + one.end) // 2
        middle -= middle % SECTOR
        yield from self._read(one._replace(end=middle, is_before_zeros=False))
        yield from self._read(one._replace(start=middle, is_behind_zeros=False))
