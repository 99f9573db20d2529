"""Parts of a disk that is made of several files."""

from __future__ import annotations

from b2dinspect.containers.vmdk.sparse import GrainRun, SparseExtent
from b2dinspect.records import NamedTuple
from b2dinspect.source import ByteSource


class FlatPart:
    """Part of a disk that another file holds as it is."""

    def __init__(self, file: ByteSource, start: int, size: int) -> None:
        self.file = file
        self.size = max(0, min(size, file.size - start))
        self._start = start
        stored = file.extents(start, self.size) if self.size else ()
        self.allocated = sum(extent.length for extent in stored if extent.kind == "data")

    def run(self, offset: int, limit: int) -> GrainRun:
        """Return what the file has there."""
        found = next(iter(self.file.extents(self._start + offset, limit)), None)
        if found is None:
            return GrainRun("missing", limit, why="the extent's file ends before this")
        if found.kind == "missing":
            return GrainRun("missing", found.length, why="the extent's file does not hold this")
        return GrainRun(found.kind, found.length, self._start + offset)


class BlankPart:
    """Part of a disk that is zeros, or not there."""

    file = None
    allocated = 0

    def __init__(self, run: GrainRun) -> None:
        self._run = run

    def run(self, offset: int, limit: int) -> GrainRun:
        """Return the same everywhere."""
        return self._run._replace(length=limit)


DiskPart = SparseExtent | FlatPart | BlankPart


class Slot(NamedTuple):
    """A part in its place on the disk, of which it fills the first ``size`` bytes of the part."""

    part: DiskPart
    size: int
