"""What is made once a run, by the worker that needs it first, and read by all of them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path

from tests.locking import lock

_VARIABLE = "B2DINSPECT_TESTS"
if _VARIABLE not in os.environ:  # pytest itself; its workers and their children inherit the folder
    _OWN = tempfile.TemporaryDirectory(prefix="b2dinspect-tests-")
    os.environ[_VARIABLE] = _OWN.name
SHARED = Path(os.environ[_VARIABLE])
"""Gone when the run has ended."""


def once(name: str, make: Callable[[], Path]) -> Path:
    """Return what ``make`` made below ``SHARED``, in this process or in another one. Do not change it.

    Args:
        name: Of what is made, in all of the tests.
        make: Makes it and returns its path. It may ask for other things that are made once.
    """
    note = SHARED / f"{name}.made"
    with (SHARED / f"{name}.lock").open("w") as file:
        lock(file)
        if not note.exists():
            note.write_text(str(make()))
    return Path(note.read_text())


def new_path(name: str) -> Path:
    """Return a name for a new file that lives as long as the run."""
    return Path(tempfile.mkdtemp(dir=SHARED)) / name


def shared_folder(name: str) -> Path:
    """Return a folder for things that lie side by side."""
    (SHARED / name).mkdir(exist_ok=True)
    return SHARED / name
