"""A file of the host that appears whole or not at all: written under a temporary name, then renamed."""

from __future__ import annotations

import contextlib
import errno
import os
from collections.abc import Callable

from b2dinspect.newfile.hold import hold

CHUNK = 1 << 20
"""Bytes that are read and written at once."""
FLAGS = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0) | getattr(os, "O_NOFOLLOW", 0)

Look = tuple[int, int, int, int, int]
"""Mode, owner, group, time of the last access and of the last change (nanoseconds since 1970)."""


class Maker:
    """Makes files.

    Args:
        owners: Give them their owners and all bits of their mode, as root may.
    """

    def __init__(self, owners: bool) -> None:
        self._owners = owners
        self._umask = os.umask(0)
        os.umask(self._umask)

    def make(
        self, place: str, look: Look, data: bytes | None, pour: Callable[[int], None], *, sync: bool
    ) -> None:
        """Make a file, in the place of what is there.

        Args:
            place: Its path.
            look: How it is to look.
            data: Its content; None for what ``pour`` writes.
            pour: Writes the content into a descriptor.
            sync: Whether it is to reach stable storage now.

        Raises:
            OSError: It cannot be made, and is not there.
        """
        new = temporary(place)
        fd = os.open(new, FLAGS, look[0] & 0o777 | 0o600)
        try:
            try:
                hold(fd)
                if data is None:
                    pour(fd)
                elif data and os.write(fd, data) < len(data):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                self._seal(fd, look)
                if sync:
                    os.fsync(fd)
            finally:
                os.close(fd)
            if os.utime not in os.supports_fd:
                os.utime(new, ns=look[3:])
            os.replace(new, place)  # noqa: PTH105
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(new)  # noqa: PTH108
            raise

    def make_in(self, folder: int, new: str, name: bytes, look: Look, data: memoryview) -> None:
        """Make a small file in an open folder, where nothing has its name.

        Args:
            folder: Descriptor.
            new: A name of nobody's, for as long as it is not whole: too short a time to hold it.
            name: Its name.
            look: How it is to look.
            data: Its content.

        Raises:
            OSError: It cannot be made, and is not there.
        """
        fd = os.open(new, FLAGS, look[0] & 0o777 | 0o600, dir_fd=folder)
        try:
            try:
                if data and os.write(fd, data) < len(data):
                    raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
                self._seal(fd, look)
            finally:
                os.close(fd)
            os.rename(new, name, src_dir_fd=folder, dst_dir_fd=folder)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(new, dir_fd=folder)
            raise

    def _seal(self, fd: int, look: Look) -> None:
        """Give a file that is written its owner, mode and times."""
        mode, uid, gid = look[:3]
        if self._owners:
            os.fchown(fd, uid, gid)
            os.fchmod(fd, mode & 0o7777)
        elif (mode | 0o600) & 0o777 & self._umask and hasattr(os, "fchmod"):
            os.fchmod(fd, mode & 0o777 | 0o600)
        if os.utime in os.supports_fd:
            os.utime(fd, ns=look[3:])


def temporary(place: str) -> str:
    """Return a new name in the folder of a path, as ``newfile.hold`` knows it for one of ours."""
    folder, separator, _ = place.rpartition(os.sep)
    return f"{folder}{separator}.{os.urandom(6).hex()}.part"
