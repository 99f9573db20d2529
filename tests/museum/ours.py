"""Disks of boot2docker that something happened to: overwritten, half-written, shifted. What lives counts."""

from __future__ import annotations

import contextlib
import subprocess
from pathlib import Path
from typing import Literal

from tests.disks import (
    DATA_START,
    LABEL,
    MIB,
    MINIKUBE_START,
    OLD_DATA_START,
    OTHER_PUB,
    PUB,
    TAR,
    USERDATA,
    fdisk,
    fresh,
    make_disk,
    make_ext,
    make_swap,
    new_path,
    provisioned,
    sfdisk,
)
from tests.museum.exhibit import copied, exhibit, written
from tests.museum.foreign import EXT4, crypt, gpt, iso, marker_tar
from tests.oracles import run
from tests.shared import once

OLD_DATA, DATA, MINIKUBE = OLD_DATA_START * 512, DATA_START * 512, MINIKUBE_START * 512
FILES = {USERDATA: TAR[:4096], "var/lib/docker/volumes/db/_data/table": b"rows\n" * 999}
PROVISION = ("fdisk", "mkswap", *EXT4)
SUPERBLOCK, MARK = 1024, 1024 + 56


def bare(block: int = 4096, size: int = 300 * MIB) -> Path:
    """Return a copy of a boot2docker filesystem on a whole disk, as somebody makes it by hand."""

    def make() -> Path:
        path = make_disk(size)
        make_ext(path, size, "-b", str(block), files=FILES)
        return path

    return copied(once(f"bare-{block}-{size}", make))


def zeroed(path: Path, length: int, offset: int = 0) -> Path:
    return written(path, (offset, bytes(length)))


def moved(start: int, table: str = "", size: int = 100 * MIB, label: str = LABEL) -> Path:
    """Return a disk whose filesystem begins at sector ``start``, with a table or none."""
    path = make_disk(size)
    if table:
        sfdisk(path, table)
    make_ext(path, size - start * 512 - MIB, offset=start * 512, files=FILES, label=label)
    return path


# Well


@exhibit("Fresh from docker-machine: the marker, the tar, nothing else.", "ours")
def ours_fresh() -> Path:
    return copied(fresh())


@exhibit("Provisioned by the 18.06 guest.", "ours", lives=(OLD_DATA,), programs=PROVISION, slow=True)
def ours_automount() -> Path:
    return copied(provisioned("automount"))


@exhibit("Provisioned by the 18.09 guest.", "ours", lives=(DATA,), programs=PROVISION, slow=True)
def ours_autoformat() -> Path:
    return copied(provisioned("autoformat"))


@exhibit("Provisioned by minikube.", "ours", lives=(MINIKUBE,), programs=PROVISION)
def ours_minikube() -> Path:
    return minikube()


def minikube() -> Path:
    return copied(once("small-minikube", small_minikube))


def small_minikube() -> Path:
    path = make_disk(300 * MIB, (0, TAR))
    fdisk(path, "g", "n", "1", "", "")
    make_ext(path, 298 * MIB, "-b", "4096", offset=MINIKUBE, files=FILES | {"var/lib/kubelet": None})
    return path


@exhibit("boot2docker-cli's disk: the marker alone, no tar, so no key.", "ours")
def bare_marker() -> Path:
    return make_disk(5 * MIB, (0, b"boot2docker, please format-me\n"))


@exhibit(
    "Labelled by hand on btrfs: guests take it, we cannot list it.",
    "ours",
    lives=(0,),
    readable=False,
    programs=("mkfs.btrfs",),
)
def btrfs_ours() -> Path:
    path = make_disk(128 * MIB)
    run("mkfs.btrfs", "-q", "-L", LABEL, path)
    return path


@exhibit(
    "ext4 with bigalloc: whole, though The Sleuth Kit refuses it.",
    "ours",
    lives=(0,),
    programs=EXT4,
)
def bigalloc() -> Path:
    path = make_disk(300 * MIB)
    make_ext(path, 300 * MIB, "-O", "bigalloc", files=FILES)
    return path


