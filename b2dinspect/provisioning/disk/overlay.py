"""A disk with changes that nobody has written yet: what a repair would make of it."""

from __future__ import annotations

from collections.abc import Iterator

from b2dinspect.provisioning.disk.images import WorkDisk, written
from b2dinspect.provisioning.events import Write
from b2dinspect.records import NamedTuple
from b2dinspect.source import SECTOR, ByteSource, Extent


class Change(NamedTuple):
    """Bytes of a disk that would be others.

    Attributes:
        offset: Virtual, in bytes.
        old: What is there.
        new: What would be.
    """

    offset: int
    old: bytes
    new: bytes


class Overlay(ByteSource):
    """A disk over another one, which stays as it is; changed sectors are kept in memory.

    Args:
        base: The disk below.
    """

    def __init__(self, base: ByteSource) -> None:
        self.base = base
        self.size = base.size
        self._sectors: dict[int, bytes] = {}
        self._told: set[int] = set()

    def pwrite(self, offset: int, data: bytes) -> None:
        """Write ``data`` at ``offset`` (bytes)."""
        first, last = offset // SECTOR, -(-(offset + len(data)) // SECTOR)
        whole = bytearray(self.pread(first * SECTOR, (last - first) * SECTOR))
        whole[offset - first * SECTOR : offset - first * SECTOR + len(data)] = data
        for sector in range(first, last):
            self._sectors[sector] = bytes(whole[(sector - first) * SECTOR : (sector - first + 1) * SECTOR])
            self._told.discard(sector)

    def _pread(self, offset: int, length: int) -> bytes:
        first, last = offset // SECTOR, -(-(offset + length) // SECTOR)
        touched = [number for number in range(first, last) if number in self._sectors]
        data = bytearray(self.base.pread(offset, length))
        for number in touched:
            start = max(offset, number * SECTOR)
            end = min(offset + length, (number + 1) * SECTOR)
            piece = self._sectors[number][start - number * SECTOR : end - number * SECTOR]
            data[start - offset : end - offset] = piece
        return bytes(data)

    def extents(self, offset: int = 0, length: int | None = None) -> Iterator[Extent]:
        """Yield the extents of the disk below, and changed sectors as data that no file holds."""
        position, end = self._clamp(offset, length)
        for start, stop in _runs(sorted(self._sectors)):
            start, stop = max(position, start * SECTOR), min(end, stop * SECTOR)
            if start < stop:
                yield from self.base.extents(position, start - position)
                yield Extent(start, stop - start, "data")
                position = stop
        if position < end:
            yield from self.base.extents(position, end - position)

    def changes(self) -> tuple[Write, ...]:
        """Return what was written since the last call, by virtual offset, in whole sectors."""
        fresh = sorted(set(self._sectors) - self._told)
        self._told.update(fresh)
        return tuple(written(self, start * SECTOR, (stop - start) * SECTOR) for start, stop in _runs(fresh))

    def differences(self) -> list[Change]:
        """Return all sectors that differ from the disk below, neighbours joined."""
        found = []
        for start, stop in _runs(sorted(self._sectors)):
            offset, length = start * SECTOR, (stop - start) * SECTOR
            old, new = self.base.pread(offset, length), self.pread(offset, length)
            for first, last in _differing(old, new):
                found.append(Change(offset + first, old[first:last], new[first:last]))
        return found


Writable = WorkDisk | Overlay
"""A disk that stages can read and write."""


def _runs(numbers: list[int]) -> Iterator[tuple[int, int]]:
    """Yield runs of neighbours in sorted numbers, as (first, last + 1)."""
    start: int | None = None
    for index, number in enumerate(numbers):
        if start is None:
            start = number
        if index + 1 == len(numbers) or numbers[index + 1] != number + 1:
            yield start, number + 1
            start = None


def _differing(old: bytes, new: bytes) -> Iterator[tuple[int, int]]:
    """Yield the runs of whole sectors that differ."""
    sectors = [
        at // SECTOR for at in range(0, len(new), SECTOR) if old[at : at + SECTOR] != new[at : at + SECTOR]
    ]
    for start, stop in _runs(sectors):
        yield start * SECTOR, min(stop * SECTOR, len(new))
