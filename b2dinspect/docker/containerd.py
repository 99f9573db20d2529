"""Containers and images as containerd keeps them: minikube's with that runtime, and Docker's own from 29 on.

``io.containerd.metadata.v1.bolt/meta.db`` (BoltDB) has for each namespace images, containers and snapshots;
``io.containerd.content.v1.content/blobs/sha256`` their manifests and configurations; each snapshotter has a
BoltDB of its own that says which number a snapshot has, and keeps its files in ``snapshots/NUMBER/fs``. What
a container runs is in its ``spec``, an OCI runtime document in an Any of protobuf.

Source: containerd, metadata/buckets.go, metadata/boltutil/helpers.go, snapshots/storage/bolt.go; OCI image
specification, manifest.md.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import UTC, datetime
from typing import Any

from b2dinspect.docker.bolt import MAX_FILE, Bolt, Bucket
from b2dinspect.docker.facts import (
    ContainerState,
    Contents,
    DataRoot,
    DockerContainer,
    DockerImage,
    HistoryEntry,
    Layer,
)
from b2dinspect.docker.files import Files, bare, is_name
from b2dinspect.docker.layers import MAX_LAYERS, chain_ids
from b2dinspect.docker.protobuf import protobuf, varint
from b2dinspect.docker.values import mapping, sequence, text, texts, time
from b2dinspect.errors import EvidenceError
from b2dinspect.filesystems.ext4 import show
from b2dinspect.findings import Finding
from b2dinspect.records import NamedTuple

DATABASE = b"/io.containerd.metadata.v1.bolt/meta.db"
CONTENT = b"/io.containerd.content.v1.content/blobs/sha256/"
SNAPSHOTTER = b"/io.containerd.snapshotter.v1."
READ = ("overlayfs", "native")
"""Snapshotters whose snapshots are directories."""
SANDBOX = "io.cri-containerd.kind"
"""Label that tells Kubernetes' pause containers (``sandbox``) from the others."""
POD_NAMES = ("io.kubernetes.pod.namespace", "io.kubernetes.pod.name", "io.kubernetes.container.name")


class _Snapshot(NamedTuple):
    """A snapshot: its directory's number, and the key of the one below it."""

    number: int
    parent: str
    size: int | None


def read(root: DataRoot) -> Contents:
    """Return what containerd's data-root holds, Kubernetes' pause containers left out."""
    files = Files(root.files)
    containers: list[DockerContainer] = []
    images: list[DockerImage] = []
    database = _open(files, root.path + DATABASE)
    store = _Store(root.path, files)
    try:
        version = database.root.bucket(b"v1") if database else None
        for name, namespace in version.buckets() if version else ():
            snapshots = _keys(namespace)
            images += _images(namespace, store, snapshots)
            containers += _containers(name, namespace, store, snapshots)
    except EvidenceError as error:
        files.complain(root.path + DATABASE, str(error))
    images.sort(key=lambda image: image.created, reverse=True)
    containers.sort(key=lambda container: container.created, reverse=True)
    return Contents(root, tuple(containers), tuple(images), (), files.take_problems())


class Snapshots:
    """The layers of the containers of a Docker that leaves them to containerd, below that or beside it.

    Docker keeps the snapshot of a container in the namespace ``moby``, under the container's id.
    """

    def __init__(self, files: Files, data_root: bytes) -> None:
        self._files = files
        self._places = (data_root + b"/containerd/daemon", b"/var/lib/containerd")
        self._known: dict[str, tuple[_Store, str, str]] | None = None

    def of_container(self, identity: str) -> tuple[Layer, ...]:
        """Return the layers of a container, its own first; none when no snapshotter has them."""
        if self._known is None:
            self._known = dict(self._found())
        if identity not in self._known:
            return ()
        store, snapshotter, key = self._known[identity]
        return store.layers(snapshotter, key)

    def _found(self) -> Iterator[tuple[str, tuple[_Store, str, str]]]:
        for path in self._places:
            database, store = _open(self._files, path + DATABASE), _Store(path, self._files)
            try:
                namespace = database.root.bucket(b"v1", b"moby") if database else None
                for (snapshotter, name), key in (_keys(namespace) if namespace else {}).items():
                    if snapshotter in READ:
                        yield name, (store, snapshotter, key)
            except EvidenceError as error:
                self._files.complain(path + DATABASE, str(error))


def _open(files: Files, path: bytes) -> Bolt | None:
    data = files.read(path, MAX_FILE)
    if not data:
        return None
    try:
        return Bolt(data)
    except EvidenceError as error:
        files.complain(path, str(error))
        return None


