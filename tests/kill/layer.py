"""A file layer in this process of which one call fails, or kills: every call that writes is counted.

What the program does through ``os`` is seen here, and its files that are opened to be written. What C code
writes by itself is not: strace (``traced``) sees that too.
"""

from __future__ import annotations

import builtins
import errno
import io
import os
import signal
from collections.abc import Callable
from typing import Any, Literal

Fault = Literal["KILL", "TERM", "INT", "ENOSPC", "EIO", "TORN"]
FAULTS: tuple[Fault, ...] = ("KILL", "TERM", "INT", "ENOSPC", "EIO", "TORN")
"""TORN: half of what is written reaches the disk, then the process is killed."""
TEARABLE = ("write", "pwrite")
CALLS = (
    *("write", "pwrite", "copy_file_range", "fsync", "ftruncate", "truncate"),
    *("fchmod", "chmod", "fchown", "chown", "utime"),
    *("rename", "replace", "link", "symlink", "unlink", "remove", "mkdir", "rmdir", "setxattr", "mknod"),
)
KILL = getattr(signal, "SIGKILL", signal.SIGTERM)  # Windows has none
SIGNALS = {"KILL": KILL, "TERM": signal.SIGTERM, "INT": signal.SIGINT, "TORN": KILL}
WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC


class Layer:
    """The calls of this process from now on.

    Args:
        number: Which call fails, counted from 1; 0 for none.
        fault: How.

    Attributes:
        calls: The names of those made so far.
    """

    def __init__(self, number: int = 0, fault: Fault = "EIO") -> None:
        self.calls: list[str] = []
        self._number, self._fault = number, fault

    def install(self) -> None:
        """Put itself between the program and the system, for good."""
        for name in CALLS:
            if hasattr(os, name):
                setattr(os, name, self._around(name, getattr(os, name)))
        from b2dinspect.newfile import exchange

        exchange._call = self._around("renameat2", exchange._call)
        as_ever, opened = os.open, io.open

        def open_descriptor(path: Any, flags: int, *others: Any, **more: Any) -> int:
            if flags & WRITING:
                self._count("open")
            return as_ever(path, flags, *others, **more)

        def open_file(file: Any, mode: str = "r", *others: Any, **more: Any) -> Any:
            if set(mode) & set("wax+") and not isinstance(file, int):
                self._count("open")
            return opened(file, mode, *others, **more)

        os.open = open_descriptor
        io.open = builtins.open = open_file  # type: ignore[assignment]

    def _around(self, name: str, call: Callable[..., Any]) -> Callable[..., Any]:
        def counted(*arguments: Any, **more: Any) -> Any:
            if self._count(name) and self._fault == "TORN" and name in TEARABLE:
                fd, data, *others = arguments
                call(fd, data[: len(data) // 2], *others)
                os.kill(os.getpid(), signal.SIGKILL)
            return call(*arguments, **more)

        return counted

    def _count(self, name: str) -> bool:
        """Count a call, and let it fail when it is the one; True for one that is torn by who makes it."""
        self.calls.append(name)
        if len(self.calls) != self._number:
            return False
        if self._fault == "TORN" and name in TEARABLE:
            return True
        if self._fault in SIGNALS:
            os.kill(os.getpid(), SIGNALS[self._fault])
            return False
        number = errno.ENOSPC if self._fault == "ENOSPC" else errno.EIO
        raise OSError(number, os.strerror(number))
