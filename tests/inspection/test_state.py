"""What state a disk is in, and why: what a guest would make of it, not what we can dig out of it."""

from __future__ import annotations

import pytest

from b2dinspect.containers.vdi.reader import VdiContainer
from b2dinspect.doctor.disk import examine
from b2dinspect.errors import MissingDataError
from b2dinspect.inspection.walk import inspect_disk
from b2dinspect.userdata.tarball import build_userdata
from tests.disks import (
    DATA_START,
    MIB,
    PUB,
    TAR,
    USERDATA,
    as_vdi,
    debugfs,
    fresh,
    look,
    make_disk,
    make_ext,
    needs_disks,
    open_file,
    provisioned,
    sfdisk,
)
from tests.oracles import needs, run


@pytest.mark.parametrize("size", [1, 28, 29, 511, 512, 1000, MIB, 100 * MIB])
def test_blank(size: int) -> None:
    assert look(make_disk(size)).state == "blank"


@needs_disks
@pytest.mark.parametrize("label", ["dos", "gpt"])
def test_partitioned(label: str) -> None:
    path = make_disk(8 * MIB)
    sfdisk(path, f"label: {label}\nsize=2MiB\nsize=2MiB\n")
    facts = look(path)
    assert facts.state == "partitioned"
    assert facts.reason.endswith("no data filesystem on any of 2 partitions")


@needs("mke2fs", "mkfs.vfat", "sfdisk")
def test_foreign() -> None:
    assert look(make_disk(MIB, (0, b"hello"))).reason.endswith("it begins with 68 65 6c 6c 6f" + " 00" * 11)
    whole = make_disk(32 * MIB)
    make_ext(whole, 32 * MIB, label="other")
    fat = make_disk(8 * MIB)
    run("mkfs.vfat", fat)
    for path, filesystem in ((whole, "ext4"), (fat, "vfat")):
        facts = look(path)
        assert (facts.state, facts.volumes[0].filesystem) == ("foreign", filesystem)


@needs_disks
def test_an_empty_mbr_in_front_of_a_labelled_filesystem_hides_nothing() -> None:
    path = make_disk(32 * MIB)
    make_ext(path, 32 * MIB, files={USERDATA: TAR[:4096]})
    sfdisk(path, "label: dos\n")
    facts = look(path)
    assert (facts.table.kind, facts.state) == ("mbr", "provisioned")
    assert facts.keys


@needs_disks
def test_an_empty_mbr_alone_is_partitioned() -> None:
    path = make_disk(8 * MIB)
    sfdisk(path, "label: dos\n")
    assert look(path).state == "partitioned"


def test_a_hidden_byte_behind_the_start_is_not_blank() -> None:
    assert look(make_disk(8 * MIB, (MIB - 1, b"x"))).state == "foreign"


@pytest.mark.parametrize("places", [(0,), (28,), (3, 9), tuple(range(9))])
def test_a_damaged_marker(places: tuple[int, ...]) -> None:
    facts = look(fresh(), *((place, b"\xff") for place in places))
    assert (facts.state, facts.magic.found, facts.magic.damaged_at) == ("damaged", False, places)


def test_too_many_wrong_bytes_are_no_marker() -> None:
    facts = look(fresh(), (0, b"\xff" * 10))
    assert facts.magic.damaged_at == ()
    assert (facts.state, facts.magic.copy_offset) == ("damaged", 512)
    assert look(fresh(), (0, b"\xff" * 10), (512, b"\xff")).state == "foreign"


@needs_disks
def test_a_damaged_table() -> None:
    facts = look(provisioned("autoformat"), (512, bytes(512)), size=1000 * MIB)
    assert (facts.table.kind, facts.state) == ("damaged", "damaged")


@needs_disks
def test_a_filesystem_whose_files_cannot_be_read() -> None:
    path = provisioned("autoformat")
    located = debugfs(path, "imap <2>", DATA_START * 512)
    block = int(located.split(b"at block ")[1].split(b",")[0])
    size = 1024 << look(path).volumes[0].superblock.log_block_size
    facts = look(path, (DATA_START * 512 + block * size, bytes(size)))
    assert facts.state == "damaged"
    assert [problem.id for problem in facts.problems] == ["ext4-unreadable"]
    assert facts.data is not None
    assert facts.userdata == ()


