"""What else can be on a partition: known by its signature alone, named, and not read.

Source: libblkid (util-linux, libblkid/src/superblocks), which names most of them so; and where it says less:
Apple File System Reference (NXSB), Apple TN1150 (H+), OpenZFS sys/uberblock_impl.h, Linux md_p.h; parted's
libparted/labels for the tables of other machines.
"""

from __future__ import annotations

import functools
import operator
from collections.abc import Callable

from b2dinspect.records import NamedTuple
from b2dinspect.source import SECTOR, ByteSource, read_lenient


class Signature(NamedTuple):
    """Bytes that name a kind of content.

    Attributes:
        kind: The kind's short name.
        offset: Byte of the partition at which they stand.
        data: The bytes.
        is_strong: Whether they are long enough to be looked for where no table says that anything begins.
    """

    kind: str
    offset: int
    data: bytes
    is_strong: bool = True


SIGNATURES = (
    Signature("btrfs", 0x10040, b"_BHRfS_M"),
    Signature("xfs", 0, b"XFSB"),
    Signature("BitLocker", 3, b"-FVE-FS-"),
    Signature("ntfs", 3, b"NTFS    "),
    Signature("ReFS", 3, b"ReFS\0\0\0\0"),
    Signature("vfat", 82, b"FAT32   "),
    Signature("vfat", 54, b"FAT12   "),
    Signature("vfat", 54, b"FAT16   "),
    Signature("vfat", 54, b"FAT     "),
    Signature("exfat", 3, b"EXFAT   "),
    Signature("iso9660", 0x8001, b"CD001"),
    Signature("udf", 0x8001, b"BEA01"),
    Signature("squashfs", 0, b"hsqs"),
    Signature("erofs", 1024, b"\xe2\xe1\xf5\xe0"),
    Signature("f2fs", 1024, b"\x10\x20\xf5\xf2"),
    Signature("LUKS", 0, b"LUKS\xba\xbe"),
    Signature("LVM", SECTOR, b"LABELONE"),
    Signature("LVM", 2 * SECTOR, b"LABELONE"),
    Signature("linux_raid", 4096, b"\xfc\x4e\x2b\xa9\1\0\0\0"),
    Signature("linux_raid", 0, b"\xfc\x4e\x2b\xa9\1\0\0\0"),
    Signature("zfs", 128 << 10, b"\x0c\xb1\xba\0\0\0\0\0"),
    Signature("apfs", 32, b"NXSB"),
    Signature("hfsplus", 1024, b"H+\0\4", False),
    Signature("hfsplus", 1024, b"HX\0\5", False),
    Signature("hfs", 1024, b"BD", False),
    Signature("ufs", 65536 + 1372, b"\x19\x01\x54\x19"),
    Signature("jfs", 0x8000, b"JFS1"),
    Signature("reiserfs", 0x10034, b"ReIsEr"),
    Signature("bcachefs", 4096 + 24, b"\xc6\x85\x73\xf6\x4e\x1a\x45\xca"),
    Signature("vmfs", 0x100000, b"\x0d\xd0\x01\xc0"),
    Signature("apple-map", SECTOR, b"PM\0\0", False),
    Signature("sun-label", 508, b"\xda\xbe", False),
    Signature("sgi-label", 0, b"\x0b\xe5\xa9\x41", False),
    Signature("bsd-label", 64, b"\x57\x45\x56\x82", False),
    Signature("amiga-map", 0, b"RDSK", False),
    *(Signature("amiga-map", number * SECTOR, b"RDSK", False) for number in range(1, 16)),
    Signature("minix", 1024 + 16, b"\x8f\x13", False),
    Signature("minix", 1024 + 16, b"\x7f\x13", False),
    Signature("minix", 1024 + 16, b"\x78\x24", False),
    Signature("minix", 1024 + 24, b"\x5a\x4d", False),
)
"""In the order of the trial: what encloses other things, and what is longest, first."""

