"""The state of a disk: what a guest would make of it, and why."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Literal

from b2dinspect.containers import Container
from b2dinspect.errors import MissingDataError
from b2dinspect.filesystems.signatures import name_of
from b2dinspect.guests import DATA_LABEL
from b2dinspect.inspection.facts import Choice, DataChoice, DiskState, Magic, Names, Ownership
from b2dinspect.inspection.keys import HEAD
from b2dinspect.inspection.volumes import UNNAMED, Volume
from b2dinspect.partitions import PartitionTable
from b2dinspect.records import NamedTuple
from b2dinspect.source import read_lenient
from b2dinspect.units import listed
from b2dinspect.userdata.tarball import GUEST_KEEPS

BLANK_LIMIT = 64 << 20
"""Stored bytes that are read to call a disk blank."""


MAX_PIECES = 1 << 14
"""Runs of stored bytes that are looked at for the same."""

ALL_ZEROS = "no marker, no partition table; the whole disk is zeros"
"""The reason to call a disk blank when nothing of it was left out."""


class Layers(NamedTuple):
    """What the layers of a disk hold: the state is decided from it.

    Attributes:
        choices: What each guest generation would do.
        names: Names in /var/lib on the data partition.
        unreadable: Why the data partition's files, or its userdata, cannot be read; "" when they can.
        tar_end: Where the tar of a fresh disk ends, in bytes; 0 without one.
    """

    disk: Container
    magic: Magic
    table: PartitionTable
    volumes: tuple[Volume, ...]
    living: tuple[Volume, ...]
    ownership: Ownership
    choices: tuple[Choice, ...]
    data: DataChoice | None
    names: Names
    unreadable: str
    tar_end: int


def tell_state(layers: Layers) -> tuple[DiskState, str]:
    """Return the state of the disk and the reason for it."""
    if layers.ownership.owner == "other":
        return "foreign", layers.ownership.text + _format_warning(layers)
    if gap := _missing(layers):
        return "incomplete", gap
    if fault := _damage(layers):
        return "damaged", fault + _format_warning(layers)
    data, table = layers.data, layers.table
    if data is not None and (data.by == "label" or (layers.names and b"boot2docker" in layers.names)):
        return "provisioned", _provisioned(data)
    if layers.magic.in_partitions:
        numbers = listed([str(number) for number in layers.magic.in_partitions])
        return "damaged", f"the marker is at the start of partition {numbers}, where no guest looks for it"
    if table.kind != "none" and (table.partitions or not layers.volumes):
        if layers.ownership.is_ours and data is not None:
            return "damaged", _unlabelled(data, layers.ownership)
        return _partitioned(table, layers.volumes)
    return _without_table(layers)


def _missing(layers: Layers) -> str:
    """Return what the evidence lacks of what would tell the state; "" when it lacks nothing of that."""
    if layers.table.kind == "missing":
        return layers.table.unseen + _seen_all_the_same(layers)
    data = layers.data
    is_told = data is not None and data.by == "label" and data.volume not in layers.living
    for volume in (data.volume,) if data is not None and is_told else layers.volumes:
        if volume.filesystem == "missing":
            return volume.findings[0].message
    if data is not None and layers.unreadable and data.volume.is_incomplete:
        return f"{layers.unreadable}; some of its bytes are not in this evidence"
    return ""


def _seen_all_the_same(layers: Layers) -> str:
    found = [f"{one.filesystem} at sector {one.partition.start}" for one in layers.living]
    return f"; it holds {listed(found)}, whose table is not told" if found else ""


def _damage(layers: Layers) -> str:
    """Return what keeps a guest from seeing what once was there, "" when nothing does."""
    table, data = layers.table, layers.data
    if table.unseen:
        return table.unseen
    if data is not None and data.volume in layers.living:
        return _unnamed(layers)
    if data is not None:
        if data.volume.obstacle:
            return data.volume.obstacle.reason
        if layers.unreadable:
            return layers.unreadable
    elif unreadable := [volume for volume in layers.volumes if volume.filesystem == "unreadable"]:
        faults = unreadable[0].findings
        return faults[0].message if faults else f"{unreadable[0].partition.place} lies outside the disk"
    return _unnamed(layers)


def _unnamed(layers: Layers) -> str:
    """Return what lives on the disk though no table names it; "" for nothing, or for swap behind a table."""
    has_table = layers.table.kind != "none"
    if not layers.living or (has_table and all(one.filesystem == "swap" for one in layers.living)):
        return ""
    places = ", ".join(f"{one.filesystem} at sector {one.partition.start}" for one in layers.living)
    named = {part.start: part for part in layers.table.partitions}
    if over := [one for one in layers.living if one.partition.start in named]:
        place, kind = named[over[0].partition.start].place, over[0].filesystem
        what = written_over(layers.volumes, over[0])
        return f"{place} was {kind}, and {what} was written over its beginning; the disk still holds {places}"
    return f"no partition{'' if has_table else ' table'} names it, but the disk still holds {places}"


def written_over(volumes: Sequence[Volume], living: Volume) -> str:
    """Return what begins now where a living filesystem begins, as far as that has a name."""
    here = (one for one in volumes if one.partition.start == living.partition.start)
    return next((name_of(one.filesystem) for one in here if one.filesystem not in UNNAMED), "something")


def _format_warning(layers: Layers) -> str:
    """Return who would format a disk with something on it, as the end of a sentence."""
    guests = [choice.guest for choice in layers.choices if choice.action == "format"]
    return f"; {listed(guests)} would FORMAT it at the next boot" if guests else ""


def _provisioned(data: DataChoice) -> str:
    place = data.volume.partition.place
    if data.by == "label":
        return f"{place} is {data.volume.filesystem} labelled {DATA_LABEL.decode()}"
    return f"{place} is {data.volume.filesystem} without the label, with /var/lib/boot2docker"


def _unlabelled(data: DataChoice, ownership: Ownership) -> str:
    volume = data.volume
    return (
        f"{volume.partition.place} is {volume.filesystem} labelled {volume.label.decode('latin-1')!a}, not "
        f"{DATA_LABEL.decode()!r}, on a disk that is {ownership.text}"
    )


def _partitioned(table: PartitionTable, volumes: tuple[Volume, ...]) -> tuple[DiskState, str]:
    kind = table.kind.upper()
    others = [volume for volume in volumes if volume.filesystem not in ("none", "swap", "extended")]
    if others:
        listed = ", ".join(f"{one.filesystem} on {one.partition.place}" for one in others)
        return "foreign", f"{kind} partition table with {listed}; nothing of boot2docker"
    if not volumes:
        return "partitioned", f"{kind} partition table without partitions"
    return (
        "partitioned",
        f"{kind} partition table, but no data filesystem on any of {len(volumes)} partitions",
    )


def _without_table(layers: Layers) -> tuple[DiskState, str]:
    disk, magic = layers.disk, layers.magic
    if magic.found:
        return _with_marker(layers)
    if magic.damaged_at:
        places = ", ".join(str(offset) for offset in magic.damaged_at)
        return "damaged", f"the marker at byte 0 is damaged: wrong at byte {places}"
    if layers.volumes:
        return "foreign", f"{layers.volumes[0].filesystem} on the whole disk, no partitions"
    if magic.copy_offset is not None:
        return "damaged", "the marker at byte 0 is gone; its copy at byte 512 and the tar behind it are left"
    head = read_lenient(disk, 0, HEAD)
    if head.strip(b"\0"):
        begins = head[:16].hex(" ")
        return "foreign", f"no marker, no partition table, no known filesystem; it begins with {begins}"
    return _all_zeros(disk)


def _with_marker(layers: Layers) -> tuple[DiskState, str]:
    """Tell a disk that nobody used from one over whose first sectors somebody wrote the marker."""
    seen = _look_for_data(layers.disk, max(layers.tar_end, GUEST_KEEPS))
    if seen.kind == "data":
        text = f"the marker is at byte 0 of a disk that holds data from byte {seen.offset} on"
        return "damaged", text + _format_warning(layers)
    text = "the marker is at byte 0 and there is no partition table: no guest has formatted it"
    if layers.magic.is_alone:
        text = "the marker is alone at byte 0, with no tar and no key behind it: no guest has formatted it"
    if seen.kind == "missing":
        text += f", as far as this evidence tells; the content from byte {seen.offset} on is missing"
    if seen.kind == "unread":
        text += f", as far as the {seen.looked} stored bytes tell that were read"
    return "fresh", text


def _all_zeros(disk: Container) -> tuple[DiskState, str]:
    seen = _look_for_data(disk, 0)
    if seen.kind == "missing":
        return "incomplete", f"no marker, no table, and the content from byte {seen.offset} on is missing"
    if seen.kind == "data":
        text = f"no marker, no partition table; zeros at the start, but data from byte {seen.offset} on"
        return "foreign", text
    if seen.kind == "unread":
        text = (
            f"no marker, no table; {seen.looked} of {disk.allocated_size} stored bytes were read, "
            "all zeros; the rest was not looked at"
        )
        return "blank", text
    return "blank", ALL_ZEROS


class _Seen(NamedTuple):
    kind: Literal["data", "missing", "unread", "zeros"]
    offset: int
    looked: int


def _look_for_data(disk: Container, start: int) -> _Seen:
    """Look through what is stored from a byte on, up to a limit, for anything but zeros."""
    looked = 0
    for number, extent in enumerate(disk.extents(start)):
        if extent.kind == "missing":
            return _Seen("missing", extent.offset, looked)
        if extent.kind == "zero":
            continue
        for offset in range(extent.offset, extent.offset + extent.length, HEAD):
            if looked >= BLANK_LIMIT or number >= MAX_PIECES:
                return _Seen("unread", offset, looked)
            try:
                data = disk.pread(offset, min(HEAD, extent.offset + extent.length - offset))
            except MissingDataError:  # a packed block that does not unpack
                return _Seen("missing", offset, looked)
            if data.strip(b"\0"):
                return _Seen("data", offset, looked)
            looked += len(data)
    return _Seen("zeros", disk.size, looked)
