"""How each sample disk is made: pinned identities, pinned times, real mke2fs and debugfs.

The ext4 is made in a sparse file, and only its data goes into the image. Facts about the guests are in
``b2dinspect.guests``; what each sample is expected to show is written by hand in ``manifest.json``.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import uuid
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import NamedTuple

from b2dinspect.containers.vdi import Identity, VdiWriter
from b2dinspect.evidence import open_evidence
from b2dinspect.filesystems.swap import build_swap
from b2dinspect.guests import DATA_LABEL, PROFILES, SWAP_SECTORS, GuestProfile
from b2dinspect.newfile import NewFile
from b2dinspect.partitions.gpt import LINUX, SWAP, NewPartition, build_gpt
from b2dinspect.partitions.mbr import TYPE_LINUX, TYPE_SWAP, build_mbr
from b2dinspect.source import SECTOR, ByteSource, FileSource
from b2dinspect.userdata.tarball import AUTHORIZED_KEYS2, GUEST_KEEPS, build_userdata

HERE = Path(__file__).parent
MIB = 1 << 20
DISK_SIZE = 20000 * MIB
"""What docker-machine asks of every driver by default."""
TIME = 1546300800
"""2019-01-01 00:00:00 UTC: the time of everything in a sample."""
NAMESPACE = uuid.UUID("b2d00000-0000-4000-8000-000000000000")

EXT4_FEATURES = (
    "none,has_journal,ext_attr,resize_inode,dir_index,filetype,extent,64bit,flex_bg,sparse_super,"
    "large_file,huge_file,dir_nlink,extra_isize,metadata_csum"
)
COMMON_DIRECTORIES = ("tmp", "var", "var/lib", "var/lib/docker", "var/lib/boot2docker")
MINIKUBE_DIRECTORIES = (
    *("var", "var/lib", "var/log", "var/tmp", "data", "hostpath_pv", "hostpath-provisioner"),
    *(f"var/lib/{name}" for name in ("boot2docker", "docker", "containerd", "buildkit", "containers")),
    *(f"var/lib/{name}" for name in ("kubelet", "cni", "minikube", "toolbox", "minishift")),
)


def pinned(name: str) -> uuid.UUID:
    """Return the UUID that always belongs to this name."""
    return uuid.uuid5(NAMESPACE, name)


def key(name: str) -> bytes:
    """Return one of the sample public keys."""
    return (HERE / "keys" / f"{name}.pub").read_bytes()


class Write(NamedTuple):
    """Bytes for a virtual offset."""

    offset: int
    data: bytes


@dataclass
class Disk:
    """A disk as a list of writes, in the order in which they allocate blocks."""

    size: int = DISK_SIZE
    writes: list[Write] = field(default_factory=list)

    def put(self, offset: int, data: bytes) -> None:
        """Write ``data`` at ``offset``."""
        self.writes.append(Write(offset, data))


def fresh(public_key: bytes, size: int = DISK_SIZE) -> Disk:
    """Return a disk as the host makes it: the tar at byte 0, zeros behind it."""
    return Disk(size, [Write(0, build_userdata(public_key))])


def provisioned(
    guest: str, userdata: bytes | None, original: bytes | None = None, size: int = DISK_SIZE
) -> Disk:
    """Return a disk after its first boot.

    Args:
        guest: The generation that booted it.
        userdata: Content of var/lib/boot2docker/userdata.tar; None leaves the file out.
        original: The tar that was at byte 0 before, of which an MBR leaves all but the first sector.
        size: Bytes.
    """
    profile = next(profile for profile in PROFILES if profile.name == guest)
    disk = Disk(size)
    if original and profile.table == "mbr":
        disk.put(0, original)
    first, last = _data_partition(profile, disk.size)
    for offset, data in _table(profile, disk.size, first, last):
        disk.put(offset, data)
    if profile.swap:
        disk.put(
            2048 * SECTOR, build_swap(SWAP_SECTORS * SECTOR, pinned(f"{guest} swap"), profile.swap_label)
        )
    directories = MINIKUBE_DIRECTORIES if guest == "minikube" else COMMON_DIRECTORIES
    for offset, data in ext4_data(
        (last + 1 - first) * SECTOR, profile.inode_ratio, guest, directories, userdata
    ):
        disk.put(first * SECTOR + offset, data)
    return disk


def _data_partition(profile: GuestProfile, size: int) -> tuple[int, int]:
    """Return first and last sector of partition 1, as fdisk chooses them."""
    first = 2048 + (SWAP_SECTORS if profile.swap else 0)
    sectors = size // SECTOR
    return first, sectors - 1 if profile.table == "mbr" else (sectors - 34) // 2048 * 2048 - 1


def _table(profile: GuestProfile, size: int, first: int, last: int) -> Sequence[tuple[int, bytes]]:
    if profile.table == "mbr":
        rows = [(TYPE_LINUX, first, last + 1 - first), (TYPE_SWAP, 2048, SWAP_SECTORS)]
        return [(0, build_mbr(rows, 0xB2D00001))]
    parts = [NewPartition(LINUX, pinned(f"{profile.name} data"), first, last)]
    if profile.swap:
        parts.append(NewPartition(SWAP, pinned(f"{profile.name} swap part"), 2048, 2047 + SWAP_SECTORS))
    return build_gpt(size // SECTOR, pinned(f"{profile.name} disk"), parts)


def ext4_data(
    size: int, inode_ratio: int, name: str, directories: Sequence[str], userdata: bytes | None
) -> Iterator[Write]:
    """Yield the data of a new ext4 of ``size`` bytes, in chunks, zeros left out."""
    with tempfile.TemporaryDirectory(prefix="b2d-sample-") as folder:
        image = Path(folder) / "ext4"
        with image.open("wb") as file:
            file.truncate(size)
        options = f"hash_seed={pinned(name + ' hash')},lazy_itable_init=1,lazy_journal_init=1,nodiscard"
        label = DATA_LABEL.decode()
        geometry = ["-b", "4096", "-I", "256", "-i", str(inode_ratio), "-O", EXT4_FEATURES]
        identity = ["-L", label, "-U", str(pinned(name)), "-E", options]
        _run("mke2fs", "-q", "-F", "-t", "ext4", *geometry, *identity, str(image))
        _fill(image, directories, userdata, Path(folder))
        source = open_evidence(str(image))
        try:
            yield from _chunks(source)
        finally:
            source.close()


def _fill(image: Path, directories: Sequence[str], userdata: bytes | None, folder: Path) -> None:
    commands = [f"mkdir {path}" for path in directories]
    paths = [*directories]
    if userdata is not None:
        content = folder / "userdata.tar"
        content.write_bytes(userdata)
        content.chmod(0o644)
        paths.append("var/lib/boot2docker/userdata.tar")
        commands.append(f"write {content} {paths[-1]}")
        commands += [f"set_inode_field {paths[-1]} {owner} 0" for owner in ("uid", "gid")]
    for path in ("", "lost+found", *paths):
        for name in ("atime", "mtime", "ctime", "crtime"):
            commands += [f"set_inode_field /{path} {name} @{TIME}", f"set_inode_field /{path} {name}_extra 0"]
    script = folder / "script"
    script.write_text("".join(f"{command}\n" for command in commands))
    _run("debugfs", "-w", "-f", str(script), str(image))


def _chunks(source: FileSource) -> Iterator[Write]:
    for extent in source.extents():
        for offset in range(extent.offset, extent.offset + extent.length, MIB):
            length = min(MIB, extent.offset + extent.length - offset)
            if extent.kind == "data" and (data := source.pread(offset, length)).strip(b"\0"):
                yield Write(offset, data)


def _run(program: str, *arguments: str) -> None:
    path = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/sbin"])
    found = shutil.which(program, path=path)
    if found is None:
        raise FileNotFoundError(
            f"{program} is needed (Debian, Ubuntu: e2fsprogs; macOS: brew install e2fsprogs)"
        )
    environment = os.environ | {"E2FSPROGS_FAKE_TIME": str(TIME), "MKE2FS_CONFIG": os.devnull, "TZ": "UTC"}
    subprocess.run([found, *arguments], check=True, env=environment, capture_output=True)


# --- the samples -------------------------------------------------------------------------------------------


def kept(public_key: bytes) -> bytes:
    """Return what the guest keeps of the tar for this key."""
    return build_userdata(public_key)[:GUEST_KEEPS]


def magic_damaged() -> Disk:
    """One byte of the marker is wrong: the 5 of byte 4 became a 7 (``boot7docker``)."""
    disk = fresh(key("owner"))
    disk.put(4, b"7")
    return disk


def keys_differ() -> Disk:
    """Somebody replaced only the second copy of the key."""
    tar = bytearray(build_userdata(key("owner")))
    start = tar.index(AUTHORIZED_KEYS2 + b"\0")
    other = build_userdata(key("new-owner"))
    tar[start:] = other[other.index(AUTHORIZED_KEYS2 + b"\0") :]
    return provisioned("autoformat", bytes(tar[:GUEST_KEEPS]))


def out_of_order() -> Disk:
    """The provisioned disk with its blocks stored last first: the block map runs backwards."""
    disk = provisioned("autoformat", kept(key("owner")))
    disk.writes.reverse()
    return disk


Recipe = Callable[[], Disk]
RECIPES: dict[str, Recipe] = {
    "fresh.raw": lambda: fresh(key("owner"), 64 * MIB),
    "fresh.vdi": lambda: fresh(key("owner")),
    "blank.vdi": Disk,
    "magic-damaged.vdi": magic_damaged,
    "provisioned-automount.vdi": lambda: provisioned(
        "automount", kept(key("owner")), build_userdata(key("owner"))
    ),
    "provisioned-autoformat.vdi": lambda: provisioned("autoformat", kept(key("owner"))),
    "provisioned-minikube.vdi": lambda: provisioned("minikube", kept(key("owner"))),
    "out-of-order.vdi": out_of_order,
    "userdata-cut.vdi": lambda: provisioned("autoformat", kept(key("large"))),
    "userdata-missing.vdi": lambda: provisioned("autoformat", None),
    "keys-differ.vdi": keys_differ,
    "key-replaced.vdi": lambda: provisioned(
        "automount", kept(key("new-owner")), build_userdata(key("owner"))
    ),
}
"""Every sample by the name of its image."""


def build(name: str, path: Path) -> None:
    """Make the image of one sample at ``path``, which must not exist."""
    disk = RECIPES[name]()
    with NewFile(path) as file:
        if path.suffix == ".raw":
            for offset, data in disk.writes:
                file.pwrite(offset, data)
            file.truncate(disk.size)
        else:
            identity = Identity(pinned(f"{name} create"), pinned(f"{name} modify"))
            writer = VdiWriter(file, disk.size, identity=identity)
            for offset, data in disk.writes:
                writer.pwrite(offset, data)
            writer.flush()


def digest(source: ByteSource) -> str:
    """Return the SHA-256 of a whole source."""
    import hashlib

    result = hashlib.sha256()
    for offset in range(0, source.size, MIB):
        result.update(source.pread(offset, MIB))
    return result.hexdigest()
