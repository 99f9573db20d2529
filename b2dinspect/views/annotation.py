"""Bytes of a disk or its file together with the fields that they belong to: what every annotated dump shows.

The fields are those of the Construct declarations (``fields.Header``); entries of block maps, which are too
many for a declaration, are made here from what the container tells of its tables.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from itertools import islice
from typing import Literal

from b2dinspect.containers.tables import MAX_TABLES, MapTable
from b2dinspect.errors import MissingDataError, UsageError
from b2dinspect.fields import Field, Header
from b2dinspect.findings import Space
from b2dinspect.inspection.facts import Inspection
from b2dinspect.records import NamedTuple
from b2dinspect.source import SECTOR, ByteSource, Extent

MAX_LENGTH = 64 << 10
SPARE = re.compile(r"(reserved|unused|padding)(_\d+|_pad)?")
"""What fields are called in which nothing should be; reserved_blocks and unused_inodes count things."""
SHORT = 256
"""Bytes of each place that are shown when nobody says how many."""
Place = Literal["header", "map", "magic", "mbr", "gpt", "superblock", "userdata"]
PLACES: tuple[Place, ...] = ("header", "map", "magic", "mbr", "gpt", "superblock", "userdata")


class Span(NamedTuple):
    """A field at its place.

    Attributes:
        offset: Absolute, in bytes, in the region's space.
        structure: Name of the structure that it is in.
        field: The field; its own offset counts in the structure.
    """

    offset: int
    structure: str
    field: Field

    @property
    def end(self) -> int:
        """Offset of the first byte behind it."""
        return self.offset + self.field.size

    @property
    def is_odd(self) -> bool:
        """Whether it holds unknown bits, or something where nothing should be."""
        field = self.field
        is_spare = SPARE.fullmatch(field.name.rpartition(".")[2]) is not None
        value = field.value.strip(b"\0") if isinstance(field.value, bytes) else field.value
        return "unknown" in field.meaning or (is_spare and bool(value))


class Region(NamedTuple):
    """A run of bytes and what is known of it.

    Attributes:
        title: What it is.
        space: Where ``offset`` counts: in the file, or on the virtual disk.
        offset: Of the first byte.
        data: The bytes; zeros stand where they are missing.
        missing: Ranges of ``data`` that the evidence does not hold, as (start, end).
        spans: The fields, by offset; of two that overlap, the inner one comes later.
        file_offset: Where the first byte of a virtual region is in the file; None when it is not stored.
        extents: How the bytes of a virtual region lie in the file; empty when nobody asked.
    """

    title: str
    space: Space
    offset: int
    data: bytes
    missing: tuple[tuple[int, int], ...]
    spans: tuple[Span, ...]
    file_offset: int | None = None
    extents: tuple[Extent, ...] = ()

    def in_file(self, at: int) -> int | None:
        """Return where a byte of a virtual region is in the file; None when it is not stored, or not known.

        Args:
            at: Counted from the first byte of the region.
        """
        if at == 0:
            return self.file_offset
        for one in self.extents:
            within = self.offset + at - one.offset
            if 0 <= within < one.length:
                return None if one.file_offset is None else one.file_offset + within
        return None

    def owners(self) -> list[int | None]:
        """Return for each byte the index of the innermost span that holds it."""
        owner: list[int | None] = [None] * len(self.data)
        for index, span in enumerate(self.spans):
            for at in range(max(0, span.offset - self.offset), min(len(owner), span.end - self.offset)):
                owner[at] = index
        return owner


def all_headers(facts: Inspection) -> Iterator[Header]:
    """Yield every decoded structure from the outside in, those of the tars where they are on the disk."""
    yield from facts.container.headers
    yield from facts.table.headers
    for volume in facts.volumes:
        yield from volume.headers
    for item in facts.userdata:
        for header in item.tar.headers:
            virtual, _ = item.locate(header.offset)
            if virtual is not None:
                yield header._replace(name=f"{item.source} {header.name}", space="virtual", offset=virtual)


def structure(header: Header, disk: ByteSource) -> Region:
    """Return a decoded structure of a disk with its fields, at most MAX_LENGTH bytes of it."""
    data, at = header.data[:MAX_LENGTH], header.offset
    extents = tuple(disk.extents(at, len(data)))
    return Region(header.name, "virtual", at, data, (), tuple(_fields(header)), disk.locate(at), extents)


def region(facts: Inspection, space: Space, offset: int, length: int, title: str = "") -> Region:
    """Return ``length`` bytes at ``offset`` with their fields.

    Raises:
        UsageError: There is nothing at that offset, or it is more than MAX_LENGTH.
    """
    source: ByteSource = facts.container if space == "virtual" else facts.container.file
    if not 0 <= offset < source.size:
        raise UsageError(f"offset {offset} is outside of the {space} space of {source.size} bytes")
    if not 0 < length <= MAX_LENGTH:
        raise UsageError(f"{length} bytes cannot be shown; 1 to {MAX_LENGTH} can")
    length = min(length, source.size - offset)
    data, missing = _read(source, offset, length)
    spans = [span for span in _spans(facts, space) if span.offset < offset + length and span.end > offset]
    spans += _map_spans(facts, space, offset, length)
    spans.sort(key=lambda span: (-span.field.size, span.offset))
    located = facts.container.locate(offset) if space == "virtual" else None
    found = title or f"{length} bytes of the {'disk' if space == 'virtual' else 'file'}"
    extents = tuple(source.extents(offset, length)) if space == "virtual" else ()
    return Region(found, space, offset, data, missing, tuple(spans), located, extents)


def _read(source: ByteSource, offset: int, length: int) -> tuple[bytes, tuple[tuple[int, int], ...]]:
    try:
        return source.pread(offset, length), ()
    except MissingDataError:
        pass
    data, missing = bytearray(), []
    for at in range(0, length, SECTOR):
        count = min(SECTOR, length - at)
        try:
            data += source.pread(offset + at, count)
        except MissingDataError:
            data += bytes(count)
            missing.append((at, at + count))
    return bytes(data), tuple(missing)


def _spans(facts: Inspection, space: Space) -> Iterator[Span]:
    for header in all_headers(facts):
        if header.space == space:
            yield from _fields(header)


def _fields(header: Header) -> Iterator[Span]:
    for field in header.fields():
        yield Span(header.offset + field.offset, header.name, field)


def map_table(facts: Inspection) -> MapTable | None:
    """Return the table that says where the container's blocks are; None when it has none."""
    return next(facts.container.tables(), None)


