"""Getting the owner back in: what must change, the proof that it helps, and only then the writing.

All changes of the disk are made in an overlay first. The proof is a simulated boot of that overlay with a
real login. Then a copy is written, or, in place, a backup and after it the changed bytes.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from b2dinspect.containers.writers import kept_format, new_disk, written_formats
from b2dinspect.doctor.case import Case
from b2dinspect.doctor.diagnosis import Diagnosis
from b2dinspect.errors import UsageError
from b2dinspect.identity import Identities
from b2dinspect.inspection.facts import Inspection
from b2dinspect.inspection.volumes import Volume
from b2dinspect.newfile import NewFile, NewFolder
from b2dinspect.provisioning.disk.images import WorkDisk
from b2dinspect.provisioning.disk.overlay import Change, Overlay
from b2dinspect.provisioning.keypair import KeyPair
from b2dinspect.provisioning.repair import hostfiles
from b2dinspect.provisioning.repair.backup import FileChange, Patch, apply, write_backup
from b2dinspect.provisioning.repair.proof import prove_login
from b2dinspect.provisioning.repair.replace import check_writable, put_userdata, relabel
from b2dinspect.source import SECTOR
from b2dinspect.userdata.authorized_keys import PublicKey, parse
from b2dinspect.userdata.tarball import GUEST_KEEPS, build_userdata

NEEDS_KEY = (
    "userdata-missing",
    "userdata-cut-login",
    "userdata-no-file",
    "userdata-unreadable",
    "key-none",
    "key-broken",
    "key-only-in-second",
    "key-mismatch",
    "keys-differ",
    "tar-checksum",
    "tar-header-cut",
    "tar-long",
    "tar-number",
)
"""Findings that a new userdata.tar mends."""


class Action(NamedTuple):
    """One thing to do.

    Attributes:
        id: ``userdata``, ``label``, ``modes``, ``public-key`` or ``paths``.
        why: The finding that asks for it, or the user.
        how: What is done, in a few words.
    """

    id: str
    why: str
    how: str


class Repair(NamedTuple):
    """A planned repair.

    Attributes:
        case: The facts.
        actions: What is to be done, disk first.
        changes: What is to change on the disk.
        left: Ids of faults that no action mends.
        proof: What came of the simulated login; "" when it was not tried.
        logged_in: Whether it worked; None when it was not tried.
    """

    case: Case
    actions: tuple[Action, ...]
    changes: tuple[Change, ...]
    left: tuple[str, ...]
    proof: str
    logged_in: bool | None

    def has(self, name: str) -> bool:
        """Whether there is an action of that name."""
        return any(action.id == name for action in self.actions)


def plan_repair(diagnosis: Diagnosis, key: KeyPair | None, *, is_cut: bool = False) -> Repair:
    """Work out what must change, in memory, and prove it with a simulated login.

    Args:
        diagnosis: What is wrong.
        key: The key pair to let in; None takes the machine's.
        is_cut: Cut the new tar at 4096 bytes, as a guest would.

    Raises:
        UsageError: The disk cannot be repaired; says why and what to do.
        ToolError: A program that is needed is missing, or failed.
    """
    case = diagnosis.case
    pair = key or _own_key(case)
    ids = {one.finding.id for one in diagnosis.findings if one.finding.is_fault}
    mended: set[str] = set()
    actions: list[Action] = []
    overlay: Overlay | None = None
    if case.disk is not None:
        overlay, disk_actions = _plan_disk(case.disk, pair, ids, is_chosen=key is not None, is_cut=is_cut)
        actions += disk_actions
        if overlay is not None:
            mended |= {*NEEDS_KEY, "label-missing"}
    for action, mends in _plan_host(case, {one.finding.id for one in diagnosis.findings}):
        actions.append(action)
        mended |= mends
    left = tuple(dict.fromkeys(name for name in ids if name not in mended))
    logged_in, proof = prove_login(case, overlay, pair)
    changes = tuple(overlay.differences()) if overlay else ()
    return Repair(case, tuple(actions), changes, left, proof, logged_in)


def _own_key(case: Case) -> KeyPair | None:
    private, public = case.keys.private, case.keys.public
    if private is not None and private.identity:
        from b2dinspect.userdata.private_key import public_line

        return KeyPair(private.file.data, public_line(private.file.data) + b"\n")
    if public is not None and public.identity:
        return KeyPair(b"", public.file.data)
    return None


def _plan_disk(
    disk: Inspection, pair: KeyPair | None, ids: set[str], *, is_chosen: bool, is_cut: bool
) -> tuple[Overlay | None, list[Action]]:
    """Return the disk as it is to be, and what was done to it; no overlay when nothing is."""
    needs_label = "label-missing" in ids
    causes = sorted(ids.intersection(NEEDS_KEY))
    needs_key = bool(causes) or (is_chosen and pair is not None and not _lets_in(disk, pair))
    needs_key = needs_key or (needs_label and disk.of_source("data") is None)
    if not needs_label and not needs_key:
        return None, []
    volume = _data_volume(disk)
    check_writable(volume)
    overlay, actions = Overlay(disk.container), list[Action]()
    if needs_label:
        relabel(overlay, volume)
        how = f"partition {volume.partition.number} labelled boot2docker-data"
        actions.append(Action("label", "label-missing", how))
    if needs_key:
        if pair is None:
            raise UsageError("no key to put on the disk").naming("key")
        tar = build_userdata(pair.public)
        tar = tar[:GUEST_KEEPS] if is_cut else tar
        with tempfile.TemporaryDirectory(prefix="b2dprovision-") as work:
            how = put_userdata(overlay, volume, tar, Path(work), Identities())
        why = ", ".join(causes) or ("label-missing" if needs_label else "the key that was asked for")
        actions.append(Action("userdata", why, f"userdata.tar for {_fingerprint(pair)}: {how}"))
    return overlay, actions


def _data_volume(disk: Inspection) -> Volume:
    if disk.state == "fresh":
        raise UsageError(
            "no guest has formatted this disk yet: make a new one with `b2dprovision build NEW --key KEY`"
        )
    if disk.data is None:
        raise UsageError(f"there is no data partition to repair: {disk.reason}")
    if disk.data.others:
        raise UsageError("several partitions carry the label: decide which one is to lose it (e2label)")
    return disk.data.volume


def _lets_in(disk: Inspection, pair: KeyPair) -> bool:
    wanted = {line.key.identity for line in parse(pair.public) if isinstance(line.key, PublicKey)}
    item = disk.effective
    return item is not None and any(
        key.line.key.identity in wanted
        for key in disk.keys
        if key.source == item.source and key.line.valid and isinstance(key.line.key, PublicKey)
    )


def _fingerprint(pair: KeyPair) -> str:
    return next((line.key.sha256 for line in parse(pair.public) if line.key), "no key")


def _plan_host(case: Case, ids: set[str]) -> Iterator[tuple[Action, set[str]]]:
    machine = case.machine
    if machine is None:
        return
    if "key-permissions" in ids:
        yield Action("modes", "key-permissions", "id_rsa: mode 0600"), {"key-permissions"}
    if ids & {"key-public-missing", "key-pair-differs"} and case.keys.private and case.keys.private.identity:
        cause = next(iter(sorted(ids & {"key-public-missing", "key-pair-differs"})))
        yield Action("public-key", cause, "id_rsa.pub made from id_rsa"), {"key-pair-differs"}
    if "config-moved" in ids and machine.config.is_readable:
        how = "config.json names the place where the machine is"
        yield Action("paths", "config-moved", how), {"config-moved", "certificates-missing"}


def host_changes(repair: Repair, folder: Path, at: Path | None = None) -> list[FileChange]:
    """Return the changes of a machine directory's own files.

    Args:
        repair: The plan.
        folder: The directory, or where its copy will be.
        at: Where the copy is until then.
    """
    machine = repair.case.machine
    if machine is None:
        return []
    found: list[FileChange | None] = []
    place = at or folder
    if repair.has("modes"):
        found.append(hostfiles.close_key(place / "id_rsa"))
    if repair.has("public-key"):
        found.append(hostfiles.make_public(machine, place))
    if repair.has("paths"):
        found.append(hostfiles.move_paths(machine, folder, at))
    return [change for change in found if change is not None]


def disk_change(repair: Repair) -> FileChange | None:
    """Return the change of the image file itself, for a repair in place; None when the disk stays as it is.

    Raises:
        UsageError: The image is packed, has several files, or does not store what is to change.
    """
    disk, changes = repair.case.disk, repair.changes
    if disk is None or not changes:
        return None
    path = Path(repair.case.path)
    container = disk.container
    is_plain = disk.origin == "file" and not disk.links and path.suffix != ".vbox"
    if not is_plain or container.format not in written_formats() or getattr(container, "snapshots", None):
        raise UsageError(
            f"{path}: an image with parents, snapshots or packing is not changed in place; make a copy"
        )
    patches: list[Patch] = []
    for change in changes:
        for at in range(0, len(change.new), SECTOR):
            where = container.locate(change.offset + at)
            if where is None:
                grows = (
                    f"{path}: the image stores nothing at byte {change.offset + at}, so it would have to grow"
                )
                raise UsageError(grows).naming("in_place")
            old, new = change.old[at : at + SECTOR], change.new[at : at + SECTOR]
            if patches and patches[-1].offset + len(patches[-1].new) == where:
                last = patches.pop()
                patches.append(Patch(last.offset, last.old + old, last.new + new))
            else:
                patches.append(Patch(where, old, new))
    status = path.stat()
    mode = status.st_mode & 0o777
    return FileChange(path, True, status.st_size, status.st_size, mode, mode, tuple(patches))


def repair_in_place(repair: Repair, backup: Path) -> list[FileChange]:
    """Write a backup, then the changes, and return them; nothing is written when nothing changes.

    Raises:
        UsageError: It cannot be done in place.
        SourceError: It cannot be written.
    """
    change = disk_change(repair)
    folder = repair.case.machine.folder if repair.case.machine else Path()
    changes = [*([change] if change else []), *host_changes(repair, folder.absolute())]
    changes = [one for one in changes if one.patches or one.old_mode != one.new_mode or not one.existed]
    if changes:
        write_backup(backup, changes)
        for one in changes:
            apply(one)
    return changes


def repair_image_copy(repair: Repair, out: Path, *, force: bool = False) -> None:
    """Write the disk as it is to be into a new image, which appears when it is whole."""
    disk = repair.case.disk
    if disk is None:
        raise UsageError("there is no disk to copy")
    container = disk.container
    kind = kept_format(container.format)
    with NewFile(out, force=force, mode=0o600) as file:
        copy = WorkDisk(new_disk(kind, file, container.size, Identities(), like=container))
        copy.load(container)
        for change in repair.changes:
            copy.pwrite(change.offset, change.new)
        copy.writer.flush()


def repair_machine_copy(repair: Repair, out: Path, *, force: bool = False) -> None:
    """Write a repaired copy of a machine directory; its config.json names the copy."""
    machine = repair.case.machine
    if machine is None:
        raise UsageError("this is no machine directory")
    final = out.absolute()
    with NewFolder(final, force=force) as folder:
        disk = _copy_name(repair) if repair.case.disk is not None else ""
        for path in sorted(machine.folder.iterdir()):
            if path.is_file() and not path.is_symlink() and path.name != disk:
                shutil.copy2(path, folder.temporary / path.name)
        if repair.case.disk is not None:
            repair_image_copy(repair, folder.temporary / _copy_name(repair))
        for change in host_changes(repair, final, folder.temporary):
            apply(change)
        if not repair.has("paths") and (moved := hostfiles.move_paths(machine, final, folder.temporary)):
            apply(moved)


def _copy_name(repair: Repair) -> str:
    """Return the name of the disk in the copy: a VirtualBox child becomes a disk of its own."""
    machine = repair.case.machine
    chosen = machine.disks.chosen if machine else None
    return chosen.name if chosen else Path(repair.case.path).name
