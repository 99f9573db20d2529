"""Footer and header of a VHD, their checksums and sizes."""

from __future__ import annotations

from typing import Any

from construct import Bytes, Int8ub, Int16ub, Int32ub, Int64ub, Struct

from b2dinspect.fields import Bits, Named, UuidBE
from b2dinspect.source import SECTOR

HEADER_COOKIE = b"cxsparse"
FREE = 0xFFFFFFFF
NO_OFFSET = 0xFFFFFFFF_FFFFFFFF
EPOCH = 946684800
"""2000-01-01 00:00:00 UTC in Unix time, from which VHD counts."""
DEFAULT_BLOCK_SIZE = 2 << 20
MAX_ENTRIES = 1 << 26
"""A BAT of 256 MiB: 2^26 blocks, where the largest disk that Windows makes has 2^20."""
MAX_SIZE = 0xFF000000 * SECTOR
"""2040 GiB, the most that Windows and qemu make."""
FIXED, DYNAMIC, DIFFERENCING = 2, 3, 4
TYPES = {FIXED: "fixed", DYNAMIC: "dynamic", DIFFERENCING: "differencing"}
SIZE_FROM_FOOTER = frozenset({b"win ", b"qem2", b"d2v ", b"tap\0", b"CTXS"})
"""Creators whose disks are as large as the footer says: Hyper-V, qemu with force_size, Disk2vhd, Xen."""
MAX_GEOMETRY = 65535 * 16 * 255
"""Sectors; a disk with this geometry may be larger."""
CREATORS = {
    b"vpc ": "Virtual PC",
    b"vs  ": "Virtual Server",
    b"win ": "Windows",
    b"d2v ": "Disk2vhd",
    b"qemu": "qemu",
    b"qem2": "qemu, size forced",
    b"vbox": "VirtualBox",
    b"tap\0": "Xen blktap",
    b"CTXS": "Citrix",
}
SYSTEMS = {b"Wi2k": "Windows", b"Mac ": "Macintosh"}
FOOTER = Struct(
    "cookie" / Bytes(8) * "conectix",
    "features" / Bits(Int32ub, {1: "temporary", 2: "reserved"}) * "the reserved bit is always set",
    "version" / Int32ub * "0x00010000",
    "data_offset" / Int64ub * "where the dynamic disk header is, bytes; all ones in a fixed disk",
    "timestamp" / Int32ub * "seconds since 2000-01-01 UTC: when the image was made",
    "creator_application" / Bytes(4) * "decides which size holds",
    "creator_major" / Int16ub * "version of the creator",
    "creator_minor" / Int16ub * "version of the creator",
    "creator_system" / Bytes(4) * "Wi2k or Mac ",
    "original_size" / Int64ub * "virtual size in bytes when the image was made",
    "current_size" / Int64ub * "virtual size in bytes now",
    "cylinders" / Int16ub * "geometry",
    "heads" / Int8ub * "geometry",
    "sectors" / Int8ub * "geometry: sectors a track",
    "type" / Named(Int32ub, TYPES) * "what free blocks mean",
    "checksum" / Int32ub * "one's complement of the sum of all other bytes",
    "uuid" / UuidBE() * "identity of the image; a child holds it as its parent's",
    "saved_state" / Int8ub * "1 when the machine was saved while running",
    "reserved" / Bytes(427) * "zeros",
)
LOCATOR = Struct(
    "platform" / Bytes(4) * "how the data is coded: W2ku, W2ru, Wi2k, Wi2r, MacX, Mac ",
    "data_space" / Int32ub * "sectors set aside; some writers count bytes",
    "data_length" / Int32ub * "bytes",
    "reserved" / Int32ub * "zero",
    "data_offset" / Int64ub * "where the data is in the file, bytes",
)
LOCATORS = tuple(f"locator_{number}" for number in range(1, 9))
DYNAMIC_HEADER = Struct(
    "cookie" / Bytes(8) * "cxsparse",
    "data_offset" / Int64ub * "all ones",
    "table_offset" / Int64ub * "where the BAT begins, bytes",
    "version" / Int32ub * "0x00010000",
    "table_entries" / Int32ub * "entries in the BAT",
    "block_size" / Int32ub * "bytes without the bitmap",
    "checksum" / Int32ub * "one's complement of the sum of all other bytes",
    "parent_uuid" / UuidBE() * "uuid of the parent",
    "parent_timestamp" / Int32ub * "when the parent was last written, seconds since 2000-01-01 UTC",
    "reserved" / Int32ub * "zero",
    "parent_name" / Bytes(512) * "UTF-16, big-endian",
    *(name / LOCATOR * "one way to find the parent" for name in LOCATORS),
    "reserved_2" / Bytes(256) * "zeros",
)
ENTRY_SIZE = 4


def checksum(data: bytes, offset: int) -> int:
    """Return the checksum of a structure that keeps it in the four bytes at ``offset``."""
    return ~(sum(data) - sum(data[offset : offset + 4])) & 0xFFFFFFFF


def geometry(sectors: int) -> tuple[int, int, int]:
    """Return cylinders, heads and sectors a track for a disk of so many sectors (specification, appendix)."""
    sectors = min(sectors, MAX_GEOMETRY)
    if sectors >= 65535 * 16 * 63:
        return sectors // 255 // 16, 16, 255
    tracks = sectors // 17
    heads = max(4, -(-tracks // 1024))
    if tracks < heads * 1024 and heads <= 16:
        return tracks // heads, heads, 17
    per_track = 31 if sectors // 31 < 16 * 1024 else 63
    return sectors // per_track // 16, 16, per_track


def virtual_size(footer: Any) -> int:
    """Return the virtual size in bytes, by the size that counts for this creator."""
    chs = chs_size(footer)
    if footer.creator_application in SIZE_FROM_FOOTER or chs in (0, MAX_GEOMETRY * SECTOR):
        return whole_sectors(footer.current_size)
    return chs


def chs_size(footer: Any) -> int:
    """Return the virtual size in bytes by the geometry."""
    return int(footer.cylinders * footer.heads * footer.sectors * SECTOR)


def whole_sectors(size: int) -> int:
    """Return the size in bytes without what does not fill a sector."""
    return size // SECTOR * SECTOR
