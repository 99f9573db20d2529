"""Formats of disks and archives that are recognised, named and not read, with the way from one to raw.

Source: libewf (EVF, EVF2), Apple's koly trailer as qemu block/dmg.c reads it, the AFF4 standard 1.0 (a zip
that begins with container.description), AFFLIB (AFF10), qemu's parallels.c, qed.h, vmdk.c.
"""

from __future__ import annotations

from b2dinspect.records import NamedTuple
from b2dinspect.source import ByteSource

HEAD = 128


class Unread(NamedTuple):
    """A format that is not read.

    Attributes:
        name: What people call it, with its article.
        offset: Where its sign stands; below 0 it counts from the end of the file.
        sign: The bytes.
        way: How its content becomes a disk that is read.
    """

    name: str
    offset: int
    sign: bytes
    way: str


def _qemu(name: str) -> str:
    return f"convert it first (qemu-img convert -f {name} -O raw)"


UNPACK = "unpack it first"
UNREAD = (
    Unread("an EnCase image (E01)", 0, b"EVF\x09\x0d\x0a\xff\0", "export it first (ewfexport -f raw)"),
    Unread("an EnCase image (Ex01)", 0, b"EVF2\x0d\x0a\x81\0", "export it first (ewfexport -f raw)"),
    Unread("a logical EnCase image (L01)", 0, b"LVF\x09\x0d\x0a\xff\0", "export it first (ewfexport)"),
    Unread("an Apple DMG", -512, b"koly", _qemu("dmg")),
    Unread("an AFF4 image", 30, b"container.description", "export it first, with a program that reads AFF4"),
    Unread("an AFF image", 0, b"AFF10\r\n\0", "export it first (affconvert -r)"),
    Unread("a Parallels disk", 0, b"WithoutFreeSpace", _qemu("parallels")),
    Unread("a Parallels disk", 0, b"WithouFreSpacExt", _qemu("parallels")),
    Unread("a QED disk", 0, b"QED\0", _qemu("qed")),
    Unread("a qcow of version 1", 0, b"QFI\xfb\0\0\0\1", _qemu("qcow")),
    Unread("a VMDK of kind SESparse", 0, b"\xbe\xba\xfe\xca\0\0\0\0", _qemu("vmdk")),
    Unread("a VMDK of an old ESX server (COWD)", 0, b"COWD", _qemu("vmdk")),
    Unread("a Windows image (WIM)", 0, b"MSWIM\0\0\0", UNPACK),
    Unread("a 7z archive", 0, b"7z\xbc\xaf\x27\x1c", UNPACK),
    Unread("a RAR archive", 0, b"Rar!\x1a\x07", UNPACK),
    Unread("a zip archive", 0, b"PK\x03\x04", UNPACK),
    Unread("an xz-compressed file in another one", 0, b"\xfd7zXZ\0", UNPACK),
    Unread("a zstd-compressed file in another one", 0, b"\x28\xb5\x2f\xfd", UNPACK),
)
"""What is more special comes first: AFF4 is a zip too."""


def unread_format(file: ByteSource) -> Unread | None:
    """Return the format of a file that is recognised and not read; None for no such format."""
    head, size = file.pread(0, HEAD), file.size
    for one in UNREAD:
        if one.offset >= 0 and head.startswith(one.sign, one.offset):
            return one
        if one.offset < 0 <= size + one.offset and file.pread(size + one.offset, len(one.sign)) == one.sign:
            return one
    return None
