"""What the doctor looks at: a machine directory, a disk, or a disk in a machine directory."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Self

from b2dinspect.errors import B2dError, UsageError
from b2dinspect.evidence.chain import Rules
from b2dinspect.evidence.file import Progress
from b2dinspect.evidence.urls import is_url, shown
from b2dinspect.inspection.facts import Inspection
from b2dinspect.inspection.walk import inspect
from b2dinspect.machine.folder import Machine, looks_like_machine, open_machine
from b2dinspect.machine.keys import HostKeys
from b2dinspect.machine.naming import machine_named
from b2dinspect.machine.packed import UnpackedFolder, is_packed, unpack_into
from b2dinspect.records import NamedTuple
from b2dinspect.userdata.admission import Visit

NO_KEYS = HostKeys(None, None)
Look = partial[Inspection]
"""``inspect``, with what the user said about any disk."""


class Case(NamedTuple):
    """The facts. A context manager, which keeps the disk open; or call ``close()``.

    Attributes:
        subject: What the user named.
        machine: The machine directory; None when only a disk is at hand.
        path: The disk image, or NAME.vbox that tells which one it is; "" for none.
        disk: Facts about the disk; None when there is none, or it cannot be read.
        trouble: Why the disk could not be read; "" when it was, or there is none.
        scratch: Holds the machine directory, when a packed one was named; gone when the case is closed.
    """

    subject: str
    machine: Machine | None
    path: str
    disk: Inspection | None
    trouble: str = ""
    scratch: UnpackedFolder | None = None

    @property
    def keys(self) -> HostKeys:
        """The host's key pair."""
        return self.machine.keys if self.machine else NO_KEYS

    @property
    def is_packed(self) -> bool:
        """Whether a packed machine directory was named."""
        return self.scratch is not None

    def close(self) -> None:
        """Close the disk; the facts stay."""
        if self.disk is not None:
            self.disk.close()
        if self.scratch is not None:
            self.scratch.cleanup()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


def open_case(
    subject: str,
    *,
    format_name: str | None = None,
    rules: Rules | None = None,
    progress: Progress | None = None,
    visit: Visit | None = None,
) -> Case:
    """Return the facts about a machine's name, a machine directory, packed or not, or a disk image.

    An image or NAME.vbox that lies in a machine directory is taken with it; ``visit`` as in ``inspect``.

    Raises:
        UsageError: No such machine or file.
        SourceError: A packed machine directory cannot be unpacked.
        EvidenceError: A disk image that was named itself cannot be read.
    """
    folder = machine_named(subject)
    look = partial(inspect, format_name=format_name, progress=progress, visit=visit)
    if folder is not None:
        return _of_machine(subject, folder, look, rules)
    if is_url(subject):
        return Case(shown(subject), None, shown(subject), look(subject, rules=rules))
    if is_packed(Path(subject)):
        return _of_packed(subject, look, rules)
    folder = _around(Path(subject)) if subject != "-" else None
    if folder is not None and Path(subject).suffix == ".vbox":
        rules = _within(folder, rules)
    facts = look(subject, rules=rules)
    return Case(subject, open_machine(folder) if folder else None, subject, facts)


def _around(path: Path) -> Path | None:
    """Return the machine directory that an image, or NAME.vbox in a folder of its own, lies in."""
    places = [path.parent, *([path.parent.parent] if path.suffix == ".vbox" else [])]
    return next((place for place in places if (place / "config.json").is_file()), None)


def _within(folder: Path, rules: Rules | None) -> Rules:
    """Return rules that allow what lies in a machine directory: NAME.vbox lies one folder deeper."""
    rules = rules or Rules()
    return rules._replace(folders=(*rules.folders, str(folder)))


def _of_machine(subject: str, folder: Path, look: Look, rules: Rules | None) -> Case:
    machine = open_machine(folder)
    path = str(machine.disk) if machine.disk else ""
    return _with_disk(Case(subject, machine, path, None), look, _within(folder, rules))


def _of_packed(subject: str, look: Look, rules: Rules | None) -> Case:
    scratch = UnpackedFolder()
    try:
        place = Path(scratch.name) / "machines" / "unpacked"
        place.mkdir(parents=True)
        place = place.rename(place.with_name(unpack_into(Path(subject), place)))
        if not looks_like_machine(place):
            raise UsageError(f"{subject} holds no machine directory: no config.json and no disk in it")
        return _of_machine(subject, place, look, rules)._replace(scratch=scratch)
    except BaseException:
        scratch.cleanup()
        raise


def _with_disk(case: Case, look: Look, rules: Rules) -> Case:
    if not case.path:
        return case
    try:
        return case._replace(disk=look(case.path, rules=rules))
    except B2dError as error:
        return case._replace(trouble=str(error))
