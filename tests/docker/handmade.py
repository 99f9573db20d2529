"""Data-roots made by hand, as their documented layouts have them: old Dockers, Podman, and hostile ones.

A tree maps paths to contents: bytes for a file, None for a directory, a ``Link`` for a symbolic link.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from tests.disks import LABEL, new_path
from tests.oracles import run

ROOT = "var/lib/docker"
LOG = b"2024-01-02T03:04:05.5Z stdout P hel\n2024-01-02T03:04:05.6Z stdout F lo\n"


class Link(NamedTuple):
    """A symbolic link."""

    target: str


Tree = dict[str, bytes | Link | None]


def identity(name: str) -> str:
    """Return the id that something of this name has."""
    return hashlib.sha256(name.encode()).hexdigest()


def as_json(document: object) -> bytes:
    return json.dumps(document).encode()


def disk(tree: Mapping[str, bytes | Link | None]) -> Path:
    """Return a raw disk that is one ext4 with this tree."""
    path = new_path("disk.img")
    with tempfile.TemporaryDirectory() as folder:
        for name, content in tree.items():
            place = Path(folder, name)
            place.parent.mkdir(parents=True, exist_ok=True)
            if content is None:
                place.mkdir(exist_ok=True)
            elif isinstance(content, Link):
                place.symlink_to(content.target)
            else:
                place.write_bytes(content)
        for place in Path(folder).rglob("*"):
            os.utime(place, (1_500_000_000, 1_500_000_000), follow_symlinks=False)
        size = 16 + sum(len(one) for one in tree.values() if isinstance(one, bytes)) // (1 << 20) * 2
        run(
            "mke2fs",
            "-q",
            "-F",
            "-t",
            "ext4",
            "-L",
            LABEL,
            "-O",
            "^has_journal",
            "-d",
            folder,
            path,
            f"{size}m",
        )
    return path


def container(name: str, image: str, driver: str, **more: Any) -> dict[str, Any]:
    """Return a container's configuration."""
    return {
        "ID": identity(name),
        "Name": f"/{name}",
        "Created": "2017-03-04T05:06:07.123456789Z",
        "Path": "/bin/sh",
        "Args": ["-c", "echo hello"],
        "State": {
            "Running": False,
            "ExitCode": 2,
            "StartedAt": "2017-03-04T05:06:08Z",
            "FinishedAt": "2017-03-04T05:06:09Z",
        },
        "Config": {"Image": "old:1", "Labels": {"a": "b"}},
        "Image": image,
        "Driver": driver,
        **more,
    }


def graph(driver: str = "aufs", is_first: bool = False) -> Tree:
    """Return the data-root of a Docker before 1.10: two images, the second on the first, and a container.

    Args:
        driver: Its storage driver.
        is_first: Whether it is one before 1.7, with volumes in ``vfs/dir``.
    """
    base, top, own, volume = identity("base"), identity("top"), identity("web"), identity("volume")
    tree: Tree = {}
    for name, parent, command in (
        (base, "", ["/bin/sh", "-c", "#(nop) ADD file"]),
        (top, base, ["/bin/sh", "-c", "rm old"]),
    ):
        document = {
            "id": name,
            "created": "2015-01-02T03:04:05Z",
            "container_config": {"Cmd": command},
            "os": "linux",
        }
        tree[f"{ROOT}/graph/{name}/json"] = as_json(document | ({"parent": parent} if parent else {}))
        tree[f"{ROOT}/graph/{name}/layersize"] = b"3"
    tree[f"{ROOT}/graph/_tmp"] = None
    tree[f"{ROOT}/repositories-{driver}"] = as_json({"Repositories": {"old": {"1": top, "latest": top}}})
    place = {"aufs": "aufs/diff/{}", "overlay": "overlay/{}/root", "vfs": "vfs/dir/{}"}[driver]
    for name, files in ((base, {"old": b"old"}), (top, {".wh.old": b"", "new": b"new"})):
        tree |= {f"{ROOT}/{place.format(name)}/{file}": content for file, content in files.items()}
    upper = place.replace("/root", "/upper")
    tree |= {
        f"{ROOT}/{upper.format(own)}/own": b"own",
        f"{ROOT}/{upper.format(own + '-init')}/.dockerinit": b"",
    }
    if driver == "overlay":
        tree[f"{ROOT}/overlay/{own}/lower-id"] = top.encode()
    guest = "/mnt/sda1/var/lib/docker"
    if is_first:
        mounts: dict[str, Any] = {
            "Volumes": {"/data": f"{guest}/vfs/dir/{volume}", "/host": "/etc"},
            "VolumesRW": {"/host": False},
        }
        tree[f"{ROOT}/volumes/{volume}/config.json"] = as_json(
            {"ID": volume, "Path": f"{guest}/vfs/dir/{volume}"}
        )
        tree[f"{ROOT}/vfs/dir/{volume}/kept"] = b"kept"
    else:
        mounts = {
            "MountPoints": {
                "/data": {
                    "Name": volume,
                    "Destination": "/data",
                    "Driver": "local",
                    "RW": True,
                    "Source": f"{guest}/volumes/{volume}/_data",
                }
            }
        }
        tree[f"{ROOT}/volumes/{volume}/_data/kept"] = b"kept"
    log = f"{guest}/containers/{own}/{own}-json.log"
    document = container("web", top, driver, LogPath=log, **mounts)
    tree[f"{ROOT}/containers/{own}/config.json"] = as_json(document)
    tree[f"{ROOT}/containers/{own}/hostconfig.json"] = as_json({"LogConfig": {"Type": ""}})
    line = {"log": "hello\n", "stream": "stdout", "time": "2017-03-04T05:06:08.5Z"}
    tree[f"{ROOT}/containers/{own}/{own}-json.log"] = as_json(line) + b"\n"
    return tree


