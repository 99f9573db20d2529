"""What lies on the data partition for the Docker daemon: profile, certificates, its log, and room to work.

Source: boot2docker's /etc/init.d/docker; docker-machine, libmachine/provision/boot2docker.go.
"""

from __future__ import annotations

from collections.abc import Iterator

from b2dinspect.errors import EvidenceError, NotFoundError
from b2dinspect.filesystems import superblock
from b2dinspect.filesystems.ext4 import DirectoryEntry, Ext4
from b2dinspect.inspection.facts import Inspection
from b2dinspect.inspection.volumes import Volume
from b2dinspect.records import NamedTuple
from b2dinspect.source import RunsSource, read_lenient
from b2dinspect.userdata.certificate import MAX_SIZE
from b2dinspect.userdata.daemon_profile import DaemonProfile, parse_profile
from b2dinspect.userdata.pem import PemFile, parse_pem

HOME = b"/var/lib/boot2docker"
DATA_ROOT = b"/var/lib/docker"
LOGS = (HOME + b"/log/docker.log", HOME + b"/docker.log")
MAX_TAIL = 64 << 10
"""Bytes of the log's end that are read for its last words."""
LAST_WORDS = 3
MAX_WALKED = 20_000
"""Names that are looked at for the biggest consumers."""
MAX_DEPTH = 12
BIGGEST = 3
STORAGES = ("aufs", "overlay2", "overlay", "btrfs", "devicemapper", "vfs")
FULL = 64
"""A filesystem with less than this part of it left is called full: what ext4 keeps for root is more."""
SMALL = 16 << 20
"""Bytes below which nothing can be pulled or started."""


