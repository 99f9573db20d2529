"""Layers of Docker's own stores: which directories an image or a container is made of, top to bottom.

Since Docker 1.10 ``image/DRIVER/layerdb/sha256/CHAIN`` has ``cache-id`` (the directory's name), ``parent``
(another chain id), ``diff`` and ``size``; ``layerdb/mounts/CONTAINER`` has ``mount-id``, ``init-id`` and
``parent``. Before it, ``graph/ID/json`` names the parent, and the directory has the id of the image or the
container.

Source: moby, layer/filestore.go, daemon/graphdriver/{aufs,overlay,overlay2,vfs}; docker 1.9, graph/graph.go.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

from b2dinspect.docker.facts import DRIVERS, DataRoot, Layer
from b2dinspect.docker.files import Files, bare, is_id, is_name
from b2dinspect.docker.values import number
from b2dinspect.records import NamedTuple

MAX_LAYERS = 512
"""Layers of one image; overlay2 refuses more than 128, aufs more than 127."""


class ContainerLayers(NamedTuple):
    """What a container is made of: see ``DockerContainer``."""

    layers: tuple[Layer, ...]
    base: tuple[Layer, ...]


class LayerStore:
    """The layers of one storage driver in a data-root."""

    def __init__(self, root: DataRoot, files: Files, driver: str) -> None:
        self._files = files
        self._driver = driver
        self._store = root.path + b"/" + driver.encode()
        self._database = root.path + b"/image/" + driver.encode() + b"/layerdb"
        self._graph = root.path + b"/graph"
        self._layers: dict[str, tuple[Layer, str]] = {}

    def of_image(self, diff_ids: Sequence[object]) -> tuple[Layer | None, ...]:
        """Return the layers of an image, top to bottom; None for one that is not here.

        Args:
            diff_ids: As in ``rootfs.diff_ids`` of its configuration, base first.
        """
        found: list[Layer | None] = []
        for chain in chain_ids(diff_ids[:MAX_LAYERS]):
            layer, _ = self._layer(chain)
            found.append(layer)
        return tuple(reversed(found))

    def of_chain(self, chain: str) -> tuple[Layer, ...]:
        """Return the layers from this one down to the base, as each names its parent."""
        found: list[Layer] = []
        seen: set[str] = set()
        while chain and chain not in seen and len(found) < MAX_LAYERS:
            seen.add(chain)
            layer, parent = self._layer(chain)
            if layer is None:
                self._files.complain(self._at(chain), "no such layer")
                return tuple(found)
            found.append(layer)
            chain = parent
        if chain:
            self._files.complain(self._at(chain), "layers that name each other, or too many")
        return tuple(found)

    def of_container(self, identity: str, image: str) -> ContainerLayers:
        """Return the layers of a container.

        Args:
            identity: Its id.
            image: The id of its image, which alone leads further before Docker 1.10.
        """
        mount = self._database + b"/mounts/" + identity.encode()
        mount_id = self._files.text(mount + b"/mount-id")
        if mount_id is None:
            mount_id, init_id, below = identity, f"{identity}-init", self.of_graph(image)
        else:
            init_id = self._files.text(mount + b"/init-id") or ""
            chain = bare(self._files.text(mount + b"/parent"))
            below = self.of_chain(chain) if chain else ()
        own, init = (self._directory(name) if name else None for name in (mount_id, init_id))
        if own is None:
            return ContainerLayers((), ())
        base = (init, *below) if init else below
        # An overlay container has a copy of its init layer in its own, and mounts the image below that.
        return ContainerLayers((own, *(below if self._driver == "overlay" else base)), base)

    def of_graph(self, image: str) -> tuple[Layer, ...]:
        """Return the layers of an image of a Docker before 1.10, top to bottom."""
        found: list[Layer] = []
        seen: set[str] = set()
        while is_id(image) and image not in seen and len(found) < MAX_LAYERS:
            seen.add(image)
            metadata = self._graph + b"/" + image.encode()
            document = self._files.json(metadata + b"/json")
            if document is None:
                self._files.complain(metadata, "no such image")
                return tuple(found)
            if layer := self._directory(image):
                size = number(self._files.text(metadata + b"/layersize"))
                found.append(layer._replace(size=size, metadata=metadata))
            image = bare(document.get("parent"))
        if image in seen:
            self._files.complain(self._graph + b"/" + image.encode(), "images that name each other")
        return tuple(found)

    def _at(self, chain: str) -> bytes:
        return self._database + b"/sha256/" + chain.encode()

    def _layer(self, chain: str) -> tuple[Layer | None, str]:
        """Return a layer by its chain id, and the chain id of its parent."""
        if chain not in self._layers:
            place = self._at(chain)
            name = self._files.text(place + b"/cache-id")
            layer = self._directory(name) if name else None
            if layer is None:
                return None, ""
            layer = layer._replace(
                size=number(self._files.text(place + b"/size")),
                diff_id=f"sha256:{bare(self._files.text(place + b'/diff'))}".removesuffix("sha256:"),
                metadata=place,
            )
            self._layers[chain] = layer, bare(self._files.text(place + b"/parent"))
        return self._layers[chain]

    def _directory(self, name: str) -> Layer | None:
        """Return the layer that the driver keeps under a name; None when it keeps none."""
        if not is_name(name) or not name.isascii():
            self._files.complain(self._store, f"{name[:80]!a} is no name of a layer")
            return None
        path, is_whole = self._content(name.encode())
        if self._driver not in DRIVERS:
            return Layer(name, b"", self._driver)
        if not self._files.is_directory(path):
            return None
        return Layer(name, path, self._driver, is_whole)

    def _content(self, name: bytes) -> tuple[bytes, bool]:
        """Return the directory with a layer's files, and whether nothing below it counts."""
        if self._driver == "aufs":
            return self._store + b"/diff/" + name, False
        if self._driver == "vfs":
            return self._store + b"/dir/" + name, True
        if self._driver == "overlay" and self._files.is_directory(self._store + b"/" + name + b"/root"):
            return self._store + b"/" + name + b"/root", True
        upper = b"/upper" if self._driver == "overlay" else b"/diff"
        return self._store + b"/" + name + upper, False


def chain_ids(diff_ids: Sequence[object]) -> list[str]:
    """Return the chain id of each layer, base first: SHA-256 of the one below it, a space, and its diff id.

    Source: OCI image specification, config.md, "Layer ChainID".

    >>> chain_ids(["sha256:" + 64 * "a", "sha256:" + 64 * "b"])[1][:8]
    'ccd72292'
    """
    found: list[str] = []
    for diff in map(bare, diff_ids):
        text = f"sha256:{found[-1]} sha256:{diff}" if found else ""
        found.append(hashlib.sha256(text.encode()).hexdigest() if text else diff)
    return found
