"""MBR partition tables: four entries at byte 446 of sector 0, logical ones in a chain of sectors.

Source: the layout every PC operating system agrees on; names of types as util-linux fdisk prints them.
Logical partitions: each extended boot record holds one partition, relative to itself, and the next record,
relative to the first.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from construct import Array, Bytes, Int8ul, Int16ul, Int32ul, Struct

from b2dinspect.fields import Header, Named
from b2dinspect.findings import Finding
from b2dinspect.partitions.base import Partition
from b2dinspect.source import SECTOR, ByteSource, read_lenient

TYPE_LINUX, TYPE_SWAP, TYPE_PROTECTIVE = 0x83, 0x82, 0xEE
EXTENDED = (0x05, 0x0F, 0x85)
SIGNATURE = 0xAA55
MAX_LOGICAL = 128

BOOT_SECTORS = ((3, b"NTFS"), (3, b"EXFAT"), (54, b"FAT"), (82, b"FAT32"))
"""Where a filesystem that ends its first sector with 55 aa too has its name."""
NO_CHS = b"\xfe\xff\xff"
"""What stands for a place beyond what cylinder, head and sector can say."""
SECOND_SECTOR = b"\0\2\0"
"""Head, sector from 1, and cylinder of sector 1, where a GPT's header is."""

TYPES = {
    0x00: "Empty",
    0x02: "XENIX root",
    0x05: "Extended",
    0x07: "HPFS/NTFS/exFAT",
    0x0B: "W95 FAT32",
    0x0C: "W95 FAT32 (LBA)",
    0x0E: "W95 FAT16 (LBA)",
    0x0F: "W95 Ext'd (LBA)",
    0x82: "Linux swap / Solaris",
    0x83: "Linux",
    0x85: "Linux extended",
    0x8E: "Linux LVM",
    0xA5: "FreeBSD",
    0xEE: "GPT",
    0xEF: "EFI (FAT-12/16/32)",
    0xFD: "Linux raid autodetect",
}

ENTRY = Struct(
    "status" / Named(Int8ul, {0x00: "inactive", 0x80: "active"}) * "boot flag",
    "chs_first" / Bytes(3) * "cylinder, head, sector of the first sector",
    "type" / Named(Int8ul, TYPES) * "system id",
    "chs_last" / Bytes(3) * "cylinder, head, sector of the last sector",
    "start" / Int32ul * "first sector (LBA)",
    "sectors" / Int32ul * "length in sectors",
)

BLANK = {"status": 0, "chs_first": bytes(3), "type": 0, "chs_last": bytes(3), "start": 0, "sectors": 0}
"""An entry that is not used."""

TABLE = (446, 512)
"""Bytes of sector 0 that are the table and its signature: all that busybox's fdisk writes."""

MBR = Struct(
    "bootstrap" / Bytes(440) * "boot code; busybox's fdisk leaves the marker here",
    "disk_signature" / Int32ul * "disk identifier",
    "reserved" / Int16ul * "usually zero",
    "partitions" / Array(4, ENTRY) * "primary partitions",
    "signature" / Int16ul * "0xAA55",
)


def read_mbr(data: bytes) -> tuple[Any, Header] | str:
    """Return the parsed sector 0 and its header, or the reason why these bytes are no MBR."""
    if len(data) < SECTOR:
        return "the disk is shorter than a sector"
    table = MBR.parse(data)
    if table.signature != SIGNATURE:
        return f"no signature 55 aa at byte 510, but {data[510:512].hex(' ')}"
    if any(entry.status not in (0x00, 0x80) for entry in table.partitions):
        return "55 aa at byte 510, but bytes 446 to 509 are no partition table: a boot sector"
    if not any(entry.type for entry in table.partitions):
        for offset, name in BOOT_SECTORS:
            if data.startswith(name, offset):
                return f"55 aa at byte 510, but no partition; {name.decode()} at byte {offset}: a boot sector"
    return table, Header("MBR", "virtual", 0, MBR, data)


def is_plain(table: Any) -> bool:
    """Tell whether the table has partitions of its own and does not send its reader to a GPT."""
    used = [entry.type for entry in table.partitions if entry.type and entry.sectors]
    return bool(used) and TYPE_PROTECTIVE not in used


