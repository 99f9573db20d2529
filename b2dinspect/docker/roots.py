"""Find data-roots on a disk, by what is in them: on every filesystem whose files are read."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

from b2dinspect.docker.facts import DRIVERS, UNREAD_DRIVERS, DataRoot
from b2dinspect.docker.files import Files
from b2dinspect.docker.places import PLACES
from b2dinspect.errors import EvidenceError, UsageError
from b2dinspect.filesystems.ext4 import Ext4, show
from b2dinspect.inspection.facts import Inspection
from b2dinspect.inspection.volumes import Volume

HOMES = (b".local/share/docker", b".local/share/containers/storage")
"""Those of users who run an engine without being root."""
CONTAINERD = b"io.containerd.metadata.v1.bolt/meta.db"
SNAPSHOTTERS = b"io.containerd.snapshotter.v1."
MAX_HOMES = 200
MAX_SEARCHED = 2000
"""Directories that are looked at when nothing is where it belongs."""
SEARCH_DEPTH = 4
NOT_SEARCHED = frozenset((b"overlay2", b"overlay", b"aufs", b"vfs", b"proc", b"sys", b"dev", b"lost+found"))

_PROFILE_DRIVER = re.compile(rb"^\s*(?:export\s+)?DOCKER_STORAGE=[\"']?(\w+)", re.MULTILINE)
_DAEMON_LINE = re.compile(rb"msg=\"Docker daemon\"([^\n]{0,400})")
_VERSION = re.compile(rb"\bversion=\"?([0-9][\w.+-]{0,40})")
_DRIVER = re.compile(rb"\b(?:graphdriver(?:\(s\))?|storage-driver)=\"?([\w-]{1,40})")
_LOGS = (b"/var/lib/boot2docker/log/docker.log", b"/var/lib/boot2docker/docker.log")
MAX_TAIL = 1 << 20
"""Bytes of a log's end that are searched for the version."""


@contextmanager
def open_roots(
    facts: Inspection, path: bytes | None = None, *, is_searching: bool = True
) -> Iterator[tuple[DataRoot, ...]]:
    """Give the data-roots on a disk, those on the data partition first; open while the context is.

    Args:
        facts: The disk.
        path: Where the data-root is; None to look where engines keep theirs.
        is_searching: Whether to look everywhere near the top when none is there.

    Raises:
        UsageError: There is no data-root at ``path``.
    """
    with ExitStack() as stack:
        opened = [*_open(facts, stack)]
        if path is None:
            found = [root for volume, files in opened for root in _usual(volume, files)]
            if is_searching and not found:
                found = [root for volume, files in opened for root in _searched(volume, files)]
        else:
            clean = b"".join(b"/" + part for part in path.split(b"/") if part)
            found = [root for volume, files in opened if (root := data_root(volume, files, clean))]
            if not found:
                raise UsageError(f"no data-root at {show(path)} on this disk")
        yield tuple(found)


def _open(facts: Inspection, stack: ExitStack) -> Iterator[tuple[Volume, Ext4]]:
    data = facts.data.volume if facts.data else None
    volumes = sorted((*facts.volumes, *facts.living), key=lambda one: one is not data)
    for volume in volumes:
        if volume.is_ext:
            try:
                yield volume, stack.enter_context(Ext4(volume.source))
            except EvidenceError:
                continue  # what is wrong with it is the inspection's to tell


def _usual(volume: Volume, files: Ext4) -> Iterator[DataRoot]:
    tree = Files(files)
    homes = [b"/root", *(b"/home/" + name for name in tree.names(b"/home")[:MAX_HOMES])]
    for path in (*PLACES, *(b"/".join((home, place)) for home in homes for place in HOMES)):
        if root := data_root(volume, files, path, tree):
            yield root
            if root.engine == "docker" and (
                inner := data_root(volume, files, path + b"/containerd/daemon", tree)
            ):
                yield inner


def _searched(volume: Volume, files: Ext4) -> Iterator[DataRoot]:
    """Yield what looks like a data-root near the top of a filesystem, level by level."""
    tree = Files(files)
    level = [b""]
    looked = 0
    for _ in range(SEARCH_DEPTH):
        below = []
        for path in level:
            for name in tree.names(path):
                looked += 1
                if looked > MAX_SEARCHED:
                    return
                if name not in NOT_SEARCHED and tree.is_directory(path + b"/" + name):
                    below.append(path + b"/" + name)
        for path in below:
            if root := data_root(volume, files, path, tree):
                yield root
        level = below


def data_root(volume: Volume, files: Ext4, path: bytes, tree: Files | None = None) -> DataRoot | None:
    """Return the data-root at a path, by what is in it; None when it is none."""
    tree = tree or Files(files)
    names = frozenset(tree.names(path))
    if {b"overlay-layers", b"overlay-images"} <= names or {b"vfs-layers", b"vfs-images"} <= names:
        stores = ("overlay", "vfs", "btrfs", "zfs")
        kept = tuple(name for name in stores if f"{name}-layers".encode() in names)
        return DataRoot("podman", path, volume, files, kept)
    if CONTAINERD.partition(b"/")[0] in names and tree.entry(path + b"/" + CONTAINERD):
        snapshotters = [name.removeprefix(SNAPSHOTTERS) for name in names if name.startswith(SNAPSHOTTERS)]
        return DataRoot("containerd", path, volume, files, tuple(sorted(map(_decoded, snapshotters))))
    if b"containers" not in names or not names & {b"image", b"graph", b"volumes", b"containerd"}:
        return None
    drivers = _drivers(tree, path, names)
    is_docker = drivers or b"volumes" in names
    if not is_docker:
        return None
    return DataRoot("docker", path, volume, files, drivers, *_daemon(tree))


def _drivers(tree: Files, path: bytes, names: frozenset[bytes]) -> tuple[str, ...]:
    """Return the storage drivers of a daemon that left images or layers."""
    noted = {_decoded(name) for name in tree.names(path + b"/image")}
    noted |= {_decoded(name[13:]) for name in names if name.startswith(b"repositories-")}
    noted |= {name for name in (*DRIVERS, *UNREAD_DRIVERS) if name.encode() in names}
    return tuple(sorted(name for name in noted if name.replace("-", "").isalnum() and len(name) < 40))


def _meant(tree: Files) -> str:
    """Return the storage driver that boot2docker's profile or the daemon's configuration asks for."""
    profile = tree.read(b"/var/lib/boot2docker/profile") or b""
    if found := _PROFILE_DRIVER.findall(profile):
        return _decoded(found[-1])
    driver = (tree.json(b"/etc/docker/daemon.json") or {}).get("storage-driver")
    return driver if isinstance(driver, str) and driver.replace("-", "").isalnum() else ""


def _daemon(tree: Files) -> tuple[str, str]:
    """Return the driver and the version of the daemon, as it last wrote them into its log.

    Without a log, the driver is the one that it is told to use; boot2docker from 18.09 on ignores ``aufs``.
    """
    for path in _LOGS:
        if lines := _DAEMON_LINE.findall(tree.tail(path, MAX_TAIL)):
            driver, version = (one.search(lines[-1]) for one in (_DRIVER, _VERSION))
            return _decoded(driver[1]) if driver else _meant(tree), _decoded(version[1]) if version else ""
    return _meant(tree), ""


def _decoded(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")
