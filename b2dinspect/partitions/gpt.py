"""GUID partition tables: a header in sector 1 and its backup in the last, entries beside each.

Source: UEFI specification 2.10, chapter 5.3. A sector has 512 bytes, or 4096.
"""

from __future__ import annotations

import uuid
import zlib
from collections.abc import Sequence
from typing import Any

from construct import Bytes, Int32ul, Int64ul, Struct

from b2dinspect.errors import PartitionError
from b2dinspect.fields import Bits, Header, UuidLE
from b2dinspect.partitions.base import Partition
from b2dinspect.partitions.mbr import build_protective
from b2dinspect.records import NamedTuple
from b2dinspect.source import SECTOR, ByteSource, read_exactly

SIGNATURE = b"EFI PART"
LINUX = "0FC63DAF-8483-4772-8E79-3D69D8477DE4"
SWAP = "0657FD6D-A4AB-43C4-84E5-0933C84B4F4F"
TYPES = {
    LINUX: "Linux filesystem",
    SWAP: "Linux swap",
    "C12A7328-F81F-11D2-BA4B-00A0C93EC93B": "EFI System",
    "21686148-6449-6E6F-744E-656564454649": "BIOS boot",
    "E6D6D379-F507-44C2-A23C-238F2A3DF928": "Linux LVM",
    "A19D880F-05FC-4D3B-A006-743F0F84911E": "Linux RAID",
    "EBD0A0A2-B9E5-4433-87C0-68B6B72699C7": "Microsoft basic data",
    "4F68BCE3-E8CD-4DB1-96E7-FBCAF984B709": "Linux root (x86-64)",
}
UNUSED = bytes(16)
MAX_ENTRIES = 4096
ENTRIES = 128
ALIGNMENT = 2048  # sectors: fdisk keeps the first MiB free

HEADER = Struct(
    "signature" / Bytes(8) * "EFI PART",
    "revision" / Int32ul * "0x00010000",
    "header_size" / Int32ul * "bytes covered by header_crc32",
    "header_crc32" / Int32ul * "of the header, with this field zero",
    "reserved" / Int32ul * "must be zero",
    "my_lba" / Int64ul * "sector of this header",
    "alternate_lba" / Int64ul * "sector of the other header",
    "first_usable_lba" / Int64ul * "first sector for partitions",
    "last_usable_lba" / Int64ul * "last sector for partitions",
    "disk_guid" / UuidLE() * "identity of the disk",
    "entries_lba" / Int64ul * "first sector of the entries",
    "entry_count" / Int32ul * "entries in the array",
    "entry_size" / Int32ul * "bytes an entry, 128 or a larger multiple",
    "entries_crc32" / Int32ul * "of the whole array",
)

ENTRY = Struct(
    "type" / UuidLE() * "what the partition is for; zero: unused",
    "guid" / UuidLE() * "identity of the partition",
    "first_lba" / Int64ul * "first sector",
    "last_lba" / Int64ul * "last sector, inclusive",
    "attributes" / Bits(Int64ul, {1: "required", 2: "no_block_io", 4: "legacy_boot"}) * "flags",
    "name" / Bytes(72) * "UTF-16LE",
)

HEADER_SIZE, ENTRY_SIZE = HEADER.sizeof(), ENTRY.sizeof()


class Gpt(NamedTuple):
    """One sound copy of a table: header and entries, both checksums verified."""

    header: Any
    entries: bytes
    partitions: tuple[Partition, ...]
    headers: tuple[Header, ...]


def read_gpt(disk: ByteSource, lba: int, name: str, sector_size: int = SECTOR) -> Gpt:
    """Return the table whose header is in sector ``lba``.

    Args:
        disk: The whole virtual disk.
        lba: Sector of the header.
        name: ``"primary"`` or ``"backup"``, for messages.
        sector_size: Bytes of a sector, as the disk has them that the table was made on: 512 or 4096.

    Raises:
        PartitionError: No signature there, or a checksum or a bound is wrong.
    """
    layer = f"{name} GPT header"
    at = lba * sector_size
    sector = read_exactly(disk, at, SECTOR, PartitionError, layer)
    if not sector.startswith(SIGNATURE):
        raise PartitionError("no signature EFI PART", layer=layer, offset=at)
    header = HEADER.parse(sector[:HEADER_SIZE])
    _check_header(header, sector, lba, at, layer)
    entries = _read_entries(disk, header, sector_size, f"{name} GPT entries")
    partitions, structures = _decode_entries(header, entries, sector_size, name)
    headers = (Header(f"GPT header ({name})", "virtual", at, HEADER, sector[:HEADER_SIZE]),)
    return Gpt(header, entries, partitions, headers + structures)


