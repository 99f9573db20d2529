"""The walk through the whole stack: every state, every place of userdata, every offset against the bytes."""

from __future__ import annotations

import functools
from pathlib import Path

import pytest

from b2dinspect.containers.vdi.reader import VdiContainer
from b2dinspect.doctor.disk import examine
from b2dinspect.errors import ContainerError, SourceError, UsageError
from b2dinspect.evidence.file import open_evidence
from b2dinspect.inspection.facts import Inspection, Userdata
from b2dinspect.inspection.keys import key_file
from b2dinspect.inspection.walk import inspect, volume_for
from b2dinspect.source import MemorySource
from b2dinspect.userdata.tarball import AUTHORIZED_KEYS, MAGIC, build_userdata
from tests.disks import (
    DATA_START,
    GOLDEN,
    LABEL,
    MIB,
    MINIKUBE_START,
    OLD_DATA_START,
    OLD_SWAP_START,
    OTHER_PUB,
    PUB,
    PUB4096,
    STARTS,
    SWAP_START,
    TAR,
    TAR4096,
    USERDATA,
    as_vdi,
    change_ext,
    debugfs,
    fresh,
    look,
    make_disk,
    make_ext,
    needs_disks,
    open_file,
    provision,
    provisioned,
    sfdisk,
)
from tests.opened import keep
from tests.oracles import needs, run

PROFILES = ("automount", "autoformat", "minikube")
SWAPS = {
    "automount": [(2, OLD_SWAP_START, OLD_DATA_START - OLD_SWAP_START, b"")],
    "autoformat": [(2, SWAP_START, 2048000, b"boot2dockerswap")],
    "minikube": [],
}


def check_offsets(facts: Inspection, path: Path) -> None:
    """Read every tar header and key again by the offsets that were told, from the disk and from the file."""
    assert facts.userdata
    for item in facts.userdata:
        assert item.virtual_offset == item.locate(0)[0]
        assert item.file_offset == item.locate(0)[1]
        for entry in item.tar.entries:
            for offset in (entry.header_offset, *((entry.offset,) if entry.available else ())):
                expected = item.content.pread(offset, 64)
                virtual, file = item.locate(offset)
                assert virtual is not None
                assert file is not None
                assert facts.container.pread(virtual, 64) == expected
                assert open_file(path).pread(file, 64) == expected


def blobs(facts: Inspection) -> list[tuple[str, str, bytes]]:
    return [(key.source, key.file, key.line.raw) for key in facts.keys]


# --- fresh ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("tar", "pub"), [(TAR, PUB), (TAR4096, PUB4096)], ids=["rsa2048", "rsa4096"])
def test_a_fresh_disk(tar: bytes, pub: bytes) -> None:
    facts = look(fresh(tar))
    assert (facts.state, facts.magic.found, facts.table.kind, facts.volumes) == ("fresh", True, "none", ())
    assert (facts.data, facts.guest.profile, facts.problems) == (None, "unknown", ())
    (item,) = facts.userdata
    assert facts.effective is item
    assert (item.source, item.size, item.virtual_offset) == ("fresh", len(tar), 0)
    assert blobs(facts) == [
        ("fresh", ".ssh/authorized_keys", pub.rstrip(b"\n")),
        ("fresh", ".ssh/authorized_keys2", pub.rstrip(b"\n")),
    ]
    check_offsets(facts, fresh(tar))


def test_what_the_guest_keeps_of_a_fresh_tar() -> None:
    (item,) = look(fresh(TAR4096)).userdata
    assert item.kept is not None
    assert not item.tar.truncated
    assert item.kept.truncated
    (item,) = look(fresh(TAR)).userdata
    assert item.kept is not None
    assert not item.kept.truncated


@needs("qemu-img")
def test_a_fresh_vdi() -> None:
    path = as_vdi(fresh())
    facts = look(path)
    assert isinstance(facts.container, VdiContainer)
    assert facts.state == "fresh"
    assert facts.magic.file_offset == open_file(path).pread(0, 8 * MIB).index(MAGIC)
    check_offsets(facts, path)


