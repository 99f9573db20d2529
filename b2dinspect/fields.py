"""A Construct declaration and bytes, made into named fields.

One declaration, ``"name" / Type * "doc"``, serves three uses: parsing, building, and the field list here
that feeds ``show --headers`` and every annotated dump. Numbers stay raw integers; their names are derived.
"""

from __future__ import annotations

import struct
import uuid
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any

from construct import Adapter, Array, Bytes, Construct, FormatField, Renamed, Struct, Subconstruct

from b2dinspect.findings import Space
from b2dinspect.records import NamedTuple


class Named(Subconstruct):  # type: ignore[misc]
    """An integer whose single values have names. Parses and builds as the integer itself."""

    def __init__(self, subcon: Construct, names: Mapping[int, str]) -> None:
        super().__init__(subcon)
        self.names = names

    def meaning(self, value: int) -> str:
        """Return the value's name, or ``"unknown"``."""
        return self.names.get(value, "unknown")


class Bits(Subconstruct):  # type: ignore[misc]
    """An integer whose bits have names. Unknown bits are kept, and shown as such."""

    def __init__(self, subcon: Construct, names: Mapping[int, str]) -> None:
        super().__init__(subcon)
        self.names = names

    def meaning(self, value: int) -> str:
        """Return the names of all bits that are set, unknown ones as hexadecimal."""
        known = [name for bit, name in self.names.items() if value & bit]
        rest = value & ~sum(self.names)
        return " ".join([*known, f"unknown:{rest:#x}"] if rest else known)


class UuidLE(Adapter):  # type: ignore[misc]
    """A GUID as Microsoft and VirtualBox store it: the first three groups little-endian."""

    def __init__(self) -> None:
        super().__init__(Bytes(16))

    def _decode(self, obj: bytes, context: object, path: str) -> uuid.UUID:
        return uuid.UUID(bytes_le=obj)

    def _encode(self, obj: uuid.UUID, context: object, path: str) -> bytes:
        return obj.bytes_le


class UuidBE(Adapter):  # type: ignore[misc]
    """A UUID as RFC 4122 and Linux store it: sixteen bytes in reading order."""

    def __init__(self) -> None:
        super().__init__(Bytes(16))

    def _decode(self, obj: bytes, context: object, path: str) -> uuid.UUID:
        return uuid.UUID(bytes=obj)

    def _encode(self, obj: uuid.UUID, context: object, path: str) -> bytes:
        return obj.bytes


@cache
def size_of(layout: Construct) -> int:
    """Return the bytes that a declaration of fixed size takes. Construct adds its parts up at each call."""
    size: int = layout.sizeof()
    return size


@cache
def offset_of(layout: Struct, name: str) -> int:
    """Return where a field of a declaration begins, in bytes from the start of the structure.

    Raises:
        KeyError: No such field.
    """
    offset = 0
    for part in layout.subcons:
        if part.name == name:
            return offset
        offset += size_of(part)
    raise KeyError(name)


@cache
def packer(layout: Struct, *names: str) -> struct.Struct:
    """Return a declaration of numbers and bytes in the shape that struct knows: for tables of thousands.

    Args:
        layout: The declaration.
        names: Pass over all fields but these; none: take all.

    Raises:
        TypeError: It has a part that struct cannot pack.
    """
    codes = [
        _code(part) if not names or part.name in names else f"{part.sizeof()}x" for part in layout.subcons
    ]
    order = {code[0] for code in codes if code[0] in "<>"} or {"<"}
    if len(order) > 1:
        raise TypeError("big and little endian in one structure")
    return struct.Struct(order.pop() + "".join(codes).translate({60: None, 62: None}))


def _code(part: Construct) -> str:
    while isinstance(part, Subconstruct) and not isinstance(part, Array):
        part = part.subcon
    if isinstance(part, FormatField):
        return str(part.fmtstr)
    if isinstance(part, Bytes):
        return f"{part.length}s"
    if isinstance(part, Array):
        return _code(part.subcon) * int(part.count)
    raise TypeError(f"{type(part).__name__} has no place in a packed structure")


class Field(NamedTuple):
    """One decoded field.

    Attributes:
        offset: From the start of the structure, in bytes.
        size: Bytes.
        name: Dotted path for nested structures, ``partitions[2].start``.
        value: int, bytes or uuid.UUID, as stored.
        meaning: The name of the value, or "".
        doc: What the field is for.
    """

    offset: int
    size: int
    name: str
    value: Any
    meaning: str
    doc: str


class Header(NamedTuple):
    """A structure found in the evidence: its bytes and the declaration that explains them.

    Attributes:
        name: What the structure is called (``"VDI header 1.1"``).
        space: Where ``offset`` counts, in the container file or on the virtual disk.
        offset: Bytes.
        layout: Construct declaration of fixed size.
        data: The bytes themselves.
    """

    name: str
    space: Space
    offset: int
    layout: Construct
    data: bytes

    def fields(self) -> list[Field]:
        """Return every field that the bytes hold whole, in order."""
        return list(_walk(self.layout, self.data, 0, "", ""))


def _walk(layout: Construct, data: bytes, offset: int, name: str, doc: str) -> Iterator[Field]:
    if isinstance(layout, Renamed):
        inner = (
            layout.subcon.subcon if isinstance(layout.subcon, Renamed) else layout.subcon
        )  # name, then doc
        yield from _walk(inner, data, offset, f"{name}.{layout.name}" if name else layout.name, layout.docs)
    elif isinstance(layout, Struct):
        for part in layout.subcons:
            yield from _walk(part, data, offset, name, "")
            offset += part.sizeof()
    elif isinstance(layout, Array):
        for index in range(layout.count):
            yield from _walk(layout.subcon, data, offset, f"{name}[{index}]", doc)
            offset += layout.subcon.sizeof()
    elif offset + layout.sizeof() <= len(data):
        size = layout.sizeof()
        value = layout.parse(data[offset : offset + size])
        meaning = layout.meaning(value) if isinstance(layout, Named | Bits) else ""
        yield Field(offset, size, name, value, meaning, doc)