def _keys(namespace: Bucket) -> Mapping[tuple[str, str], str]:
    """Return under which key its snapshotter knows a snapshot, by snapshotter and name."""
    found: dict[tuple[str, str], str] = {}
    snapshots = namespace.bucket(b"snapshots")
    for snapshotter, bucket in snapshots.buckets() if snapshots else ():
        for name, snapshot in bucket.buckets():
            found[_decoded(snapshotter), _decoded(name)] = _decoded(snapshot.values().get(b"name", b""))
    return found


class _Store:
    """The blobs, and the directories of the snapshots."""

    def __init__(self, root: bytes, files: Files) -> None:
        self.root = root
        self.files = files
        self._snapshots: dict[str, Mapping[str, _Snapshot]] = {}

    def blob(self, digest: object) -> bytes | None:
        """Return a blob that is a document; None when it is not there."""
        name = bare(digest)
        return self.files.read(self.root + CONTENT + name.encode(), 8 << 20) if name else None

    def document(self, digest: object) -> Mapping[str, Any]:
        """Return a JSON blob; an empty one when it is not there."""
        data = self.blob(digest)
        return mapping(self.files.parse(self.root + CONTENT, data) if data else None)

    def layers(self, snapshotter: str, key: str) -> tuple[Layer, ...]:
        """Return the layers from a snapshot down."""
        if snapshotter not in self._snapshots:
            self._snapshots[snapshotter] = dict(self._read(snapshotter))
        known = self._snapshots[snapshotter]
        place = self.root + SNAPSHOTTER + snapshotter.encode("utf-8", "surrogateescape") + b"/snapshots/"
        found: list[Layer] = []
        while key in known and len(found) < MAX_LAYERS:
            snapshot = known[key]
            folder = place + str(snapshot.number).encode()
            path = folder + b"/fs" if snapshotter == "overlayfs" else folder
            driver = "overlay2" if snapshotter == "overlayfs" else snapshotter
            found.append(Layer(str(snapshot.number), path, driver, snapshotter == "native", snapshot.size))
            key = snapshot.parent
        return tuple(layer for layer in found if self.files.is_directory(layer.path))

    def _read(self, snapshotter: str) -> Iterator[tuple[str, _Snapshot]]:
        if not is_name(snapshotter) or not snapshotter.isascii():
            return
        path = self.root + SNAPSHOTTER + snapshotter.encode() + b"/metadata.db"
        database = _open(self.files, path)
        bucket = database.root.bucket(b"v1", b"snapshots") if database else None
        for key, snapshot in bucket.buckets() if bucket else ():
            values = snapshot.values()
            number, size = (_number(values.get(name)) for name in (b"id", b"size"))
            if number is not None:
                yield _decoded(key), _Snapshot(number, _decoded(values.get(b"parent", b"")), size)


def _images(
    namespace: Bucket, store: _Store, snapshots: Mapping[tuple[str, str], str]
) -> Iterator[DockerImage]:
    names: dict[str, list[str]] = {}
    bucket = namespace.bucket(b"images")
    for name, image in bucket.buckets() if bucket else ():
        target = image.bucket(b"target")
        digest = _decoded(target.values().get(b"digest", b"")) if target else ""
        names.setdefault(digest, []).append(_decoded(name))
    for digest, called in names.items():
        manifest = _manifest(store, digest)
        config = mapping(manifest.get("config")).get("digest")
        raw = store.blob(config) or b""
        document = mapping(store.files.parse(store.root + CONTENT, raw) if raw else None)
        identity = bare(config) or bare(digest)
        short = [_familiar(name) for name in called if not name.startswith("sha256:")]
        problems: tuple[Finding, ...] = ()
        if not document:
            why = f"{short[0] if short else digest}: its configuration is not among the blobs"
            problems = (Finding("docker-unreadable", "warning", why),)
        steps = _history(identity, document, short)
        sizes = [mapping(one).get("size") for one in sequence(manifest.get("layers"))]
        size = sum(one for one in sizes if isinstance(one, int)) if sizes else None
        yield DockerImage(
            identity,
            tuple(sorted(name for name in short if "@" not in name)),
            tuple(sorted(name for name in short if "@" in name)),
            time(document.get("created")),
            size,
            "overlayfs",
            _image_layers(document, store, snapshots),
            document,
            raw,
            history=steps,
            problems=problems,
        )


def _manifest(store: _Store, digest: str) -> Mapping[str, Any]:
    """Return an image's manifest; of an index, the first whose configuration is here."""
    found = store.document(digest)
    for one in sequence(found.get("manifests"))[:64]:
        manifest = store.document(mapping(one).get("digest"))
        if store.blob(mapping(manifest.get("config")).get("digest")):
            return manifest
    return found


