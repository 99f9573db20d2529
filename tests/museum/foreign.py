"""Disks of somebody else: other guests', other systems', installers'. Whole and well, none of them ours."""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Mapping
from pathlib import Path

from tests.disks import MIB, fdisk, make_disk, make_ext, make_swap, new_path, sfdisk
from tests.museum.exhibit import exhibit, written
from tests.oracles import run

OS_RELEASE = b'NAME="Ubuntu"\nID=ubuntu\nPRETTY_NAME="Ubuntu 22.04.4 LTS"\nVERSION_ID="22.04"\n'
FIRST = 2048 * 512
"""Byte at which nearly every tool of today begins the first partition."""
SIZE = 64 * MIB
EXT4 = ("mke2fs",)


def gpt(path: Path, *options: str) -> None:
    run("sgdisk", *options, path)


def with_ext(
    path: Path, label: str, files: Mapping[str, bytes | None], offset: int = FIRST, kind: str = "ext4"
) -> Path:
    size = path.stat().st_size - offset - MIB
    make_ext(path, size, offset=offset, label=label, files=files, kind=kind)
    return path


def one_partition(
    label: str, files: Mapping[str, bytes | None], *, table: str = "gpt", size: int = SIZE
) -> Path:
    path = make_disk(size)
    if table == "gpt":
        gpt(path, "-n", "1:2048:0", "-t", "1:8300")
    else:
        sfdisk(path, "label: dos\nstart=2048, type=83\n")
    return with_ext(path, label, files)


# Linux systems


@exhibit(
    "A cloud image: Ubuntu's own root filesystem. Never relabel it, never call it boot2docker's.",
    seems="Ubuntu 22.04.4 LTS",
    lives=(FIRST,),
    programs=("sgdisk", *EXT4),
)
def cloud_image() -> Path:
    names = {"etc/os-release": OS_RELEASE, "var/lib/cloud/instance": None, "var/lib/docker": None}
    return one_partition("cloudimg-rootfs", names)


