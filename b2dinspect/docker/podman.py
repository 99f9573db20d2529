"""Containers, images and volumes as Podman and CRI-O keep them (containers/storage).

``DRIVER-containers/containers.json``, ``DRIVER-images/images.json`` and ``DRIVER-layers/layers.json`` name
them, layers lie in ``overlay/ID/diff`` or ``vfs/dir/ID``. What a container runs is in Podman's own database
(``db.sql``, SQLite), or in ``bolt_state.db`` before Podman 4.8, which is not read.

Source: containers/storage, containers.go, images.go, layers.go, drivers/overlay; podman,
libpod/sqlite_state.go; CRI-O, internal/storage/runtime.go.
"""

from __future__ import annotations

import base64
import sqlite3
from collections.abc import Iterator, Mapping
from typing import Any

from b2dinspect.docker.facts import (
    ContainerState,
    ContainerStatus,
    Contents,
    DataRoot,
    DockerContainer,
    DockerImage,
    DockerVolume,
    HistoryEntry,
    Layer,
)
from b2dinspect.docker.files import MAX_JSON, Files, bare, is_id
from b2dinspect.docker.layers import MAX_LAYERS
from b2dinspect.docker.values import mapping, sequence, strings, text, texts, time, total
from b2dinspect.filesystems.ext4 import show
from b2dinspect.findings import Finding

STATES: Mapping[int, ContainerStatus] = {
    1: "created",
    2: "created",
    3: "running",
    4: "exited",
    5: "paused",
    6: "exited",
    7: "removing",
    8: "dead",
}
"""libpod, define.ContainerStatus: configured, created, running, stopped, paused, exited, removing and
stopping."""
MAX_DATABASE = 64 << 20
MAX_STEPS = 5_000_000
"""Of SQLite's machine, for one question."""


def read(root: DataRoot) -> Contents:
    """Return what a storage of Podman or CRI-O holds, Kubernetes' pause containers left out."""
    files = Files(root.files)
    images: list[DockerImage] = []
    containers: list[DockerContainer] = []
    podman = _Database(files, root)
    for driver in root.drivers:
        layers = _Layers(root, files, driver)
        found = [*_images(root, files, driver, layers)]
        images += found
        containers += _containers(root, files, driver, layers, podman)
    images.sort(key=lambda image: image.created, reverse=True)
    containers.sort(key=lambda container: container.created, reverse=True)
    volumes = tuple(_volumes(root, files, containers, podman))
    return Contents(root, tuple(containers), tuple(images), volumes, files.take_problems())


def _listed(files: Files, *paths: bytes) -> Iterator[Mapping[str, Any]]:
    """Yield the objects in JSON arrays."""
    for path in paths:
        data = files.read(path, 8 << 20)
        yield from map(mapping, sequence(files.parse(path, data) if data else None))


class _Layers:
    """The layers of one driver, by id."""

    def __init__(self, root: DataRoot, files: Files, driver: str) -> None:
        self._files = files
        self._driver = driver
        self._store = root.path + b"/" + driver.encode()
        place = root.path + f"/{driver}-layers/".encode()
        both = (place + b"layers.json", place + b"volatile-layers.json")
        self._known = {text(one.get("id")): one for one in _listed(files, *both)}

    def chain(self, identity: str) -> tuple[Layer, ...]:
        """Return a layer and those below it."""
        found: list[Layer] = []
        while identity in self._known and is_id(identity) and len(found) < MAX_LAYERS:
            known = self._known[identity]
            is_vfs, name = self._driver == "vfs", identity.encode()
            path = self._store + (b"/dir/" + name if is_vfs else b"/" + name + b"/diff")
            if self._files.is_directory(path):
                size = known.get("diff-size")
                found.append(
                    Layer(
                        identity,
                        path,
                        "vfs" if is_vfs else "overlay2",
                        is_vfs,
                        size if isinstance(size, int) else None,
                        text(known.get("diff-digest")),
                    )
                )
            identity = text(known.get("parent"))
        return tuple(found)


def _images(root: DataRoot, files: Files, driver: str, layers: _Layers) -> Iterator[DockerImage]:
    place = root.path + f"/{driver}-images/".encode()
    for one in _listed(files, place + b"images.json"):
        identity = bare(one.get("id"))
        if not identity:
            continue
        key = base64.b64encode(f"sha256:{identity}".encode())
        path = place + identity.encode() + b"/=" + key
        raw = files.read(path, 8 << 20) or b""
        config = mapping(files.parse(path, raw) if raw else None)
        chain = layers.chain(text(one.get("layer")))
        names = texts(one.get("names"))
        history = [
            HistoryEntry(
                "", time(step.get("created")), text(step.get("created_by")), None, text(step.get("comment"))
            )
            for step in map(mapping, sequence(config.get("history"))[:10_000])
        ]
        yield DockerImage(
            identity,
            tuple(name for name in names if "@" not in name),
            tuple(name for name in names if "@" in name),
            time(config.get("created")) or time(one.get("created")),
            total(chain),
            "vfs" if driver == "vfs" else "overlay2",
            chain,
            config,
            raw,
            history=tuple(reversed(history)),
        )


