"""Temporary names, and who is still working on what lies under them.

Whoever writes under a temporary name holds a lock on it. The system lets go of it when the process ends,
however it ends: what nobody holds was left behind. Where there are no such locks, only what
is an hour old is.
"""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Iterator
from pathlib import Path

try:
    import fcntl
except ImportError:  # Windows, where an open file cannot be removed anyway
    fcntl = None  # type: ignore[assignment]

PART = re.compile(r"\.[0-9a-f]{12}(\.data)?\.part")
OLD = re.compile(r"(?P<name>.+)\.[0-9a-f]{12}\.old")
SCRATCH = "b2dprovision-"
SCRATCH_NAME = re.compile(rf"({SCRATCH}|b2dinspect-)[a-z0-9_]{{8}}")
"""Of a work folder, and of one that a packed machine is unpacked into, as ``tempfile`` makes names."""
STALE = 3600.0
"""Seconds without a change, where nobody can say that he is still at work."""


def temporary_name(path: Path) -> Path:
    """Return a new name beside a path, for what is to have that name."""
    return path.with_name(f".{os.urandom(6).hex()}.part")


def data_name(temporary: Path) -> Path:
    """Return the temporary name of a file that is named in the one with another temporary name."""
    return temporary.with_suffix(f".data{temporary.suffix}")


def named_in(data: Path) -> Path | None:
    """Return the temporary name of the file that names this one; None for a name of another kind."""
    part = data.with_suffix("")
    return part.with_suffix(data.suffix) if part.suffix == ".data" else None


def old_name(path: Path) -> Path:
    """Return a new name for what has had that name until now; it tells to whom it belongs."""
    return path.with_name(f"{path.name}.{os.urandom(6).hex()}.old")


def hold(fd: int) -> bool:
    """Say that somebody is at work on a file or folder, and return whether nobody else was.

    The lock goes with the descriptor. True where nobody can tell.
    """
    if fcntl is None:
        return True
    try:
        fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:  # a filesystem without locks
        return True
    return True


def hold_folder(path: Path) -> int | None:
    """Hold a folder, and return the descriptor to close; None where folders cannot be opened."""
    with contextlib.suppress(OSError):
        fd = os.open(path, os.O_RDONLY)
        hold(fd)
        return fd
    return None


def is_held(path: Path) -> bool:
    """Tell whether somebody is at work on a file or folder."""
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        if fcntl is None:
            return time.time() - path.stat().st_mtime < STALE
        fd = os.open(path, flags)
    except OSError:
        return False  # another one's, or gone: removing it will tell
    try:
        return not hold(fd)
    finally:
        os.close(fd)


@contextlib.contextmanager
def scratch() -> Iterator[Path]:
    """Give a folder for keys and half-made things that nobody else can look into; it is gone at the end."""
    import tempfile  # slow to import

    path = Path(tempfile.mkdtemp(prefix=SCRATCH))
    held = hold_folder(path)
    try:
        yield path
    finally:
        remove_folder(path)
        if held is not None:
            os.close(held)


def remove_folder(folder: Path) -> None:
    """Remove a folder with all in it: keys, which are small, first. An interrupt waits until that is done."""
    try:
        _remove(folder)
    except KeyboardInterrupt:
        _remove(folder)
        raise


def _remove(folder: Path) -> None:
    import shutil  # slow to import, and a NewFile needs none of it

    if not os.path.lexists(folder):
        return
    for file in sorted(_files(folder)):
        with contextlib.suppress(OSError):
            os.unlink(file[1])  # noqa: PTH108
    shutil.rmtree(folder, ignore_errors=True)


def _files(folder: Path) -> Iterator[tuple[int, str]]:
    for place, _, names in os.walk(folder):
        for name in names:
            path = os.path.join(place, name)  # noqa: PTH118
            with contextlib.suppress(OSError):
                yield os.lstat(path).st_size, path
