"""Making new raw disks."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from b2dinspect.containers.base import Container
    from b2dinspect.identity import Identities
    from b2dinspect.newfile import Sink


class RawWriter:
    """Makes a new raw disk; what is not written stays a hole.

    Args:
        sink: An empty file to write to.
        virtual_size: Bytes.
    """

    def __init__(self, sink: Sink, virtual_size: int) -> None:
        self.size = virtual_size
        self._sink = sink

    def pwrite(self, offset: int, data: bytes) -> None:
        """Write ``data`` at ``offset``.

        Raises:
            ValueError: The range does not lie within the disk.
        """
        if offset < 0 or offset + len(data) > self.size:
            raise ValueError(f"{len(data)} bytes at {offset} do not fit on a disk of {self.size}")
        self._sink.pwrite(offset, data)

    def pread(self, offset: int, length: int) -> bytes:
        """Return up to ``length`` bytes at ``offset``, as written so far."""
        count = max(0, min(self.size - offset, length))
        return self._sink.pread(offset, count).ljust(count, b"\0")

    def locate(self, offset: int) -> int | None:
        """Return the file offset of a byte: the same."""
        return offset

    def flush(self) -> None:
        """Give the file its full length, and sync."""
        self._sink.truncate(self.size)
        self._sink.flush()


def new_disk(
    sink: Sink,
    size: int,
    ids: Identities,
    *,
    like: Container | None = None,
    subformat: None = None,
) -> RawWriter:
    """Return a writer of an empty disk (see ``containers.writers``)."""
    return RawWriter(sink, size)
