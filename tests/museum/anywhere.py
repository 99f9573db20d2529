"""Filesystems that begin at no sector of a list: other geometries, other tools, copies of a lost header."""

from __future__ import annotations

import struct
from pathlib import Path

from tests.disks import LABEL, MIB, TAR, make_disk, make_ext, new_path, sfdisk
from tests.museum.exhibit import exhibit, written
from tests.museum.foreign import EXT4, FIRST, OS_RELEASE, crypt, marker_tar, one_partition, spliced
from tests.museum.ours import FILES, minikube, moved, zeroed
from tests.oracles import run

ODD = 9896 * 512
"""A byte at which no tool begins anything, and dd can."""


def _at(start: int, line: str, files: dict[str, bytes | None], owner: str, label: str, seems: str) -> None:
    def make() -> Path:
        path = make_disk((start * 512 + 40 * MIB) // MIB * MIB, (0, TAR))
        make_ext(path, 32 * MIB, offset=start * 512, files=files, label=label)
        return path

    make.__name__ = f"marker_before_{start}"
    exhibit(line, owner, seems=seems, lives=(start * 512,), programs=EXT4)(make)  # type: ignore[arg-type]


for _start, _what in (
    (1953504, "a swap of 1000 MB in front, by a fdisk of 64 heads and 32 sectors that starts at track 1"),
    (1954512, "the same with 16 heads and 63 sectors"),
):
    _at(_start, f"The marker over a used disk of ours: {_what}.", {**FILES}, "ours", LABEL, "")
for _start, _what in (
    (2048063, "a MiB and a track"),
    (3000064, "a number that somebody typed"),
    (77, "LVM's"),
):
    _line = f"The marker over somebody's Ubuntu that begins behind {_what}. Every guest formats it."
    _at(_start, _line, {"etc/os-release": OS_RELEASE}, "other", "", "Ubuntu")
_at(23333, "The marker over a disk of photos.", {"beach/1.jpg": b"\xff\xd8"}, "unknown", "photos", "")


@exhibit("No table, an odd sector, no primary superblock.", "ours", lives=(77777 * 512,), programs=EXT4)
def backup_at_odd_sector() -> Path:
    return zeroed(moved(77777, size=500 * MIB), 1024, 77777 * 512 + 1024)


@exhibit(
    "The table names one partition of zeros; the filesystem begins seven sectors before its end.",
    "ours",
    lives=(40953 * 512,),
    programs=("sfdisk", *EXT4),
)
def astride_a_partition() -> Path:
    return moved(40953, "label: dos\nstart=2048, size=38912, type=83\n")


def _unread(kind: str, seems: str, command: tuple[str, ...], gone: int) -> None:
    """Enter a filesystem that is not read, under a marker: whole, and with its first bytes zeroed."""
    for length, what in ((0, "from an odd sector on"), (gone, "whose first sectors are gone; a copy tells")):

        def make(length: int = length) -> Path:
            path, inner = make_disk(400 * MIB, (0, TAR)), make_disk(310 * MIB)
            run(*command, inner)
            return zeroed(spliced(path, ODD, inner), length, ODD)

        make.__name__ = f"marker_before_{kind}_{'copy' if length else 'whole'}"
        exhibit(
            f"The marker on a disk with {seems} {what}.",
            seems=seems,
            lives=(ODD,),
            readable=False,
            programs=("mke2fs", *command[:1]),
        )(make)


_unread("btrfs", "btrfs", ("mkfs.btrfs", "-q"), 68 << 10)
_unread("xfs", "XFS", ("mkfs.xfs", "-q"), 68 << 10)
_unread("ntfs", "NTFS", ("mkfs.ntfs", "-F", "-Q", "-q"), 512)


@exhibit(
    "A table was written over LUKS 2 on the whole disk; its second header tells.",
    seems="LUKS",
    lives=(0,),
    readable=False,
    programs=("cryptsetup", "sfdisk"),
)
def mbr_over_luks2() -> Path:
    path = make_disk(64 * MIB)
    crypt(path, "luks2")
    written(path, (0, bytes(4096)))
    sfdisk(path, "label: dos\nstart=2048, type=83\n")
    return path


@exhibit(
    "A fresh disk was written into the partition of another one, not onto it.", "ours", programs=("sfdisk",)
)
def fresh_in_a_partition() -> Path:
    path = make_disk(64 * MIB, (2048 * 512, TAR))
    sfdisk(path, "label: dos\nstart=2048, type=83\n")
    return path


@exhibit("Somebody's archive on a raw disk: a tar with a key file in it. Not ours.", "unknown")
def foreign_tar() -> Path:
    return make_disk(8 * MIB, (0, archive()))


def archive() -> bytes:
    """Return a tar as somebody makes it of his home directory."""
    import io
    import tarfile

    from tests.disks import PUB

    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in (("notes.txt", b"hi\n"), (".ssh/authorized_keys", PUB)):
            entry = tarfile.TarInfo(name)
            entry.size, entry.uid, entry.uname, entry.mtime = len(content), 1000, "ada", 1500000000
            tar.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


# What an examiner tried


@exhibit("A BSD disk label, by parted.", seems="BSD disk label", programs=("parted",))
def bsd_label() -> Path:
    return labelled("bsd")


@exhibit("An Amiga's partition map, by parted.", seems="Amiga partition map", programs=("parted",))
def amiga_map() -> Path:
    return labelled("amiga")


def labelled(kind: str) -> Path:
    path = make_disk(64 * MIB)
    run("parted", "-s", path, "mklabel", kind)
    return path


@exhibit("An external journal of ext4: no filesystem, and no damaged one.", seems="journal", programs=EXT4)
def external_journal() -> Path:
    path = make_disk(64 * MIB)
    run("mke2fs", "-q", "-O", "journal_dev", path)
    return path


@exhibit("VMware's tar at byte 0, where no guest looks for it.", seems="VMware's userdata tar")
def vmware_tar_at_0() -> Path:
    return make_disk(16 * MIB, (0, marker_tar(b"boot2docker, this is vmware speaking")))


@exhibit(
    "An Ubuntu whose root somebody labelled boot2docker-data: guests mount it, and it is not ours to change.",
    seems="Ubuntu",
    lives=(FIRST,),
    programs=("sgdisk", *EXT4),
)
def ubuntu_with_our_label() -> Path:
    return one_partition(LABEL, {"etc/os-release": OS_RELEASE})


@exhibit(
    "mkfs.vfat ran on the data partition; ext4 lives behind its first blocks.",
    "ours",
    lives=(FIRST,),
    readable=False,
    programs=("mkfs.vfat", "fdisk", *EXT4),
)
def vfat_over_data() -> Path:
    path, stick = minikube(), make_disk(298 * MIB)
    run("mkfs.vfat", "-F", "32", stick)
    with stick.open("rb") as file:
        return written(path, (FIRST, file.read(600 << 10)))


@exhibit("The marker before HFS+ at an odd sector.", seems="HFS+", lives=(77 * 512,), readable=False)
def marker_before_hfs_plus() -> Path:
    # Source: Apple TN1150: block size at byte 40 of the volume header, number of blocks at byte 44
    header = b"H+" + struct.pack(">HI", 4, 1 << 8) + b"10.0" + bytes(28) + struct.pack(">II", 4096, 15000)
    return make_disk(64 * MIB, (0, TAR), (77 * 512 + 1024, header))


@exhibit(
    "LVM and its marker over it: the label is gone, a root lives in a logical volume.",
    seems="Ubuntu",
    lives=(4 * MIB,),
    programs=EXT4,
)
def marker_over_lvm() -> Path:
    path = make_disk(96 * MIB)
    make_ext(path, 64 * MIB, offset=4 * MIB, label="root", files={"etc/os-release": OS_RELEASE})
    return written(path, (0, TAR))


@exhibit(
    "A logical partition whose MBR was zeroed: somebody's home.",
    "unknown",
    lives=(6144 * 512,),
    programs=("sfdisk", *EXT4),
)
def logical_partition_lost() -> Path:
    path = make_disk(128 * MIB)
    sfdisk(path, "label: dos\nstart=2048,size=200000,type=5\nstart=6144,size=180000,type=83\n")
    make_ext(path, 80 * MIB, offset=6144 * 512, label="home", files={"ann/notes": b"n"})
    return zeroed(path, 512)


@exhibit(
    "A whole disk of ours was written into a partition: found inside, never formatted.",
    "ours",
    lives=((4096 + 2048) * 512,),
    programs=("sfdisk", "fdisk", *EXT4),
)
def ours_in_a_partition() -> Path:
    path = make_disk(400 * MIB)
    sfdisk(path, "label: gpt\nstart=4096\n")
    return spliced(path, 4096 * 512, minikube())


def orphan(kind: str) -> Path:
    """Return a child whose parent is not there: it stores nothing itself."""
    base = new_path(f"base.{kind}")
    run("qemu-img", "create", "-q", "-f", kind, base, "64M")
    child = base.with_name(f"child.{kind}")
    run("qemu-img", "create", "-q", "-f", kind, "-b", base, "-F", kind, child)
    base.unlink()
    return child


@exhibit("A qcow2 whose backing file is gone: nobody can tell what it is.", "unknown", programs=("qemu-img",))
def qcow2_without_parent() -> Path:
    return orphan("qcow2")


@exhibit("A VMDK whose parent is gone: nobody can tell what it is.", "unknown", programs=("qemu-img",))
def vmdk_without_parent() -> Path:
    return orphan("vmdk")
