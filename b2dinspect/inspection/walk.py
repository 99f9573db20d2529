"""Walk the stack once, from the file to the keys. Facts only: no judgement, no formatting, no output."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

from b2dinspect.containers import Container
from b2dinspect.errors import EvidenceError, NotFoundError, UsageError
from b2dinspect.evidence.chain import Link, Rules, open_disk
from b2dinspect.evidence.file import Progress, about
from b2dinspect.filesystems.ext4 import Ext4, show
from b2dinspect.findings import Finding
from b2dinspect.guests import DATA_LABEL, PROFILES, SWAP_SECTORS, USERDATA_PATHS
from b2dinspect.inspection.generation import Guest, tell_guest
from b2dinspect.inspection.state import HEAD, Names, Seen, State, tell_state
from b2dinspect.inspection.volumes import Volume, identify
from b2dinspect.partitions import Partition, PartitionTable, read_table
from b2dinspect.source import SECTOR, ByteSource, RunsSource, SliceSource, read_lenient
from b2dinspect.userdata.authorized_keys import Line, parse
from b2dinspect.userdata.tarball import (
    AUTHORIZED_KEYS,
    AUTHORIZED_KEYS2,
    GUEST_KEEPS,
    MAGIC,
    Entry,
    Tarball,
    is_header,
    read_tar,
)

Source = Literal["fresh", "data", "residue"]

GUEST_STARTS = (2048, 2048 + SWAP_SECTORS)
"""Sectors where the guests' first fdisk or parted partition begins: without swap in front, and behind it."""
RESIDUE_REACH = 64 << 10
MAX_TAR = 64 << 20
MAX_KEY_FILE = 1 << 20
MAX_KEY_LINES = 2000


class Magic(NamedTuple):
    """The marker, tested as the guests do: the first 29 bytes of the disk.

    Attributes:
        found: Whether they are equal to it.
        file_offset: Where byte 0 of the disk is in the container file; None when it is not stored.
        data: What is there instead of it, or it.
        damaged_at: Virtual offsets of the bytes that differ, when most of them do not.
        copy_offset: Virtual offset of the marker's second copy, the content of the tar's first entry, when
            the one at byte 0 is gone. fdisk leaves it when it makes an MBR.
    """

    found: bool
    file_offset: int | None
    data: bytes
    damaged_at: tuple[int, ...] = ()
    copy_offset: int | None = None


class DataChoice(NamedTuple):
    """The volume that a guest would mount as its data partition.

    Attributes:
        volume: The volume.
        by: ``label`` when it carries the label, ``fallback`` when a guest would take it without one.
        takers: The guest generations that would.
        others: More volumes with the label.
    """

    volume: Volume
    by: Literal["label", "fallback"]
    takers: tuple[str, ...]
    others: tuple[Volume, ...] = ()


class Userdata(NamedTuple):
    """A userdata tar, or what is left of one.

    Attributes:
        source: ``fresh`` at the start of the disk, ``data`` on the data partition, ``residue`` of a fresh
            one.
        path: Path on the data partition; "" for the other two.
        content: The tar as a source; offsets in ``tar`` count in it.
        virtual_offset: Of its first byte; None when no single place holds it.
        file_offset: The same in the container file.
        size: Bytes.
        tar: What it holds.
        kept: What the guest's first 4096 bytes of it hold, for ``fresh``.
    """

    source: Source
    path: str
    content: ByteSource
    volume: Volume | None
    virtual_offset: int | None
    file_offset: int | None
    size: int
    tar: Tarball
    kept: Tarball | None = None

    def locate(self, offset: int) -> tuple[int | None, int | None]:
        """Return the virtual and the file offset of a byte of the tar."""
        return self._virtual(offset), self.content.locate(offset)

    def _virtual(self, offset: int) -> int | None:
        if self.volume is None:
            return (self.virtual_offset or 0) + offset
        if not isinstance(self.content, RunsSource):
            return None
        within = self.content.parent_offset(offset)
        return None if within is None else self.volume.partition.offset + within


class FoundKey(NamedTuple):
    """One line of an authorized_keys file that is meant to be a key."""

    source: Source
    file: str
    line: Line


class Inspection(NamedTuple):
    """All facts about one disk.

    Attributes:
        path: As the user gave it.
        file_size: Bytes of the file as opened (unpacked, for a gzip; of the disk alone, in an OVA).
        origin: ``file``, ``block device``, ``gzip``, ``xz``, ``bzip2``, ``zstd``, ``ova`` or ``stream``.
        links: The further files of the disk: parents, extents, data files.
        container: The virtual disk; stays open for reading.
        magic: The marker test.
        table: The partition table.
        volumes: What is on each partition, or on the whole disk when there is no table.
        remains: Filesystems where guests put them, on a disk whose table is gone.
        data: The data partition, if any guest would mount one.
        guest: Which generation made the disk.
        state: See the README's list.
        reason: Why this state, in one sentence.
        userdata: All tars found, most authoritative first.
        keys: All key lines found, in the same order.
        problems: What could not be read on the way.
    """

    path: str
    file_size: int
    origin: str
    links: tuple[Link, ...]
    container: Container
    magic: Magic
    table: PartitionTable
    volumes: tuple[Volume, ...]
    remains: tuple[Volume, ...]
    data: DataChoice | None
    guest: Guest
    state: State
    reason: str
    userdata: tuple[Userdata, ...]
    keys: tuple[FoundKey, ...]
    problems: tuple[Finding, ...]

    def of_source(self, source: Source) -> Userdata | None:
        """Return the first tar of that source."""
        return next((item for item in self.userdata if item.source == source), None)

    @property
    def effective(self) -> Userdata | None:
        """The tar that decides who may log in: the data partition's, else the one of a fresh disk."""
        if self.state == "provisioned":
            return self.of_source("data")
        return self.of_source("fresh") or self.of_source("data")


