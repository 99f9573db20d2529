"""A disk as a picture: what lies where, in the file and on the virtual disk, as runs with a kind and a name.

Work grows with what the container stores, never with the virtual size: free space is one run, however long.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Literal

from b2dinspect.containers.tables import MAX_TABLES
from b2dinspect.inspection.facts import Inspection
from b2dinspect.inspection.volumes import Volume
from b2dinspect.partitions import PartitionTable
from b2dinspect.records import NamedTuple
from b2dinspect.source import SECTOR, Extent
from b2dinspect.userdata.tarball import GUEST_KEEPS

MIB = 1 << 20
GPT_SECTORS = 34
"""Sectors of a GPT with its protective MBR: header, and 128 entries of 128 bytes."""
MAX_PIECES = 1 << 15
"""Pieces of the disk that are looked at."""
MAX_RUNS = 4096
"""Runs of stored data that are told apart; beyond, neighbours are joined."""

Kind = Literal[
    "metadata",
    "stored",
    "free",
    "missing",
    "table",
    "swap",
    "data",
    "other",
    "userdata",
    "residue",
    "gap",
]


class MapPart(NamedTuple):
    """A run of bytes.

    Attributes:
        kind: What it is.
        name: For people.
        offset: In its space, in bytes.
        length: Bytes.
    """

    kind: Kind
    name: str
    offset: int
    length: int

    @property
    def end(self) -> int:
        """Offset of the first byte behind it."""
        return self.offset + self.length


class Strip(NamedTuple):
    """A space, drawn as a strip from its first byte to its last.

    Attributes:
        title: What it is.
        offset: Of its first byte.
        length: Bytes.
        parts: Runs by offset, without overlap; what lies inside another one comes in ``marks``.
        stored: Runs of the virtual disk that the file stores; empty for the file.
        marks: Small things worth an arrow.
    """

    title: str
    offset: int
    length: int
    parts: tuple[MapPart, ...]
    stored: tuple[MapPart, ...] = ()
    marks: tuple[MapPart, ...] = ()


class DiskMap(NamedTuple):
    """The whole picture.

    Attributes:
        file: The container file.
        disk: The virtual disk.
        start: The first MiB of the virtual disk.
    """

    file: Strip
    disk: Strip
    start: Strip


def draw(facts: Inspection) -> DiskMap:
    """Return the picture of a disk."""
    looked = [*islice(facts.container.extents(), MAX_PIECES)]
    extents = [one for one in looked if one.kind != "zero"]
    size = facts.container.size
    parts = tuple(layout(size, facts.table, (*facts.volumes, *facts.living)))
    end = looked[-1].offset + looked[-1].length if len(looked) == MAX_PIECES else size
    unseen = [MapPart("missing", f"not looked at: {MAX_PIECES} pieces come before", end, size - end)]
    stored = (*_joined(_stored(extents)), *(unseen if end < size else ()))
    return DiskMap(
        _file(facts, extents, is_whole=end == size),
        Strip("the disk", 0, size, parts, stored, tuple(_marks(facts))),
        _cut(Strip("its first MiB", 0, size, parts, stored, tuple(_marks(facts))), MIB),
    )


def _stored(extents: Iterable[Extent]) -> Iterator[MapPart]:
    for extent in extents:
        kind: Kind = "missing" if extent.kind == "missing" else "stored"
        yield MapPart(kind, kind, extent.offset, extent.length)


def _joined(parts: Iterable[MapPart]) -> list[MapPart]:
    """Return runs with neighbours of a kind joined, and near ones too while there are too many."""
    found: list[MapPart] = []
    for part in parts:
        if found and found[-1].kind == part.kind and found[-1].end >= part.offset:
            found[-1] = found[-1]._replace(length=max(found[-1].end, part.end) - found[-1].offset)
        else:
            found.append(part)
    while len(found) > MAX_RUNS:
        found = [
            one._replace(length=found[i + 1].end - one.offset) if i + 1 < len(found) else one
            for i, one in enumerate(found)
            if not i % 2
        ]
    return found


def _file(facts: Inspection, extents: list[Extent], *, is_whole: bool) -> Strip:
    """Return what the file holds in file order; what no block of the disk is in is metadata."""
    rest = "headers and tables" if is_whole else "headers, tables, and blocks that were not looked at"
    size = facts.container.file.size
    blocks = sorted((one.file_offset, one.length) for one in extents if one.file_offset is not None)
    data = _joined(
        MapPart("stored", "blocks of the disk", offset, min(length, size - offset))
        for offset, length in blocks
        if offset < size
    )
    known = _structures(facts) if facts.container.is_packed else None
    parts, position = list[MapPart](), 0
    for part in data:
        parts += _between(known, rest, position, part.offset)
        parts.append(part)
        position = max(position, part.end)
    parts += _between(known, rest, position, size)
    return Strip(f"the file ({facts.container.format})", 0, size, tuple(parts))


def _structures(facts: Inspection) -> list[tuple[int, int]]:
    """Return start and end of the container's headers and tables, in file order."""
    container = facts.container
    found = [(one.offset, one.offset + len(one.data)) for one in container.headers if one.space == "file"]
    tables = islice(container.tables(), MAX_TABLES)
    return sorted([*found, *((one.offset, one.offset + one.length) for one in tables)])