def _image_layers(
    document: Mapping[str, Any], store: _Store, snapshots: Mapping[tuple[str, str], str]
) -> tuple[Layer, ...]:
    """Return an image's layers: its snapshot is called by the chain id of its top layer."""
    diff_ids = sequence(mapping(document.get("rootfs")).get("diff_ids"))[:MAX_LAYERS]
    if not diff_ids:
        return ()
    name = f"sha256:{chain_ids(diff_ids)[-1]}"
    for (snapshotter, known), key in snapshots.items():
        if known == name and snapshotter in READ:
            layers = store.layers(snapshotter, key)
            ids = [bare(one) for one in reversed(diff_ids)]
            if len(ids) != len(layers):
                return layers
            return tuple(
                layer._replace(diff_id=f"sha256:{one}") for layer, one in zip(layers, ids, strict=True)
            )
    return ()


def _history(identity: str, document: Mapping[str, Any], tags: list[str]) -> tuple[HistoryEntry, ...]:
    found = [
        HistoryEntry(
            "", time(step.get("created")), text(step.get("created_by")), None, text(step.get("comment"))
        )
        for step in map(mapping, sequence(document.get("history"))[:10_000])
    ]
    if found:
        found[-1] = found[-1]._replace(image_id=identity, tags=tuple(tags))
    return tuple(reversed(found))


def _containers(
    space: bytes, namespace: Bucket, store: _Store, snapshots: Mapping[tuple[str, str], str]
) -> Iterator[DockerContainer]:
    bucket = namespace.bucket(b"containers")
    for key, container in bucket.buckets() if bucket else ():
        values = container.values()
        held = container.bucket(b"labels")
        labels = {_decoded(name): _decoded(value) for name, value in (held.values() if held else {}).items()}
        if labels.get(SANDBOX) == "sandbox":
            continue
        spec = _spec(store.files, values.get(b"spec", b""))
        process = mapping(spec.get("process"))
        identity, snapshotter = _decoded(key), _decoded(values.get(b"snapshotter", b""))
        names = [labels[name] for name in POD_NAMES if labels.get(name)]
        layers: tuple[Layer, ...] = ()
        if snapshotter in READ:
            wanted = _decoded(values.get(b"snapshotKey", b""))
            layers = store.layers(snapshotter, snapshots.get((snapshotter, wanted), ""))
        problems: tuple[Finding, ...] = ()
        if not layers:
            why = f"{show(key)}: its snapshot is not read (snapshotter {snapshotter or 'unknown'})"
            problems = (Finding("docker-unreadable", "warning", why),)
        yield DockerContainer(
            identity,
            "/".join(names) or identity,
            _familiar(_decoded(values.get(b"image", b""))),
            "",
            texts(process.get("args")),
            go_time(values.get(b"createdat", b"")),
            ContainerState("unknown", None, "", ""),
            labels,
            (),
            snapshotter,
            layers,
            layers[1:],
            "k8s-file" if names else "none",
            b"",
            {"Namespace": _decoded(space), "Spec": spec},
            log_places=_pod_logs(labels),
            problems=problems,
        )


def _pod_logs(labels: Mapping[str, str]) -> tuple[bytes, ...]:
    """Return where Kubernetes writes the log: ``/var/log/pods/NAMESPACE_POD_UID/CONTAINER``."""
    words = [labels.get(name, "") for name in (*POD_NAMES[:2], "io.kubernetes.pod.uid", POD_NAMES[2])]
    if not all(is_name(word) for word in words):
        return ()
    folder, name = "_".join(words[:3]), words[3]
    return (f"/var/log/pods/{folder}/{name}".encode("utf-8", "replace"),)


def _spec(files: Files, data: bytes) -> Mapping[str, Any]:
    """Return the OCI runtime document in an Any: 1 its type, 2 its value."""
    try:
        value = dict(protobuf(data)).get(2, b"")
        return mapping(files.parse(DATABASE, value) if isinstance(value, bytes) and value else None)
    except ValueError:
        return {}


def _number(data: bytes | None) -> int | None:
    """Return a number as Go's encoding/binary writes it: a varint, its sign in the last bit of ``size``."""
    try:
        return varint(data)[0] if data else None
    except ValueError:
        return None


def go_time(data: bytes) -> str:
    r"""Return a time as Go's time.Time marshals it, in RFC 3339; "" for none.

    A version, seconds since the year 1 and nanoseconds (big-endian), and minutes to UTC.

    >>> go_time(bytes([1]) + (62135596801).to_bytes(8, "big") + (5).to_bytes(4, "big") + b"\xff\xff")
    '1970-01-01T00:00:01.000000005Z'
    """
    if len(data) < 15 or data[0] not in (1, 2):
        return ""
    seconds = int.from_bytes(data[1:9], "big", signed=True) - 62_135_596_800
    nanoseconds = int.from_bytes(data[9:13], "big")
    try:
        return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{nanoseconds:09d}Z"
    except (ValueError, OverflowError, OSError):
        return ""


def _familiar(name: str) -> str:
    """Return a reference as the docker CLI writes it."""
    return name.removeprefix("docker.io/").removeprefix("library/")


def _decoded(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")
