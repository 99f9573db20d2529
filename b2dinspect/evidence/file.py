"""Opening evidence: a file, a block device, a packed one, or standard input; always for reading only."""

from __future__ import annotations

import os
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from b2dinspect.errors import EvidenceError, SourceError, UsageError
from b2dinspect.evidence.opening import open_named, open_resolved
from b2dinspect.evidence.packing import HEAD, packing_of
from b2dinspect.evidence.urls import is_url, shown
from b2dinspect.source import FileSource

Progress = Callable[[str, int, int | None], None]
"""Called with what is being done, bytes done, and bytes in all when that is known."""


@contextmanager
def about(path: str) -> Iterator[None]:
    """Make every EvidenceError raised within say which file it is about."""
    try:
        yield
    except EvidenceError as error:
        error.path = error.path or path
        raise


def open_evidence(
    path: str, progress: Progress | None = None, *, is_resolved: bool = False, unpacks: bool = True
) -> FileSource:
    """Open ``path`` for reading; ``-`` is standard input. The caller closes it.

    Args:
        path: The file, or a URL, which no image can name.
        progress: Told of unpacking.
        is_resolved: Whether an image or a directory named it, and ``Roots`` found where it really is: a link
            in its path is refused.
        unpacks: Whether a packed file gives what is in it, and not its own bytes.

    Raises:
        UsageError: The path is a directory or something else that is not a disk image.
        SourceError: It cannot be opened or read, or it is larger than can be spooled.
    """
    with about(shown(path)):
        return _standard_input(progress) if path == "-" else _open_file(path, progress, is_resolved, unpacks)


def _standard_input(progress: Progress | None) -> FileSource:
    from b2dinspect.evidence.spool import spool, stream_length

    if sys.stdin is None:
        raise SourceError("standard input is closed")
    stream = sys.stdin.buffer
    return spool(stream, stream_length(stream), "stream", progress)


def _open_file(path: str, progress: Progress | None, is_resolved: bool, unpacks: bool) -> FileSource:
    source = _source(path, is_resolved)
    try:
        packing = packing_of(source.pread(0, HEAD)) if unpacks else None
        if packing is None:
            return source
        from b2dinspect.evidence.spool import SourceStream, spool

        unpacked = spool(SourceStream(source), source.size, packing, progress)
    except BaseException:
        source.close()
        raise
    source.close()
    return unpacked


def _source(path: str, is_resolved: bool) -> FileSource:
    if not is_resolved and is_url(path):
        from b2dinspect.evidence.remote import open_remote

        return open_remote(path)
    return _from_descriptor(_open_for_reading(path, is_resolved), path)


def _open_for_reading(path: str, is_resolved: bool) -> int:
    try:
        return open_resolved(path) if is_resolved else open_named(path)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise SourceError(f"cannot be opened: {reason}") from error


def _from_descriptor(fd: int, path: str) -> FileSource:
    """Return the source that owns the descriptor from now on; it is closed when there is none."""
    try:
        status = os.fstat(fd)
        if stat.S_ISREG(status.st_mode):
            allocated = getattr(status, "st_blocks", (status.st_size + 511) // 512) * 512
            return FileSource(fd, status.st_size, "file", allocated)
        if stat.S_ISBLK(status.st_mode):
            return FileSource(fd, os.lseek(fd, 0, os.SEEK_END), "block device")
        if stat.S_ISDIR(status.st_mode):
            raise UsageError(f"{path} {_about_folder(path)}")
        text = f"{path} is neither a file nor a block device; to read a stream, give - and redirect it"
        raise UsageError(text)
    except BaseException:
        os.close(fd)
        raise


def _about_folder(path: str) -> str:
    """Return what is to be said of a directory that was named as an image."""
    if os.path.lexists(os.path.join(path, "DiskDescriptor.xml")):  # noqa: PTH118
        return (
            "is a Parallels disk in a folder, which is not read; convert the .hds in it first "
            "(qemu-img convert -f parallels -O raw)"
        )
    return "is a directory; name a disk image in it"
