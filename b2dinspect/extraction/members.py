"""Everything below a directory, as a stream: what a copy or a tar is made of."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from stat import S_IFDIR
from typing import NamedTuple, cast

from b2dinspect.errors import B2dError, EvidenceError, FilesystemError, MissingDataError
from b2dinspect.filesystems.ext4 import DirectoryEntry, Ext4, show
from b2dinspect.filesystems.ext4 import Fault as Told
from b2dinspect.filesystems.node import Node, PlainFile
from b2dinspect.source import ByteSource, Extent

S_IFMT = 0o170000
"""The bits of a mode that are a type."""
OVERLAY = (b"trusted.overlay.", b"user.overlay.")
"""Before the names of overlayfs's own attributes; the second where it is mounted by no root."""
MAX_DEPTH = 512
"""Directories within directories."""
AT_ONCE = 64
"""Files that are copied together, when they are small and plain."""

Fault = Callable[[bytes, B2dError], None]
"""Takes a path, and why what is there does not come out, or not whole."""
Scan = Callable[[DirectoryEntry, Told], Iterator[DirectoryEntry | PlainFile]]
"""Yields what a directory holds."""


class NotWholeError(MissingDataError):
    """Something comes out, but not as it was."""


class Member(NamedTuple):
    """Something on its way out.

    Attributes:
        path: Below what is copied, with ``/`` between names; b"" for that itself.
        entry: Its name and inode.
        files: The filesystem that it is on.
        twin: Path of an earlier member that is the same file under another name (a hard link); b"" for none.
        body: What holds the content where that is another file than ``entry`` (an overlay's metacopy).
        is_layered: Whether it comes out of layers put together, whose own attributes are no part of it.
    """

    path: bytes
    entry: DirectoryEntry
    files: Ext4
    twin: bytes = b""
    body: DirectoryEntry | None = None
    is_layered: bool = False

    @property
    def node(self) -> Node:
        """Its inode's facts."""
        return self.entry.node

    @property
    def type(self) -> str:
        """``file``, ``directory``, ``symlink`` or ``special``."""
        return self.entry.type

    def content(self) -> ByteSource:
        """Return a file's content.

        Raises:
            FilesystemError: The structures that say where it is make no sense.
        """
        return self.files.content(self.body or self.entry)

    def small(self, most: int) -> bytes | None:
        """Return a file's content when that is in one piece and not more than ``most`` bytes; else None.

        Raises:
            EvidenceError: It cannot be read.
        """
        return self.files.small(self.body or self.entry, most)

    def xattrs(self) -> dict[bytes, bytes]:
        """Return its extended attributes.

        Raises:
            FilesystemError: They cannot be read.
        """
        found = self.files.xattrs(self.entry)
        if self.is_layered:
            return {name: value for name, value in found.items() if not name.startswith(OVERLAY)}
        return found


class PlainFiles(NamedTuple):
    """Files of one directory that are quickly copied.

    Attributes:
        directory: Its path.
        files: The filesystem that they are on.
        plain: Each of them.
    """

    directory: bytes
    files: Ext4
    plain: list[PlainFile]

    def member(self, file: PlainFile) -> Member:
        """Return one of them as a member.

        Raises:
            EvidenceError: Its inode cannot be read.
        """
        return Member(join(self.directory, file.name), self.files.entry(file.name, file.inode), self.files)


def walk(files: Ext4, top: DirectoryEntry, fault: Fault) -> Iterator[Member]:
    """Yield a file or directory and all below it: a directory before what is in it, names in order.

    Args:
        files: The filesystem.
        top: Where to begin; its path is b"".
        fault: Takes what is damaged, which costs only itself.
    """
    return cast("Iterator[Member]", _walk(files, top, fault, files.scan))


def walk_quickly(files: Ext4, top: DirectoryEntry, fault: Fault) -> Iterator[Member | PlainFiles]:
    """Yield the same, but files that are quickly copied some at a time."""
    return _walk(files, top, fault, files.scan_plain)


