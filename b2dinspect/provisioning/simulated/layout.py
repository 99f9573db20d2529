"""Partition table and swap as bytes, as the guests' own tools write them."""

from __future__ import annotations

from b2dinspect.filesystems.swap import build_swap
from b2dinspect.guests import SWAP_SECTORS, GuestProfile, data_sectors
from b2dinspect.identity import Identities
from b2dinspect.partitions.gpt import LINUX, SWAP, NewPartition, build_gpt
from b2dinspect.partitions.mbr import TYPE_LINUX, TYPE_SWAP, build_mbr
from b2dinspect.source import SECTOR

SWAP_START = 2048
"""Sector."""


def table_writes(profile: GuestProfile, size: int, ids: Identities) -> list[tuple[int, bytes]]:
    """Return what fdisk writes where, as (virtual offset, bytes), on a disk of ``size`` bytes."""
    first, last = data_sectors(profile, size // SECTOR)
    if profile.table == "mbr":
        rows = [(TYPE_LINUX, first, last + 1 - first), (TYPE_SWAP, SWAP_START, SWAP_SECTORS)]
        return [(0, build_mbr(rows, ids.number(f"{profile.name} disk")))]
    parts = [NewPartition(LINUX, ids.uuid(f"{profile.name} data"), first, last)]
    if profile.swap:
        end = SWAP_START + SWAP_SECTORS - 1
        parts.append(NewPartition(SWAP, ids.uuid(f"{profile.name} swap part"), SWAP_START, end))
    return build_gpt(size // SECTOR, ids.uuid(f"{profile.name} disk"), parts)


def swap_writes(profile: GuestProfile, ids: Identities) -> list[tuple[int, bytes]]:
    """Return what mkswap writes where."""
    identity = ids.uuid(f"{profile.name} swap")
    return [(SWAP_START * SECTOR, build_swap(SWAP_SECTORS * SECTOR, identity, profile.swap_label))]


def fits(profile: GuestProfile, size: int) -> bool:
    """Tell whether a disk of ``size`` bytes has room for the table and a data partition of 2 MiB."""
    first, last = data_sectors(profile, size // SECTOR)
    return last - first >= 4096
