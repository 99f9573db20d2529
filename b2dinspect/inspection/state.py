"""The state of a disk: what a guest would make of it, and why."""

from __future__ import annotations

from typing import NamedTuple

from b2dinspect.containers import Container
from b2dinspect.findings import Finding
from b2dinspect.guests import DATA_LABEL
from b2dinspect.inspection.facts import DataChoice, Magic, Names, State
from b2dinspect.inspection.keys import HEAD
from b2dinspect.inspection.volumes import Volume
from b2dinspect.partitions import PartitionTable
from b2dinspect.source import read_lenient
from b2dinspect.userdata.tarball import MAGIC

UNSEEN_TABLE = ("table-missing", "gpt-mbr-missing", "gpt-only-backup", "gpt-primary-damaged")
UNMOUNTABLE = ("ext4-superblock-damaged", "ext4-larger-than-partition", "ext4-checksum")
UNREADABLE = ("ext4-unreadable", "userdata-unreadable")
"""Findings after which no guest finds its partition, none mounts it, or nobody can tell what it would do."""
BLANK_LIMIT = 64 << 20
"""Stored bytes that are read to call a disk blank."""


class Seen(NamedTuple):
    """What the state is decided from."""

    disk: Container
    magic: Magic
    table: PartitionTable
    volumes: tuple[Volume, ...]
    remains: tuple[Volume, ...]
    data: DataChoice | None
    names: Names
    problems: tuple[Finding, ...]


def tell_state(seen: Seen) -> tuple[State, str]:
    """Return the state of the disk and the reason for it."""
    if fault := _damage(seen):
        return "damaged", fault
    data, table = seen.data, seen.table
    if data is not None and (data.by == "label" or (seen.names and b"boot2docker" in seen.names)):
        return "provisioned", _provisioned(data)
    if table.kind != "none" and (table.partitions or not seen.volumes):
        return _partitioned(table, seen.volumes)
    return _without_table(seen)


def _damage(seen: Seen) -> str:
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


def _without_table(seen: Seen) -> tuple[State, str]:
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