@exhibit(
    "A cloud image that boots from BIOS and UEFI: root behind two small partitions. Not ours.",
    seems="Ubuntu 22.04.4 LTS",
    lives=(227328 * 512,),
    programs=("sgdisk", "mkfs.vfat", *EXT4),
)
def cloud_image_uefi() -> Path:
    path = make_disk(192 * MIB)
    gpt(path, "-n", "14:2048:10239", "-t", "14:ef02", "-n", "15:10240:227327", "-t", "15:ef00")
    gpt(path, "-n", "1:227328:0", "-t", "1:8300")
    esp = new_path("esp")
    run("mkfs.vfat", "-C", "-n", "UEFI", esp, (227328 - 10240) // 2)
    written(path, (10240 * 512, esp.read_bytes()))
    return with_ext(path, "cloudimg-rootfs", {"etc/os-release": OS_RELEASE}, 227328 * 512)


@exhibit(
    "An EFI partition, swap, and an empty root: that partition 1 is FAT is no word about the disk.",
    seems="FAT",
    lives=(FIRST, 260 * MIB),
    readable=False,
    programs=("sgdisk", "mkfs.vfat", *EXT4),
)
def esp_and_root() -> Path:
    path, esp = make_disk(300 * MIB), make_disk(40 * MIB)
    gpt(path, *("-n", "1:2048:+40M", "-t", "1:ef00"), *("-n", "2:0:+200M", "-t", "2:8200", "-n", "3:260M:0"))
    run("mkfs.vfat", "-F", "32", esp)
    written(path, (FIRST, esp.read_bytes()[:MIB]))
    return with_ext(path, "rootfs", {}, 260 * MIB)


@exhibit(
    "FAT32 whose first sectors are zeroed: the backup in sector 6 tells where it begins.",
    seems="FAT",
    lives=(0,),
    programs=("mkfs.vfat",),
)
def fat_backup() -> Path:
    path = make_disk(64 * MIB)
    run("mkfs.vfat", "-F", "32", path)
    return written(path, (0, bytes(6 * 512)))


@exhibit(
    "An ext4 of photos on a whole disk, its first 64 KiB zeroed: damaged, and nobody says that it is ours.",
    "unknown",
    lives=(0,),
    readable=False,
    programs=EXT4,
)
def photos_zeroed() -> Path:
    path = make_disk(64 * MIB)
    make_ext(path, 64 * MIB, label="photos", files={"2019/beach.jpg": b"\xff\xd8"})
    return written(path, (0, bytes(64 << 10)))


@exhibit(
    "An installed Debian on an MBR disk; os-release is a link into usr/lib, as everywhere today.",
    seems="Debian GNU/Linux 12",
    lives=(FIRST,),
    programs=("sfdisk", "debugfs", *EXT4),
)
def debian_installed() -> Path:
    from tests.disks import change_ext

    release = b'PRETTY_NAME="Debian GNU/Linux 12 (bookworm)"\nID=debian\n'
    path = one_partition("", {"usr/lib/os-release": release, "etc/fstab": b"#\n"}, table="mbr")
    change_ext(path, "symlink /etc/os-release ../usr/lib/os-release", offset=FIRST)
    return path


@exhibit(
    "An old installation: root from sector 63, no os-release. Some Linux; nothing says which.",
    seems="Linux system",
    sure="likely",
    lives=(63 * 512,),
    programs=("sfdisk", *EXT4),
)
def linux_at_63() -> Path:
    path = make_disk(SIZE)
    sfdisk(path, "label: dos\nstart=63, type=83\n")
    return with_ext(
        path, "", dict.fromkeys(("etc", "bin", "sbin", "usr", "home", "var/log")), 63 * 512, "ext3"
    )


@exhibit(
    "A system whose os-release says nothing but its ID.",
    seems="buildroot",
    lives=(FIRST,),
    programs=("sgdisk", *EXT4),
)
def only_an_id() -> Path:
    return one_partition("", {"etc/os-release": b"ID=buildroot\n"})


@exhibit(
    "GPT and an empty ext4 without a label at sector 2048: minikube's layout, and anybody's.",
    "unknown",
    lives=(FIRST,),
    programs=("sgdisk", *EXT4),
)
def unlabelled_empty() -> Path:
    return one_partition("", {})


@exhibit(
    "An MBR and an ext4 full of photos: somebody's data. No label, no directory of ours: not to be touched.",
    "unknown",
    lives=(FIRST,),
    programs=("sfdisk", *EXT4),
)
def somebodys_photos() -> Path:
    return one_partition("", {"photos/2019/beach.jpg": b"\xff\xd8\xff" * 999}, table="mbr")


@exhibit(
    "A data disk of a plain docker host: var/lib/docker alone is docker's, not boot2docker's.",
    "unknown",
    lives=(FIRST,),
    programs=("sgdisk", *EXT4),
)
def docker_host_data() -> Path:
    return one_partition("docker", {"overlay2": None, "volumes": None, "image": None})


@exhibit(
    "Flatcar's four partitions by name.",
    seems="Flatcar",
    sure="likely",
    programs=("sgdisk", *EXT4),
    lives=(FIRST + 32 * MIB,),
)
def flatcar() -> Path:
    path = make_disk(128 * MIB)
    names = ((1, "2048:+16M", "EFI-SYSTEM"), (3, "34816:+16M", "USR-A"), (6, "0:+8M", "OEM"))
    for number, extent, name in names:
        gpt(path, "-n", f"{number}:{extent}", "-c", f"{number}:{name}")
    run("sgdisk", "-d", "6", "-n", "9:67584:0", "-c", "9:ROOT", path)
    return with_ext(path, "ROOT", {"etc/flatcar/update.conf": b"GROUP=stable\n"}, FIRST + 32 * MIB)


# Other guests with docker in them


@exhibit(
    "Lima's data disk: an MBR made by sfdisk, ext4 labelled data-volume.",
    seems="Lima",
    sure="likely",
    lives=(FIRST,),
    programs=("sfdisk", *EXT4),
)
def lima_data_volume() -> Path:
    return one_partition("data-volume", {"home/user.linux": None, "etc/docker": None}, table="mbr")


@exhibit(
    "Colima's disk, which Lima labels by its name.",
    seems="Colima",
    sure="likely",
    lives=(FIRST,),
    programs=("sgdisk", *EXT4),
)
def colima_disk() -> Path:
    return one_partition("lima-colima", {"docker/volumes": None, "containerd": None})


@exhibit(
    "Docker Desktop's disk for Mac: one Linux partition.",
    seems="Docker Desktop",
    sure="likely",
    lives=(FIRST,),
    programs=("sfdisk", *EXT4),
)
def docker_desktop_mac() -> Path:
    names = ("docker/volumes", "docker/overlay2", "containerd/daemon", "swap", "lifecycle-server", "kubeadm")
    return one_partition("", dict.fromkeys(names), table="mbr")


@exhibit(
    "Docker Desktop's data for WSL: a whole ext4 in a VHDX, without a table.",
    seems="Docker Desktop",
    sure="likely",
    lives=(0,),
    programs=("qemu-img", *EXT4),
)
def docker_desktop_wsl() -> Path:
    raw, vhdx = new_path("ext4.raw"), new_path("ext4.vhdx")
    make_ext(
        raw, SIZE, label="", files={"version-pack-data/community/docker/volumes": None, "isocache": None}
    )
    run("qemu-img", "convert", "-O", "vhdx", raw, vhdx)
    return vhdx


@exhibit(
    "A distribution of WSL: a whole ext4 in a VHDX.",
    seems="WSL",
    sure="certain",
    lives=(0,),
    programs=("qemu-img", *EXT4),
)
def wsl_distribution() -> Path:
    raw, vhdx = new_path("ext4.raw"), new_path("ext4.vhdx")
    files = {"etc/os-release": OS_RELEASE, "etc/wsl.conf": b"[boot]\nsystemd=true\n", "mnt/c": None}
    make_ext(raw, SIZE, label="", files=files)
    run("qemu-img", "convert", "-O", "vhdx", raw, vhdx)
    return vhdx


@exhibit(
    "RancherOS formats the whole disk: kin, but its disk.",
    seems="RancherOS",
    sure="likely",
    lives=(0,),
    programs=EXT4,
)
def rancheros() -> Path:
    path = make_disk(SIZE)
    conf = {"var/lib/rancher/conf/cloud-config.d/machine.yml": b"#cloud-config\n", "opt": None}
    make_ext(path, SIZE, label="RANCHER_STATE", files=conf)
    return path


@exhibit(
    "boot2podman's data partition: kin by name, not ours.",
    seems="boot2podman",
    sure="likely",
    lives=(FIRST,),
    programs=("sgdisk", *EXT4),
)
def boot2podman() -> Path:
    return one_partition("boot2podman-data", {"var/lib/containers": None, "var/lib/boot2podman": None})


@exhibit("A fresh disk for boot2podman: another marker, which no boot2docker knows.", seems="boot2podman")
def boot2podman_fresh() -> Path:
    return make_disk(SIZE, (0, marker_tar(b"boot2podman, please format-me")))


@exhibit("A fresh disk for greenbox: another marker.", seems="greenbox")
def greenbox_fresh() -> Path:
    return make_disk(SIZE, (0, marker_tar(b"greenbox, please format-me")))


@exhibit(
    "k3OS keeps its state in a partition of that label.",
    seems="k3OS",
    sure="likely",
    lives=(FIRST,),
    programs=("sgdisk", *EXT4),
)
def k3os() -> Path:
    return one_partition("K3OS_STATE", {"k3os/system": None})


def marker_tar(marker: bytes) -> bytes:
    """Return a tar whose first entry is named by a marker, with a key behind it, as the drivers write it."""
    import io
    import tarfile

    from tests.disks import PUB

    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.USTAR_FORMAT) as tar:
        for name, content in ((marker.decode(), marker), (".ssh/authorized_keys", PUB)):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            tar.addfile(entry, io.BytesIO(content))
    return buffer.getvalue()