def _containers(
    root: DataRoot, files: Files, driver: str, layers: _Layers, podman: _Database
) -> Iterator[DockerContainer]:
    place = root.path + f"/{driver}-containers/".encode()
    for one in _listed(files, place + b"containers.json", place + b"volatile-containers.json"):
        identity = text(one.get("id"))
        if not is_id(identity):
            files.complain(place, f"{identity[:80]!a} is no container's id")
            continue
        data = text(one.get("metadata")).encode("utf-8", "surrogatepass")
        metadata = mapping(files.parse(place + identity.encode(), data) if data else None)
        if metadata.get("pod"):
            continue  # CRI-O's pause container
        config, status = podman.containers.get(identity, ({}, ContainerState("unknown", None, "", "")))
        names = texts(one.get("names"))
        chain = layers.chain(text(one.get("layer")))
        problems: tuple[Finding, ...] = ()
        if not chain:
            why = f"{show(identity.encode())}: no layer of its own"
            problems = (Finding("docker-unreadable", "warning", why),)
        yield DockerContainer(
            identity,
            text(config.get("name")) or text(metadata.get("name")) or (names[0] if names else identity),
            text(metadata.get("image-name")),
            bare(one.get("image")),
            texts(config.get("command")),
            time(one.get("created")),
            status,
            strings(config.get("labels")),
            (),
            "vfs" if driver == "vfs" else "overlay2",
            chain,
            chain[1:],
            text(config.get("logDriver")) or "k8s-file",
            place + identity.encode(),
            {"Storage": dict(one), "Podman": dict(config)},
            problems=problems,
        )


def _volumes(
    root: DataRoot, files: Files, containers: list[DockerContainer], podman: _Database
) -> Iterator[DockerVolume]:
    folder = root.path + b"/volumes"
    users: dict[str, list[str]] = {}
    for container in containers:
        for volume in sequence(mapping(container.config.get("Podman")).get("namedVolumes")):
            users.setdefault(text(mapping(volume).get("volumeName")), []).append(container.name)
    for name in files.names(folder):
        path = folder + b"/" + name + b"/_data"
        entry = files.entry(folder + b"/" + name)
        if entry is None or not files.is_directory(path):
            continue
        called = name.decode("utf-8", "surrogateescape")
        known = podman.volumes.get(called, {})
        mountpoint = text(known.get("mountPoint")) or path.decode("utf-8", "surrogateescape")
        yield DockerVolume(
            called,
            text(known.get("volumeDriver")) or "local",
            path,
            mountpoint,
            strings(known.get("labels")),
            strings(known.get("options")),
            entry.node.mtime,
            tuple(users.get(called, ())),
        )


class _Database:
    """What Podman's own database says.

    Attributes:
        containers: Configuration and state by id.
        volumes: Configuration by name.
    """

    def __init__(self, files: Files, root: DataRoot) -> None:
        self.containers: dict[str, tuple[Mapping[str, Any], ContainerState]] = {}
        self.volumes: dict[str, Mapping[str, Any]] = {}
        path = root.path + b"/db.sql"
        data = files.read(path, MAX_DATABASE)
        if files.entry(root.path + b"/libpod/bolt_state.db"):
            files.complain(root.path + b"/libpod/bolt_state.db", "Podman's older database, which is not read")
        if not data:
            return
        try:
            self._load(files, path, data)
        except (sqlite3.Error, ValueError, OverflowError) as error:
            files.complain(path, f"no database of Podman's that can be read: {error}")

    def _load(self, files: Files, path: bytes, data: bytes) -> None:
        # Bytes 18 and 19 ask for a write-ahead log, which a copy in memory cannot have.
        copy = data[:18] + b"\1\1" + data[20:]
        database = sqlite3.connect(":memory:")
        try:
            database.deserialize(copy)
            database.execute("PRAGMA trusted_schema=OFF")
            database.set_progress_handler(_Budget(), 1000)
            database.setlimit(sqlite3.SQLITE_LIMIT_LENGTH, MAX_JSON)  # a function may make a gigabyte at once
            _only_tables(database)
            rows = database.execute(
                "SELECT c.ID, c.JSON, s.State, s.ExitCode, s.JSON FROM ContainerConfig c "
                "LEFT JOIN ContainerState s ON s.ID = c.ID LIMIT 20000"
            )
            for identity, config, status, code, more in rows:
                document = _object(files, path, config)
                self.containers[str(identity)] = document, _state(status, code, _object(files, path, more))
            for name, config in database.execute("SELECT Name, JSON FROM VolumeConfig LIMIT 20000"):
                self.volumes[str(name)] = _object(files, path, config)
        finally:
            database.close()


def _only_tables(database: sqlite3.Connection) -> None:
    """Refuse a database whose tables are none: a view, or a column that is calculated, runs what it likes.

    Raises:
        ValueError: It is one.
    """
    for name in ("ContainerConfig", "ContainerState", "VolumeConfig"):
        question = "SELECT type, rootpage > 0 FROM sqlite_master WHERE name = ? COLLATE NOCASE"
        kinds = database.execute(question, (name,))  # a virtual table has no root page
        columns = database.execute(f"PRAGMA table_xinfo({name})").fetchall()
        if kinds.fetchall() != [("table", 1)] or any(column[-1] for column in columns):
            raise ValueError(f"{name} is not a plain table")


class _Budget:
    """Stops a question that takes too many steps."""

    def __init__(self) -> None:
        self._steps = 0

    def __call__(self) -> int:
        self._steps += 1000
        return self._steps > MAX_STEPS


def _object(files: Files, path: bytes, found: object) -> Mapping[str, Any]:
    data = found.encode("utf-8", "surrogatepass") if isinstance(found, str) else found
    return mapping(files.parse(path, data) if isinstance(data, bytes) and data else None)


def _state(status: object, code: object, more: Mapping[str, Any]) -> ContainerState:
    word = STATES.get(status, "unknown") if isinstance(status, int) else "unknown"
    is_over = word in ("exited", "dead", "removing")
    started, finished = time(more.get("startedTime")), time(more.get("finishedTime"))
    return ContainerState(word, code if is_over and isinstance(code, int) else None, started, finished)
