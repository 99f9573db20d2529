"""What an examiner of a place is given: the disk, and the window that was just read of it."""

from __future__ import annotations

from b2dinspect.errors import MissingDataError, SourceError
from b2dinspect.search.stored import Window
from b2dinspect.source import ByteSource

PIECE = 4096


class Scene:
    """The disk, for whoever looks at a place of it.

    Attributes:
        disk: The virtual disk.
        known_keys: Up to which byte the private keys go that were found: what stands within is theirs.
    """

    def __init__(self, disk: ByteSource) -> None:
        self.disk = disk
        self.known_keys = 0
        self._window = Window(0, b"")

    def show(self, window: Window) -> None:
        """Take the window that is being searched: most is asked of it."""
        self._window = window

    def read(self, start: int, length: int) -> bytes:
        """Return the bytes at a place of the disk, zeros of holes too, as far as the evidence holds them."""
        start, length = max(0, start), length + min(0, start)
        within = start - self._window.start
        if within >= 0 and start + length <= self._window.end:
            return self._window.data[within : within + length]
        if start >= self.disk.size or length <= 0:
            return b""
        try:
            return self.disk.pread(start, length)
        except (MissingDataError, SourceError):
            return self._as_far_as_it_goes(start, length)

    def _as_far_as_it_goes(self, start: int, length: int) -> bytes:
        found, end = [], start + length
        while start < end:
            step = min(PIECE - start % PIECE, end - start)
            try:
                found.append(self.disk.pread(start, step))
            except (MissingDataError, SourceError):
                break
            start += step
        return b"".join(found)

    def before(self, end: int, length: int) -> bytes:
        """Return up to ``length`` bytes in front of a place; none when any of them is missing."""
        length = min(length, end)
        data = self.read(end - length, length)
        return data if len(data) == length else b""
