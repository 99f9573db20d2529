"""Which guest generation made a disk, told from its table, swap, filesystem and directories."""

from __future__ import annotations

from collections.abc import Collection, Sequence

from b2dinspect.filesystems.superblock import block_count, block_size
from b2dinspect.guests import (
    DATA_LABEL,
    EDITIONS,
    GEOMETRIES,
    PROFILES,
    Edition,
    Geometry,
    profile_named,
    swap_area,
)
from b2dinspect.inspection.volumes import Volume
from b2dinspect.partitions import PartitionTable
from b2dinspect.records import NamedTuple


class Guest(NamedTuple):
    """Which generation made a disk, and how that is known.

    Attributes:
        profile: A profile's name, ``"by-hand"`` for somebody who repeated automount's steps with util-linux's
            fdisk, or ``"unknown"``.
        evidence: One sentence for each fact that was weighed.
        releases: Which releases do it so.
    """

    profile: str
    evidence: tuple[str, ...]
    releases: tuple[str, ...] = ()


Fact = tuple[str, list[Edition]]


def tell_guest(
    table: PartitionTable, volumes: Sequence[Volume], data: Volume | None, names: Collection[bytes]
) -> Guest:
    """Tell the generation that made a disk.

    Args:
        table: Partition table.
        volumes: What is on its partitions.
        data: The data partition, if there is one.
        names: Names in ``/var/lib`` on it.

    A generation is named when every fact fits editions of it and of no other, and the disk carries the data
    label or the guests' swap partition.
    """
    candidates = set(EDITIONS)
    evidence: list[str] = []
    for text, fitting in _facts(table, volumes, data, names):
        candidates &= set(fitting)
        told = dict.fromkeys(edition.profile for edition in fitting)
        evidence.append(f"{text}: {', '.join(told) or 'none of the three'}")
    profiles = {edition.profile for edition in candidates}
    if len(profiles) == 1 and _is_made_by_a_guest(volumes, data):
        releases = tuple(one.releases for one in EDITIONS if one in candidates and one.releases)
        return Guest(profiles.pop(), tuple(evidence), releases)
    return Guest("unknown", tuple(evidence))


def _is_made_by_a_guest(volumes: Sequence[Volume], data: Volume | None) -> bool:
    """Tell whether anything on the disk is a guest's own, and not what any installer makes."""
    if data is not None and data.label == DATA_LABEL:
        return True
    return any(volume.filesystem == "swap" and _swap_layout(volume) for volume in volumes)


def _facts(
    table: PartitionTable, volumes: Sequence[Volume], data: Volume | None, names: Collection[bytes]
) -> list[Fact]:
    if table.kind not in ("mbr", "gpt"):
        return []
    facts = [(f"{table.kind.upper()} partition table", [one for one in EDITIONS if one.table == table.kind])]
    facts += _partition_facts(volumes)
    if data is not None and data.is_ext:
        facts += _ratio_fact(data)
    return facts + _name_fact(names)


def _partition_facts(volumes: Sequence[Volume]) -> list[Fact]:
    numbers = sorted(volume.partition.number for volume in volumes)
    second = next((volume for volume in volumes if volume.partition.number == 2), None)
    if numbers == [1]:
        return _alone(volumes[0])
    if numbers != [1, 2] or second is None:
        return [(f"{len(numbers)} partitions", [])]
    part = second.partition
    if second.filesystem != "swap" and not part.type_name.startswith("Linux swap"):
        return [("partition 2 is no swap", [])]
    text, fdisk = _swap_layout(second) or (f"{part.sectors} sectors at sector {part.start}", "")
    fitting = [one for one in EDITIONS if one.fdisk == fdisk and part.type in one.swap_types]
    facts = [(f"partition 2 is swap of type {part.type_name or part.type}, {text}", fitting)]
    if second.filesystem == "swap":
        text = f"swap label {second.label.decode('latin-1')!a}" if second.label else "swap without a label"
        facts.append((text, [one for one in EDITIONS if one.swap_types and one.swap_label == second.label]))
    return facts


def _alone(volume: Volume) -> list[Fact]:
    start = volume.partition.start
    fdisk = {2048: "util-linux"} | {one.sectors: "busybox" for one in GEOMETRIES}
    fitting = [one for one in EDITIONS if not one.swap_types and one.fdisk == fdisk.get(start)]
    return [(f"one partition, from sector {start} on, no swap", fitting)]


def _swap_layout(volume: Volume) -> tuple[str, str] | None:
    """Return how a swap partition is laid out and whose fdisk does that, or None when no guest's does."""
    place = (volume.partition.start, volume.partition.end - 1)
    if place == swap_area(profile_named("autoformat")):
        return "1000 MiB at sector 2048, as util-linux's fdisk makes it", "util-linux"
    for geometry in GEOMETRIES:
        if place == swap_area(profile_named("automount"), geometry):
            return f"sectors {place[0]}-{place[1]}, {_cylinders(geometry)}", "busybox"
    return None


def _cylinders(geometry: Geometry) -> str:
    return f"cylinders of {geometry.heads} x {geometry.sectors} as busybox's fdisk makes them"


def _ratio_fact(data: Volume) -> list[Fact]:
    size = block_count(data.superblock) * block_size(data.superblock)
    ratio = size / data.superblock.inodes_count
    for known in sorted({one.inode_ratio for one in EDITIONS if one.inode_ratio}):
        if abs(ratio - known) < known * 0.15:
            fitting = [one for one in EDITIONS if one.inode_ratio in (known, None)]
            return [(f"one inode for {known} bytes", fitting)]
    return [(f"one inode for about {ratio:.0f} bytes", [one for one in EDITIONS if one.inode_ratio is None])]


def _name_fact(names: Collection[bytes]) -> list[Fact]:
    """Weigh the names in /var/lib; that minikube's own are missing counts where anything is there."""
    own = {name: profile.name for profile in PROFILES for name in profile.directories}
    found = sorted(name for name in own if name in names)
    if found:
        listed = ", ".join(name.decode() for name in found)
        profiles = {own[name] for name in found}
        return [(f"/var/lib has {listed}", [one for one in EDITIONS if one.profile in profiles])]
    if not names:
        return []
    without = [one for one in EDITIONS if one.profile not in own.values()]
    return [("/var/lib has nothing of minikube's own", without)]
