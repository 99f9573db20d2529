"""Tables that say where the blocks of a disk are: read a page at a time, and described for a picture."""

from __future__ import annotations

import sys
import threading
from array import array
from collections.abc import Callable, Iterator
from typing import Generic, Literal, TypeVar

from b2dinspect.records import NamedTuple
from b2dinspect.source import ByteSource

Form = Literal["<I", ">I", "<Q", ">Q"]
"""Byte order and width of an entry, as ``struct`` writes it: 32 or 64 bits."""
Loaded = TypeVar("Loaded")
RUN = 64
"""Entries that are compared at once."""
REACH = 1 << 12
"""Entries that are looked at in advance."""
CACHED_PAGES = 64
MAX_TABLES = 1 << 16
"""Tables of one container that a picture looks at: the grain tables of a disk of 2 TiB, twice."""


def width(form: Form) -> int:
    """Return the bytes of an entry."""
    return 4 if form.endswith("I") else 8


def decode(raw: bytes, form: Form) -> array[int]:
    """Return whole entries as numbers."""
    numbers = array(form[1], raw[: len(raw) // width(form) * width(form)])
    if (form[0] == "<") != (sys.byteorder == "little"):
        numbers.byteswap()
    return numbers


def encode(numbers: array[int], form: Form) -> bytes:
    """Return numbers as entries."""
    if (form[0] == "<") != (sys.byteorder == "little"):
        numbers = numbers[:]
        numbers.byteswap()
    return numbers.tobytes()


def alike(entries: array[int], index: int, most: int, step: int = 0) -> int:
    """Return how many of at most ``most`` entries from ``index`` on grow by ``step``."""
    entry, end = entries[index], min(len(entries), index + most)
    position = index + 1
    if not step:
        same = array(entries.typecode, [entry]) * RUN
        while position + RUN <= end and entries[position : position + RUN] == same:
            position += RUN
    while position < end and entries[position] == entry + (position - index) * step:
        position += 1
    return position - index


class Cache(Generic[Loaded]):
    """What was loaded last, by a number; threads may ask at the same time.

    Args:
        most: How many are kept; one always is.
    """

    def __init__(self, most: int) -> None:
        self._most = max(1, most)
        self._kept: dict[int, Loaded] = {}
        self._lock = threading.Lock()

    def get(self, number: int, load: Callable[[], Loaded]) -> Loaded:
        """Return what is kept under a number, or load it; what was asked for last is kept longest."""
        with self._lock:
            if number in self._kept:
                found = self._kept[number] = self._kept.pop(number)
                return found
        found = load()
        with self._lock:
            if number not in self._kept and len(self._kept) >= self._most:
                del self._kept[next(iter(self._kept))]
            self._kept[number] = found
        return found


class PagedTable:
    """A table in a file. It may be large: of a disk of 2 TiB it has some MiB.

    Args:
        file: The file.
        offset: Where the table begins, in bytes.
        count: Entries.
        form: Of an entry.
        page: Entries that are read together.

    Attributes:
        held: Entries that the file holds.
    """

    def __init__(self, file: ByteSource, offset: int, count: int, form: Form, *, page: int = 1 << 14) -> None:
        self._file = file
        self._form: Form = form
        self._width = width(form)
        self.page_size = page
        self._pages: dict[int, array[int]] = {}
        self.offset = offset
        self.count = count
        self.held = min(count, max(0, file.size - offset) // self._width)

    @property
    def pages(self) -> range:
        """Numbers of the pages that the file holds."""
        return range(-(-self.held // self.page_size))

    def place(self, index: int) -> int:
        """Return where an entry is in the file, in bytes."""
        return self.offset + index * self._width

    def read_raw(self, number: int) -> bytes:
        """Return a page as it is in the file; empty when the file does not hold it."""
        first = number * self.page_size
        count = min(self.page_size, self.held - first)
        return self._file.pread(self.place(first), count * self._width) if count > 0 else b""

    def read_page(self, number: int) -> array[int]:
        """Return a page of entries, for a walk that comes by once."""
        return decode(self.read_raw(number), self._form)

    def page(self, number: int) -> array[int]:
        """Return a page of entries, and keep it for the next time."""
        page = self._pages.get(number)
        if page is None:
            if len(self._pages) >= CACHED_PAGES:
                self._pages.clear()
            page = self._pages[number] = self.read_page(number)
        return page

    def get(self, index: int) -> int | None:
        """Return an entry; None when the file ends before it, or the table has too few."""
        if not 0 <= index < self.held:
            return None
        return self.page(index // self.page_size)[index % self.page_size]

    def alike(self, index: int) -> int:
        """Return for how many entries from this one on it is known that they are the same."""
        page, within = self.page(index // self.page_size), index % self.page_size
        rest = len(page) - within
        same = array(page.typecode, [page[within]])
        return rest if page[within:] == same * rest else alike(page, within, REACH)

    def used(self, *idle: int) -> Iterator[tuple[int, int]]:
        """Yield every entry but the idle ones, with its index; idle stretches cost next to nothing."""
        for first, run in self.used_runs(*idle):
            yield from ((first + index, entry) for index, entry in enumerate(run) if entry not in idle)

    def used_runs(self, *idle: int) -> Iterator[tuple[int, array[int]]]:
        """Yield the entries in runs that are not all the first of the idle ones, with the first's index."""
        code = self._form[1]
        runs = array(code, idle[:1]) * RUN
        for number in self.pages:
            page = self.read_page(number)
            if page[0] in idle and page == page[:1] * len(page):
                continue
            for start in range(0, len(page), RUN):
                run = page[start : start + RUN]
                if run != runs:
                    yield number * self.page_size + start, run


class MapTable(NamedTuple):
    """Where in its file a container keeps a table that says where blocks are: what a picture needs to know.

    Attributes:
        name: What the format calls it.
        offset: In the file, in bytes.
        length: Bytes.
        entry_size: Bytes; 0 when it is no table but text.
        byteorder: Of an entry.
        free: Values that stand for a block that is not stored.
        mask: Bits of an entry that count for that; 0 for all.
    """

    name: str
    offset: int
    length: int
    entry_size: int = 0
    byteorder: Literal["little", "big"] = "little"
    free: tuple[int, ...] = ()
    mask: int = 0

    @property
    def entries(self) -> int:
        """How many entries it has."""
        return self.length // self.entry_size if self.entry_size else 0

    def is_free(self, value: int) -> bool:
        """Tell whether an entry stands for a block that is not stored."""
        return (value & self.mask if self.mask else value) in self.free
