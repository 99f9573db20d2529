"""The header of a sparse extent, its markers, and what makes a header unbelievable.

Source: VMware, Virtual Disk Format 5.0, "Hosted Sparse Extents" and "Stream-Optimized Compressed".
"""

from __future__ import annotations

from typing import Any

from construct import Bytes, Int8ul, Int16ul, Int32ul, Int64ul, Struct

from b2dinspect.containers.vmdk import SIGNATURE
from b2dinspect.errors import ContainerError
from b2dinspect.fields import Bits, Header, Named
from b2dinspect.source import SECTOR, ByteSource, read_exactly

NEWLINES = b"\n \r\n"
GD_AT_END = (1 << 64) - 1
"""In gd_offset: the footer knows where the grain directory is."""

VALID_NEWLINES, REDUNDANT, ZEROED, COMPRESSED, MARKERS = 1, 2, 4, 1 << 16, 1 << 17
FLAGS = {
    VALID_NEWLINES: "valid_newlines",
    REDUNDANT: "redundant_tables",
    ZEROED: "zeroed_grains",
    COMPRESSED: "compressed",
    MARKERS: "markers",
}
DEFLATE = 1
MARKER_EOS, MARKER_TABLE, MARKER_DIRECTORY, MARKER_FOOTER = 0, 1, 2, 3

HEADER = Struct(
    "signature" / Bytes(4) * "KDMV",
    "version" / Int32ul * "1; 2 has zeroed grains; 3 is streamOptimized, or tracks changes",
    "flags" / Bits(Int32ul, FLAGS) * "what the extent uses",
    "capacity" / Int64ul * "virtual size in sectors",
    "grain_size" / Int64ul * "sectors",
    "descriptor_offset" / Int64ul * "sector of the embedded descriptor; 0: none",
    "descriptor_size" / Int64ul * "sectors",
    "gtes_per_gt" / Int32ul * "entries in a grain table",
    "rgd_offset" / Int64ul * "sector of the redundant grain directory",
    "gd_offset" / Int64ul * "sector of the grain directory; all ones: see the footer",
    "overhead" / Int64ul * "sectors before the first grain",
    "unclean_shutdown" / Int8ul * "1 while a program has the disk open for writing",
    "newlines" / Bytes(4) * "LF, space, CR LF: damaged when the file was transferred as text",
    "compression" / Named(Int16ul, {0: "none", DEFLATE: "deflate"}) * "how grains are packed",
)
"""79 bytes; the rest of the sector is zeros."""

MARKER = Struct(
    "value" / Int64ul * "sectors of metadata that follow; of a grain: its first virtual sector",
    "size" / Int32ul * "0; of a grain: bytes of packed data that follow at once",
    "type" / Named(Int32ul, {0: "end of stream", 1: "grain table", 2: "grain directory", 3: "footer"}) * "",
)
GRAIN_MARKER_SIZE = 12
"""A grain's marker has no type: its data begins there."""

ENTRY_SIZE = 4
FREE, ZERO = 0, 1
DIRECTORY_PAGE = 1 << 12
"""Entries of a grain directory that are read together."""
MAX_GTES = 4096
MAX_TABLES = 1 << 24
"""A directory of 64 MiB: 512 TiB in tables of 512 grains of 64 KiB."""
MAX_GRAIN = 1 << 21
"""Sectors; qemu refuses more too."""
MAX_PACKED_GRAIN = 1 << 14
"""Sectors; what is unpacked at a time is held in memory."""


def tables(header: Any) -> int:
    """Return how many grain tables the disk needs, which is how many entries a grain directory has."""
    span = header.gtes_per_gt * header.grain_size
    return int(-(-header.capacity // span))


def read_header(file: ByteSource, offset: int, name: str) -> tuple[Header, Any]:
    """Return the header at ``offset`` (bytes), once as bytes with its declaration and once parsed.

    Raises:
        ContainerError: It is cut short, or no header.
    """
    raw = read_exactly(file, offset, HEADER.sizeof(), ContainerError, name)
    header = HEADER.parse(raw)
    if header.signature != SIGNATURE:
        raise ContainerError(
            "wrong signature", layer=name, offset=offset, expected=SIGNATURE, found=header.signature
        )
    return Header(name, "file", offset, HEADER, raw), header


def check_header(header: Any, name: str, offset: int) -> None:
    """Refuse values that no reader could work with, before any of them is used.

    ``gd_offset`` may send to the footer, but the footer's may not.

    Raises:
        ContainerError: One of them, named, with its offset.
    """
    is_packed = bool(header.flags & COMPRESSED)
    most = MAX_PACKED_GRAIN if is_packed else MAX_GRAIN
    has_directory = 0 < header.gd_offset < 1 << 54 or (offset == 0 and header.gd_offset == GD_AT_END)
    checks = (
        ("version", 1 <= header.version <= 3, "1 to 3"),
        ("grain_size", 1 <= header.grain_size <= most, f"1 to {most} sectors"),
        ("gtes_per_gt", 1 <= header.gtes_per_gt <= MAX_GTES, f"1 to {MAX_GTES}"),
        ("capacity", 0 < header.capacity < 1 << 54, "1 to 2^54 - 1 sectors"),
        ("compression", not is_packed or header.compression == DEFLATE, "1 (deflate)"),
        ("gd_offset", has_directory, "a sector behind the header"),
    )
    for field, is_sound, expected in checks:
        if not is_sound:
            where = offset + field_offset(field)
            raise ContainerError(
                f"{field} makes no sense", layer=name, offset=where, expected=expected, found=header[field]
            )
    if tables(header) > MAX_TABLES:
        where = offset + field_offset("capacity")
        raise ContainerError(
            "capacity makes no sense for grains of this size",
            layer=name,
            offset=where,
            expected=f"at most {MAX_TABLES} grain tables",
            found=tables(header),
        )


def field_offset(name: str) -> int:
    """Return where in the header this field is, in bytes."""
    offset = 0
    for part in HEADER.subcons:
        if part.name == name:
            break
        offset += part.sizeof()
    return offset


def read_footer(file: ByteSource) -> tuple[Header, Any]:
    """Return the footer: a header in the sector before the end-of-stream marker, behind a marker of its own.

    Raises:
        ContainerError: It is not there: the stream was cut short.
    """
    name = "VMDK footer"
    where = file.size - 3 * SECTOR
    raw = file.pread(where, MARKER.sizeof()) if where > 0 else b""
    marker = MARKER.parse(raw) if raw else None
    if marker is None or (marker.size, marker.type) != (0, MARKER_FOOTER):
        raise ContainerError(
            "no footer before the end: the stream was cut short, or has something behind it",
            layer=name,
            offset=max(0, where),
            expected="a footer marker",
            found=raw.hex() or "the end of the file",
        )
    return read_header(file, where + SECTOR, name)