@exhibit(
    "VMware's tar on the data partition: another first entry, the same keys.",
    "ours",
    lives=(MINIKUBE,),
    programs=("sgdisk", *EXT4),
)
def vmware_tar() -> Path:
    path = make_disk(64 * MIB)
    gpt(path, "-n", "1:2048:0")
    tar = marker_tar(b"boot2docker, this is vmware speaking")
    make_ext(path, 60 * MIB, offset=MINIKUBE, files={USERDATA: tar})
    return path


@exhibit(
    "A disk of 4096-byte sectors, partitioned by fdisk.",
    "ours",
    lives=(256 * 4096,),
    programs=("fdisk", *EXT4),
)
def sectors_of_4096() -> Path:
    path = make_disk(64 * MIB)
    run("fdisk", "-b", "4096", path, input=b"g\nn\n1\n\n\nw\n")
    make_ext(path, 60 * MIB, offset=256 * 4096, files=FILES)
    return path


@exhibit(
    "A raw disk in pieces, as dd and imagers split it: .000, .001, …",
    "ours",
    lives=(MINIKUBE,),
    programs=(*PROVISION, "split"),
)
def split_raw() -> Path:
    whole, first = minikube(), new_path("disk.000")
    run("split", "-b", "100M", "-d", "-a", "3", whole, f"{first.with_suffix('')}.")
    whole.unlink()
    return first


# Overwritten: the filesystem lives


@exhibit(
    "A filesystem on the whole disk, and sfdisk wrote a table over it. It lives at byte 0.",
    "ours",
    lives=(0,),
    programs=("sfdisk", *EXT4),
)
def mbr_over_bare() -> Path:
    path = bare()
    sfdisk(path, "label: dos\nstart=2048, type=83\n")
    return path


@exhibit(
    "sgdisk wrote a GPT over it: sectors 2 to 33, and so the primary superblock, are gone.",
    "ours",
    lives=(0,),
    programs=("sgdisk", *EXT4),
)
def gpt_over_bare() -> Path:
    path = bare()
    gpt(path, "-o", "-n", "1:2048:0")
    return path


@exhibit("parted wrote an empty table over it.", "ours", lives=(0,), programs=("parted", *EXT4))
def parted_over_bare() -> Path:
    path = bare()
    run("parted", "-s", path, "mklabel", "gpt")
    return path


@exhibit(
    "busybox fdisk wrote an MBR over it: everything is still there.",
    "ours",
    lives=(0,),
    programs=("busybox", *EXT4),
)
def busybox_over_bare() -> Path:
    path = bare()
    busybox(path, "o", "n", "p", "1", "", "", "w")
    return path


def busybox(path: Path, *commands: str) -> None:
    """Type commands into busybox fdisk, which fails at last: no kernel rereads the table of a file."""
    with contextlib.suppress(subprocess.CalledProcessError):
        run("busybox", "fdisk", "-H", "255", "-S", "63", path, input="\n".join((*commands, "")).encode())


@exhibit(
    "The first MiB of a filesystem on a whole 20 GB disk was zeroed: its backups live, and so does all else.",
    "ours",
    lives=(0,),
    programs=EXT4,
    slow=True,
)
def zeroed_bare() -> Path:
    path, size = make_disk(20000 * MIB), 20000 * MIB
    make_ext(path, size, "-O", "^has_journal", files=FILES)
    return zeroed(path, MIB)


@exhibit(
    "The same on a small disk, whose first inodes lay in that MiB: files live, the root is gone.",
    "ours",
    lives=(0,),
    readable=False,
    programs=EXT4,
)
def zeroed_small() -> Path:
    return zeroed(bare(), MIB)


@exhibit("The same with blocks of 1024 bytes.", "ours", lives=(0,), readable=False, programs=EXT4)
def zeroed_bare_1k() -> Path:
    return zeroed(bare(1024, 64 * MIB), MIB)


@exhibit(
    "The first 8 KiB are gone, of a filesystem with blocks of 2048 bytes.", "ours", lives=(0,), programs=EXT4
)
def zeroed_bare_2k() -> Path:
    return zeroed(bare(2048, 128 * MIB), 8 << 10)


