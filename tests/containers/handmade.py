"""Disk images laid out by hand from the structures of the format, odd in ways that no writer is."""

from __future__ import annotations

import struct
import uuid
from collections.abc import Sequence
from typing import Any

from construct import Struct

from b2dinspect.containers.vdi import layout as vdi
from b2dinspect.containers.vhd import layout as vhd
from b2dinspect.containers.vhdx import layout as vhdx

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

    def pread(self, offset: int, length: int) -> bytes:
        return bytes(self.data[offset : offset + length])

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


VHD_UUID = uuid.UUID("00112233-4455-6677-8899-aabbccddeeff")


def vhd_footer(**fields: Any) -> bytes:
    """Return a sound VHD footer of an image of 1 MiB by Windows, with some fields changed."""
    values = {
        "cookie": b"conectix",
        "features": 2,
        "version": 0x10000,
        "data_offset": 512,
        "timestamp": 0,
        "creator_application": b"win ",
        "creator_major": 6,
        "creator_minor": 1,
        "creator_system": b"Wi2k",
        "original_size": 1 << 20,
        "current_size": 1 << 20,
        "cylinders": 30,
        "heads": 4,
        "sectors": 17,
        "type": vhd.DYNAMIC,
        "checksum": 0,
        "uuid": VHD_UUID,
        "saved_state": 0,
        "reserved": bytes(427),
    }
    return sealed(vhd.FOOTER.build({**values, **fields}), 64, fields.get("checksum"))


def sealed(raw: bytes, offset: int, value: int | None = None) -> bytes:
    """Return a VHD structure with its checksum, counted by the book: ~ of the sum of all other bytes."""
    total = ~sum(byte for at, byte in enumerate(raw) if not offset <= at < offset + 4) & 0xFFFFFFFF
    return patch(raw, offset, struct.pack(">I", total if value is None else value))


def vhd_header(entries: int, block_size: int, **fields: Any) -> bytes:
    """Return a sound dynamic disk header; ``locators`` are (platform, data_length, data_offset)."""
    locators = fields.pop("locators", ())
    empty = {"platform": bytes(4), "data_space": 0, "data_length": 0, "reserved": 0, "data_offset": 0}
    values: dict[str, Any] = {
        "cookie": b"cxsparse",
        "data_offset": (1 << 64) - 1,
        "table_offset": 1536,
        "version": 0x10000,
        "table_entries": entries,
        "block_size": block_size,
        "checksum": 0,
        "parent_uuid": NOBODY,
        "parent_timestamp": 0,
        "reserved": 0,
        "parent_name": bytes(512),
        "reserved_2": bytes(256),
        **{f"locator_{number}": empty for number in range(1, 9)},
    }
    for number, (platform, length, offset) in enumerate(locators, 1):
        place = {"platform": platform, "data_length": length, "data_offset": offset}
        values[f"locator_{number}"] = {**empty, **place}
    return sealed(vhd.DYNAMIC_HEADER.build({**values, **fields}), 36, fields.get("checksum"))


