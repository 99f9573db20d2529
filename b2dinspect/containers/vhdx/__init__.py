"""VHDX, Hyper-V's disk format since Windows Server 2012. Read only; the log is not replayed.

Layout (all integers little-endian; everything behind 1 MiB is aligned to 1 MiB)::

    0        file identifier    signature, and the creator in UTF-16
    64 KiB   header 1           4 KiB with a CRC-32C; of the sound ones that with the higher
    128 KiB  header 2             sequence number counts
    192 KiB  region table 1     64 KiB with a CRC-32C: where BAT and metadata are
    256 KiB  region table 2     its copy
    1 MiB    log, metadata, BAT and blocks, in any order

The BAT has 64-bit entries: state in the lowest three bits, file offset in MiB from bit 20 on. Behind the
entries of each chunk (2^23 sectors of the disk) stands one for the chunk's sector bitmap block of 1 MiB. Only
a differencing disk has sector bitmaps: they tell, lowest bit first, which sectors of a block in state 7 are
in the file; the others are the parent's.

Source: [MS-VHDX] Virtual Hard Disk v2 (VHDX) File Format, sections 2.2 to 2.6. State 5 is "unmapped" in its
draft 0.95 only; qemu's block/vhdx.h still names it. qemu 7.2 gives entries of sector bitmaps, which it never
uses, the state of zero blocks (seen).
"""

from __future__ import annotations

from b2dinspect.containers.formats import Format, Probe, probe_signature
from b2dinspect.source import ByteSource

SIGNATURE = b"vhdxfile"


def probe(file: ByteSource) -> Probe:
    """Tell whether the file begins with the file identifier."""
    return probe_signature(file, 0, SIGNATURE, SIGNATURE.decode())


def trace(file: ByteSource) -> str:
    """Tell of headers or a region table behind a file identifier that is gone."""
    signs = ((64, b"head"), (128, b"head"), (192, b"regi"), (256, b"regi"))
    found = [(at, sign) for at, sign in signs if file.pread(at << 10, 4) == sign]
    if len(found) < 2 and (256, b"regi") not in found:
        return ""
    return "; ".join(f"{sign.decode()!r} stands at byte {at << 10:#x}" for at, sign in found)


FORMAT = Format(
    "vhdx", __name__, "VhdxContainer", probe, suffixes=("vhdx",), qemu_names=("vhdx",), trace=trace
)
