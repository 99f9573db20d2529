"""What a guest does with the disks that it meets: mount a partition, format a disk, or leave them all alone.

This is the one place that decides it. Each generation has its own eyes: Linux makes partitions of a table
that it accepts, ``blkid`` tells filesystems and tables, busybox ``fdisk`` or ``parted`` disks without one.

Source: the three programs named in ``guests``; Linux block/partitions/efi.c for the tables; and blkid 2.38,
parted 3.5 and busybox fdisk 1.35 for what they say of a disk.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence

from b2dinspect.errors import MissingDataError
from b2dinspect.guests import DATA_LABEL, PROFILES, GuestProfile
from b2dinspect.inspection.facts import Choice, DataChoice
from b2dinspect.inspection.volumes import Volume, whole_disk
from b2dinspect.partitions import PartitionTable
from b2dinspect.records import NamedTuple
from b2dinspect.source import SECTOR, ByteSource, read_lenient
from b2dinspect.userdata.tarball import MAGIC

VMWARE_LOOKS_AT = 256 << 10
"""Bytes that must be empty before a guest formats a VMware disk without the marker."""
EMPTY = b"\0\n"
"""Bytes that count as empty there: the scripts delete both before they count the rest."""

BOOT_SIGNATURE = (510, b"\x55\xaa")
"""Offset and bytes at the end of sector 0: all that busybox fdisk asks of a valid table."""
KNOWN_TO_PARTED = (
    *("ext2", "ext3", "ext4", "btrfs", "f2fs", "hfs", "hfsplus", "jfs", "nilfs2", "ntfs", "reiserfs"),
    *("swap", "udf", "vfat", "xfs"),
    *("apple-map", "sun-label", "sgi-label", "bsd-label", "amiga-map"),
)
"""Filesystems that parted takes for a table of kind ``loop``, and the tables of other machines."""
UNKNOWN_TO_BLKID = ("none", "unknown", "bsd-label", "amiga-map")


class Candidate(NamedTuple):
    """One disk of a machine.

    Attributes:
        disk: The virtual disk.
        table: Its partition table.
        volumes: What is on its partitions, or on the whole disk.
    """

    disk: ByteSource
    table: PartitionTable
    volumes: Sequence[Volume]


class Chosen(NamedTuple):
    """What a guest does with several disks.

    Attributes:
        disk: Which one it turns to, from 0; None for none of them.
        choice: What it does with it.
        rivals: Others that it might as well turn to: they carry the label too, and blkid gives any one. The
            disk itself is among them when another of its own partitions carries it.
        is_told: Whether the evidence holds what the guest looks at.
    """

    disk: int | None
    choice: Choice
    rivals: tuple[int, ...] = ()
    is_told: bool = True


class Hardware(NamedTuple):
    """What a disk image does not tell of the machine.

    Attributes:
        is_vmware: The disks come from VMware, whose driver writes no marker.
        is_nvme: They are named as NVMe disks are: the scripts then look for ``nvme0n11``, not ``nvme0n1p1``.
    """

    is_vmware: bool = False
    is_nvme: bool = False


def choose(
    profile: GuestProfile,
    disk: ByteSource,
    table: PartitionTable,
    volumes: Sequence[Volume],
    hardware: Hardware = Hardware(),  # noqa: B008 - a NamedTuple does not change
) -> Choice:
    """Tell what a guest of this generation does with ``disk``, when it is the only one in the machine."""
    return choose_among(profile, (Candidate(disk, table, volumes),), hardware).choice


def choices_for(disk: ByteSource, table: PartitionTable, volumes: Sequence[Volume]) -> tuple[Choice, ...]:
    """Tell what each generation does with ``disk``, when it is the only one, in the order of ``PROFILES``."""
    sights = (_Sight(Candidate(disk, table, volumes)),)
    return tuple(_decide(profile, sights, Hardware()).choice for profile in PROFILES)


def choose_among(
    profile: GuestProfile,
    disks: Sequence[Candidate],
    hardware: Hardware = Hardware(),  # noqa: B008
) -> Chosen:
    """Tell which of several disks a guest turns to, and what it does with it.

    Args:
        profile: The generation.
        disks: In the order in which the guest's kernel names them.
        hardware: What the images do not tell.
    """
    return _decide(profile, [_Sight(one) for one in disks], hardware)


def data_choice(volumes: Sequence[Volume], choices: Sequence[Choice]) -> DataChoice | None:
    """Return the volume that holds the data as far as the disk tells, whether or not a guest gets to it."""
    found = _labelled(volumes) or [*_linux(volumes)][:1]
    if not found:
        return None
    by_label = found[0].label == DATA_LABEL
    takers = tuple(one.guest for one in choices if one.action == "mount" and one.volume is found[0])
    return DataChoice(found[0], "label" if by_label else "fallback", takers, tuple(found[1:]))


class _Sight:
    """A disk as the programs in a guest see it. Nothing is read before it is asked for.

    Attributes:
        disk: The virtual disk.
        volumes: The block devices that Linux makes of it, with what blkid finds on them.
    """

    def __init__(self, one: Candidate) -> None:
        self.disk = one.disk
        self._table = one.table
        has_table = one.table.kind in ("mbr", "gpt") and not one.table.unseen
        there = one.volumes if has_table or one.table.kind == "none" else whole_disk(one.disk)
        self.volumes = [one for one in there if one.obstacle is None or one.obstacle.kind != "unseen"]
        self._has_table = has_table

    @property
    def is_missing(self) -> bool:
        """Whether the evidence does not hold the first sector."""
        try:
            self.disk.pread(0, SECTOR)
        except MissingDataError:
            return True
        return False

    @property
    def has_marker(self) -> bool:
        return read_lenient(self.disk, 0, len(MAGIC)) == MAGIC

    @property
    def is_without_boot_signature(self) -> bool:
        """Whether busybox fdisk says that it "doesn't contain a valid partition table"."""
        offset, signature = BOOT_SIGNATURE
        return read_lenient(self.disk, offset, len(signature)) != signature

    @property
    def is_unknown_to_parted(self) -> bool:
        if self._has_table:
            return False
        return not any(volume.filesystem in KNOWN_TO_PARTED for volume in self.volumes)

    @property
    def is_unknown_to_blkid(self) -> bool:
        """Whether blkid finds neither a table, a filesystem nor a protective MBR on it."""
        if self._has_table or not self.is_without_boot_signature:
            return False
        return all(volume.filesystem in UNKNOWN_TO_BLKID for volume in self.volumes)

    @property
    def is_empty(self) -> bool:
        """Whether the VMware rule takes it for empty."""
        head = read_lenient(self.disk, 0, VMWARE_LOOKS_AT)
        return self.is_unknown_to_blkid and not head.translate(None, EMPTY)


def _decide(profile: GuestProfile, disks: Sequence[_Sight], hardware: Hardware) -> Chosen:
    for number, one in enumerate(disks):
        for volume in _labelled(one.volumes):
            where = _place(volume)
            why = f"{where} carries the label {DATA_LABEL.decode()}"
            found = [[other for _ in _labelled(one.volumes)] for other, one in enumerate(disks)]
            rivals = dict.fromkeys([other for others in found for other in others][1:])
            return _mounts(profile, number, volume, why)._replace(rivals=tuple(rivals))
    if any(one.is_missing for one in disks):
        text = "the start of a disk is missing from this evidence: nobody can tell"
        return _leaves(profile, text)._replace(is_told=False)
    return _DECISIONS[profile.name](profile, disks, hardware)


def _automount(profile: GuestProfile, disks: Sequence[_Sight], hardware: Hardware) -> Chosen:
    """Look at the first disk without a table, and at no other; fall back only when there is none."""
    bare = next((i for i, one in enumerate(disks) if one.is_without_boot_signature), None)
    if bare is None:
        return _falls_back(profile, disks, "no partition has the label, and each disk has a partition table")
    return _formats(profile, bare, disks[bare], hardware) or _leaves(
        profile, "the first disk without a partition table does not begin with the marker"
    )


def _autoformat(profile: GuestProfile, disks: Sequence[_Sight], hardware: Hardware) -> Chosen:
    """Look for the marker on all disks, then for one that blkid knows nothing about; the biggest first."""
    order = sorted(range(len(disks)), key=lambda i: -disks[i].disk.size)
    for number in order:
        if disks[number].has_marker:
            return _format(profile, number, True, "the disk begins with the marker", hardware)
    for number in order:
        if disks[number].is_unknown_to_blkid:
            why = "no marker, but blkid knows nothing about the disk: FORMATS it"
            return _format(profile, number, False, why, hardware)
    return _leaves(profile, "no label and no marker, but blkid knows what is on the disk")


def _minikube(profile: GuestProfile, disks: Sequence[_Sight], hardware: Hardware) -> Chosen:
    """Walk the disks as lsblk lists them: format a bare one with the marker, fall back at any other table."""
    for number, one in enumerate(disks):
        if one.is_unknown_to_parted:
            found = _formats(profile, number, one, hardware)
        else:
            found = _falls_back(profile, disks, "no partition has the label")
        if found is not None and found.disk is not None:
            return found
    return _leaves(profile, "no label, no marker on a disk without a partition table, and no ext4 or btrfs")


_DECISIONS = {"automount": _automount, "autoformat": _autoformat, "minikube": _minikube}


def _formats(profile: GuestProfile, number: int, disk: _Sight, hardware: Hardware) -> Chosen | None:
    if disk.has_marker:
        return _format(profile, number, True, "the disk begins with the marker", hardware)
    if hardware.is_vmware and disk.is_empty:
        return _format(profile, number, False, "no marker, but an empty VMware disk", hardware)
    return None


def _format(profile: GuestProfile, number: int, keeps: bool, why: str, hardware: Hardware) -> Chosen:
    fails = ""
    if hardware.is_nvme:
        fails = "it writes a partition table, then looks for /dev/nvme0n11, which is not there: no filesystem"
    return Chosen(number, Choice(profile.name, "format", None, keeps, why, fails))


def _falls_back(profile: GuestProfile, disks: Sequence[_Sight], why: str) -> Chosen:
    for number, one in enumerate(disks):
        for volume in _linux(one.volumes):
            return _mounts(profile, number, volume, f"{why}: it falls back to {_place(volume)}")
    return _leaves(profile, f"{why}, and there is no ext4 or btrfs")


def _mounts(profile: GuestProfile, number: int, volume: Volume, why: str) -> Chosen:
    fails = volume.obstacle.reason if volume.obstacle else ""
    return Chosen(number, Choice(profile.name, "mount", volume, False, why, fails))


def _leaves(profile: GuestProfile, why: str) -> Chosen:
    return Chosen(None, Choice(profile.name, "leave", None, False, why))


def _labelled(volumes: Iterable[Volume]) -> list[Volume]:
    return [one for one in volumes if one.label == DATA_LABEL and one.filesystem != "swap"]


def _linux(volumes: Iterable[Volume]) -> Iterator[Volume]:
    return (one for one in volumes if one.filesystem in ("ext4", "btrfs"))


def _place(volume: Volume) -> str:
    number = volume.partition.number
    return f"partition {number}" if number else "the whole disk"
