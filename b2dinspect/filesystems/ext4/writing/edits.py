"""Changing an ext4 that is there: files, directories, links, owners, its label and its state.

Only what is understood is touched. A filesystem that is not cleanly unmounted, a directory with a hash tree,
data in an inode, encryption, quota, and features that this program does not know are refused, with the
reason: a file less is easier to bear than a filesystem that Linux finds broken.

Source: Linux, Documentation/filesystems/ext4; what a change leaves was compared with debugfs's.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator
from typing import Any

from b2dinspect.errors import FilesystemError, NotFoundError
from b2dinspect.filesystems import superblock
from b2dinspect.filesystems.ext4 import show
from b2dinspect.filesystems.ext4.inodes import Inode, unpacked
from b2dinspect.filesystems.ext4.layout import (
    APPEND_ONLY,
    CASEFOLD,
    ENCRYPTED,
    EXTENTS,
    HUGE_FILE,
    IMMUTABLE,
    INDEX,
    INLINE_DATA,
    ROOT,
    VERITY,
    XATTR_HEADER,
    XATTR_MAGIC,
)
from b2dinspect.filesystems.ext4.mapping import Mapper
from b2dinspect.filesystems.ext4.writing import linear
from b2dinspect.filesystems.ext4.writing.checksums import TAIL, inode_seed, sealed_directory
from b2dinspect.filesystems.ext4.writing.filemap import give_blocks
from b2dinspect.filesystems.ext4.writing.groups import Groups, Storage, Super, as_blocks, as_runs
from b2dinspect.filesystems.ext4.writing.inode import (
    DIRECTORY_TYPE,
    FILE_TYPE,
    LINK_TYPE,
    InodeRecord,
    new_inode,
)
from b2dinspect.filesystems.ext4.writing.record import Record
from b2dinspect.filesystems.superblock import crc32c
from b2dinspect.records import NamedTuple
from b2dinspect.source import SECTOR

KNOWN_INCOMPAT = 0x2 | 0x40 | 0x80 | 0x200 | 0x2000 | 0x4000 | 0x8000 | 0x10000 | 0x20000
"""filetype extent 64bit flex_bg metadata_csum_seed large_dir inline_data encrypt casefold: the last three and
hash trees, are refused where a directory or file has them."""
KNOWN_RO_COMPAT = 0x1 | 0x2 | 0x8 | 0x10 | 0x20 | 0x40 | 0x400 | 0x8000
"""sparse_super large_file huge_file uninit_bg dir_nlink extra_isize metadata_csum verity"""
ORPHANS = 0x10000
FILETYPE, LARGE_FILE = 0x2, 0x2
MAX_LINKS = 65000
MAX_TREE = 4096
"""Names that a whole tree may have to be removed: each takes a look through its directory."""
FAST_LINK = 60
"""Bytes of a link's target from which on it needs a block."""
_TYPES = {stat.S_IFDIR: DIRECTORY_TYPE, stat.S_IFREG: FILE_TYPE, stat.S_IFLNK: LINK_TYPE}


class OwnerIds(NamedTuple):
    """Whose a file is: numbers of a user and a group."""

    uid: int = 0
    gid: int = 0


ROOT_OWNER = OwnerIds()


