"""VDI, VirtualBox's own disk format.

Layout (all integers little-endian)::

    0        pre-header      text, signature 0xBEDA107F, version
    72       header          0.1: 348 bytes; 1.1: 384, or 400 with the LCHS geometry
    offBlocks  block map     one 32-bit entry a block
    offData  blocks          cbBlockExtra bytes, then cbBlock bytes, each

Block ``n`` of the disk is at ``offData + map[n] * (cbBlock + cbBlockExtra) + cbBlockExtra``. The map is in
order of first write, not of position. 0xFFFFFFFF is a free block: zeros, or the parent's content in a
differencing or undo image. 0xFFFFFFFE is a block of zeros.

Source: VirtualBox, src/VBox/Storage/VDICore.h and VDI.cpp. In version 0.1 the map follows the header
directly and the blocks follow the map.
"""

from __future__ import annotations

import struct

from b2dinspect.containers.formats import Format, Probe, probe_signature
from b2dinspect.source import ByteSource

SIGNATURE = 0xBEDA107F
FREE = 0xFFFFFFFE
"""This map entry and the next one are no stored block's."""
TRACED = 512 << 10
"""Bytes that are looked at for a map without a header: 128 GiB in blocks of 1 MiB."""
MAX_BLOCKS = 1 << 24
ENOUGH = 8
"""Entries of a kind that no other bytes are likely to have in this order."""


def probe(file: ByteSource) -> Probe:
    """Tell whether the file carries the signature at byte 64."""
    return probe_signature(file, 64, SIGNATURE.to_bytes(4, "little"))


def trace(file: ByteSource) -> str:
    """Tell of a block map where qemu (sector 1) or VirtualBox (1 MiB) puts it, when the header is gone."""
    found = next((at for at in (512, 1 << 20) if _is_map(file.pread(at, TRACED))), None)
    return f"what stands at byte {found:#x} is a block map" if found else ""


def _is_map(raw: bytes) -> bool:
    """Tell whether bytes begin as a map does: free blocks, and each stored one once, from 0 on."""
    free, stored = 0, set[int]()
    for (entry,) in struct.iter_unpack("<I", raw[: len(raw) // 4 * 4]):
        if entry >= FREE:
            free += 1
        elif entry in stored or entry > MAX_BLOCKS:
            break  # behind the map
        else:
            stored.add(entry)
    return bool(stored) and stored == set(range(len(stored))) and (free >= ENOUGH or len(stored) >= ENOUGH)


FORMAT = Format(
    "vdi",
    __name__,
    "VdiContainer",
    probe,
    suffixes=("vdi",),
    qemu_names=("vdi",),
    is_written=True,
    subformats=("dynamic", "fixed"),
    trace=trace,
)
