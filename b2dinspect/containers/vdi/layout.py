"""The headers of a VDI, and what makes one unbelievable."""

from __future__ import annotations

from typing import Any
from uuid import UUID

from construct import Bytes, Int16ul, Int32ul, Int64ul, Struct

from b2dinspect.containers.vdi import SIGNATURE
from b2dinspect.errors import ContainerError
from b2dinspect.fields import Bits, Header, Named, UuidLE, offset_of, size_of
from b2dinspect.source import SECTOR, ByteSource, read_exactly

FREE = 0xFFFFFFFF
ZERO = 0xFFFFFFFE
MAX_BLOCKS = 1 << 26
"""A map of 256 MiB, which is 64 TiB in blocks of 1 MiB: more than VirtualBox makes."""
DEFAULT_BLOCK_SIZE = 1 << 20
DYNAMIC, FIXED, UNDO, DIFFERENCING = 1, 2, 3, 4
TYPES = {DYNAMIC: "dynamic", FIXED: "fixed", UNDO: "undo", DIFFERENCING: "differencing"}
PREHEADER = Struct(
    "text" / Bytes(64) * "for human eyes; ends with a NUL",
    "signature" / Int32ul * "0xBEDA107F",
    "version_minor" / Int16ul * "low half of the version",
    "version_major" / Int16ul * "high half of the version",
)
_TYPE = "type" / Named(Int32ul, TYPES) * "what free blocks mean"
_FLAGS = "flags" / Bits(Int32ul, {0x100: "zero_expand"}) * "image flags"
_COMMENT = "comment" / Bytes(256) * "UTF-8, ends with a NUL"
_GEOMETRY = (
    "cylinders" / Int32ul * "legacy (physical) geometry",
    "heads" / Int32ul * "legacy geometry",
    "sectors" / Int32ul * "legacy geometry: sectors a track",
    "sector_size" / Int32ul * "bytes; always 512",
)
_UUIDS = (
    "uuid_create" / UuidLE() * "identity of the image; the media registry holds it too",
    "uuid_modify" / UuidLE() * "changes whenever the image is written",
    "uuid_linkage" / UuidLE() * "uuid_create of the parent",
)
HEADER_0_1 = Struct(
    _TYPE,
    _FLAGS,
    _COMMENT,
    *_GEOMETRY,
    "disk_size" / Int64ul * "virtual size in bytes",
    "block_size" / Int32ul * "bytes",
    "block_count" / Int32ul * "entries in the block map",
    "blocks_allocated" / Int32ul * "blocks stored in the file",
    *_UUIDS,
)
HEADER_1_1 = Struct(
    "header_size" / Int32ul * "bytes from this field on: 384, or 400 with the LCHS geometry",
    _TYPE,
    _FLAGS,
    _COMMENT,
    "blocks_offset" / Int32ul * "offBlocks: where the block map begins, bytes",
    "data_offset" / Int32ul * "offData: where the first block begins, bytes",
    *_GEOMETRY,
    "unused" / Int32ul * "was the BIOS translation mode",
    "disk_size" / Int64ul * "virtual size in bytes",
    "block_size" / Int32ul * "bytes without the extra",
    "block_extra" / Int32ul * "cbBlockExtra: bytes before each block's data",
    "block_count" / Int32ul * "entries in the block map",
    "blocks_allocated" / Int32ul * "blocks stored in the file",
    *_UUIDS,
    "uuid_parent_modify" / UuidLE() * "uuid_modify of the parent when this child was made",
)
HEADER_1_1_PLUS = Struct(
    *HEADER_1_1.subcons,
    "lchs_cylinders" / Int32ul * "logical geometry as the BIOS sees it",
    "lchs_heads" / Int32ul * "logical geometry",
    "lchs_sectors" / Int32ul * "logical geometry: sectors a track",
    "lchs_sector_size" / Int32ul * "bytes",
)
PREHEADER_SIZE = size_of(PREHEADER)
ENTRY_SIZE = 4


