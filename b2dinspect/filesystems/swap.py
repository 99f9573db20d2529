"""The Linux swap header: its label tells one guest generation from another.

Source: util-linux, include/swapheader.h and mkswap(8). The signature ends the first memory page, so its
offset tells the page size.
"""

from __future__ import annotations

import uuid
from typing import Any

from construct import Bytes, Int32ul, Struct

from b2dinspect.fields import Header, UuidBE
from b2dinspect.source import ByteSource, read_lenient

SIGNATURE = b"SWAPSPACE2"
PAGE_SIZES = (4096, 8192, 16384, 65536)
HEADER_OFFSET = 1024

HEADER = Struct(
    "version" / Int32ul * "1",
    "last_page" / Int32ul * "number of the last usable page",
    "bad_pages" / Int32ul * "number of bad pages",
    "uuid" / UuidBE() * "identity of the swap area",
    "label" / Bytes(16) * "volume label",
)


def read_swap(part: ByteSource, virtual_offset: int) -> tuple[Any, Header] | None:
    """Return the parsed swap header of a partition that begins at ``virtual_offset``, or None."""
    head = read_lenient(part, 0, PAGE_SIZES[-1])
    for page in PAGE_SIZES:
        if head[page - len(SIGNATURE) : page] == SIGNATURE:
            raw = head[HEADER_OFFSET : HEADER_OFFSET + HEADER.sizeof()]
            return HEADER.parse(raw), Header(
                "swap header", "virtual", virtual_offset + HEADER_OFFSET, HEADER, raw
            )
    return None


def signature_offset(part: ByteSource) -> int:
    """Return the byte of a swap area at which its signature stands; 0 when none does."""
    head = read_lenient(part, 0, PAGE_SIZES[-1])
    ends = [page - len(SIGNATURE) for page in PAGE_SIZES]
    return next((place for place in ends if head.startswith(SIGNATURE, place)), 0)


def build_swap(size: int, identity: uuid.UUID, label: bytes = b"") -> bytes:
    """Return the first page of a swap area, as mkswap writes it with pages of 4096 bytes.

    Args:
        size: Bytes of the whole area.
        identity: UUID.
        label: At most 16 bytes.
    """
    page = PAGE_SIZES[0]
    fields = {"version": 1, "last_page": size // page - 1, "bad_pages": 0, "uuid": identity}
    header = HEADER.build(fields | {"label": label.ljust(16, b"\0")})
    return bytes(bytes(HEADER_OFFSET) + header).ljust(page - len(SIGNATURE), b"\0") + SIGNATURE
