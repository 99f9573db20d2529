"""Making new VHDs, as Hyper-V does."""

from __future__ import annotations

import time
import uuid
from array import array
from typing import TYPE_CHECKING, Any, Literal

from construct import Struct

from b2dinspect.containers.tables import encode
from b2dinspect.containers.vhd import COOKIE
from b2dinspect.containers.vhd.layout import (
    DEFAULT_BLOCK_SIZE,
    DYNAMIC,
    DYNAMIC_HEADER,
    ENTRY_SIZE,
    EPOCH,
    FIXED,
    FOOTER,
    FREE,
    HEADER_COOKIE,
    LOCATORS,
    MAX_SIZE,
    NO_OFFSET,
    checksum,
    geometry,
)
from b2dinspect.containers.vhd.reader import VhdContainer
from b2dinspect.containers.writing import BlockWriter
from b2dinspect.source import SECTOR, align, is_zeros

if TYPE_CHECKING:
    from b2dinspect.containers.base import Container
    from b2dinspect.identity import Identities
    from b2dinspect.newfile import Sink


ZEROS = bytes(1 << 16)
HYPERV_FIRST_SIZE = 10 << 20
"""Bytes: docker-machine's hyperv driver makes its disk so small, and then resizes it."""


class VhdWriter(BlockWriter):
    """Makes a new VHD as Hyper-V does: creator ``win ``, so that the footer's size counts everywhere.

    Blocks are stored when something other than zeros is first written to them, with all bits of their bitmap
    set. Footers, header and BAT reach the file by ``flush()``; until then the file is no VHD.

    Args:
        sink: An empty file to write to.
        virtual_size: Bytes, a multiple of 512, up to 2040 GiB.
        variant: ``"dynamic"`` in blocks of 2 MiB, or ``"fixed"``.
        identity: UUID.
        timestamp: Seconds since 2000-01-01 UTC.

    Attributes:
        size: Virtual size in bytes.
    """

    def __init__(
        self,
        sink: Sink,
        virtual_size: int,
        *,
        variant: Literal["dynamic", "fixed"] = "dynamic",
        identity: uuid.UUID | None = None,
        timestamp: int | None = None,
    ) -> None:
        _check_size(virtual_size)
        super().__init__(sink, virtual_size, DEFAULT_BLOCK_SIZE)
        self._original_size = virtual_size
        self._is_fixed = variant == "fixed"
        self._identity = identity or uuid.uuid4()
        self._timestamp = max(0, int(time.time()) - EPOCH) if timestamp is None else timestamp
        self._stride = SECTOR + DEFAULT_BLOCK_SIZE
        self._table = array("I")
        self._table_offset = SECTOR + DYNAMIC_HEADER.sizeof()
        self._end = 0  # of the blocks, where the footer goes; of what was written to a fixed disk
        self._footer_at: int | None = None
        if not self._is_fixed:
            self._grow_table()

    def resize(self, new_size: int) -> None:
        """Make the disk larger, as Resize-VHD does. Blocks in the way of a longer BAT move to the end.

        Raises:
            ValueError: The new size is smaller, or no size for a VHD.
        """
        _check_size(new_size)
        if new_size < self.size:
            raise ValueError(f"a disk of {self.size} bytes cannot shrink to {new_size}")
        self.size = new_size
        if not self._is_fixed:
            self._grow_table()
        elif self._footer_at is not None and self._footer_at < new_size:
            self._sink.pwrite(self._footer_at, bytes(SECTOR))
            self._footer_at = None

    def _locate(self, offset: int) -> int | None:
        if self._is_fixed:
            return offset
        block, within = divmod(offset, DEFAULT_BLOCK_SIZE)
        entry = self._table[block]
        return None if entry == FREE else entry * SECTOR + SECTOR + within

    def _allocate(self, offset: int) -> int:
        block, within = divmod(offset, DEFAULT_BLOCK_SIZE)
        start = self._new_slot()
        self._table[block] = start // SECTOR
        self._sink.pwrite(start, b"\xff" * SECTOR)
        return start + SECTOR + within

    def _place(self, offset: int, count: int, piece: memoryview | None) -> int | None:
        if not self._is_fixed:
            return super()._place(offset, count, piece)
        if offset >= self._end and piece is not None and is_zeros(piece):
            return None
        self._end = max(self._end, offset + count)
        return offset

    def flush(self) -> None:
        """Write footers, header and BAT, give the file its full length, and sync."""
        footer = self._footer_bytes()
        end = self.size if self._is_fixed else self._end
        self._sink.truncate(end + SECTOR)
        self._sink.pwrite(end, footer)
        self._footer_at = end
        if not self._is_fixed:
            raw = encode(self._table, ">I")
            self._sink.pwrite(self._table_offset, raw.ljust(align(len(raw), SECTOR), b"\xff"))
            self._sink.pwrite(SECTOR, self._header_bytes())
            self._sink.pwrite(0, footer)
        self._sink.flush()

    def _new_slot(self) -> int:
        start, self._end = self._end, self._end + self._stride
        return start

    def _grow_table(self) -> None:
        count = -(-self.size // DEFAULT_BLOCK_SIZE)
        self._table.extend(array("I", [FREE]) * (count - len(self._table)))
        table_end = align(self._table_offset + count * ENTRY_SIZE, SECTOR)
        in_the_way = [
            (entry, block)
            for block, entry in enumerate(self._table)
            if entry != FREE and entry * SECTOR < table_end
        ]
        self._end = max(self._end, table_end)
        for entry, block in sorted(in_the_way):
            self._move(block, entry * SECTOR)

    def _move(self, block: int, old: int) -> None:
        new = self._new_slot()
        for at in range(0, self._stride, len(ZEROS)):
            count = min(len(ZEROS), self._stride - at)
            piece = self._sink.pread(old + at, count)
            if not is_zeros(piece):
                self._sink.pwrite(new + at, piece)
                self._sink.pwrite(old + at, ZEROS[: len(piece)])
        self._table[block] = new // SECTOR

    def _footer_bytes(self) -> bytes:
        cylinders, heads, sectors = geometry(self.size // SECTOR)
        values = {
            "cookie": COOKIE,
            "features": 2,
            "version": 0x10000,
            "data_offset": NO_OFFSET if self._is_fixed else SECTOR,
            "timestamp": self._timestamp,
            "creator_application": b"win ",
            "creator_major": 10,
            "creator_minor": 0,
            "creator_system": b"Wi2k",
            "original_size": self._original_size,
            "current_size": self.size,
            "cylinders": cylinders,
            "heads": heads,
            "sectors": sectors,
            "type": FIXED if self._is_fixed else DYNAMIC,
            "checksum": 0,
            "uuid": self._identity,
            "saved_state": 0,
            "reserved": bytes(427),
        }
        return _sealed(FOOTER, values, 64)

    def _header_bytes(self) -> bytes:
        no_locator = dict.fromkeys(("data_space", "data_length", "reserved", "data_offset"), 0)
        values = {
            "cookie": HEADER_COOKIE,
            "data_offset": NO_OFFSET,
            "table_offset": self._table_offset,
            "version": 0x10000,
            "table_entries": len(self._table),
            "block_size": DEFAULT_BLOCK_SIZE,
            "checksum": 0,
            "parent_uuid": uuid.UUID(int=0),
            "parent_timestamp": 0,
            "reserved": 0,
            "parent_name": bytes(512),
            **{name: {"platform": bytes(4), **no_locator} for name in LOCATORS},
            "reserved_2": bytes(256),
        }
        return _sealed(DYNAMIC_HEADER, values, 36)


def _sealed(layout: Struct, values: dict[str, Any], checksum_offset: int) -> bytes:
    """Build a structure with its checksum in it."""
    raw = bytes(layout.build(values))
    seal = checksum(raw, checksum_offset).to_bytes(4, "big")
    return raw[:checksum_offset] + seal + raw[checksum_offset + 4 :]


def _check_size(size: int) -> None:
    if size <= 0 or size % SECTOR or size > MAX_SIZE:
        raise ValueError(f"virtual size {size} is not a positive multiple of 512 up to {MAX_SIZE}")


def new_disk(
    sink: Sink,
    size: int,
    ids: Identities,
    *,
    like: Container | None = None,
    subformat: Literal["dynamic", "fixed"] | None = None,
) -> VhdWriter:
    """Return a writer of an empty disk (see ``containers.writers``)."""
    identity, first = ids.uuid("vhd"), HYPERV_FIRST_SIZE
    if isinstance(like, VhdContainer):
        identity, first = like.footer.values.uuid, like.footer.values.original_size
    first = min(first, size) // SECTOR * SECTOR or size
    made = max(0, ids.time - EPOCH)
    writer = VhdWriter(sink, first, variant=subformat or "dynamic", identity=identity, timestamp=made)
    writer.resize(size)
    return writer