def read_headers(file: ByteSource) -> tuple[tuple[Header, Header], Any]:
    """Return pre-header and header as bytes with their declarations, and the header parsed.

    Raises:
        ContainerError: One of them is cut short, or makes no sense.
    """
    pre_header, version = _read_preheader(file)
    layout = _layout(file, version)
    data = read_exactly(file, PREHEADER_SIZE, size_of(layout), ContainerError, "VDI header")
    header = layout.parse(data)
    _check(header, layout)
    name = f"VDI header {version[0]}.{version[1]}"
    return (pre_header, Header(name, "file", PREHEADER_SIZE, layout, data)), header


def read_uuid(file: ByteSource) -> UUID:
    """Return ``uuid_create``; nothing else of the header is looked at.

    Raises:
        ContainerError: No VDI, or one that is cut short.
    """
    layout = _layout(file, _read_preheader(file)[1])
    at = PREHEADER_SIZE + offset_of(layout, "uuid_create")
    return UUID(bytes_le=read_exactly(file, at, 16, ContainerError, "VDI header"))


def _read_preheader(file: ByteSource) -> tuple[Header, tuple[int, int]]:
    """Return the pre-header, and the version that it tells."""
    raw = read_exactly(file, 0, PREHEADER_SIZE, ContainerError, "VDI pre-header")
    pre = PREHEADER.parse(raw)
    if pre.signature != SIGNATURE:
        raise ContainerError(
            "wrong signature",
            layer="VDI pre-header",
            offset=64,
            expected=hex(SIGNATURE),
            found=hex(pre.signature),
        )
    version = (pre.version_major, pre.version_minor)
    return Header("VDI pre-header", "file", 0, PREHEADER, raw), version


def _layout(file: ByteSource, version: tuple[int, int]) -> Struct:
    if version == (0, 1):
        return HEADER_0_1
    if version != (1, 1):
        raise ContainerError(
            "unknown version",
            layer="VDI pre-header",
            offset=68,
            expected="0.1 or 1.1",
            found=f"{version[0]}.{version[1]}",
        )
    raw = read_exactly(file, PREHEADER_SIZE, 4, ContainerError, "VDI header")
    size = int.from_bytes(raw, "little")
    if size < size_of(HEADER_1_1):
        raise ContainerError(
            "header size is too small", layer="VDI header", offset=72, expected=">= 384", found=size
        )
    return HEADER_1_1 if size < size_of(HEADER_1_1_PLUS) else HEADER_1_1_PLUS


def _check(header: Any, layout: Struct) -> None:
    """Refuse values that no reader could work with, before any of them is used."""
    header_end = PREHEADER_SIZE + size_of(layout)
    checks = [
        ("type", header.type in TYPES, "1 to 4"),
        ("block_size", header.block_size >= SECTOR and header.block_size % SECTOR == 0, "a multiple of 512"),
        ("block_size", header.block_size <= 1 << 30, "at most 1 GiB"),
        ("disk_size", 0 < header.disk_size < 1 << 63, "1 to 2^63 - 1 bytes"),
        ("block_count", 0 < header.block_count <= MAX_BLOCKS, f"1 to {MAX_BLOCKS}"),
    ]
    if layout is not HEADER_0_1:
        map_end = header.blocks_offset + header.block_count * ENTRY_SIZE
        checks += [
            ("blocks_offset", header.blocks_offset >= header_end, f"past the header, >= {header_end}"),
            ("data_offset", header.data_offset >= map_end, f"past the block map, >= {map_end}"),
            ("block_extra", header.block_extra <= header.block_size, "no larger than a block"),
        ]
    for name, is_sound, expected in checks:
        if not is_sound:
            offset = PREHEADER_SIZE + offset_of(layout, name)
            raise ContainerError(
                f"{name} makes no sense",
                layer="VDI header",
                offset=offset,
                expected=expected,
                found=header[name],
            )


def table_offsets(header: Any) -> tuple[int, int]:
    """Return where the block map and the first block begin, bytes."""
    if "blocks_offset" in header:
        return header.blocks_offset, header.data_offset
    start = PREHEADER_SIZE + size_of(HEADER_0_1)
    return start, start + header.block_count * ENTRY_SIZE
