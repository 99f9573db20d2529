"""Where something begins that a sector names: by its first sectors, or by a copy that says which copy it is.

A search that looks at every sector meets superblocks, signatures, and copies of both: of btrfs at 64 MiB, of
XFS in each allocation group, of LUKS 2 behind its first header, of NTFS behind its last sector, of FAT32 in
its sixth. Each knows how far it is from the beginning.

Source: Linux, fs/btrfs (btrfs_super_block.bytenr), fs/xfs/libxfs/xfs_format.h (xfs_agf.agf_seqno) and
include/uapi/linux/raid/md_p.h (super_offset); LUKS2 On-Disk Format Specification, 2.1 (hdr_offset); LVM2,
lib/label/label.h (sector_xl). Sizes: the same, Linux's fs/{ntfs3,f2fs,squashfs}, LVM2's
lib/format_text/layout.h, Microsoft's exFAT and FAT specifications, Apple File System Reference, Apple TN1150,
and ECMA-119.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from b2dinspect.filesystems import backups, superblock, swap
from b2dinspect.filesystems.signatures import SIGNATURES, Signature
from b2dinspect.records import NamedTuple
from b2dinspect.source import SECTOR, ByteSource, SliceSource, read_lenient

LUKS_COPY = Signature("LUKS", 0x4000, b"SKUL\xba\xbe")
EXT = Signature("ext", superblock.OFFSET + superblock.MAGIC_OFFSET, b"\x53\xef")
FAT32 = next(one for one in SIGNATURES if one.data == b"FAT32   ")
SWAP = Signature("swap", swap.PAGE_SIZES[0] - len(swap.SIGNATURE), swap.SIGNATURE)
SOUGHT = (EXT, SWAP, LUKS_COPY, *(one for one in SIGNATURES if one.is_strong or one.kind == "hfsplus"))
"""What is looked for in every sector."""


class Sight(NamedTuple):
    """What one sector says.

    Attributes:
        start: Byte of the disk at which it says that something begins.
        kind: ``ext``, or a signature's kind.
        place: Byte of the disk at which it stands.
        identity: The UUID of an ext filesystem; None for other kinds.
    """

    start: int
    kind: str
    place: int
    identity: object = None


class Size(NamedTuple):
    """Where a kind tells its size: a number and what it counts, each a place and a format of ``struct``."""

    number: tuple[int, str]
    unit: tuple[int, str] | int


SIZES = {
    "xfs": Size((8, ">Q"), (4, ">I")),
    "ntfs": Size((40, "<Q"), (11, "<H")),
    "exfat": Size((72, "<Q"), SECTOR),
    "btrfs": Size((0x10070, "<Q"), 1),
    "apfs": Size((40, "<Q"), (36, "<I")),
    "hfsplus": Size((1068, ">I"), (1064, ">I")),
    "iso9660": Size((0x8050, "<I"), 2048),
    "squashfs": Size((40, "<Q"), 1),
    "f2fs": Size((1024 + 36, "<Q"), 4096),
    "reiserfs": Size((0x10000, "<I"), (0x1002C, "<H")),
    "LVM": Size((SECTOR + 64, "<Q"), 1),
}
BACKUP_BOOT_SECTOR = {"ntfs": SECTOR}
"""Bytes behind what a size counts."""
XFS_GROUP = (84, ">I"), (4, ">I")
"""Blocks of an allocation group, and the bytes of a block."""
XFS_NUMBER = (SECTOR + 8, ">I")
"""The group that an AGF belongs to; it stands in the sector behind the group's superblock."""
PLACES = {"btrfs": ((0x30, "<Q"), 1), "LVM": ((8, "<Q"), SECTOR), "linux_raid": ((144, "<Q"), SECTOR)}
"""Where a header says how far it is from the beginning, and in what unit."""
LUKS_PLACE = (256, ">Q"), 1
"""The same of LUKS 2; its first header says 0, and LUKS 1 nothing."""


