"""Walk the stack once, from the file to the keys. Facts only: no judgement, no formatting, no output."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, NamedTuple

from b2dinspect.containers import Container, open_container
from b2dinspect.errors import EvidenceError, NotFoundError, UsageError
from b2dinspect.evidence import Progress, about, open_evidence
from b2dinspect.filesystems.ext4 import Ext4, show
from b2dinspect.findings import Finding
from b2dinspect.guests import DATA_LABEL, PROFILES, SWAP_SECTORS, USERDATA_PATHS, Guest, tell_guest
from b2dinspect.partitions import Partition, PartitionTable, read_table
from b2dinspect.source import SECTOR, ByteSource, FileSource, RunsSource, SliceSource, read_lenient
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
from b2dinspect.volumes import Volume, identify

Source = Literal["fresh", "data", "residue"]
State = Literal["fresh", "provisioned", "partitioned", "blank", "foreign", "damaged"]

HEAD = 1 << 20
"""Bytes before the first partition: where a tar can be, or have been."""
GUEST_STARTS = (2048, 2048 + SWAP_SECTORS)
"""Sectors where the guests' first fdisk or parted partition begins: without swap in front, and behind it."""
UNSEEN_TABLE = ("table-missing", "gpt-mbr-missing", "gpt-only-backup", "gpt-primary-damaged")
UNMOUNTABLE = ("ext4-superblock-damaged", "ext4-larger-than-partition", "ext4-checksum")
UNREADABLE = ("ext4-unreadable", "userdata-unreadable")
"""Findings after which no guest finds its partition, none mounts it, or nobody can tell what it would do."""
BLANK_LIMIT = 64 << 20
"""Stored bytes that are read to call a disk blank."""
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
        file_size: Bytes of the file as opened (unpacked, for a gzip).
        origin: ``file``, ``block device``, ``gzip`` or ``stream``.
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


def inspect(path: str, *, format_name: str | None = None, progress: Progress | None = None) -> Inspection:
    """Open ``path`` and return all facts about the disk in it.

    Raises:
        UsageError: Not a file, or an unknown format name.
        SourceError: The file cannot be read.
        ContainerError: No disk can be made out of the file.
    """
    with about(path):
        file = open_evidence(path, progress)
        try:
            return inspect_disk(open_container(file, format_name), path, file)
        except BaseException:
            file.close()
            raise


