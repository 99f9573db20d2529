"""Partition table and swap as bytes, as the guests' own tools write them."""

from __future__ import annotations

from b2dinspect.filesystems.swap import build_swap
from b2dinspect.guests import Geometry, GuestProfile, data_sectors, swap_area
from b2dinspect.identity import Identities
from b2dinspect.partitions.gpt import LINUX, SWAP, NewPartition, build_gpt
from b2dinspect.partitions.mbr import TABLE, TYPE_LINUX, TYPE_SWAP, build_mbr
from b2dinspect.source import SECTOR


def table_writes(
    profile: GuestProfile, size: int, geometry: Geometry, ids: Identities
) -> list[tuple[int, bytes]]:
    """Return what fdisk writes where, as (virtual offset, bytes), on a disk of ``size`` bytes."""
    first, last = data_sectors(profile, size // SECTOR, geometry)
    start, end = swap_area(profile, geometry)
    if profile.table == "mbr":
        rows = [(TYPE_LINUX, first, last + 1 - first), (TYPE_SWAP, start, end + 1 - start)]
        return [(TABLE[0], build_mbr(rows, 0, geometry)[slice(*TABLE)])]
    parts = [NewPartition(LINUX, ids.uuid(f"{profile.name} data"), first, last)]
    if profile.swap:
        parts.append(NewPartition(SWAP, ids.uuid(f"{profile.name} swap part"), start, end))
    return build_gpt(size // SECTOR, ids.uuid(f"{profile.name} disk"), parts)


def swap_writes(profile: GuestProfile, geometry: Geometry, ids: Identities) -> list[tuple[int, bytes]]:
    """Return what mkswap writes where."""
    start, end = swap_area(profile, geometry)
    identity = ids.uuid(f"{profile.name} swap")
    return [(start * SECTOR, build_swap((end + 1 - start) * SECTOR, identity, profile.swap_label))]


def fits(profile: GuestProfile, size: int, geometry: Geometry) -> bool:
    """Tell whether a disk of ``size`` bytes has room for the table and a data partition of 2 MiB."""
    first, last = data_sectors(profile, size // SECTOR, geometry)
    return last - first >= 4096
