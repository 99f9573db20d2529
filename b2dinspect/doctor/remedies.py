"""What to type against a finding on this machine: an explanation's commands with the machine's own words.

A command whose words are not known here is left out, so that each that is shown works as it stands.
"""

from __future__ import annotations

import contextlib
import os
import re
import shlex
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Literal

from b2dinspect.containers import FORMATS
from b2dinspect.doctor.case import Case
from b2dinspect.doctor.explanations import Explanation, Mend, System
from b2dinspect.errors import EvidenceError
from b2dinspect.filesystems.backups import Copy
from b2dinspect.filesystems.ext4 import Ext4
from b2dinspect.filesystems.superblock import block_size
from b2dinspect.machine.certificates import store_certificates
from b2dinspect.machine.config import is_windows
from b2dinspect.machine.places import store_of
from b2dinspect.machine.ssh import identity_words
from b2dinspect.records import NamedTuple

Command = tuple[str, ...]
"""A program and its arguments: no shell is needed for them."""
NEEDS_KEY: tuple[Mend, ...] = ("userdata", "filesystem")
LOGIN = re.compile(r"[A-Za-z_][\w.-]{0,63}@[A-Za-z0-9:][\w.:%-]{0,253}", re.ASCII)
"""What ssh takes for a user and a host, and no shell or ssh for anything else."""
MINIKUBE_ONLY = ("kvm2", "qemu2", "qemu", "hyperkit", "vfkit", "krunkit")
"""Drivers that docker-machine does not have in its own tree."""


class Remedy(NamedTuple):
    """What to do.

    Attributes:
        text: In one line.
        commands: To type one after the other.
        end: What remains then, where that is not a healthy machine.
    """

    text: str
    commands: tuple[Command, ...]
    end: str


def remedy(case: Case, explanation: Explanation, system: System) -> Remedy:
    """Return what to do about a finding, on a system."""
    driver = case.machine.driver if case.machine else ""
    templates = (*explanation.commands[system], *explanation.for_drivers.get(driver, ()))
    found = [command for template in templates if (command := _command(case, template, explanation))]
    if found and case.is_packed:
        name = folder_of(case)
        if os.path.lexists(name):
            text = f"{name} is there already, and may be mended: look at that one"
            return Remedy(text, (("b2dinspect", "doctor", os.path.join(".", name)),), explanation.end)  # noqa: PTH118
        found.insert(0, ("tar", "-xkf", case.subject))  # -k: what is there already stays
    return Remedy(explanation.fix, tuple(found), explanation.end)


def _command(case: Case, template: str, explanation: Explanation) -> Command | None:
    words: list[str] = []
    for word in shlex.split(template):
        known = _WHOLE.get(word)
        values = known(case, explanation.mends) if known else _filled(case, word)
        if not values:
            return None
        words += values
    return _told_to_ssh(words) if words[:2] == ["ssh", "-i"] else tuple(words)


def _told_to_ssh(words: Sequence[str]) -> Command | None:
    """Return ``ssh -i KEY …`` with the key's path as ssh takes it; None when there is no way to write it."""
    program, _, key, *others = words
    identity = identity_words(key)
    return (program, *identity, *others) if identity else None


def _filled(case: Case, word: str) -> tuple[str, ...]:
    """Return a word with the machine's own in it; nothing when that is not known."""
    for name, value in _PLACES.items():
        if name in word.replace(":", "/").split("/"):
            found = value(case)
            return () if not found or found.startswith("-") else (word.replace(name, found),)
    return (word,)


def typed(path: str) -> str:
    """Return a path that no program takes for an option."""
    return os.path.join(".", path) if path.startswith("-") else path  # noqa: PTH118 - a Path drops "./"


def folder_of(case: Case) -> str:
    """Return the machine directory as it is typed; that of a packed one is made by unpacking it here."""
    if case.machine is None:
        return ""
    return typed(case.machine.folder.name if case.is_packed else str(case.machine.folder))


def _disk(case: Case) -> str:
    if case.is_packed and case.machine is not None and case.path:
        return str(Path(folder_of(case)) / Path(case.path).relative_to(case.machine.folder))
    return "" if case.path == "-" else typed(case.path)


def _key(case: Case) -> str:
    return os.path.join(folder_of(case), "id_rsa") if case.machine else ""  # noqa: PTH118 - keeps "./"


def _certificate_key(case: Case, name: str) -> str:
    """Return where a key of the certificates is: in the store, else in the machine directory."""
    if case.machine is None:
        return ""
    store = store_certificates(case.machine.folder)
    if store is not None and (store / name).exists():
        return str(store / name)
    return os.path.join(folder_of(case), name)  # noqa: PTH118 - keeps "./"


def _address(case: Case) -> str:
    """Return whom to log in as, and where; nothing when config.json has words that are no such names."""
    config = case.machine.config if case.machine else None
    login = f"{config.user or 'docker'}@{config.ip}" if config and config.ip else ""
    return login if LOGIN.fullmatch(login) else ""


def _data(case: Case) -> str:
    """Return what to name for reading the data, when there are some that can be read."""
    disk = case.disk
    if disk is None or disk.data is None or not disk.data.volume.is_ext:
        return ""
    return folder_of(case) or _disk(case)


def _uuid(case: Case) -> str:
    live = case.machine.settings.live if case.machine and case.machine.settings else None
    return live.uuid.strip("{}") if live else ""


def _engine(case: Case) -> str:
    driver = case.machine.driver if case.machine else ""
    return driver if driver in ("docker", "podman") else ""


