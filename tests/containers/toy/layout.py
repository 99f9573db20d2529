from __future__ import annotations

from construct import Bytes, Int64ul, Struct

from b2dinspect.source import align

HEADER = Struct("signature" / Bytes(8) * "TOY DISK", "size" / Int64ul * "virtual size in bytes")
BLOCK = 4096
TABLE = HEADER.sizeof()


def blocks_offset(size: int) -> int:
    return align(TABLE + 4 * -(-size // BLOCK), BLOCK)
