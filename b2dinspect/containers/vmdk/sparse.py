"""A sparse extent: where each grain is, found through directory and tables, and what is wrong with these.

Tables are read a page at a time. What opening costs grows with the tables that are in use: a directory page
of zeros, a hole in the file, or a mebibyte of empty tables is passed over at once.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterator
from itertools import islice
from operator import sub
from typing import Any, Literal, NamedTuple

from b2dinspect.containers.blocks import Fault
from b2dinspect.containers.tables import MapTable, PagedTable, alike, decode
from b2dinspect.containers.vmdk import layout
from b2dinspect.containers.vmdk.layout import ENTRY_SIZE, GD_AT_END
from b2dinspect.fields import Header
from b2dinspect.findings import Finding
from b2dinspect.source import SECTOR, ByteSource

FREE, ZERO = 0, 1
DIRECTORY_PAGE = 1 << 12
"""Entries of a grain directory that are read together."""
TABLE_RUN = 1 << 20
"""Bytes of adjacent grain tables that are looked at together."""
MAX_UNITS = 1 << 26
"""Grains, or sectors of packed grains, of the file that are watched for being used twice."""
MAX_FALSE_ENTRIES = 1 << 16
"""Entries beyond what the file can hold, after which tables are known to be false and no longer looked at."""
CACHED_TABLES = 256
CACHED_GRAIN_BYTES = 4 << 20
_ZEROS = bytes(TABLE_RUN)


class Run(NamedTuple):
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
        self._tables: dict[int, array[int] | None] = {}
        self._unpacked: dict[int, bytes] = {}
        self._survey = Survey(self, chosen, other)
        self.allocated = min(self._survey.allocated * self.grain_bytes, self.size)
        self.findings = (*_header_findings(self), *_table_findings(self))

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

    def run(self, offset: int, limit: int) -> Run:
        """Return what is at ``offset``, and for how many of the next ``limit`` bytes it goes on so."""
        grain, within = divmod(offset, self.grain_bytes)
        number, index = divmod(grain, self._per_table)
        empty = self._survey.empty_from(number)
        if empty:
            return Run("free", min(limit, (number + empty) * self._per_table * self.grain_bytes - offset))
        if number >= self.directory.held:
            return Run("missing", limit, why="the grain directory has no entry for this grain")
        table = self._table(number)
        if table is None:
            length = min(limit, (number + 1) * self._per_table * self.grain_bytes - offset)
            return Run("missing", length, why="the grain table of this grain lies past the end of the file")
        most = min(len(table) - index, -(-(within + limit) // self.grain_bytes))
        entry = table[index]
        is_zero = entry == ZERO and bool(self.header.flags & layout.ZEROED)
        count = alike(table, index, most, 0 if entry == FREE or is_zero or self.is_packed else self._step)
        length = min(limit, count * self.grain_bytes - within)
        if entry == FREE or is_zero:
            return Run("zero" if is_zero else "free", length)
        return self._stored(entry, within, length)

    @property
    def _step(self) -> int:
        return int(self.header.grain_size)

    def _stored(self, entry: int, within: int, length: int) -> Run:
        where = entry * SECTOR
        why = "this grain lies past the end of the file"
        if self.is_packed:
            length = min(length, self.grain_bytes - within)
            return Run("packed", length) if where < self.file.size else Run("missing", length, why=why)
        held = self.file.size - where - within
        return Run("data", min(length, held), where + within) if held > 0 else Run("missing", length, why=why)

    def _table(self, number: int) -> array[int] | None:
        """Return one grain table; None when the file does not hold it."""
        if number not in self._tables:
            if len(self._tables) >= CACHED_TABLES:
                self._tables.clear()
            self._tables[number] = self._read_table(number)
        return self._tables[number]

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

    def unpack(self, offset: int, length: int) -> bytes:
        """Return ``length`` bytes at ``offset``, which lie within one packed grain.

        Raises:
            Unreadable: The grain's marker or its data are damaged.
        """
        grain, within = divmod(offset, self.grain_bytes)
        data = self._unpacked.pop(grain, None)
        if data is None:
            if (len(self._unpacked) + 1) * self.grain_bytes > CACHED_GRAIN_BYTES and self._unpacked:
                del self._unpacked[next(iter(self._unpacked))]
            data = self._unpack(grain)
        self._unpacked[grain] = data  # the last one used stands last
        if within + length > len(data):
            raise Unreadable(f"this grain unpacks to {len(data)} bytes only")
        return data[within : within + length]

    def _unpack(self, grain: int) -> bytes:
        import zlib

        number, index = divmod(grain, self._per_table)
        table = self._table(number)
        where = (table[index] if table else 0) * SECTOR
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


class Survey:
    """One walk through all tables in use, when the extent is opened.

    Attributes:
        allocated: Grains that the file stores.
        is_whole: Whether the walk came to the end; if not, the tables are false.
        shared, outside, in_metadata: Faults of grains.
        tables_outside, tables_differ, directories_differ: Faults of tables.
    """

    def __init__(self, disk: SparseExtent, chosen: PagedTable, other: PagedTable | None) -> None:
        self.allocated = 0
        self.is_whole = True
        self.shared, self.outside, self.in_metadata = Fault(), Fault(), Fault()
        self.tables_outside, self.tables_differ, self.directories_differ = Fault(), Fault(), Fault()
        self._disk = disk
        self._chosen, self._other = chosen, other
        self._step: int = disk.header.grain_size
        self._per_table: int = disk.header.gtes_per_gt
        self._table_sectors = -(-self._per_table * ENTRY_SIZE // SECTOR)
        self._unit = 1 if disk.is_packed else self._step
        units = disk.file.size // (self._unit * SECTOR) + 1
        self._seen = bytearray(min(units, MAX_UNITS))
        self._most = 2 * units + MAX_FALSE_ENTRIES
        self._looked = 0
        # where used and empty tables alternate: used from [0], empty from [1], …
        self._edges: list[int] = []
        self._walk()

    def empty_from(self, table: int) -> int:
        """Return how many tables from this one on are known to be empty."""
        at = bisect_right(self._edges, table)
        if at % 2:
            return 0
        end = self._edges[at] if at < len(self._edges) else self._chosen.count
        return max(0, end - table)

    def _use(self, first: int, count: int) -> None:
        if self._edges and self._edges[-1] == first:
            self._edges[-1] = first + count
        else:
            self._edges += [first, first + count]

    def _give_up(self, table: int) -> None:
        """Take all tables from this one on for used, since nobody looked."""
        self.is_whole = False
        self._edges = [edge for edge in self._edges if edge < table]
        self._edges += [self._chosen.count] if len(self._edges) % 2 else [table, self._chosen.count]

    def _walk(self) -> None:
        for number in self._chosen.pages:
            mine = self._chosen.read_page(number)
            theirs = self._other.read_page(number) if self._other else None
            if theirs is not None:  # as long as the other: the file may end before it does
                theirs.extend([FREE] * (len(mine) - len(theirs)))
            first = number * DIRECTORY_PAGE
            self._compare_directories(first, mine, theirs)
            for index, count in _adjacent(mine, theirs, self._table_sectors):
                self._run_of_tables(first + index, count, mine[index], theirs[index] if theirs else 0)
                if self._looked > self._most:
                    self._give_up(first + index)
                    return
        if self._chosen.held < self._chosen.count:
            self._use(self._chosen.held, self._chosen.count - self._chosen.held)

    def _compare_directories(self, first: int, mine: array[int], theirs: array[int] | None) -> None:
        """Note tables that only one directory has, or that both have in the same place."""
        if theirs is None or not (any(mine) or any(theirs)):
            return
        for index, (one, two) in enumerate(zip(mine, theirs, strict=False)):
            if (one == two) if one else two:
                where = self._chosen.offset + (first + index) * ENTRY_SIZE
                self.directories_differ.add(first + index, where)

    def _run_of_tables(self, first: int, count: int, mine: int, theirs: int) -> None:
        """Look at tables that lie one behind the other, in both copies."""
        file, length = self._disk.file, count * self._table_sectors * SECTOR
        if mine == FREE:
            return
        if mine * SECTOR + length > file.size:
            self._past_the_end(first, count, mine, theirs)
            return
        is_both = FREE < theirs != mine and theirs * SECTOR + length <= file.size
        if _is_hole(file, mine * SECTOR, length) and (not is_both or _is_hole(file, theirs * SECTOR, length)):
            self._looked += 1
            return
        raw = file.pread(mine * SECTOR, length)
        if is_both and (copy := file.pread(theirs * SECTOR, length)) != raw:
            self._differ(first, mine * SECTOR, raw, copy)
        self._tables(first, mine * SECTOR, raw)

    def _past_the_end(self, first: int, count: int, mine: int, theirs: int) -> None:
        if count > 1:
            for index in range(count):
                step = index * self._table_sectors
                self._run_of_tables(first + index, 1, mine + step, theirs + step if theirs else 0)
                if self._looked > self._most:
                    return
            return
        grains = min(self._per_table, self._disk.grains - first * self._per_table)
        if mine * SECTOR + grains * ENTRY_SIZE <= self._disk.file.size:  # only the last sector is not whole
            self._tables(first, mine * SECTOR, self._disk.file.pread(mine * SECTOR, grains * ENTRY_SIZE))
            return
        self._looked += 1
        self._use(first, 1)
        self.tables_outside.add(first, self._chosen.offset + first * ENTRY_SIZE)

    def _differ(self, first: int, offset: int, raw: bytes, copy: bytes) -> None:
        size = self._table_sectors * SECTOR
        for start in range(0, len(raw), size):
            table = first + start // size
            if raw[start : start + size] == copy[start : start + size]:
                continue
            held = min(self._per_table, self._disk.grains - table * self._per_table) * ENTRY_SIZE
            pairs = zip(
                decode(raw[start : start + held], "<I"), decode(copy[start : start + held], "<I"), strict=True
            )
            for index, (one, two) in enumerate(pairs):
                if one != two:
                    where = offset + start + index * ENTRY_SIZE
                    self.tables_differ.add(table * self._per_table + index, where)
                    self._looked += 1

    def _tables(self, first: int, offset: int, raw: bytes) -> None:
        size = self._table_sectors * SECTOR
        if raw == _ZEROS[: len(raw)]:
            self._looked += 1
            return
        for start in range(0, len(raw), size):
            table = first + start // size
            grains = min(self._per_table, self._disk.grains - table * self._per_table)
            piece = raw[start : start + grains * ENTRY_SIZE]
            self._looked += 1
            if piece != _ZEROS[: len(piece)]:
                self._use(table, 1)
                self._grains(table * self._per_table, offset + start, decode(piece, "<I"))
                if self._looked > self._most:
                    return

    def _grains(self, first: int, offset: int, table: array[int]) -> None:
        """Count the grains of one table, in runs of neighbours, and note which point where they must not."""
        lowest = ZERO + 1 if self._disk.header.flags & layout.ZEROED else FREE + 1
        single = ((index, 1) for index in range(len(table)))
        for index, count in single if self._disk.is_packed else _runs(table, self._step):
            entry = table[index]
            if entry < lowest:
                continue
            self.allocated += count
            self._looked += count
            if entry < self._disk.header.overhead:
                self.in_metadata.add(first + index, offset + index * ENTRY_SIZE)
            inside = self._inside(first + index, count, entry)
            if inside < count:
                self.outside.add(
                    first + index + inside, offset + (index + inside) * ENTRY_SIZE, count - inside
                )
            self._mark(first + index, offset + index * ENTRY_SIZE, entry // self._unit, inside)

    def _inside(self, grain: int, count: int, entry: int) -> int:
        """Return how many of ``count`` grains in a row the file holds."""
        disk, place = self._disk, entry * SECTOR
        if disk.is_packed:
            return int(place + layout.GRAIN_MARKER_SIZE < disk.file.size)
        inside = max(0, (disk.file.size - place) // disk.grain_bytes)
        if inside == count - 1 and grain + count == disk.grains:  # the disk's last grain need not be whole
            rest = disk.size - (disk.grains - 1) * disk.grain_bytes
            inside += place + inside * disk.grain_bytes + rest <= disk.file.size
        return min(count, inside)

    def _mark(self, grain: int, offset: int, unit: int, count: int) -> None:
        old = self._seen[unit : unit + count]
        for index in range(len(old)) if any(old) else ():
            if old[index]:
                self.shared.add(grain + index, offset + index * ENTRY_SIZE)
        self._seen[unit : unit + len(old)] = b"\1" * len(old)


def _is_hole(file: ByteSource, offset: int, length: int) -> bool:
    first = next(iter(file.extents(offset, length)), None)
    return first is not None and first.kind == "zero" and first.length == length


def _adjacent(mine: array[int], theirs: array[int] | None, step: int) -> Iterator[tuple[int, int]]:
    """Yield index and count of tables that follow each other in both directories; none for free ones."""
    most = max(1, TABLE_RUN // (step * SECTOR))
    if not any(mine):
        return
    for start, length in _runs(mine, step):
        if mine[start] == FREE:
            continue
        pieces = [(0, length)] if theirs is None else _runs(theirs[start : start + length], step)
        for index, count in pieces:
            for piece in range(index, index + count, most):
                yield start + piece, min(most, index + count - piece)


def _runs(numbers: array[int], step: int) -> Iterator[tuple[int, int]]:
    """Yield index and count of stretches in which each number is ``step`` more than the one before."""
    start = 0
    for index, difference in enumerate(map(sub, islice(numbers, 1, None), numbers), 1):
        if difference != step or numbers[index - 1] <= ZERO:
            yield start, index - start
            start = index
    if start < len(numbers):
        yield start, len(numbers) - start


def _header_findings(disk: SparseExtent) -> Iterator[Finding]:
    header = disk.header
    if header.flags & layout.VALID_NEWLINES and header.newlines != layout.NEWLINES:
        text = (
            f"the newline bytes are {header.newlines.hex(' ')} and not {layout.NEWLINES.hex(' ')}: "
            "the file was transferred as text, which changes its content too"
        )
        yield Finding("vmdk-newlines-changed", "error", text, layout.field_offset("newlines"), "file")
    if header.unclean_shutdown:
        text = "the header says that a program had the disk open for writing and did not close it"
        yield Finding(
            "vmdk-unclean-shutdown", "warning", text, layout.field_offset("unclean_shutdown"), "file"
        )
    if disk.places is not header:
        names = ("version", "flags", "capacity", "grain_size", "gtes_per_gt", "compression")
        differing = [name for name in names if header[name] != disk.places[name]]
        if differing:
            text = f"header and footer differ in {', '.join(differing)}; the header is believed"
            yield Finding("vmdk-footer-differs", "warning", text, disk.headers[1].offset, "file")
        if any(disk.file.pread(disk.file.size - SECTOR, SECTOR)):
            text = "the last sector is no end-of-stream marker"
            yield Finding("vmdk-stream-end", "warning", text, disk.file.size - SECTOR, "file")


def _table_findings(disk: SparseExtent) -> Iterator[Finding]:
    survey, directory = disk._survey, disk.directory
    if directory.held < directory.count:
        held = f"{directory.held} of {directory.count} entries are there"
        text = f"the file ends inside the grain directory: {held}"
        yield Finding("vmdk-directory-cut", "error", text, disk.file.size, "file")
    for fault, name, what, text in (
        (survey.directories_differ, "vmdk-directories-differ", "grain table",
         "is in one of the two grain directories only, or in the same place in both"),
        (survey.tables_differ, "vmdk-grain-tables-differ", "grain",
         "has another entry in the redundant grain table; VirtualBox refuses such a disk"),
        (survey.tables_outside, "vmdk-table-outside", "grain table",
         "lies past the end of the file: its grains are missing"),
        (survey.outside, "vmdk-grain-outside", "grain",
         "lies past the end of the file: its content is missing"),
        (survey.shared, "vmdk-grain-shared", "grain",
         "is in a place of the file that another grain uses too"),
        (survey.in_metadata, "vmdk-grain-in-metadata", "grain",
         "lies where the header has its metadata, before the first grain"),
    ):  # fmt: skip
        if fault.count:
            least = "" if survey.is_whole else "at least "
            more = f" ({least}{fault.count - 1} more like it)" if fault.count > 1 else ""
            yield Finding(name, "error", f"{what} {fault.number} {text}{more}", fault.offset, "file")
