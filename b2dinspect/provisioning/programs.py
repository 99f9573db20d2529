"""Programs of others that the work needs: found, and when missing named with the package that has them."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from b2dinspect.errors import ToolError

_E2FSPROGS = {"linux": "e2fsprogs (apt, dnf)", "darwin": "e2fsprogs (brew, MacPorts)"}
_QEMU = {"linux": "qemu-system-x86 (apt)", "darwin": "qemu (brew)", "win32": "QEMU (winget)"}
_CLOUD = {"linux": "the Debian package of that name"}
PACKAGES = {
    "mke2fs": _E2FSPROGS,
    "qemu-system-x86_64": _QEMU,
    "ssh": {"linux": "openssh-client (apt)", "darwin": "macOS itself", "win32": "Windows' optional features"},
}
PLACES = (
    *("/usr/sbin", "/sbin"),  # Debian keeps them out of a user's PATH
    *("/opt/homebrew/bin", "/usr/local/bin", "/opt/local/bin", "/opt/local/sbin"),  # Homebrew, MacPorts
    *("/opt/homebrew/opt/e2fsprogs/sbin", "/usr/local/opt/e2fsprogs/sbin"),
)
"""Where programs are that PATH may not reach."""


def find_program(name: str) -> str | None:
    """Return the full path of a program, or None."""
    return shutil.which(name, path=os.pathsep.join([os.environ.get("PATH", os.defpath), *PLACES]))


def need_program(name: str) -> str:
    """Return the full path of a program.

    Raises:
        ToolError: It is not installed; the message names the package.
    """
    found = find_program(name)
    if found is None:
        package = PACKAGES.get(name, _CLOUD).get(sys.platform, name)
        raise ToolError(f"{name} is needed and was not found; install {package}")
    return found


def run_program(
    name: str, *arguments: str, environment: Mapping[str, str] | None = None, folder: Path | None = None
) -> str:
    """Run a program to its end, in ``folder``, and return what it printed.

    Raises:
        ToolError: Not installed, or it ended with another status than 0.
    """
    result = subprocess.run(
        [need_program(name), *arguments],
        env={**os.environ, **(environment or {})},
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
        cwd=folder,
    )
    text = result.stdout.decode("utf-8", "replace").strip()
    if result.returncode:
        last = text.splitlines()[-1] if text else f"status {result.returncode}"
        raise ToolError(f"{name} failed: {last}")
    return text
