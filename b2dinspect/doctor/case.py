"""What the doctor looks at: a machine directory, a disk, or a disk in a machine directory."""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple, Self

from b2dinspect.errors import B2dError
from b2dinspect.evidence.chain import Rules
from b2dinspect.evidence.file import Progress
from b2dinspect.inspection.facts import Inspection
from b2dinspect.inspection.walk import inspect
from b2dinspect.machine.folder import Machine, open_machine
from b2dinspect.machine.keys import HostKeys
from b2dinspect.machine.naming import machine_named

NO_KEYS = HostKeys(None, None)


class Case(NamedTuple):
    """The facts. A context manager, which keeps the disk open; or call ``close()``.

    Attributes:
        subject: What the user named.
        machine: The machine directory; None when only a disk is at hand.
        path: The disk image, or NAME.vbox that tells which one it is; "" for none.
        disk: Facts about the disk; None when there is none, or it cannot be read.
        trouble: Why the disk could not be read; "" when it was, or there is none.
    """

    subject: str
    machine: Machine | None
    path: str
    disk: Inspection | None
    trouble: str = ""

    @property
    def keys(self) -> HostKeys:
        """The host's key pair."""
        return self.machine.keys if self.machine else NO_KEYS

    def close(self) -> None:
        """Close the disk; the facts stay."""
        if self.disk is not None:
            self.disk.close()

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
) -> Case:
    """Return the facts about a machine's name, a machine directory, or a disk image.

    An image that lies beside a config.json is taken with its machine directory.

    Raises:
        UsageError: No such machine or file.
        EvidenceError: A disk image that was named itself cannot be read.
    """
    folder = machine_named(subject)
    if folder is not None:
        machine = open_machine(folder)
        path = str(machine.disk) if machine.disk else ""
        rules = rules or Rules()
        rules = rules._replace(folders=(*rules.folders, str(folder)))  # NAME.vbox lies one folder deeper
        return _with_disk(Case(subject, machine, path, None), format_name, rules, progress)
    parent = Path(subject).parent
    machine_of_image = open_machine(parent) if subject != "-" and (parent / "config.json").is_file() else None
    facts = inspect(subject, format_name=format_name, rules=rules, progress=progress)
    return Case(subject, machine_of_image, subject, facts)


def _with_disk(case: Case, format_name: str | None, rules: Rules | None, progress: Progress | None) -> Case:
    if not case.path:
        return case
    try:
        return case._replace(disk=inspect(case.path, format_name=format_name, rules=rules, progress=progress))
    except B2dError as error:
        return case._replace(trouble=str(error))
