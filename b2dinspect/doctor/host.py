"""What is wrong with a machine directory, and with its disk as that machine's: pure functions to findings.

Rows are those of the doctor's list of what goes wrong in real life; see explanations.toml.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

from b2dinspect.doctor.case import Case
from b2dinspect.doctor.disk import Expected
from b2dinspect.findings import Finding
from b2dinspect.guests import DATA_LABEL, GuestProfile, profile_for, profile_named, starts
from b2dinspect.inspection.facts import Inspection
from b2dinspect.inspection.login import deciding_keys, lets_in, refusal_of
from b2dinspect.inspection.volumes import Volume
from b2dinspect.machine.config import is_windows
from b2dinspect.machine.disks import DISKS, WITHOUT_MARKER
from b2dinspect.machine.files import about
from b2dinspect.machine.folder import Machine
from b2dinspect.source import SECTOR
from b2dinspect.units import listed
from b2dinspect.units import size as shown

HostCheck = Callable[[Case], Iterator[Finding]]
SMALLEST_DISK = 64 << 20
"""Bytes: no guest makes its swap or its filesystem on less."""
SLACK = 64 << 20
"""Bytes at the end of a disk that no partition needs to cover."""


def driver(case: Case) -> Iterator[Finding]:
    """Row 16: a driver without a disk on this host needs no doctor for disks."""
    machine = case.machine
    if machine is None or not machine.config.is_readable:
        return
    if DISKS.get(machine.driver) == "":
        text = f"the driver {machine.driver!r} keeps no virtual disk here"
        yield about("driver-without-disk", "info", text, machine.folder)
    elif machine.driver not in DISKS:
        text = f"the driver {machine.driver!r} is not known here: its disk was searched by common names"
        yield about("driver-unknown", "info", text, machine.folder)


def config(case: Case) -> Iterator[Finding]:
    """Rows 2 and 3: config.json is broken, or names places that are gone."""
    machine = case.machine
    if machine is None:
        return
    yield from machine.config.findings
    yield from machine.findings
    path = machine.folder / "config.json"
    for candidate in machine.config.key_candidates():
        if is_windows(candidate) and os.name != "nt":
            text = f"config.json is from Windows: the key is {candidate} there"
            yield about("config-other-system", "info", text, path)
        elif not _exists(candidate):
            text = (
                f"config.json says that the key is {candidate}, and it is not there: the directory was moved"
            )
            yield about("config-moved", "error", text, path)
        elif not _is_same(Path(candidate), machine.folder / "id_rsa"):
            text = (
                f"config.json names a key outside of this directory: {candidate}; this is a copy, or a link"
            )
            yield about("config-elsewhere", "info", text, path)
    gone = [
        f"{name} {place}"
        for name, place in machine.config.certificates
        if place and not is_windows(place) and not _exists(place)
    ]
    if gone:
        text = f"config.json names certificates that are not there: {'; '.join(gone[:4])}; ssh needs none"
        yield about("certificates-missing", "warning", text, path)


def _exists(path: str) -> bool:
    return os.path.exists(path)  # noqa: PTH110 - Path.exists raises for names that no file can have


def _is_same(one: Path, other: Path) -> bool:
    try:
        return one.samefile(other)
    except (OSError, ValueError):
        return False


def host_key(case: Case) -> Iterator[Finding]:
    """Rows 1, 3 and 5: the key files of the host."""
    machine = case.machine
    if machine is None or DISKS.get(machine.driver) == "":
        return
    yield from _private_key(machine)
    private, public = machine.keys.private, machine.keys.public
    if public is None:
        if private is not None:
            text = "there is no id_rsa.pub: no fault, it can be made from id_rsa"
            yield about("key-public-missing", "info", text, machine.folder / "id_rsa.pub")
    elif private is not None and private.identity and private.identity != public.identity:
        what = "belongs to another key than id_rsa" if public.identity else public.error
        yield about("key-pair-differs", "warning", f"id_rsa.pub {what}", public.file.path)


def _private_key(machine: Machine) -> Iterator[Finding]:
    private, path = machine.keys.private, machine.folder / "id_rsa"
    if private is None:
        text = "there is no id_rsa in the machine directory: without it nobody can log in with a key"
        yield about("key-missing", "error", text, path)
    elif not private.file.error and not private.file.size:
        yield about("key-empty", "error", "id_rsa is empty", path)
    elif private.is_encrypted:
        text = "id_rsa is encrypted: docker-machine cannot ask for its passphrase, and gets in with no key"
        yield about("key-encrypted", "error", text, path)
    elif private.error:
        yield about("key-unreadable", "error", f"id_rsa cannot be used: {private.error}", path)
    if private is not None and private.is_open:
        mode = f"{private.file.mode:04o}"
        text = f"id_rsa has mode {mode}: others may read it, so docker-machine and ssh refuse it"
        if private.others:
            text = f"{listed(private.others)} may read id_rsa too, so ssh refuses it"
        yield about("key-permissions", "error", text, path)


def disk_file(case: Case) -> Iterator[Finding]:
    """Row 12: the disk is missing, unreadable, or was left behind half made."""
    machine, disk = case.machine, case.disk
    if case.trouble:
        yield Finding("disk-unreadable", "error", f"the disk cannot be read: {case.trouble}", file=case.path)
    if machine is None:
        return
    has_disk = DISKS.get(machine.driver) != ""
    if has_disk and not case.path:
        wanted = f": {machine.disks.expected} should be there" if machine.disks.expected else ""
        yield about(
            "disk-none", "error", f"there is no disk in the machine directory{wanted}", machine.folder
        )
    if disk is not None and _is_unused(disk) and _is_small(disk, machine.config.disk_size):
        asked = machine.config.disk_size
        wanted = f" of the {shown(asked)} asked for" if asked else ""
        text = f"the disk has {shown(disk.container.size)}{wanted}: create was interrupted"
        yield Finding("disk-too-small", "error", text, file=case.path)
    for path in machine.leftovers:
        if path.name == "fixed.vhd":
            text = "fixed.vhd is there, which hyperv deletes at the end of a create"
            yield about("leftover-fixed-vhd", "info", text, path)
        elif path.name == "disk.qcow2.raw":
            text = "disk.qcow2.raw is left over: qemu2 makes disk.qcow2 of it and deletes it"
            yield about("leftover-raw", "info", text, path)


def _is_unused(disk: Inspection) -> bool:
    """Tell whether there is nothing on a disk but what create writes: whatever else is there, a guest was."""
    return disk.state in ("fresh", "blank") and disk.table.kind == "none" and not disk.living


def _is_small(disk: Inspection, asked: int | None) -> bool:
    return disk.container.size < SMALLEST_DISK or bool(asked and disk.container.size * 2 < asked)


def virtualbox(case: Case) -> Iterator[Finding]:
    """Rows 11 and 17: what VirtualBox's settings say of the disk."""
    machine, disk = case.machine, case.disk
    if machine is None or machine.settings is None or machine.vbox is None:
        return
    settings = machine.settings
    live = settings.live
    if live is None:
        text = f"{machine.vbox.name} has no hard disk attached: the machine boots without its data"
        yield about("vbox-no-disk", "error", text, machine.vbox)
        return
    opened = Path(case.path).name
    stale = [medium.location.replace("\\", "/").rsplit("/", 1)[-1] for medium in settings.stale]
    if opened in stale:
        text = (
            f"{opened} is stale: since a snapshot the machine writes to {live.location}; "
            f"look at {machine.vbox} instead"
        )
        yield Finding("disk-stale", "warning", text, file=case.path)
    if disk is None or opened in stale:
        return
    named, found = live.uuid.strip("{}"), disk.container.identity.strip("{}").lower()
    if named and found and named != found:
        text = f"the disk's UUID is {found}, but {machine.vbox.name} has {named}"
        yield about("vbox-uuid-mismatch", "error", text, machine.vbox)


