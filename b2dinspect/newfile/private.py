"""Keeping others out of a file on Windows, where mode 0600 means nothing.

Source: Microsoft, icacls; Win32-OpenSSH, contrib/win32/win32compat/w32-sshfileperm.c, which refuses a private
key that others may read.
"""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

TIME_LIMIT = 10
"""Seconds for icacls."""


def keep_private(path: Path) -> None:
    """Let nobody but its owner, who is the one logged in, read or write a file. Other systems have modes.

    A file that cannot be closed so stays as it is: the doctor tells who may read it.
    """
    if os.name != "nt":
        return
    user = os.environ.get("USERNAME", "")
    domain = os.environ.get("USERDOMAIN", "")
    owner = f"{domain}\\{user}" if domain else user
    command = ["icacls", str(path), "/inheritance:r", "/grant:r", f"{owner}:F"]
    try:
        subprocess.run(
            command, stdin=subprocess.DEVNULL, capture_output=True, timeout=TIME_LIMIT, check=False
        )
    except (OSError, subprocess.TimeoutExpired):
        return
