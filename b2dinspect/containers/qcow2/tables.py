"""L1 and L2 tables: where each cluster of the disk is."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from typing import Any

from b2dinspect.containers.qcow2 import layout
from b2dinspect.containers.tables import Cache, MapTable, PagedTable, alike, decode
from b2dinspect.source import ByteSource

OFFSET = 0x00FFFFFF_FFFFFE00
"""Bits 9 to 55 of an entry."""
COPIED, COMPRESSED, ZERO = 1 << 63, 1 << 62, 1
L1_PAGE = 1 << 12
"""Entries of an L1 table that are read together."""
CACHED_BYTES = 8 << 20


class Tables:
    """One L1 table and the L2 tables below it, read when they are asked for.

    Args:
        file: The image.
        header: Parsed.
        offset: Of the L1 table, bytes.
        count: Its entries.
    """

    def __init__(self, file: ByteSource, header: Any, offset: int, count: int) -> None:
        self._file = file
        self.offset = offset
        self.count = count
        self.cluster_size: int = 1 << header.cluster_bits
        self.per_table = layout.entries_per_table(header)
        self._width = 2 if layout.has_subclusters(header) else 1
        self._l1 = PagedTable(file, offset, count, ">Q", page=L1_PAGE)
        self.held = self._l1.held
        self._cache: Cache[array[int] | None] = Cache(CACHED_BYTES // self.cluster_size)

    def used(self) -> Iterator[tuple[int, int]]:
        """Yield index and content of every L1 entry that is not empty."""
        for number in self._l1.pages:
            page = self._l1.read_page(number)
            if any(page):
                yield from ((number * L1_PAGE + at, entry) for at, entry in enumerate(page) if entry & OFFSET)

    def empty_from(self, index: int) -> int:
        """Return how many L1 entries from this one on are empty, as far as its page tells."""
        page, at = self._l1.page(index // L1_PAGE), index % L1_PAGE
        if at >= len(page) or page[at] & OFFSET:
            return 0
        if not any(page):
            return len(page) - at
        end = at
        while end < len(page) and not page[end] & OFFSET:
            end += 1
        return end - at

    def table(self, index: int) -> array[int] | None:
        """Return the L2 table of an L1 entry that is not empty; None when the file does not hold it."""
        return self._cache.get(index, lambda: self.read_table(self._l1.get(index) or 0))

    def read_table(self, entry: int) -> array[int] | None:
        """Return the L2 table that an L1 entry points to; None when the file does not hold it."""
        where = entry & OFFSET
        if where + self.cluster_size > self._file.size or where % self.cluster_size:
            return None
        return decode(self._file.pread(where, self.cluster_size), ">Q")

    def described(self) -> Iterator[MapTable]:
        """Yield the L1 table, and each L2 table that it leads to."""
        yield MapTable("L1 table", self.offset, self.count * 8, 8, "big", (0,), OFFSET)
        size, mask = 8 * self._width, (OFFSET | COMPRESSED | COPIED) << 64 * (self._width - 1)
        for number, entry in self.used():
            yield MapTable(f"L2 table {number}", entry & OFFSET, self.cluster_size, size, "big", (0,), mask)

    def entry(self, table: array[int], index: int) -> tuple[int, int]:
        """Return an L2 entry, and its subcluster bitmap (0 without subclusters)."""
        if self._width == 1:
            return table[index], 0
        return table[2 * index], table[2 * index + 1]

    def alike(self, table: array[int], index: int, most: int) -> int:
        """Return how many of at most ``most`` entries from here are empty too, or continue this one."""
        if self._width == 2:
            return 1
        entry = table[index]
        is_stored = entry & OFFSET and not entry & (COMPRESSED | ZERO)
        return alike(
            table, index, most if is_stored or not entry else 1, self.cluster_size if is_stored else 0
        )
