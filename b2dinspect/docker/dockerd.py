"""Containers, images and volumes as Docker's daemon keeps them, in both generations of its files.

Since Docker 1.10: ``containers/ID/config.v2.json``, ``image/DRIVER/imagedb/content/sha256/ID`` and
``repositories.json``. Before: ``containers/ID/config.json``, ``graph/ID/json`` and ``repositories-DRIVER``.

Source: moby, container/container.go, image/fs.go, reference/store.go; docker 1.9, graph/tags.go.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from typing import Any

from b2dinspect.docker import containerd
from b2dinspect.docker.facts import (
    UNREAD_DRIVERS,
    ContainerState,
    ContainerStatus,
    Contents,
    DataRoot,
    DockerContainer,
    DockerImage,
    HistoryEntry,
    Mount,
)
from b2dinspect.docker.files import Files, bare, is_id
from b2dinspect.docker.layers import ContainerLayers, LayerStore
from b2dinspect.docker.values import mapping, sequence, strings, text, texts, time, total
from b2dinspect.docker.volumes import guest_path, read_volumes

CONFIGS = (b"config.v2.json", b"config.json")
"""Of a container, newest generation first: the older one stays behind an upgrade."""


def read(root: DataRoot) -> Contents:
    """Return what a daemon's data-root holds."""
    files = Files(root.files)
    stores = {driver: LayerStore(root, files, driver) for driver in root.drivers}
    images = [image for driver in root.drivers for image in _images(root, files, driver, stores[driver])]
    containers = [*_containers(root, files, stores)]
    images.sort(key=lambda image: image.created, reverse=True)
    containers.sort(key=lambda container: container.created, reverse=True)
    volumes = read_volumes(root, files, containers)
    return Contents(root, tuple(containers), tuple(images), volumes, files.take_problems())


def count(root: DataRoot) -> tuple[int, int, int]:
    """Return how many containers, images with a name, and volumes there are, without a look at each."""
    files = Files(root.files)
    containers = [name for name in files.names(root.path + b"/containers") if is_id(name.decode("latin-1"))]
    volumes = root.path + b"/volumes"
    there = [name for name in files.names(volumes) if files.is_directory(volumes + b"/" + name)]
    images = {image for driver in root.drivers for image in _repositories(files, *_names_of(root, driver))}
    return len(containers), len(images), len(there)


def _names_of(root: DataRoot, driver: str) -> tuple[bytes, bytes]:
    """Return the files in which a driver's images may have their names, newest generation first."""
    name = driver.encode()
    return (
        root.path + b"/image/" + name + b"/repositories.json",
        root.path + b"/repositories-" + name,
    )


def _containers(root: DataRoot, files: Files, stores: Mapping[str, LayerStore]) -> Iterator[DockerContainer]:
    snapshots = containerd.Snapshots(files, root.path)
    for name in files.names(root.path + b"/containers"):
        identity = name.decode("ascii", "replace")
        path = root.path + b"/containers/" + name
        if not is_id(identity):
            files.complain(path, "no container's id")
            continue
        document = next(
            (found for one in CONFIGS if (found := files.json(path + b"/" + one)) is not None), None
        )
        if document is None:
            files.complain(path, "a container without a configuration that can be read")
            continue
        yield _container(root, identity, document, files, stores, snapshots)