def test_a_disk_shorter_than_what_the_guest_keeps() -> None:
    facts = look(fresh(), size=3000)
    assert facts.state == "fresh"
    assert [entry.missing for entry in facts.userdata[0].tar.entries] == [0, 0, 0, 0][: 3 + (3000 > 3072)]


# --- provisioned ----------------------------------------------------------------------------------------


@needs_disks
@pytest.mark.parametrize("profile", PROFILES)
def test_a_provisioned_disk(profile: str) -> None:
    path = provisioned(profile)
    facts = look(path)
    assert (facts.state, facts.guest.profile, facts.problems) == ("provisioned", profile, ())
    assert facts.table.kind == ("mbr" if profile == "automount" else "gpt")
    assert facts.data is not None
    assert facts.data.by == "label"
    assert facts.data.volume.partition.number == 1
    assert facts.data.volume.partition.start == STARTS[profile]
    assert facts.data.volume.filesystem == "ext4"
    swaps = [
        (volume.partition.number, volume.partition.start, volume.partition.sectors, volume.label)
        for volume in facts.volumes
        if volume.filesystem == "swap"
    ]
    assert swaps == SWAPS[profile]
    item = facts.effective
    assert item is not None
    assert (item.source, item.path, item.size) == ("data", "/" + USERDATA, 4096)
    assert key_file(item, item.tar.entries[2]) == PUB
    assert facts.magic.found == (profile == "automount")
    check_offsets(facts, path)


@needs_disks
@pytest.mark.parametrize("profile", PROFILES)
def test_the_userdata_is_where_debugfs_finds_it(profile: str) -> None:
    path, first = provisioned(profile), STARTS[profile] * 512
    item = look(path).of_source("data")
    assert item is not None
    size = item.volume.superblock.log_block_size if item.volume else 0
    block = int(debugfs(path, f"bmap /{USERDATA} 0", first).split()[-1])
    assert item.virtual_offset == item.file_offset == first + (block << 10 + size)


@needs_disks
def test_the_layout_of_a_disk_of_20000_mib() -> None:
    facts = look(provision("autoformat", size=20000 * MIB))
    assert [(v.partition.number, v.partition.start, v.partition.end - 1) for v in facts.volumes] == [
        (1, 2050048, 40957951),
        (2, 2048, 2050047),
    ]
    assert (facts.state, facts.guest.profile) == ("provisioned", "autoformat")


@needs_disks
@needs("qemu-img")
@pytest.mark.parametrize("profile", PROFILES)
def test_a_provisioned_vdi(profile: str) -> None:
    raw, path = look(provisioned(profile)), as_vdi(provisioned(profile))
    facts = look(path)
    assert (facts.state, facts.guest) == ("provisioned", raw.guest)
    assert blobs(facts) == blobs(raw)
    assert [item.virtual_offset for item in facts.userdata] == [item.virtual_offset for item in raw.userdata]
    check_offsets(facts, path)


@needs_disks
@pytest.mark.parametrize("profile", PROFILES)
@pytest.mark.parametrize("against", ["swap label", "inode ratio"])
def test_one_fact_against_a_profile_makes_the_guest_unknown(profile: str, against: str) -> None:
    if against == "inode ratio":
        ratio = "8192" if profile == "minikube" else "2048"
        facts = look(provision(profile, options=("-i", ratio)))
    elif profile == "minikube":
        facts = look(provision(profile, names=("kubelet",)))
        assert facts.guest.profile == "minikube"
        return
    else:
        start = SWAPS[profile][0][1] * 512
        facts = look(provisioned(profile), (start + 1024 + 28, b"other\0".ljust(16, b"\0")))
    assert facts.guest.profile == "unknown"
    assert facts.state == "provisioned"


