"""What a name means that a user gives: a disk image, a machine directory, or a machine by its name.

This is the one place that decides it, and the one message for a name that means nothing.
"""

from __future__ import annotations

import itertools
from pathlib import Path

from b2dinspect.errors import UsageError
from b2dinspect.evidence.urls import is_url
from b2dinspect.machine.files import is_folder, is_there
from b2dinspect.machine.folder import disk_of, looks_like_machine
from b2dinspect.machine.places import machine_folder, stores
from b2dinspect.records import NamedTuple

MAX_NAMES = 2000
"""Names of a folder that are compared with a wrong one."""


class NamedDisk(NamedTuple):
    """A disk that was named.

    Attributes:
        path: The image to open, or NAME.vbox that tells which one it is.
        folder: The machine directory that was named; None when an image was. The disk's files may be anywhere
            in it.
    """

    path: str
    folder: Path | None = None


def machine_named(argument: str) -> Path | None:
    """Return the machine directory that an argument means; None when it is a file, a URL, or ``-``.

    Raises:
        UsageError: It is neither, with the name that is nearest; or a directory of something else.
    """
    if argument == "-" or is_url(argument) or (is_there(Path(argument)) and not is_folder(Path(argument))):
        return None
    folder = machine_folder(argument)
    if folder is None:
        raise UsageError(f"{argument}: no such file, directory, or machine on this host{_nearest(argument)}")
    if not looks_like_machine(folder):
        raise UsageError(f"{folder} is no machine directory: no config.json and no disk in it")
    return folder


def disk_named(argument: str) -> NamedDisk:
    """Return the disk that an argument means: the image itself, or a machine's disk.

    Raises:
        UsageError: There is nothing of that name, or a machine without a disk.
    """
    folder = machine_named(argument)
    if folder is None:
        return NamedDisk(argument)
    disk = disk_of(folder)
    if disk is None:
        raise UsageError(f"{folder}: no disk in this machine directory")
    return NamedDisk(str(disk), folder)


def _nearest(argument: str) -> str:
    """Return a question about the name nearest to a wrong one; "" when none is near."""
    import difflib  # slow to import, and only for a mistake

    wanted = Path(argument)
    names = {path.name: str(path) for path in _entries(wanted.parent)}
    if wanted.name == argument:
        names |= {path.name: path.name for store in stores() for path in _entries(store)}
    found = difflib.get_close_matches(wanted.name, names, 1)
    return f"; did you mean {names[found[0]]}?" if found else ""


def _entries(folder: Path) -> list[Path]:
    try:
        return [*itertools.islice(folder.iterdir(), MAX_NAMES)]
    except (OSError, ValueError):
        return []