def _other(case: Case) -> str:
    candidates = list(case.machine.config.key_candidates()) if case.machine else []
    return str(Path(candidates[0]).parent) if candidates and not is_windows(candidates[0]) else ""


def _beside(case: Case, ending: str) -> str:
    """Return the name of a new file in the current folder, made of the disk's."""
    return typed(f"{Path(case.path).name.split('.')[0]}-{ending}") if case.path not in ("", "-") else ""


def _filesystem(case: Case, mends: Mend) -> Command:
    """Return the name by which e2fsprogs know the filesystem on a raw copy of the disk.

    The superblock that it is read through goes before it, where the first one is gone: without ``-B``
    e2fsck 1.47.0 looks for copies where blocks of 1 KiB have them.
    """
    data = case.disk.data if case.disk else None
    raw = _beside(case, "copy.raw")
    if data is None or not raw:
        return ()
    volume = data.volume
    options: Command = ()
    if volume.superblock is not None and volume.superblock.block_group:
        copy = Copy(volume.headers[0].offset - volume.partition.offset, volume.superblock, b"")
        options = ("-b", str(copy.number), "-B", str(block_size(copy.block)))
    return (*options, f"{raw}?offset={volume.partition.offset}")


def _sound(case: Case) -> str:
    """Return the name of a whole image, in the disk's own format where that can be written."""
    if case.disk is None:
        return ""
    known = FORMATS.get(case.disk.container.format)
    return _beside(case, f"sound.{known.suffixes[0] if known and known.is_written else 'img'}")


_PLACES: dict[str, Callable[[Case], str]] = {
    "FOLDER": folder_of,
    "DISK": _disk,
    "KEY": _key,
    "CAKEY": lambda case: _certificate_key(case, "ca-key.pem"),
    "CLIENTKEY": lambda case: _certificate_key(case, "key.pem"),
    "NAME": lambda case: case.machine.name if case.machine else "",
    "LOGIN": _address,
    "DATA": _data,
    "UUID": _uuid,
    "USER": lambda case: os.environ.get("USERNAME") or os.environ.get("USER", ""),
    "ENGINE": _engine,
    "OTHER": _other,
    "RAW": lambda case: _beside(case, "copy.raw"),
    "SOUND": _sound,
}
"""Words that stand for the machine's own, and how they are found; "" for what is not known."""


def _repair(case: Case, mends: Mend) -> Command:
    """Return the repair: in place, with a backup, where a machine uses the disk; else of a copy."""
    folder = folder_of(case)
    command: Command = ("b2dprovision", "repair", folder or _disk(case))
    if not command[-1]:
        return ()
    if not folder:
        return (*command, *(_key_beside(case) if mends in NEEDS_KEY else ()))
    if case.disk is None or not case.disk.links:
        command = (*command, "--in-place")
    has_key = bool(case.keys.private and case.keys.private.identity)
    return command if has_key or mends not in NEEDS_KEY else (*command, "--new-key")


def _key_beside(case: Case) -> Command:
    path = Path(case.path).with_name("id_rsa")
    return ("--key", str(path)) if path.is_file() else ("--new-key",)


def _new_key(case: Case, mends: Mend) -> Command:
    return ("b2dprovision", "repair", folder_of(case), "--new-key", "--in-place") if case.machine else ()


def _certificates(case: Case, mends: Mend) -> Command:
    """Return the repair of certificates, for a machine that is a directory."""
    return ("b2dprovision", "repair", folder_of(case), "--certs", "--in-place") if case.machine else ()


def _manager(case: Case, mends: Mend) -> Command:
    """Return the program that runs the machine, with the store that it lies in."""
    machine = case.machine
    if machine is None or case.is_packed or not machine.driver:
        return ()
    store, is_default = store_of(machine.folder)
    if store is None:
        return ()
    if machine.driver in MINIKUBE_ONLY or store.name == ".minikube":
        return ("minikube",) if is_default else ()
    return ("docker-machine",) if is_default else ("docker-machine", "--storage-path", str(store))


def start_command(case: Case) -> Command:
    """Return what starts the machine; nothing when its program does not know it."""
    return _managed(case, "start")


def _managed(case: Case, action: Literal["start", "stop"]) -> Command:
    manager, machine = _manager(case, "start"), case.machine
    if not manager or machine is None:
        return ()
    name = machine.folder.resolve().name
    return (*manager, action, "-p", name) if manager[0] == "minikube" else (*manager, action, name)


def _saved(case: Case, mends: Mend) -> Command:
    """Return what of the data is worth saving, and the new folder for it: Docker's, or all of it."""
    volume = case.disk.data.volume if case.disk and case.disk.data else None
    if volume is None or not volume.is_ext:
        return ()
    for path, name in (("/var/lib/docker", "saved-docker"), ("/", "saved-files")):
        with contextlib.suppress(EvidenceError), Ext4(volume.source) as files:
            if any(True for _ in files.list(files.find(path.encode()))):
                return (path, name)
    return ()


_WHOLE: dict[str, Callable[[Case, Mend], Command]] = {
    "REPAIR": _repair,
    "NEWKEY": _new_key,
    "SAVED": _saved,
    "FILESYSTEM": _filesystem,
    "CERTS": _certificates,
    "MANAGER": _manager,
    "STOP": lambda case, mends: _managed(case, "stop"),
    "START": lambda case, mends: start_command(case),
}
"""Words that stand for several."""
