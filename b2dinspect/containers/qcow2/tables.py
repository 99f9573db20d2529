"""L1 and L2 tables: where each cluster of the disk is."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterator
from typing import Any

from b2dinspect.containers.qcow2 import layout
from b2dinspect.source import ByteSource

OFFSET = 0x00FFFFFF_FFFFFE00
"""Bits 9 to 55 of an entry."""
COPIED, COMPRESSED, ZERO = 1 << 63, 1 << 62, 1
L1_PAGE = 1 << 12
"""Entries of an L1 table that are read together."""
CACHED_BYTES = 8 << 20
_RUN = 64


def entries(raw: bytes) -> array[int]:
    """Return big-endian 64-bit entries as numbers."""
    numbers = array("Q", raw[: len(raw) // 8 * 8])
    if sys.byteorder == "little":
        numbers.byteswap()
    return numbers


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
        self.held = min(count, max(0, file.size - offset) // 8)
        self._page: tuple[int, array[int]] = (-1, array("Q"))
        self._cache: dict[int, array[int] | None] = {}
        self._free_run = array("Q", bytes(_RUN * 8))

    def page(self, number: int) -> array[int]:
        """Return up to L1_PAGE entries of the L1 table: those that the file holds."""
        if self._page[0] != number:
            first = number * L1_PAGE
            count = max(0, min(L1_PAGE, self.held - first))
            self._page = (
                number,
                entries(self._file.pread(self.offset + first * 8, count * 8) if count else b""),
            )
        return self._page[1]

    def used(self) -> Iterator[tuple[int, int]]:
        """Yield index and content of every L1 entry that is not empty."""
        for number in range(-(-self.held // L1_PAGE)):
            page = self.page(number)
            if any(page):
                yield from ((number * L1_PAGE + at, entry) for at, entry in enumerate(page) if entry & OFFSET)

    def empty_from(self, index: int) -> int:
        """Return how many L1 entries from this one on are empty, as far as its page tells."""
        page, at = self.page(index // L1_PAGE), index % L1_PAGE
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
        if index not in self._cache:
            if (len(self._cache) + 1) * self.cluster_size > CACHED_BYTES and self._cache:
                del self._cache[next(iter(self._cache))]
            self._cache[index] = self.read_table(self.page(index // L1_PAGE)[index % L1_PAGE])
        return self._cache[index]

    def read_table(self, entry: int) -> array[int] | None:
        """Return the L2 table that an L1 entry points to; None when the file does not hold it."""
        where = entry & OFFSET
        if where + self.cluster_size > self._file.size or where % self.cluster_size:
            return None
        return entries(self._file.pread(where, self.cluster_size))

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
        end = min(len(table), index + most)
        count = index + 1
        if not entry:
            while table[count : count + _RUN] == self._free_run and count < end:
                count += _RUN
        step = self.cluster_size if entry & OFFSET and not entry & (COMPRESSED | ZERO) else 0
        if step or not entry:
            while count < end and table[count] == entry + (count - index) * step:
                count += 1
        return min(count, end) - index
