"""What each guest generation does with one disk or several, as facts.md has it from booting the originals."""

from __future__ import annotations

import functools
import os
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from b2dinspect.guests import PROFILES
from b2dinspect.inspection.choice import (
    Candidate,
    Chosen,
    Hardware,
    _Sight,
    choices_for,
    choose_among,
    data_choice,
)
from b2dinspect.inspection.volumes import volumes_of
from b2dinspect.partitions import read_table
from b2dinspect.source import ByteSource, MemorySource, PatchedSource, Run, RunsSource
from b2dinspect.userdata.tarball import MAGIC
from tests.disks import (
    MIB,
    TAR,
    fdisk,
    make_disk,
    make_ext,
    needs_disks,
    open_file,
    patched,
    provisioned,
    sfdisk,
)
from tests.oracles import PATH, needs, run

SIZE = 64 * MIB


def blank() -> ByteSource:
    return MemorySource(bytes(SIZE))


def fresh() -> ByteSource:
    return MemorySource(TAR.ljust(SIZE, b"\0"))


def bigger(disk: ByteSource) -> ByteSource:
    return PatchedSource(MemorySource(bytes(2 * disk.size)), 0, disk.pread(0, disk.size))


def signed(*places: tuple[int, bytes]) -> ByteSource:
    """Return a disk of zeros with a few bytes of a known signature."""
    disk = blank()
    for offset, data in places:
        disk = PatchedSource(disk, offset, data)
    return disk


@functools.cache
def _whole(kind: str, label: str) -> Path:
    path = make_disk(128 * MIB)
    if kind == "btrfs":
        run("mkfs.btrfs", "-q", "-f", "-L", label, path)
    else:
        make_ext(path, 64 * MIB, kind=kind, label=label)
    return path


def whole(kind: str, label: str = "") -> ByteSource:
    return open_file(_whole(kind, label))


@functools.cache
def _partitioned(table: str, label: str) -> Path:
    path = make_disk(SIZE)
    fdisk(path, "g" if table == "gpt" else "o", "n", *(("p",) if table == "mbr" else ()), "1", "", "")
    make_ext(path, 32 * MIB, offset=MIB, label=label)
    return path


def partitioned(table: str = "gpt", label: str = "mine") -> ByteSource:
    return open_file(_partitioned(table, label))


@functools.cache
def _empty_table() -> Path:
    path = make_disk(SIZE)
    fdisk(path, "o", "n", "p", "1", "", "")
    return path


def only_backup(head: bytes) -> ByteSource:
    """Return a GPT disk with a labelled ext4, whose first 34 sectors are gone and begin with ``head``."""
    return PatchedSource(partitioned(label="boot2docker-data"), 0, head.ljust(34 * 512, b"\0"))


def without_primary(head: bytes) -> ByteSource:
    """Return one whose GPT header alone is gone: the protective MBR is still there."""
    disk = PatchedSource(partitioned(label="boot2docker-data"), 512, bytes(512))
    return PatchedSource(disk, 0, head) if head else disk


def decide(*disks: ByteSource, hardware: Hardware = Hardware()) -> list[Chosen]:  # noqa: B008
    seen = []
    for disk in disks:
        table = read_table(disk)
        seen.append(Candidate(disk, table, volumes_of(disk, table)))
    return [choose_among(profile, seen, hardware) for profile in PROFILES]


def told(found: list[Chosen]) -> str:
    """Return an action for each generation, and the number of the disk: ``format 0, leave, mount 1``."""
    return ", ".join(one.choice.action + (f" {one.disk}" if one.disk is not None else "") for one in found)


# What is attached, in the kernel's order -> what automount, autoformat and minikube do, and with which disk.
ONE: dict[str, tuple[Callable[[], ByteSource], str]] = {
    "fresh": (fresh, "format 0, format 0, format 0"),
    "blank": (blank, "leave, format 0, leave"),
    "ext4 on the whole disk": (lambda: whole("ext4"), "leave, leave, mount 0"),
    "ext4 on the whole disk, labelled": (
        lambda: whole("ext4", "boot2docker-data"),
        "mount 0, mount 0, mount 0",
    ),
    "ext2 on the whole disk": (lambda: whole("ext2"), "leave, leave, leave"),
    "ext4 on a GPT": (partitioned, "mount 0, leave, mount 0"),
    "ext4 on an MBR": (lambda: partitioned("mbr"), "mount 0, leave, mount 0"),
    "a table, nothing on it": (lambda: open_file(_empty_table()), "leave, leave, leave"),
    "the marker beside an empty table": (
        lambda: patched(_empty_table(), (0, MAGIC)),
        "leave, format 0, leave",
    ),
    "the marker beside a table with ext4": (
        lambda: PatchedSource(partitioned(), 0, MAGIC),
        "mount 0, format 0, mount 0",
    ),
    "only the backup GPT, marker": (lambda: only_backup(TAR), "format 0, format 0, format 0"),
    "only the backup GPT, no marker": (lambda: only_backup(b""), "leave, format 0, leave"),
    "no primary GPT header": (lambda: without_primary(b""), "leave, leave, leave"),
    "no primary GPT header, marker": (lambda: without_primary(MAGIC), "leave, format 0, format 0"),
    "LUKS": (lambda: signed((0, b"LUKS\xba\xbe")), "leave, leave, leave"),
    "HFS+": (lambda: signed((1024, b"H+\0\x04")), "leave, leave, leave"),
    "APFS": (lambda: signed((32, b"NXSB")), "leave, leave, leave"),
    "anything that blkid does not know": (lambda: signed((0, b"hello")), "leave, format 0, leave"),
    "a filesystem whose superblock is gone": (
        lambda: PatchedSource(whole("ext4", "boot2docker-data"), 1024, bytes(1024)),
        "leave, format 0, leave",
    ),
}