def _between(known: list[tuple[int, int]] | None, rest: str, start: int, end: int) -> list[MapPart]:
    """Return what is between blocks: metadata; and packed blocks where structures are known and end."""
    parts, position = list[MapPart](), start
    for first, last in [(start, end)] if known is None else known:
        first, last = max(first, position), min(last, end)
        if first < last:
            if position < first:
                parts.append(
                    MapPart("stored", "packed blocks, with gaps between", position, first - position)
                )
            parts.append(MapPart("metadata", rest, first, last - first))
            position = last
    if position < end:
        parts.append(MapPart("stored", "packed blocks, with gaps between", position, end - position))
    return _joined(parts)


def layout(size: int, table: PartitionTable, volumes: Iterable[Volume]) -> Iterator[MapPart]:
    """Yield a virtual disk of ``size`` bytes from its first to its last: table, gaps, partitions."""
    position = 0
    for part in sorted(_fixed(size, table, volumes), key=lambda one: (one.offset, -one.length)):
        start, end = max(part.offset, position), min(part.end, size)
        if start >= end:
            continue
        if start > position:
            yield MapPart("gap", "not in use", position, start - position)
        yield part._replace(offset=start, length=end - start)
        position = end
    if position < size:
        yield MapPart("gap", "not in use", position, size - position)


def _fixed(size: int, table: PartitionTable, volumes: Iterable[Volume]) -> Iterator[MapPart]:
    if table.kind == "mbr":
        yield MapPart("table", "MBR", 0, SECTOR)
    elif table.kind == "gpt":
        yield MapPart("table", "GPT", 0, GPT_SECTORS * SECTOR)
        yield MapPart("table", "backup GPT", max(0, size - 33 * SECTOR), 33 * SECTOR)
    for volume in volumes:
        part, name = volume.partition, volume.filesystem
        label = f" {volume.label.decode('utf-8', 'surrogateescape')!r}" if volume.label else ""
        kind: Kind = "swap" if name == "swap" else "data" if volume.is_ext else "other"
        number = f"partition {part.number}: " if part.number else ""
        yield MapPart(kind, f"{number}{name}{label}", part.offset, part.size)


def _marks(facts: Inspection) -> Iterator[MapPart]:
    if facts.magic.found:
        yield MapPart("userdata", "the marker", 0, SECTOR)
    for item in facts.userdata:
        if item.virtual_offset is not None:
            kind: Kind = "residue" if item.source == "residue" else "userdata"
            name = item.path or {"fresh": "the tar with the key"}.get(item.source, "what is left of the tar")
            yield MapPart(kind, name, item.virtual_offset, max(item.size, 1))
    if facts.of_source("fresh"):
        yield MapPart("userdata", "what a guest keeps", 0, GUEST_KEEPS)


def _cut(strip: Strip, length: int) -> Strip:
    """Return the beginning of a strip."""
    length = min(length, strip.length)

    def within(parts: Iterable[MapPart]) -> tuple[MapPart, ...]:
        return tuple(
            part._replace(length=min(part.end, length) - part.offset)
            for part in parts
            if part.offset < length
        )

    return strip._replace(
        length=length, parts=within(strip.parts), stored=within(strip.stored), marks=within(strip.marks)
    )
