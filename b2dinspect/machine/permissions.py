r"""Who may read a file on Windows, as ``icacls FILE`` lists it: a name and its rights on each line.

::

    C:\Users\Ann\id_rsa NT AUTHORITY\SYSTEM:(I)(F)
                        BUILTIN\Administrators:(I)(F)
                        PC\Ann:(I)(F)

    Successfully processed 1 files; Failed processing 0 files

Windows' ssh refuses a key that anybody but its owner, SYSTEM and administrators may read.
"""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Callable
from pathlib import Path

TIME_LIMIT = 10
"""Seconds for icacls."""
_ENTRY = re.compile(r"(?P<name>[^:]+):(?P<rights>(?:\([A-Za-z,]+\))+)$")
_ALLOWED = re.compile(r"(?i).*\\(system|système|sistema|.*admin.*)$")
"""SYSTEM and the administrators, whose names Windows translates."""


def others(path: Path, user: str = "", ask: Callable[[Path], str] | None = None) -> tuple[str, ...]:
    """Return who else may read a file; nothing on other systems, or when it cannot be told.

    Args:
        path: The file.
        user: Whose it is; by default the one who is logged in.
        ask: What returns the listing of icacls; by default the program itself, on Windows.
    """
    if ask is None:
        if os.name != "nt":
            return ()
        ask = _icacls
    user = (user or os.environ.get("USERNAME", "")).lower()
    return tuple(name for name in _readers(ask(path), path) if not _is_allowed(name, user))


def _icacls(path: Path) -> str:
    try:
        done = subprocess.run(
            ["icacls", str(path)],
            capture_output=True,
            stdin=subprocess.DEVNULL,
            timeout=TIME_LIMIT,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return ""
    return done.stdout.decode("mbcs" if os.name == "nt" else "utf-8", "replace")


def _readers(listing: str, path: Path) -> list[str]:
    found = []
    for line in listing.splitlines():
        entry = _ENTRY.search(line.removeprefix(str(path)).strip())
        if entry and "(DENY)" not in entry["rights"] and entry["name"] not in found:
            found.append(entry["name"].strip())
    return found


def _is_allowed(name: str, user: str) -> bool:
    return name.lower().rsplit("\\", 1)[-1] == user or bool(_ALLOWED.match(name))