# Other filesystems, volume managers, encryption


@exhibit("LUKS 1 on the whole disk.", seems="LUKS", programs=("cryptsetup",), lives=(0,), readable=False)
def luks1() -> Path:
    path = make_disk(SIZE)
    crypt(path, "luks1")
    return path


@exhibit(
    "LUKS 2 in a partition: encrypted is not empty.",
    seems="LUKS",
    programs=("cryptsetup", "sgdisk"),
    lives=(FIRST,),
    readable=False,
)
def luks2_partition() -> Path:
    path, inner = make_disk(SIZE), make_disk(32 * MIB)
    gpt(path, "-n", "1:2048:0", "-t", "1:8309")
    crypt(inner, "luks2")
    return written(path, (FIRST, inner.read_bytes()))


def crypt(path: Path, kind: str) -> None:
    more = ["--pbkdf", "pbkdf2"] if kind == "luks2" else []
    fixed = ["luksFormat", "-q", "--type", kind, "--pbkdf-force-iterations", "1000"]
    run("cryptsetup", *fixed, *more, path, "-", input=b"museum")


@exhibit("An LVM physical volume on the whole disk.", seems="LVM", lives=(0,), readable=False)
def lvm_whole() -> Path:
    return make_disk(SIZE, (512, lvm_label(SIZE)))