def _container(
    root: DataRoot,
    identity: str,
    document: Mapping[str, Any],
    files: Files,
    stores: Mapping[str, LayerStore],
    snapshots: containerd.Snapshots,
) -> DockerContainer:
    path = root.path + b"/containers/" + identity.encode()
    earlier = files.take_problems()
    config = mapping(document.get("Config"))
    host = files.json(path + b"/hostconfig.json")
    driver = text(document.get("Driver"))
    image = bare(document.get("Image"))
    store = stores.get(driver)
    is_unread = driver in UNREAD_DRIVERS
    layers, base = store.of_container(identity, image) if store and not is_unread else ContainerLayers((), ())
    if not layers and driver in containerd.READ:
        layers = snapshots.of_container(identity)
        base = layers[1:]
    if is_unread:
        files.complain(path, f"its files are kept by the {driver} driver, which is not read")
    elif not layers:
        files.complain(path, f"no layer of its own in the store of {driver or 'any driver'}")
    log = mapping(mapping(host).get("LogConfig"))
    problems = files.take_problems()
    files.problems.extend(earlier)
    return DockerContainer(
        identity,
        text(document.get("Name")).removeprefix("/"),
        text(config.get("Image")),
        image,
        (text(document.get("Path")), *texts(document.get("Args"))),
        time(document.get("Created")),
        state(mapping(document.get("State"))),
        strings(config.get("Labels")),
        tuple(_mounts(document, guest_path(document, identity))),
        driver,
        layers,
        base,
        text(log.get("Type")) or "json-file",
        path,
        document,
        host,
        problems=problems,
    )


def state(found: Mapping[str, Any]) -> ContainerState:
    """Return a container's state, as the daemon puts it into a word.

    Source: moby, container/state.go, StateString.
    """
    started, finished = time(found.get("StartedAt")), time(found.get("FinishedAt"))
    status: ContainerStatus
    if found.get("Running"):
        status = "paused" if found.get("Paused") else "restarting" if found.get("Restarting") else "running"
    elif found.get("RemovalInProgress"):
        status = "removing"
    elif found.get("Dead"):
        status = "dead"
    else:
        status = ("exited" if started else "created") if found else "unknown"
    code = found.get("ExitCode")
    is_over = status in ("exited", "dead", "removing")
    return ContainerState(
        status,
        code if is_over and isinstance(code, int) else None,
        started,
        finished,
        text(found.get("Error")),
    )


def _mounts(document: Mapping[str, Any], inside: str) -> Iterator[Mount]:
    points = mapping(document.get("MountPoints"))
    for destination, point in sorted(points.items()):
        point = mapping(point)
        name, driver = text(point.get("Name")), text(point.get("Driver"))
        kind = text(point.get("Type")) or ("volume" if name else "bind")
        source = text(point.get("Source"))
        if kind == "volume" and driver == "local" and not source:
            source = f"{inside}/volumes/{name}/_data"  # an anonymous one, noted by its name alone
        yield Mount(kind, name, source, destination, driver, point.get("RW") is not False)
    writable = mapping(document.get("VolumesRW"))
    for destination, source in sorted(strings(document.get("Volumes")).items()):
        if destination not in points:  # Docker before 1.7
            last = source.rstrip("/").removesuffix("/_data").rpartition("/")[2]
            is_volume = is_id(last)
            yield Mount(
                "volume" if is_volume else "bind",
                last if is_volume else "",
                source,
                destination,
                "local" if is_volume else "",
                writable.get(destination) is not False,
            )


def _images(root: DataRoot, files: Files, driver: str, store: LayerStore) -> Iterator[DockerImage]:
    place = root.path + b"/image/" + driver.encode()
    if files.is_directory(place + b"/imagedb"):
        found = [*_stored_images(place, files, driver, store)]
    else:
        found = [*_graph_images(root, files, driver, store)]
    names = _repositories(files, *_names_of(root, driver))
    found = [
        image._replace(tags=names.get(image.id, ((), ()))[0], digests=names.get(image.id, ((), ()))[1])
        for image in found
    ]
    parents = {image.parent for image in found}
    known = {image.id: image for image in found}
    for image in found:
        is_step = not image.tags and not image.digests and image.id in parents
        yield image._replace(history=_history(image, known), is_intermediate=is_step)


