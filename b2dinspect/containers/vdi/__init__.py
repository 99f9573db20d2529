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

from b2dinspect.containers.formats import Format, Probe, probe_signature
from b2dinspect.source import ByteSource

SIGNATURE = 0xBEDA107F


def probe(file: ByteSource) -> Probe:
    """Tell whether the file carries the signature at byte 64."""
    return probe_signature(file, 64, SIGNATURE.to_bytes(4, "little"))


FORMAT = Format(
    "vdi",
    __name__,
    "VdiContainer",
    probe,
    suffixes=("vdi",),
    qemu_names=("vdi",),
    is_written=True,
    subformats=("dynamic", "fixed"),
)
