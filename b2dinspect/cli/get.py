"""``b2dinspect get``: copy files out of the data partition, never outside the destination."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path as HostPath
from typing import Annotated

import typer

from b2dinspect.cli.browse import Offset, Partition, Path, opened
from b2dinspect.cli.common import (
    FINDINGS,
    TROUBLE,
    AllowChain,
    Format,
    Image,
    PreferRedundant,
    ProgressBar,
    advised,
    command,
    complain,
    rules,
)
from b2dinspect.errors import EvidenceError, SourceError, UsageError
from b2dinspect.filesystems.ext4 import Entry, Ext4
from b2dinspect.source import ByteSource

CHUNK = 1 << 20
MAX_DEPTH = 128
NO_USE_GOING_ON = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)


@command
def get(
    image: Image,
    path: Path,
    destination: Annotated[str, typer.Argument(metavar="DEST", help="File, or directory to copy into.")],
    partition: Partition = None,
    offset: Offset = None,
    force: Annotated[bool, typer.Option("--force", help="Replace files that exist.")] = False,
    format_name: Format = None,
    folders: AllowChain = None,
    prefer_redundant: PreferRedundant = False,
) -> None:
    """Copy a file, or a directory with all in it, out of the data partition.

    Example: b2dinspect get disk.vdi /var/lib/docker/volumes ./rescued

    Symbolic links and special files are reported and left out. Each file appears whole or not at all, holes
    stay holes, times are kept, owners are not; nobody may read a copy who could not read the file.

    Exit status: 0 all copied, 1 something in the directory left out, 2 nothing copied.
    """
    allowed = rules(folders, prefer_redundant)
    with (
        opened(image, path, partition, offset, format_name, allowed) as (files, entry),
        ProgressBar() as progress,
    ):
        target = HostPath(destination)
        copier = _Copier(image, files, force, progress)
        if entry.type == "directory":
            copier.copy_directory(entry, target)
        else:
            copier.copy(entry, target / _safe_name(entry.name) if target.is_dir() else target)
    if entry.type == "directory":
        copied = f"{copier.copied} file{'s' * (copier.copied != 1)}, {copier.size} bytes"
        complain(f"{copied}, {copier.left_out} left out")
    if copier.left_out:
        raise typer.Exit(FINDINGS if entry.type == "directory" else TROUBLE)


class _Copier:
    """Copies entries and counts what was left out."""

    def __init__(self, image: str, files: Ext4, force: bool, progress: ProgressBar) -> None:
        self._image = image
        self._files = files
        self._force = force
        self._progress = progress
        self._done = 0
        self._written: set[HostPath] = set()
        self.left_out = self.copied = self.size = 0

    def copy_directory(self, directory: Entry, target: HostPath) -> None:
        """Copy what is in ``directory`` into ``target``, level by level and without following anything."""
        pending = [(directory, target, frozenset({directory.node.inode}))]
        while pending:
            entry, place, above = pending.pop()
            _make_directory(place)
            for child in self._children(entry, place):
                where = place / os.fsdecode(child.name)
                if child.type != "directory":
                    self.copy(child, where)
                elif child.node.inode in above or len(above) > MAX_DEPTH:
                    self._leave_out(child.name, where, "a directory inside itself")
                else:
                    pending.append((child, where, above | {child.node.inode}))

    def _children(self, directory: Entry, place: HostPath) -> Iterator[Entry]:
        try:
            entries = self._files.list(directory)
        except EvidenceError as error:
            self._leave_out(directory.name, place, str(error))
            return
        for entry in entries:
            if _is_safe(entry.name):
                yield entry
            else:
                self._leave_out(entry.name, place, "its name leads elsewhere")

    def copy(self, entry: Entry, target: HostPath) -> None:
        """Copy one file; a link or special file is left out."""
        if entry.type == "symlink":
            self._leave_out(entry.name, target, f"a symbolic link to {os.fsdecode(entry.node.link)}")
        elif entry.type != "file":
            self._leave_out(entry.name, target, f"a {entry.type} file")
        else:
            try:
                self._copy_content(self._files.content(entry), target, entry.node.mode)
                os.utime(target, (entry.node.mtime, entry.node.mtime))
                self.copied += 1
                self.size += entry.node.size
            except (EvidenceError, UsageError) as error:
                self._leave_out(entry.name, target, advised(error))
            except OSError as error:
                if error.errno in NO_USE_GOING_ON:
                    raise SourceError(f"cannot write {target}: {error.strerror}") from error
                self._leave_out(entry.name, target, error.strerror or str(error))

    def _copy_content(self, content: ByteSource, target: HostPath, mode: int) -> None:
        from b2dinspect.newfile import NewFile, narrow

        if self._is_evidence(target):
            raise UsageError(f"{target} is the disk image itself")
        is_replacing = self._force and target not in self._written
        with NewFile(target, force=is_replacing, mode=narrow(mode)) as file:
            self._written.add(target)
            for extent in content.extents():
                if extent.kind == "zero":
                    continue
                end = extent.offset + extent.length
                for offset in range(extent.offset, end, CHUNK):
                    data = content.pread(offset, min(CHUNK, end - offset))
                    file.pwrite(offset, data)
                    self._done += len(data)
                    self._progress("copying", self._done, None)
            file.truncate(content.size)

    def _is_evidence(self, target: HostPath) -> bool:
        if not target.exists():
            return False
        image = os.fstat(0) if self._image == "-" else HostPath(self._image).stat()
        return os.path.samestat(target.stat(), image)

    def _leave_out(self, name: bytes, target: HostPath, reason: str) -> None:
        self.left_out += 1
        complain(f"left out {os.fsdecode(name) or '/'} ({target}): {reason}")


def _safe_name(name: bytes) -> str:
    if not _is_safe(name):
        raise SourceError(f"{os.fsdecode(name)} is no name for a file here; give DEST as a file name")
    return os.fsdecode(name)


def _is_safe(name: bytes) -> bool:
    """Tell whether a name stays in its directory on every system."""
    return name not in (b"", b".", b"..") and not any(char in name for char in (b"/", b"\\", b"\0", b":"))


def _make_directory(place: HostPath) -> None:
    if place.is_symlink():
        raise SourceError(f"{place} is a symbolic link; nothing is copied through it")
    try:
        place.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise SourceError(f"cannot create {place}: {error.strerror}") from error
