"""Writing a planned repair: in place, after a backup, or into a copy."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

from b2dinspect.containers import Container
from b2dinspect.containers.writers import kept_format, new_disk, written_formats
from b2dinspect.errors import UsageError
from b2dinspect.identity import Identities
from b2dinspect.machine.folder import COPY_NOTE
from b2dinspect.newfile import NewFile, NewFolder
from b2dinspect.newfile.private import keep_private
from b2dinspect.provisioning.disk.claims import claimed
from b2dinspect.provisioning.disk.images import WorkDisk
from b2dinspect.provisioning.keypair import KeyPair
from b2dinspect.provisioning.repair import hostfiles
from b2dinspect.provisioning.repair.backup import (
    FileChange,
    NewImage,
    Patch,
    apply,
    check,
    keep_old,
    write_backup,
)
from b2dinspect.provisioning.repair.certificates import host_files
from b2dinspect.provisioning.repair.place import HostFolder
from b2dinspect.provisioning.repair.plan import Repair
from b2dinspect.source import SECTOR

KEPT = ".before-repair"
"""What is put behind the name of an image that a new one takes the place of."""


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
    if repair.new_key is not None:
        found += hostfiles.put_key(repair.new_key, place)
    if repair.has("modes"):
        found.append(hostfiles.close_key(place / "id_rsa"))
    if repair.has("public-key"):
        found.append(hostfiles.make_public(machine, place))
    if repair.has("paths") or at is not None:
        found.append(hostfiles.move_paths(machine, folder, at))
    elif repair.has("encoding"):
        found.append(hostfiles.plain_config(machine, place))
    if repair.certificates is not None:
        found += host_files(repair.certificates, folder, at)
    changes = [change for change in found if change is not None]
    return [one for one in changes if one.patches or one.old_mode != one.new_mode or not one.existed]


def disk_change(repair: Repair) -> FileChange | None:
    """Return the bytes of the image that are to be others; None when the image must be written anew.

    Raises:
        UsageError: The image is packed, or has several files or snapshots.
    """
    disk = repair.case.disk
    if disk is None or repair.outcome is None:
        return None
    path = Path(repair.case.path)
    container = disk.container
    is_plain = disk.origin == "file" and not disk.links and path.suffix != ".vbox"
    if not is_plain or container.format not in written_formats() or getattr(container, "snapshots", None):
        raise UsageError(
            f"{path}: an image with parents, snapshots or packing is not changed in place; make a copy"
        )
    patches = None if repair.rewrites_image else _patches(repair, container)
    if patches is None:
        return None
    status = path.stat()
    mode = status.st_mode & 0o777
    return FileChange(path, True, status.st_size, status.st_size, mode, mode, patches)


def _patches(repair: Repair, container: Container) -> tuple[Patch, ...] | None:
    """Return the changes by file offset; None when the image stores nothing where one must be."""
    patches: list[Patch] = []
    for change in repair.changes:
        for at in range(0, len(change.new), SECTOR):
            where = container.locate(change.offset + at)
            if where is None:
                return None
            old, new = change.old[at : at + SECTOR], change.new[at : at + SECTOR]
            if patches and patches[-1].offset + len(patches[-1].new) == where:
                last = patches.pop()
                patches.append(Patch(last.offset, last.old + old, last.new + new))
            else:
                patches.append(Patch(where, old, new))
    return tuple(patches)


def repair_in_place(repair: Repair, backup: Path) -> list[FileChange | NewImage]:
    """Write a backup, then the changes, and return them; nothing is written when nothing changes.

    An image that would have to grow is written anew and takes the place of the old one, which is kept.

    Raises:
        UsageError: It cannot be done in place.
        SourceError: It cannot be written.
    """
    change = disk_change(repair)
    folder = repair.case.machine.folder if repair.case.machine else Path()
    files = host_changes(repair, folder.absolute())
    with HostFolder(backup.absolute().parent) as place:
        for one in files:
            check(one, place)
        if change is None and repair.outcome is not None:
            return [_replace_image(repair, backup, files), *_applied(files, place)]
        changes = [*([change] if change else []), *files]
        if change is not None:
            check(change, place)
            with claimed(change.path):  # nothing is written, not even a backup, while the machine runs
                write_backup(backup, changes)
        elif changes:
            write_backup(backup, changes)
        return [*_applied(changes, place)]


def _applied(changes: list[FileChange], place: HostFolder) -> list[FileChange]:
    for one in changes:
        apply(one, place)
    return changes


def _replace_image(repair: Repair, backup: Path, files: list[FileChange]) -> NewImage:
    path = Path(repair.case.path)
    with claimed(path), NewFile.replacing(path) as new:
        _fill(new, repair, repair.case.disk.container if repair.case.disk else None)
        image = NewImage.of(path, KEPT, new)
        write_backup(backup, [image, *files])
        keep_old(image)
    return image


def repair_image_copy(repair: Repair, out: Path, *, force: bool = False) -> None:
    """Write the disk as it is to be into a new image, which appears when it is whole."""
    disk = repair.case.disk
    if disk is None:
        raise UsageError("there is no disk to copy")
    with NewFile(out, force=force, mode=0o600) as file:
        # VirtualBox takes no second image of one UUID: only a copy that replaces the old image keeps it
        _fill(file, repair, None if disk.links else disk.container)


def _fill(file: NewFile, repair: Repair, like: Container | None) -> None:
    disk = repair.case.disk
    if disk is None:
        raise UsageError("there is no disk to write")
    container = disk.container
    source = repair.outcome or container
    copy = WorkDisk(new_disk(kept_format(container.format), file, source.size, Identities(), like=like))
    copy.load(source)
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
            if path.is_file() and not path.is_symlink() and path.name != disk and path.suffix != KEPT:
                shutil.copy2(path, folder.temporary / path.name)
        if repair.case.disk is not None:
            repair_image_copy(repair, folder.temporary / disk)
        for change in host_changes(repair, final, folder.temporary):
            apply(change)
        with NewFile(folder.temporary / COPY_NOTE, mode=0o600) as note:
            note.pwrite(0, json.dumps(copy_note(repair), indent=1).encode())


def write_key(pair: KeyPair, path: Path, *, force: bool = False) -> None:
    """Write a key pair: the private half to ``path``, the public one beside it."""
    for place, data in ((path, pair.private), (path.with_name(f"{path.name}.pub"), pair.public)):
        with NewFile(place, force=force, mode=0o600) as file:
            if data is pair.private:
                keep_private(file.temporary)
            file.pwrite(0, data)


def copy_note(repair: Repair) -> dict[str, object]:
    """Return what a copy says of itself: of what it is a copy, and what was done to it."""
    machine = repair.case.machine
    return {
        "copy_of": str(machine.folder.absolute()) if machine else "",
        "actions": [[action.id, action.why, action.how] for action in repair.actions],
    }


def is_copy_of(repair: Repair, folder: Path) -> bool:
    """Tell whether a directory is what this repair would make."""
    try:
        return bool(
            json.loads((folder / COPY_NOTE).read_bytes()) == json.loads(json.dumps(copy_note(repair)))
        )
    except (OSError, ValueError):
        return False


def _copy_name(repair: Repair) -> str:
    """Return the name of the disk in the copy: a VirtualBox child becomes a disk of its own."""
    machine = repair.case.machine
    chosen = machine.disks.chosen if machine else None
    return chosen.name if chosen else Path(repair.case.path).name