def podman() -> Tree:
    """Return a storage of Podman's: an image of two layers, a container, and CRI-O's pause container."""
    root = "var/lib/containers/storage"
    base, top, own, image = identity("base"), identity("top"), identity("own"), identity("image")
    layers = [
        {"id": base, "diff-digest": f"sha256:{base}", "diff-size": 3},
        {"id": top, "parent": base, "diff-digest": f"sha256:{top}", "diff-size": 4},
        {"id": own, "parent": top},
    ]
    names = {"image-name": "docker.io/library/old:1", "name": "web", "created-at": 1}
    containers = [
        {
            "id": identity("web"),
            "names": ["web"],
            "image": image,
            "layer": own,
            "metadata": json.dumps(names),
            "created": "2024-01-02T03:04:05Z",
        },
        {
            "id": identity("pause"),
            "names": ["k8s_POD"],
            "image": image,
            "layer": own,
            "metadata": json.dumps({"pod": True}),
        },
    ]
    images = [
        {"id": image, "names": ["docker.io/library/old:1"], "layer": top, "created": "2024-01-01T00:00:00Z"}
    ]
    tree: Tree = {
        f"{root}/overlay-layers/layers.json": as_json(layers),
        f"{root}/overlay-images/images.json": as_json(images),
        f"{root}/overlay-containers/containers.json": as_json(containers),
        f"{root}/overlay-containers/{identity('web')}/userdata/ctr.log": LOG,
        f"{root}/volumes/kept/_data/file": b"kept",
    }
    tree |= {f"{root}/overlay/{name}/diff/file": name.encode() for name in (base, top, own)}
    return tree


def podman_database() -> bytes:
    """Return Podman's database with the container and the volume."""
    import sqlite3

    path = new_path("db.sql")
    database = sqlite3.connect(path)
    database.executescript(
        "PRAGMA journal_mode=WAL;"
        "CREATE TABLE ContainerConfig(ID TEXT, Name TEXT, PodID TEXT, JSON TEXT);"
        "CREATE TABLE ContainerState(ID TEXT, State INTEGER, ExitCode INTEGER, JSON TEXT);"
        "CREATE TABLE VolumeConfig(Name TEXT, StorageID TEXT, JSON TEXT);"
    )
    config = {
        "name": "web",
        "command": ["/bin/serve"],
        "labels": {"a": "b"},
        "namedVolumes": [{"volumeName": "kept", "dest": "/data"}],
    }
    database.execute(
        "INSERT INTO ContainerConfig VALUES (?, 'web', NULL, ?)", (identity("web"), json.dumps(config))
    )
    state = json.dumps({"finishedTime": "2024-01-02T04:00:00Z"})
    database.execute("INSERT INTO ContainerState VALUES (?, 6, 137, ?)", (identity("web"), state))
    database.execute(
        "INSERT INTO VolumeConfig VALUES ('kept', NULL, ?)",
        (json.dumps({"name": "kept", "labels": {"v": "1"}}),),
    )
    database.commit()
    database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    database.close()
    return path.read_bytes()


def in_two_places(image: Path, folder: str, above: int = 0) -> Path:
    """Give a directory a name in itself, and ``above`` directories ``deep`` below it a second name each."""
    commands = [f"ln /{folder} /{folder}/again"]
    here = folder
    for _ in range(above):
        commands.append(f"ln /{here}/deep /{here}/twin")
        here += "/deep"
    run("debugfs", "-w", "-f", "-", image, input="\n".join(commands).encode())
    return image