class Ext4Edits:
    """Changes in one filesystem. Nothing but file content and directories is written before ``flush``.

    All paths are from the root of the filesystem, as bytes; symbolic links are not followed.

    Args:
        fs: The filesystem, from its first byte.
        time: Of everything that is made or changed: seconds since 1970.
        mounts_unclean: Whether one that was not cleanly unmounted is changed, too, as Linux would.

    Raises:
        FilesystemError: It is none, or one that is not changed here; says why.
    """

    def __init__(self, fs: Storage, time: int, *, mounts_unclean: bool = False) -> None:
        raw = fs.pread(superblock.OFFSET, superblock.SIZE)
        parsed = superblock.parse_copy(raw)
        _refuse(parsed, superblock.checksum_fault(parsed, raw), mounts_unclean)
        self._fs, self._time = fs, time
        self._super = Super(raw)
        if self._super.blocks * self._super.block_size > fs.size:
            raise FilesystemError("the filesystem is larger than its partition: it is not changed")
        self._groups = Groups(fs, self._super)
        self._mapper = Mapper(fs, self._super.block_size)

    # --- what can be done ---

    def make_directory(self, path: bytes, mode: int = 0o755, owner: OwnerIds = ROOT_OWNER) -> None:
        """Make a directory.

        Raises:
            FilesystemError: The name is taken, or there is no room.
            NotFoundError: The directory above it is not there.
        """
        parent, name = self._parent(path)
        above = self._inode(parent)
        if above.get("links") >= MAX_LINKS:
            raise FilesystemError(f"a directory above {name!a} has too many directories in it")
        number = self._new(parent, name, stat.S_IFDIR | mode & 0o7777, owner, links=2)
        inode = self._inode(number)
        give_blocks(self._fs, self._super, self._groups, inode, number, self._take(number, 1))
        block = linear.first(number, parent, self._room(), DIRECTORY_TYPE if self._has_types else 0)
        [place] = self._blocks(number, inode)
        self._write_block(place, block, number, inode)
        self._put(number, inode)
        above = self._inode(parent)
        if above.get("links") > 1:  # 1 means: more than can be counted
            above.set(links=above.get("links") + 1)
        self._put(parent, above)

    def write(self, path: bytes, content: bytes, mode: int = 0o644, owner: OwnerIds = ROOT_OWNER) -> None:
        """Make a file, or give one that is there another content: it keeps inode, mode, owner and blocks.

        A file that has other names too gets a new inode instead: they stay what they were.

        Raises:
            FilesystemError: The name is no file's, or there is no room.
            NotFoundError: A directory above it is not there.
        """
        parent, name = self._parent(path)
        number = self._lookup(parent, name)
        if number is not None:
            inode = self._inode(number)
            self._must_be(inode, stat.S_IFREG, name)
            if inode.get("links") > 1:
                mode, owner = inode.get("mode"), OwnerIds(inode.get("uid"), inode.get("gid"))
                self.remove(path)
                number = None
        if number is None:
            number = self._new(parent, name, stat.S_IFREG | mode & 0o7777, owner, links=1)
        self._fill(number, content)

    def symlink(self, path: bytes, target: bytes, owner: OwnerIds = ROOT_OWNER) -> None:
        """Make a symbolic link.

        Raises:
            FilesystemError: The name is taken, or the target is longer than a block.
        """
        if not target or len(target) >= self._super.block_size:
            raise FilesystemError(f"a link with a target of {len(target)} bytes cannot be made")
        parent, name = self._parent(path)
        number = self._new(parent, name, stat.S_IFLNK | 0o777, owner, links=1)
        if len(target) >= FAST_LINK:
            self._fill(number, target)
            return
        inode = self._inode(number)
        inode.set(flags=inode.get("flags") & ~EXTENTS, block=target, size=len(target))
        self._put(number, inode)

    def link(self, path: bytes, existing: bytes) -> None:
        """Give a file one name more.

        Raises:
            FilesystemError: The name is taken, or what is there is a directory.
        """
        number = self.find(existing)
        inode = self._inode(number)
        if stat.S_ISDIR(inode.get("mode")) or inode.get("links") >= MAX_LINKS:
            raise FilesystemError("a directory, or a file of 65000 names, gets no other name")
        parent, name = self._parent(path)
        if self._lookup(parent, name) is not None:
            raise FilesystemError(f"{name!a} is there already")
        self._enter(parent, name, number, inode.get("mode"))
        inode.set(links=inode.get("links") + 1)
        inode.stamp(self._time, "ctime")
        self._put(number, inode)

    def remove(self, path: bytes) -> None:
        """Remove a name; with its last one a file goes. A directory must be empty.

        Raises:
            NotFoundError: It is not there.
            FilesystemError: A directory with something in it.
        """
        parent, name = self._parent(path)
        number = self._lookup(parent, name)
        if number is None:
            raise NotFoundError(f"no {path!a} on this filesystem")
        inode = self._inode(number)
        is_directory = stat.S_ISDIR(inode.get("mode"))
        _check_flags(inode, name)
        if is_directory:
            if self._children(number):
                raise FilesystemError(f"{path!a} is a directory that is not empty")
            above = self._inode(parent)
            if above.get("links") > 2:
                above.set(links=above.get("links") - 1)
            self._put(parent, above)
        self._leave(parent, name)
        inode.set(links=0 if is_directory else inode.get("links") - 1)
        inode.stamp(self._time, "ctime")
        if not inode.get("links"):
            self._free_attributes(inode)
            self._groups.free_blocks(
                self._mapper.taken(self._read(number, inode)) if _has_blocks(inode) else ()
            )
            self._groups.free_inode(number, is_directory=is_directory)
            inode.set(dtime=self._time & 0xFFFFFFFF)
        self._put(number, inode)

    def remove_tree(self, path: bytes) -> None:
        """Remove a name, and of a directory all below it; when it fails, some of that is gone already.

        Raises:
            NotFoundError: It is not there.
            FilesystemError: Something in it is not changed here, a directory leads back to itself, or there
                are too many names.
        """
        waiting, seen, names = [path], {ROOT}, 0
        while waiting:
            here = waiting[-1]
            number = self.find(here)
            is_directory = stat.S_ISDIR(self._inode(number).get("mode"))
            below = self._children(number) if is_directory else []
            if not below:
                self.remove(waiting.pop())
                continue
            if number in seen:
                raise FilesystemError(f"directory {number} is still full when all in it was removed")
            seen.add(number)
            names += len(below)
            if names > MAX_TREE:
                raise FilesystemError(f"{path!a} holds more than {MAX_TREE} names: too many to remove here")
            waiting += [here + b"/" + name for name in below]

    def set_mode(self, path: bytes, mode: int) -> None:
        """Set the permission bits of a file or directory."""
        number = self.find(path)
        inode = self._inode(number)
        inode.set(mode=inode.get("mode") & ~0o7777 | mode & 0o7777)
        self._put(number, inode)

    def set_owner(self, path: bytes, owner: OwnerIds) -> None:
        """Set whose a file or directory is."""
        number = self.find(path)
        inode = self._inode(number)
        inode.set(uid=owner.uid, gid=owner.gid)
        self._put(number, inode)

    def set_times(self, path: bytes, time: int) -> None:
        """Set all times of a file or directory to seconds since 1970."""
        number = self.find(path)
        inode = self._inode(number)
        inode.stamp(time, "atime", "mtime", "ctime", *(("crtime",) if inode.has("crtime") else ()))
        self._put(number, inode)

    def set_label(self, label: bytes) -> None:
        """Set the label of the filesystem, at most 16 bytes."""
        self._super.set(label=label)

    def mark_unclean(self) -> None:
        """Leave it as a machine does that loses its power: not cleanly unmounted."""
        self._super.set(state=0)

    def flush(self) -> None:
        """Write bitmaps, descriptors and the superblock."""
        self._groups.flush()
        self._super.set(write_time=self._time & 0xFFFFFFFF)
        self._fs.pwrite(superblock.OFFSET, self._super.sealed())

    # --- looking around ---

    def find(self, path: bytes) -> int:
        """Return the inode number of a path.

        Raises:
            NotFoundError: It is not there.
        """
        number = ROOT
        for name in _parts(path):
            found = self._lookup(number, name)
            if found is None:
                raise NotFoundError(f"no {path!a} on this filesystem")
            number = found
        return number

    def exists(self, path: bytes) -> bool:
        """Tell whether a path is there."""
        try:
            self.find(path)
        except NotFoundError:
            return False
        return True

    def mode(self, path: bytes) -> int:
        """Return the type and permission bits of a path."""
        return int(self._inode(self.find(path)).get("mode"))

    def is_empty(self, path: bytes) -> bool:
        """Tell whether a directory has nothing in it."""
        return not self._children(self.find(path))

    def check_marked(self, path: bytes) -> None:
        """Make sure that a file's blocks are marked as used.

        Raises:
            FilesystemError: They are not: they can become another file's.
        """
        number = self.find(path)
        runs = self._mapper.taken(self._read(number, self._inode(number)))
        if not all(self._groups.in_use(first, count) for first, count in runs):
            raise FilesystemError(f"{path!a} has blocks that the bitmap calls free")

    # --- inodes ---

    def _inode(self, number: int) -> InodeRecord:
        if not 0 < number <= self._super.get("inodes_count"):
            raise FilesystemError(f"inode {number} is none of this filesystem's")
        raw = self._fs.pread(self._groups.inode_offset(number), self._super.inode_size)
        inode = InodeRecord(raw)
        if self._super.has_checksums and any(raw) and inode.sealed(self._super.seed, number) != raw:
            raise FilesystemError(f"inode {number} has a wrong checksum: nothing is changed")
        return inode

    def _put(self, number: int, inode: InodeRecord) -> None:
        seed = self._super.seed if self._super.has_checksums else None
        self._fs.pwrite(self._groups.inode_offset(number), inode.sealed(seed, number))

    @staticmethod
    def _read(number: int, inode: InodeRecord) -> Inode:
        return unpacked(number, bytes(inode.data))

    def _new(self, parent: int, name: bytes, mode: int, owner: OwnerIds, *, links: int) -> int:
        """Make an inode and give it a name."""
        if self._lookup(parent, name) is not None:
            raise FilesystemError(f"{name!a} is there already")
        goal = (parent - 1) // self._super.group_inodes
        number = self._groups.take_inode(goal, is_directory=stat.S_ISDIR(mode))
        inode = new_inode(self._super.inode_size, mode, self._time, links=links)
        inode.set(uid=owner.uid, gid=owner.gid)
        give_blocks(self._fs, self._super, self._groups, inode, number, ())
        self._put(number, inode)
        self._enter(parent, name, number, mode)
        return number

    def _fill(self, number: int, content: bytes) -> None:
        """Give a file its content: in the blocks that it has, as far as they reach."""
        inode, size = self._inode(number), self._super.block_size
        needed = -(-len(content) // size)
        old = self._mapper.taken(self._read(number, inode)) if inode.get("blocks") else []
        kept = (
            self._blocks(number, inode)[:needed] if _is_whole(self._mapper, self._read(number, inode)) else []
        )
        keep = {*kept}
        self._groups.free_blocks(as_runs(sorted({*as_blocks(old)} - keep)))
        runs = as_runs(kept)
        if needed > len(kept):
            runs += self._take(number, needed - len(kept))
        at = 0
        for first, count in runs:
            data = content[at * size : (at + count) * size].ljust(count * size, b"\0")
            self._fs.pwrite(first * size, data)
            at += count
        extra = size // SECTOR if inode.get("xattr_block_lo") else 0
        inode.set(flags=inode.get("flags") & ~HUGE_FILE)
        give_blocks(self._fs, self._super, self._groups, inode, number, as_runs(as_blocks(runs)))
        inode.set(size=len(content), blocks=inode.get("blocks") + extra)
        inode.stamp(self._time, "mtime", "ctime")
        if len(content) >= 1 << 31:
            self._super.set(feature_ro_compat=self._super.get("feature_ro_compat") | LARGE_FILE)
        self._put(number, inode)

    def _take(self, number: int, count: int) -> list[tuple[int, int]]:
        return self._groups.take_blocks((number - 1) // self._super.group_inodes, count)

    def _blocks(self, number: int, inode: InodeRecord) -> list[int]:
        """Return the blocks of a file without holes, in its order."""
        size = self._super.block_size
        runs = self._mapper.runs(self._read(number, inode)) if _has_blocks(inode) else []
        return [
            place
            for run in runs
            if run.parent_offset is not None
            for place in range(run.parent_offset // size, (run.parent_offset + run.length) // size)
        ]

    def _free_attributes(self, inode: InodeRecord) -> None:
        """Let go of the block of extended attributes, which several inodes may share."""
        place = inode.get("xattr_block")
        if not place:
            return
        size = self._super.block_size
        header = Record(self._fs.pread(place * size, size), XATTR_HEADER)
        if header.get("magic") != XATTR_MAGIC or not header.get("references"):
            raise FilesystemError(f"block {place} should hold extended attributes, and does not")
        if header.get("references") == 1:
            self._groups.free_blocks([(place, 1)])
            return
        header.set(references=header.get("references") - 1, checksum=0)
        if self._super.has_checksums:
            crc = crc32c(bytes(header.data), crc32c(place.to_bytes(8, "little"), self._super.seed))
            header.set(checksum=crc)
        self._fs.pwrite(place * size, bytes(header.data))

    # --- directories ---

    @property
    def _has_types(self) -> bool:
        return bool(self._super.get("feature_incompat") & FILETYPE)

    def _room(self) -> int:
        """Return the bytes of a block that entries may take."""
        return self._super.block_size - (TAIL if self._super.has_checksums else 0)

    def _parent(self, path: bytes) -> tuple[int, bytes]:
        """Return the directory that a path's last name is in, and that name."""
        parts = _parts(path)
        if not parts or len(parts[-1]) > linear.MAX_NAME:
            raise FilesystemError(f"{path!a} is no name for a file")
        return self.find(b"/".join(parts[:-1])), parts[-1]

    def _directory(self, number: int) -> InodeRecord:
        inode = self._inode(number)
        self._must_be(inode, stat.S_IFDIR, f"inode {number}".encode())
        return inode

    def _must_be(self, inode: InodeRecord, kind: int, name: bytes) -> None:
        if stat.S_IFMT(inode.get("mode")) != kind:
            raise FilesystemError(f"{name!a} is no {'directory' if kind == stat.S_IFDIR else 'file'}")
        _check_flags(inode, name)

    def _contents(self, number: int, inode: InodeRecord) -> Iterator[tuple[int, bytes]]:
        """Yield the blocks of a directory, as (block, entries in it)."""
        size = self._super.block_size
        seed = inode_seed(self._super.seed, number, inode.get("generation"))
        for place in self._blocks(number, inode)[: inode.get("size") // size]:
            data = self._fs.pread(place * size, size)
            entries = data[: self._room()]
            if self._super.has_checksums and sealed_directory(entries, seed) != data:
                raise FilesystemError(f"block {place} of directory {number} has a wrong checksum")
            yield place, entries

    def _names(self, number: int) -> Iterator[linear.LinearEntry]:
        inode = self._directory(number)
        for _, block in self._contents(number, inode):
            yield from (one for one in linear.names(block) if one.inode)

    def _children(self, directory: int) -> list[bytes]:
        """Return the names in a directory but its own two."""
        return [one.name for one in self._names(directory) if one.name not in (b".", b"..")]

    def _lookup(self, directory: int, name: bytes) -> int | None:
        return next((one.inode for one in self._names(directory) if one.name == name), None)

    def _enter(self, directory: int, name: bytes, number: int, mode: int) -> None:
        """Add a name to a directory, in a block more if those that it has are full."""
        inode = self._directory(directory)
        kind = _TYPES.get(stat.S_IFMT(mode), 0) if self._has_types else 0
        for place, block in self._contents(directory, inode):
            changed = linear.with_name(block, number, kind, name)
            if changed is not None:
                self._write_block(place, changed, directory, inode)
                break
        else:
            block = linear.with_name(linear.empty(self._room()), number, kind, name) or b""
            old = self._blocks(directory, inode)
            tree = {*as_blocks(self._mapper.taken(self._read(directory, inode)))} - {*old}
            self._groups.free_blocks(as_runs(sorted(tree)))
            [(place, _)] = self._take(directory, 1)
            extra = self._super.block_size // SECTOR if inode.get("xattr_block_lo") else 0
            give_blocks(self._fs, self._super, self._groups, inode, directory, as_runs([*old, place]))
            inode.set(blocks=inode.get("blocks") + extra)
            self._write_block(place, block, directory, inode)
        inode.stamp(self._time, "mtime", "ctime")
        self._put(directory, inode)

    def _leave(self, directory: int, name: bytes) -> None:
        inode = self._directory(directory)
        for place, block in self._contents(directory, inode):
            changed = linear.without_name(block, name)
            if changed is not None:
                self._write_block(place, changed, directory, inode)
                break
        inode.stamp(self._time, "mtime", "ctime")
        self._put(directory, inode)

    def _write_block(self, place: int, entries: bytes, directory: int, inode: InodeRecord) -> None:
        if self._super.has_checksums:
            seed = inode_seed(self._super.seed, directory, inode.get("generation"))
            entries = sealed_directory(entries, seed)
        self._fs.pwrite(place * self._super.block_size, entries)


_REFUSED = {
    INDEX: "is a directory with a hash tree",
    INLINE_DATA: "has its data in its inode",
    ENCRYPTED: "is encrypted",
    CASEFOLD: "is a directory without case",
    VERITY: "is sealed by fs-verity",
    IMMUTABLE: "is immutable",
    APPEND_ONLY: "is append-only",
}


def _check_flags(inode: InodeRecord, name: bytes) -> None:
    for flag, what in _REFUSED.items():
        if inode.get("flags") & flag:
            raise FilesystemError(f"{show(name)} {what}: it is not changed here")


def _refuse(block: Any, checksum_fault: str, mounts_unclean: bool) -> None:
    """Refuse a filesystem that is not changed here."""
    incompat = block.feature_incompat & ~superblock.NEEDS_RECOVERY & ~KNOWN_INCOMPAT
    ro_compat = block.feature_ro_compat & ~ORPHANS & ~KNOWN_RO_COMPAT
    has_orphans = block.last_orphan or block.feature_ro_compat & ORPHANS
    reasons = [
        (checksum_fault, f"its superblock has a wrong checksum: {checksum_fault}"),
        (block.feature_incompat & superblock.NEEDS_RECOVERY, "its journal waits to be replayed"),
        (not block.state & superblock.STATE_CLEAN and not mounts_unclean, "it was not cleanly unmounted"),
        (block.state & superblock.STATE_ERRORS, "it has errors"),
        (has_orphans, "it has files that were being deleted"),
        (incompat, f"it has features that are not known here: {_named(incompat, superblock.INCOMPAT)}"),
        (ro_compat, f"it has features that are not written here: {_named(ro_compat, superblock.RO_COMPAT)}"),
    ]
    for holds, reason in reasons:
        if holds:
            raise FilesystemError(f"the filesystem is not changed: {reason}")


def _named(features: int, names: dict[int, str]) -> str:
    return " ".join(names.get(1 << bit, f"{1 << bit:#x}") for bit in range(32) if features >> bit & 1)


def _parts(path: bytes) -> list[bytes]:
    parts = [part for part in path.split(b"/") if part]
    if any(part in (b".", b"..") for part in parts):
        raise FilesystemError(f"{path!a} is no plain path")
    return parts


def _has_blocks(inode: InodeRecord) -> bool:
    """Tell whether an inode's map is one of blocks: not a device's number, a short link or data."""
    mode, flags = inode.get("mode"), inode.get("flags")
    if flags & INLINE_DATA or not (stat.S_ISREG(mode) or stat.S_ISDIR(mode) or stat.S_ISLNK(mode)):
        return False
    return not stat.S_ISLNK(mode) or bool(flags & EXTENTS) or inode.get("size") >= FAST_LINK


def _is_whole(mapper: Mapper, inode: Inode) -> bool:
    """Tell whether a file has neither holes nor blocks that are only kept for it."""
    return bool(inode.sectors) and all(run.parent_offset is not None for run in mapper.runs(inode))
