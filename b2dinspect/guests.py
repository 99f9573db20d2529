"""The three guest generations as data: what each looks for, keeps and makes.

Source: boot2docker rootfs/etc/rc.d/automount (to 18.06), boot2docker files/init.d/autoformat (from 18.09),
and minikube's package/automount/minikube-automount (today).
"""

from __future__ import annotations

from collections.abc import Collection, Sequence
from typing import Literal, NamedTuple

from b2dinspect.filesystems.superblock import block_count, block_size
from b2dinspect.partitions import PartitionTable
from b2dinspect.volumes import Volume

DATA_LABEL = b"boot2docker-data"
USERDATA_PATHS = (b"/var/lib/boot2docker/userdata.tar", b"/vm/userdata.tar")
"""Where a provisioned disk keeps its tar: today's place, and the old layout's."""

SWAP_SECTORS = 1000 * 2048


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
        swap_label=b"boot2dockerswap",
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


class Guest(NamedTuple):
    """Which generation made a disk, and how that is known.

    Attributes:
        profile: A profile's name, or ``"unknown"``.
        evidence: One sentence for each fact that was weighed.
    """

    profile: str
    evidence: tuple[str, ...]


def tell_guest(
    table: PartitionTable, volumes: Sequence[Volume], data: Volume | None, names: Collection[bytes]
) -> Guest:
    """Tell the generation that made a disk.

    Args:
        table: Partition table.
        volumes: What is on its partitions.
        data: The data partition, if there is one.
        names: Names in ``/var/lib`` on it.

    A generation is named when every fact fits it and no other, and the disk carries the data label or the
    guests' swap partition.
    """
    candidates = set(PROFILES)
    evidence: list[str] = []
    for text, fitting in _facts(table, volumes, data, names):
        candidates &= set(fitting)
        evidence.append(f"{text}: {', '.join(profile.name for profile in fitting) or 'none of the three'}")
    if len(candidates) == 1 and _is_made_by_a_guest(volumes, data):
        return Guest(candidates.pop().name, tuple(evidence))
    return Guest("unknown", tuple(evidence))


def _is_made_by_a_guest(volumes: Sequence[Volume], data: Volume | None) -> bool:
    """Tell whether anything on the disk is a guest's own, and not what any installer makes."""
    if data is not None and data.label == DATA_LABEL:
        return True
    return any(volume.filesystem == "swap" and _is_guest_swap(volume) for volume in volumes)


def _is_guest_swap(volume: Volume) -> bool:
    return (volume.partition.start, volume.partition.sectors) == (2048, SWAP_SECTORS)


Fact = tuple[str, list[GuestProfile]]


def _facts(
    table: PartitionTable, volumes: Sequence[Volume], data: Volume | None, names: Collection[bytes]
) -> list[Fact]:
    if table.kind not in ("mbr", "gpt"):
        return []
    facts = [(f"{table.kind.upper()} partition table", [p for p in PROFILES if p.table == table.kind])]
    facts += _partition_facts(volumes)
    if data is not None and data.is_ext:
        facts += _ratio_fact(data)
    if found := [name for profile in PROFILES for name in profile.directories if name in names]:
        listed = ", ".join(name.decode() for name in sorted(found))
        facts.append((f"/var/lib has {listed}", [p for p in PROFILES if set(found) & set(p.directories)]))
    return facts


def _partition_facts(volumes: Sequence[Volume]) -> list[Fact]:
    numbers = sorted(volume.partition.number for volume in volumes)
    second = next((volume for volume in volumes if volume.partition.number == 2), None)
    if numbers == [1]:
        return [("one partition, no swap", [p for p in PROFILES if not p.swap])]
    if numbers != [1, 2] or second is None:
        return [(f"{len(numbers)} partitions", [])]
    facts = []
    if second.partition.type_name.startswith("Linux swap"):
        part, is_usual = second.partition, _is_guest_swap(second)
        size = "1000 MiB at sector 2048" if is_usual else f"{part.sectors} sectors at sector {part.start}"
        facts.append((f"partition 2 is swap, {size}", [p for p in PROFILES if p.swap and is_usual]))
    else:
        facts.append(("partition 2 is no swap", []))
    if second.filesystem == "swap":
        text = f"swap label {second.label.decode('latin-1')!a}" if second.label else "swap without a label"
        facts.append((text, [p for p in PROFILES if p.swap and p.swap_label == second.label]))
    return facts


def _ratio_fact(data: Volume) -> list[Fact]:
    size = block_count(data.superblock) * block_size(data.superblock)
    ratio = size / data.superblock.inodes_count
    for known in sorted({profile.inode_ratio for profile in PROFILES}):
        if abs(ratio - known) < known * 0.15:
            return [(f"one inode for {known} bytes", [p for p in PROFILES if p.inode_ratio == known])]
    return [(f"one inode for about {ratio:.0f} bytes", [])]
