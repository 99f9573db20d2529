"""One walk through directories and grain tables when an extent is opened, and what is wrong with them.

What it costs grows with the tables that are in use: a directory page of zeros, a hole in the file, or a
mebibyte of empty tables is passed over at once.
"""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterator
from itertools import islice
from operator import sub
from typing import TYPE_CHECKING

from b2dinspect.containers.blocks import Fault
from b2dinspect.containers.tables import PagedTable, decode
from b2dinspect.containers.vmdk import layout
from b2dinspect.containers.vmdk.layout import DIRECTORY_PAGE, ENTRY_SIZE, FREE, ZERO
from b2dinspect.findings import Finding
from b2dinspect.source import SECTOR, ByteSource

if TYPE_CHECKING:
    from b2dinspect.containers.vmdk.sparse import SparseExtent


TABLE_RUN = 1 << 20
"""Bytes of adjacent grain tables that are looked at together."""
MAX_UNITS = 1 << 26
"""Grains, or sectors of packed grains, of the file that are watched for being used twice."""
MAX_FALSE_ENTRIES = 1 << 16
"""Entries beyond what the file can hold, after which tables are known to be false and no longer looked at."""

_ZEROS = bytes(TABLE_RUN)


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
            is_same_place, is_in_one_only = 0 < one == two, two > 0 == one
            if is_same_place or is_in_one_only:
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


def header_findings(disk: SparseExtent) -> Iterator[Finding]:
    """Yield what is wrong with header and footer."""
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


def table_findings(disk: SparseExtent) -> Iterator[Finding]:
    """Yield what the walk found."""
    survey, directory = disk.survey, disk.directory
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