NAMES = {
    "xfs": "XFS",
    "ntfs": "NTFS, a Windows filesystem",
    "ReFS": "ReFS, a Windows filesystem",
    "vfat": "FAT",
    "exfat": "exFAT",
    "iso9660": "an ISO 9660 image",
    "udf": "a UDF image",
    "f2fs": "F2FS",
    "LUKS": "a LUKS volume, encrypted",
    "BitLocker": "a BitLocker volume, encrypted",
    "LVM": "an LVM physical volume",
    "linux_raid": "a member of a Linux RAID",
    "zfs": "a member of a ZFS pool",
    "apfs": "APFS, a macOS container",
    "hfsplus": "HFS+, a macOS filesystem",
    "hfs": "HFS, a filesystem of old Macs",
    "ufs": "UFS, a BSD filesystem",
    "jfs": "JFS",
    "reiserfs": "ReiserFS",
    "vmfs": "VMFS, a VMware datastore",
    "apple-map": "an Apple partition map",
    "sun-label": "a SUN disk label",
    "sgi-label": "an SGI disk label",
    "bsd-label": "a BSD disk label",
    "amiga-map": "an Amiga partition map",
    "jbd": "an external journal of ext4",
    "minix": "a minix filesystem",
}
"""What people call a kind; a kind that is not here has its own name."""

NEAR = 8192
"""Bytes within which most signatures stand: read at once."""


def by_signature(source: ByteSource) -> str | None:
    """Return the kind of content of a partition; None when no signature is there."""
    head = read_lenient(source, 0, NEAR)
    found = (one for one in SIGNATURES if _carries(source, head, one) and _is_whole(one, head))
    return next((one.kind for one in found), None)


def rival_of_ext(source: ByteSource) -> Signature | None:
    """Return what keeps blkid from naming an ext filesystem whose superblock is sound; None for nothing.

    Of two filesystems it names neither ("ambivalent result"); encryption and a RAID go before both. Those
    that it takes by their signature alone count, and FAT and XFS where the sizes in their header make sense.

    Source: util-linux 2.38, libblkid/src/superblocks, and blkid -p on an ext4 with each signature.
    """
    head = read_lenient(source, 0, SECTOR)
    rivals = (one for one in SIGNATURES if (one.kind, one.offset) in _RIVALS and _carries(source, head, one))
    return next((one for one in rivals if _RIVALS[one.kind, one.offset](head)), None)


def _is_fat(head: bytes) -> bool:
    sector, cluster, reserved, tables = (
        int.from_bytes(head[at:end], "little") for at, end in ((11, 13), (13, 14), (14, 16), (16, 17))
    )
    has_sizes = sector in (512, 1024, 2048, 4096) and cluster.bit_count() == 1 and reserved > 0
    return has_sizes and 0 < tables <= 2 and head[21] >= 0xF0


def _is_xfs(head: bytes) -> bool:
    return 512 <= int.from_bytes(head[4:8], "big") <= 65536 and any(head[8:16])


def _is_enough(head: bytes) -> bool:
    return True


_RIVALS: dict[tuple[str, int], Callable[[bytes], bool]] = {
    ("btrfs", 0x10040): _is_enough,
    ("ufs", 65536 + 1372): _is_enough,
    ("exfat", 3): _is_enough,
    ("ReFS", 3): _is_enough,
    ("squashfs", 0): _is_enough,
    ("LUKS", 0): _is_enough,
    ("linux_raid", 0): _is_enough,
    ("vfat", 82): _is_fat,
    ("vfat", 54): _is_fat,
    ("xfs", 0): _is_xfs,
}
"""Kinds and places of a signature that can stand beside an ext superblock, and what more must be so."""


def sign_of(source: ByteSource, kind: str) -> int:
    """Return the byte of something at which the signature of its kind stands; 0 when none does."""
    return next((one.offset for one in SIGNATURES if one.kind == kind and _carries(source, b"", one)), 0)


def strong_signature(head: bytes) -> str | None:
    """Return the kind that the first bytes of something name beyond doubt; None for none."""
    return next(
        (one.kind for one in SIGNATURES if one.is_strong and head.startswith(one.data, one.offset)), None
    )


def _is_whole(one: Signature, head: bytes) -> bool:
    """Tell whether the rest is there that blkid asks of a table: a signature in block 0, or a checksum."""
    if one.kind == "apple-map":
        return head.startswith(b"ER")
    if one.kind == "sun-label":
        words = (int.from_bytes(head[at : at + 2], "big") for at in range(0, SECTOR, 2))
        return functools.reduce(operator.xor, words) == 0
    return True


def _carries(source: ByteSource, head: bytes, one: Signature) -> bool:
    if one.offset + len(one.data) <= len(head):
        return head.startswith(one.data, one.offset)
    return read_lenient(source, one.offset, len(one.data)) == one.data


def name_of(kind: str) -> str:
    """Return what people call a kind of content."""
    return NAMES.get(kind, kind)
