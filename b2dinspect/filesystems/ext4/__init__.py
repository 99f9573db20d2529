"""Files inside ext2/3/4: names and where their blocks are, content through our own sources.

ext is read by ``reader``; deleted names in it, ISO 9660 and FAT by The Sleuth Kit. Either only says where a
file's blocks are. Content is then read from the disk like everything else, so each byte has a virtual and a
file offset. Symbolic links are shown, never followed.
"""

from __future__ import annotations

import stat
from collections.abc import Callable, Iterator, Sequence

from b2dinspect.errors import EvidenceError, FilesystemError, NotFoundError
from b2dinspect.filesystems.ext4.reader import ExtReader
from b2dinspect.filesystems.node import Node, PlainFile
from b2dinspect.filesystems.sleuthkit import EXT, SleuthKit
from b2dinspect.records import NamedTuple
from b2dinspect.source import ByteSource, Closing, MemorySource, RunsSource, read_exactly

MAX_DEPTH = 128


_TYPES = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "symlink"}


class DirectoryEntry(NamedTuple):
    """A name in a directory, and what it names.

    Attributes:
        name: As stored, any bytes but ``/`` and NUL.
        node: The inode's facts.
    """

    name: bytes
    node: Node

    @property
    def type(self) -> str:
        """``file``, ``directory``, ``symlink`` or ``special``."""
        return file_type(self.node.mode)


LARGE, KEPT_INDEXES = 64, 8
"""Names of a directory in which many are likely to be looked up; how many such directories are remembered."""

Fault = Callable[[bytes, EvidenceError], None]
"""Takes the name of what cannot be read, and why; b"" for a directory itself."""


