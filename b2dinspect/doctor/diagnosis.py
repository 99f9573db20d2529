"""The doctor's answer: every finding in the order of the chain, and where the chain breaks."""

from __future__ import annotations

import os
from typing import Literal

from b2dinspect.docker.summary import Summary, summaries
from b2dinspect.doctor import disk as disk_checks
from b2dinspect.doctor import door as door_checks
from b2dinspect.doctor import host as host_checks
from b2dinspect.doctor.case import Case
from b2dinspect.doctor.explanations import (
    ALL_LINKS,
    DOOR,
    LINKS,
    SYSTEMS,
    Basis,
    Explanation,
    System,
    explanation_of,
)
from b2dinspect.doctor.remedies import Remedy, remedy
from b2dinspect.findings import Finding
from b2dinspect.inspection.facts import Inspection
from b2dinspect.inspection.login import lets_in
from b2dinspect.machine.disks import DISKS
from b2dinspect.records import NamedTuple
from b2dinspect.units import size

CheckStatus = Literal["ok", "odd", "BROKEN", "unseen"]
ENGINES = ("docker", "podman")
"""Drivers that run the machine as a container."""
ELSEWHERE = (
    "the way to the machine: is it running, has its address changed, does its host-only network exist, "
    "is VT-x or AMD-V free for it"
)


class Link(NamedTuple):
    """One link of the chain.

    Attributes:
        name: One of LINKS, or of DOOR.
        status: ``unseen`` when it could not be looked at, or does not exist yet.
        text: What is there.
        by: What that rests on.
    """

    name: str
    status: CheckStatus
    text: str
    by: Basis = "bytes"


class Diagnosed(NamedTuple):
    """A finding, what it means, and what to do about it on each system."""

    finding: Finding
    explanation: Explanation
    remedies: dict[System, Remedy]


class Diagnosis(NamedTuple):
    """All that the doctor says.

    Attributes:
        case: The facts.
        links: The chain.
        findings: The cause first: errors, warnings, then what is worth knowing; in each, as the chain goes.
        advice: Where to look when nothing here is wrong; "" otherwise.
        engines: What container engines left on the disk.
        door: The facts about the second door, to a Docker client.
        door_links: The chain to it; () where nobody has built that door and nothing is wrong.
    """

    case: Case
    links: tuple[Link, ...]
    findings: tuple[Diagnosed, ...]
    advice: str
    door: door_checks.Door
    door_links: tuple[Link, ...] = ()
    engines: tuple[Summary, ...] = ()

    @property
    def is_healthy(self) -> bool:
        """Whether nothing was found that keeps anybody out."""
        return not any(item.finding.is_fault for item in self.findings)

    @property
    def is_about_door(self) -> bool:
        """Whether the gravest finding is about the second door, so that the login itself is not at fault."""
        return bool(self.findings) and self.findings[0].explanation.link in DOOR

    @property
    def keeps_nobody_out(self) -> bool:
        """Whether the host's key gets in with all that was found, on the disk that the machine uses."""
        machine, case = self.case.machine, self.case
        is_live = machine is not None and machine.disk is not None and case.path == str(machine.disk)
        return is_live and self.key == "fits" and all(link.status != "BROKEN" for link in self.links)

    @property
    def key(self) -> Literal["none", "untold", "differs", "fits"]:
        """How the host's private key and the disk agree: ``none`` without a key, ``untold`` without a tar."""
        private, disk = self.case.keys.private, self.case.disk
        if private is None or not private.identity:
            return "none"
        if disk is None or disk.effective is None:
            return "untold"
        return "fits" if lets_in(disk, private.identity) else "differs"


def diagnose(case: Case, at: float | None = None) -> Diagnosis:
    """Run every check and put what they say in order.

    Args:
        case: The facts, open.
        at: Seconds since 1970 for which certificates are judged; None for now.
    """
    door = door_checks.open_door(case, at)
    found = [finding for check in host_checks.CHECKS for finding in check(case)]
    if case.disk is not None:
        found += disk_checks.examine(case.disk, host_checks.expectations(case))
    found += [finding for check in door_checks.CHECKS for finding in check(door)]
    diagnosed = [_diagnosed(case, finding) for finding in dict.fromkeys(found)]
    severity = {"error": 0, "warning": 1, "info": 2}
    diagnosed.sort(key=lambda item: (severity[item.finding.severity], ALL_LINKS.index(item.explanation.link)))
    links = tuple(_link(name, case, diagnosed) for name in LINKS)
    engines = summaries(case.disk) if case.disk is not None else ()
    shows_door = door.is_there or any(one.explanation.link in DOOR for one in diagnosed)
    door_links = tuple(_door_link(name, door, diagnosed) for name in DOOR) if shows_door else ()
    return Diagnosis(case, links, tuple(diagnosed), _advice(case, diagnosed), door, door_links, engines)


def _diagnosed(case: Case, finding: Finding) -> Diagnosed:
    explanation = explanation_of(finding)
    return Diagnosed(finding, explanation, {system: remedy(case, explanation, system) for system in SYSTEMS})


def _link(name: str, case: Case, found: list[Diagnosed]) -> Link:
    here = [item.finding for item in found if item.explanation.link == name and item.finding.is_fault]
    text, is_seen = _TEXTS[name](case)
    by: Basis = "script" if name == "login" else "bytes"
    if here:
        worst = "BROKEN" if any(finding.severity == "error" for finding in here) else "odd"
        return Link(name, worst, text if is_seen else here[0].message, by)  # type: ignore[arg-type]
    if name == "login" and any(_keeps_out(item) for item in found):
        return Link(name, "BROKEN", "not with what is above", by)
    return Link(name, "ok" if is_seen else "unseen", text, by)