def _check_header(header: Any, sector: bytes, lba: int, at: int, layer: str) -> None:
    def refuse(message: str, offset: int, expected: object, found: object) -> PartitionError:
        return PartitionError(message, layer=layer, offset=at + offset, expected=expected, found=found)

    if not HEADER_SIZE <= header.header_size <= SECTOR:
        raise refuse("header size is out of range", 12, "92 to 512", header.header_size)
    computed = _checksum(header, sector)
    if computed != header.header_crc32:
        raise refuse("wrong header checksum", 16, f"{computed:#010x}", f"{header.header_crc32:#010x}")
    if header.my_lba != lba:
        raise refuse("the header belongs to another sector", 24, lba, header.my_lba)
    if header.entry_size < ENTRY_SIZE or header.entry_size % 8 or header.entry_size > 4096:
        raise refuse("entry size is out of range", 84, "128 to 4096", header.entry_size)
    if header.entry_count > MAX_ENTRIES:
        raise refuse("too many entries", 80, f"at most {MAX_ENTRIES}", header.entry_count)


def is_sealed(header: Any, sector: bytes) -> bool:
    """Tell whether a header's checksum is right, wherever its sector stands."""
    has_size = HEADER_SIZE <= header.header_size <= len(sector)
    return bool(has_size and _checksum(header, sector) == header.header_crc32)


def _checksum(header: Any, sector: bytes) -> int:
    raw = sector[: header.header_size]
    return zlib.crc32(raw[:16] + bytes(4) + raw[20:])


def _read_entries(disk: ByteSource, header: Any, sector_size: int, layer: str) -> bytes:
    offset = header.entries_lba * sector_size
    entries = read_exactly(disk, offset, header.entry_count * header.entry_size, PartitionError, layer)
    computed = zlib.crc32(entries)
    if computed != header.entries_crc32:
        raise PartitionError(
            "wrong checksum of the entries",
            layer=layer,
            offset=offset,
            expected=f"{header.entries_crc32:#010x}",
            found=f"{computed:#010x}",
        )
    return entries


def _decode_entries(
    header: Any, entries: bytes, sector_size: int, name: str
) -> tuple[tuple[Partition, ...], tuple[Header, ...]]:
    partitions, structures = [], []
    for index in range(header.entry_count):
        start = index * header.entry_size
        raw = entries[start : start + ENTRY_SIZE]
        if raw[:16] == UNUSED:
            continue
        entry = ENTRY.parse(raw)
        kind = str(entry.type).upper()
        label = entry.name.decode("utf-16-le", "surrogatepass").split("\0")[0]
        scale = sector_size // SECTOR
        start_sector, sectors = entry.first_lba * scale, max(0, entry.last_lba - entry.first_lba + 1) * scale
        type_name, guid = TYPES.get(kind, ""), str(entry.guid)
        partitions.append(Partition("gpt", index + 1, start_sector, sectors, kind, type_name, label, guid))
        where = header.entries_lba * sector_size + start
        structures.append(Header(f"GPT entry {index + 1} ({name})", "virtual", where, ENTRY, raw))
    return tuple(partitions), tuple(structures)


class NewPartition(NamedTuple):
    """A partition to be written: type and own GUID, first and last sector."""

    type: str
    guid: uuid.UUID
    first: int
    last: int


def build_gpt(
    disk_sectors: int, disk_guid: uuid.UUID, partitions: Sequence[NewPartition]
) -> list[tuple[int, bytes]]:
    """Return what to write where, as (virtual offset, bytes): protective MBR, both headers, both arrays.

    Args:
        disk_sectors: Size of the disk in sectors of 512 bytes.
        disk_guid: Identity of the disk.
        partitions: By number; at most 128.
    """
    array = b"".join(
        ENTRY.build(
            {"type": uuid.UUID(part.type), "guid": part.guid, "first_lba": part.first, "last_lba": part.last}
            | {"attributes": 0, "name": bytes(72)}
        )
        for part in partitions
    ).ljust(ENTRIES * ENTRY_SIZE, b"\0")
    last, array_sectors = disk_sectors - 1, len(array) // SECTOR
    backup_array = last - array_sectors
    return [
        (0, build_protective(disk_sectors)),
        (SECTOR, _build_header(1, last, 2, disk_guid, array)),
        (2 * SECTOR, array),
        (backup_array * SECTOR, array),
        (last * SECTOR, _build_header(last, 1, backup_array, disk_guid, array)),
    ]


def _build_header(lba: int, alternate: int, entries_lba: int, disk_guid: uuid.UUID, array: bytes) -> bytes:
    disk_sectors = max(lba, alternate) + 1
    fields = {
        "signature": SIGNATURE,
        "revision": 0x10000,
        "header_size": HEADER_SIZE,
        "header_crc32": 0,
        "reserved": 0,
        "my_lba": lba,
        "alternate_lba": alternate,
        "first_usable_lba": ALIGNMENT,
        "last_usable_lba": disk_sectors - len(array) // SECTOR - 2,
        "disk_guid": disk_guid,
        "entries_lba": entries_lba,
        "entry_count": ENTRIES,
        "entry_size": ENTRY_SIZE,
        "entries_crc32": zlib.crc32(array),
    }
    fields["header_crc32"] = zlib.crc32(HEADER.build(fields))
    return bytes(HEADER.build(fields)).ljust(SECTOR, b"\0")