@exhibit(
    "mkswap ran on the wrong disk: its header lies where the superblock was.",
    "ours",
    lives=(0,),
    programs=("mkswap", *EXT4),
)
def swap_over_bare() -> Path:
    path = bare()
    make_swap_over(path, 0)
    return path


def make_swap_over(path: Path, offset: int) -> None:
    area = make_disk(16 * MIB)
    make_swap(area, 0, 16 * MIB)
    written(path, (offset, area.read_bytes()[:4096]))


@exhibit(
    'A tar was written over a whole-disk filesystem "to repair it": the next guest would format it.',
    "ours",
    lives=(0,),
    programs=EXT4,
)
def tar_over_bare() -> Path:
    return written(bare(), (0, TAR))


@exhibit("pvcreate on the wrong disk.", "ours", lives=(0,), programs=EXT4)
def lvm_over_bare() -> Path:
    from tests.museum.foreign import lvm_label

    return written(bare(), (512, lvm_label(300 * MIB)), (4096, bytes(4096)))


@exhibit(
    "FAT was made over it in a hurry: a boot sector and two tables, the rest lives.",
    "ours",
    lives=(0,),
    readable=False,
    programs=("mkfs.vfat", *EXT4),
)
def fat_over_bare() -> Path:
    path = bare()
    stick = make_disk(32 * MIB)
    run("mkfs.vfat", "-n", "OOPS", stick)
    return written(path, (0, stick.read_bytes()[: 64 << 10]))


@exhibit(
    "The ISO was written over the beginning of the disk.",
    "ours",
    lives=(DATA,),
    slow=True,
    programs=("xorriso", *PROVISION),
)
def iso_over_autoformat() -> Path:
    image = iso("Boot2Docker-v18.09.1", {"boot/vmlinuz64": b"k" * 99999})
    return written(copied(provisioned("autoformat")), (0, image.read_bytes()))


def _made_over(name: str, owner: Literal["other"], seems: str, *command: str) -> None:
    """Enter a disk of ours on which somebody made a filesystem: ours lives where its superblocks do."""

    def make() -> Path:
        path = moved(OLD_START, size=1100 * MIB)
        run(*command, path)
        return path

    make.__name__ = f"{name}_over_ours"
    line = f"{name} was made over the whole disk: what it left of ours can be saved, and nothing is restored."
    exhibit(line, owner, seems=seems, lives=(OLD_START * 512,), programs=(command[0], *EXT4))(make)


OLD_START = 1955840
_made_over("ntfs", "other", "NTFS", "mkfs.ntfs", "-F", "-Q", "-q")
_made_over("xfs", "other", "XFS", "mkfs.xfs", "-q", "-f", "-K")


@exhibit(
    "cryptsetup luksFormat on the data partition: its header is LUKS now, copies of ours live behind it.",
    seems="LUKS",
    lives=(MINIKUBE,),
    readable=False,
    programs=("cryptsetup", *PROVISION),
)
def luks_over_data() -> Path:
    path, header = minikube(), make_disk(32 * MIB)
    crypt(header, "luks2")
    with header.open("rb") as file:
        return written(path, (MINIKUBE, file.read(16 * MIB)))


@exhibit(
    "XFS's first blocks on the data partition of a disk with narrow groups, as minikube's are.",
    seems="XFS",
    lives=(MINIKUBE,),
    readable=False,
    programs=("mkfs.xfs", *PROVISION),
)
def xfs_over_data() -> Path:
    path, stick = make_disk(300 * MIB), make_disk(310 * MIB)
    gpt(path, "-n", "1:2048:0")
    make_ext(path, 298 * MIB, *("-b", "4096", "-i", "2048"), offset=MINIKUBE, files=FILES)
    run("mkfs.xfs", "-q", stick)
    with stick.open("rb") as file:
        return written(path, (MINIKUBE, file.read(MIB)))