@needs_disks
def test_the_old_layout() -> None:
    facts = look(provision("automount", place="vm/userdata.tar"))
    assert facts.state == "provisioned"
    assert (facts.userdata[0].source, facts.userdata[0].path) == ("data", "/vm/userdata.tar")
    assert facts.keys[0].line.raw == PUB.rstrip(b"\n")


@needs_disks
def test_the_new_place_comes_before_the_old_one() -> None:
    path = provision("autoformat")
    old = make_disk(0, (0, build_userdata(OTHER_PUB)))
    change_ext(path, "mkdir vm", f"write {old} vm/userdata.tar", offset=DATA_START * 512)
    facts = look(path)
    assert [item.path for item in facts.userdata] == ["/" + USERDATA, "/vm/userdata.tar"]
    assert facts.effective is facts.userdata[0]


@needs_disks
def test_without_the_label_it_is_found_by_its_directory() -> None:
    facts = look(provision("autoformat", label="other"))
    assert facts.state == "provisioned"
    assert facts.data is not None
    assert (facts.data.by, facts.data.takers) == ("fallback", ("automount", "minikube"))
    assert "without the label" in facts.reason


@needs_disks
def test_without_label_and_directory_its_swap_tells_whose_it_is() -> None:
    facts = look(provision("autoformat", label="other", tar=None, names=("docker",)))
    assert (facts.state, facts.ownership.owner, facts.ownership.sure) == ("damaged", "ours", "likely")
    assert facts.reason == (
        "partition 1 is ext4 labelled 'other', not 'boot2docker-data', on a disk that is boot2docker's: "
        "partition 2 is swap labelled boot2dockerswap"
    )


@needs_disks
def test_several_partitions_with_the_label() -> None:
    path = make_disk(64 * MIB)
    sfdisk(path, "label: gpt\nsize=20MiB\nsize=20MiB\n")
    for number in range(2):
        make_ext(path, 16 * MIB, offset=(1 + 20 * number) * MIB)
    data = look(path).data
    assert data is not None
    assert data.volume.partition.number == 1
    assert [volume.partition.number for volume in data.others] == [2]


@needs_disks
def test_ext4_on_the_whole_disk() -> None:
    path = make_disk(32 * MIB)
    make_ext(path, 32 * MIB, files={USERDATA: TAR[:4096]})
    facts = look(path)
    assert (facts.state, facts.table.kind) == ("provisioned", "none")
    assert facts.reason.startswith("the whole disk is ext4 labelled")
    assert facts.guest.profile == "unknown"
    check_offsets(facts, path)


@needs("mkfs.btrfs", "sfdisk")
def test_btrfs_with_the_label_is_provisioned_though_its_files_are_not_read() -> None:
    path, part = make_disk(160 * MIB), make_disk(128 * MIB)
    sfdisk(path, "label: gpt\nsize=128MiB\n")
    run("mkfs.btrfs", "-q", "-L", LABEL, part)
    with path.open("r+b") as file:
        file.seek(MIB)
        file.write(part.read_bytes()[: 20 * MIB])
    facts = look(path)
    assert (facts.state, facts.userdata) == ("provisioned", ())
    assert facts.data is not None
    assert facts.data.volume.filesystem == "btrfs"


# --- the residue ----------------------------------------------------------------------------------------


@needs_disks
def test_busybox_fdisk_leaves_the_marker_and_the_tar() -> None:
    path = provisioned("automount")
    left = open_file(path).pread(0, 4608)
    assert [at for at in range(4608) if left[at] != TAR[at]] == [
        at for at in range(446, 512) if left[at]
    ]  # only the table and its signature are new
    facts = look(path)
    assert (facts.state, facts.magic.found, facts.magic.copy_offset) == ("provisioned", True, None)
    item = facts.of_source("residue")
    assert item is not None
    assert (item.virtual_offset, item.file_offset, item.size) == (0, 0, 4608)
    assert [entry.name for entry in item.tar.entries][::2] == [MAGIC, AUTHORIZED_KEYS]
    assert item.tar.findings == ()
    entry = item.tar.find(AUTHORIZED_KEYS)
    assert entry is not None
    assert item.locate(entry.offset) == (2048, 2048)
    assert key_file(item, entry) == PUB
    assert facts.of_source("fresh") is None
    assert facts.effective is not item
    assert not list(examine(facts))


