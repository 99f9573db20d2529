"""The disk in a new container file as stages see it: it can be written, read, and tells what changed."""

from __future__ import annotations

from collections.abc import Iterator

from b2dinspect.containers.writers import DiskWriter
from b2dinspect.provisioning.events import Write
from b2dinspect.source import ByteSource, Extent, is_zeros

CHUNK = 1 << 20
HEAD = 32


def stored_chunks(source: ByteSource) -> Iterator[tuple[int, bytes]]:
    """Yield what a source stores, as (offset, bytes), in pieces of at most 1 MiB that are not all zeros.

    Raises:
        MissingDataError: The source knows of content that it does not hold.
    """
    for extent in source.extents():
        if extent.kind != "zero":
            for offset in range(extent.offset, extent.offset + extent.length, CHUNK):
                data = source.pread(offset, min(CHUNK, extent.offset + extent.length - offset))
                if not is_zeros(data):
                    yield offset, data


def written(disk: ByteSource, start: int, length: int) -> Write:
    """Return what a disk now holds where somebody wrote ``length`` bytes at ``start``."""
    data = disk.pread(start, min(length, CHUNK))
    zeros = len(data) - len(data.lstrip(b"\0"))
    skipped = zeros if zeros < len(data) else 0
    return Write(start, disk.locate(start), length, start + skipped, data[skipped : skipped + HEAD])


class WorkDisk(ByteSource):
    """A disk in the making: it can be written, read like evidence, and tells what changed.

    Attributes:
        has_changed: Whether anything was written.

    Args:
        writer: The container's writer, empty.
    """

    def __init__(self, writer: DiskWriter) -> None:
        self.writer = writer
        self.size = writer.size
        self.has_changed = False
        self._touched: set[int] = set()
        self._changes: list[tuple[int, int]] = []

    def pwrite(self, offset: int, data: bytes) -> None:
        """Write ``data`` at ``offset`` and take note of it."""
        if data:
            self.writer.pwrite(offset, data)
            self._touched.update(range(offset // CHUNK, (offset + len(data) - 1) // CHUNK + 1))
            self._changes.append((offset, offset + len(data)))
            self.has_changed = True

    def load(self, source: ByteSource) -> None:
        """Copy everything that another disk stores; nothing of it is noted as a change."""
        for offset, data in stored_chunks(source):
            self.pwrite(offset, data)
        self._changes.clear()
        self.has_changed = False

    def changes(self) -> tuple[Write, ...]:
        """Return what was written since the last call, neighbours joined, by virtual offset."""
        runs: list[tuple[int, int]] = []
        for start, end in sorted(self._changes):
            if runs and start <= runs[-1][1]:
                runs[-1] = (runs[-1][0], max(end, runs[-1][1]))
            else:
                runs.append((start, end))
        self._changes.clear()
        return tuple(written(self, start, end - start) for start, end in runs)

    def _pread(self, offset: int, length: int) -> bytes:
        return self.writer.pread(offset, length)

    def extents(self, offset: int = 0, length: int | None = None) -> Iterator[Extent]:
        """Yield what has been written, in chunks of 1 MiB, and holes."""
        position, end = self._clamp(offset, length)
        asked = range(position // CHUNK, -(-end // CHUNK))
        is_few = len(asked) < len(self._touched)
        for chunk in filter(self._touched.__contains__, asked) if is_few else sorted(self._touched):
            start, stop = max(position, chunk * CHUNK), min(end, (chunk + 1) * CHUNK)
            if start >= stop:
                continue
            if start > position:
                yield Extent(position, start - position, "zero")
            yield Extent(start, stop - start, "data", self.writer.locate(start))
            position = stop
        if position < end:
            yield Extent(position, end - position, "zero")
