"""VHD, the disk format of Virtual PC and of Hyper-V before VHDX (qemu calls it vpc).

Layout (all integers big-endian, the BAT in sectors of 512 bytes)::

    fixed                          dynamic and differencing
    0      the disk                0        copy of the footer
    end    footer, 512 bytes       512      dynamic disk header, 1024 bytes (where the footer says)
                                   1536     BAT: one 32-bit sector number a block (where the header says)
                                   …        blocks: a sector bitmap, padded to 512 bytes, then the data
                                   end      footer

Block ``n`` has its bitmap at sector ``BAT[n]`` and its data right behind. 0xFFFFFFFF is a free block: zeros,
or the parent's content in a differencing disk. The highest bit of the bitmap's first byte is sector 0 of the
block. A clear bit means the parent in a differencing disk, and "never written" in a dynamic one.

Source: Virtual Hard Disk Image Format Specification 1.0 (Microsoft, October 2006): all fields, the checksums
(one's complement of the sum of the bytes), the geometry (its appendix), footers of 511 bytes (Virtual PC
before 2004). Where programs differ:

- Clear bits of a dynamic disk: to the specification such a sector was never written, which is taken for zeros
  here; qemu (tried with 7.2) ignores the bitmap and shows the bytes in the file. What Windows does was not
  tried. A finding tells of a block where clear bits hide something.
- The virtual size: qemu (7.2, tried with one footer for each creator) believes cylinders * heads * sectors,
  except for the creators in ``SIZE_FROM_FOOTER`` and for the largest geometry, where the footer's own size
  holds. Here too, and a finding tells when the two differ.
- With both footers sound, qemu reads a dynamic disk's copy at byte 0; the specification names the one at the
  end, and so does this reader. When they differ, that is a finding.
"""

from __future__ import annotations

from b2dinspect.containers.formats import Format, Probe, probe_signature
from b2dinspect.source import ByteSource

COOKIE = b"conectix"


def probe(file: ByteSource) -> Probe:
    """Tell whether the file carries a footer at its end or a copy of one at byte 0."""
    for offset in (0, -512, -511):
        found = probe_signature(file, offset, COOKIE, COOKIE.decode())
        if found.matched:
            return found
    return Probe(False, f"no signature {COOKIE.decode()} at byte 0 or in the last 512 bytes")


def trace(file: ByteSource) -> str:
    """Tell of the header of a dynamic disk, when both footers are gone."""
    return "'cxsparse' stands at byte 0x200" if file.pread(512, 8) == b"cxsparse" else ""


FORMAT = Format(
    "vhd",
    __name__,
    "VhdContainer",
    probe,
    suffixes=("vhd",),
    qemu_names=("vpc",),
    is_written=True,
    subformats=("dynamic", "fixed"),
    trace=trace,
)
