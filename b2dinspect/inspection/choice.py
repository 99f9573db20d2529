"""What a guest does with a disk that it meets: mount a partition, format the disk, or leave it alone.

Source: the three programs named in ``guests``; the VMware rule is in automount and minikube-automount.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Literal, NamedTuple

from b2dinspect.guests import DATA_LABEL, PROFILES, GuestProfile
from b2dinspect.inspection.facts import DataChoice
from b2dinspect.inspection.volumes import Volume
from b2dinspect.partitions import PartitionTable
from b2dinspect.source import ByteSource, read_lenient
from b2dinspect.userdata.tarball import MAGIC

VMWARE_LOOKS_AT = 256 << 10
"""Bytes that must be empty before a guest formats a VMware disk without the marker."""


class Choice(NamedTuple):
    """A guest's decision about one disk.

    Attributes:
        action: What it does.
        volume: What it mounts, for ``mount``.
        keeps_userdata: Whether it saves the first 4096 bytes before it formats.
        reason: Why, in one sentence.
    """

    action: Literal["mount", "format", "leave"]
    volume: Volume | None
    keeps_userdata: bool
    reason: str


def choose(
    profile: GuestProfile,
    disk: ByteSource,
    table: PartitionTable,
    volumes: Sequence[Volume],
    *,
    is_vmware: bool = False,
) -> Choice:
    """Tell what a guest of this generation does with ``disk``, when it is the only one in the machine.

    Args:
        profile: The generation.
        disk: The virtual disk.
        table: Its partition table.
        volumes: What is on its partitions, or on the whole disk.
        is_vmware: Whether the disk comes from VMware, whose driver writes no marker.
    """
    labelled = [volume for volume in volumes if volume.label == DATA_LABEL and volume.filesystem != "swap"]
    if labelled:
        where = _place(labelled[0])
        return Choice("mount", labelled[0], False, f"{where} carries the label {DATA_LABEL.decode()}")
    has_table = table.kind in ("mbr", "gpt")
    if has_table and profile.name != "autoformat":
        return _fall_back(profile, volumes, "no partition has the label, and the disk has a partition table")
    if read_lenient(disk, 0, len(MAGIC)) == MAGIC:
        return Choice("format", None, True, "the disk begins with the marker")
    if profile.name == "autoformat":
        return _without_marker(has_table, volumes)
    if is_vmware and not read_lenient(disk, 0, VMWARE_LOOKS_AT).strip(b"\0"):
        return Choice("format", None, False, "no marker, but an empty VMware disk")
    return _fall_back(profile, volumes, "the disk does not begin with the marker")


class Candidate(NamedTuple):
    """A disk as a guest sees it."""

    disk: ByteSource
    table: PartitionTable
    volumes: Sequence[Volume]


class Chosen(NamedTuple):
    """What a guest does with several disks: which one it turns to, from 0, None for none of them."""

    disk: int | None
    choice: Choice


def choose_among(profile: GuestProfile, disks: Sequence[Candidate], *, is_vmware: bool = False) -> Chosen:
    """Tell which of several disks a guest turns to, and what it does with it.

    The label comes first, on whatever disk; then a marker, then what it would format without one, then the
    first ext4 or btrfs. automount looks at no disk but the first without a partition table, autoformat at the
    biggest first.
    """
    choices = [choose(profile, *one, is_vmware=is_vmware) for one in disks]
    order = [*_order(profile, disks)]
    ranked = [
        *((i, choice) for i, choice in enumerate(choices) if _has_label(choice)),
        *((i, choices[i]) for i in order if choices[i].action == "format" and choices[i].keeps_userdata),
        *((i, choices[i]) for i in order if choices[i].action == "format"),
        *((i, choice) for i, choice in enumerate(choices) if choice.action == "mount"),
    ]
    if ranked:
        return Chosen(*ranked[0])
    reason = choices[0].reason if len(choices) == 1 else "it takes none of these disks"
    return Chosen(None, Choice("leave", None, False, reason))


def _order(profile: GuestProfile, disks: Sequence[Candidate]) -> Iterator[int]:
    if profile.name == "autoformat":
        yield from sorted(range(len(disks)), key=lambda i: -disks[i].disk.size)
        return
    bare = [i for i, one in enumerate(disks) if one.table.kind not in ("mbr", "gpt")]
    yield from bare[:1] if profile.name == "automount" else bare


def _has_label(choice: Choice) -> bool:
    return choice.volume is not None and choice.volume.label == DATA_LABEL


def _without_marker(has_table: bool, volumes: Sequence[Volume]) -> Choice:
    """Return what autoformat does: it formats any disk that blkid knows nothing about."""
    if has_table or any(volume.filesystem not in ("none", "unknown") for volume in volumes):
        return Choice("leave", None, False, "no label and no marker, but blkid knows what is on the disk")
    return Choice("format", None, False, "no marker, but blkid knows nothing about the disk: FORMATS it")


def _fall_back(profile: GuestProfile, volumes: Sequence[Volume], why: str) -> Choice:
    for volume in volumes if profile.falls_back else ():
        if volume.filesystem in ("ext4", "btrfs") and volume.partition.number:
            return Choice("mount", volume, False, f"{why}: it falls back to {_place(volume)}")
    return Choice("leave", None, False, why)


def _place(volume: Volume) -> str:
    number = volume.partition.number
    return f"partition {number}" if number else "the whole disk"


def choose_data(volumes: tuple[Volume, ...]) -> DataChoice | None:
    """Return the volume that guests would mount as their data partition, None when no guest would any."""
    labelled = [volume for volume in volumes if volume.label == DATA_LABEL and volume.filesystem != "swap"]
    if labelled:
        names = tuple(profile.name for profile in PROFILES)
        return DataChoice(labelled[0], "label", names, tuple(labelled[1:]))
    for volume in volumes:
        if volume.filesystem in ("ext4", "btrfs") and volume.partition.number:
            return DataChoice(volume, "fallback", tuple(p.name for p in PROFILES if p.falls_back))
    return None
