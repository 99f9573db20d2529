"""Names, inodes and runs of an ext2/3/4, read by this package itself: fast enough for whole trees.

Nothing in it is believed: every number is checked before it is used, no block of a directory or a tree is
read twice, and all that can be long has a limit. What is damaged costs itself, not its neighbours.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator
from typing import Any

from b2dinspect.errors import EvidenceError, FilesystemError
from b2dinspect.filesystems import superblock
from b2dinspect.filesystems.ext4 import attributes, layout
from b2dinspect.filesystems.ext4.directories import names_in
from b2dinspect.filesystems.ext4.inodes import NANOSECONDS, Inode, Inodes
from b2dinspect.filesystems.ext4.mapping import Mapper
from b2dinspect.filesystems.ext4.plain import plain_file
from b2dinspect.filesystems.node import Node, PlainFile
from b2dinspect.source import ByteSource, Closing, Run, RunsSource, read_exactly

MAX_NAMES = 1_000_000
"""Names in one directory."""
MAX_DIRECTORY = 256 << 20
"""Bytes of one directory."""
MAX_LINK = 4096
READ_AT_ONCE = 64 << 10
KEPT_NAMES = 20_000
"""Names that are remembered, of directories that were read last."""
FILETYPE = 0x2
INLINE = 60
"""Bytes that an inode's block map has room for."""

Faults = list[FilesystemError]