def inspect_disk(disk: Container, path: str, file: FileSource) -> Inspection:
    """Return all facts about an opened disk."""
    magic = _test_magic(disk)
    table = read_table(disk)
    volumes = _volumes(disk, table)
    remains = _remains(disk) if table.kind == "none" and not volumes else ()
    data = _choose_data(volumes or remains)
    found, names, problems = _on_data_partitions(data)
    userdata = (*found, *_at_start(disk, magic, volumes or remains))
    state, reason = _state(_Seen(disk, magic, table, volumes, remains, data, names, problems))
    return Inspection(
        path=path,
        file_size=file.size,
        origin=file.origin,
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


def _volumes(disk: Container, table: PartitionTable) -> tuple[Volume, ...]:
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


Names = frozenset[bytes] | None
"""Names in /var/lib on the data partition; None when there is none or it cannot be read."""


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


class _Seen(NamedTuple):
    """What the state is decided from."""

    disk: Container
    magic: Magic
    table: PartitionTable
    volumes: tuple[Volume, ...]
    remains: tuple[Volume, ...]
    data: DataChoice | None
    names: Names
    problems: tuple[Finding, ...]


def _state(seen: _Seen) -> tuple[State, str]:
    """Return the state of the disk and the reason for it."""
    if fault := _damage(seen):
        return "damaged", fault
    data, table = seen.data, seen.table
    if data is not None and (data.by == "label" or (seen.names and b"boot2docker" in seen.names)):
        return "provisioned", _provisioned(data)
    if table.kind != "none" and (table.partitions or not seen.volumes):
        return _partitioned(table, seen.volumes)
    return _without_table(seen)


def _damage(seen: _Seen) -> str:
    """Return what keeps a guest from seeing what once was there, "" when nothing does."""
    table, data = seen.table, seen.data
    hidden = [finding for finding in table.findings if finding.id in UNSEEN_TABLE]
    if hidden or table.kind == "damaged":
        return hidden[0].message if hidden else "the partition table cannot be read"
    if data is not None:
        broken = [finding for finding in data.volume.findings if finding.id in UNMOUNTABLE]
        broken += [problem for problem in seen.problems if problem.id in UNREADABLE]
        if broken:
            return broken[0].message
    elif unreadable := [volume for volume in seen.volumes if volume.filesystem == "unreadable"]:
        number = unreadable[0].partition.number
        faults = unreadable[0].findings
        return faults[0].message if faults else f"partition {number} lies outside the disk"
    if seen.remains:
        listed = ", ".join(f"{one.filesystem} at sector {one.partition.start}" for one in seen.remains)
        return f"no partition table, but the disk still holds {listed}"
    return ""


def _provisioned(data: DataChoice) -> str:
    number = data.volume.partition.number
    place = f"partition {number}" if number else "the whole disk"
    if data.by == "label":
        return f"{place} is {data.volume.filesystem} labelled {DATA_LABEL.decode()}"
    return f"{place} is {data.volume.filesystem} without the label, with /var/lib/boot2docker"


def _partitioned(table: PartitionTable, volumes: tuple[Volume, ...]) -> tuple[State, str]:
    kind = table.kind.upper()
    others = [volume for volume in volumes if volume.filesystem not in ("none", "swap", "extended")]
    if others:
        listed = ", ".join(f"{one.filesystem} on partition {one.partition.number}" for one in others)
        return "foreign", f"{kind} partition table with {listed}; nothing of boot2docker"
    if not volumes:
        return "partitioned", f"{kind} partition table without partitions"
    return (
        "partitioned",
        f"{kind} partition table, but no data filesystem on any of {len(volumes)} partitions",
    )


def _without_table(seen: _Seen) -> tuple[State, str]:
    disk, magic = seen.disk, seen.magic
    if magic.found:
        return "fresh", "the marker is at byte 0 and there is no partition table: no guest has formatted it"
    if magic.damaged_at:
        places = ", ".join(str(offset) for offset in magic.damaged_at)
        return "damaged", f"the marker at byte 0 is damaged: wrong at byte {places}"
    if seen.volumes:
        return "foreign", f"{seen.volumes[0].filesystem} on the whole disk, no partitions"
    if magic.copy_offset is not None:
        return "damaged", "the marker at byte 0 is gone; its copy at byte 512 and the tar behind it are left"
    if len(magic.data) < min(disk.size, len(MAGIC)):
        return "damaged", "the start of the disk is missing from this evidence"
    head = read_lenient(disk, 0, HEAD)
    if head.strip(b"\0"):
        begins = head[:16].hex(" ")
        return "foreign", f"no marker, no partition table, no known filesystem; it begins with {begins}"
    return _all_zeros(disk)


def _all_zeros(disk: Container) -> tuple[State, str]:
    """Look through what is stored, up to a limit, for anything but zeros."""
    looked = 0
    for extent in disk.extents():
        if extent.kind == "missing":
            return "damaged", f"no marker, no table, and the content from byte {extent.offset} on is missing"
        if extent.kind == "zero":
            continue
        for offset in range(extent.offset, extent.offset + extent.length, HEAD):
            if looked >= BLANK_LIMIT:
                return (
                    "blank",
                    f"no marker, no table; the first {looked} stored bytes are zeros, more were not read",
                )
            data = disk.pread(offset, min(HEAD, extent.offset + extent.length - offset))
            if data.strip(b"\0"):
                return (
                    "foreign",
                    f"no marker, no partition table; zeros at the start, but data from byte {offset} on",
                )
            looked += len(data)
    return "blank", "no marker, no partition table; the whole disk is zeros"


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
