"""One machine directory, read once: settings, keys, disk, VirtualBox's settings, boot medium, leftovers."""

from __future__ import annotations

import os
from pathlib import Path

from b2dinspect.errors import B2dError, UsageError
from b2dinspect.evidence.file import open_evidence
from b2dinspect.evidence.vbox import Settings, read_settings
from b2dinspect.findings import Finding
from b2dinspect.machine.config import NAME, Config, read_config
from b2dinspect.machine.disks import LEFTOVERS, DiskFiles, find_disks
from b2dinspect.machine.files import about, is_folder, is_there, read_small, real_file
from b2dinspect.machine.iso import Iso, read_iso
from b2dinspect.machine.keys import HostKeys, read_keys
from b2dinspect.records import NamedTuple

COPY_NOTE = "repaired-copy.json"
"""In a copy that a repair made: of which machine directory, and what was done to it."""
MAX_NOTE = 1 << 20


class Machine(NamedTuple):
    """All facts about one machine directory; the disk itself is not opened.

    Attributes:
        folder: The directory.
        name: Of the machine: as config.json says, else the directory's.
        config: What config.json says.
        keys: The host's key pair.
        disks: Which files are disks.
        vbox: NAME.vbox, if there is one.
        settings: What it says.
        iso: The boot medium, if there is one.
        leftovers: Files that an interrupted create, or VMware's way, leaves behind.
        findings: What cannot be read, or leads out of the directory.
        copy_of: The directory that this one is a repaired copy of; "" for an original.
    """

    folder: Path
    name: str
    config: Config
    keys: HostKeys
    disks: DiskFiles
    vbox: Path | None
    settings: Settings | None
    iso: Iso | None
    leftovers: tuple[Path, ...]
    findings: tuple[Finding, ...]
    copy_of: str = ""

    @property
    def driver(self) -> str:
        """Name of the driver, "" when it is not known."""
        return self.config.driver

    @property
    def disk(self) -> Path | None:
        """What to open for the machine's disk: VirtualBox's settings, when a snapshot made the disk stale."""
        return _live_disk(self.disks, self.vbox, self.settings)


def open_machine(folder: Path) -> Machine:
    """Return all facts about a machine directory.

    Raises:
        UsageError: Not a directory, or one that cannot be read.
    """
    if not is_folder(folder):
        raise UsageError(f"{folder} is not a directory")
    try:
        os.listdir(folder)  # noqa: PTH208 - only to see whether it can be read
    except OSError as error:
        raise UsageError(f"{folder}: {error.strerror}") from error
    config = read_config(folder)
    name = _name_of(config, folder)
    vbox, settings, problems = _settings(folder, name)
    disks = find_disks(folder, name, config.driver)
    refused = [
        about("machine-file-refused", "warning", f"{path.name} is not opened: {error}", path)
        for path, error in disks.refused
    ]
    return Machine(
        folder,
        name,
        config,
        read_keys(folder),
        disks,
        vbox,
        settings,
        read_iso(folder),
        tuple(folder / name for name in LEFTOVERS if is_there(folder / name)),
        (*refused, *problems),
        _copied_from(folder),
    )


def disk_of(folder: Path) -> Path | None:
    """Return what ``Machine.disk`` is, without reading the keys and the boot medium."""
    config = read_config(folder)
    name = _name_of(config, folder)
    vbox, settings, _ = _settings(folder, name)
    return _live_disk(find_disks(folder, name, config.driver), vbox, settings)


def _live_disk(disks: DiskFiles, vbox: Path | None, settings: Settings | None) -> Path | None:
    return vbox if settings is not None and settings.stale else disks.chosen


def _name_of(config: Config, folder: Path) -> str:
    return config.name if _is_plain(config.name) else folder.resolve().name


def _copied_from(folder: Path) -> str:
    """Return what a repaired copy says that it is a copy of."""
    import json

    file = read_small(folder / COPY_NOTE, MAX_NOTE)
    try:
        original = json.loads(file.data)["copy_of"] if file else ""
    except (ValueError, KeyError, TypeError):
        return ""
    return original if isinstance(original, str) else ""


def _is_plain(name: str) -> bool:
    """Tell whether a name from config.json is one that can be a file's, and no way to somewhere else."""
    return name not in ("", ".", "..") and not any(letter in "/\\:" or letter < " " for letter in name)


def looks_like_machine(folder: Path) -> bool:
    """Tell whether a directory has a config.json or a disk; key files alone are in ~/.ssh, too."""
    return is_there(folder / NAME) or find_disks(folder, folder.resolve().name, "").chosen is not None


def _settings(folder: Path, name: str) -> tuple[Path | None, Settings | None, list[Finding]]:
    """Return VirtualBox's settings of the machine, which lie in a folder of its name, or beside the disk."""
    for path in (folder / name / f"{name}.vbox", folder / f"{name}.vbox"):
        if not is_there(path):
            continue
        real, error = real_file(path, folder)
        if real is None:
            return path, None, [about("vbox-unreadable", "warning", f"{path.name}: {error}", path)]
        try:
            with open_evidence(str(real), is_resolved=True) as file:
                return path, read_settings(file), []
        except B2dError as failure:
            return path, None, [about("vbox-unreadable", "warning", f"{path.name}: {failure}", path)]
    return None, None, []