class ExtReader(Closing):
    """The structures of one filesystem. Holds nothing open.

    Args:
        fs: The filesystem, from its first byte.

    Raises:
        FilesystemError: No ext filesystem, or a superblock that makes no sense.
    """

    root = layout.ROOT

    def __init__(self, fs: ByteSource) -> None:
        self._fs = fs
        self._super: Any = superblock.parse_superblock(fs)[0]
        self._inodes = Inodes(fs, self._super)
        self._mapper = Mapper(fs, self._inodes.block_size)
        self._last: Inode | None = None
        self._names: dict[int, list[tuple[bytes, int]]] = {}
        self._kept = 0

    def names(self, inode: int, faults: Faults | None = None) -> list[tuple[bytes, int]]:
        """Return the names in a directory and their inode numbers, without ``.`` and ``..``.

        Args:
            inode: The directory's.
            faults: Takes what is damaged in it, and all other names are returned; None raises that.

        Raises:
            FilesystemError: The directory, or with ``faults`` not even a part of it, can be read.
        """
        if inode in self._names:
            return self._names[inode]
        found: list[tuple[bytes, int]] = []
        for block in self._blocks_of(self._inode(inode), faults):
            try:
                found.extend(names_in(block, bool(self._super.feature_incompat & FILETYPE)))
            except FilesystemError as error:
                _note(error, faults)
            if len(found) > MAX_NAMES:
                raise FilesystemError(f"a directory with more than {MAX_NAMES} names")
        if not faults:
            self._remember(inode, found)
        return found

    def _remember(self, inode: int, names: list[tuple[bytes, int]]) -> None:
        while self._names and self._kept + len(names) > KEPT_NAMES:
            self._kept -= len(self._names.pop(next(iter(self._names))))
        if len(names) <= KEPT_NAMES:
            self._names[inode] = names
            self._kept += len(names)

    def _blocks_of(self, inode: Inode, faults: Faults | None) -> Iterator[bytes]:
        """Yield the blocks of a directory, or the parts of an inode that hold its entries."""
        if not stat.S_ISDIR(inode.mode):
            raise FilesystemError(f"inode {inode.number} is no directory")
        if inode.flags & layout.INLINE_DATA:
            yield inode.block[4:]  # before that, the directory above it
            yield self._inline_rest(inode)
            return
        if inode.size > MAX_DIRECTORY:
            raise FilesystemError(f"inode {inode.number} is a directory of {inode.size} bytes")
        size, seen = self._inodes.block_size, set[int]()
        blocks = inode.size // size
        for run in self._mapper.runs(inode):
            if run.parent_offset is None:
                blocks -= run.length // size
                continue
            for at in range(run.parent_offset, run.parent_offset + run.length, size):
                if blocks <= 0:
                    return
                blocks -= 1
                if at in seen:
                    raise FilesystemError(f"inode {inode.number}: block {at // size} is twice in a directory")
                seen.add(at)
                try:
                    yield read_exactly(self._fs, at, size, FilesystemError, "directory")
                except EvidenceError as error:
                    _note(error, faults)

    def node(self, inode: int) -> Node:
        """Return the facts about an inode.

        Raises:
            FilesystemError: No such inode, or the target of a link cannot be read.
        """
        found = self._inode(inode)
        mode, link, device = found.mode, b"", (0, 0)
        kind = stat.S_IFMT(mode)
        if kind == stat.S_IFLNK:
            link = self._target(found)
        elif kind in (stat.S_IFCHR, stat.S_IFBLK):
            device = device_of(found.block)
        return Node(
            inode,
            mode,
            found.uid,
            found.gid,
            found.size,
            found.mtime // NANOSECONDS,
            link,
            found.links,
            found.mtime,
            found.atime,
            found.ctime,
            device,
        )

    def _target(self, inode: Inode) -> bytes:
        if inode.size > MAX_LINK:
            raise FilesystemError(f"inode {inode.number} is a link with a target of {inode.size} bytes")
        if inode.flags & layout.INLINE_DATA:
            return self.inline_data(inode.number)
        own = inode.sectors - (self._inodes.block_size // 512 if inode.xattr_block else 0)
        if inode.size < INLINE and not (own > 0 and inode.flags & layout.EXTENTS):
            return inode.block[: inode.size]
        return RunsSource(self._fs, self._mapper.runs(inode), inode.size).pread(0, inode.size)

    def runs(self, inode: int) -> list[Run]:
        """Return where a file's bytes are; none for one whose content is in the inode.

        Raises:
            FilesystemError: The structures make no sense, or the file is encrypted.
        """
        found = self._inode(inode)
        if found.flags & layout.ENCRYPTED:
            raise FilesystemError(f"inode {inode} is encrypted")
        if found.size > self._inodes.block_size << 32:
            raise FilesystemError(f"inode {inode} has {found.size} bytes, more than a file can have")
        return [] if found.flags & layout.INLINE_DATA else self._mapper.runs(found)

    def plain(self, name: bytes, inode: int) -> PlainFile | None:
        """Return what is to be known of a small file that has one name and is in one piece; None for others.

        Raises:
            EvidenceError: It cannot be read.
        """
        return plain_file(name, inode, self._inodes.raw(inode), self._inodes.block_size)

    def inline_data(self, inode: int) -> bytes:
        """Return content that is stored in the inode itself; empty when it is not."""
        found = self._inode(inode)
        if not found.flags & layout.INLINE_DATA:
            return b""
        return (found.block + self._inline_rest(found))[: found.size].ljust(min(found.size, INLINE), b"\0")

    def _inline_rest(self, inode: Inode) -> bytes:
        for name, value in attributes.in_inode(inode.rest, self._large_value):
            if name == attributes.SYSTEM_DATA:
                return value
        return b""

    def xattrs(self, inode: int) -> dict[bytes, bytes]:
        """Return a file's extended attributes by name, access control lists as ``getxattr`` gives them.

        Raises:
            FilesystemError: They cannot be read.
        """
        found = self._inode(inode)
        own = dict(attributes.in_inode(found.rest, self._large_value))
        own.pop(attributes.SYSTEM_DATA, None)
        if found.xattr_block:
            size = self._inodes.block_size
            block = read_exactly(
                self._fs, found.xattr_block * size, size, FilesystemError, "extended attributes"
            )
            own.update(attributes.in_block(block, self._large_value))
        return own

    def _large_value(self, number: int, size: int) -> bytes:
        inode = self._inodes.inode(number)
        if not inode.flags & layout.XATTR_INODE:
            raise FilesystemError(f"inode {number} holds no value of an attribute")
        return RunsSource(self._fs, self._mapper.runs(inode), inode.size).pread(0, size)

    def _inode(self, number: int) -> Inode:
        """Return an inode; several questions about one follow each other."""
        if self._last is None or self._last.number != number:
            self._last = self._inodes.inode(number)
        return self._last


def device_of(block: bytes) -> tuple[int, int]:
    """Return major and minor number of a device, which stand in the place of its blocks.

    Source: Linux, include/linux/kdev_t.h: old numbers have 8 bits each, new ones 12 and 20.
    """
    if old := int.from_bytes(block[:4], "little"):
        return old >> 8 & 0xFF, old & 0xFF
    new = int.from_bytes(block[4:8], "little")
    return new >> 8 & 0xFFF, new & 0xFF | new >> 12 & 0xFFF00


def _note(error: EvidenceError, faults: Faults | None) -> None:
    if faults is None:
        raise error
    fault = FilesystemError(str(error)) if not isinstance(error, FilesystemError) else error
    faults.append(fault)
