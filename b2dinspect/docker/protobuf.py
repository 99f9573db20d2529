"""Protobuf messages without their declarations: numbers of fields and what is in them.

Source: protobuf.dev, Encoding.
"""

from __future__ import annotations

from collections.abc import Iterator


def protobuf(data: bytes) -> Iterator[tuple[int, bytes | int]]:
    """Yield the fields of a protobuf message: number, and the integer or the bytes in it.

    Raises:
        ValueError: It is none.

    >>> list(protobuf(bytes([0x0A, 2]) + b"ok" + bytes([0x10, 0xAC, 2])))
    [(1, b'ok'), (2, 300)]
    """
    at = 0
    while at < len(data):
        key, at = varint(data, at)
        number, kind = key >> 3, key & 7
        if kind == 0:
            value, at = varint(data, at)
            yield number, value
            continue
        if kind == 2:
            length, at = varint(data, at)
        elif kind in (1, 5):
            length = 8 if kind == 1 else 4
        else:
            raise ValueError(f"a field of kind {kind}")
        if at + length > len(data):
            raise ValueError("a field that is cut short")
        yield number, data[at : at + length]
        at += length


def varint(data: bytes, at: int = 0) -> tuple[int, int]:
    """Return an integer of protobuf, 64 bits at most, and where it ends.

    Raises:
        ValueError: It has no end.
    """
    found = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            break
        byte, at = data[at], at + 1
        found |= (byte & 0x7F) << shift
        if byte < 0x80:
            return found & 0xFFFFFFFFFFFFFFFF, at
    raise ValueError("an integer without end")
