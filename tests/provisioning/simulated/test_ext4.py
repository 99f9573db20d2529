"""The ext4 workbench, against e2fsck, debugfs and dumpe2fs."""

from __future__ import annotations

from pathlib import Path

import pytest

from b2dinspect.containers.writers import new_disk
from b2dinspect.evidence.file import open_evidence
from b2dinspect.filesystems.ext4 import Ext4
from b2dinspect.guests import PROFILES, GuestProfile
from b2dinspect.identity import Identities
from b2dinspect.newfile import NewFile
from b2dinspect.provisioning.disk.images import WorkDisk
from b2dinspect.provisioning.simulated.ext4 import Ext4Workbench, Placed
from tests.disks import MIB, PUB
from tests.oracles import needs, run

by_profile = pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.name)


@needs("mke2fs", "debugfs", "e2fsck")
@by_profile
def test_the_workbench_keeps_e2fsck_content(profile: GuestProfile, tmp_path: Path) -> None:
    image = tmp_path / "ext4"
    bench = Ext4Workbench(image, 200 * MIB, Identities())
    bench.make(profile, "name")
    bench.fill(
        profile.makes, Placed("var/lib/boot2docker/userdata.tar", PUB), open_to_all=profile.open_to_all
    )
    run("e2fsck", "-fn", image)
    assert content_of(image) == PUB
    stat = run("debugfs", "-R", "stat var/lib/boot2docker/userdata.tar", image).stdout.decode()
    assert "Mode:  0644" in stat
    assert "User:     0   Group:     0" in stat
    bench.replace(Placed("var/lib/boot2docker/userdata.tar", PUB * 30))
    run("e2fsck", "-fn", image)
    assert content_of(image) == PUB * 30
    bench.remove("var/lib/boot2docker/userdata.tar")
    run("e2fsck", "-fn", image)
    bench.mark_unclean()
    assert b"not clean" in run("dumpe2fs", "-h", image).stdout


def content_of(image: Path) -> bytes:
    source = open_evidence(str(image))
    files = Ext4(source)
    try:
        return files.content(files.find(b"/var/lib/boot2docker/userdata.tar")).pread(0, 1 << 20)
    finally:
        files.close()
        source.close()


@needs("mke2fs", "debugfs")
def test_only_changed_pages_reach_the_disk(tmp_path: Path) -> None:
    size, offset = 64 * MIB, MIB
    with NewFile(tmp_path / "disk") as file:
        disk = WorkDisk(new_disk("raw", file, size + offset, Identities()))
        bench = Ext4Workbench(tmp_path / "ext4", size, Identities())
        bench.make(PROFILES[0], "name")
        bench.check_in(disk, offset)
        disk.changes()
        bench.check_in(disk, offset)
        assert disk.changes() == ()
        again = Ext4Workbench(tmp_path / "again", size, Identities())
        again.check_out(disk, offset)
        assert (tmp_path / "again").read_bytes() == (tmp_path / "ext4").read_bytes()
        again.fill(["new"])
        again.check_in(disk, offset)
        changes = disk.changes()
        assert 0 < sum(one.length for one in changes) < MIB
        assert all(one.length % 4096 == one.virtual_offset % 4096 == 0 for one in changes)
        assert disk.pread(offset, size) == (tmp_path / "again").read_bytes()
