"""One walk through all tables of a qcow2 image when it is opened, and what is wrong with them.

Like ``qemu-img check``: each use of a cluster of the file is counted, and compared with its refcount. Time
and memory grow with the file, never with the virtual size.
"""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from b2dinspect.containers.blocks import Fault
from b2dinspect.containers.qcow2 import layout
from b2dinspect.containers.qcow2.tables import COMPRESSED, OFFSET, ZERO, Tables
from b2dinspect.containers.tables import MapTable, decode
from b2dinspect.findings import Finding
from b2dinspect.source import SECTOR, ByteSource

if TYPE_CHECKING:
    from b2dinspect.containers.qcow2.reader import Qcow2Container

MAX_CLUSTERS = 1 << 26
"""Clusters of the file whose uses are counted: a byte each."""
MAX_SPARE_RUNS = 1 << 18
"""Runs of entries that are looked at beyond one for each cluster of the file, which packed ones may be."""
MAX_SNAPSHOT_ENTRIES = 1 << 24
"""Entries of snapshots' tables that are looked at; more, and refcounts are not compared."""
MOST = 255
"""Uses of a cluster that are told apart."""


class Survey:
    """What the tables say.

    Attributes:
        allocated: Bytes of the disk that are stored.
        is_packed: Whether any cluster is compressed.
        refcounts: The refcount table.
        is_whole: Whether the tables are no more than the file can hold; if not, they are false.
        is_cut: Whether there was more in them than is looked at.
        outside, shared, crooked: Faults of clusters of the disk.
        tables_outside: Faults of L2 tables.
        low, leaked: Clusters of the file whose refcount is less, or more, than their uses.
    """

    def __init__(self, disk: Qcow2Container, *, complete: bool) -> None:
        self.disk = disk
        self.allocated = 0
        self.is_packed = False
        self.is_whole = True
        self.is_cut = False
        self.outside, self.shared, self.crooked = Fault(), Fault(), Fault()
        self.tables_outside = Fault()
        self.low, self.leaked = Fault(), Fault()
        self._size = disk.cluster_size
        self._clusters = -(-disk.file.size // self._size)
        self._uses = bytearray(min(self._clusters, MAX_CLUSTERS))
        self.refcounts = Refcounts(disk.file, disk.header)
        self._mark_metadata()
        self._walk(disk._tables)
        features = disk.header.get("incompatible_features", 0)
        is_comparable = complete and self.is_whole and not self.is_cut and self._clusters <= MAX_CLUSTERS
        if is_comparable and self._walk_snapshots() and not features & (layout.DIRTY | layout.CORRUPT):
            self._compare()

    def _mark(self, offset: int, length: int, fault: tuple[int, int] | None = None) -> None:
        """Count one more use of each cluster of a range; with a fault's place, used ones are bad."""
        first, end = offset // self._size, -(-(offset + length) // self._size)
        old = self._uses[first:end]
        if not any(old):
            self._uses[first:end] = b"\1" * len(old)
            return
        for at, uses in enumerate(old):
            self._uses[first + at] = min(MOST, uses + 1)
            if uses and fault:
                self.shared.add(fault[0] + at, fault[1] + at * 8)

    def _mark_metadata(self) -> None:
        header, disk = self.disk.header, self.disk
        self._mark(0, self._size)
        self._mark(header.l1_table_offset, header.l1_size * 8)
        self._mark(header.refcount_table_offset, header.refcount_table_clusters * self._size)
        for where in self.refcounts.blocks:
            if where:
                self._mark(where, self._size)
        if header.nb_snapshots and disk.snapshots:
            self._mark(header.snapshots_offset, _snapshot_table_size(disk))

    def _walk(self, tables: Tables) -> None:
        runs = 0
        for count, (number, entry) in enumerate(tables.used()):
            if count > self._clusters:  # more tables than the file has clusters
                self.is_whole = False
                return
            table = tables.read_table(entry)
            if table is None:
                self.tables_outside.add(number, tables.offset + number * 8)
                continue
            where = entry & OFFSET
            self._mark(where, self._size)
            first = number * tables.per_table
            for index, run, value, bitmap in _runs(tables, table):
                runs += 1
                if runs > self._clusters + MAX_SPARE_RUNS:
                    self.is_cut = True
                    return
                self._note(
                    first + index, run, value, bitmap, where + index * len(table) * 8 // tables.per_table
                )

    def _note(self, cluster: int, count: int, entry: int, bitmap: int, offset: int) -> None:
        """Note a run of clusters of the disk whose entries, the first at ``offset``, continue each other."""
        if entry & COMPRESSED:
            where, length = packed_place(entry, self.disk.header.cluster_bits)
            self.allocated += self._size
            self.is_packed = True
            if where >= self.disk.file.size:
                self.outside.add(cluster, offset)
            self._mark(where, min(length, max(0, self.disk.file.size - where)))
            return
        where = entry & OFFSET
        is_zero = entry & ZERO and self.disk.header.version >= 3 and not self.disk._has_subclusters
        if self.disk._has_subclusters:
            self.allocated += (bitmap & 0xFFFFFFFF).bit_count() * self._size // 32
        elif not is_zero:
            self.allocated += count * self._size
        if self.disk._is_external or not where:
            return
        if where % self._size:
            self.crooked.add(cluster, offset)
            return
        inside = min(count, max(0, self._clusters - where // self._size))
        if inside < count:
            self.outside.add(cluster + inside, offset + inside * 8, count - inside)
        self._mark(where, inside * self._size, (cluster, offset))

    def _walk_snapshots(self) -> bool:
        """Count the uses by internal snapshots; tell whether that came to an end."""
        looked = 0
        for one in self.disk.snapshots:
            if one.l1_size * 8 > layout.MAX_L1_BYTES:
                return False
            tables = Tables(self.disk.file, self.disk.header, one.l1_offset, one.l1_size)
            self._mark(one.l1_offset, one.l1_size * 8)
            for _, entry in tables.used():
                looked += tables.per_table
                table = tables.read_table(entry)
                if looked > MAX_SNAPSHOT_ENTRIES or table is None:
                    return False
                self._mark(entry & OFFSET, self._size)
                for _, count, value, _ in _runs(tables, table):
                    self._mark_run(count, value)
        return bool(len(self.disk.snapshots) == self.disk.header.nb_snapshots)

    def _mark_run(self, count: int, entry: int) -> None:
        if entry & COMPRESSED:
            self._mark(*packed_place(entry, self.disk.header.cluster_bits))
        elif entry & OFFSET and not self.disk._is_external:
            self._mark(entry & OFFSET, count * self._size)

    def _compare(self) -> None:
        """Hold the uses of every cluster of the file against its refcount."""
        per_block = self.refcounts.per_block
        for first in range(0, self._clusters, per_block):
            uses = bytes(self._uses[first : first + per_block])
            counts = self.refcounts.block(first // per_block)[: len(uses)].ljust(len(uses), b"\0")
            if uses == counts:
                continue
            for at, (used, counted) in enumerate(zip(uses, counts, strict=True)):
                if used != counted:
                    fault = self.low if used > counted else self.leaked
                    fault.add(first + at, (first + at) * self._size)


def _runs(tables: Tables, table: array[int]) -> Iterator[tuple[int, int, int, int]]:
    """Yield index, count, first entry and its bitmap of runs of entries that are not empty."""
    index = 0
    while index < tables.per_table:
        entry, bitmap = tables.entry(table, index)
        count = tables.alike(table, index, tables.per_table - index)
        if entry:
            yield index, count, entry, bitmap
        index += count


def _snapshot_table_size(disk: Qcow2Container) -> int:
    """Return the bytes of the snapshot table, by reading on to its end."""
    position = disk.header.snapshots_offset
    for _ in disk.snapshots:
        one = layout.SNAPSHOT.parse(disk.file.pread(position, layout.SNAPSHOT.sizeof()))
        length = layout.SNAPSHOT.sizeof() + one.extra_size + one.id_size + one.name_size
        position += -(-length // 8) * 8
    return int(position - disk.header.snapshots_offset)


def packed_place(entry: int, cluster_bits: int) -> tuple[int, int]:
    """Return where a compressed cluster begins in the file, and the most bytes it has."""
    split = 62 - (cluster_bits - 8)
    where = entry & ((1 << split) - 1)
    sectors = (entry & (COMPRESSED - 1)) >> split
    return where, (sectors + 1) * SECTOR - where % SECTOR


class Refcounts:
    """The refcount table and its blocks.

    Attributes:
        blocks: Offset of each block, bytes; 0 for none.
        per_block: Refcounts in a block.
    """

    def __init__(self, file: ByteSource, header: Any) -> None:
        self._file = file
        self._size = 1 << header.cluster_bits
        self._order: int = header.get("refcount_order", 4)
        self.per_block = self._size * 8 >> self._order
        needed = -(-file.size // self._size // self.per_block) + 1
        length = min(header.refcount_table_clusters * self._size, layout.MAX_REFCOUNT_TABLE, needed * 8)
        self._offset = where = header.refcount_table_offset
        table = decode(file.pread(where, length), ">Q") if where < file.size else array("Q")
        self.blocks = [entry & ~(SECTOR - 1) for entry in table]

    def described(self) -> Iterator[MapTable]:
        """Yield the refcount table, and each block of refcounts that it leads to."""
        yield MapTable("refcount table", self._offset, len(self.blocks) * 8, 8, "big", (0,))
        for number, where in enumerate(self.blocks):
            if where:
                width = max(1, 1 << self._order - 3) if self._order >= 3 else 0
                yield MapTable(f"refcount block {number}", where, self._size, width, "big")

    def block(self, number: int) -> bytes:
        """Return the refcounts of one block as bytes, those above 255 as 255."""
        where = self.blocks[number] if number < len(self.blocks) else 0
        if not where or where >= self._file.size:
            return bytes(self.per_block)
        raw = self._file.pread(where, self._size).ljust(self._size, b"\0")
        if self._order < 3:
            return b"".join(map(_UNPACKED[self._order].__getitem__, raw))
        width = 1 << self._order - 3
        low = raw[width - 1 :: width]
        if width == 1 or not any(any(raw[at::width]) for at in range(width - 1)):
            return low
        return bytes(
            min(MOST, int.from_bytes(raw[at : at + width], "big")) for at in range(0, len(raw), width)
        )


def _unpacked(order: int) -> list[bytes]:
    """Return for each byte the refcounts in it, of 1, 2 or 4 bits, the lowest bits first."""
    bits = 1 << order
    return [bytes(value >> shift & (1 << bits) - 1 for shift in range(0, 8, bits)) for value in range(256)]


_UNPACKED = [_unpacked(order) for order in range(3)]


def survey_findings(survey: Survey) -> Iterator[Finding]:
    """Yield what the walk found."""
    disk = survey.disk
    if disk._tables.held < disk._tables.count:
        held = f"{disk._tables.held} of {disk._tables.count} entries are there"
        text = f"the file ends inside the L1 table: {held}"
        yield Finding("qcow2-l1-cut", "error", text, disk.file.size, "file")
    needed = -(-disk.size // disk.cluster_size // disk._tables.per_table)
    if disk._tables.count < needed:
        text = f"the L1 table has {disk._tables.count} entries, the disk needs {needed}"
        yield Finding("qcow2-l1-short", "error", text, layout.field_offset("l1_size"), "file")
    for fault, name, text in (
        (survey.tables_outside, "qcow2-table-outside", "L2 table {} lies past the end of the file"),
        (survey.outside, "qcow2-cluster-outside", "cluster {} of the disk lies past the end of the file"),
        (survey.crooked, "qcow2-cluster-crooked", "cluster {} of the disk is not on a cluster boundary"),
        (survey.shared, "qcow2-cluster-shared", "cluster {} of the disk is where something else is too"),
        (
            survey.low,
            "qcow2-refcount-low",
            "cluster {} of the file is used more often than its refcount says",
        ),
    ):
        if fault.count:
            yield Finding(name, "error", text.format(fault.number) + fault.more, fault.offset, "file")
    if survey.leaked.count:
        text = f"cluster {survey.leaked.number} of the file is leaked: its refcount says it is used"
        yield Finding("qcow2-leak", "warning", text + survey.leaked.more, survey.leaked.offset, "file")
    if survey.is_cut:
        text = f"the L2 tables hold more than the {survey._clusters + MAX_SPARE_RUNS} runs that are looked at"
        yield Finding("qcow2-tables-cut", "warning", text, disk._tables.offset, "file")
    if not survey.is_whole:
        text = "the L1 table points to more L2 tables than the file has clusters: it is false"
        yield Finding("qcow2-tables-false", "error", text, disk._tables.offset, "file")