class Ext4(Closing):
    """The files of one filesystem. A context manager; or call ``close()``.

    Args:
        fs: The filesystem, from its first byte. Check its superblock first: The Sleuth Kit trusts it.
        kind: ``ext``, ``iso9660`` or ``vfat``.
        kit: What reads it; None for the one that is made for its kind.
    """

    def __init__(self, fs: ByteSource, kind: str = EXT, kit: ExtReader | SleuthKit | None = None) -> None:
        self._fs = fs
        self._kit = kit or (ExtReader(fs) if kind == EXT else SleuthKit(fs, kind))
        self._sleuth: SleuthKit | None = self._kit if isinstance(self._kit, SleuthKit) else None
        self._indexes: dict[int, dict[bytes, int]] = {}

    def find(self, path: bytes, below: DirectoryEntry | None = None) -> DirectoryEntry:
        """Return the entry at a path from the root of the filesystem, or from the directory ``below``.

        Raises:
            NotFoundError: A part of the path does not exist, or is not a directory.
            FilesystemError: The structures on the way cannot be read.
        """
        entry = below or self._used(DirectoryEntry(b"", self._kit.node(self._kit.root)))
        walked = b""
        for name in [part for part in path.split(b"/") if part and part != b"."]:
            if name == b"..":
                raise NotFoundError(f"no way up: {show(path)} has a .. in it")
            if entry.type == "symlink":
                target = show(entry.node.link)
                raise NotFoundError(f"{show(walked)} is a symbolic link to {target}; links are not followed")
            if entry.type != "directory":
                raise NotFoundError(f"{show(walked)} is not a directory")
            inode = self._index(entry.node.inode).get(name)
            walked += b"/" + name
            if inode is None:
                raise NotFoundError(f"no {show(walked)} on this filesystem")
            entry = self._used(DirectoryEntry(name, self._kit.node(inode)))
        return entry

    def _index(self, inode: int) -> dict[bytes, int]:
        """Return the names in a directory, by which they are looked up; those of large ones are kept."""
        if inode in self._indexes:
            return self._indexes[inode]
        found = dict(self._kit.names(inode))
        if len(found) >= LARGE:
            while len(self._indexes) >= KEPT_INDEXES:
                del self._indexes[next(iter(self._indexes))]
            self._indexes[inode] = found
        return found

    def _used(self, entry: DirectoryEntry) -> DirectoryEntry:
        """Return the entry, or refuse a name whose inode was wiped: that is damage, not absence."""
        if not stat.S_IFMT(entry.node.mode):
            raise FilesystemError(f"{show(entry.name)} is inode {entry.node.inode}, which is not in use")
        return entry

    def names(self, directory: DirectoryEntry) -> list[bytes]:
        """Return the names in a directory, without a look at what they name.

        Raises:
            FilesystemError: Not a directory, or it cannot be read.
        """
        if directory.type != "directory":
            raise FilesystemError(f"{show(directory.name)} is not a directory")
        return [name for name, _ in self._kit.names(directory.node.inode)]

    def is_directory(self, path: bytes) -> bool:
        """Tell whether there is a directory at a path from the root; FilesystemError as ``find``."""
        try:
            return self.find(path).type == "directory"
        except NotFoundError:
            return False

    def list(self, directory: DirectoryEntry) -> list[DirectoryEntry]:
        """Return what a directory holds, sorted by name.

        Raises:
            FilesystemError: Not a directory, or it cannot be read.
        """
        if directory.type != "directory":
            raise FilesystemError(f"{show(directory.name)} is not a directory")
        names = sorted(self._kit.names(directory.node.inode))
        return [DirectoryEntry(name, self._kit.node(inode)) for name, inode in names]

    def scan(self, directory: DirectoryEntry, fault: Fault) -> Iterator[DirectoryEntry]:
        """Yield what a directory holds, sorted by name; what is damaged costs only itself.

        Args:
            directory: The directory.
            fault: Takes what cannot be read.
        """
        for name, inode in self._sorted(directory, fault):
            try:
                entry = self.entry(name, inode)
            except EvidenceError as error:
                fault(name, error)
            else:
                yield entry

    def scan_plain(self, directory: DirectoryEntry, fault: Fault) -> Iterator[DirectoryEntry | PlainFile]:
        """Yield the same as ``scan``, but files that are quickly copied as such."""
        if not isinstance(self._kit, ExtReader):
            yield from self.scan(directory, fault)
            return
        for name, inode in self._sorted(directory, fault):
            try:
                entry = self._kit.plain(name, inode) or self.entry(name, inode)
            except EvidenceError as error:
                fault(name, error)
            else:
                yield entry

    def _sorted(self, directory: DirectoryEntry, fault: Fault) -> Iterator[tuple[bytes, int]]:
        """Yield names and inodes of a directory in order, each name once."""
        damaged: list[FilesystemError] = []
        try:
            if isinstance(self._kit, ExtReader):
                names = sorted(self._kit.names(directory.node.inode, damaged))
            else:
                names = sorted(self._kit.names(directory.node.inode))
        except EvidenceError as error:
            fault(b"", error)
            return
        for one in damaged:
            fault(b"", one)
        before = b""
        for name, inode in names:
            if name == before:
                fault(name, FilesystemError(f"{show(name)} is twice in its directory"))
            else:
                before = name
                yield name, inode

    def entry(self, name: bytes, inode: int) -> DirectoryEntry:
        """Return the entry of a name that a directory has.

        Raises:
            EvidenceError: Its inode cannot be read, or is not in use.
        """
        return self._used(DirectoryEntry(name, self._kit.node(inode)))

    def xattrs(self, entry: DirectoryEntry) -> dict[bytes, bytes]:
        """Return the extended attributes of a file, as ``getxattr`` gives them; none where there are no such.

        Raises:
            FilesystemError: They cannot be read.
        """
        return self._kit.xattrs(entry.node.inode) if isinstance(self._kit, ExtReader) else {}

    def deleted(self, directory: DirectoryEntry) -> Sequence[tuple[bytes, int]]:
        """Return the deleted names that a directory still holds, and the inodes that they named (0: gone).

        Raises:
            FilesystemError: Not a directory, or it cannot be read.
        """
        if directory.type != "directory":
            raise FilesystemError(f"{show(directory.name)} is not a directory")
        if self._sleuth is None:
            self._sleuth = SleuthKit(self._fs)
        return sorted(self._sleuth.deleted(directory.node.inode))

    def content(self, entry: DirectoryEntry) -> ByteSource:
        """Return a file's content as a source.

        Raises:
            FilesystemError: Not a regular file.
        """
        if entry.type != "file":
            raise FilesystemError(f"{show(entry.name)} is not a file but a {entry.type}")
        runs = self._kit.runs(entry.node.inode)
        if not runs and entry.node.size:
            inline = self._kit.inline_data(entry.node.inode)
            return MemorySource(inline) if inline else RunsSource(self._fs, [], entry.node.size)
        return RunsSource(self._fs, runs, entry.node.size)

    def read(self, start: int, length: int) -> bytes:
        """Return bytes of the filesystem, all of them.

        Raises:
            EvidenceError: They are not there.
        """
        return read_exactly(self._fs, start, length, FilesystemError, "file content") if length else b""

    def small(self, entry: DirectoryEntry, most: int) -> bytes | None:
        """Return a file's content if that is quickly had: in one piece, and not more than ``most`` bytes.

        Raises:
            EvidenceError: It cannot be read.
        """
        size = entry.node.size
        if not size or size > most:
            return None if size else b""
        runs = self._kit.runs(entry.node.inode)
        start = runs[0].parent_offset if runs and runs[0].length >= size else None
        if start is None:
            return None
        data = self._fs.pread(start, size)
        return data if len(data) == size else None

    def close(self) -> None:
        """Let the helper process go."""
        if self._sleuth is not None:
            self._sleuth.close()


def file_type(mode: int) -> str:
    """Return ``file``, ``directory``, ``symlink`` or ``special`` for a Unix mode."""
    return _TYPES.get(stat.S_IFMT(mode), "special")


def show(name: bytes) -> str:
    """Return a name from the evidence as text that is safe in a message."""
    return ascii(name.decode("utf-8", "surrogateescape"))[1:-1] or "/"
