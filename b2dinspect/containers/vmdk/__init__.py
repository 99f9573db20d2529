r"""VMDK, the format of VMware, which VirtualBox and so docker-machine write too.

A *hosted sparse extent* (all integers little-endian, all places in sectors of 512 bytes)::

    0        header           "KDMV", capacity, grain size, where the rest is
    1        descriptor       text: identity, parent, extents, disk data base (ddb)
    rgdOffset  redundant grain directory, and its grain tables
    gdOffset   grain directory, and its grain tables
    overHead   grains         usually 128 sectors each

Grain ``n`` of the disk is where entry ``n % 512`` of grain table ``n / 512`` says; the grain directory says
where the tables are. Entry 0 is a grain that is not stored: zeros, or the parent's content when the
descriptor names a parent. Entry 1 is a grain of zeros, if the header's flag says so. In a *streamOptimized*
extent each grain is a marker (first sector, size) and a zlib stream, and a footer knows the directory::

    … grains, grain tables, grain directory, each behind a marker; footer marker; footer; end-of-stream marker

A disk of several files is a descriptor in a file of its own, which names flat and sparse extents.

Source: VMware, Virtual Disk Format 1.1 and 5.0 (header, descriptor, markers, versions, zeroed grains);
VirtualBox, src/VBox/Storage/VMDK.cpp (layout of what it writes, ddb keys, tables that are never compressed);
qemu, block/vmdk.c and experiment (zlib and not bare deflate, streamOptimized with its directory in front).
"""

from __future__ import annotations

import re

from b2dinspect.containers.formats import Format, Probe
from b2dinspect.source import ByteSource

SIGNATURE = b"KDMV"
DESCRIPTOR_SIGNATURE = b"# disk descriptorfile"
"""Written with capitals, which nobody insists on."""
PROBED = 512
"""Bytes in which qemu looks for a descriptor's beginning."""
_VERSION = rb"(#[^\n]*\n| +\r?\n)*version=[123]\r?\n"


def is_descriptor(head: bytes) -> bool:
    """Tell whether a file that begins so is a descriptor.

    It begins with its own comment, in any case, or, which is what qemu asks for (block/vmdk.c, vmdk_probe),
    with a version behind nothing but comments and lines of blanks.
    """
    return head.lstrip().lower().startswith(DESCRIPTOR_SIGNATURE) or bool(
        head[:1] in (b"#", b" ", b"v") and re.match(_VERSION, head)
    )


def probe(file: ByteSource) -> Probe:
    """Tell whether the file begins with the signature of a sparse extent, or is a descriptor."""
    head = file.pread(0, PROBED)
    if head.startswith(SIGNATURE):
        return Probe(True, "signature KDMV at byte 0")
    if is_descriptor(head):
        return Probe(True, "begins as a descriptor")
    found = head[:4].hex() or "the end of the file"
    return Probe(False, f"neither KDMV nor # Disk DescriptorFile at byte 0, but {found}")


def trace(file: ByteSource) -> str:
    """Tell of the descriptor that a sparse extent has behind its header, when that is gone."""
    return "a descriptor stands at byte 0x200" if is_descriptor(file.pread(512, PROBED)) else ""


FORMAT = Format(
    "vmdk",
    __name__,
    "VmdkContainer",
    probe,
    suffixes=("vmdk",),
    qemu_names=("vmdk",),
    qemu_backs=True,
    takes=("open_extent", "prefer_redundant"),
    is_written=True,
    subformats=("monolithicSparse", "streamOptimized", "monolithicFlat"),
    trace=trace,
)
