"""The three guest generations as data: what each looks for, keeps and makes.

Source: boot2docker rootfs/etc/rc.d/automount and rootfs/opt/bootscript.sh (to 18.06), boot2docker
files/init.d/autoformat (from 18.09), and minikube's package/automount/minikube-automount (today); for older
releases the same files at their tags.
"""

from __future__ import annotations

from typing import Literal

from b2dinspect.records import NamedTuple

DATA_LABEL = b"boot2docker-data"
DATA_DIRECTORY, OLD_DIRECTORY = "var/lib/boot2docker", "vm"
"""What of the data partition becomes /var/lib/boot2docker; the second is for automount, if it is there."""
USERDATA_PATHS = (b"/var/lib/boot2docker/userdata.tar", b"/vm/userdata.tar")
"""Where a provisioned disk keeps its tar: today's place, and the old layout's."""

SWAP_LABEL = b"boot2dockerswap"
"""Label that autoformat gives its swap."""

KIN_MARKERS = (
    (b"boot2podman, please format-me", "a fresh disk for boot2podman"),
    (b"greenbox, please format-me", "a fresh disk for greenbox"),
    (b"boot2docker, this is vmware speaking", "VMware's userdata tar, which no guest looks for at byte 0"),
)
"""Markers of kin, which write their tar to byte 0 as docker-machine does; none of our guests takes them.

Source: boot2podman/machine and greenbox, whose drivers and init scripts name them.
"""
SWAP_MIB = 1000
"""What all of them ask of fdisk for the swap: ``+1000M``."""
SWAP_SECTORS = SWAP_MIB * 2048
"""What util-linux's fdisk makes of it, from sector 2048 on."""
MAX_SECTORS = 0xFFFFFFFF
"""No MBR reaches further."""

Name = Literal["automount", "autoformat", "minikube"]


class Geometry(NamedTuple):
    """What a kernel says of a disk's heads and of its sectors a track; a cylinder is their product."""

    heads: int
    sectors: int

    @property
    def cylinder(self) -> int:
        """Sectors a cylinder."""
        return self.heads * self.sectors


SATA, VIRTIO, VIRTIO_QEMU = Geometry(255, 63), Geometry(64, 32), Geometry(16, 63)
GEOMETRIES = (SATA, VIRTIO, VIRTIO_QEMU)
"""SATA, IDE and Hyper-V disks, and all SCSI disks over 64 GiB; virtio disks and smaller SCSI disks; and
virtio-blk disks of QEMU, which tells this of them.

Source: Linux, ata_std_bios_param, storvsc_get_chs, scsicam_bios_param, virtblk_getgeo; QEMU,
hw/block/hd-geometry.c.
"""


class Commands(NamedTuple):
    """What the original script runs at its first boot; DISK and PART stand for the disk and a partition.

    Attributes:
        look: To choose the disk.
        magic: To read its first 29 bytes.
        save: To keep the first 4096.
        fdisk: What it types into fdisk, one session for each time that it runs it.
        swap: To make the swap, "" for none. automount does that before its third session.
        mkfs: To make the filesystem.
        fill: To mount it and move userdata.tar.
        unpack: To unpack userdata.tar at every boot.
    """

    look: str
    magic: str
    save: str
    fdisk: tuple[tuple[str, ...], ...]
    swap: str
    mkfs: str
    fill: str
    unpack: str


class GuestProfile(NamedTuple):
    """What one generation does at its first boot, in its last release.

    Attributes:
        name: Short name.
        program: The script, and the release it is from.
        table: Kind of partition table it makes.
        fdisk: Whose fdisk makes it. busybox's lays partitions out in cylinders and writes bytes 446 to 511 of
            sector 0 only; util-linux's aligns to MiB and wipes the sector.
        swap: Whether partition 2 is swap.
        swap_label: Label of that swap.
        inode_ratio: Bytes an inode (mkfs.ext4 -i).
        directories: Names in /var/lib on the data partition that only this generation makes.
        falls_back: Whether, without label and magic, it takes the first ext4 or btrfs partition there is.
        commands: What the original runs.
        makes: Directories that it makes on the data partition, parents first. What other scripts make at the
            same boot is not among them: /var/lib/boot2docker/log (bootscript.sh, and 18.09's bootlocal).
        open_to_all: Those of them with mode 1777: its own /tmp, which it moves there.
        owner: User and group of the home directory, and their numbers (the group's is assumed for minikube).
        owns: What it gives them of the home, when it has unpacked userdata.tar; b"" for all of it.
        knows_old_layout: Whether a directory ``vm`` on the disk is its /var/lib/boot2docker.
    """

    name: Name
    program: str
    table: Literal["mbr", "gpt"]
    fdisk: Literal["busybox", "util-linux"]
    swap: bool
    swap_label: bytes
    inode_ratio: int
    directories: tuple[bytes, ...]
    falls_back: bool
    commands: Commands
    makes: tuple[str, ...]
    open_to_all: tuple[str, ...]
    owner: tuple[str, str, int, int]
    owns: bytes = b""
    knows_old_layout: bool = False

    def data_directory(self, has_old_layout: bool) -> str:
        """Return what of a data partition is its /var/lib/boot2docker, by whether there is a ``vm`` on it."""
        return OLD_DIRECTORY if has_old_layout and self.knows_old_layout else DATA_DIRECTORY

    def userdata_path(self, has_old_layout: bool) -> str:
        """Return where on a data partition it looks for userdata.tar."""
        return f"/{self.data_directory(has_old_layout)}/userdata.tar"