def partitions_of(disk: ByteSource, table: Any) -> tuple[tuple[Partition, ...], tuple[Finding, ...]]:
    """Return all partitions of a parsed MBR, logical ones included, and what is odd about the chain."""
    primary: list[Partition] = []
    logical: list[Partition] = []
    findings: list[Finding] = []
    for number, entry in enumerate(table.partitions, 1):
        if not entry.type or not entry.sectors:
            continue
        primary.append(_partition(number, entry.start, entry))
        if entry.type in EXTENDED:
            found, problems = _logical(disk, entry.start, 5 + len(logical))
            logical += found
            findings += problems
    return (*primary, *logical), tuple(findings)


def _logical(
    disk: ByteSource, extended_start: int, first_number: int
) -> tuple[list[Partition], list[Finding]]:
    found: list[Partition] = []
    record, visited = extended_start, set[int]()
    while len(visited) < MAX_LOGICAL:
        if record in visited:
            text = f"the chain of extended boot records comes back to sector {record}"
            return found, [Finding("mbr-chain-cyclic", "error", text, record * SECTOR)]
        visited.add(record)
        data = read_lenient(disk, record * SECTOR, SECTOR)
        table = MBR.parse(data) if len(data) == SECTOR else None
        if table is None or table.signature != SIGNATURE:
            text = f"the chain of logical partitions breaks off: no extended boot record in sector {record}"
            return found, [Finding("mbr-chain-broken", "error", text, record * SECTOR)]
        entry, following = table.partitions[0], table.partitions[1]
        if entry.type and entry.sectors:
            found.append(_partition(first_number + len(found), record + entry.start, entry))
        if following.type not in EXTENDED or not following.sectors:
            return found, []
        record = extended_start + following.start
    text = f"more than {MAX_LOGICAL} logical partitions; the rest is not shown"
    return found, [Finding("mbr-chain-long", "warning", text, record * SECTOR)]


def _partition(number: int, start: int, entry: Any) -> Partition:
    return Partition("mbr", number, start, entry.sectors, f"{entry.type:x}", TYPES.get(entry.type, ""))


def build_mbr(
    partitions: Sequence[tuple[int, int, int]], disk_signature: int, geometry: tuple[int, int] | None = None
) -> bytes:
    """Return a sector 0 with these primary partitions.

    Args:
        partitions: Up to four of type, first sector, length in sectors; by number.
        disk_signature: Disk identifier.
        geometry: Heads and sectors a track, to say where partitions are in these too.
    """
    entries = [
        BLANK
        | {"type": kind, "start": start, "sectors": sectors}
        | {"chs_first": _chs(start, geometry), "chs_last": _chs(start + sectors - 1, geometry)}
        for kind, start, sectors in partitions
    ]
    return _build(entries, disk_signature)


def _build(entries: Sequence[dict[str, object]], disk_signature: int) -> bytes:
    fields = {
        "bootstrap": bytes(440),
        "disk_signature": disk_signature,
        "reserved": 0,
        "signature": SIGNATURE,
    }
    return bytes(MBR.build(fields | {"partitions": [*entries, *[BLANK] * (4 - len(entries))]}))


def build_protective(sectors: int) -> bytes:
    """Return the sector 0 of a GPT disk of that many sectors: one entry, which says that all of it is taken.

    Source: UEFI specification 2.10, 5.2.3; and util-linux fdisk, which gives the last place as beyond CHS
    whatever the size.
    """
    entry = BLANK | {"type": TYPE_PROTECTIVE, "start": 1, "sectors": min(sectors - 1, 0xFFFFFFFF)}
    entry |= {"chs_first": SECOND_SECTOR, "chs_last": b"\xff\xff\xff"}
    return _build([entry], 0)


def _chs(sector: int, geometry: tuple[int, int] | None) -> bytes:
    """Return a sector as head, sector from 1, and cylinder, whose upper two bits are the sector's.

    Beyond cylinder 1023 it is the last sector of that, as fdisk has it.
    """
    if geometry is None:
        return NO_CHS
    heads, sectors = geometry
    track, place = divmod(min(sector, 1024 * heads * sectors - 1), sectors)
    cylinder, head = divmod(track, heads)
    return bytes((head, place + 1 | cylinder >> 2 & 0xC0, cylinder & 0xFF))