@needs_disks
def test_util_linux_fdisk_leaves_the_tar_behind_the_first_sector() -> None:
    path = provisioned("by-hand")
    assert open_file(path).pread(512, 4096) == TAR[512:4608]
    assert open_file(path).pread(512, len(MAGIC)) == MAGIC
    assert open_file(path).pread(2048, len(PUB)) == open_file(path).pread(3072, len(PUB)) == PUB
    facts = look(path)
    item = facts.of_source("residue")
    assert item is not None
    assert (item.virtual_offset, item.file_offset, item.size) == (1024, 1024, 3584)
    entry = item.tar.find(AUTHORIZED_KEYS)
    assert entry is not None
    assert item.locate(entry.offset) == (2048, 2048)
    assert key_file(item, entry) == PUB
    assert facts.effective is not item


@needs_disks
@pytest.mark.parametrize("profile", ["autoformat", "minikube"])
def test_a_gpt_leaves_nothing_of_the_tar(profile: str) -> None:
    assert PUB not in open_file(provisioned(profile)).pread(0, 2048 * 512)
    assert look(provisioned(profile)).of_source("residue") is None


@needs_disks
def test_the_residue_reaches_into_no_partition() -> None:
    path = make_disk(8 * MIB, (0, TAR4096))
    fdisk_like = "label: dos\nstart=5, size=100, type=83\n"
    sfdisk(path, fdisk_like)
    facts = look(path, (0, bytes(446)))
    item = facts.of_source("residue")
    assert item is not None
    assert item.content.size == 5 * 512 - 1024


@needs_disks
def test_a_residue_without_a_table_is_found_too() -> None:
    facts = look(fresh(), (0, bytes(512)))
    assert (facts.state, facts.magic.copy_offset) == ("damaged", 512)
    assert facts.of_source("residue") is not None
    assert facts.effective is None


# --- the marker beside a table --------------------------------------------------------------------------


@functools.cache
def marker_beside_table(label: str) -> Path:
    path = make_disk(40 * MIB, (0, TAR))
    sfdisk(path, "label: dos\nstart=2048, type=83\n")
    make_ext(path, 32 * MIB, offset=MIB, label=label, files={USERDATA: build_userdata(OTHER_PUB)})
    return path


@needs_disks
def test_beside_a_labelled_partition_the_marker_means_nothing() -> None:
    facts = look(marker_beside_table(LABEL))
    assert facts.magic.found
    assert facts.state == "provisioned"
    assert [item.source for item in facts.userdata] == ["data", "residue"]
    assert facts.effective is facts.userdata[0]
    assert facts.keys[0].line.raw == OTHER_PUB.rstrip(b"\n")


@needs_disks
def test_beside_an_empty_table_it_is_only_partitioned() -> None:
    path = make_disk(40 * MIB, (0, TAR))
    sfdisk(path, "label: dos\nstart=2048, type=83\n")
    facts = look(path)
    assert (facts.state, facts.magic.found) == ("partitioned", True)


# --- userdata that is odd -------------------------------------------------------------------------------


@needs_disks
def test_inline_userdata_has_no_offset() -> None:
    tar = MAGIC
    path = make_disk(32 * MIB)
    make_ext(path, 32 * MIB, "-O", "inline_data", "-I", "256", files={USERDATA: tar})
    facts = look(path)
    item = facts.of_source("data")
    assert isinstance(item, Userdata)
    assert isinstance(item.content, MemorySource)
    assert (item.virtual_offset, item.file_offset, item.locate(5)) == (None, None, (None, None))
    assert item.content.pread(0, 99) == MAGIC


