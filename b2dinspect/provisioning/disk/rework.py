"""Changing a disk image: always a new file that takes the old one's place when it is whole."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from b2dinspect.containers import Container, open_container
from b2dinspect.containers.writers import new_disk, written_formats
from b2dinspect.errors import UsageError
from b2dinspect.evidence.chain import open_disk
from b2dinspect.evidence.roots import RefusedError
from b2dinspect.identity import Identities
from b2dinspect.newfile import NewFile
from b2dinspect.provisioning.disk.claims import claimed
from b2dinspect.provisioning.disk.images import WorkDisk, stored_chunks
from b2dinspect.provisioning.stages import Plan, State
from b2dinspect.source import ByteSource


@contextmanager
def rework(path: Path, ids: Identities) -> Iterator[WorkDisk]:
    """Give the disk of an image to write on; the image is replaced at the end if anything was written.

    Until then nobody else may write to it: it is locked, and what changed all the same is not replaced.

    Raises:
        UsageError: The image is of a format that cannot be written, in use, or was changed meanwhile.
        EvidenceError: It cannot be read.
    """
    with ExitStack() as held:
        held.enter_context(claimed(Path(os.path.realpath(path))))
        old = held.enter_context(opened(path))
        if old.format not in written_formats():
            raise UsageError(f"{path}: disks of the format {old.format} cannot be changed")
        if getattr(alone(old.file, path), "snapshots", None):
            raise UsageError(f"{path}: a new image would lose the snapshots in it")
        file = NewFile.replacing(path)
        try:
            disk = WorkDisk(new_disk(old.format, file, old.size, ids, like=old))
            disk.load(old)
            yield disk
            if disk.has_changed:
                disk.writer.flush()
                if os.name == "nt":
                    held.close()  # Windows replaces no file that is open
                file.commit()
        finally:
            file.discard()


def alone(file: ByteSource, path: Path) -> Container:
    """Return the disk of an image that is one file and names no other.

    Raises:
        UsageError: It has a parent, extents or a data file: who follows its names would write to those.
        EvidenceError: It cannot be read.
    """
    names: list[str] = []

    def refuse(name: str) -> ByteSource:
        names.append(name)
        raise RefusedError("not looked for")

    disk = open_container(file, open_extent=refuse)
    if names or disk.parent_link is not None or disk.data_file_name:
        raise UsageError(f"{path}: an image that stands on other files is not changed in place")
    return disk


@contextmanager
def opened(path: Path, format_name: str | None = None) -> Iterator[Container]:
    """Give the disk of an image to read."""
    with open_disk(str(path), format_name) as found:
        yield found.container


def keep_snapshot(state: State, stage: str, disk: ByteSource) -> State:
    """Keep a copy of the disk as it is after this stage, if the plan wants that."""
    if not state.plan.keeps_stages or state.folder is None:
        return state
    folder = state.folder / "stages"
    folder.mkdir(mode=0o700, exist_ok=True)
    path = folder / f"{state.number:02}-{stage}{Path(state.plan.disk_name).suffix}"
    write_image(disk, path, state.plan, force=True)
    return state._replace(snapshots=(*state.snapshots, str(path)))


def write_image(disk: ByteSource, path: Path, plan: Plan, *, force: bool = False) -> None:
    """Write a disk into a new image of the plan's format; what is not stored stays a hole.

    Raises:
        UsageError: The file exists and ``force`` is not given.
    """
    with NewFile(path, force=force, mode=0o600) as file:
        writer = new_disk(plan.format, file, disk.size, plan.ids)
        for offset, data in stored_chunks(disk):
            writer.pwrite(offset, data)
        writer.flush()
