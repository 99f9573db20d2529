"""The userdata tars on a disk, and the key lines in them: on the data partition, fresh, and as residue."""

from __future__ import annotations

from collections.abc import Iterator

from b2dinspect.containers import Container
from b2dinspect.errors import EvidenceError, NotFoundError
from b2dinspect.filesystems.ext4 import Ext4, show
from b2dinspect.findings import Finding
from b2dinspect.guests import OLD_DIRECTORY, USERDATA_PATHS
from b2dinspect.inspection.facts import DataChoice, Magic, Names, Userdata
from b2dinspect.inspection.volumes import Volume
from b2dinspect.partitions import PartitionTable
from b2dinspect.partitions.mbr import TABLE
from b2dinspect.records import NamedTuple
from b2dinspect.source import SECTOR, ByteSource, PatchedSource, RunsSource, SliceSource, read_lenient
from b2dinspect.userdata.authorized_keys import KeyLine, parse
from b2dinspect.userdata.tarball import (
    AUTHORIZED_KEYS,
    AUTHORIZED_KEYS2,
    GUEST_KEEPS,
    MAGIC,
    TarEntry,
    is_header,
    read_tar,
)

HEAD = 1 << 20
"""Bytes before the first partition: where a tar can be, or have been."""
MTIME, USER_NAME = slice(136, 148), slice(265, 297)
"""Where a tar header has its file's time and its owner's name (POSIX, ustar)."""
RESIDUE_REACH = 64 << 10
MAX_TAR = 64 << 20
MAX_KEY_FILE = 1 << 20
MAX_KEY_LINES = 2000
KEY_FILES = (AUTHORIZED_KEYS, AUTHORIZED_KEYS2)
"""What sshd reads where nothing else is configured, and boot2docker configures nothing."""


class DataFiles(NamedTuple):
    """What was found on the data partition, or on several.

    Attributes:
        userdata: The tars.
        names: Names in /var/lib.
        problems: What stood in the way.
        unreadable: Why the files, or a tar's bytes, cannot be read; "" when they can.
        has_old_layout: Whether the first of them has a directory ``vm``.
    """

    userdata: tuple[Userdata, ...] = ()
    names: Names = None
    problems: tuple[Finding, ...] = ()
    unreadable: str = ""
    has_old_layout: bool = False


def on_data_partitions(data: DataChoice | None) -> DataFiles:
    """Return what is on every labelled partition, or on the one taken without a label."""
    volumes = (data.volume, *data.others) if data else ()
    found = [_on_volume(volume) if volume.is_ext else _unread(volume) for volume in volumes]
    known = [one.names for one in found if one.names is not None]
    return DataFiles(
        tuple(item for one in found for item in one.userdata),
        frozenset[bytes]().union(*known) if known else None,
        tuple(problem for one in found for problem in one.problems),
        next((one.unreadable for one in found if one.unreadable), ""),
        bool(found and found[0].has_old_layout),
    )


def _unread(volume: Volume) -> DataFiles:
    """Return that the files are there, and that nobody here reads them."""
    text = f"{volume.partition.place} is {volume.filesystem}: its files, and the keys, are only not read here"
    return DataFiles(problems=(Finding("filesystem-unread", "warning", text, volume.sign),))


def _on_volume(volume: Volume) -> DataFiles:
    try:
        with Ext4(volume.source) as files:
            names = _names_in(files, b"/var/lib")
            has_old_layout = files.is_directory(OLD_DIRECTORY.encode())
            found = [item for path in USERDATA_PATHS if (item := userdata_at(files, volume, path))]
    except EvidenceError as error:
        return _unreadable(volume, error)
    userdata = tuple(item for item in found if isinstance(item, Userdata))
    strange = [item for item in found if isinstance(item, Finding)]
    cut = [fault for item in userdata if (fault := _missing_bytes(item, volume))]
    return DataFiles(userdata, names, (*strange, *cut), cut[0].message if cut else "", has_old_layout)


def _unreadable(volume: Volume, error: EvidenceError) -> DataFiles:
    text = f"the files on {volume.partition.place} cannot be read: {error}"
    fault = Finding("ext4-unreadable", "error", text, volume.partition.offset)
    return DataFiles(problems=(fault,), unreadable=text)


def _missing_bytes(item: Userdata, volume: Volume) -> Finding | None:
    if all(extent.kind != "missing" for extent in item.content.extents()):
        return None
    text = f"{item.path} is there, but this evidence does not hold all of its {item.size} bytes"
    return Finding("userdata-unreadable", "error", text, volume.partition.offset)


