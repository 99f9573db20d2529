"""Making new raw disks."""

from __future__ import annotations

from typing import TYPE_CHECKING

from b2dinspect.containers.writing import BlockWriter

if TYPE_CHECKING:
    from b2dinspect.containers.base import Container
    from b2dinspect.identity import Identities
    from b2dinspect.newfile import Sink


class RawWriter(BlockWriter):
    """Makes a new raw disk; what is not written stays a hole.

    Args:
        sink: An empty file to write to.
        virtual_size: Bytes.
    """

    def __init__(self, sink: Sink, virtual_size: int) -> None:
        super().__init__(sink, virtual_size, max(1, virtual_size))

    def _locate(self, offset: int) -> int:
        return offset

    def _allocate(self, offset: int) -> int:
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