def not_formatted(case: Case) -> Iterator[Finding]:
    """Row 6: the marker is still at offset 0."""
    disk, machine = case.disk, case.machine
    if disk is None or disk.state != "fresh" or disk.magic.is_alone:
        return
    was_up = machine is not None and (machine.folder / "server.pem").is_file()
    text = "no guest has formatted this disk: the marker is still at byte 0"
    if was_up:
        text += (
            ", although the machine was up once (server.pem is there): the guest that ran did not format it"
        )
    elif machine and machine.iso and machine.iso.volume_id and machine.iso.guest is None:
        text += f"; {machine.iso.path.name} is {machine.iso.volume_id!r}, which may know nothing of userdata"
    else:
        text += "; the machine never booted, or its guest left the disk alone"
    yield Finding("disk-not-formatted", "error", text, 0)


def sizes(case: Case) -> Iterator[Finding]:
    """Row 13: the disk was made larger, and nothing on it grew."""
    disk = case.disk
    if disk is None or not disk.table.partitions or disk.living:
        return  # what lives behind the partitions is what a larger one would run over
    end = max(part.end for part in disk.table.partitions) * SECTOR
    gap = disk.container.size - end
    if gap > max(SLACK, disk.container.size // 20):
        text = (
            f"the disk has {shown(disk.container.size)}, its partitions end at {shown(end)}: "
            "it was made larger, and its table was not"
        )
        yield Finding("disk-larger-than-table", "warning", text, end)


def host_userdata(case: Case) -> Iterator[Finding]:
    """Row 8: VMware's way leaves the tar on the host, and it may never have reached the disk."""
    machine, disk = case.machine, case.disk
    if machine is None or disk is None or disk.of_source("data"):
        return
    for path in machine.leftovers:
        if path.name == "userdata.tar":
            text = "userdata.tar lies in the machine directory, and not on the disk: it can be put there"
            yield about("userdata-on-host", "info", text, path)


def key_match(case: Case) -> Iterator[Finding]:
    """Row 4: the disk lets another key in."""
    disk = case.disk
    if disk is None or disk.effective is None or not case.keys.identity:
        return
    valid = deciding_keys(disk)
    entries = (disk.effective.kept or disk.effective.tar).entries
    is_cut = any(entry.missing and entry.name.endswith(b"authorized_keys") for entry in entries)
    if not valid or is_cut or lets_in(disk, case.keys.identity):
        return
    ours = next(half.line for half in (case.keys.private, case.keys.public) if half and half.identity)
    mine = ours.key.sha256 if ours and ours.key else ""
    why = "id_rsa was made anew, or the disk is another machine's"
    text = f"the disk lets in {valid[0].sha256}, but the host's key is {mine}: {why}"
    if refused := refusal_of(disk, case.keys.identity):
        text = f"the host's key {mine} is on the disk, and does not get in: {refused}"
    yield Finding("key-mismatch", "error", text, disk.effective.virtual_offset)


def lost_label(case: Case) -> Iterator[Finding]:
    """Row 9: the guest's own layout, with a filesystem that its label no longer tells."""
    volume = unlabelled(case.disk) if case.disk else None
    if volume is not None:
        text = (
            f"partition 1 lies where a guest makes it, and is labelled {volume.label.decode('latin-1')!a}, "
            f"not {DATA_LABEL.decode()!r}: the guest does not take it for its own"
        )
        yield Finding("label-missing", "error", text, volume.label_place)


def unlabelled(disk: Inspection) -> Volume | None:
    """Return the filesystem that lies where a guest makes its own, and lacks the label; None for none."""
    is_lost = disk.state == "damaged" and disk.data is not None and disk.data.by == "fallback"
    if disk.data is None or not is_lost or not disk.ownership.is_ours:
        return None
    volume = disk.data.volume
    is_there = volume.partition.number == 1 and volume.partition.start in starts(profile_of(disk))
    return volume if volume.is_ext and is_there else None


def expectations(case: Case) -> Expected:
    """Return what the machine tells of its disk."""
    has_marker = case.machine is None or case.machine.driver not in WITHOUT_MARKER
    is_ours = case.disk is not None and unlabelled(case.disk) is not None
    return Expected(has_marker, is_ours, case.machine is not None)


def profile_of(disk: Inspection) -> GuestProfile:
    """Return the guest generation whose layout a disk has."""
    if disk.guest.profile != "unknown":
        return profile_for(disk.guest.profile)
    if disk.table.kind == "mbr":
        return profile_named("automount")
    has_swap = any(volume.filesystem == "swap" for volume in disk.volumes)
    return profile_named("autoformat" if has_swap else "minikube")


def without_marker(case: Case) -> Iterator[Finding]:
    """Say that an empty VMware disk is no fault: its driver writes no marker."""
    machine, disk = case.machine, case.disk
    if machine and disk and disk.state == "blank" and machine.driver in WITHOUT_MARKER:
        text = f"the driver {machine.driver} writes no marker: the guest formats an empty disk by itself"
        yield Finding("disk-blank-vmware", "info", text, 0)


CHECKS: tuple[HostCheck, ...] = (
    driver,
    config,
    host_key,
    disk_file,
    virtualbox,
    not_formatted,
    sizes,
    host_userdata,
    key_match,
    lost_label,
    without_marker,
)
