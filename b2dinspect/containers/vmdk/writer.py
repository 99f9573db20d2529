"""Makes new VMDK disks: monolithicSparse, streamOptimized, and the flat file of monolithicFlat."""

from __future__ import annotations

import os
import uuid
from typing import TYPE_CHECKING, Literal

from b2dinspect.containers.vmdk import FORMAT
from b2dinspect.containers.vmdk.descriptor import NO_UUID, build_descriptor, check_name, flat_descriptor
from b2dinspect.containers.vmdk.stores import FlatStore, SparseStore, StreamStore
from b2dinspect.records import NamedTuple
from b2dinspect.source import SECTOR

if TYPE_CHECKING:
    from b2dinspect.containers.base import Container
    from b2dinspect.identity import Identities
    from b2dinspect.newfile import Sink
    from b2dinspect.source import FileSource

MAX_SIZE = 1 << 46

Variant = Literal["monolithicSparse", "streamOptimized", "monolithicFlat"]
_STORES: dict[str, type[SparseStore | StreamStore | FlatStore]] = {
    "monolithicSparse": SparseStore,
    "streamOptimized": StreamStore,
    "monolithicFlat": FlatStore,
}
DATA_FILES = {"monolithicFlat": "-flat.vmdk"}
"""Subformats that keep the disk in a file of its own, and how its name ends."""


class Identity(NamedTuple):
    """The UUIDs of an image as VirtualBox keeps them (``ddb.uuid``); pin them for reproducible files."""

    image: uuid.UUID
    modification: uuid.UUID
    parent: uuid.UUID = NO_UUID
    parent_modification: uuid.UUID = NO_UUID


class VmdkWriter:
    """Makes a new VMDK in grains of 64 KiB, stored when something other than zeros is written to them.

    ``monolithicSparse`` is laid out as VirtualBox does it: descriptor of 20 sectors, redundant directory and
    tables, directory and tables, and grains in the order of writing. ``streamOptimized`` must be written from
    front to back; its bytes depend on the zlib that packs them. ``monolithicFlat`` writes the flat file only,
    which is raw: ``descriptor()`` is the text that belongs beside it.

    Headers, tables and descriptor reach the file by ``flush()``; until then the file is no VMDK.

    Args:
        sink: An empty file to write to.
        virtual_size: Bytes, a multiple of 512.
        variant: Which kind.
        identity: UUIDs.
        cid: Content identity, 0 to 0xfffffffe.
        name: Of the extent, for the descriptor: the file's own name, or that of the flat file.

    Attributes:
        size: The virtual size.

    Raises:
        ValueError: An argument makes no VMDK.
    """

    def __init__(
        self,
        sink: Sink,
        virtual_size: int,
        *,
        variant: Variant = "monolithicSparse",
        identity: Identity | None = None,
        cid: int | None = None,
        name: str = "disk.vmdk",
    ) -> None:
        if virtual_size <= 0 or virtual_size % SECTOR:
            raise ValueError(f"virtual size {virtual_size} is not a positive multiple of 512")
        if virtual_size > MAX_SIZE:
            raise ValueError(f"virtual size {virtual_size} is more than a VMDK of 64 KiB grains can have")
        if cid is None:
            cid = int.from_bytes(os.urandom(4), "little") & 0xFFFFFFFE
        if not 0 <= cid < 0xFFFFFFFF:
            raise ValueError(f"CID {cid:#x} is not 0 to 0xfffffffe")
        if variant not in _STORES:
            raise ValueError(f"no variant {variant!r}; there are {', '.join(_STORES)}")
        check_name(name)
        self.size = virtual_size
        self._variant = variant
        self._identity = identity or Identity(uuid.uuid4(), uuid.uuid4())
        self._cid = cid
        self._name = name
        self._store = _STORES[variant](sink, virtual_size, self.descriptor())

    def descriptor(self) -> bytes:
        """Return the descriptor: the embedded one, or for monolithicFlat the text of the file beside it."""
        if self._variant == "monolithicFlat":
            image, modification = self._identity[:2]
            return flat_descriptor(
                self.size, self._name, cid=self._cid, image=image, modification=modification
            )
        access = "RDONLY" if self._variant == "streamOptimized" else "RW"
        line = f'{access} {self.size // SECTOR} SPARSE "{self._name}"'
        return build_descriptor(self._variant, [line], self.size, cid=self._cid, uuids=self._identity)

    def pwrite(self, offset: int, data: bytes) -> None:
        """Write ``data`` at a virtual ``offset``, storing grains on demand.

        Raises:
            ValueError: The range does not lie within the disk, goes back into a finished grain of a
                streamOptimized disk, or needs a sector beyond the last that an entry can name (2 TiB).
        """
        self._store.pwrite(offset, data)

    def pcopy(self, offset: int, source: FileSource, begin: int, length: int) -> None:
        """Write ``length`` bytes of an open file, from its byte ``begin`` on, at a virtual ``offset``.

        Raises:
            ValueError: As ``pwrite`` does.
        """
        self._store.pcopy(offset, source, begin, length)

    def pread(self, offset: int, length: int) -> bytes:
        """Return up to ``length`` bytes at a virtual ``offset`` as written so far; fewer only at the end."""
        return self._store.pread(offset, length)

    def locate(self, offset: int) -> int | None:
        """Return the file offset of a stored byte; None where nothing is stored, and for what is packed."""
        return self._store.locate(offset)

    def flush(self) -> None:
        """Write headers, tables and descriptor, give the file its length, and sync. Writing may go on."""
        self._store.flush()


def new_disk(
    sink: Sink,
    size: int,
    ids: Identities,
    *,
    like: Container | None = None,
    subformat: Variant | None = None,
) -> VmdkWriter:
    """Return a writer of an empty disk (see ``containers.writers``)."""
    is_same = like is not None and like.format == FORMAT.name and like.identity
    image = uuid.UUID(like.identity) if like is not None and is_same else ids.uuid("vmdk image")
    return VmdkWriter(
        sink,
        -(-size // SECTOR) * SECTOR,
        variant=subformat or "monolithicSparse",
        identity=Identity(image, ids.uuid("vmdk modification")),
        cid=ids.uuid("vmdk cid").fields[0] & 0xFFFFFFFE,
        name=_own_name(sink),
    )


def _own_name(sink: Sink) -> str:
    """Return the name that the file will have: some readers look for the extent by it."""
    path = getattr(sink, "path", None)
    return path.name if path else "disk.vmdk"
