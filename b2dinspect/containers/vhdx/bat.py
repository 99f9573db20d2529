"""The BAT of a VHDX, in which sector bitmaps stand between the blocks."""

from __future__ import annotations

from collections.abc import Iterator

from b2dinspect.containers.tables import PagedTable
from b2dinspect.containers.vhdx.layout import PRESENT, STORES_NOTHING
from b2dinspect.containers.vhdx.regions import Region
from b2dinspect.source import ByteSource

ENTRY_SIZE = 8


class BlockAllocationTable:
    """The BAT; blocks are counted without the sector bitmaps between them.

    Args:
        file: The image.
        region: Where the BAT is.
        count: Blocks of the disk.
        chunk_ratio: Blocks before each entry of a sector bitmap.

    Attributes:
        held: Entries that file and region hold, sector bitmaps and all.
    """

    def __init__(self, file: ByteSource, region: Region, count: int, chunk_ratio: int) -> None:
        self.offset = region.offset
        self.count = count
        self._ratio = chunk_ratio
        self._table = PagedTable(file, region.offset, region.length // ENTRY_SIZE, "<Q", page=1 << 13)
        self.held = self._table.held

    def lookup(self, block: int) -> tuple[int | None, int]:
        """Return the block's entry, and for how many blocks from this one on it is known to be the same.

        The entry is None when the file or the region ends before it.
        """
        index = self._index(block)
        entry = self._table.get(index)
        if entry is None:
            return None, 1 << 62
        alike = 1 if entry & 7 >= PRESENT else self._table.alike(index)
        return entry, min(self._ratio - block % self._ratio, alike)

    def bitmap_entry(self, chunk: int) -> int | None:
        """Return the entry of a chunk's sector bitmap, or None when the BAT ends before it."""
        return self._table.get((chunk + 1) * self._ratio + chunk)

    def used(self) -> Iterator[tuple[int, int]]:
        """Yield each block that is neither free nor zeros, and its entry; pages without cost little."""
        for number in self._table.pages:
            raw = self._table.read_raw(number)
            states = raw[::ENTRY_SIZE]
            if not states.translate(None, STORES_NOTHING):
                continue
            for place, state in enumerate(states):
                chunk, within = divmod(number * self._table.page_size + place, self._ratio + 1)
                block = chunk * self._ratio + within
                if block >= self.count:
                    return
                if state not in STORES_NOTHING and within < self._ratio:
                    at = place * ENTRY_SIZE
                    yield block, int.from_bytes(raw[at : at + ENTRY_SIZE], "little")

    def place(self, block: int) -> int:
        """Return where the block's entry is in the file, bytes."""
        return self._table.place(self._index(block))

    def _index(self, block: int) -> int:
        return block + block // self._ratio
