"""Who else uses an image: by QEMU's locks, by what programs have open (on Linux), by files beside it.

QEMU locks single bytes, shared, whatever is in them: byte 100 + n says "I use permission n", byte 200 + n "I
suffer nobody who uses it". Source: qemu, block/file-posix.c (RAW_LOCK_PERM_BASE, RAW_LOCK_SHARED_BASE) and
include/block/block-common.h (BLK_PERM_*).
"""

from __future__ import annotations

import contextlib
import os
import struct
import sys
from collections.abc import Iterator
from pathlib import Path

from b2dinspect.errors import SourceError, UsageError
from b2dinspect.newfile.hold import hold
from b2dinspect.provisioning.disk.sleepers import sleepers

try:
    import fcntl
except ImportError:  # Windows, where nobody opens what VirtualBox or QEMU has open
    fcntl = None  # type: ignore[assignment]

USED, NOT_SHARED = 100, 200
READ, WRITE, RESIZE = 0, 1, 3
LOCK = "hhqqi"
"""struct flock: type, whence, start, length, process."""


@contextlib.contextmanager
def claimed(path: Path) -> Iterator[int]:
    """Give an open descriptor of an image that nobody else writes to, or will while it is open.

    Raises:
        UsageError: Somebody else has it open, or the path is a link.
        SourceError: It cannot be opened to be written.
    """
    flags = os.O_RDWR | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0)
    try:
        fd = os.open(path, flags)
    except OSError as error:
        if path.is_symlink():
            raise UsageError(f"{path} is a link to {os.readlink(path)}; name that file") from error  # noqa: PTH115
        raise SourceError(f"{path}: {error.strerror}") from error
    try:
        claim(fd, path)
        yield fd
    finally:
        os.close(fd)


def claim(fd: int, path: Path) -> None:
    """Lock an image as QEMU does, for as long as the descriptor is open.

    Raises:
        UsageError: Somebody else has it open; says who, where that can be known.
    """
    if reason := next(sleepers(path), ""):
        raise UsageError(f"{path} is in use: {reason}")
    names = _writers(fd)
    if not hold(fd) or not _lock(fd) or names:
        who = ", ".join(names) or "another program"
        raise UsageError(f"{path} is in use by {who}: switch the machine off first")


def _lock(fd: int) -> bool:
    if fcntl is None or not hasattr(fcntl, "F_OFD_SETLK"):
        return True
    try:
        for byte in (USED + READ, USED + WRITE, USED + RESIZE, NOT_SHARED + WRITE, NOT_SHARED + RESIZE):
            fcntl.fcntl(fd, fcntl.F_OFD_SETLK, struct.pack(LOCK, fcntl.F_RDLCK, os.SEEK_SET, byte, 1, 0))
        conflicts = (NOT_SHARED + READ, NOT_SHARED + WRITE, NOT_SHARED + RESIZE, USED + WRITE, USED + RESIZE)
        return not any(_is_locked(fd, byte) for byte in conflicts)
    except BlockingIOError:
        return False
    except OSError:  # a filesystem without such locks
        return True


def _is_locked(fd: int, byte: int) -> bool:
    """Tell whether somebody else has a lock on a byte."""
    asked = struct.pack(LOCK, fcntl.F_WRLCK, os.SEEK_SET, byte, 1, 0)
    found = struct.unpack(LOCK, fcntl.fcntl(fd, fcntl.F_OFD_GETLK, asked))
    return bool(found[0] != fcntl.F_UNLCK)


def _writers(fd: int) -> list[str]:
    """Return the programs that have the same file open to write, of those that Linux lets us look at."""
    mine, found = os.fstat(fd), set()
    for process in Path("/proc").glob("[0-9]*") if sys.platform == "linux" and mine.st_ino else ():
        if process.name == str(os.getpid()):
            continue
        with contextlib.suppress(OSError, ValueError, IndexError):
            for link in (process / "fd").iterdir():
                if _is_written(process, link, mine):
                    found.add(f"{(process / 'comm').read_text().strip()} (process {process.name})")
    return sorted(found)


def _is_written(process: Path, link: Path, mine: os.stat_result) -> bool:
    with contextlib.suppress(OSError):
        if os.path.samestat(link.stat(), mine):
            lines = (process / "fdinfo" / link.name).read_text().splitlines()
            flags = next(int(line.split()[1], 8) for line in lines if line.startswith("flags:"))
            return flags & os.O_ACCMODE != os.O_RDONLY
    return False