def _stored_images(place: bytes, files: Files, driver: str, store: LayerStore) -> Iterator[DockerImage]:
    contents = place + b"/imagedb/content/sha256"
    for name in files.names(contents):
        identity = name.decode("ascii", "replace")
        path = contents + b"/" + name
        if not is_id(identity):
            files.complain(path, "no image's id")
            continue
        earlier = files.take_problems()
        raw = files.read(path, 8 << 20) or b""
        document = mapping(files.parse(path, raw) if raw else None)
        if raw and hashlib.sha256(raw).hexdigest() != identity:
            files.complain(path, "changed since it was written: it has another SHA-256 than its name says")
        layers = store.of_image(sequence(mapping(document.get("rootfs")).get("diff_ids")))
        if None in layers:
            files.complain(path, f"{layers.count(None)} of its {len(layers)} layers are not on this disk")
        parent = bare(files.text(place + b"/imagedb/metadata/sha256/" + name + b"/parent"))
        here = tuple(layer for layer in layers if layer)
        problems = files.take_problems()
        files.problems.extend(earlier)
        size = total(here) if len(here) == len(layers) else None
        created = time(document.get("created"))
        yield DockerImage(
            identity, (), (), created, size, driver, here, document, raw, parent, problems=problems
        )


def _graph_images(root: DataRoot, files: Files, driver: str, store: LayerStore) -> Iterator[DockerImage]:
    graph = root.path + b"/graph"
    for name in files.names(graph):
        identity = name.decode("ascii", "replace")
        if not is_id(identity):
            continue  # graph/_tmp
        earlier = files.take_problems()
        raw = files.read(graph + b"/" + name + b"/json", 8 << 20) or b""
        document = mapping(files.parse(graph + b"/" + name, raw) if raw else None)
        layers = store.of_graph(identity)
        problems = files.take_problems()
        files.problems.extend(earlier)
        created, parent = time(document.get("created")), bare(document.get("parent"))
        size = total(layers)
        yield DockerImage(
            identity, (), (), created, size, driver, layers, document, raw, parent, problems=problems
        )


def _history(image: DockerImage, known: Mapping[str, DockerImage]) -> tuple[HistoryEntry, ...]:
    """Return an image's history, newest first.

    Source: moby, daemon/images/image_history.go; docker 1.9, graph/history.go.
    """
    steps = sequence(image.config.get("history"))
    lineage = [*_lineage(image, known)]
    if not steps:
        return tuple(
            HistoryEntry(
                one.id,
                one.created,
                " ".join(texts(mapping(one.config.get("container_config")).get("Cmd"))),
                one.layers[0].size if one.layers else None,
                text(one.config.get("comment")),
                one.tags,
            )
            for one in lineage
        )
    layers = list(reversed(image.layers))
    is_whole = len(layers) == len(sequence(mapping(image.config.get("rootfs")).get("diff_ids")))
    found: list[HistoryEntry] = []
    for step in map(mapping, steps[:10_000]):
        size: int | None = 0
        if not step.get("empty_layer"):
            size = layers.pop(0).size if layers and is_whole else None
        comment = text(step.get("comment"))
        found.append(HistoryEntry("", time(step.get("created")), text(step.get("created_by")), size, comment))
    found.reverse()
    for index, one in enumerate(lineage[: len(found)]):
        found[index] = found[index]._replace(image_id=one.id, tags=one.tags)
    return tuple(found)


def _lineage(image: DockerImage, known: Mapping[str, DockerImage]) -> Iterator[DockerImage]:
    seen: set[str] = set()
    here: DockerImage | None = image
    while here is not None and here.id not in seen:
        seen.add(here.id)
        yield here
        here = known.get(here.parent)


Names = Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]


def _repositories(files: Files, *paths: bytes) -> Names:
    """Return the tags and digests of each image."""
    document = next((found for path in paths if (found := files.json(path)) is not None), {})
    tags: dict[str, list[str]] = {}
    digests: dict[str, list[str]] = {}
    for repository, references in mapping(document.get("Repositories")).items():
        for reference, digest in strings(references).items():
            # Before Docker 1.10 a reference is a tag alone.
            is_full = (
                reference.startswith(repository) and reference[len(repository) : len(repository) + 1] in "@:"
            )
            name = reference if is_full and reference != repository else f"{repository}:{reference}"
            (digests if "@" in name else tags).setdefault(bare(digest), []).append(name)
    known = tags.keys() | digests.keys()
    return {one: (tuple(sorted(tags.get(one, ()))), tuple(sorted(digests.get(one, ())))) for one in known}