def sights_in(disk: ByteSource, data: bytes, offset: int) -> Iterator[Sight | None]:
    """Yield what the sectors of ``data`` name; it was read from a byte of the disk where a sector begins.

    None stands for what only seemed to be something, so that whoever asks can count the work.
    """
    for one in SOUGHT:
        place, within = one.offset - one.offset % SECTOR, one.offset % SECTOR
        firsts = data[within::SECTOR]  # one byte of each sector: far fewer to look at
        number = firsts.find(one.data[0])
        while number >= 0:
            at = number * SECTOR
            if data.startswith(one.data, at + within):
                yield _sight(disk, one, offset + at, place)
            number = firsts.find(one.data[0], number + 1)


def _sight(disk: ByteSource, one: Signature, sector: int, place: int) -> Sight | None:
    """Return what the sector at a byte names, when it begins on the disk, at a sector."""
    if one is EXT:
        copy = backups.copy_at(disk, sector)
        found = Sight(copy.start, "ext", sector, copy.block.uuid) if copy else None
    elif one is SWAP:
        version = _number(disk, (sector - place + swap.HEADER_OFFSET, "<I"))
        found = Sight(sector - place, "swap", sector) if version == 1 else None
    elif one.kind == "hfsplus" and not _fits(disk, one.kind, sector - place):
        found = None  # its signature is short
    else:
        found = Sight(sector - _from_start(disk, one, sector, place), one.kind, sector)
    return found if found and found.start >= 0 and not found.start % SECTOR else None


def _fat_backup(disk: ByteSource, sector: int) -> int:
    """Return how far a FAT32's boot sector is from its beginning: 0, unless it is the backup.

    Its tables begin behind the reserved sectors, with the medium's byte, 0xFF and 0xFF.
    """
    size, reserved, behind = (_number(disk, (at, "<H"), sector) for at in (11, 14, 50))
    medium = read_lenient(disk, sector + 21, 1)
    for distance in (0, behind * size):
        table = read_lenient(disk, sector - distance + reserved * size, 3) if sector >= distance else b""
        if table == medium + b"\xff\xff":
            return distance
    return 0


def _from_start(disk: ByteSource, one: Signature, sector: int, place: int) -> int:
    """Return how many bytes a sector with a signature is from the beginning of what it names."""
    if one is FAT32:
        return _fat_backup(disk, sector)
    known = LUKS_PLACE if one is LUKS_COPY else PLACES.get(one.kind)
    if known:
        field, unit = known
        return _number(disk, field, sector) * unit
    if one.kind == "xfs" and read_lenient(disk, sector + SECTOR, 4) == b"XAGF":
        blocks, size = (_number(disk, field, sector) for field in XFS_GROUP)
        return _number(disk, XFS_NUMBER, sector) * blocks * size
    if one.kind == "ntfs":
        sectors, size = _number(disk, (40, "<Q"), sector), _number(disk, (11, "<H"), sector)
        return sectors * size if sector + sectors * size > disk.size else 0
    return place


def _fits(disk: ByteSource, kind: str, start: int) -> bool:
    size = size_of(kind, SliceSource(disk, start, disk.size - start)) if start >= 0 else None
    return bool(size) and (size or 0) <= disk.size - start


def size_of(kind: str, source: ByteSource) -> int | None:
    """Return the bytes that something says it has, as its first sectors tell; None when they do not."""
    if kind == "vfat":
        count = _number(source, (19, "<H")) or _number(source, (32, "<I"))
        return count * _number(source, (11, "<H"))
    size = SIZES.get(kind)
    if size is None:
        return None
    unit = size.unit if isinstance(size.unit, int) else _number(source, size.unit)
    return _number(source, size.number) * unit + BACKUP_BOOT_SECTOR.get(kind, 0)


def _number(source: ByteSource, field: tuple[int, str], base: int = 0) -> int:
    place, kind = field
    data = read_lenient(source, base + place, struct.calcsize(kind))
    return int(struct.unpack(kind, data)[0]) if len(data) == struct.calcsize(kind) else 0
