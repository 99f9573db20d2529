"""Whose disk it is: boot2docker's, or somebody else's, and how that is known.

A layout alone is nobody's identity: GPT and an ext4 at sector 2048 is minikube's disk, and any cloud's. Ours
is what carries the marker, the label, a userdata.tar, or the directories that only our guests make. Anything
else is somebody else's, whether or not we can say whose.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence

from b2dinspect.errors import EvidenceError, NotFoundError
from b2dinspect.filesystems.ext4 import Ext4
from b2dinspect.filesystems.signatures import name_of
from b2dinspect.guests import DATA_LABEL, KIN_MARKERS, SWAP_LABEL, USERDATA_PATHS
from b2dinspect.inspection.facts import Magic, Ownership, Resemblance, Sure, Userdata
from b2dinspect.inspection.volumes import SEARCHED, Volume
from b2dinspect.source import ByteSource, read_lenient

LABELS: Mapping[bytes, tuple[str, Sure]] = {
    b"RANCHER_STATE": ("RancherOS", "likely"),
    b"boot2podman-data": ("boot2podman", "likely"),
    b"K3OS_STATE": ("k3OS", "likely"),
    b"COS_STATE": ("an Elemental or Harvester system", "likely"),
    b"hassos-data": ("Home Assistant OS", "likely"),
    b"cloudimg-rootfs": ("a cloud image of Ubuntu", "likely"),
    b"data-volume": ("a data disk of Lima", "likely"),
    b"cidata": ("a seed for cloud-init", "likely"),
    b"CIDATA": ("a seed for cloud-init", "likely"),
    b"config-2": ("a seed for cloud-init (OpenStack)", "likely"),
}
"""What a volume label says, besides ours: a name that anybody can give, so never more than likely."""
LABEL_STARTS: Mapping[bytes, tuple[str, Sure]] = {
    b"lima-colima": ("a disk of Colima", "likely"),
    b"lima-": ("a disk of Lima", "likely"),
    b"Boot2Docker-v": ("boot2docker's ISO, which the machine boots from", "likely"),
    b"minikube": ("minikube's ISO, which the machine boots from", "likely"),
}
PARTITION_NAMES: Mapping[str, tuple[str, Sure]] = {
    "USR-A": ("Flatcar or CoreOS", "likely"),
    "EFI-SYSTEM": ("Flatcar or CoreOS", "likely"),
    "hassos-boot": ("Home Assistant OS", "likely"),
}
DIRECTORIES: Sequence[tuple[frozenset[bytes], str, Sure]] = (
    (frozenset((b"version-pack-data",)), "Docker Desktop's data for WSL", "likely"),
    (frozenset((b"docker", b"lifecycle-server")), "a disk of Docker Desktop", "likely"),
    (frozenset((b"docker", b"containerd", b"kubeadm")), "a disk of Docker Desktop", "likely"),
    (frozenset((b"docker", b"docker-desktop")), "a disk of Docker Desktop", "likely"),
    (frozenset((b"etc", b"usr", b"bin")), "a Linux system", "likely"),
    (frozenset((b"Windows", b"Users")), "a Windows system", "likely"),
)
"""Names in the root directory that, all together, say what a filesystem is."""
SOMEBODYS = ("ext2", "ext3", "ext4")
"""Filesystems that hold something; on our own disks something in them is a sign of ours."""
RELEASES = (b"/etc/os-release", b"/usr/lib/os-release")
LARGEST = 64 << 10
"""Bytes of a file that is read for what it says."""


BLANK = Ownership("nobody", "certain")


def tell_owner(
    disk: ByteSource, magic: Magic, volumes: Sequence[Volume], userdata: Sequence[Userdata]
) -> Ownership:
    """Tell whose disk it is.

    Args:
        disk: The virtual disk.
        magic: The marker test.
        volumes: What is on the disk, in a table or not.
        userdata: The tars found.

    A sign on a filesystem decides; a marker at byte 0, or what is left of its tar, counts only when nothing
    else on the disk belongs to somebody else: a marker can be written over anything.
    """
    strong = [*_strong(volumes, userdata)]
    is_beneath = any(has_beneath(volume, volumes) for volume in volumes)
    if strong and (userdata or magic.found) and not is_beneath:
        return Ownership("ours", "certain", tuple(strong))
    seems: list[Resemblance] = [*_kin_marker(magic)]
    signs: list[str] = []
    for volume in volumes:
        more, own = _look_at(volume)
        part = volume.partition.place if volume.partition.start or len(volumes) > 1 else ""
        seems += [one._replace(of=part if _is_sign(one) else "") for one in more]
        signs += own
    seems.sort(key=lambda one: (not one.by.startswith("os-release"), _is_sign(one)))
    sure: Sure = "certain" if any(one.sure == "certain" for one in seems) else "likely"
    is_system = any(one.by.startswith("os-release") for one in seems)
    if signs and not is_system and not is_beneath:
        return Ownership("ours", "certain", (*strong, *signs))
    if strong and not is_system and not is_beneath:
        return Ownership("ours", "likely", tuple(strong))  # anybody can give a label
    if seems:
        written = (*strong, *(("the marker is at byte 0",) if magic.found else ()))
        return Ownership("other", sure, written, tuple(dict.fromkeys(seems))[:4])
    weak = [*_weak(magic, userdata)]
    if weak and any(volume.filesystem in SOMEBODYS for volume in volumes):
        return Ownership("unknown", "likely", tuple(text for text, _ in weak))
    if weak:
        return Ownership("ours", weak[0][1], tuple(text for text, _ in weak))
    return Ownership("unknown", "certain")


def has_beneath(volume: Volume, volumes: Sequence[Volume]) -> bool:
    """Tell whether a filesystem of ours lies below another one, which was made over it."""
    if volume.label == DATA_LABEL or volume.filesystem in SEARCHED:
        return False
    within = (one for one in volumes if one.is_ext and one.label == DATA_LABEL)
    return any(volume.partition.start <= one.partition.start < volume.partition.end for one in within)


def _is_sign(one: Resemblance) -> bool:
    return one.by.startswith("the signature")


def _strong(volumes: Sequence[Volume], userdata: Sequence[Userdata]) -> Iterator[str]:
    for volume in volumes:
        if volume.label == DATA_LABEL and volume.filesystem != "swap":
            yield f"{volume.partition.place} is labelled {DATA_LABEL.decode()}"
        if volume.label == SWAP_LABEL and volume.filesystem == "swap":
            yield f"{volume.partition.place} is swap labelled {SWAP_LABEL.decode()}"
    for item in userdata:
        if item.source == "data" and item.volume is not None:
            yield f"{item.volume.partition.place} has {item.path}"


def _weak(magic: Magic, userdata: Sequence[Userdata]) -> Iterator[tuple[str, Sure]]:
    if magic.found:
        yield "the marker is at byte 0", "certain"
    elif magic.damaged_at:
        yield "the marker is at byte 0, damaged", "likely"
    for number in magic.in_partitions:
        yield f"the marker is at the start of partition {number}", "certain"
    if magic.copy_offset is not None:
        yield f"the marker's copy is at byte {magic.copy_offset}", "certain"
    if any(item.source == "residue" for item in userdata):
        yield "what is left of a userdata tar is in its first sectors", "certain"


def _kin_marker(magic: Magic) -> Iterator[Resemblance]:
    for marker, name in KIN_MARKERS:
        if magic.data and marker.startswith(magic.data[: len(marker)]):
            yield Resemblance(name, "certain", "its marker at byte 0")


def _look_at(volume: Volume) -> tuple[list[Resemblance], list[str]]:
    """Return what one volume seems to be, and what on it is ours all the same."""
    place = volume.partition.place
    seems = [*_by_label(volume)]
    if known := PARTITION_NAMES.get(volume.partition.name):
        seems.append(Resemblance(*known, f"the name of {place}"))
    if volume.is_ext:
        return _look_inside(volume, seems)
    if volume.filesystem not in ("none", "unknown", "unreadable", "missing", "extended", "swap"):
        seems.append(Resemblance(name_of(volume.filesystem), "certain", f"the signature of {place}"))
    elif volume.filesystem == "swap" and not volume.partition.number and not volume.partition.start:
        seems.append(Resemblance("swap on a whole disk", "certain", f"the signature of {place}"))
    return seems, []


def _by_label(volume: Volume) -> Iterator[Resemblance]:
    by = f"the label of {volume.partition.place}"
    if known := LABELS.get(volume.label):
        yield Resemblance(*known, by)
        return
    for start, found in LABEL_STARTS.items():
        if volume.label.startswith(start):
            yield Resemblance(*found, by)
            return


def _look_inside(volume: Volume, seems: list[Resemblance]) -> tuple[list[Resemblance], list[str]]:
    """Look at a few names and one file of an ext filesystem; what cannot be read says nothing."""
    try:
        files = Ext4(volume.source)
    except EvidenceError:
        return seems, []
    place = volume.partition.place
    try:
        seems += _by_files(files, place)
        libraries = _names(files, b"/var/lib")
        if b"cloud" in libraries:
            seems.append(Resemblance("a system set up by cloud-init", "likely", f"/var/lib/cloud on {place}"))
        own = [f"{place} has /var/lib/boot2docker"] if b"boot2docker" in libraries else []
        own += [f"{place} has {path.decode()}" for path in USERDATA_PATHS if _is_there(files, path)]
        return seems, own
    except EvidenceError:
        return seems, []
    finally:
        files.close()


def _by_files(files: Ext4, place: str) -> Iterator[Resemblance]:
    if _is_there(files, b"/etc/wsl.conf"):
        yield Resemblance("a WSL distribution", "certain", f"/etc/wsl.conf on {place}")
    for path in RELEASES:
        if name := _pretty_name(_text(files, path)):
            yield Resemblance(name, "certain", f"os-release on {place}")
            break
    root = _names(files, b"/")
    for names, what, sure in DIRECTORIES:
        if names <= root:
            yield Resemblance(what, sure, f"the directories on {place}")
            break


def _pretty_name(release: bytes) -> str:
    """Return what an os-release file calls the system."""
    for key in (b"PRETTY_NAME=", b"NAME=", b"ID="):
        for line in release.split(b"\n"):
            if line.startswith(key):
                return line[len(key) :].strip(b"\"' \r").decode("utf-8", "surrogateescape")[:80]
    return ""


def _names(files: Ext4, path: bytes) -> frozenset[bytes]:
    try:
        return frozenset(entry.name for entry in files.list(files.find(path)))
    except NotFoundError:
        return frozenset()


def _is_there(files: Ext4, path: bytes) -> bool:
    try:
        files.find(path)
    except NotFoundError:
        return False
    return True


def _text(files: Ext4, path: bytes) -> bytes:
    try:
        entry = files.find(path)
    except NotFoundError:
        return b""
    return read_lenient(files.content(entry), 0, LARGEST) if entry.type == "file" else b""
