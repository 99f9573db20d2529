"""The structures of a VHDX, and their checksum."""

from __future__ import annotations

import uuid

from construct import Bytes, Int16ul, Int32ul, Int64ul, Struct

from b2dinspect.errors import ContainerError
from b2dinspect.fields import Bits, Header, UuidLE
from b2dinspect.source import ByteSource, read_exactly

KIB, MIB = 1 << 10, 1 << 20
HEADER_OFFSETS = (64 * KIB, 128 * KIB)
HEADER_SIZE = 4 * KIB
REGION_OFFSETS = (192 * KIB, 256 * KIB)
REGION_SIZE = 64 * KIB
MAX_TABLE = 2047
"""Entries in a region or metadata table."""
MAX_SIZE = 64 << 40
CHUNK_SECTORS = 1 << 23
MAX_ITEM = 64 * KIB
"""Bytes of a metadata item that are read."""

BAT_REGION = uuid.UUID("2dc27766-f623-4200-9d64-115e9bfd4a08")
METADATA_REGION = uuid.UUID("8b7ca206-4790-4b9a-b8fe-575f050f886e")
FILE_PARAMETERS = uuid.UUID("caa16737-fa36-4d43-b3b6-33f0aa44e76b")
VIRTUAL_SIZE = uuid.UUID("2fa54224-cd1b-4876-b211-5dbed83bf4b8")
DISK_ID = uuid.UUID("beca12ab-b2e6-4523-93ef-c309e000c746")
LOGICAL_SECTOR = uuid.UUID("8141bf1d-a96f-4709-ba47-f233a8faab5f")
PHYSICAL_SECTOR = uuid.UUID("cda348c7-445d-4471-9cc9-e9885251c556")
PARENT_LOCATOR = uuid.UUID("a8d35f2d-b30b-454d-abf7-d3d84834ab0c")
ITEMS = {
    FILE_PARAMETERS: "file parameters",
    VIRTUAL_SIZE: "virtual size",
    DISK_ID: "disk id",
    LOGICAL_SECTOR: "logical sector size",
    PHYSICAL_SECTOR: "physical sector size",
    PARENT_LOCATOR: "parent locator",
}
NOT_PRESENT, UNDEFINED, ZERO, UNMAPPED, UNMAPPED_0_95, PRESENT, PARTIAL = 0, 1, 2, 3, 5, 6, 7
ZEROS = (UNDEFINED, ZERO, UNMAPPED, UNMAPPED_0_95)
STORES_NOTHING = bytes(byte for byte in range(256) if byte & 7 in (NOT_PRESENT, *ZEROS))
"""Lowest bytes of entries that need no room in the file."""
KEEP_ALLOCATED, HAS_PARENT = 1, 2
REQUIRED_REGION, REQUIRED_ITEM = 1, 4
IDENTIFIER = Struct(
    "signature" / Bytes(8) * "vhdxfile",
    "creator" / Bytes(512) * "UTF-16: the program that made the file",
)
HEADER = Struct(
    "signature" / Bytes(4) * "head",
    "checksum" / Int32ul * "CRC-32C of the 4 KiB with this field zero",
    "sequence_number" / Int64ul * "the header with the higher one counts",
    "file_write_guid" / UuidLE() * "changes when the file is opened for writing",
    "data_write_guid" / UuidLE() * "changes when the disk's content changes; a child knows its parent by it",
    "log_guid" / UuidLE() * "of the entries to replay; zero when there are none",
    "log_version" / Int16ul * "0",
    "version" / Int16ul * "1",
    "log_length" / Int32ul * "bytes",
    "log_offset" / Int64ul * "bytes",
)
REGION_TABLE = Struct(
    "signature" / Bytes(4) * "regi",
    "checksum" / Int32ul * "CRC-32C of the 64 KiB with this field zero",
    "entry_count" / Int32ul * "at most 2047",
    "reserved" / Int32ul * "zero",
)
REGION_ENTRY = Struct(
    "guid" / UuidLE() * "which region",
    "offset" / Int64ul * "in the file, bytes",
    "length" / Int32ul * "bytes",
    "flags" / Bits(Int32ul, {REQUIRED_REGION: "required"}) * "who does not know a required region must stop",
)
METADATA_TABLE = Struct(
    "signature" / Bytes(8) * "metadata",
    "reserved" / Int16ul * "zero",
    "entry_count" / Int16ul * "at most 2047",
    "reserved_2" / Bytes(20) * "zeros",
)
METADATA_ENTRY = Struct(
    "guid" / UuidLE() * "which item",
    "offset" / Int32ul * "from the start of the metadata region, bytes",
    "length" / Int32ul * "bytes",
    "flags" / Bits(Int32ul, {1: "user", 2: "virtual_disk", REQUIRED_ITEM: "required"}) * "whose item this is",
    "reserved" / Int32ul * "zero",
)
PARAMETERS = Struct(
    "block_size" / Int32ul * "bytes",
    "flags" / Bits(Int32ul, {KEEP_ALLOCATED: "keep_allocated", HAS_PARENT: "has_parent"}) * "kind of disk",
)
LOCATOR_HEADER = Struct(
    "type" / UuidLE() * "of the locator",
    "reserved" / Int16ul * "zero",
    "count" / Int16ul * "pairs of key and value",
)
LOCATOR_ENTRY = Struct(
    "key_offset" / Int32ul * "from the start of the locator, bytes",
    "value_offset" / Int32ul * "from the start of the locator, bytes",
    "key_length" / Int16ul * "bytes of UTF-16",
    "value_length" / Int16ul * "bytes of UTF-16",
)


def crc32c(data: bytes) -> int:
    """Return the CRC-32C (Castagnoli) of the bytes."""
    table = _crc_table()
    crc = 0xFFFFFFFF
    for byte in data:
        crc = table[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


_TABLE: list[int] = []


def _crc_table() -> list[int]:
    if not _TABLE:
        for number in range(256):
            for _ in range(8):
                number = (number >> 1) ^ (0x82F63B78 if number & 1 else 0)
            _TABLE.append(number)
    return _TABLE


def block_offset(entry: int) -> int:
    """Return the file offset of an entry of the BAT, bytes."""
    return entry >> 20 << 20


def seal(raw: bytes) -> int:
    """Return the checksum of a structure that keeps it in bytes 4 to 8."""
    return crc32c(raw[:4] + bytes(4) + raw[8:])


def read_structure(file: ByteSource, layout: Struct, offset: int, name: str) -> Header:
    """Return a structure at ``offset`` (bytes).

    Raises:
        ContainerError: It is cut short.
    """
    data = read_exactly(file, offset, layout.sizeof(), ContainerError, name)
    return Header(name, "file", offset, layout, data)


def expect(header: Header, field: str, value: bytes) -> None:
    """Refuse a structure that does not begin with its signature.

    Raises:
        ContainerError: It does not.
    """
    found = header.data[: len(value)]
    if found != value:
        raise ContainerError(
            f"wrong {field}",
            layer=header.name,
            offset=header.offset,
            expected=value.decode(),
            found=found.hex(),
        )


def check_count(layer: str, count: int, offset: int) -> None:
    """Refuse a table of too many entries.

    Raises:
        ContainerError: It has.
    """
    if count > MAX_TABLE:
        raise ContainerError(
            "entry_count makes no sense",
            layer=layer,
            offset=offset,
            expected=f"0 to {MAX_TABLE}",
            found=count,
        )


def decoded(data: bytes) -> str:
    """Return UTF-16 text up to its first NUL; what cannot be decoded is replaced."""
    return data.decode("utf-16-le", "replace").split("\0")[0]
