"""What a container changed: ``docker diff``, computed as the daemon does it, from the layers alone.

aufs keeps a container's changes apart, and the daemon goes through them. With all other drivers it compares
two whole trees.

Source: moby 20.10, pkg/archive/changes.go, changes_unix.go, changes_linux.go; Changes in daemon/graphdriver
aufs/aufs.go, overlay2/overlay.go and fsdiff.go.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator
from typing import Literal

from b2dinspect.docker.facts import DataRoot, DockerContainer, Layer
from b2dinspect.docker.merge import META, WHITEOUT, MergedLayers, MergedName
from b2dinspect.extraction.members import Directories, Fault, join
from b2dinspect.filesystems.ext4 import DirectoryEntry
from b2dinspect.filesystems.node import Node
from b2dinspect.records import NamedTuple

MAX_DEPTH = 200
"""Directories within directories: each takes two calls within calls."""
NANOSECONDS = 1_000_000_000


class PathChange(NamedTuple):
    """A path that differs from the image.

    Attributes:
        kind: ``A`` added, ``C`` changed, ``D`` deleted.
        path: From the container's root, with a slash before it.
        found: What is there now; None for what was deleted.
    """

    kind: Literal["A", "C", "D"]
    path: bytes
    found: MergedName | None = None


def changes(root: DataRoot, container: DockerContainer, fault: Fault) -> list[PathChange]:
    """Return what a container changed, by path.

    Args:
        root: Where it is.
        container: Which.
        fault: Takes what is damaged.

    Raises:
        FilesystemError: Its own layer cannot be read.
    """
    if not container.layers:
        return []
    own = container.layers[0]
    if own.driver == "aufs":
        found = [*_Layers(root, own, container.base, fault).walked()]
    else:
        found = compared(
            MergedLayers(root.files, container.layers, fault),
            MergedLayers(root.files, container.base, fault),
            fault,
        )
    return sorted(found, key=lambda change: change.path)


class _Layers:
    """The changes as an aufs layer of a container says them."""

    def __init__(self, root: DataRoot, own: Layer, base: tuple[Layer, ...], fault: Fault) -> None:
        self._files = root.files
        self._own = own
        self._base = MergedLayers(root.files, base, fault)
        self._fault = fault
        self._told: set[bytes] = set()
        self._places = Directories(fault, MAX_DEPTH)

    def walked(self) -> Iterator[PathChange]:
        """Yield changes in the order of the walk."""
        top = self._files.find(self._own.path)
        yield from self._directory(top, b"", self._base.root())

    def _directory(
        self, directory: DirectoryEntry, path: bytes, below: MergedName | None
    ) -> Iterator[PathChange]:
        if not self._places.enter(path, directory.node.inode):
            return
        seen = self._base.names(below.parts, path) if below and below.parts else {}
        for entry in self._files.scan(directory, lambda name, error: self._fault(join(path, name), error)):
            yield from self._entry(entry, path, seen)

    def _entry(
        self, entry: DirectoryEntry, path: bytes, seen: dict[bytes, MergedName]
    ) -> Iterator[PathChange]:
        name = entry.name
        if name.startswith(META):
            return
        if name.startswith(WHITEOUT):
            yield from self._noted(PathChange("D", b"/" + join(path, name.removeprefix(WHITEOUT))))
            return
        here = join(path, name)
        change = self._change(entry, here, seen.get(name))
        if change:
            yield from self._noted(change)
        if entry.type == "directory":
            self._told.add(b"/" + here) if change else None
            lower = seen.get(name)
            yield from self._directory(entry, here, lower if lower and lower.parts else None)

    def _change(self, entry: DirectoryEntry, path: bytes, below: MergedName | None) -> PathChange | None:
        if below is None:
            return PathChange("A", b"/" + path, MergedName(entry))
        old, new = below.entry.node, entry.node
        if entry.type == "directory" == below.entry.type and _same_directory(old, new):
            return None
        return PathChange("C", b"/" + path, MergedName(entry))

    def _noted(self, change: PathChange) -> Iterator[PathChange]:
        """Yield a change, and before it that of the directory it is in, unless that was told."""
        parent = change.path.rpartition(b"/")[0]
        if change.kind in "AD" and parent and parent not in self._told:
            self._told.add(parent)
            yield PathChange("C", parent)
        yield change


def _same_directory(old: Node, new: Node) -> bool:
    return old.size == new.size and old.mode == new.mode and _same_time(old, new)


def _same_time(old: Node, new: Node) -> bool:
    """Tell whether two files were changed at the same time, as far as both tell fractions of a second."""
    if old.mtime != new.mtime:
        return False
    return old.mtime_ns == new.mtime_ns or not old.mtime_ns % NANOSECONDS or not new.mtime_ns % NANOSECONDS


def compared(new: MergedLayers, old: MergedLayers | None, fault: Fault) -> list[PathChange]:
    """Return what differs between two trees; all of the new one when there is no old one.

    Args:
        new: The one.
        old: The other.
        fault: Takes what is damaged.
    """
    return _Trees(new, old, fault).directory(new.root(), old.root() if old else None, b"")


class _Trees:
    """The changes as a comparison of two whole trees says them."""

    def __init__(self, new: MergedLayers, old: MergedLayers | None, fault: Fault) -> None:
        self._new = new
        self._old = old
        self._places = Directories(fault, MAX_DEPTH)

    def directory(self, new: MergedName, old: MergedName | None, path: bytes) -> list[PathChange]:
        """Return what differs in a directory and below."""
        if not self._places.enter(path, new.entry.node.inode):
            return []
        now = self._new.names(new.parts, path)
        before = dict(self._old.names(old.parts, path)) if self._old and old and old.parts else {}
        found: list[PathChange] = []
        for name, child in now.items():
            found += self._compared(child, before.pop(name, None), join(path, name))
        return found + [PathChange("D", b"/" + join(path, name)) for name in before]

    def _compared(self, new: MergedName, old: MergedName | None, path: bytes) -> list[PathChange]:
        own: list[PathChange] = []
        if old is None:
            own = [PathChange("A", b"/" + path, new)]
        elif self._differs(new.entry, old.entry):
            own = [PathChange("C", b"/" + path, new)]
        if new.entry.type != "directory":
            return own
        inner = self.directory(new, old, path)
        return own + inner if own or not inner else [PathChange("C", b"/" + path, new), *inner]

    def _differs(self, new: DirectoryEntry, old: DirectoryEntry) -> bool:
        mine, theirs = new.node, old.node
        if mine.inode == theirs.inode:
            return False
        if (mine.mode, mine.uid, mine.gid, mine.device) != (
            theirs.mode,
            theirs.uid,
            theirs.gid,
            theirs.device,
        ):
            return True
        if not stat.S_ISDIR(mine.mode) and (mine.size != theirs.size or not _same_time(mine, theirs)):
            return True
        return self._new.capability(new) != self._new.capability(old)
