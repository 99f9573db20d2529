"""The partition table and the swap, against fdisk, sfdisk and blkid."""

from __future__ import annotations

import json

import pytest

from b2dinspect.guests import GEOMETRIES, PROFILES, SATA, Geometry, GuestProfile, data_sectors, swap_area
from b2dinspect.identity import Identities
from b2dinspect.provisioning.simulated.layout import fits, swap_writes, table_writes
from tests.disks import MIB, TAR, busybox_fdisk, fdisk, make_disk, open_file
from tests.oracles import needs, run

by_profile = pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.name)


@needs("fdisk", "busybox", "sfdisk")
@by_profile
@pytest.mark.parametrize("size", [1200 * MIB, 20000 * MIB, 3000 * MIB + 512 * 77])
@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
def test_the_table_is_the_one_that_fdisk_makes(profile: GuestProfile, size: int, geometry: Geometry) -> None:
    if profile.fdisk == "util-linux" and geometry != SATA:
        pytest.skip("util-linux's fdisk aligns to MiB and looks at no geometry")
    theirs = make_disk(size, (0, TAR))
    if profile.fdisk == "busybox":
        busybox_fdisk(theirs, *profile.commands.fdisk, heads=geometry.heads, sectors=geometry.sectors)
    else:
        (answers,) = profile.commands.fdisk
        fdisk(theirs, *answers[:-1])
    ours = make_disk(size, (0, TAR), *table_writes(profile, size, geometry, Identities()))
    tables = [json.loads(run("sfdisk", "-J", path).stdout)["partitiontable"] for path in (theirs, ours)]
    rows = [
        sorted((part["node"][-1], part["start"], part["size"], part["type"]) for part in table["partitions"])
        for table in tables
    ]
    assert rows[0] == rows[1]
    assert tables[0]["label"] == tables[1]["label"]
    first, last = data_sectors(profile, size // 512, geometry)
    assert rows[1][0][1:3] == (first, last + 1 - first)
    if profile.fdisk == "busybox":
        assert open_file(ours).pread(0, 8192) == open_file(theirs).pread(0, 8192)


@needs("blkid")
@pytest.mark.parametrize(
    "profile", [profile for profile in PROFILES if profile.swap], ids=lambda profile: profile.name
)
def test_swap_is_known_to_blkid(profile: GuestProfile) -> None:
    start, end = swap_area(profile)
    ((offset, data),) = swap_writes(profile, SATA, Identities())
    path = make_disk((end + 1 - start) * 512, (offset - start * 512, data))
    said = run("blkid", "-p", "-o", "export", path).stdout.decode()
    assert "TYPE=swap" in said
    assert (f"LABEL={profile.swap_label.decode()}" in said) == bool(profile.swap_label)


@by_profile
def test_small_disks_do_not_fit(profile: GuestProfile) -> None:
    assert fits(profile, 1200 * MIB, SATA)
    assert fits(profile, 10 * MIB, SATA) == (not profile.swap)
    assert not fits(profile, 2 * MIB, SATA)
