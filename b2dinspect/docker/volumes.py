"""Docker's volumes: a directory each, and what their database says of them.

``volumes/NAME/_data`` since Docker 1.7, with ``metadata.db`` (BoltDB: labels, driver and options, JSON) since
1.11 and ``opts.json`` where the local driver mounts something else there. Before 1.7 the files of volume ID
are in ``vfs/dir/ID``.

Source: moby, volume/local/local.go and volume/service/db.go; docker 1.6, volumes/repository.go.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from b2dinspect.docker.bolt import MAX_FILE, Bolt
from b2dinspect.docker.facts import DataRoot, DockerContainer, DockerVolume
from b2dinspect.docker.files import Files, is_id
from b2dinspect.docker.values import strings
from b2dinspect.errors import EvidenceError
from b2dinspect.filesystems.ext4 import show

USUAL = "/var/lib/docker"


def read_volumes(
    root: DataRoot, files: Files, containers: Sequence[DockerContainer]
) -> tuple[DockerVolume, ...]:
    """Return the volumes of a data-root, by name."""
    folder = root.path + b"/volumes"
    noted = _database(files, folder + b"/metadata.db")
    inside = next((path for one in containers if (path := guest_path(one.config, one.id))), USUAL)
    users: dict[str, list[str]] = {}
    drivers: dict[str, str] = {}
    for container in containers:
        for mount in container.mounts:
            if mount.type == "volume" and mount.name:
                users.setdefault(mount.name, []).append(container.name)
                drivers.setdefault(mount.name, mount.driver)
    names = [name for name in files.names(folder) if files.is_directory(folder + b"/" + name)]
    found = [_volume(root, files, name, noted, inside) for name in names]
    here = {volume.name for volume in found}
    known = {name: {"Driver": driver} for name, driver in drivers.items()} | noted
    found += [_elsewhere(name, note) for name, note in known.items() if name not in here]
    return tuple(
        volume._replace(used_by=tuple(dict.fromkeys(users.get(volume.name, ()))))
        for volume in sorted(found, key=lambda volume: volume.name)
    )


def _volume(
    root: DataRoot, files: Files, name: bytes, noted: Mapping[str, Mapping[str, Any]], inside: str
) -> DockerVolume:
    earlier = files.take_problems()
    text = name.decode("utf-8", "surrogateescape")
    folder = root.path + b"/volumes/" + name
    data, mountpoint = folder + b"/_data", f"{inside}/volumes/{text}/_data"
    old = root.path + b"/vfs/dir/" + name
    if files.entry(data) is None and is_id(text) and files.is_directory(old):
        data, mountpoint = old, f"{inside}/vfs/dir/{text}"
    if not files.is_directory(data):
        entry = files.entry(data)
        link = (
            f"a symbolic link to {show(entry.node.link)}, which is not followed"
            if entry and entry.node.link
            else ""
        )
        files.complain(data, f"no directory with the volume's files{f' but {link}' if link else ''}")
    note = noted.get(text, {})
    options = strings(note.get("Options"))
    if mounted := files.json(folder + b"/opts.json"):
        kind, device = mounted.get("MountType"), mounted.get("MountDevice")
        files.complain(folder, f"its files are on {device} ({kind}), which is mounted there while it is used")
    entry = files.entry(folder)
    created = entry.node.mtime if entry else None
    problems = files.take_problems()
    files.problems.extend(earlier)
    driver = str(note.get("Driver") or "local")
    return DockerVolume(
        text, driver, data, mountpoint, strings(note.get("Labels")), options, created, (), problems
    )


def _elsewhere(name: str, note: Mapping[str, Any]) -> DockerVolume:
    """Return a volume of which only the database or a container knows."""
    labels, options = strings(note.get("Labels")), strings(note.get("Options"))
    return DockerVolume(name, str(note.get("Driver") or ""), b"", "", labels, options, None)


def _database(files: Files, path: bytes) -> dict[str, Mapping[str, Any]]:
    """Return what the database says of each volume."""
    data = files.read(path, MAX_FILE)
    if not data:
        return {}
    try:
        bucket = Bolt(data).root.bucket(b"volumes")
        values = bucket.values() if bucket else {}
    except EvidenceError as error:
        files.complain(path, str(error))
        return {}
    found: dict[str, Mapping[str, Any]] = {}
    for name, value in values.items():
        document = files.parse(path + b", " + name, value)
        if isinstance(document, dict):
            found[name.decode("utf-8", "surrogateescape")] = document
    return found


def guest_path(document: Mapping[str, Any], identity: str) -> str:
    """Return what the guest called the data-root, as a container's configuration has it; or ""."""
    for name in ("LogPath", "HostnamePath", "HostsPath", "ResolvConfPath"):
        before, found, _ = str(document.get(name) or "").partition(f"/containers/{identity}/")
        if found and before.startswith("/"):
            return before
    return ""
