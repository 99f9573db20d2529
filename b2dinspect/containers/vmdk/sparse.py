"""A sparse extent: where each grain is, found through directory and tables, read a page at a time."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from typing import Any, Literal

from b2dinspect.containers.tables import Cache, MapTable, PagedTable, alike, decode
from b2dinspect.containers.vmdk import layout
from b2dinspect.containers.vmdk.layout import DIRECTORY_PAGE, ENTRY_SIZE, FREE, GD_AT_END, ZERO
from b2dinspect.containers.vmdk.survey import Survey, header_findings, table_findings
from b2dinspect.fields import Header
from b2dinspect.records import NamedTuple
from b2dinspect.source import SECTOR, ByteSource

CACHED_TABLES = 256
CACHED_GRAIN_BYTES = 4 << 20


class GrainRun(NamedTuple):
    """Bytes of a part of the disk that are alike.

    Attributes:
        kind: ``data`` is at ``place``; ``packed`` must be unpacked; ``free`` is zeros or the parent's;
            ``zero``; ``missing``.
        length: Bytes.
        place: Byte of the file for ``data``.
        why: Of ``missing``, for people.
    """

    kind: Literal["data", "packed", "free", "zero", "missing"]
    length: int
    place: int = 0
    why: str = ""


class Unreadable(Exception):  # noqa: N818
    """A packed grain that does not unpack: says why. Its catcher knows the virtual offset."""


class SparseExtent:
    """One file with the signature KDMV.

    Args:
        file: The file.
        header: The header at its start, already read.
        prefer_redundant: Read through the redundant directory, if there is one.

    Attributes:
        size: Virtual bytes.
        headers: The header, and the footer if there is one.
        allocated: Virtual bytes that the file stores.
        findings: About tables, footer and header.

    Raises:
        ContainerError: Header or footer make no sense.
    """

    def __init__(
        self, file: ByteSource, header: tuple[Header, Any], *, prefer_redundant: bool = False
    ) -> None:
        self.file = file
        self.headers: tuple[Header, ...] = (header[0],)
        self.header = header[1]
        layout.check_header(self.header, "VMDK header", 0)
        places = self.header
        if self.header.gd_offset == GD_AT_END:
            footer, places = layout.read_footer(file)
            layout.check_header(places, "VMDK footer", footer.offset)
            self.headers += (footer,)
        self.places = places
        self.size: int = self.header.capacity * SECTOR
        self.grain_bytes: int = self.header.grain_size * SECTOR
        self.grains = -(-self.header.capacity // self.header.grain_size)
        self.is_packed = bool(self.header.flags & layout.COMPRESSED)
        self.has_redundant = bool(self.header.flags & layout.REDUNDANT and 0 < places.rgd_offset < 1 << 54)
        count = layout.tables(self.header)
        primary = self._directory(places.gd_offset, count)
        redundant = self._directory(places.rgd_offset, count) if self.has_redundant else None
        self.directories = (primary,) if redundant is None else (primary, redundant)
        chosen, other = (redundant, primary) if prefer_redundant and redundant else (primary, redundant)
        self.directory = chosen
        self._tables: Cache[array[int] | None] = Cache(CACHED_TABLES)
        self._unpacked: Cache[bytes] = Cache(CACHED_GRAIN_BYTES // self.grain_bytes)
        self.survey = Survey(self, chosen, other)
        self.allocated = min(self.survey.allocated * self.grain_bytes, self.size)
        self.findings = (*header_findings(self), *table_findings(self))

    def _directory(self, sector: int, count: int) -> PagedTable:
        return PagedTable(self.file, sector * SECTOR, count, "<I", page=DIRECTORY_PAGE)

    def tables(self) -> Iterator[MapTable]:
        """Yield both directories and the grain tables that each leads to."""
        is_zeroed = bool(self.header.flags & layout.ZEROED)
        for directory, prefix in zip(self.directories, ("", "redundant "), strict=False):
            length = directory.count * ENTRY_SIZE
            yield MapTable(f"{prefix}grain directory", directory.offset, length, ENTRY_SIZE, free=(FREE,))
        for directory, prefix in zip(self.directories, ("", "redundant "), strict=False):
            for number, sector in directory.used(FREE):
                count = min(self._per_table, self.grains - number * self._per_table)
                yield MapTable(
                    f"{prefix}grain table {number}",
                    sector * SECTOR,
                    count * ENTRY_SIZE,
                    ENTRY_SIZE,
                    free=(FREE, ZERO) if is_zeroed else (FREE,),
                )

    @property
    def _per_table(self) -> int:
        return int(self.header.gtes_per_gt)

    def run(self, offset: int, limit: int) -> GrainRun:
        """Return what is at ``offset``, and for how many of the next ``limit`` bytes it goes on so."""
        grain, within = divmod(offset, self.grain_bytes)
        number, index = divmod(grain, self._per_table)
        empty = self.survey.empty_from(number)
        if empty:
            return GrainRun(
                "free", min(limit, (number + empty) * self._per_table * self.grain_bytes - offset)
            )
        if number >= self.directory.held:
            return GrainRun("missing", limit, why="the grain directory has no entry for this grain")
        table = self._table(number)
        if table is None:
            length = min(limit, (number + 1) * self._per_table * self.grain_bytes - offset)
            return GrainRun(
                "missing", length, why="the grain table of this grain lies past the end of the file"
            )
        most = min(len(table) - index, -(-(within + limit) // self.grain_bytes))
        entry = table[index]
        is_zero = entry == ZERO and bool(self.header.flags & layout.ZEROED)
        count = alike(table, index, most, 0 if entry == FREE or is_zero or self.is_packed else self._step)
        length = min(limit, count * self.grain_bytes - within)
        if entry == FREE or is_zero:
            return GrainRun("zero" if is_zero else "free", length)
        return self._stored(entry, within, length)

    @property
    def _step(self) -> int:
        return int(self.header.grain_size)

    def _stored(self, entry: int, within: int, length: int) -> GrainRun:
        where = entry * SECTOR
        why = "this grain lies past the end of the file"
        if self.is_packed:
            length = min(length, self.grain_bytes - within)
            return (
                GrainRun("packed", length) if where < self.file.size else GrainRun("missing", length, why=why)
            )
        held = self.file.size - where - within
        return (
            GrainRun("data", min(length, held), where + within)
            if held > 0
            else GrainRun("missing", length, why=why)
        )

    def _table(self, number: int) -> array[int] | None:
        """Return one grain table; None when the file does not hold it."""
        return self._tables.get(number, lambda: self._read_table(number))

    def _read_table(self, number: int) -> array[int] | None:
        sector = self.directory.get(number)
        if sector is None:
            return None
        count = min(self._per_table, self.grains - number * self._per_table)
        if sector == FREE:
            return array("I", bytes(count * ENTRY_SIZE))
        if sector * SECTOR + count * ENTRY_SIZE > self.file.size:
            return None
        return decode(self.file.pread(sector * SECTOR, count * ENTRY_SIZE), "<I")

    def place(self, offset: int) -> int:
        """Return where the grain begins in the file that is stored for a byte of this extent."""
        number, index = divmod(offset // self.grain_bytes, self._per_table)
        table = self._table(number)
        return (table[index] if table else 0) * SECTOR

    def unpack(self, offset: int, length: int) -> bytes:
        """Return ``length`` bytes at ``offset``, which lie within one packed grain.

        Raises:
            Unreadable: The grain's marker or its data are damaged.
        """
        grain, within = divmod(offset, self.grain_bytes)
        data = self._unpacked.get(grain, lambda: self._unpack(grain))
        if within + length > len(data):
            raise Unreadable(f"this grain unpacks to {len(data)} bytes only")
        return data[within : within + length]

    def _unpack(self, grain: int) -> bytes:
        import zlib

        where = self.place(grain * self.grain_bytes)
        size = 2 * self.grain_bytes  # what qemu allows
        if self.header.flags & layout.MARKERS:
            raw = self.file.pread(where, layout.GRAIN_MARKER_SIZE)
            sector, size = int.from_bytes(raw[:8], "little"), int.from_bytes(raw[8:], "little")
            where += layout.GRAIN_MARKER_SIZE
            if sector != grain * self._step:
                raise Unreadable(f"its marker is of sector {sector}, not {grain * self._step}")
            if not 0 < size <= 2 * self.grain_bytes + SECTOR:
                raise Unreadable(f"its marker says {size} packed bytes")
        packed = self.file.pread(where, size) if where < self.file.size else b""
        try:
            return zlib.decompressobj().decompress(packed, self.grain_bytes)
        except zlib.error as error:
            raise Unreadable(f"this grain does not unpack: {error}") from None