SEVERAL: dict[str, tuple[tuple[Callable[[], ByteSource], ...], str]] = {
    "the label comes first, wherever": (
        (fresh, lambda: partitioned(label="boot2docker-data")),
        "mount 1, mount 1, mount 1",
    ),
    # minikube meets the ext4 first: the fresh disk behind it stays untouched
    "ext4, then fresh": ((partitioned, fresh), "format 1, format 1, mount 0"),
    "ext4 on the whole disk, then fresh": (
        (lambda: whole("ext4"), fresh),
        "leave, format 1, mount 0",
    ),
    "fresh, then ext4": ((fresh, partitioned), "format 0, format 0, format 0"),
    # automount looks at the blank disk and at no other: nothing is mounted
    "ext4, then blank": ((partitioned, blank), "leave, format 1, mount 0"),
    "blank, then fresh": ((blank, fresh), "leave, format 1, format 1"),
    "blank, then fresh, then ext4": ((blank, fresh, partitioned), "leave, format 1, format 1"),
    # any disk with a table makes minikube fall back to the first ext4 that blkid lists, wherever it is
    "a table, then fresh, then ext4": (
        (lambda: open_file(_empty_table()), fresh, partitioned),
        "format 1, format 1, mount 2",
    ),
    "two fresh ones, the second bigger": (
        (fresh, lambda: bigger(fresh())),
        "format 0, format 1, format 0",
    ),
    "two blank ones, the second bigger": ((blank, lambda: bigger(blank())), "leave, format 1, leave"),
}


@needs_disks
@pytest.mark.parametrize("name", ONE)
def test_one_disk(name: str) -> None:
    make, expected = ONE[name]
    assert told(decide(make())) == expected


@needs_disks
@pytest.mark.parametrize("name", SEVERAL)
def test_several_disks(name: str) -> None:
    disks, expected = SEVERAL[name]
    assert told(decide(*(make() for make in disks))) == expected


@needs("mkfs.btrfs")
@pytest.mark.parametrize(
    ("label", "expected"),
    [("boot2docker-data", "mount 0, mount 0, mount 0"), ("other", "leave, leave, mount 0")],
)
def test_btrfs(label: str, expected: str) -> None:
    assert told(decide(whole("btrfs", label))) == expected


@needs_disks
def test_of_two_disks_with_the_label_any_may_be_taken() -> None:
    one, other = whole("ext4", "boot2docker-data"), partitioned(label="boot2docker-data")
    assert [(found.disk, found.rivals) for found in decide(one, blank(), other)] == [(0, (2,))] * 3
    assert [found.rivals for found in decide(one, blank())] == [()] * 3


@needs_disks
def test_another_partition_with_the_label_is_a_rival() -> None:
    path = make_disk(64 * MIB)
    sfdisk(path, "label: gpt\nsize=20MiB\nsize=20MiB\n")
    for start in (1, 21):
        make_ext(path, 20 * MIB, offset=start * MIB)
    assert [found.rivals for found in decide(open_file(path))] == [(0,)] * 3


def test_what_is_kept() -> None:
    assert all(one.choice.keeps_userdata for one in decide(fresh()))
    assert not any(one.choice.keeps_userdata for one in decide(blank()))


def test_vmware() -> None:
    vmware = Hardware(is_vmware=True)
    assert told(decide(blank(), hardware=vmware)) == "format 0, format 0, format 0"
    # The scripts delete NULs and newlines before they count what is left.
    assert told(decide(signed((200_000, b"\n")), hardware=vmware)) == "format 0, format 0, format 0"
    assert told(decide(signed((200_000, b"x")), hardware=vmware)) == "leave, format 0, leave"


