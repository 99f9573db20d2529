"""All that is worth having of a disk's containers, into one folder: volumes, changes, images.

It goes on after a fault: what cannot be read is named beside what was kept.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import AbstractContextManager
from typing import Literal

from b2dinspect.docker.changes import changes
from b2dinspect.docker.facts import Contents, DataRoot, DockerContainer, DockerImage, DockerVolume
from b2dinspect.docker.inspect import inspected
from b2dinspect.docker.saving import Saved, changed_members, image_name, save
from b2dinspect.errors import B2dError, EvidenceError, FilesystemError, UsageError
from b2dinspect.extraction.members import Fault, Member, NotWholeError, walk
from b2dinspect.extraction.names import RESERVED
from b2dinspect.extraction.tar import Emit, Style, TarWriter
from b2dinspect.records import NamedTuple

RescuedKind = Literal["volume", "container", "images", "empty"]
EMPTY, EMPTY_SIZE = "empty.tar", 1024
IMAGES = "images.tar"
MAX_TOLD = 1000
"""Faults of one file that are written down; more are only counted."""

NewFile = Callable[[str], AbstractContextManager[Emit]]
"""Give what takes the bytes of a new file of this name, with ``/`` between folders."""
Begin = Callable[[str], object]
"""Told what is being kept now."""


class RescuedPart(NamedTuple):
    """Something that was kept, whole or not.

    Attributes:
        kind: What it is.
        name: What the engine calls it.
        path: Of the file, below the folder; "" when nothing of it could be kept.
        size: Bytes of the file.
        sha256: Of the file.
        problems: What is missing of it, or not whole.
        deleted: Of a container: paths of its image that it deleted.
    """

    kind: RescuedKind
    name: str
    path: str = ""
    size: int = 0
    sha256: str = ""
    problems: tuple[str, ...] = ()
    deleted: tuple[bytes, ...] = ()


class Rescued(NamedTuple):
    """All that was kept.

    Attributes:
        kept: Each file, and what is missing.
        saved: The images that are in ``images.tar``.
        volumes: Which file has which volume.
        containers: Which file has which container's changes.
        problems: What cannot be read at all.
    """

    kept: tuple[RescuedPart, ...]
    saved: tuple[Saved, ...]
    volumes: tuple[tuple[DockerVolume, RescuedPart], ...]
    containers: tuple[tuple[DockerContainer, RescuedPart], ...]
    problems: tuple[str, ...]


def rescue(found: Sequence[Contents], new_file: NewFile, begin: Begin) -> Rescued:
    """Keep volumes, containers' own changes and images.

    Args:
        found: What is in each data-root.
        new_file: Makes files.
        begin: Told what comes next.

    Raises:
        OSError: The folder cannot be written any further.
    """
    names = _Names()
    volumes: list[tuple[DockerVolume, RescuedPart]] = []
    containers: list[tuple[DockerContainer, RescuedPart]] = []
    for one in found:
        for volume in one.volumes:
            begin(f"volume {volume.name}")
            volumes.append((volume, _volume(one.root, volume, names.new("volumes", volume.name), new_file)))
        for container in one.containers:
            begin(f"container {container.name}")
            path = names.new("containers", container.name or container.id[:12])
            containers.append((container, _container(found, one.root, container, path, new_file)))
    begin("images")
    images, saved = _images(found, new_file)
    with new_file(EMPTY) as write:
        write(bytes(EMPTY_SIZE))
    empty = RescuedPart("empty", "", EMPTY, EMPTY_SIZE, hashlib.sha256(bytes(EMPTY_SIZE)).hexdigest())
    problems = tuple(dict.fromkeys(problem.message for one in found for problem in one.problems))
    kept = (*(kept for _, kept in volumes), *(kept for _, kept in containers), *images, empty)
    return Rescued(kept, saved, tuple(volumes), tuple(containers), problems)


def volume_members(root: DataRoot, volume: DockerVolume, fault: Fault) -> Iterator[Member]:
    """Return the files of a volume.

    Raises:
        FilesystemError: There is no directory with them.
    """
    if not volume.path:
        raise FilesystemError(f"only the name of {volume.name} is on this disk", layer="volume")
    top = root.files.find(volume.path)
    if top.type != "directory":
        raise FilesystemError(f"the files of {volume.name} are a {top.type}, not a directory", layer="volume")
    return walk(root.files, top, fault)


def volume_at(
    found: Sequence[Contents], container: DockerContainer, path: bytes
) -> tuple[DataRoot, DockerVolume, bytes] | None:
    """Return the volume that a container has mounted at a path or above it, and the rest of the path."""
    best: tuple[DataRoot, DockerVolume, bytes] | None = None
    longest = -1
    for mount in container.mounts:
        inside = mount.destination.rstrip("/").encode("utf-8", "surrogateescape")
        if not (path + b"/").startswith(inside + b"/") or len(inside) <= longest:
            continue
        for one in found:
            for volume in one.volumes:
                if mount.type == "volume" and volume.name == mount.name and volume.path:
                    best = one.root, volume, path[len(inside) :].lstrip(b"/")
                    longest = len(inside)
    return best


class _Names:
    """Names of files that every system takes, each once."""

    def __init__(self) -> None:
        self._used: set[str] = set()

    def new(self, folder: str, name: str) -> str:
        """Return a path without an ending for something of this name."""
        plain = re.sub(r"[^A-Za-z0-9_.-]", "_", name)[:100].strip(".") or "unnamed"
        if plain.split(".")[0].lower() in RESERVED:
            plain = f"_{plain}"
        number, path = 1, f"{folder}/{plain}"
        while path.lower() in self._used:
            number += 1
            path = f"{folder}/{plain}-{number}"
        self._used.add(path.lower())
        return path


class _Notes:
    """What is wrong with a file while it is written."""

    def __init__(self) -> None:
        self.told: list[str] = []
        self._more = 0

    def fault(self, path: bytes, error: B2dError) -> None:
        if len(self.told) >= MAX_TOLD:
            self._more += 1
            return
        what = "not whole" if isinstance(error, NotWholeError) else "left out"
        self.told.append(f"{what}: {path.decode('utf-8', 'surrogateescape') or '/'}: {error}")

    def all(self) -> tuple[str, ...]:
        return (*self.told, f"and {self._more} more") if self._more else tuple(self.told)


class _Hashed:
    """Takes bytes on their way into a file."""

    def __init__(self, write: Emit) -> None:
        self._write = write
        self._digest = hashlib.sha256()
        self.size = 0

    def write(self, data: bytes) -> None:
        self._write(data)
        self._digest.update(data)
        self.size += len(data)

    @property
    def sha256(self) -> str:
        return self._digest.hexdigest()


def _volume(root: DataRoot, volume: DockerVolume, path: str, new_file: NewFile) -> RescuedPart:
    notes = _Notes()
    problems = tuple(problem.message for problem in volume.problems)
    try:
        members = volume_members(root, volume, notes.fault)
    except EvidenceError as error:
        return RescuedPart("volume", volume.name, problems=problems or (str(error),))
    with new_file(f"{path}.tar") as write:
        through = _Hashed(write)
        tar = TarWriter(through.write, notes.fault, Style(fill=True, dot=True))
        for member in members:
            tar.add(member)
        tar.end()
    told = (*problems, *notes.all())
    return RescuedPart("volume", volume.name, f"{path}.tar", through.size, through.sha256, told)


def _container(
    found: Sequence[Contents], root: DataRoot, container: DockerContainer, path: str, new_file: NewFile
) -> RescuedPart:
    notes = _Notes()
    problems = tuple(problem.message for problem in container.problems)
    _describe(found, container, f"{path}.json", new_file, notes)
    if not container.layers:
        told = (*problems, *notes.all()) or ("no layer of its own",)
        return RescuedPart("container", container.name, problems=told)
    deleted: list[bytes] = []
    with new_file(f"{path}.tar") as write:
        through = _Hashed(write)
        tar = TarWriter(through.write, notes.fault, Style(fill=True))
        try:
            for member in changed_members(root, changes(root, container, notes.fault)):
                if not isinstance(member, Member):
                    deleted.append(member)
                elif not _is_mounted_over(container, member, notes):
                    tar.add(member)
        except EvidenceError as error:
            notes.fault(b"", error)
        tar.end()
    told = (*problems, *notes.all())
    return RescuedPart(
        "container", container.name, f"{path}.tar", through.size, through.sha256, told, tuple(deleted)
    )


def _is_mounted_over(container: DockerContainer, member: Member, notes: _Notes) -> bool:
    """Tell whether something lies where a volume or folder was mounted, so that nobody in it saw this.

    Where the mount point itself was made for that, there is nothing to say.
    """
    path = b"/" + member.path
    for mount in container.mounts:
        inside = mount.destination.rstrip("/").encode("utf-8", "surrogateescape")
        if path == inside and member.type == "directory":
            return True
        if path.startswith(inside + b"/"):
            notes.fault(
                member.path, UsageError(f"it lies below {mount.destination}, which was mounted over it")
            )
            return True
    return False


def _describe(
    found: Sequence[Contents], container: DockerContainer, path: str, new_file: NewFile, notes: _Notes
) -> None:
    """Keep what ``docker inspect`` says of a container."""
    try:
        document = inspected(found, container.id, "container").document
    except (UsageError, EvidenceError) as error:
        notes.fault(b"its configuration", error)
        return
    with new_file(path) as write:
        write(json.dumps([document], indent=2).encode("ascii", "replace") + b"\n")


def _images(found: Sequence[Contents], new_file: NewFile) -> tuple[list[RescuedPart], tuple[Saved, ...]]:
    used = {container.image_id for one in found for container in one.containers}
    chosen: list[tuple[DataRoot, DockerImage]] = [
        (one.root, image)
        for one in found
        for image in one.images
        if not image.is_intermediate or image.id in used
    ]
    if not chosen:
        return [], ()
    notes = _Notes()
    with new_file(IMAGES) as write:
        through = _Hashed(write)
        saved = save(through.write, chosen, notes.fault)
    for one in saved:
        if one.id != one.image.id:
            name = image_name(one.image).decode("utf-8", "surrogateescape")
            notes.told.append(f"not whole: {name} gets the id {one.id[:12]}")
    kept = RescuedPart("images", IMAGES, IMAGES, through.size, through.sha256, notes.all())
    return [kept], tuple(saved)
