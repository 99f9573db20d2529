"""The three guest generations as data: what each looks for, keeps and makes.

Source: boot2docker rootfs/etc/rc.d/automount (to 18.06), boot2docker files/init.d/autoformat (from 18.09),
and minikube's package/automount/minikube-automount (today).
"""

from __future__ import annotations

from typing import Literal, NamedTuple

DATA_LABEL = b"boot2docker-data"
USERDATA_PATHS = (b"/var/lib/boot2docker/userdata.tar", b"/vm/userdata.tar")
"""Where a provisioned disk keeps its tar: today's place, and the old layout's."""

SWAP_SECTORS = 1000 * 2048
SWAP_LABEL = b"boot2dockerswap"
"""Label that autoformat gives its swap."""

KIN_MARKERS = (
    (b"boot2podman, please format-me", "boot2podman"),
    (b"greenbox, please format-me", "greenbox"),
)
"""Markers of kin, which write their tar to byte 0 as docker-machine does; none of our guests takes them.

Source: boot2podman/machine and greenbox, whose drivers and init scripts name them.
"""


class GuestProfile(NamedTuple):
    """What one generation does at its first boot.

    Attributes:
        name: Short name.
        program: The script, and the release it is from.
        table: Kind of partition table it makes.
        swap: Whether partition 2 is swap, 1000 MiB at sector 2048.
        swap_label: Label of that swap.
        inode_ratio: Bytes an inode (mkfs.ext4 -i).
        directories: Names on the data partition that only this generation makes.
        falls_back: Whether, without label and magic, it takes the first ext4 or btrfs partition there is.
        partition_commands: How the original makes the table, as one types it; DISK stands for the disk.
        swap_command: How it makes the swap, "" for none; PART stands for the partition.
        mkfs_command: How it makes the filesystem.
        makes: Directories that it makes on the data partition, parents first.
        owner: User and group of the home directory, and their numbers (the group's is assumed for minikube).
    """

    name: Literal["automount", "autoformat", "minikube"]
    program: str
    table: Literal["mbr", "gpt"]
    swap: bool
    swap_label: bytes
    inode_ratio: int
    directories: tuple[bytes, ...]
    falls_back: bool
    partition_commands: tuple[str, ...]
    swap_command: str
    mkfs_command: str
    makes: tuple[str, ...]
    owner: tuple[str, str, int, int]


_BOOT2DOCKER_MAKES = ("tmp", "var", "var/lib", "var/lib/docker", "var/lib/boot2docker")

PROFILES = (
    GuestProfile(
        name="automount",
        program="boot2docker <= 18.06, automount",
        table="mbr",
        swap=True,
        swap_label=b"",
        inode_ratio=8192,
        directories=(),
        falls_back=True,
        partition_commands=("n", "p", "2", "", "+1000M", "t", "82", "n", "p", "1", "", "", "w"),
        swap_command="mkswap PART",
        mkfs_command="mkfs.ext4 -i 8192 -L boot2docker-data PART",
        makes=_BOOT2DOCKER_MAKES,
        owner=("docker", "staff", 1000, 50),
    ),
    GuestProfile(
        name="autoformat",
        program="boot2docker >= 18.09, autoformat",
        table="gpt",
        swap=True,
        swap_label=SWAP_LABEL,
        inode_ratio=8192,
        directories=(),
        falls_back=False,
        partition_commands=("g", "n", "2", "", "+1000M", "t", "swap", "n", "1", "", "", "w"),
        swap_command="mkswap -L boot2dockerswap PART",
        mkfs_command="mkfs.ext4 -q -i 8192 -L boot2docker-data PART",
        makes=_BOOT2DOCKER_MAKES,
        owner=("docker", "staff", 1000, 50),
    ),
    GuestProfile(
        name="minikube",
        program="minikube ISO, minikube-automount",
        table="gpt",
        swap=False,
        swap_label=b"",
        inode_ratio=2048,
        directories=(b"minikube", b"kubelet", b"toolbox", b"minishift", b"cni"),
        falls_back=True,
        partition_commands=("g", "n", "1", "", "", "w"),
        swap_command="",
        mkfs_command="mkfs.ext4 -i 2048 -L boot2docker-data PART",
        makes=(
            *("var", "var/lib", "var/log", "var/tmp", "data", "hostpath_pv", "hostpath-provisioner"),
            *(
                f"var/lib/{name}"
                for name in ("boot2docker", "docker", "containerd", "buildkit", "containers")
            ),
            *(f"var/lib/{name}" for name in ("kubelet", "cni", "minikube", "toolbox", "minishift")),
        ),
        owner=("docker", "docker", 1000, 1000),
    ),
)


def profile_named(name: str) -> GuestProfile:
    """Return the profile of that name; raises KeyError for any other."""
    return {profile.name: profile for profile in PROFILES}[name]  # type: ignore[index]


def data_sectors(profile: GuestProfile, disk_sectors: int) -> tuple[int, int]:
    """Return the first and the last sector of partition 1, as fdisk 2.38 chooses them.

    An MBR uses the last sector; on a GPT fdisk aligns the end of the partition to 1 MiB.
    """
    first = 2048 + (SWAP_SECTORS if profile.swap else 0)
    if profile.table == "mbr":
        return first, disk_sectors - 1
    return first, (disk_sectors - 34) // 2048 * 2048 - 1
