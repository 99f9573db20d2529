"""Making new VDIs of version 1.1."""

from __future__ import annotations

import uuid
from array import array
from typing import TYPE_CHECKING, Literal

from b2dinspect.containers.tables import encode
from b2dinspect.containers.vdi import FORMAT, SIGNATURE
from b2dinspect.containers.vdi.layout import (
    DEFAULT_BLOCK_SIZE,
    DYNAMIC,
    ENTRY_SIZE,
    FIXED,
    FREE,
    HEADER_1_1_PLUS,
    MAX_BLOCKS,
    PREHEADER,
)
from b2dinspect.containers.writing import BlockWriter
from b2dinspect.records import NamedTuple
from b2dinspect.source import SECTOR, align

if TYPE_CHECKING:
    from b2dinspect.containers.base import Container
    from b2dinspect.identity import Identities
    from b2dinspect.newfile import Sink


class Identity(NamedTuple):
    """The three UUIDs of an image; pin them for reproducible files."""

    create: uuid.UUID
    modify: uuid.UUID
    parent: uuid.UUID = uuid.UUID(int=0)


class VdiWriter(BlockWriter):
    """Makes a new VDI 1.1 as VirtualBox lays it out: header, map at 1 MiB, blocks aligned to 1 MiB.

    Blocks are stored when something other than zeros is first written to them. The header and the map reach
    the file by ``flush()``; until then the file is no VDI.

    Args:
        sink: An empty file to write to.
        virtual_size: Bytes, a multiple of 512.
        variant: ``"dynamic"``, or ``"fixed"`` with every block stored in order.
        block_size: Bytes, a power of two of at least 4096.
        identity: UUIDs.
        comment: At most 255 bytes.
    """

    def __init__(
        self,
        sink: Sink,
        virtual_size: int,
        *,
        variant: Literal["dynamic", "fixed"] = "dynamic",
        block_size: int = DEFAULT_BLOCK_SIZE,
        identity: Identity | None = None,
        comment: bytes = b"",
    ) -> None:
        if virtual_size <= 0 or virtual_size % SECTOR:
            raise ValueError(f"virtual size {virtual_size} is not a positive multiple of 512")
        if block_size < 4096 or block_size & (block_size - 1):
            raise ValueError(f"block size {block_size} is not a power of two of at least 4096")
        if len(comment) > 255:
            raise ValueError(f"comment of {len(comment)} bytes; 255 are the most")
        count = -(-virtual_size // block_size)
        if count > MAX_BLOCKS:
            raise ValueError(f"{count} blocks; {MAX_BLOCKS} are the most: use larger blocks")
        super().__init__(sink, virtual_size, block_size)
        self._variant = variant
        self._identity = identity or Identity(uuid.uuid4(), uuid.uuid4())
        self._comment = comment
        self._map_offset = 1 << 20
        self._data_offset = align(self._map_offset + count * ENTRY_SIZE, 1 << 20)
        if variant == "fixed":
            self._map = array("I", range(count))
            self._allocated = count
        else:
            self._map = array("I", [FREE]) * count
            self._allocated = 0

    def _locate(self, offset: int) -> int | None:
        block, within = divmod(offset, self._block_size)
        if self._map[block] == FREE:
            return None
        return self._data_offset + self._map[block] * self._block_size + within

    def _allocate(self, offset: int) -> int:
        block, within = divmod(offset, self._block_size)
        self._map[block] = self._allocated
        self._allocated += 1
        return self._data_offset + self._map[block] * self._block_size + within

    def flush(self) -> None:
        """Write the header and the map, give the file its full length, and sync."""
        self._sink.truncate(self._data_offset + self._allocated * self._block_size)
        self._sink.pwrite(self._map_offset, encode(self._map, "<I"))
        self._sink.pwrite(0, self._header_bytes())
        self._sink.flush()

    def _header_bytes(self) -> bytes:
        pre = PREHEADER.build(
            {
                "text": b"<<< b2dinspect: VirtualBox Disk Image >>>\n".ljust(64, b"\0"),
                "signature": SIGNATURE,
                "version_major": 1,
                "version_minor": 1,
            }
        )
        cylinders = min(1024, self.size // (SECTOR * 63 * 16))
        header = HEADER_1_1_PLUS.build(
            {
                "header_size": HEADER_1_1_PLUS.sizeof(),
                "type": FIXED if self._variant == "fixed" else DYNAMIC,
                "flags": 0,
                "comment": self._comment.ljust(256, b"\0"),
                "blocks_offset": self._map_offset,
                "data_offset": self._data_offset,
                "cylinders": 0,
                "heads": 0,
                "sectors": 0,
                "sector_size": SECTOR,
                "unused": 0,
                "disk_size": self.size,
                "block_size": self._block_size,
                "block_extra": 0,
                "block_count": len(self._map),
                "blocks_allocated": self._allocated,
                "uuid_create": self._identity.create,
                "uuid_modify": self._identity.modify,
                "uuid_linkage": self._identity.parent,
                "uuid_parent_modify": uuid.UUID(int=0),
                "lchs_cylinders": cylinders,
                "lchs_heads": 16,
                "lchs_sectors": 63,
                "lchs_sector_size": SECTOR,
            }
        )
        return bytes(pre + header)


def new_disk(
    sink: Sink,
    size: int,
    ids: Identities,
    *,
    like: Container | None = None,
    subformat: Literal["dynamic", "fixed"] | None = None,
) -> VdiWriter:
    """Return a writer of an empty disk (see ``containers.writers``)."""
    create = uuid.UUID(like.identity) if like and like.format == FORMAT.name else ids.uuid("vdi create")
    identity = Identity(create, ids.uuid("vdi modify"))
    return VdiWriter(sink, size, variant=subformat or "dynamic", identity=identity)