@exhibit(
    "An LVM physical volume in a partition: logical volumes are in there.",
    seems="LVM",
    lives=(FIRST,),
    readable=False,
    programs=("sfdisk",),
)
def lvm_partition() -> Path:
    path = make_disk(SIZE, (FIRST + 512, lvm_label(SIZE - FIRST)))
    sfdisk(path, "label: dos\nstart=2048, type=8e\n")
    return path


def lvm_label(size: int) -> bytes:
    """Return sector 1 of a physical volume. pvcreate needs a block device.

    Source: LVM2, lib/label/label.h and lib/format_text/layout.h; the checksum is CRC-32, seeded with
    0xf597a6cf, over everything from its own end on.
    """
    header = (
        b"m" * 32
        + struct.pack("<Q", size)
        + struct.pack("<4Q", MIB, 0, 0, 0)
        + struct.pack("<4Q", 4096, MIB - 4096, 0, 0)
    )
    body = (struct.pack("<I", 32) + b"LVM2 001" + header).ljust(512 - 20, b"\0")
    seed = 0xF597A6CF
    return b"LABELONE" + struct.pack("<QI", 1, zlib.crc32(body, seed ^ 0xFFFFFFFF) ^ 0xFFFFFFFF) + body


@exhibit(
    "XFS in a partition.",
    seems="XFS",
    lives=(FIRST,),
    readable=False,
    programs=("parted", "mkfs.xfs"),
    slow=True,
)
def xfs_partition() -> Path:
    path, inner = make_disk(360 * MIB), make_disk(310 * MIB)
    run("parted", "-s", path, "mklabel", "gpt", "mkpart", "data", "xfs", "1MiB", "350MiB")
    run("mkfs.xfs", "-q", inner)
    return spliced(path, FIRST, inner)


@exhibit("XFS on the whole disk.", seems="XFS", lives=(0,), readable=False, programs=("mkfs.xfs",))
def xfs_whole() -> Path:
    path = make_disk(310 * MIB)
    run("mkfs.xfs", "-q", "-L", "scratch", path)
    return path


@exhibit("btrfs on the whole disk.", seems="btrfs", lives=(0,), readable=False, programs=("mkfs.btrfs",))
def btrfs_whole() -> Path:
    path = make_disk(128 * MIB)
    run("mkfs.btrfs", "-q", "-L", "pool", path)
    return path


@exhibit(
    "btrfs without a label in a partition: two of the guests would even mount it, and it is not ours.",
    seems="btrfs",
    lives=(FIRST,),
    readable=False,
    programs=("sgdisk", "mkfs.btrfs"),
)
def btrfs_partition() -> Path:
    path, inner = make_disk(140 * MIB), make_disk(128 * MIB)
    gpt(path, "-n", "1:2048:0")
    run("mkfs.btrfs", "-q", inner)
    return spliced(path, FIRST, inner)


def spliced(path: Path, offset: int, inner: Path) -> Path:
    """Write a filesystem made in a file of its own into a disk."""
    run(
        "dd",
        f"if={inner}",
        f"of={path}",
        f"seek={offset // 4096}",
        "bs=4096",
        "conv=notrunc,sparse",
        "status=none",
    )
    inner.unlink()
    return path


@exhibit(
    "F2FS in a partition.", seems="F2FS", lives=(FIRST,), readable=False, programs=("sgdisk", "mkfs.f2fs")
)
def f2fs_partition() -> Path:
    path, inner = make_disk(SIZE), make_disk(60 * MIB)
    gpt(path, "-n", "1:2048:0")
    run("mkfs.f2fs", "-q", inner)
    return spliced(path, FIRST, inner)


@exhibit("A minix filesystem.", seems="minix", lives=(0,), readable=False, programs=("mkfs.minix",))
def minix() -> Path:
    path = make_disk(8 * MIB)
    run("mkfs.minix", path)
    return path


