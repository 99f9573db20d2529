"""Programs written by others, against which the tests compare."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest

PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])
PATIENCE = 600
"""Seconds that a test waits for a process before it fails: a slow machine is no fault."""


def needs(*programs: str) -> pytest.MarkDecorator:
    """Return a mark that skips the test, and says why, unless every program is installed."""
    missing = [program for program in programs if not shutil.which(program, path=PATH)]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")


def run(*command: object, input: bytes | None = None) -> subprocess.CompletedProcess[bytes]:  # noqa: A002
    """Run a program to its end, or skip the test for want of it.

    Raises:
        CalledProcessError: It failed; with its output.
    """
    arguments = [os.fspath(part) if isinstance(part, os.PathLike) else str(part) for part in command]
    environment = {**os.environ, "PATH": PATH, "LC_ALL": "C.UTF-8"}
    program = shutil.which(arguments[0], path=PATH)
    if program is None:
        pytest.skip(f"not installed: {arguments[0]}")
    return subprocess.run(
        [program, *arguments[1:]], input=input or b"", capture_output=True, check=True, env=environment
    )


def qemu_processes(folder: Path) -> list[str]:
    """Return the command lines of the QEMUs that have a file in this folder open, and of their leashes."""
    found = []
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            words = (process / "cmdline").read_bytes().decode().split("\0")
            files = [os.readlink(link) for link in (process / "fd").iterdir()]
            if any("qemu-system" in word for word in words) and any(
                file.startswith(str(folder)) for file in files
            ):
                found.append(" ".join(words))
    return found