@exhibit(
    "Swap with our label, and no partition 1: nothing to repair, nothing to make anew.",
    "ours",
    programs=("sgdisk", "mkswap"),
)
def swap_alone() -> Path:
    path = make_disk(64 * MIB)
    gpt(path, "-n", "2:2048:+32M", "-t", "2:8200")
    make_swap(path, MINIKUBE, 32 * MIB, "boot2dockerswap")
    return path


@exhibit(
    "btrfs's magic in the data partition: blkid names neither, so that no guest finds the label.",
    "ours",
    lives=(MINIKUBE,),
    programs=PROVISION,
)
def btrfs_magic_in_data() -> Path:
    return written(minikube(), (MINIKUBE + 0x10040, b"_BHRfS_M"))


# Tables gone, or others over them


@exhibit("The first MiB of an 18.09 disk was zeroed.", "ours", lives=(DATA,), programs=PROVISION, slow=True)
def zeroed_autoformat() -> Path:
    path = zeroed(copied(provisioned("autoformat")), MIB)
    return zeroed(path, 34 * 512, path.stat().st_size - 34 * 512)


@exhibit("Only the backup GPT is left: no guest sees it.", "ours", lives=(MINIKUBE,), programs=PROVISION)
def backup_gpt_only() -> Path:
    return zeroed(minikube(), 34 * 512)


@exhibit(
    "Only the backup GPT is left, and the marker lies in front: every guest formats this disk.",
    "ours",
    lives=(MINIKUBE,),
    programs=PROVISION,
)
def backup_gpt_and_marker() -> Path:
    return written(zeroed(minikube(), 34 * 512), (0, TAR))


@exhibit("sgdisk --zap-all.", "ours", lives=(MINIKUBE,), programs=("sgdisk", *PROVISION))
def zapped() -> Path:
    path = minikube()
    run("sgdisk", "--zap-all", path)
    return path


@exhibit(
    "The sector with the MBR was zeroed, on a minikube disk from before v1.7.",
    "ours",
    lives=(MINIKUBE,),
    programs=("sfdisk", *EXT4),
)
def mbr_zeroed() -> Path:
    return zeroed(moved(2048, "label: dos\nstart=2048, type=83\n"), 512)


@exhibit("Partition 1 was deleted with fdisk.", "ours", lives=(OLD_DATA,), programs=PROVISION, slow=True)
def partition_deleted() -> Path:
    path = copied(provisioned("automount"))
    fdisk(path, "d", "1")
    return path


@exhibit(
    "Both partitions were deleted, and one made over the whole disk.",
    "ours",
    lives=(OLD_DATA,),
    slow=True,
    programs=PROVISION,
)
def one_over_both() -> Path:
    path = copied(provisioned("automount"))
    sfdisk(path, "label: dos\nstart=2048, type=83\n")
    return path


@exhibit(
    "parted made a new empty table over an 18.09 disk.",
    "ours",
    lives=(DATA,),
    slow=True,
    programs=("parted", *PROVISION),
)
def parted_over_autoformat() -> Path:
    path = copied(provisioned("autoformat"))
    run("parted", "-s", path, "mklabel", "gpt")
    return path


@exhibit(
    "busybox fdisk over a minikube disk: its partition begins in front of the filesystem.",
    "ours",
    lives=(MINIKUBE,),
    programs=("busybox", *PROVISION),
)
def busybox_over_minikube() -> Path:
    path = zeroed(minikube(), 34 * 512)
    busybox(path, "o", "n", "p", "1", "", "", "w")
    return path


# Shifted: the table and the filesystem disagree about the start


def _shifted(start: int, name: str, size: int = 100 * MIB) -> None:
    line = f"The table says sector 2048, the filesystem begins at sector {start}: {name}."

    def make() -> Path:
        return moved(start, "label: dos\nstart=2048, type=83\n", size)

    make.__name__ = f"shifted_{start}"
    exhibit(line, "ours", lives=(start * 512,), programs=("sfdisk", *EXT4))(make)