@exhibit("A bare ext2 with a name: a floppy-like image, or an initrd.", "unknown", lives=(0,), programs=EXT4)
def bare_ext2() -> Path:
    path = make_disk(8 * MIB)
    make_ext(path, 8 * MIB, kind="ext2", label="tools", files={"hello.txt": b"hi\n"})
    return path


@exhibit(
    "Swap on a whole disk: nothing to lose in it, but it is not ours either.",
    seems="swap",
    programs=("mkswap",),
)
def swap_whole() -> Path:
    path = make_disk(16 * MIB)
    make_swap(path, 0, 16 * MIB, "SWAP2")
    return path


@exhibit("Data in a software RAID.", seems="Linux RAID", lives=(0,), readable=False)
def mdraid() -> Path:
    # Source: Linux, include/uapi/linux/raid/md_p.h: version 1.2 begins at byte 4096
    return make_disk(
        SIZE,
        (4096, struct.pack("<III", 0xA92B4EFC, 1, 0) + bytes(4) + b"r" * 16 + b"host:0".ljust(32, b"\0")),
    )


@exhibit("A ZFS pool member.", seems="ZFS", lives=(FIRST,), readable=False, programs=("sgdisk",))
def zfs() -> Path:
    # Source: OpenZFS, include/sys/uberblock_impl.h: the ring of uberblocks begins at byte 128 KiB of a label
    path = make_disk(SIZE)
    gpt(path, "-n", "1:2048:+40M", "-t", "1:bf01", "-n", "9:0:+8M", "-t", "9:bf07")
    blocks = [(FIRST + (128 << 10) + (i << 10), struct.pack("<QQ", 0x00BAB10C, 5000)) for i in range(8)]
    return written(path, *blocks)


# macOS and Windows


@exhibit(
    "A Mac's APFS container behind an EFI partition.",
    seems="APFS",
    lives=(409640 * 512,),
    readable=False,
    programs=("sgdisk",),
)
def apfs() -> Path:
    # Source: Apple File System Reference, nx_superblock_t: magic NXSB at byte 32
    path = make_disk(256 * MIB)
    gpt(path, "-a", "8", "-n", "1:40:409639", "-t", "1:ef00", "-n", "2:409640:0", "-t", "2:af0a")
    return written(path, (409640 * 512 + 32, b"NXSB" + struct.pack("<I", 4096)))


@exhibit("HFS+ on a whole disk.", seems="HFS+", lives=(0,), readable=False)
def hfs_plus() -> Path:
    # Source: Apple TN1150: volume header at byte 1024, H+ and version 4
    return make_disk(SIZE, (1024, b"H+" + struct.pack(">HI", 4, 1 << 8) + b"10.0"))


@exhibit(
    "Windows 10: EFI, reserved, NTFS.",
    seems="NTFS",
    lives=(239616 * 512,),
    readable=False,
    programs=("sgdisk", "mkfs.ntfs"),
)
def windows_gpt() -> Path:
    path, inner = make_disk(160 * MIB), make_disk(30 * MIB)
    gpt(path, "-n", "1:2048:206847", "-t", "1:ef00", "-n", "2:206848:239615", "-t", "2:0c01")
    gpt(path, "-n", "3:239616:0", "-t", "3:0700")
    run("mkfs.ntfs", "-F", "-Q", "-q", "-L", "Windows", inner)
    return spliced(path, 239616 * 512, inner)


@exhibit(
    "Windows XP: NTFS from sector 63.",
    seems="NTFS",
    lives=(63 * 512,),
    readable=False,
    programs=("sfdisk", "mkfs.ntfs"),
)
def windows_xp() -> Path:
    path, inner = make_disk(SIZE), make_disk(60 * MIB)
    sfdisk(path, "label: dos\nstart=63, type=7, bootable\n")
    run("mkfs.ntfs", "-F", "-Q", "-q", inner)
    return written(path, (63 * 512, inner.read_bytes()))


@exhibit(
    "BitLocker: encrypted NTFS.", seems="BitLocker", lives=(FIRST,), readable=False, programs=("sfdisk",)
)
def bitlocker() -> Path:
    path = make_disk(SIZE, (FIRST, b"\xeb\x58\x90-FVE-FS-".ljust(510, b"\0") + b"\x55\xaa"))
    sfdisk(path, "label: dos\nstart=2048, type=7\n")
    return path