def inspect(
    path: str,
    *,
    format_name: str | None = None,
    rules: Rules | None = None,
    progress: Progress | None = None,
) -> Inspection:
    """Open ``path`` and return all facts about the disk in it.

    Raises:
        UsageError: Not a file, or an unknown format name.
        SourceError: The file cannot be read.
        ContainerError: No disk can be made out of the file.
    """
    with about(path):
        opened = open_disk(path, format_name, rules=rules, progress=progress)
        try:
            return inspect_disk(opened.container, path, origin=opened.origin, links=tuple(opened.links))
        except BaseException:
            opened.close()
            raise


def inspect_disk(
    disk: Container, path: str, *, origin: str = "file", links: tuple[Link, ...] = ()
) -> Inspection:
    """Return all facts about an opened disk."""
    magic = _test_magic(disk)
    table = read_table(disk)
    volumes = volumes_of(disk, table)
    remains = _remains(disk) if table.kind == "none" and not volumes else ()
    data = _choose_data(volumes or remains)
    found, names, problems = _on_data_partitions(data)
    userdata = (*found, *_at_start(disk, magic, volumes or remains))
    state, reason = tell_state(Seen(disk, magic, table, volumes, remains, data, names, problems))
    return Inspection(
        path=path,
        file_size=disk.file.size,
        origin=origin,
        links=links,
        container=disk,
        magic=magic,
        table=table,
        volumes=volumes,
        remains=remains,
        data=data,
        guest=tell_guest(table, volumes, data.volume if data else None, names or ()),
        state=state,
        reason=reason,
        userdata=userdata,
        keys=tuple(key for item in userdata for key in _keys(item)),
        problems=problems,
    )


def _test_magic(disk: Container) -> Magic:
    data = read_lenient(disk, 0, len(MAGIC))
    differing = tuple(i for i, pair in enumerate(zip(data, MAGIC, strict=False)) if pair[0] != pair[1])
    is_near = len(data) == len(MAGIC) and 0 < len(differing) <= len(MAGIC) // 3
    if data == MAGIC:
        return Magic(True, disk.locate(0), data)
    copy = SECTOR if read_lenient(disk, SECTOR, len(MAGIC)) == MAGIC else None
    return Magic(False, disk.locate(0), data, differing if is_near else (), copy)


def volumes_of(disk: ByteSource, table: PartitionTable) -> tuple[Volume, ...]:
    """Return what is on each partition, or on the whole disk when there is no table but a filesystem."""
    if table.kind == "none" or (table.kind == "mbr" and not table.partitions):
        # A boot sector with a filesystem behind it can look like an MBR that lists nothing.
        whole = identify(disk, Partition("none", 0, 0, disk.size // SECTOR))
        return () if whole.filesystem in ("none", "unknown") else (whole,)
    return tuple(identify(disk, part) for part in table.partitions)


def _remains(disk: Container) -> tuple[Volume, ...]:
    """Return the filesystems that begin where guests make partitions, although no table says so."""
    found = []
    for start in GUEST_STARTS:
        sectors = disk.size // SECTOR - start
        if sectors > 0:
            volume = identify(disk, Partition("none", 0, start, sectors))
            if volume.filesystem == "swap" or volume.is_ext:
                found.append(volume)
    return tuple(found)


def _choose_data(volumes: tuple[Volume, ...]) -> DataChoice | None:
    labelled = [volume for volume in volumes if volume.label == DATA_LABEL and volume.filesystem != "swap"]
    if labelled:
        names = tuple(profile.name for profile in PROFILES)
        return DataChoice(labelled[0], "label", names, tuple(labelled[1:]))
    for volume in volumes:
        if volume.filesystem in ("ext4", "btrfs") and volume.partition.number:
            return DataChoice(volume, "fallback", tuple(p.name for p in PROFILES if p.falls_back))
    return None


def _on_data_partitions(data: DataChoice | None) -> tuple[list[Userdata], Names, tuple[Finding, ...]]:
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


def _at_start(disk: Container, magic: Magic, volumes: tuple[Volume, ...]) -> Iterator[Userdata]:
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


def _keys(item: Userdata) -> Iterator[FoundKey]:
    for name in (AUTHORIZED_KEYS, AUTHORIZED_KEYS2):
        if entry := item.tar.find(name):
            lines = key_file(item, entry).split(b"\n", MAX_KEY_LINES)
            for line in parse(b"\n".join(lines[:MAX_KEY_LINES])):
                if line.kind in ("key", "broken"):
                    yield FoundKey(item.source, name.decode(), line)


def key_file(item: Userdata, entry: Entry) -> bytes:
    """Return the content of a key file in a tar, as far as it is there (at most 1 MiB)."""
    return read_lenient(item.content, entry.offset, min(entry.available, MAX_KEY_FILE))


def volume_for(inspection: Inspection, number: int | None) -> Volume:
    """Return the volume to browse: partition ``number``, or the data partition.

    Raises:
        UsageError: There is no such partition, or no data partition.
    """
    if number is None:
        if inspection.data is None:
            raise UsageError(
                f"no data partition on this disk ({inspection.reason}); name one with --partition"
            )
        return inspection.data.volume
    for volume in inspection.volumes:
        if volume.partition.number == number:
            return volume
    numbers = ", ".join(str(volume.partition.number) for volume in inspection.volumes) or "none"
    raise UsageError(f"no partition {number}; this disk has {numbers}")
