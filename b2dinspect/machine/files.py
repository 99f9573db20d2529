"""Reading a machine directory's small files: bounded, and never through a link that leads out of it."""

from __future__ import annotations

import os
import stat
from pathlib import Path

from b2dinspect.evidence.opening import open_resolved
from b2dinspect.evidence.roots import RefusedError, Roots
from b2dinspect.findings import Finding
from b2dinspect.records import NamedTuple


class SmallFile(NamedTuple):
    """A file of the host, as far as it could be read.

    Attributes:
        path: Where it is.
        mode: Permission bits.
        size: Bytes.
        data: Its content, up to the limit it was read with.
        mtime: Last change, seconds since 1970.
        error: Why the content could not be read; "" when it was.
    """

    path: Path
    mode: int
    size: int
    data: bytes
    mtime: float
    error: str = ""


def is_there(path: Path) -> bool:
    """Tell whether a name is there, whatever it names."""
    return os.path.lexists(path)


def is_folder(path: Path) -> bool:
    """Tell whether a path is a directory; one that cannot be looked at is none."""
    return os.path.isdir(path)  # noqa: PTH112 - Path.is_dir raises for a name that is too long


def real_file(path: Path, folder: Path | None = None) -> tuple[Path | None, str]:
    """Return the regular file behind a path of a machine directory, or None and why there is none.

    Args:
        path: The file.
        folder: The directory that it must really lie in; by default the one that it is named in.
    """
    try:
        return Path(Roots(str((folder or path.parent) / path.name), ()).resolve(str(path.absolute()))), ""
    except RefusedError as error:
        return None, error.message.replace("image's folder", "machine's folder")


def read_small(path: Path, limit: int) -> SmallFile | None:
    """Return a file of a machine directory; None when the name is not there.

    Args:
        path: The file.
        limit: Bytes; a larger file is not read.
    """
    if not is_there(path):
        return None
    real, error = real_file(path)
    if real is None:
        return SmallFile(path, 0, 0, b"", 0.0, error)
    try:
        fd = open_resolved(str(real))
    except OSError as failure:
        return _unreadable(path, real, failure.strerror or "cannot be opened")
    with os.fdopen(fd, "rb") as file:
        status = os.fstat(fd)
        if not stat.S_ISREG(status.st_mode):
            return _unreadable(path, real, "is not a regular file")
        known = (path, stat.S_IMODE(status.st_mode), status.st_size)
        if status.st_size > limit:
            text = f"{status.st_size} bytes, which is too large for what it should be ({limit} at most)"
            return SmallFile(*known, b"", status.st_mtime, text)
        try:
            return SmallFile(*known, file.read(limit), status.st_mtime)
        except OSError as failure:
            return SmallFile(*known, b"", status.st_mtime, failure.strerror or "cannot be read")


def _unreadable(path: Path, real: Path, reason: str) -> SmallFile:
    try:
        status = real.stat()
    except OSError:  # gone meanwhile
        return SmallFile(path, 0, 0, b"", 0.0, reason)
    return SmallFile(path, stat.S_IMODE(status.st_mode), status.st_size, b"", status.st_mtime, reason)


def about(name: str, severity: str, message: str, path: Path, offset: int | None = None) -> Finding:
    """Return a finding about a file of the host."""
    return Finding(name, severity, message, offset, "file", str(path))  # type: ignore[arg-type]