def _map_spans(facts: Inspection, space: Space, offset: int, length: int) -> Iterator[Span]:
    """Yield the entries in a range of the file, of all tables that reach into it."""
    for table in islice(facts.container.tables(), MAX_TABLES) if space == "file" else ():
        if table.entry_size and table.offset < offset + length and offset < table.offset + table.length:
            yield from _entries(facts.container.file, table, offset, length)


def _entries(file: ByteSource, table: MapTable, offset: int, length: int) -> Iterator[Span]:
    size = table.entry_size
    first = max(0, (offset - table.offset) // size)
    last = min(table.entries, -(-(offset + length - table.offset) // size))
    data = file.pread(table.offset + first * size, (last - first) * size)
    for index in range(first, first + len(data) // size):
        at = (index - first) * size
        value = int.from_bytes(data[at : at + size], table.byteorder)
        meaning = "not stored" if table.is_free(value) else ""
        field = Field(index * size, size, f"{table.name}[{index}]", value, meaning, "")
        yield Span(table.offset + index * size, table.name, field)


def place(facts: Inspection, name: Place, length: int | None = None) -> Region | None:
    """Return a place that matters, by name; None when this disk has none.

    Args:
        facts: The disk.
        name: One of PLACES.
        length: Bytes to show, by default the whole structure.
    """
    found = _place(facts, name)
    if found is None:
        return None
    space, offset, whole, title = found
    size = facts.container.size if space == "virtual" else facts.container.file.size
    if not 0 <= offset < size or whole <= 0:
        return None
    return region(facts, space, offset, min(length or whole, MAX_LENGTH), title)


def _place(facts: Inspection, name: Place) -> tuple[Space, int, int, str] | None:
    """Return space, offset, length and title of a place."""
    if name == "header":
        headers = [header for header in facts.container.headers if header.space == "file"]
        if not headers:
            return None
        end = max(header.offset + len(header.data) for header in _adjacent(headers))
        return "file", headers[0].offset, end - headers[0].offset, f"the {facts.container.format} header"
    if name == "map":
        table = map_table(facts)
        return table and ("file", table.offset, table.length, f"the {table.name}")
    if name == "magic":
        title = "the marker, which is a tar header" if facts.magic.found else "the start of the disk"
        return "virtual", 0, SECTOR, title
    if name in ("mbr", "gpt"):
        return _table_place(facts, name)
    if name == "superblock":
        volume = facts.data.volume if facts.data else next((one for one in facts.volumes if one.is_ext), None)
        if volume is None or not volume.headers:
            return None
        header = volume.headers[0]
        return (
            "virtual",
            header.offset,
            len(header.data),
            f"the superblock of {volume.partition.place}",
        )
    item = facts.effective or next(iter(facts.userdata), None)
    if item is None or item.virtual_offset is None:
        return None
    title = f"userdata ({item.source}{f', {item.path}' if item.path else ''})"
    return "virtual", item.virtual_offset, min(item.size, 4096), title


def _adjacent(headers: list[Header]) -> Iterator[Header]:
    """Yield the first header and those that follow it without a gap."""
    end = headers[0].offset
    for header in headers:
        if header.offset == end:
            yield header
            end += len(header.data)


def _table_place(facts: Inspection, name: str) -> tuple[Space, int, int, str] | None:
    kind = facts.table.kind
    if name == "mbr":
        title = "the protective MBR" if kind == "gpt" else "the MBR"
        return ("virtual", 0, SECTOR, title) if kind in ("mbr", "gpt") else None
    return ("virtual", SECTOR, 3 * SECTOR, "the GPT: header and first entries") if kind == "gpt" else None


def overview(facts: Inspection) -> list[Region]:
    """Return all places that matter, each short, from the outside in."""
    found = []
    for name in PLACES:
        whole = place(facts, name)
        if whole is not None and not (name == "magic" and facts.table.kind in ("mbr", "gpt")):
            is_short = len(whole.data) <= SHORT or name in ("mbr", "magic")
            found.append(whole if is_short else region(facts, whole.space, whole.offset, SHORT, whole.title))
    return found