class DiskUsage(NamedTuple):
    """How full the data filesystem is, as its superblock says.

    Attributes:
        size: Bytes of all blocks.
        free: Bytes of those that are free.
        consumers: What takes most of it below the data-root, biggest first: path and bytes; () unless full.
        is_complete: Whether all names were looked at for that.
    """

    size: int
    free: int
    consumers: tuple[tuple[bytes, int], ...] = ()
    is_complete: bool = True

    @property
    def is_full(self) -> bool:
        """Whether so little is left that a daemon does not come up, or does nothing."""
        return self.free < max(self.size // FULL, min(SMALL, self.size // 8))


class DaemonFacts(NamedTuple):
    """What lies on the disk; None for what does not.

    Attributes:
        hostname: As the provisioner has set it, "" for never.
        profile: What the profile says.
        profile_offset: Of its first byte on the virtual disk.
        authority: ca.pem, who must have signed a client.
        server: server.pem, which the daemon shows.
        server_key: server-key.pem.
        has_own: Whether there are certificates that the init script has made itself.
        storages: Storage drivers that have a folder in the data-root.
        log: Last lines of the daemon's log.
        log_path: Of it, "" for none.
        space: How full it is.
        trouble: Why something could not be read; "" when all was.
    """

    hostname: str
    profile: DaemonProfile | None
    profile_offset: int | None
    authority: PemFile | None
    server: PemFile | None
    server_key: PemFile | None
    has_own: bool
    storages: tuple[str, ...]
    log: tuple[bytes, ...]
    log_path: str
    space: DiskUsage
    trouble: str = ""

    @property
    def is_provisioned(self) -> bool:
        """Whether a provisioner has been here."""
        return bool(self.profile or self.authority or self.server or self.server_key)


def read_daemon(facts: Inspection) -> DaemonFacts | None:
    """Return what lies on the data partition for the daemon; None where there is none of ext."""
    volume = facts.data.volume if facts.data else None
    if volume is None or not volume.is_ext:
        return None
    space = _space(volume)
    try:
        with Ext4(volume.source) as files:
            return _read(files, volume, space)
    except EvidenceError as error:
        nothing = DaemonFacts("", None, None, None, None, None, False, (), (), "", space)
        return nothing._replace(trouble=error.message)


def _read(files: Ext4, volume: Volume, space: DiskUsage) -> DaemonFacts:
    profile = _file(files, volume, HOME + b"/profile")
    hostname = _file(files, volume, HOME + b"/etc/hostname")
    log_path, log = _log(files)
    if space.is_full:
        consumers, is_complete = _consumers(files)
        space = space._replace(consumers=consumers, is_complete=is_complete)
    return DaemonFacts(
        hostname.data.decode("utf-8", "backslashreplace").strip()[:255] if hostname else "",
        parse_profile(profile.data) if profile else None,
        profile.offset if profile else None,
        _pem(files, volume, b"ca.pem"),
        _pem(files, volume, b"server.pem"),
        _pem(files, volume, b"server-key.pem"),
        _find(files, HOME + b"/tls/server.pem") is not None,
        tuple(name for name in STORAGES if _find(files, DATA_ROOT + b"/" + name.encode()) is not None),
        log,
        log_path,
        space,
    )


def _find(files: Ext4, path: bytes) -> DirectoryEntry | None:
    try:
        return files.find(path)
    except NotFoundError:
        return None


def _file(files: Ext4, volume: Volume, path: bytes) -> PemFile | None:
    """Return a small file with its bytes; None when it is not there."""
    place = path.decode()
    try:
        entry = _find(files, path)
        if entry is None:
            return None
        mode = entry.node.mode & 0o7777
        if entry.type != "file" or entry.node.size > MAX_SIZE:
            what = (
                f"{entry.node.size} bytes, which is too large" if entry.type == "file" else f"a {entry.type}"
            )
            return PemFile(place, mode, b"", error=f"is {what}")
        content = files.content(entry)
        within = content.parent_offset(0) if isinstance(content, RunsSource) and entry.node.size else None
        offset = None if within is None else volume.partition.offset + within
        return PemFile(place, mode, read_lenient(content, 0, MAX_SIZE), offset=offset)
    except EvidenceError as error:
        return PemFile(place, 0, b"", error=f"cannot be read: {error.message}")


def _pem(files: Ext4, volume: Volume, name: bytes) -> PemFile | None:
    found = _file(files, volume, HOME + b"/" + name)
    return found and parse_pem(found, is_key=name.endswith(b"key.pem"))


def _log(files: Ext4) -> tuple[str, tuple[bytes, ...]]:
    for path in LOGS:
        entry = _find(files, path)
        if entry is not None and entry.type == "file":
            content = files.content(entry)
            data = read_lenient(content, max(0, content.size - MAX_TAIL), MAX_TAIL)
            lines = [line for line in data.split(b"\n") if line.strip()]
            return path.decode(), tuple(lines[-LAST_WORDS:])
    return "", ()


def _space(volume: Volume) -> DiskUsage:
    block = volume.superblock
    size = superblock.block_size(block)
    high = block.free_blocks_hi if block.feature_incompat & 0x80 else 0
    free = min(high << 32 | block.free_blocks_lo, superblock.block_count(block))
    return DiskUsage(superblock.block_count(block) * size, free * size)


def _consumers(files: Ext4) -> tuple[tuple[tuple[bytes, int], ...], bool]:
    """Return the biggest consumers below the data-root: files, or a layer's or volume's folder as a whole."""
    sizes: dict[bytes, int] = {}
    left = MAX_WALKED
    root = _find(files, DATA_ROOT)
    for path, entry in _walk(files, root, DATA_ROOT, 0) if root is not None else ():
        left -= 1
        if not left:
            break
        if entry.type == "file":
            parts = path.split(b"/")
            group = path if b"containers" in parts[:5] else b"/".join(parts[:6])
            sizes[group] = sizes.get(group, 0) + entry.node.size
    biggest = sorted(sizes.items(), key=lambda item: (-item[1], item[0]))[:BIGGEST]
    return tuple(biggest), left > 0


def _walk(
    files: Ext4, folder: DirectoryEntry, path: bytes, depth: int
) -> Iterator[tuple[bytes, DirectoryEntry]]:
    if folder.type != "directory" or depth > MAX_DEPTH:
        return
    for entry in files.scan(folder, lambda name, error: None):
        below = path + b"/" + entry.name
        yield below, entry
        yield from _walk(files, entry, below, depth + 1)