def test_on_nvme_all_three_fail_once_they_format() -> None:
    for one in decide(fresh(), hardware=Hardware(is_nvme=True)):
        assert one.choice.action == "format"
        assert "/dev/nvme0n11" in one.choice.fails
    assert not any(one.choice.fails for one in decide(fresh()))


@needs_disks
def test_on_nvme_a_label_is_found_all_the_same() -> None:
    disk = partitioned(label="boot2docker-data")
    assert not any(one.choice.fails for one in decide(disk, hardware=Hardware(is_nvme=True)))


@needs_disks
def test_a_label_on_what_linux_refuses_to_mount() -> None:
    cut = make_disk(SIZE)
    sfdisk(cut, "label: dos\nstart=2048, size=20480, type=83\n")
    make_ext(cut, 32 * MIB, offset=MIB)
    found = decide(open_file(cut))
    assert told(found) == "mount 0, mount 0, mount 0"
    assert all("bytes, but only" in one.choice.fails for one in found)


def test_nobody_can_tell_without_the_start_of_the_disk() -> None:
    found = decide(RunsSource(MemorySource(bytes(512)), [Run(SIZE, 512)], SIZE))
    assert told(found) == "leave, leave, leave"
    assert all("missing from this evidence" in one.choice.reason for one in found)


@needs_disks
def test_the_volume_with_the_data_is_told_even_when_no_guest_gets_to_it() -> None:
    disk = only_backup(TAR)
    table = read_table(disk)
    volumes = volumes_of(disk, table)
    found = data_choice(volumes, choices_for(disk, table, volumes))
    assert found is not None
    assert (found.by, found.takers, found.volume.partition.number) == ("label", (), 1)


@needs_disks
def test_who_takes_it() -> None:
    for disk, takers in (
        (open_file(provisioned("automount")), ("automount", "autoformat", "minikube")),
        (open_file(provisioned("autoformat", label="data")), ("automount", "minikube")),
        (whole("ext4"), ("minikube",)),
    ):
        table = read_table(disk)
        volumes = volumes_of(disk, table)
        found = data_choice(volumes, choices_for(disk, table, volumes))
        assert found is not None
        assert found.takers == takers


def labelled_by_parted(kind: str, *pieces: tuple[int, bytes]) -> ByteSource:
    path = make_disk(SIZE)
    run("parted", "--script", path, "mklabel", kind)
    return patched(path, *pieces)


@needs("blkid", "parted")
@pytest.mark.parametrize("over", [b"", MAGIC], ids=["whole", "marker"])
@pytest.mark.parametrize("kind", ["mac", "sun", "dvh", "bsd", "amiga"])
@pytest.mark.slow(but=2)
def test_what_the_programs_say_of_tables_of_other_machines(kind: str, over: bytes, tmp_path: Path) -> None:
    disk, path = labelled_by_parted(kind, *([(0, over)] if over else [])), tmp_path / "disk"
    path.write_bytes(disk.pread(0, SIZE))
    table = read_table(disk)
    sight = _Sight(Candidate(disk, table, volumes_of(disk, table)))
    environment = {**os.environ, "PATH": PATH}
    blkid, parted = (
        subprocess.run(command, capture_output=True, check=False, env=environment).stdout
        for command in (("blkid", "-p", path), ("parted", "--script", path, "print"))
    )
    assert sight.is_unknown_to_blkid == (blkid == b"")
    assert sight.is_unknown_to_parted == (b"Partition Table: unknown" in parted)


@needs("blkid", "parted", "busybox", "fdisk", "mke2fs")
@pytest.mark.parametrize("name", [name for name in ONE if name not in ("HFS+", "APFS")])
@pytest.mark.slow(but=10)
def test_what_the_programs_say_of_these_disks(name: str, tmp_path: Path) -> None:
    """Compare what decides with blkid, parted and busybox fdisk themselves."""
    disk = ONE[name][0]()
    path = tmp_path / "disk"
    with path.open("wb") as file:
        file.truncate(disk.size)
        for extent in disk.extents():
            if extent.kind != "zero":
                file.seek(extent.offset)
                file.write(disk.pread(extent.offset, extent.length))
    table = read_table(disk)
    sight = _Sight(Candidate(disk, table, volumes_of(disk, table)))
    blkid, parted, busybox = (
        subprocess.run(command, capture_output=True, check=False, env={**os.environ, "PATH": PATH}).stdout
        for command in (
            ("blkid", "-p", path),
            ("parted", "--script", path, "print"),
            ("busybox", "fdisk", "-l", path),
        )
    )
    if name != "LUKS":  # blkid wants more of LUKS than its signature
        assert sight.is_unknown_to_blkid == (blkid == b"")
    assert sight.is_unknown_to_parted == (b"Partition Table: unknown" in parted)
    assert sight.is_without_boot_signature == (b"doesn't contain a valid partition table" in busybox)
