"""Making and changing an ext4 with e2fsprogs, in a sparse file of which only the data reaches the disk."""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

from b2dinspect.evidence.file import open_evidence
from b2dinspect.guests import DATA_LABEL, GuestProfile
from b2dinspect.identity import Identities
from b2dinspect.provisioning.disk.images import CHUNK, stored_chunks
from b2dinspect.provisioning.disk.overlay import Writable
from b2dinspect.provisioning.programs import run_program
from b2dinspect.source import ByteSource, SliceSource

FEATURES = (
    "none,has_journal,ext_attr,resize_inode,dir_index,filetype,extent,64bit,flex_bg,sparse_super,"
    "large_file,huge_file,dir_nlink,extra_isize,metadata_csum"
)
"""Pinned: what mkfs.ext4 turns on by itself differs between releases."""
PAGE = 4096


class Placed(NamedTuple):
    """A file to put into a filesystem: its path there, and its content."""

    path: str
    content: bytes


class Ext4Workbench:
    """A copy of one partition's filesystem in a sparse file, for mke2fs and debugfs to work on.

    Args:
        path: The sparse file; made by ``make`` or ``check_out``.
        size: Bytes of the partition.
        ids: The time for everything that is put into it.
    """

    def __init__(self, path: Path, size: int, ids: Identities) -> None:
        self._path = path
        self._size = size
        self._ids = ids

    def make(self, profile: GuestProfile, name: str, label: bytes = DATA_LABEL) -> None:
        """Make a new ext4 as the profile's guest does; its UUIDs belong to ``name``.

        Raises:
            ToolError: mke2fs is missing or failed.
        """
        with self._path.open("wb") as file:
            file.truncate(self._size)
        seed = self._ids.uuid(f"{name} hash")
        options = f"hash_seed={seed},lazy_itable_init=1,lazy_journal_init=1,nodiscard"
        geometry = ["-b", "4096", "-I", "256", "-i", str(profile.inode_ratio), "-O", FEATURES]
        identity = ["-L", label.decode(), "-U", str(self._ids.uuid(name)), "-E", options]
        self._run("mke2fs", "-q", "-F", "-t", "ext4", *geometry, *identity, str(self._path))

    def fill(self, directories: Sequence[str], *files: Placed, open_to_all: Sequence[str] = ()) -> None:
        """Make directories, parents first, and files of root's with mode 0644; set all times.

        Args:
            directories: Of root's with mode 0755.
            files: What is put into them.
            open_to_all: Those directories that get mode 1777.

        Raises:
            ToolError: debugfs is missing or failed.
        """
        commands = [f"mkdir {path}" for path in directories]
        commands += [f"set_inode_field {path} mode 041777" for path in open_to_all]
        for number, file in enumerate(files):
            content = self._path.with_name(f"content-{number}")
            content.write_bytes(file.content)
            content.chmod(0o644)
            commands.append(f"write {content.name} {file.path}")
            commands += [f"set_inode_field {file.path} {owner} 0" for owner in ("uid", "gid")]
        paths = ["", "lost+found", *directories, *(file.path for file in files)]
        self._debugfs([*commands, *self._times(paths)])

    def replace(self, file: Placed) -> None:
        """Put a file in the place of another one, which may be missing."""
        self._debugfs([f"rm {file.path}"])
        self.fill((), file)

    def put(self, file: Placed, folders: Sequence[str] = ()) -> None:
        """Put one file of root's with mode 0644 in the place of another, or of none; touch nothing else.

        Args:
            file: The file.
            folders: Directories that are made for it, parents first.
        """
        content = self._path.with_name("content")
        content.write_bytes(file.content)
        content.chmod(0o644)
        commands = [f"mkdir {folder}" for folder in folders]
        commands += [f"rm {file.path}", f"write {content.name} {file.path}"]
        commands += [f"set_inode_field {file.path} {owner} 0" for owner in ("uid", "gid")]
        self._debugfs(commands)

    def put_all(self, files: Sequence[Placed], folders: Sequence[str] = ()) -> None:
        """Put files of root's with mode 0644 in the place of others, or of none, and set their times.

        Args:
            files: The files.
            folders: Directories that are made for them where they are missing, parents first.
        """
        commands = [f"mkdir {folder}" for folder in folders]
        for number, file in enumerate(files):
            content = self._path.with_name(f"content-{number}")
            content.write_bytes(file.content)
            content.chmod(0o644)
            commands += [f"rm {file.path}", f"write {content.name} {file.path}"]
            commands += [f"set_inode_field {file.path} {owner} 0" for owner in ("uid", "gid")]
        self._debugfs([*commands, *self._times([*folders, *(file.path for file in files)])])

    def _times(self, paths: Sequence[str]) -> list[str]:
        """Return the commands that set all times of some inodes."""
        names = ("atime", "mtime", "ctime", "crtime")
        return [
            command
            for path in paths
            for name in names
            for command in (
                f"set_inode_field /{path} {name} @{self._ids.time}",
                f"set_inode_field /{path} {name}_extra 0",
            )
        ]

    def check(self) -> None:
        """Check the filesystem.

        Raises:
            ToolError: e2fsck finds something that it would change.
        """
        self._run("e2fsck", "-fn", str(self._path))

    def remove(self, path: str) -> None:
        """Remove a file."""
        self._debugfs([f"rm {path}"])

    def mark_unclean(self) -> None:
        """Set the superblock's state to not cleanly unmounted."""
        self._debugfs(["set_super_value state 0"])

    def check_out(self, disk: ByteSource, offset: int) -> None:
        """Copy the partition at ``offset`` (bytes) of a disk into the sparse file."""
        partition = SliceSource(disk, offset, self._size)
        with self._path.open("wb") as file:
            file.truncate(self._size)
            for start, data in stored_chunks(partition):
                file.seek(start)
                file.write(data)

    def check_in(self, disk: Writable, offset: int) -> None:
        """Write to the partition at ``offset`` (bytes) what differs, in pages of 4096 bytes."""
        partition = SliceSource(disk, offset, self._size)
        with open_evidence(str(self._path)) as source:
            for start, length in _stored(source):
                data = source.pread(start, length)
                for first, last in _differing(partition.pread(start, length), data):
                    disk.pwrite(offset + start + first, data[first:last])

    def chunks(self) -> Iterator[tuple[int, bytes]]:
        """Yield the filesystem's content, as (offset in the partition, bytes), zeros left out."""
        with open_evidence(str(self._path)) as source:
            yield from stored_chunks(source)

    def _debugfs(self, commands: Sequence[str]) -> None:
        script = self._path.with_name("debugfs.script")
        script.write_text("".join(f"{command}\n" for command in commands))
        self._run("debugfs", "-w", "-f", str(script), str(self._path))

    def _run(self, program: str, *arguments: str) -> None:
        pinned = {"E2FSPROGS_FAKE_TIME": str(self._ids.time), "MKE2FS_CONFIG": os.devnull, "TZ": "UTC"}
        run_program(program, *arguments, environment=pinned, folder=self._path.parent)


def _stored(source: ByteSource) -> Iterator[tuple[int, int]]:
    """Yield the stored ranges in pieces of at most 1 MiB, zeros in them or not: zeros may overwrite."""
    for extent in source.extents():
        if extent.kind == "data":
            for start in range(extent.offset, extent.offset + extent.length, CHUNK):
                yield start, min(CHUNK, extent.offset + extent.length - start)


def _differing(old: bytes, new: bytes) -> Iterator[tuple[int, int]]:
    """Yield the ranges of whole pages in which two equally long pieces differ."""
    if old == new:
        return
    start: int | None = None
    for page in range(0, len(new), PAGE):
        if old[page : page + PAGE] == new[page : page + PAGE]:
            if start is not None:
                yield start, page
            start = None
        elif start is None:
            start = page
    if start is not None:
        yield start, len(new)
