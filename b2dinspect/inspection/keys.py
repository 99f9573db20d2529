"""The userdata tars on a disk, and the key lines in them: on the data partition, fresh, and as residue."""

from __future__ import annotations

from collections.abc import Iterator

from b2dinspect.containers import Container
from b2dinspect.errors import EvidenceError, NotFoundError
from b2dinspect.filesystems.ext4 import Ext4, show
from b2dinspect.findings import Finding
from b2dinspect.guests import USERDATA_PATHS
from b2dinspect.inspection.facts import DataChoice, FoundKey, Magic, Names, Userdata
from b2dinspect.inspection.volumes import Volume
from b2dinspect.source import SECTOR, RunsSource, SliceSource, read_lenient
from b2dinspect.userdata.authorized_keys import parse
from b2dinspect.userdata.tarball import (
    AUTHORIZED_KEYS,
    AUTHORIZED_KEYS2,
    GUEST_KEEPS,
    Entry,
    is_header,
    read_tar,
)

HEAD = 1 << 20
"""Bytes before the first partition: where a tar can be, or have been."""
RESIDUE_REACH = 64 << 10
MAX_TAR = 64 << 20
MAX_KEY_FILE = 1 << 20
MAX_KEY_LINES = 2000


def on_data_partitions(data: DataChoice | None) -> tuple[list[Userdata], Names, tuple[Finding, ...]]:
    """Return the tars on every labelled partition, the names in /var/lib, and what stood in the way."""
    userdata: list[Userdata] = []
    all_names: Names = None
    problems: list[Finding] = []
    for volume in (data.volume, *data.others) if data else ():
        if volume.is_ext:
            found, names, faults = _on_volume(volume)
            userdata += found
            problems += faults
            all_names = names if all_names is None else all_names | (names or frozenset())
    return userdata, all_names, tuple(problems)


def _on_volume(volume: Volume) -> tuple[list[Userdata], Names, list[Finding]]:
    try:
        files = Ext4(volume.source)
    except EvidenceError as error:
        return [], None, [_unreadable(volume, error)]
    try:
        names = _names_in(files, b"/var/lib")
        problems: list[Finding] = []
        found = [item for path in USERDATA_PATHS if (item := _userdata_at(files, volume, path, problems))]
        return found, names, problems
    except EvidenceError as error:
        return [], None, [_unreadable(volume, error)]
    finally:
        files.close()


def _unreadable(volume: Volume, error: EvidenceError) -> Finding:
    text = f"the files on partition {volume.partition.number} cannot be read: {error}"
    return Finding("ext4-unreadable", "error", text, volume.partition.offset)


def _names_in(files: Ext4, path: bytes) -> frozenset[bytes]:
    try:
        return frozenset(entry.name for entry in files.list(files.find(path)))
    except NotFoundError:
        return frozenset()


def _userdata_at(files: Ext4, volume: Volume, path: bytes, problems: list[Finding]) -> Userdata | None:
    try:
        entry = files.find(path)
    except NotFoundError:
        return None
    if entry.type != "file":
        target = f" to {show(entry.node.link)}" if entry.type == "symlink" else ""
        text = f"{path.decode()} is no file but a {entry.type}{target}; it is not followed"
        problems.append(Finding("userdata-no-file", "error", text, volume.partition.offset))
        return None
    content = files.content(entry)
    if any(extent.kind == "missing" for extent in content.extents()):
        text = f"{path.decode()} is there, but this evidence does not hold all of its {content.size} bytes"
        problems.append(Finding("userdata-unreadable", "error", text, volume.partition.offset))
    tar = read_tar(SliceSource(content, 0, MAX_TAR))
    virtual = None
    if isinstance(content, RunsSource) and (within := content.parent_offset(0)) is not None:
        virtual = volume.partition.offset + within
    return Userdata("data", path.decode(), content, volume, virtual, content.locate(0), content.size, tar)


def at_start(disk: Container, magic: Magic, volumes: tuple[Volume, ...]) -> Iterator[Userdata]:
    """Yield the fresh tar at offset 0, or what an MBR left of one in the gap behind it."""
    starts = [volume.partition.offset for volume in volumes if volume.partition.number]
    limit = min([*starts, disk.size])
    if magic.found:
        content = SliceSource(disk, 0, min(limit, MAX_TAR))
        tar = read_tar(content)
        kept = read_tar(SliceSource(disk, 0, GUEST_KEEPS))
        yield Userdata("fresh", "", content, None, 0, disk.locate(0), tar.size, tar, kept)
        return
    reach = min(limit, RESIDUE_REACH)
    head = read_lenient(disk, 0, reach)
    for offset in range(SECTOR, len(head) - SECTOR, SECTOR):
        if b".ssh" in head[offset : offset + 100] and is_header(head[offset : offset + SECTOR]):
            content = SliceSource(disk, offset, min(limit, HEAD) - offset)
            tar = read_tar(content)
            yield Userdata("residue", "", content, None, offset, disk.locate(offset), tar.size, tar)
            return


def key_lines(item: Userdata) -> Iterator[FoundKey]:
    """Yield the lines of the key files in a tar that are keys, or are meant to be."""
    for name in (AUTHORIZED_KEYS, AUTHORIZED_KEYS2):
        if entry := item.tar.find(name):
            lines = key_file(item, entry).split(b"\n", MAX_KEY_LINES)
            for line in parse(b"\n".join(lines[:MAX_KEY_LINES])):
                if line.kind in ("key", "broken"):
                    yield FoundKey(item.source, name.decode(), line)


def key_file(item: Userdata, entry: Entry) -> bytes:
    """Return the content of a key file in a tar, as far as it is there (at most 1 MiB)."""
    return read_lenient(item.content, entry.offset, min(entry.available, MAX_KEY_FILE))
