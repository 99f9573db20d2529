"""Copying what cannot be read at any offset, a packed file or a stream, once into a nameless temporary file.

Runs of zeros become holes, so a 20 GB disk of zeros takes next to no room.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from typing import IO, TYPE_CHECKING

from b2dinspect.errors import SourceError
from b2dinspect.evidence.packing import HEAD, decompress, packing_of
from b2dinspect.source import ByteSource, FileSource
from b2dinspect.sparse import make_sparse

if TYPE_CHECKING:
    from b2dinspect.evidence.file import Progress
    from b2dinspect.evidence.packing import Stream

CHUNK = 1 << 20
LENGTH_LIMIT = 16 << 40
"""Bytes: a longer stream is no disk of these machines."""
WORK_LIMIT = 300.0
"""Seconds of processor time: zeros take no room but time, and a few bytes can unpack to hours of them."""


def spool(stream: Stream, total: int | None, origin: str, progress: Progress | None) -> FileSource:
    """Return a stream's content, unpacked when it is packed.

    Args:
        stream: Read to its end, and left open.
        total: Bytes of it, when that is known.
        origin: What the source is to be called.
        progress: Told of the bytes read.

    Raises:
        SourceError: It cannot be read, is damaged, or finds no room.
    """
    import tempfile

    try:
        with tempfile.TemporaryFile(prefix="b2dinspect-") as file:
            make_sparse(file.fileno())
            length, written = _copy(_chunks(stream, total, progress), file, origin)
            stored = sum(end - start for start, end in written)
            return FileSource(os.dup(file.fileno()), length, origin, stored, written)
    except OSError as error:
        reason = error.strerror or error
        raise SourceError(f"cannot be copied into the temporary folder: {reason}", layer=origin) from error


def stream_length(stream: IO[bytes]) -> int | None:
    """Return the bytes of the file behind a stream; None when there is none."""
    try:
        return os.fstat(stream.fileno()).st_size or None
    except OSError:  # not a descriptor
        return None


class SourceStream:
    """A source, read from its first byte to its last."""

    def __init__(self, source: ByteSource) -> None:
        self._source = source
        self._position = 0

    def read(self, length: int) -> bytes:
        """Return the next bytes; none at the end."""
        data = self._source.pread(self._position, length)
        self._position += len(data)
        return data


def _copy(chunks: Iterator[bytes], file: IO[bytes], origin: str) -> tuple[int, list[tuple[int, int]]]:
    """Write chunks with holes; return their length and what was stored of them, as (start, end)."""
    room = _free_space() // 2
    length = stored = 0
    written: list[tuple[int, int]] = []
    end = time.process_time() + WORK_LIMIT
    for chunk in chunks:
        if chunk.strip(b"\0"):
            file.seek(length)
            file.write(chunk)
            stored += len(chunk)
            start = written.pop()[0] if written and written[-1][1] == length else length
            written.append((start, length + len(chunk)))
        length += len(chunk)
        if stored > room or length > LENGTH_LIMIT:
            raise SourceError(
                f"too large to unpack into the temporary folder ({stored:,} bytes of data so far)",
                layer=origin,
                offset=length,
            )
        if time.process_time() > end:
            raise SourceError(
                f"is not unpacked after {WORK_LIMIT:.0f} seconds of work, {length:,} bytes so far: "
                "unpack it with its own program first, if it is what it should be",
                layer=origin,
                offset=length,
            )
    file.truncate(length)
    return length, written


def _free_space() -> int:
    import shutil
    import tempfile

    return shutil.disk_usage(tempfile.gettempdir()).free


def _chunks(stream: Stream, total: int | None, progress: Progress | None) -> Iterator[bytes]:
    """Yield the stream, unpacked when it is packed."""
    head = stream.read(HEAD)
    if packing := packing_of(head):
        yield from decompress(packing, _Counted(stream, head, total, progress))
        return
    done = 0
    while chunk := head + stream.read(CHUNK - len(head)):
        head = b""
        yield chunk
        done += len(chunk)
        if progress:
            progress("reading", done, None)


class _Counted:
    """The packed stream, giving back the bytes already read and telling how far it is."""

    def __init__(self, stream: Stream, head: bytes, total: int | None, progress: Progress | None) -> None:
        self._stream = stream
        self._head = head
        self._progress = progress
        self._total = total
        self._done = 0

    def read(self, length: int) -> bytes:
        data, self._head = self._head[:length], self._head[length:]
        data += self._stream.read(length - len(data))
        self._done += len(data)
        if self._progress:
            self._progress("unpacking", self._done, self._total)
        return data
