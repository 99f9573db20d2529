"""Reading a file as the disk that it is."""

from __future__ import annotations

from collections.abc import Iterator

from b2dinspect.containers.base import Container, stored_size
from b2dinspect.source import ByteSource, Extent, FileSource, JoinedSource


class RawContainer(Container):
    """The file as a disk."""

    format = "raw"

    def __init__(self, file: ByteSource) -> None:
        self.file = file
        self.size = file.size
        self.allocated_size = stored_size(file)
        self.variant = "sparse" if self.allocated_size < self.size else "flat"
        self.headers = ()
        self.findings = ()

    def _pread(self, offset: int, length: int) -> bytes:
        return self.file.pread(offset, length)

    def extents(self, offset: int = 0, length: int | None = None) -> Iterator[Extent]:
        """Yield the file's data and holes; virtual and file offsets are the same."""
        for extent in self.file.extents(offset, length):
            is_data = extent.kind == "data"
            yield extent._replace(file_offset=extent.offset) if is_data else extent

    def describe(self) -> dict[str, str]:
        """Return what the file was read from, when it is not a plain file."""
        origin = self.file.origin if isinstance(self.file, FileSource | JoinedSource) else "memory"
        return {} if origin == "file" else {"read from": origin}