_BOOT2DOCKER_MAKES = ("tmp", "var", "var/lib", "var/lib/docker", "var/lib/boot2docker")
_MARKER = "'boot2docker, please format-me'"
_MOVE = (
    "mount PART /mnt/PART; mkdir -p /mnt/PART/var/lib/{docker,boot2docker}; "
    "mv /tmp /mnt/PART/tmp; mv /userdata.tar /var/lib/boot2docker/"
)

PROFILES = (
    GuestProfile(
        name="automount",
        program="boot2docker <= 18.06, automount",
        table="mbr",
        fdisk="busybox",
        swap=True,
        swap_label=b"",
        inode_ratio=8192,
        directories=(),
        falls_back=True,
        commands=Commands(
            look='fdisk -l | grep "doesn\'t contain a valid partition table" | head -n 1',
            magic="dd if=DISK bs=1 count=29",
            save="dd if=DISK of=/userdata.tar bs=1 count=4096",
            fdisk=(("n", "p", "2", "", "+1000M", "w"), ("t", "82", "w"), ("n", "p", "1", "", "", "w")),
            swap="mkswap PART",
            mkfs="mkfs.ext4 -i 8192 -L boot2docker-data PART",
            fill=_MOVE,
            unpack="tar xf /var/lib/boot2docker/userdata.tar -C /home/docker/; "
            f"rm -f /home/docker/{_MARKER}; chown -R docker:staff /home/docker",
        ),
        makes=(*_BOOT2DOCKER_MAKES, "var/lib/boot2docker/etc"),
        open_to_all=("tmp",),
        owner=("docker", "staff", 1000, 50),
        knows_old_layout=True,
    ),
    GuestProfile(
        name="autoformat",
        program="boot2docker >= 18.09, autoformat",
        table="gpt",
        fdisk="util-linux",
        swap=True,
        swap_label=SWAP_LABEL,
        inode_ratio=8192,
        directories=(),
        falls_back=False,
        commands=Commands(
            look="blockdev --report | sort -nr, without CDs, partitions and zram: the biggest first",
            magic="dd if=DISK bs=29 count=1",
            save="dd if=DISK of=/userdata.tar bs=4096 count=1",
            fdisk=(("g", "n", "2", "", "+1000M", "t", "19", "n", "1", "", "", "w"),),
            swap="mkswap -L boot2dockerswap PART",
            mkfs="mkfs.ext4 -q -L boot2docker-data -i 8192 PART",
            fill=_MOVE,
            unpack="tar -xf /var/lib/boot2docker/userdata.tar -C /home/docker; "
            f"rm -f /home/docker/{_MARKER}; chown -R 1000:50 /home/docker",
        ),
        makes=_BOOT2DOCKER_MAKES,
        open_to_all=("tmp",),
        owner=("docker", "staff", 1000, 50),
    ),
    GuestProfile(
        name="minikube",
        program="minikube ISO, minikube-automount",
        table="gpt",
        fdisk="util-linux",
        swap=False,
        swap_label=b"",
        inode_ratio=2048,
        directories=(b"minikube", b"kubelet", b"toolbox", b"minishift", b"cni", b"localkube", b"rkt"),
        falls_back=True,
        commands=Commands(
            look="lsblk | grep disk; parted --script DISK print | grep 'Partition Table: unknown'",
            magic="dd if=DISK bs=1 count=29",
            save="dd if=DISK of=/userdata.tar bs=1 count=4096",
            fdisk=(("g", "n", "1", "", "", "w"),),
            swap="",
            mkfs="mkfs.ext4 -i 2048 -L boot2docker-data PART",
            fill="mount PART /mnt/PART; mkdir -p …; mount --bind … (each of them); "
            "mv /userdata.tar /var/lib/boot2docker/",
            unpack="tar xf /var/lib/boot2docker/userdata.tar -C /home/docker/; "
            f"chown -R docker:docker /home/docker/.ssh; rm -f /home/docker/{_MARKER}",
        ),
        makes=(
            *("var", "var/lib", "var/log", "var/tmp", "data", "hostpath_pv", "hostpath-provisioner"),
            *(
                f"var/lib/{name}"
                for name in ("boot2docker", "docker", "containerd", "buildkit", "containers")
            ),
            *(f"var/lib/{name}" for name in ("kubelet", "cni", "minikube", "toolbox", "minishift")),
            "var/lib/boot2docker/etc",
        ),
        open_to_all=(),
        owner=("docker", "docker", 1000, 1000),
        owns=b".ssh",
    ),
)