@needs_disks
def test_a_superblock_without_a_sound_copy() -> None:
    path = provisioned("autoformat")
    start = DATA_START * 512
    facts = look(path, (start + 1024 + 88, bytes(2)), (start + 8193 * 1024, bytes(1024)))
    assert facts.state == "damaged"
    assert "inode_size makes no sense" in facts.reason


@needs_disks
def test_through_the_backup_superblock_the_keys_are_read_but_no_guest_mounts_it() -> None:
    facts = look(provisioned("autoformat"), (DATA_START * 512 + 1024, bytes(1024)))
    assert facts.state == "damaged"
    assert facts.keys[0].line.valid


@needs_disks
def test_a_marker_written_over_a_used_gpt_disk_is_not_fresh() -> None:
    facts = look(provisioned("autoformat"), (0, build_userdata(PUB)))
    assert (facts.magic.found, facts.state) == (True, "damaged")
    assert "only the backup GPT" in facts.reason
    assert [item.source for item in facts.userdata] == ["data", "fresh"]


@needs_disks
def test_a_marker_written_over_a_used_mbr_disk_is_not_fresh() -> None:
    facts = look(provisioned("automount"), (0, build_userdata(PUB)))
    assert (facts.magic.found, facts.state) == (True, "damaged")
    assert [volume.filesystem for volume in facts.living] == ["swap", "ext4"]


def test_data_behind_a_blank_start_is_not_blank() -> None:
    facts = look(make_disk(8 * MIB, (5 * MIB, b"data")))
    assert facts.state == "foreign"
    assert f"data from byte {5 * MIB} on" in facts.reason


class Childless(VdiContainer):
    """A differencing image whose parent holds everything."""

    def _pread(self, offset: int, length: int) -> bytes:
        raise MissingDataError("in the parent")


@needs("qemu-img")
def test_a_disk_whose_start_is_elsewhere_is_incomplete() -> None:
    file = open_file(as_vdi(fresh()))
    facts = inspect_disk(Childless(file), "child.vdi")
    assert (facts.state, facts.magic.data, facts.keys) == ("incomplete", b"", ())


@needs_disks
@pytest.mark.parametrize(
    ("head", "guests"),
    [
        (TAR, "automount, autoformat and minikube would FORMAT it at the next boot"),
        (b"", "autoformat would FORMAT it at the next boot"),
    ],
    ids=["marker", "zeros"],
)
def test_a_table_of_which_only_the_backup_is_left_is_none_for_a_guest(head: bytes, guests: str) -> None:
    facts = look(provisioned("autoformat"), (0, head.ljust(34 * 512, b"\0")))
    assert (facts.state, facts.table.kind) == ("damaged", "gpt")
    assert facts.table.unseen
    assert facts.reason.endswith(f"which no guest uses; {guests}")
    assert set(facts.formatters) >= {"autoformat"}
    assert facts.keys[0].source == "data"  # told all the same


@needs_disks
def test_remains_of_a_disk_whose_table_is_gone_say_who_would_format_it() -> None:
    facts = look(provisioned("automount"), (0, bytes(512)))
    assert facts.state == "damaged"
    assert facts.reason.endswith("ext4 at sector 1975995; autoformat would FORMAT it at the next boot")


@needs_disks
@pytest.mark.parametrize(
    ("patch", "kind"),
    [((1024, bytes(1024)), "unseen"), ((1024 + 0x3FC, b"\1\2\3\4"), "unseen")],
    ids=["superblock gone", "wrong checksum"],
)
def test_what_keeps_a_guest_from_a_filesystem(patch: tuple[int, bytes], kind: str) -> None:
    facts = look(provisioned("autoformat"), (DATA_START * 512 + patch[0], patch[1]))
    assert facts.data is not None
    obstacle = facts.data.volume.obstacle
    assert obstacle is not None
    assert (obstacle.kind, facts.state, facts.data.takers) == (kind, "damaged", ())
    assert facts.reason == obstacle.reason


def test_a_marker_over_data_is_no_fresh_disk() -> None:
    disk = make_disk(4 << 20, (0, TAR), (1 << 20, b"LUKS or NTFS or what not"))
    facts = look(disk)
    assert facts.state == "damaged"
    assert "holds data from byte" in facts.reason and "FORMAT" in facts.reason
    assert "magic-over-data" in [finding.id for finding in examine(facts)]