for _start, _name in (
    (32, "a cylinder of 64 heads and 32 sectors"),
    (63, "a cylinder of 255 heads and 63 sectors"),
    (34, "the first sector that a GPT leaves"),
    (40, "the first that Apple's tools take"),
    (48, "the first that a GPT of 4096-byte sectors leaves"),
    (64, "an installer's ISO"),
    (128, "64 KiB, as Windows 2003 and mdadm"),
    (256, "the alignment of an SSD of long ago"),
    (4096, "2 MiB"),
    (16065, "the second cylinder"),
    (16128, "the second cylinder, one track later"),
    (32768, "16 MiB, as on Windows dynamic disks"),
):
    _shifted(_start, _name)


@exhibit(
    "No table, and the filesystem begins at no place that a tool would choose, but a whole MiB.",
    "ours",
    lives=(37 * MIB,),
    programs=EXT4,
)
def odd_megabyte() -> Path:
    return moved(37 * 2048)


@exhibit(
    "No table, sector 63, and the primary superblock is gone too.", "ours", lives=(63 * 512,), programs=EXT4
)
def backup_at_63() -> Path:
    path = make_disk(300 * MIB)
    make_ext(path, 298 * MIB, "-b", "4096", offset=63 * 512, files=FILES)
    return zeroed(path, 1024, 63 * 512 + SUPERBLOCK)


# Superblocks and labels


@exhibit(
    "The primary superblock is zeroed; the table names the partition.",
    "ours",
    lives=(MINIKUBE,),
    programs=PROVISION,
)
def superblock_gone() -> Path:
    return zeroed(minikube(), 1024, MINIKUBE + SUPERBLOCK)


@exhibit("wipefs -a took the two bytes of magic.", "ours", lives=(MINIKUBE,), programs=PROVISION)
def wiped_signature() -> Path:
    return zeroed(minikube(), 2, MINIKUBE + MARK)


@exhibit("mkswap over the data partition.", "ours", lives=(MINIKUBE,), programs=("mkswap", *PROVISION))
def swap_over_data() -> Path:
    path = minikube()
    make_swap_over(path, MINIKUBE)
    return path


@exhibit(
    "The label is lost, the userdata.tar is there: ours beyond doubt.",
    "ours",
    lives=(MINIKUBE,),
    programs=("tune2fs", *PROVISION),
)
def label_lost() -> Path:
    path = minikube()
    run("tune2fs", "-L", "", f"{path}?offset={MINIKUBE}")
    return path


@exhibit(
    "The label is lost, and the tar too; var/lib/boot2docker is there.",
    "ours",
    lives=(MINIKUBE,),
    programs=("sgdisk", *EXT4),
)
def only_directories() -> Path:
    path = make_disk(64 * MIB)
    gpt(path, "-n", "1:2048:0")
    make_ext(path, 60 * MIB, offset=MINIKUBE, label="", files={"var/lib/boot2docker/etc": None})
    return path


@exhibit(
    "Another key on it, and the disk is called something else by its owner.",
    "ours",
    lives=(MINIKUBE,),
    programs=("sgdisk", *EXT4),
)
def renamed_by_owner() -> Path:
    path = make_disk(64 * MIB)
    gpt(path, "-n", "1:2048:0")
    make_ext(
        path,
        60 * MIB,
        offset=MINIKUBE,
        label="mydata",
        files={USERDATA: marker_tar(b"boot2docker, please format-me"), "k": OTHER_PUB + PUB},
    )
    return path


@exhibit(
    "The table was made, mkfs never ran; the tar's remains say whose it is. Nothing lives here.",
    "ours",
    programs=("busybox",),
)
def half_written() -> Path:
    path = make_disk(1100 * MIB, (0, TAR))
    busybox(path, "n", "p", "2", "", "+1000M", "t", "82", "n", "p", "1", "", "", "w")
    return path


@exhibit("One byte of the marker is wrong; the tar behind it is whole.", "ours")
def marker_hurt() -> Path:
    return make_disk(64 * MIB, (0, TAR), (3, b"X"))


@exhibit(
    "The disk was cut short: its filesystem ends behind the end.",
    "ours",
    lives=(MINIKUBE,),
    programs=PROVISION,
)
def cut_short() -> Path:
    path = minikube()
    with path.open("r+b") as file:
        file.truncate(200 * MIB)
    return path