def _names_in(files: Ext4, path: bytes) -> frozenset[bytes]:
    try:
        return frozenset(entry.name for entry in files.list(files.find(path)))
    except NotFoundError:
        return frozenset()


def userdata_at(files: Ext4, volume: Volume, path: bytes) -> Userdata | Finding | None:
    """Return the tar at a path, what is there instead of one, or None."""
    try:
        entry = files.find(path)
    except NotFoundError:
        return None
    if entry.type != "file":
        target = f" to {show(entry.node.link)}" if entry.type == "symlink" else ""
        text = f"{path.decode()} is no file but a {entry.type}{target}; it is not followed"
        return Finding("userdata-no-file", "error", text, volume.partition.offset)
    content = files.content(entry)
    tar = read_tar(SliceSource(content, 0, MAX_TAR))
    virtual = None
    if isinstance(content, RunsSource) and (within := content.parent_offset(0)) is not None:
        virtual = volume.partition.offset + within
    return Userdata("data", path.decode(), content, volume, virtual, content.locate(0), content.size, tar)


def at_start(
    disk: Container, magic: Magic, table: PartitionTable, volumes: tuple[Volume, ...]
) -> Iterator[Userdata]:
    """Yield the fresh tar at offset 0, or what a partition table left of one in front of the partitions."""
    starts = [volume.partition.offset for volume in volumes if volume.partition.number]
    limit = min([*starts, disk.size])
    has_table = table.kind in ("mbr", "gpt") and not table.unseen
    if magic.is_alone:
        return
    if magic.found and not has_table:
        content = SliceSource(disk, 0, min(limit, MAX_TAR))
        tar = read_tar(content)
        kept = read_tar(SliceSource(disk, 0, GUEST_KEEPS))
        yield Userdata("fresh", "", content, None, 0, disk.locate(0), tar.size, tar, kept)
        return
    found = _residue(SliceSource(disk, 0, min(limit, HEAD)))
    if found is not None:
        offset, rest = found
        tar = read_tar(rest)
        yield Userdata("residue", "", rest, None, offset, disk.locate(offset), tar.size, tar)


def _residue(start: ByteSource) -> tuple[int, ByteSource] | None:
    """Return where the tar begins that is left in front of the partitions, and the tar.

    busybox's fdisk leaves all of it but the bytes of the table; those are read as the zeros that were there,
    so that the first header's checksum tells whether it is one. util-linux's wipes the first sector.
    """
    head = read_lenient(start, 0, RESIDUE_REACH)
    first, last = TABLE
    if not head.startswith(MAGIC) and is_header(head[:SECTOR]):
        return None  # somebody else's tar
    if head.startswith(MAGIC) and b".ssh" in head[2 * SECTOR : 2 * SECTOR + 100]:
        whole = PatchedSource(start, first, bytes(last - first))
        if is_header(whole.pread(0, SECTOR)):
            return 0, whole
    for offset in range(SECTOR, len(head) - SECTOR, SECTOR):
        if head.startswith(b".ssh", offset) and _is_drivers(head[offset : offset + SECTOR]):
            return offset, SliceSource(start, offset, start.size - offset)
    return None


def _is_drivers(header: bytes) -> bool:
    """Tell whether it is a tar header as the drivers write them: of nobody, and of no time."""
    return is_header(header) and not header[USER_NAME].strip(b"\0") and not header[MTIME].strip(b"0\0 ")


def key_lines(item: Userdata, name: bytes) -> Iterator[KeyLine]:
    """Yield the lines of one key file in a tar that are keys, or are meant to be."""
    if entry := item.tar.find(name):
        lines = key_file(item, entry).split(b"\n", MAX_KEY_LINES)
        for line in parse(b"\n".join(lines[:MAX_KEY_LINES])):
            if line.kind in ("key", "broken"):
                yield line


def key_file(item: Userdata, entry: TarEntry) -> bytes:
    """Return the content of a key file in a tar, as far as it is there (at most 1 MiB)."""
    return read_lenient(item.content, entry.offset, min(entry.available, MAX_KEY_FILE))


def kept_file(item: Userdata, name: bytes) -> bytes | None:
    """Return what a guest's first 4096 bytes of a fresh tar hold of a key file; None when it is not fresh."""
    if item.kept is None:
        return None
    entry = item.kept.find(name)
    return key_file(item, entry) if entry else b""
