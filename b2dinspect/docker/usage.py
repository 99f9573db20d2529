"""How many bytes the files of a directory have, and when one was written last."""

from __future__ import annotations

from b2dinspect.docker.facts import DataRoot, DockerContainer, DockerVolume
from b2dinspect.errors import EvidenceError
from b2dinspect.filesystems.ext4 import DirectoryEntry, Ext4
from b2dinspect.records import NamedTuple

MAX_FILES = 1_000_000
MAX_DEPTH = 256


class Usage(NamedTuple):
    """What a directory holds.

    Attributes:
        size: Bytes of its files and links, as Docker counts them: a file of several names once.
        files: How many names are in it and below.
        written: When a file in it was last written, seconds since 1970; None when there is none.
        is_complete: Whether all of it could be read.
    """

    size: int
    files: int
    written: int | None
    is_complete: bool = True


def usage(files: Ext4, path: bytes) -> Usage | None:
    """Return what the directory at a path holds; None when it cannot be read."""
    try:
        top = files.find(path)
    except EvidenceError:
        return None
    if top.type != "directory":
        return None
    pending: list[tuple[DirectoryEntry, int]] = [(top, 0)]
    size = count = 0
    written: int | None = None
    is_complete = True
    seen: set[int] = set()
    while pending:
        directory, depth = pending.pop()
        try:
            children = files.list(directory)
        except EvidenceError:
            is_complete = False
            continue
        for child in children:
            count += 1
            if child.node.inode in seen:
                continue
            seen.add(child.node.inode)
            if child.type == "directory":
                pending.append((child, depth + 1))
                continue
            written = max(written or child.node.mtime, child.node.mtime)
            if child.type in ("file", "symlink"):
                size += child.node.size
        if count > MAX_FILES or depth > MAX_DEPTH:
            return Usage(size, count, written, False)
    return Usage(size, count, written, is_complete)


def volume_usage(root: DataRoot, volume: DockerVolume) -> Usage | None:
    """Return what a volume holds; None when its files are not here."""
    return usage(root.files, volume.path) if volume.path else None


def container_usage(root: DataRoot, container: DockerContainer) -> Usage | None:
    """Return what a container's own layer holds; None when there is none, or it holds a copy of all below."""
    if not container.layers or container.layers[0].is_whole or not container.layers[0].path:
        return None
    return usage(root.files, container.layers[0].path)