def make_vhd(
    blocks: Sequence[bytes | int],
    *,
    stored_order: Sequence[int] | None = None,
    bitmaps: dict[int, bytes] | None = None,
    block_size: int | None = None,
    header: dict[str, Any] | None = None,
    behind_table: bytes = b"",
    **footer: Any,
) -> bytes:
    """Return a dynamic or differencing VHD.

    Args:
        blocks: For every block its bytes, all of one length, or the bare entry of the BAT.
        stored_order: Numbers of the blocks with bytes, in the order in which the file holds them.
        bitmaps: Sector bitmaps of blocks, by number, where not all bits are set.
        block_size: When no block has bytes.
        header: Fields of the dynamic disk header that differ from what fits the blocks.
        behind_table: What is stored between the BAT and the first block, padded to 512 bytes.
        footer: Fields of the footer that differ.
    """
    contents = {number: block for number, block in enumerate(blocks) if isinstance(block, bytes)}
    size = block_size or len(next(iter(contents.values())))
    order = list(contents) if stored_order is None else list(stored_order)
    bitmap_size = -(-size // 512 // 8 // 512) * 512 or 512
    table_end = -(-(1536 + 4 * len(blocks)) // 512) * 512
    behind = behind_table.ljust(-(-len(behind_table) // 512) * 512, b"\0")
    start = table_end + len(behind)
    place = {number: (start + index * (bitmap_size + size)) // 512 for index, number in enumerate(order)}
    entries = [place.get(number, block) for number, block in enumerate(blocks)]
    table = struct.pack(f">{len(blocks)}I", *entries).ljust(table_end - 1536, b"\xff")
    stored = b"".join(
        (bitmaps or {}).get(number, b"\xff" * -(-size // 4096)).ljust(bitmap_size, FILLER) + contents[number]
        for number in order
    )
    disk_size = len(blocks) * size
    foot = vhd_footer(**{"current_size": disk_size, "original_size": disk_size, **footer})
    return (
        foot
        + vhd_header(len(blocks), **{"block_size": size, **(header or {})})
        + table
        + behind
        + stored
        + foot
    )


def make_vhdx(
    blocks: Sequence[bytes | int],
    *,
    bitmaps: dict[int, bytes] | None = None,
    block_size: int = 1 << 20,
    sector_size: int = 512,
    flags: int = 0,
    parent_names: dict[str, str] | None = None,
    log: bytes = b"",
    **changes: Any,
) -> bytes:
    """Return a VHDX: log at 1 MiB, BAT at 2, metadata at 3, then the blocks with bytes in order.

    Args:
        blocks: For every block its bytes, or the bare entry of the BAT.
        bitmaps: By block, what to put into the sector bitmap; such a block has state 7.
        block_size: Bytes.
        sector_size: Logical, bytes.
        flags: Of the file parameters.
        parent_names: Pairs of the parent locator.
        log: What is in the log.
        changes: ``header``: fields of both headers; ``size``: the virtual size.
    """
    share = block_size // sector_size // 8
    entries, stored = vhdx_blocks(blocks, bitmaps or {}, block_size >> 20, share)
    mib = 1 << 20
    image = bytearray(4 * mib)
    image[:8] = b"vhdxfile"
    image[8:22] = "by hand".encode("utf-16-le")
    for number, offset in enumerate(vhdx.HEADER_OFFSETS):
        fields = {
            "signature": b"head", "checksum": 0, "sequence_number": 7 + number, "file_write_guid": NOBODY,
            "data_write_guid": MODIFY, "log_guid": NOBODY, "log_version": 0, "version": 1,
            "log_length": mib, "log_offset": mib, **changes.get("header", {}),
        }  # fmt: skip
        image[offset : offset + 4096] = crc_sealed(vhdx.HEADER.build(fields).ljust(4096, b"\0"))
    regions = ((vhdx.BAT_REGION, 2 * mib), (vhdx.METADATA_REGION, 3 * mib))
    table = struct.pack("<4sIII", b"regi", 0, 2, 0)
    table += b"".join(struct.pack("<16sQII", guid.bytes_le, offset, mib, 1) for guid, offset in regions)
    for offset in vhdx.REGION_OFFSETS:
        image[offset : offset + 65536] = crc_sealed(table.ljust(65536, b"\0"))
    image[mib : mib + len(log)] = log
    image[2 * mib : 2 * mib + 8 * len(entries)] = struct.pack(f"<{len(entries)}Q", *entries)
    items = {
        vhdx.FILE_PARAMETERS: struct.pack("<II", block_size, flags),
        vhdx.VIRTUAL_SIZE: struct.pack("<Q", changes.get("size", len(blocks) * block_size)),
        vhdx.DISK_ID: CREATE.bytes_le,
        vhdx.LOGICAL_SECTOR: struct.pack("<I", sector_size),
        vhdx.PHYSICAL_SECTOR: struct.pack("<I", 4096),
    }
    if parent_names:
        items[vhdx.PARENT_LOCATOR] = parent_locator(parent_names)
    metadata = struct.pack("<8sHH20x", b"metadata", 0, len(items))
    content = b""
    for guid, item in items.items():
        metadata += struct.pack("<16sIIII", guid.bytes_le, 65536 + len(content), len(item), 4, 0)
        content += item
    metadata = metadata.ljust(65536, b"\0") + content
    image[3 * mib : 3 * mib + len(metadata)] = metadata
    return bytes(image) + stored


def vhdx_blocks(
    blocks: Sequence[bytes | int], bitmaps: dict[int, bytes], mib: int, share: int
) -> tuple[list[int], bytes]:
    """Return the entries of a BAT and what lies behind 4 MiB: blocks, and a sector bitmap behind each chunk.

    Args:
        blocks: As for ``make_vhdx``.
        bitmaps: As for ``make_vhdx``.
        mib: Block size in MiB.
        share: Bytes of the sector bitmap for one block.
    """
    ratio = (1 << 20) // share
    entries: list[int] = []
    stored = b""
    start = 4
    for number, block in enumerate(blocks):
        if isinstance(block, bytes):
            entries.append((start << 20) | (7 if number in bitmaps else 6))
            stored += block
            start += mib
        else:
            entries.append(block)
        if number % ratio == ratio - 1 or (number == len(blocks) - 1 and bitmaps):
            first = number - number % ratio
            entries += [0] * (ratio - 1 - number % ratio) + [(start << 20) | 6 if bitmaps else 0]
            if bitmaps:
                chunk = bytearray(1 << 20)
                for at, bitmap in bitmaps.items():
                    if first <= at <= number:
                        chunk[(at - first) * share : (at - first) * share + len(bitmap)] = bitmap
                stored += chunk
                start += 1
    return entries, stored


def crc_sealed(raw: bytes) -> bytes:
    """Return a VHDX structure with its CRC-32C, counted bit by bit."""
    crc = 0xFFFFFFFF
    for byte in patch(raw, 4, bytes(4)):
        crc ^= byte
        for _ in range(8):
            crc = (crc >> 1) ^ (0x82F63B78 if crc & 1 else 0)
    return patch(raw, 4, struct.pack("<I", crc ^ 0xFFFFFFFF))


def parent_locator(names: dict[str, str]) -> bytes:
    head = struct.pack("<16sHH", bytes(16), 0, len(names))
    content = b""
    start = len(head) + 12 * len(names)
    for key, value in names.items():
        first, second = key.encode("utf-16-le"), value.encode("utf-16-le")
        at = start + len(content)
        head += struct.pack("<IIHH", at, at + len(first), len(first), len(second))
        content += first + second
    return head + content
