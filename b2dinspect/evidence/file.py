"""Opening evidence: a file, a block device, a packed one, or standard input; always for reading only.

What cannot be read at any offset (packed, or a stream) is copied once into a nameless temporary file in which
runs of zeros become holes, so a 20 GB disk of zeros takes next to no room. How it is unpacked: unpacking.py.
"""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import IO, BinaryIO

from b2dinspect.errors import EvidenceError, SourceError, UsageError
from b2dinspect.source import FileSource

PACKINGS = ((b"\x1f\x8b", "gzip"), (b"\xfd7zXZ\0", "xz"), (b"\x28\xb5\x2f\xfd", "zstd"))

CHUNK = 1 << 20
SPOOL_LENGTH_LIMIT = 16 << 40
"""Bytes: a longer stream is no disk of these machines."""

Progress = Callable[[str, int, int | None], None]
"""Called with what is being done, bytes done, and bytes in all when that is known."""

HEAD = 16


def packing_of(head: bytes) -> str | None:
    """Return how a file that begins so is packed: ``gzip``, ``xz``, ``zstd`` or ``bzip2``; None for not."""
    if head[:3] == b"BZh" and head[4:10] in (b"1AY&SY", b"\x17rE8P\x90"):  # a block, or none at all
        return "bzip2"
    return next((name for magic, name in PACKINGS if head.startswith(magic)), None)


@contextmanager
def about(path: str) -> Iterator[None]:
    """Make every EvidenceError raised within say which file it is about."""
    try:
        yield
    except EvidenceError as error:
        error.path = error.path or path
        raise


def open_evidence(path: str, progress: Progress | None = None) -> FileSource:
    """Open ``path`` for reading; ``-`` is standard input.

    Raises:
        UsageError: The path is a directory or something else that is not a disk image.
        SourceError: It cannot be opened or read, or it is larger than can be spooled.
    """
    with about(path):
        return _open_anything(path, progress)


def _open_anything(path: str, progress: Progress | None) -> FileSource:
    if path == "-":
        if sys.stdin is None:
            raise SourceError("standard input is closed")
        return _spool(sys.stdin.buffer, "stream", progress)
    fd = _open_for_reading(path)
    try:
        source = _from_descriptor(fd, path)
        packing = packing_of(source.pread(0, HEAD))
        if packing is None:
            return source
        with os.fdopen(os.dup(fd), "rb") as packed:
            packed.seek(0)
            spooled = _spool(packed, packing, progress)
    except BaseException:
        os.close(fd)
        raise
    source.close()
    return spooled


def _open_for_reading(path: str) -> int:
    flags = os.O_RDONLY | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)
    # A FIFO must not make us wait for a writer; the access time of evidence is evidence.
    flags |= getattr(os, "O_NONBLOCK", 0)
    try:
        try:
            return os.open(path, flags | getattr(os, "O_NOATIME", 0))
        except PermissionError:
            return os.open(path, flags)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise SourceError(f"cannot be opened: {reason}") from error


def _from_descriptor(fd: int, path: str) -> FileSource:
    status = os.fstat(fd)
    if stat.S_ISREG(status.st_mode):
        allocated = getattr(status, "st_blocks", (status.st_size + 511) // 512) * 512
        return FileSource(fd, status.st_size, "file", allocated)
    if stat.S_ISBLK(status.st_mode):
        return FileSource(fd, os.lseek(fd, 0, os.SEEK_END), "block device")
    if stat.S_ISDIR(status.st_mode):
        raise UsageError(f"{path} is a directory; name a disk image in it")
    raise UsageError(f"{path} is neither a file nor a block device; to read a stream, give - and redirect it")


def _spool(stream: BinaryIO, origin: str, progress: Progress | None) -> FileSource:
    import tempfile

    try:
        with tempfile.TemporaryFile(prefix="b2dinspect-") as spool:
            length, stored = _copy(stream, spool, origin, progress)
            return FileSource(os.dup(spool.fileno()), length, origin, stored)
    except OSError as error:
        reason = error.strerror or error
        raise SourceError(f"cannot be copied into the temporary folder: {reason}", layer=origin) from error


def _copy(stream: BinaryIO, spool: IO[bytes], origin: str, progress: Progress | None) -> tuple[int, int]:
    """Write the unpacked stream to ``spool`` with holes; return its length and the bytes stored."""
    room = _free_space() // 2
    length = stored = 0
    for chunk in _unpacked(stream, progress):
        if chunk.strip(b"\0"):
            spool.seek(length)
            spool.write(chunk)
            stored += len(chunk)
        length += len(chunk)
        if stored > room or length > SPOOL_LENGTH_LIMIT:
            raise SourceError(
                f"too large to unpack into the temporary folder ({stored:,} bytes of data so far)",
                layer=origin,
                offset=length,
            )
    spool.truncate(length)
    return length, stored


def _free_space() -> int:
    import shutil
    import tempfile

    return shutil.disk_usage(tempfile.gettempdir()).free


def _unpacked(stream: BinaryIO, progress: Progress | None) -> Iterator[bytes]:
    """Yield the stream in chunks, unpacked when it is packed."""
    head = stream.read(HEAD)
    if packing := packing_of(head):
        from b2dinspect.evidence.packing import unpack

        yield from unpack(packing, _Counted(stream, head, progress))
        return
    total = 0
    while chunk := head + stream.read(CHUNK - len(head)):
        head = b""
        yield chunk
        total += len(chunk)
        if progress:
            progress("reading", total, None)


class _Counted:
    """The packed stream, giving back the bytes already read and telling how far it is."""

    def __init__(self, stream: BinaryIO, head: bytes, progress: Progress | None) -> None:
        self._stream = stream
        self._head = head
        self._progress = progress
        self._total = _length(stream)
        self._done = 0

    def read(self, length: int) -> bytes:
        data, self._head = self._head[:length], self._head[length:]
        data += self._stream.read(length - len(data))
        self._done += len(data)
        if self._progress:
            self._progress("unpacking", self._done, self._total)
        return data


def _length(stream: BinaryIO) -> int | None:
    try:
        return os.fstat(stream.fileno()).st_size or None
    except OSError:  # not a descriptor
        return None
