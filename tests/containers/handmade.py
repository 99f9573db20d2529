"""Disk images laid out by hand from the structures of the format, odd in ways that no writer is."""

from __future__ import annotations

import struct
import uuid
from collections.abc import Sequence
from typing import Any

from construct import Struct

from b2dinspect.containers import vdi

FREE, ZERO = 0xFFFFFFFF, 0xFFFFFFFE
NOBODY = uuid.UUID(int=0)
CREATE, MODIFY = uuid.UUID(int=0x1111), uuid.UUID(int=0x2222)
FILLER = b"\xee"
"""What stands where no reader may look: gaps, and the extra bytes before each block."""


class Buffer:
    """A sink in memory."""

    def __init__(self) -> None:
        self.data = bytearray()
        self.flushed = 0

    def pwrite(self, offset: int, data: bytes) -> None:
        self.data += bytes(max(0, offset + len(data) - len(self.data)))
        self.data[offset : offset + len(data)] = data

    def truncate(self, size: int) -> None:
        self.data = self.data[:size] + bytes(max(0, size - len(self.data)))

    def flush(self) -> None:
        self.flushed += 1


def make_vdi(
    blocks: Sequence[bytes | int],
    *,
    layout: Struct = vdi.HEADER_1_1_PLUS,
    stored_order: Sequence[int] | None = None,
    extra: int = 0,
    tight: bool = False,
    **header: Any,
) -> bytes:
    """Return a VDI file.

    Args:
        blocks: For every block of the disk its bytes, or the bare entry of the block map. All bytes must be
            of one length, the block size.
        layout: One of the three headers.
        stored_order: Numbers of the blocks with bytes, in the order in which the file holds them.
        extra: cbBlockExtra.
        tight: Leave no gap before the map and the blocks; version 0.1 never has one.
        header: Header fields that differ from what fits the blocks.
    """
    contents = {number: block for number, block in enumerate(blocks) if isinstance(block, bytes)}
    order = list(contents) if stored_order is None else list(stored_order)
    assert sorted(order) == list(contents)
    block_size = header.get("block_size") or len(contents[order[0]])
    entries = [order.index(number) if number in contents else blocks[number] for number in range(len(blocks))]
    is_old = layout is vdi.HEADER_0_1
    tight = tight or is_old
    map_offset = 72 + layout.sizeof() if tight else 512
    map_end = map_offset + 4 * len(blocks)
    data_offset = map_end if tight else (map_end // 512 + 2) * 512
    values = {
        "header_size": layout.sizeof(),
        "type": vdi.DYNAMIC,
        "flags": 0,
        "comment": b"by hand".ljust(256, b"\0"),
        "blocks_offset": map_offset,
        "data_offset": data_offset,
        "sector_size": 512,
        "disk_size": len(blocks) * block_size,
        "block_size": block_size,
        "block_extra": extra,
        "block_count": len(blocks),
        "blocks_allocated": len(order),
        "uuid_create": CREATE,
        "uuid_modify": MODIFY,
        "uuid_linkage": NOBODY,
        "uuid_parent_modify": NOBODY,
        **dict.fromkeys(("cylinders", "heads", "sectors", "unused"), 0),
        **dict.fromkeys(("lchs_cylinders", "lchs_heads", "lchs_sectors", "lchs_sector_size"), 0),
        **header,
    }
    version = (1, 0) if is_old else (1, 1)  # low half first
    pre = b"<<< by hand >>>\n".ljust(64, b"\0") + struct.pack("<I2H", 0xBEDA107F, *version)
    head = (pre + layout.build(values)).ljust(map_offset, FILLER)
    block_map = struct.pack(f"<{len(entries)}I", *entries)
    stored = b"".join(FILLER * extra + contents[number] for number in order)
    return (head + block_map).ljust(data_offset, FILLER) + stored


def patch(data: bytes, offset: int, value: bytes) -> bytes:
    """Return a copy with ``value`` at ``offset``."""
    return data[:offset] + value + data[offset + len(value) :]
