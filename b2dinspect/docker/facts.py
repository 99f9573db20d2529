"""The facts about what a container engine keeps on a disk. They are data: nothing here reads or formats.

Paths are bytes and begin at the root of the filesystem that the data-root is on, not at what the guest called
it. Times are as the engine wrote them (RFC 3339), "" when it wrote none. Text came from JSON and may hold
anything. None means that it is not there or cannot be read; ``problems`` tells which.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from b2dinspect.filesystems.ext4 import Ext4
from b2dinspect.findings import Finding
from b2dinspect.inspection.volumes import Volume
from b2dinspect.records import NamedTuple

ContainerEngine = Literal["docker", "containerd", "podman"]
ContainerStatus = Literal[
    "created", "running", "paused", "restarting", "exited", "dead", "removing", "unknown"
]
Json = Mapping[str, Any]

DRIVERS = ("aufs", "overlay2", "overlay", "vfs")
"""Storage drivers of Docker whose layers are read."""
UNREAD_DRIVERS = ("btrfs", "devicemapper", "zfs", "fuse-overlayfs", "windowsfilter")
"""Those that are recognised and named: their layers are no directories, or nobody met them on these disks."""


class DataRoot(NamedTuple):
    """A data-root, found by what is in it.

    Attributes:
        engine: Whose; CRI-O keeps the same as Podman.
        path: The directory.
        volume: The filesystem that it is on.
        files: That filesystem's files, open as long as ``open_roots`` is.
        drivers: The storage drivers (containerd calls them snapshotters) that left something.
        meant: The driver that the daemon used last, as its log says, or that boot2docker's profile or
            ``daemon.json`` asks for; "" when nothing tells.
        version: Of the engine that wrote it last, as far as it says so; "" when it does not.
    """

    engine: ContainerEngine
    path: bytes
    volume: Volume
    files: Ext4
    drivers: tuple[str, ...] = ()
    meant: str = ""
    version: str = ""


class Layer(NamedTuple):
    """A layer as its storage driver keeps it: one directory.

    Attributes:
        id: Its name in the driver's store.
        path: The directory that holds its files.
        driver: ``overlay2``, ``overlay``, ``aufs``, ``vfs``, or another of which only the name is known.
        is_whole: Whether the directory holds all that is seen, and nothing below it counts (vfs, and the
            ``root`` of an overlay layer).
        size: Bytes that it adds, as the engine noted them; None when it did not.
        diff_id: ``sha256:…`` of its tar, uncompressed; "" for a container's own, and before Docker 1.10.
        metadata: The directory with what the engine notes about it (``tar-split.json.gz``, or
            ``tar-data.json.gz`` before Docker 1.10); b"" for none.
    """

    id: str
    path: bytes
    driver: str
    is_whole: bool = False
    size: int | None = None
    diff_id: str = ""
    metadata: bytes = b""


class HistoryEntry(NamedTuple):
    """One step of an image's history, as ``docker history`` has it.

    Attributes:
        image_id: Of the image at this step; "" when it is not on this disk ("<missing>").
        created: When.
        created_by: The command that made it.
        size: Bytes of its layer; None when the layer is not here.
        comment: Anything.
        tags: Tags of that image.
    """

    image_id: str
    created: str
    created_by: str
    size: int | None
    comment: str
    tags: tuple[str, ...] = ()


class DockerImage(NamedTuple):
    """An image.

    Attributes:
        id: 64 hexadecimal digits: SHA-256 of its configuration, or by chance before Docker 1.10.
        tags: As ``name:tag``.
        digests: As ``name@sha256:…``.
        created: When.
        size: Bytes of all layers together; None when one is not known.
        driver: The storage driver that has it.
        layers: Top to bottom.
        config: Its configuration, the whole document.
        raw: The bytes of that document, of which ``id`` is the hash.
        parent: Id of the image that it was built on, "" for none.
        history: Newest step first.
        is_intermediate: Whether it is only a step of another image: untagged, with images above it.
        problems: What cannot be read of it.
    """

    id: str
    tags: tuple[str, ...]
    digests: tuple[str, ...]
    created: str
    size: int | None
    driver: str
    layers: tuple[Layer, ...]
    config: Json
    raw: bytes
    parent: str = ""
    history: tuple[HistoryEntry, ...] = ()
    is_intermediate: bool = False
    problems: tuple[Finding, ...] = ()


class ContainerState(NamedTuple):
    """How a container was when the engine last wrote it down.

    Attributes:
        status: In ``docker ps``'s words.
        exit_code: Of its process; None while it has none.
        started: When; "" for never.
        finished: When; "" for not yet.
        error: Why it could not be started; "" for no reason.
    """

    status: ContainerStatus
    exit_code: int | None
    started: str
    finished: str
    error: str = ""


class Mount(NamedTuple):
    """Something mounted into a container.

    Attributes:
        type: ``volume``, ``bind``, ``tmpfs``, …
        name: The volume's; "" for the other types.
        source: Where it is in the guest.
        destination: Where it is in the container.
        driver: The volume's.
        is_writable: Whether the container may write.
    """

    type: str
    name: str
    source: str
    destination: str
    driver: str
    is_writable: bool


class DockerContainer(NamedTuple):
    """A container.

    Attributes:
        id: 64 hexadecimal digits.
        name: Without the slash that Docker writes before it.
        image: What it was made of, as the user said it.
        image_id: What that was, without ``sha256:``; "" when it is not told.
        command: Program and arguments.
        created: When.
        state: How it was.
        labels: Names and values; Compose's begin with ``com.docker.compose.``.
        mounts: By destination.
        driver: The storage driver that has its layer.
        layers: Top to bottom, its own first; empty when that is not found.
        base: What ``docker diff`` compares with, top to bottom: the ``-init`` layer, then the image's.
        log_driver: ``json-file``, ``local``, …
        path: The directory with its configuration and logs.
        config: ``config.v2.json``, or what the engine keeps instead; the whole document.
        host_config: ``hostconfig.json``; None when there is none.
        log_places: Directories in which Kubernetes keeps its logs.
        problems: What cannot be read of it.
    """

    id: str
    name: str
    image: str
    image_id: str
    command: tuple[str, ...]
    created: str
    state: ContainerState
    labels: Mapping[str, str]
    mounts: tuple[Mount, ...]
    driver: str
    layers: tuple[Layer, ...]
    base: tuple[Layer, ...]
    log_driver: str
    path: bytes
    config: Json
    host_config: Json | None = None
    log_places: tuple[bytes, ...] = ()
    problems: tuple[Finding, ...] = ()


class DockerVolume(NamedTuple):
    """A volume.

    Attributes:
        name: As the engine calls it; 64 hexadecimal digits for an anonymous one.
        driver: ``local`` when nothing says otherwise.
        path: The directory with its files.
        mountpoint: The same as the guest's engine calls it.
        labels: Names and values.
        options: Of the driver (an NFS share keeps its files elsewhere).
        created: Seconds since 1970 of the directory that holds it; None when it cannot be read.
        used_by: Names of the containers that mount it.
        problems: What cannot be read of it.
    """

    name: str
    driver: str
    path: bytes
    mountpoint: str
    labels: Mapping[str, str]
    options: Mapping[str, str]
    created: int | None
    used_by: tuple[str, ...] = ()
    problems: tuple[Finding, ...] = ()


class Contents(NamedTuple):
    """All that a data-root holds.

    Attributes:
        root: Which.
        containers: Newest first.
        images: Newest first, intermediate ones too.
        volumes: By name.
        problems: What cannot be read, and what is not read.
    """

    root: DataRoot
    containers: tuple[DockerContainer, ...]
    images: tuple[DockerImage, ...]
    volumes: tuple[DockerVolume, ...]
    problems: tuple[Finding, ...] = ()
