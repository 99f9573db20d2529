"""Programs written by others, against which the tests compare."""

from __future__ import annotations

import os
import shutil
import subprocess

import pytest

PATH = os.pathsep.join([os.environ.get("PATH", os.defpath), "/usr/sbin", "/sbin"])


def needs(*programs: str) -> pytest.MarkDecorator:
    """Return a mark that skips the test, and says why, unless every program is installed."""
    missing = [program for program in programs if not shutil.which(program, path=PATH)]
    return pytest.mark.skipif(bool(missing), reason=f"not installed: {', '.join(missing)}")


def run(*command: object, input: bytes | None = None) -> subprocess.CompletedProcess[bytes]:  # noqa: A002
    """Run a program to its end; raises CalledProcessError with its output when it fails."""
    arguments = [os.fspath(part) if isinstance(part, os.PathLike) else str(part) for part in command]
    environment = {**os.environ, "PATH": PATH, "LC_ALL": "C.UTF-8"}
    program = shutil.which(arguments[0], path=PATH) or arguments[0]
    return subprocess.run(
        [program, *arguments[1:]], input=input or b"", capture_output=True, check=True, env=environment
    )
