"""The filesystem of the data partition, against e2fsck, debugfs and mke2fs."""

from __future__ import annotations

import random
from pathlib import Path

import pytest

from b2dinspect.containers.writers import new_disk
from b2dinspect.filesystems.ext4 import Ext4
from b2dinspect.guests import PROFILES, GuestProfile
from b2dinspect.identity import Identities
from b2dinspect.newfile import NewFile
from b2dinspect.provisioning.disk.ext4 import PartitionSpan, Placed, editing, fill, make_ext4
from b2dinspect.provisioning.disk.images import WorkDisk
from b2dinspect.provisioning.disk.overlay import Overlay
from b2dinspect.provisioning.simulated.mke2fs import make_by_mke2fs
from b2dinspect.source import ByteSource, MemorySource
from tests.disks import MIB, PUB
from tests.oracles import needs, run

SIZE, OFFSET = 200 * MIB, MIB
PATH = "var/lib/boot2docker/userdata.tar"
by_profile = pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.name)


@needs("e2fsck", "debugfs")
@by_profile
def test_what_a_guest_makes_is_clean_and_full(profile: GuestProfile, tmp_path: Path) -> None:
    path, ids = tmp_path / "disk", Identities()
    with NewFile(path) as file:
        disk = WorkDisk(new_disk("raw", file, OFFSET + SIZE, ids))
        place = PartitionSpan(disk, OFFSET, SIZE)
        make_ext4(place, profile, "name", ids)
        with editing(place, ids) as edits:
            fill(edits, profile, [Placed(PATH, PUB)])
        assert content_of(place.storage()) == PUB
        disk.writer.flush()
    image = f"{path}?offset={OFFSET}"
    run("e2fsck", "-fn", image)
    stat = run("debugfs", "-R", f"stat {PATH}", image).stdout.decode()
    assert "Mode:  0644" in stat
    assert "User:     0   Group:     0" in stat
    for folder in profile.makes:
        mode = "01777" if folder in profile.open_to_all else "0755"
        assert f"Mode:  {mode}" in run("debugfs", "-R", f"stat {folder}", image).stdout.decode()


def content_of(fs: ByteSource) -> bytes:
    with Ext4(fs) as files:
        return files.content(files.find(f"/{PATH}".encode())).pread(0, 1 << 20)


@needs("mke2fs")
@by_profile
def test_mke2fs_makes_the_same_but_for_what_it_counts(profile: GuestProfile, tmp_path: Path) -> None:
    ids, disks = Identities.from_seed("same"), [Overlay(MemorySource(bytes(SIZE))) for _ in range(2)]
    make_ext4(PartitionSpan(disks[0], 0, SIZE), profile, "name", ids)
    make_by_mke2fs(PartitionSpan(disks[1], 0, SIZE), profile, "name", ids, tmp_path)
    differing = [at for at in range(0, SIZE, MIB) if disks[0].pread(at, MIB) != disks[1].pread(at, MIB)]
    assert len(differing) <= 5  # superblocks
    with editing(PartitionSpan(disks[1], 0, SIZE), ids) as edits:
        fill(edits, profile)


@needs("e2fsck")
def test_what_was_there_before_does_no_harm(tmp_path: Path) -> None:
    noise = random.Random(0).randbytes(MIB) * (SIZE // MIB)
    disk, ids = Overlay(MemorySource(noise)), Identities()
    make_ext4(PartitionSpan(disk, 0, SIZE), PROFILES[0], "name", ids)
    with editing(PartitionSpan(disk, 0, SIZE), ids) as edits:
        fill(edits, PROFILES[0], [Placed(PATH, PUB)])
    (tmp_path / "fs").write_bytes(disk.pread(0, SIZE))
    run("e2fsck", "-fn", tmp_path / "fs")
    assert content_of(disk) == PUB