@needs_disks
@pytest.mark.parametrize("command", ["mkdir", "symlink"])
def test_what_is_no_file_is_no_userdata(command: str) -> None:
    path = provision("minikube", tar=None, names=("boot2docker", "kubelet"))
    last = " /etc/passwd" if command == "symlink" else ""
    change_ext(path, f"{command} {USERDATA}{last}", offset=MINIKUBE_START * 512)
    facts = look(path)
    assert (facts.state, facts.userdata) == ("provisioned", ())


@needs_disks
def test_an_empty_userdata() -> None:
    item = look(provision("minikube", tar=b"")).of_source("data")
    assert item is not None
    assert (item.size, item.tar.entries, item.virtual_offset) == (0, (), None)


def test_keys_of_a_huge_size_are_read_only_so_far() -> None:
    header = bytearray(TAR[1536:2048])
    header[124:136] = b"\x80" + (1 << 40).to_bytes(11, "big")
    header[148:156] = b" " * 8
    header[148:156] = b"%06o\0 " % sum(header)
    path = make_disk(4 * MIB, (0, TAR[:1536] + bytes(header) + PUB))
    (item,) = look(path).userdata
    assert len(key_file(item, item.tar.entries[2])) == MIB


# --- opening --------------------------------------------------------------------------------------------


@needs_disks
def test_inspect_opens_by_name() -> None:
    facts = keep(inspect(str(provisioned("minikube"))))
    assert (facts.state, facts.origin, facts.file_size) == ("provisioned", "file", 1100 * MIB)
    assert facts.path == str(provisioned("minikube"))


def test_inspect_refuses_what_is_no_disk(tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="No such file"):
        keep(inspect(str(tmp_path / "nothing")))
    with pytest.raises(UsageError, match="is a directory"):
        keep(inspect(str(tmp_path)))
    (tmp_path / "empty").touch()
    with pytest.raises(ContainerError, match="the file is empty"):
        keep(inspect(str(tmp_path / "empty")))
    with pytest.raises(UsageError, match="no container format 'iso'"):
        keep(inspect(str(GOLDEN / "rsa2048.pub"), format_name="iso"))
    with pytest.raises(ContainerError):
        keep(inspect(str(GOLDEN / "rsa2048.pub"), format_name="vdi"))


def test_inspecting_changes_nothing(tmp_path: Path) -> None:
    copy = tmp_path / "disk.img"
    copy.write_bytes(TAR.ljust(MIB, b"\0"))
    before = copy.stat()
    keep(inspect(str(copy)))
    after = copy.stat()
    assert copy.read_bytes() == TAR.ljust(MIB, b"\0")
    assert (after.st_mtime_ns, after.st_ctime_ns, after.st_size) == (
        before.st_mtime_ns,
        before.st_ctime_ns,
        before.st_size,
    )
    assert keep(open_evidence(str(copy))).size == MIB


@needs_disks
@pytest.mark.parametrize("kind", ["ext2", "ext4"])
def test_a_filesystem_on_the_whole_disk_need_not_be_asked_for(kind: str) -> None:
    path = make_disk(32 * MIB)
    make_ext(path, 32 * MIB, kind=kind, label="mine")
    assert volume_for(look(path), None).filesystem == kind


@needs_disks
def test_which_volume_to_browse() -> None:
    facts = look(provisioned("automount"))
    assert volume_for(facts, None).partition.number == 1
    assert volume_for(facts, 2).filesystem == "swap"
    with pytest.raises(UsageError, match="no partition 3; this disk has 1, 2"):
        volume_for(facts, 3)
    with pytest.raises(UsageError, match="no data partition"):
        volume_for(look(fresh()), None)
    with pytest.raises(UsageError, match="this disk has none"):
        volume_for(look(fresh()), 1)