class Edition(NamedTuple):
    """Releases of one generation, as far as a disk can tell them apart.

    Attributes:
        profile: The generation; ``by-hand`` for people who repeat its steps with util-linux's fdisk.
        releases: Which.
        table: Kind of partition table.
        fdisk: Whose fdisk makes it.
        swap_types: Types that partition 2 can have, as sfdisk spells them; () when there is none.
        swap_label: Label of the swap.
        inode_ratio: Bytes an inode; None for any.
    """

    profile: Name | Literal["by-hand"]
    releases: str
    table: Literal["mbr", "gpt"]
    fdisk: Literal["busybox", "util-linux"]
    swap_types: tuple[str, ...]
    swap_label: bytes
    inode_ratio: int | None


_GPT_SWAP = "0657FD6D-A4AB-43C4-84E5-0933C84B4F4F"
MKFS_RATIO = 16384
"""Bytes an inode when mkfs.ext4 is given no -i, from 512 MiB to 4 TiB (e2fsprogs, mke2fs.conf)."""

EDITIONS = (
    Edition("automount", "boot2docker v0.5 to v0.6", "mbr", "busybox", (), b"", MKFS_RATIO),
    Edition("automount", "boot2docker v0.7 to v1.5", "mbr", "busybox", ("83",), b"", MKFS_RATIO),
    Edition("automount", "boot2docker v1.6 to v1.7.0", "mbr", "busybox", ("2", "83"), b"", MKFS_RATIO),
    Edition("automount", "boot2docker v1.7.1 to v1.10", "mbr", "busybox", ("82", "83"), b"", MKFS_RATIO),
    Edition("automount", "boot2docker v1.11 to v18.06", "mbr", "busybox", ("82", "83"), b"", 8192),
    Edition(
        "autoformat",
        "boot2docker v18.09 to v19.03",
        "gpt",
        "util-linux",
        (_GPT_SWAP,),
        b"boot2dockerswap",
        8192,
    ),
    Edition("minikube", "minikube v0.12 to v0.18", "mbr", "util-linux", ("82", "83"), b"", 8192),
    Edition("minikube", "minikube v0.19 to v0.35", "mbr", "util-linux", ("82", "83"), b"", 2048),
    Edition("minikube", "minikube v1.0 to v1.6", "mbr", "util-linux", (), b"", 2048),
    Edition("minikube", "minikube since v1.7", "gpt", "util-linux", (), b"", 2048),
    Edition("by-hand", "", "mbr", "util-linux", ("82", "83"), b"", None),
)
"""Up to v1.5 automount forgets the ``w`` that writes the type, as it does on VMware's disks to the end; up to
v1.7.0 it types the partition's number where fdisk, which knows of one only, asks for the type already."""


def profile_named(name: str) -> GuestProfile:
    """Return the profile of that name; raises KeyError for any other."""
    return {profile.name: profile for profile in PROFILES}[name]  # type: ignore[index]


def profile_for(name: str) -> GuestProfile:
    """Return the profile for a disk of that guest: automount's if by-hand, autoformat's if unknown."""
    told = {"by-hand": "automount", "unknown": "autoformat"}
    return profile_named(told.get(name, name))


def swap_area(profile: GuestProfile, geometry: Geometry = SATA) -> tuple[int, int]:
    """Return the first and the last sector of partition 2, the swap.

    busybox's fdisk (to 1.29) begins behind the first track, takes +1000M for as many millions of bytes,
    rounded to cylinders, and counts them from the cylinder *after* the first one.
    """
    if profile.fdisk == "util-linux":
        return 2048, 2048 + SWAP_SECTORS - 1
    size = geometry.cylinder * 512
    cylinders = 1 + (SWAP_MIB * 1_000_000 + size // 2) // size
    return geometry.sectors, cylinders * geometry.cylinder - 1


def data_sectors(profile: GuestProfile, disk_sectors: int, geometry: Geometry = SATA) -> tuple[int, int]:
    """Return the first and the last sector of partition 1, as the profile's fdisk chooses them.

    busybox's ends with the last whole cylinder. util-linux's (2.38) takes all of the disk on an MBR; on a GPT
    it aligns the end to 1 MiB.
    """
    first = swap_area(profile, geometry)[1] + 1 if profile.swap else 2048
    if profile.fdisk == "busybox":
        return first, min(disk_sectors, MAX_SECTORS) // geometry.cylinder * geometry.cylinder - 1
    if profile.table == "mbr":
        return first, disk_sectors - 1
    return first, (disk_sectors - 34) // 2048 * 2048 - 1


def starts(profile: GuestProfile) -> tuple[int, ...]:
    """Return the sectors where this generation's data partition begins, on the disks of any driver."""
    geometries = GEOMETRIES if profile.fdisk == "busybox" else (SATA,)
    return tuple(data_sectors(profile, 0, geometry)[0] for geometry in geometries)