@exhibit(
    "A memory stick without a table: FAT on the whole of it.",
    seems="FAT",
    lives=(0,),
    programs=("mkfs.vfat",),
)
def fat_whole() -> Path:
    path = make_disk(32 * MIB)
    run("mkfs.vfat", "-n", "STICK", path)
    return path


@exhibit("A memory stick with a table.", seems="FAT", lives=(FIRST,), programs=("sfdisk", "mkfs.vfat"))
def fat_partition() -> Path:
    path, inner = make_disk(SIZE), make_disk(40 * MIB)
    sfdisk(path, "label: dos\nstart=2048, type=c\n")
    run("mkfs.vfat", "-F", "32", inner)
    return spliced(path, FIRST, inner)


@exhibit("exFAT on a card.", seems="exFAT", lives=(0,), readable=False)
def exfat() -> Path:
    # Source: Microsoft, exFAT file system specification, 3.1
    boot = b"\xeb\x76\x90EXFAT   " + bytes(53) + struct.pack("<QQIIIII", 0, 65536, 128, 64, 256, 1000, 5)
    return make_disk(32 * MIB, (0, boot.ljust(510, b"\0") + b"\x55\xaa"))


# Disks of data, and nothing that anybody knows


@exhibit("Random bytes: perhaps encrypted without a header. Never blank, never nothing to lose.", "unknown")
def random_bytes() -> Path:
    return make_disk(SIZE, (0, random.Random(13).randbytes(4 * MIB)))


@exhibit(
    "A table without a partition, made by fdisk. Nothing on it; nothing says that it is ours.",
    "unknown",
    programs=("fdisk",),
)
def empty_gpt() -> Path:
    path = make_disk(SIZE)
    fdisk(path, "g")
    return path


@exhibit(
    "A SUN disk label: a table of a kind that PCs do not read.", seems="SUN disk label", programs=("fdisk",)
)
def sun_label() -> Path:
    path = make_disk(SIZE)
    fdisk(path, "s")
    return path


@exhibit("An Apple partition map, by parted.", seems="Apple partition map", programs=("parted",))
def apple_map() -> Path:
    path = make_disk(SIZE)
    run("parted", "-s", path, "mklabel", "mac")
    return path


@exhibit("Zeros. Nobody's.", "nobody")
def blank() -> Path:
    return make_disk(SIZE)


# Boot media and seeds


@exhibit(
    "boot2docker's own ISO: what the machine boots from, not its disk.",
    seems="boot2docker",
    sure="likely",
    lives=(0,),
    programs=("xorriso",),
)
def boot2docker_iso() -> Path:
    return iso("Boot2Docker-v18.09.1", {"boot/vmlinuz64": b"kernel", "version": b"18.09.1\n"})


@exhibit(
    "cloud-init's seed: user-data may even hold a key, but no guest of ours reads it.",
    seems="cloud-init",
    sure="likely",
    lives=(0,),
    programs=("xorriso",),
)
def cidata_iso() -> Path:
    return iso("cidata", {"user-data": b"#cloud-config\nssh_authorized_keys: []\n", "meta-data": b"{}\n"})


@exhibit(
    "A seed on FAT, as cloud-localds makes it when asked.",
    seems="cloud-init",
    sure="likely",
    lives=(0,),
    programs=("mkfs.vfat",),
)
def cidata_vfat() -> Path:
    path = make_disk(2 * MIB)
    run("mkfs.vfat", "-n", "CIDATA", path)
    return path


@exhibit(
    "An installer's ISO that also carries an MBR, to be written to a stick.",
    seems="ISO 9660",
    lives=(0,),
    programs=("xorriso", "sfdisk"),
)
def hybrid_iso() -> Path:
    path = iso("Debian 12.5.0", {"install/vmlinuz": b"k" * 99999})
    sectors = path.stat().st_size // 512
    sfdisk(path, f"label: dos\nstart=64, size={sectors - 64}, type=17, bootable\n")
    return path


def iso(volume: str, files: Mapping[str, bytes]) -> Path:
    tree, path = new_path("tree"), new_path("disk.iso")
    for name, content in files.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_bytes(content)
    run("xorriso", "-as", "mkisofs", "-quiet", "-J", "-R", "-V", volume, "-o", path, tree)
    return path
