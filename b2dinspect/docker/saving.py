"""Images as ``docker save`` writes them: a tar that ``docker load`` takes, under the same ids if it can be.

A layer's tar is made again from what the daemon kept of it (``tarsplit``). Where it kept nothing, or where
files are damaged, the tar is another one; then so are its diff id and the image's id, which is said.

Source: moby 20.10, image/tarexport/{save,load}.go; OCI image specification, config.md.
"""

from __future__ import annotations

import hashlib
import json
import posixpath
from collections.abc import Callable, Iterator, Sequence
from typing import Any

from b2dinspect.docker.changes import PathChange, compared
from b2dinspect.docker.facts import DataRoot, DockerImage, Layer
from b2dinspect.docker.merge import WHITEOUT, MergedLayers
from b2dinspect.docker.tarsplit import tar_split
from b2dinspect.errors import EvidenceError, FilesystemError
from b2dinspect.extraction.members import Fault, Member, Twins
from b2dinspect.extraction.tar import BLOCK, Emit, Style, TarWriter, header
from b2dinspect.records import NamedTuple

MANIFEST = b"manifest.json"
GRAPH_KEYS = (
    "architecture",
    "author",
    "config",
    "container",
    "container_config",
    "created",
    "docker_version",
    "os",
)
"""What goes over from an image of a Docker before 1.10 into a configuration as they are since."""


class Saved(NamedTuple):
    """An image that was written.

    Attributes:
        image: Which.
        id: Under which it will be loaded, 64 hexadecimal digits.
        changed: Layers, by their names in the store, that could not be made again byte for byte.
    """

    image: DockerImage
    id: str
    changed: tuple[str, ...]


class _Written(NamedTuple):
    """A layer in the tar: where, and the SHA-256 of its own tar."""

    path: bytes
    digest: str


def save(write: Emit, chosen: Sequence[tuple[DataRoot, DockerImage]], fault: Fault) -> list[Saved]:
    """Write images as a tar, each layer once.

    Args:
        write: Takes the bytes, in order.
        chosen: Images, and the data-roots that they are in.
        fault: Takes what is damaged, by image and path.
    """
    tar = TarWriter(write, fault)
    written: dict[bytes, _Written] = {}
    manifest: list[dict[str, Any]] = []
    saved: list[Saved] = []
    for root, image in chosen:
        try:
            one = _image(tar, write, root, image, written, fault)
        except EvidenceError as error:
            fault(image_name(image), error)
            continue
        layers = [written[layer.path] for layer in reversed(image.layers)]
        config = _configuration(image, [layer.digest for layer in layers])
        tar.file(f"{one.id}.json".encode(), config)
        paths = [layer.path.decode() for layer in layers]
        manifest.append({"Config": f"{one.id}.json", "RepoTags": list(image.tags) or None, "Layers": paths})
        saved.append(one)
    tar.file(MANIFEST, json.dumps(manifest, separators=(",", ":")).encode())
    tar.end()
    return saved


def image_name(image: DockerImage) -> bytes:
    """Return what an image is called: its first tag, or the beginning of its id."""
    return (image.tags[0] if image.tags else image.id[:12]).encode("utf-8", "surrogateescape")


def _image(
    tar: TarWriter,
    write: Emit,
    root: DataRoot,
    image: DockerImage,
    written: dict[bytes, _Written],
    fault: Fault,
) -> Saved:
    expected = _diff_ids(image)
    if expected is not None and len(expected) != len(image.layers):
        lost = len(expected) - len(image.layers)
        raise FilesystemError(f"{lost} of its {len(expected)} layers are not on this disk", layer="image")
    if not image.raw:
        raise FilesystemError("its configuration cannot be read", layer="image")

    def told(path: bytes, error: Any) -> None:
        fault(image_name(image) + b": " + path, error)

    for level in range(len(image.layers) - 1, -1, -1):
        layer = image.layers[level]
        if layer.path not in written:
            path = f"{hashlib.sha256(layer.path).hexdigest()}/layer.tar".encode()
            digest = _layer(write, path, root, image.layers[level:], told)
            written[layer.path] = _Written(path, digest)
    digests = [written[layer.path].digest for layer in reversed(image.layers)]
    wanted = expected or [""] * len(digests)
    pairs = zip(reversed(image.layers), digests, wanted, strict=True)
    changed = tuple(layer.id for layer, digest, want in pairs if digest != want)
    identity = hashlib.sha256(_configuration(image, digests)).hexdigest()
    return Saved(image, identity, changed)


