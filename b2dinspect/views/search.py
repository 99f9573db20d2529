"""Offsets and patterns as people type them, and searching what a source stores: all else is zeros."""

from __future__ import annotations

import re

from b2dinspect.errors import MissingDataError, UsageError
from b2dinspect.source import ByteSource

CHUNK = 1 << 20
_UNITS = {"": 1, "K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40, "S": 512}
MAX_PATTERN = 4096


def parse_pattern(text: str) -> bytes:
    r"""Return what to search for: ``0x`` or pairs of hexadecimal digits are bytes, all else is text.

    Raises:
        UsageError: Nothing to search for, or too much.

    >>> parse_pattern("0x53ef"), parse_pattern("53 ef"), parse_pattern("ssh-rsa")
    (b'S\xef', b'S\xef', b'ssh-rsa')
    """
    is_hex = re.fullmatch(r"0x(?:[0-9a-fA-F]{2})+|[0-9a-fA-F]{2}(?: [0-9a-fA-F]{2})+", text)
    found = bytes.fromhex(text.removeprefix("0x")) if is_hex else text.encode("utf-8", "surrogateescape")
    if not 0 < len(found) <= MAX_PATTERN:
        raise UsageError(f"1 to {MAX_PATTERN} bytes can be searched for")
    return found


def find(source: ByteSource, pattern: bytes, start: int = 0) -> int | None:
    """Return the offset of the first place at or behind ``start`` that holds a pattern, or None.

    A pattern of zeros alone is found in stored bytes only.
    """
    tail, tail_end = b"", -1
    for extent in source.extents(start, None):
        if extent.kind != "data":
            continue
        for offset in range(extent.offset, extent.offset + extent.length, CHUNK):
            length = min(CHUNK, extent.offset + extent.length - offset)
            try:
                data = source.pread(offset, length)
            except MissingDataError:
                continue
            before = tail if tail_end == offset else b""
            at = (before + data).find(pattern)
            if at >= 0:
                return offset - len(before) + at
            tail, tail_end = (
                (before + data)[-(len(pattern) - 1) :] if len(pattern) > 1 else b"",
                offset + length,
            )
    return None


def parse_offset(text: str) -> int:
    """Return an offset in bytes.

    Raises:
        UsageError: Neither a number nor a place.
    """
    found = re.fullmatch(r"(0[xX][0-9a-fA-F]{1,16}|[0-9]{1,19})([KMGTkmgtsS]?)", text)
    if found is None or (found[1].lower().startswith("0x") and found[2]):
        raise UsageError(f"{text}: neither a place nor an offset such as 0x200, 4096, 1M or 2048s")
    return int(found[1], 0 if found[1].lower().startswith("0x") else 10) * _UNITS[found[2].upper()]
