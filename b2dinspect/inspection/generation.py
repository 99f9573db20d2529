"""Which guest generation made a disk, told from its table, swap, filesystem and directories."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import NamedTuple

from b2dinspect.filesystems.superblock import block_count, block_size
from b2dinspect.guests import DATA_LABEL, PROFILES, SWAP_SECTORS, GuestProfile
from b2dinspect.inspection.volumes import Volume
from b2dinspect.partitions import PartitionTable


class Guest(NamedTuple):
    """Which generation made a disk, and how that is known.

    Attributes:
        profile: A profile's name, or ``"unknown"``.
        evidence: One sentence for each fact that was weighed.
    """

    profile: str
    evidence: tuple[str, ...]


def tell_guest(
    table: PartitionTable, volumes: Sequence[Volume], data: Volume | None, names: Collection[bytes]
) -> Guest:
    """Tell the generation that made a disk.

    Args:
        table: Partition table.
        volumes: What is on its partitions.
        data: The data partition, if there is one.
        names: Names in ``/var/lib`` on it.

    A generation is named when every fact fits it and no other, and the disk carries the data label or the
    guests' swap partition.
    """
    candidates = set(PROFILES)
    evidence: list[str] = []
    for text, fitting in _facts(table, volumes, data, names):
        candidates &= set(fitting)
        evidence.append(f"{text}: {', '.join(profile.name for profile in fitting) or 'none of the three'}")
    if len(candidates) == 1 and _is_made_by_a_guest(volumes, data):
        return Guest(candidates.pop().name, tuple(evidence))
    return Guest("unknown", tuple(evidence))


def _is_made_by_a_guest(volumes: Sequence[Volume], data: Volume | None) -> bool:
    """Tell whether anything on the disk is a guest's own, and not what any installer makes."""
    if data is not None and data.label == DATA_LABEL:
        return True
    return any(volume.filesystem == "swap" and _is_guest_swap(volume) for volume in volumes)


def _is_guest_swap(volume: Volume) -> bool:
    return (volume.partition.start, volume.partition.sectors) == (2048, SWAP_SECTORS)


Fact = tuple[str, list[GuestProfile]]


def _facts(
    table: PartitionTable, volumes: Sequence[Volume], data: Volume | None, names: Collection[bytes]
) -> list[Fact]:
    if table.kind not in ("mbr", "gpt"):
        return []
    facts = [(f"{table.kind.upper()} partition table", [p for p in PROFILES if p.table == table.kind])]
    facts += _partition_facts(volumes)
    if data is not None and data.is_ext:
        facts += _ratio_fact(data)
    if found := [name for profile in PROFILES for name in profile.directories if name in names]:
        listed = ", ".join(name.decode() for name in sorted(found))
        facts.append((f"/var/lib has {listed}", [p for p in PROFILES if set(found) & set(p.directories)]))
    return facts


def _partition_facts(volumes: Sequence[Volume]) -> list[Fact]:
    numbers = sorted(volume.partition.number for volume in volumes)
    second = next((volume for volume in volumes if volume.partition.number == 2), None)
    if numbers == [1]:
        return [("one partition, no swap", [p for p in PROFILES if not p.swap])]
    if numbers != [1, 2] or second is None:
        return [(f"{len(numbers)} partitions", [])]
    facts = []
    if second.partition.type_name.startswith("Linux swap"):
        part, is_usual = second.partition, _is_guest_swap(second)
        size = "1000 MiB at sector 2048" if is_usual else f"{part.sectors} sectors at sector {part.start}"
        facts.append((f"partition 2 is swap, {size}", [p for p in PROFILES if p.swap and is_usual]))
    else:
        facts.append(("partition 2 is no swap", []))
    if second.filesystem == "swap":
        text = f"swap label {second.label.decode('latin-1')!a}" if second.label else "swap without a label"
        facts.append((text, [p for p in PROFILES if p.swap and p.swap_label == second.label]))
    return facts


def _ratio_fact(data: Volume) -> list[Fact]:
    size = block_count(data.superblock) * block_size(data.superblock)
    ratio = size / data.superblock.inodes_count
    for known in sorted({profile.inode_ratio for profile in PROFILES}):
        if abs(ratio - known) < known * 0.15:
            return [(f"one inode for {known} bytes", [p for p in PROFILES if p.inode_ratio == known])]
    return [(f"one inode for about {ratio:.0f} bytes", [])]