def _layer(write: Emit, path: bytes, root: DataRoot, layers: Sequence[Layer], fault: Fault) -> str:
    """Write the tar of the topmost of these layers as a member; return its SHA-256."""
    size, content = _content(root, layers, fault)
    digest = hashlib.sha256()
    done = 0

    def through(data: bytes) -> None:
        nonlocal done
        digest.update(data)
        done += len(data)
        write(data)

    write(header(path, b"0", size=size))
    content(through)
    if done != size:
        raise AssertionError(f"a layer of {done} bytes, not {size}")
    write(bytes(-size % BLOCK))
    return digest.hexdigest()


def _content(root: DataRoot, layers: Sequence[Layer], fault: Fault) -> tuple[int, Callable[[Emit], None]]:
    """Return the size of a layer's tar, and what writes it."""
    kept = tar_split(root.files, layers[0])
    if kept is not None:
        try:
            return kept.size(), lambda write: kept.write(write, fault)
        except EvidenceError as error:
            fault(b"", error)
    size = 0

    def count(data: bytes) -> None:
        nonlocal size
        size += len(data)

    layer_tar(count, root, layers, lambda *_: None)
    return size, lambda write: layer_tar(write, root, layers, fault)


def layer_tar(write: Emit, root: DataRoot, layers: Sequence[Layer], fault: Fault) -> None:
    """Write the topmost of these layers as a tar of our own, with ``.wh.`` before the names that it hides.

    Args:
        write: Takes the bytes.
        root: Where they are.
        layers: It, and all below.
        fault: Takes what is damaged.
    """
    old = MergedLayers(root.files, layers[1:], fault) if len(layers) > 1 else None
    tar = TarWriter(write, fault, Style(fill=True))
    for member in changed_members(
        root, sorted(compared(MergedLayers(root.files, layers, fault), old, fault), key=_path)
    ):
        if isinstance(member, Member):
            tar.add(member)
        else:
            folder, name = posixpath.split(member)
            tar.file(posixpath.join(folder, WHITEOUT + name), b"", 0o600)
    tar.end()


def changed_members(root: DataRoot, changes: Sequence[PathChange]) -> Iterator[Member | bytes]:
    """Yield what was added or changed as members, and of what was deleted the path."""
    twins = Twins()
    for change in changes:
        path = change.path.removeprefix(b"/")
        found = change.found
        if found is None:
            yield path
        else:
            yield twins.member(path, found.entry, root.files, found.body)._replace(is_layered=True)


def _path(change: PathChange) -> bytes:
    return change.path


def _diff_ids(image: DockerImage) -> list[str] | None:
    """Return the SHA-256 of each layer's tar, base first; None before Docker 1.10, which knew none."""
    rootfs = image.config.get("rootfs")
    found = rootfs.get("diff_ids") if isinstance(rootfs, dict) else None
    return [str(one).removeprefix("sha256:") for one in found] if isinstance(found, list) else None


def _configuration(image: DockerImage, digests: Sequence[str]) -> bytes:
    """Return an image's configuration: its own bytes when it has these layers, else another one."""
    if _diff_ids(image) == list(digests):
        return image.raw
    if _diff_ids(image) is not None:
        config = dict(image.config)
    else:
        config = {key: image.config[key] for key in GRAPH_KEYS if key in image.config}
        steps = [{"created": one.created, "created_by": one.created_by} for one in reversed(image.history)]
        if len(steps) == len(digests):
            config["history"] = steps
    config["rootfs"] = {"type": "layers", "diff_ids": [f"sha256:{one}" for one in digests]}
    return json.dumps(config, separators=(",", ":")).encode()
