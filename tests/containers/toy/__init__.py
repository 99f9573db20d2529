"""A made-up format, as somebody else's package would add it: ``FORMATS["toy"] = FORMAT``.

Layout (little-endian): the signature, the virtual size (64 bits), then a table with one 32-bit entry for each
block of 4 KiB, its number in the file from 1 on; 0 is a block of zeros. Blocks begin at the next 4 KiB.
"""

from __future__ import annotations

from b2dinspect.containers.formats import Format, Probe, probe_signature
from b2dinspect.source import ByteSource

SIGNATURE = b"TOY DISK"


def probe(file: ByteSource) -> Probe:
    return probe_signature(file, 0, SIGNATURE, SIGNATURE.decode())


FORMAT = Format("toy", __name__, "ToyContainer", probe, suffixes=("toy",), is_written=True)