def _keeps_out(item: Diagnosed) -> bool:
    """Tell whether a finding breaks the chain to the login."""
    return item.finding.severity == "error" and item.explanation.link in LINKS


def _door_link(name: str, door: door_checks.Door, found: list[Diagnosed]) -> Link:
    here = [item.finding for item in found if item.explanation.link == name and item.finding.is_fault]
    text = door_checks.SEEN[name](door)
    if here:
        worst: CheckStatus = "BROKEN" if any(finding.severity == "error" for finding in here) else "odd"
        return Link(name, worst, text or here[0].message)
    return Link(name, "ok" if text else "unseen", text or "not looked at")


Seen = tuple[str, bool]
"""What is to be said of a link, and whether it was there to be looked at."""


def _host_key(case: Case) -> Seen:
    private = case.keys.private
    if case.machine is None:
        return "no machine directory was given", False
    if private is None or private.line is None or private.line.key is None:
        return "no usable id_rsa", private is not None
    key = private.line.key
    mode = f", mode {private.file.mode:04o}" if os.name == "posix" else ""  # elsewhere it says nothing
    return f"id_rsa, {key.type} {key.bits} bits, {key.sha256}{mode}", True


def _config(case: Case) -> Seen:
    machine = case.machine
    if machine is None:
        return "no machine directory was given", False
    config = machine.config
    if config.file is None:
        return "no config.json", False
    if not config.driver:
        return f"config.json of {config.file.size} bytes", True
    asked = f", {size(config.disk_size)} asked for" if config.disk_size else ""
    return f"config.json version {config.version}, driver {config.driver}{asked}", True


def _container(case: Case) -> Seen:
    disk = case.disk
    if disk is None:
        if case.machine and DISKS.get(case.machine.driver) == "":
            return "this driver has none", False
        return case.trouble or "no disk", False
    container = disk.container
    return f"{container.format} {container.variant}, {size(container.size)}, {disk.state}", True


def _start(case: Case) -> Seen:
    disk = case.disk
    if disk is None:
        return "not looked at", False
    if not disk.magic.data:
        return "byte 0 is not in this evidence", False
    if disk.magic.found and disk.state == "provisioned":
        return "the marker, without effect: a guest looks for the label first", True
    if disk.magic.found:
        fresh = disk.of_source("fresh") or disk.of_source("residue")
        has_tar = fresh is not None and len(fresh.tar.entries) > 1
        return "the marker and its tar" if has_tar else "the marker, and no tar behind it", True
    if disk.magic.in_partitions:
        return "no marker, but at the start of a partition", True
    if disk.state == "provisioned":
        return "no marker, as it must be on a formatted disk", True
    return "no marker", True


def _table(case: Case) -> Seen:
    disk = case.disk
    if disk is None or disk.table.kind == "none":
        return "none yet" if disk else "not looked at", False
    if disk.table.kind == "missing":
        return "not in this evidence", False
    return f"{disk.table.kind.upper()}, {len(disk.table.partitions)} partitions", True


def _filesystem(case: Case) -> Seen:
    disk = case.disk
    if disk is None or disk.data is None:
        return "none" if disk else "not looked at", False
    volume = disk.data.volume
    return (
        f"{volume.filesystem} {volume.label.decode('latin-1')!a} on {volume.partition.place}",
        True,
    )


def _userdata(case: Case) -> Seen:
    item = case.disk.of_source("data") if case.disk else None
    if item is None:
        return _waiting(case) if case.disk else "not looked at", False
    return f"{item.path}, {item.size} bytes", True


def _waiting(case: Case) -> str:
    return "not unpacked yet" if case.disk and case.disk.of_source("fresh") else "none"


def _authorized(case: Case) -> Seen:
    disk = case.disk
    item = disk.effective if disk else None
    if disk is None or item is None:
        return "none" if disk else "not looked at", False
    keys = {
        key.line.key.sha256
        for key in disk.keys
        if key.source == item.source and key.line.valid and key.line.key
    }
    return f"{len(keys)} key{'s' * (len(keys) != 1)}: {', '.join(sorted(keys)[:2])}", bool(keys)


def _login(case: Case) -> Seen:
    disk = case.disk
    if disk is None or disk.effective is None:
        return "cannot be told", False
    if not case.keys.identity:
        return "whoever has the private key to one of these", True
    if lets_in(disk, case.keys.identity):
        return "the host's key is one of these", True
    return "the host's key is none of these", True


_TEXTS = {
    "host key": _host_key,
    "config": _config,
    "container": _container,
    "offset 0": _start,
    "table": _table,
    "filesystem": _filesystem,
    "userdata.tar": _userdata,
    "authorized_keys": _authorized,
    "login": _login,
}


def _advice(case: Case, found: list[Diagnosed]) -> str:
    """Return where to look when the disk is not to blame (row 16)."""
    if any(item.finding.is_fault for item in found):
        return ""
    driver, name = (case.machine.driver, case.machine.name) if case.machine else ("", "")
    if driver in ENGINES:
        return f"the machine is a container of {driver}'s, and its log tells more: {driver} logs {name}"
    if DISKS.get(driver) == "":
        return "the machine is somewhere else: its provider's console shows more"
    return ELSEWHERE


def evidence_bytes(disk: Inspection, finding: Finding, length: int = 16) -> bytes:
    """Return the bytes that a finding points at; empty when it points nowhere, or they are not there."""
    from b2dinspect.source import read_lenient

    if finding.offset is None or finding.file:
        return b""
    source = disk.container if finding.space == "virtual" else disk.container.file
    return read_lenient(source, finding.offset, length)
