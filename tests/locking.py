"""One process at a time, on every system."""

from __future__ import annotations

import sys
from typing import IO, Any

if sys.platform == "win32":
    import msvcrt

    def lock(file: IO[Any]) -> None:
        """Wait for a file that is open for writing, and have it until it is closed."""
        while True:
            try:
                msvcrt.locking(file.fileno(), msvcrt.LK_LOCK, 1)
            except OSError:  # after ten seconds
                continue
            return

else:
    import fcntl

    def lock(file: IO[Any]) -> None:
        """Wait for a file that is open for writing, and have it until it is closed."""
        fcntl.flock(file, fcntl.LOCK_EX)