def _walk(files: Ext4, top: DirectoryEntry, fault: Fault, scan: Scan) -> Iterator[Member | PlainFiles]:
    twins = Twins()
    yield twins.member(b"", top, files)
    if top.type != "directory":
        return
    places = Directories(fault)
    places.enter(b"", top.node.inode)
    levels = [(b"", _children(files, top, b"", fault, scan))]
    while levels:
        prefix, entries = levels[-1]
        entry = next(entries, None)
        if entry is None:
            levels.pop()
            continue
        if isinstance(entry, PlainFiles):
            yield entry
            continue
        path = prefix + entry.name
        if entry.node.mode & S_IFMT != S_IFDIR:
            yield twins.member(path, entry, files)
        elif places.enter(path, entry.node.inode):
            yield Member(path, entry, files)
            levels.append((path + b"/", _children(files, entry, path, fault, scan)))


def _children(
    files: Ext4, directory: DirectoryEntry, path: bytes, fault: Fault, scan: Scan
) -> Iterator[DirectoryEntry | PlainFiles]:
    def told(name: bytes, error: EvidenceError) -> None:
        fault(join(path, name), error)

    plain: list[PlainFile] = []
    for entry in scan(directory, told):
        name = entry.name
        if b"/" in name or b"\0" in name or name in (b".", b".."):
            fault(join(path, name), FilesystemError("its name leads elsewhere"))
            continue
        if isinstance(entry, PlainFile):
            plain.append(entry)
            if len(plain) < AT_ONCE:
                continue
        if plain:
            yield PlainFiles(path, files, plain)
            plain = []
        if not isinstance(entry, PlainFile):
            yield entry
    if plain:
        yield PlainFiles(path, files, plain)


def join(path: bytes, name: bytes) -> bytes:
    """Return the path of a name in a directory.

    >>> join(b"", b"etc"), join(b"etc", b"passwd"), join(b"etc", b"")
    (b'etc', b'etc/passwd', b'etc')
    """
    return path + b"/" + name if path and name else path or name


class Directories:
    """Which directories came by: each has one place, and who gives one two gives all below it many.

    Args:
        fault: Takes what is not entered.
        depth: Directories within directories, at most.
    """

    def __init__(self, fault: Fault, depth: int = MAX_DEPTH) -> None:
        self._depth = depth
        self._first: dict[int, bytes] = {}
        self._fault = fault

    def enter(self, path: bytes, inode: int) -> bool:
        """Return whether a directory may be entered."""
        known = self._first.get(inode)
        if known is not None:
            is_above = not known or path.startswith(known + b"/")
            where = "inside itself" if is_above else f"that is {show(known)} too"
            self._fault(path, FilesystemError(f"a directory {where}"))
        elif path.count(b"/") >= self._depth:
            self._fault(path, FilesystemError("too many directories in each other"))
        else:
            self._first[inode] = path
            return True
        return False


class Twins:
    """Which files have more than one name, and the first of them."""

    def __init__(self) -> None:
        self._first: dict[int, bytes] = {}

    def member(
        self, path: bytes, entry: DirectoryEntry, files: Ext4, body: DirectoryEntry | None = None
    ) -> Member:
        """Return a member, which is a hard link when its inode came by before."""
        twin = b""
        if entry.node.links > 1 and entry.node.mode & S_IFMT != S_IFDIR:
            first = self._first.setdefault(entry.node.inode, path)
            twin = b"" if first == path else first
        return Member(path, entry, files, twin, body)


def missing(content: ByteSource) -> list[Extent]:
    """Return the parts of a file that this evidence does not hold."""
    return [extent for extent in content.extents() if extent.kind == "missing"]


def absent(parts: list[Extent]) -> MissingDataError:
    """Return why a file is left out of which the evidence does not hold these parts."""
    return MissingDataError(f"this evidence does not hold bytes {ranges(parts)} of it", layer="file")


def filled(parts: list[Extent]) -> NotWholeError:
    """Return what is to be said of a file that has zeros in the place of these parts."""
    text = f"this evidence does not hold bytes {ranges(parts)} of it: zeros in their place"
    return NotWholeError(text, layer="file")


def ranges(extents: list[Extent]) -> str:
    """Return parts of a file for people.

    >>> ranges([Extent(0, 512, "missing"), Extent(4096, 1, "missing")])
    '0-511, 4096-4096'
    """
    shown = [f"{one.offset}-{one.offset + one.length - 1}" for one in extents[:8]]
    return ", ".join(shown) + (f" and {len(extents) - 8} more" if len(extents) > 8 else "")
