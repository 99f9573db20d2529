"""The three ways in which a new VMDK stores its grains."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

from b2dinspect.containers.tables import encode
from b2dinspect.containers.vmdk import SIGNATURE, layout
from b2dinspect.containers.vmdk.layout import ENTRY_SIZE, GD_AT_END, HEADER, MARKER
from b2dinspect.containers.writing import BlockWriter
from b2dinspect.source import SECTOR, is_zeros

if TYPE_CHECKING:
    from b2dinspect.newfile import Sink
    from b2dinspect.source import FileSource

GRAIN = 128 * SECTOR
GTES = 512
TABLE_SECTORS = GTES * ENTRY_SIZE // SECTOR
DESCRIPTOR_OFFSET, DESCRIPTOR_SIZE = 1, 20
"""Sectors, as VirtualBox and VMware have them."""
MAX_SECTOR = (1 << 32) - 1
LEVEL = 6


class GrainTables:
    """Entries of the grains in use: memory grows with them, not with the disk."""

    def __init__(self, size: int) -> None:
        self.grains = -(-size // GRAIN)
        self.count = -(-self.grains // GTES)
        self.used: dict[int, array[int]] = {}

    def get(self, grain: int) -> int:
        """Return the sector of a grain; 0 when it is not stored."""
        table = self.used.get(grain // GTES)
        return table[grain % GTES] if table else 0

    def set(self, grain: int, sector: int) -> None:
        """Note the sector of a grain.

        Raises:
            ValueError: The grain would end beyond what an entry can name.
        """
        if sector + GRAIN // SECTOR > MAX_SECTOR:
            raise ValueError("the file would grow past sector 2^32, which no grain table entry can name")
        if grain // GTES not in self.used:
            self.used[grain // GTES] = array("I", bytes(GTES * ENTRY_SIZE))
        self.used[grain // GTES][grain % GTES] = sector


def _header(size: int, **values: int) -> bytes:
    header = HEADER.build(
        {
            "signature": SIGNATURE,
            "version": 1,
            "capacity": size // SECTOR,
            "grain_size": GRAIN // SECTOR,
            "descriptor_offset": DESCRIPTOR_OFFSET,
            "descriptor_size": DESCRIPTOR_SIZE,
            "gtes_per_gt": GTES,
            "rgd_offset": 0,
            "unclean_shutdown": 0,
            "newlines": layout.NEWLINES,
            "compression": 0,
            **values,
        }
    )
    return bytes(header).ljust(SECTOR, b"\0")


class SparseStore(BlockWriter):
    """monolithicSparse. The tables of both copies have their places from the start; unused ones are holes."""

    def __init__(self, sink: Sink, size: int, descriptor: bytes) -> None:
        super().__init__(sink, size, GRAIN)
        self._descriptor = descriptor
        self._tables = GrainTables(size)
        copy = _sectors(self._tables.count * ENTRY_SIZE) + self._tables.count * TABLE_SECTORS
        self._redundant = DESCRIPTOR_OFFSET + DESCRIPTOR_SIZE
        self._primary = self._redundant + copy
        self._overhead = -(-(self._primary + copy) * SECTOR // GRAIN) * GRAIN // SECTOR
        self._next = self._overhead

    def _locate(self, offset: int) -> int | None:
        sector = self._tables.get(offset // GRAIN)
        return sector * SECTOR + offset % GRAIN if sector else None

    def _allocate(self, offset: int) -> int:
        sector = self._next
        self._tables.set(offset // GRAIN, sector)
        self._next += GRAIN // SECTOR
        return sector * SECTOR + offset % GRAIN

    def flush(self) -> None:
        """Write header, descriptor, and both copies of directory and tables."""
        self._sink.truncate(self._next * SECTOR)
        count = self._tables.count
        for start in (self._redundant, self._primary):
            first = start + _sectors(count * ENTRY_SIZE)
            directory = array("I", range(first, first + count * TABLE_SECTORS, TABLE_SECTORS))
            self._sink.pwrite(start * SECTOR, encode(directory, "<I"))
            for number, table in self._tables.used.items():
                self._sink.pwrite((first + number * TABLE_SECTORS) * SECTOR, encode(table, "<I"))
        self._sink.pwrite(DESCRIPTOR_OFFSET * SECTOR, _embedded(self._descriptor))
        header = _header(
            self.size,
            flags=layout.VALID_NEWLINES | layout.REDUNDANT,
            rgd_offset=self._redundant,
            gd_offset=self._primary,
            overhead=self._overhead,
        )
        self._sink.pwrite(0, header)
        self._sink.flush()


class StreamStore(BlockWriter):
    """streamOptimized. One grain is open; the ones before it are packed and in the file for good."""

    def __init__(self, sink: Sink, size: int, descriptor: bytes) -> None:
        super().__init__(sink, size, GRAIN)
        self._descriptor = descriptor
        self._tables = GrainTables(size)
        self._end = GRAIN // SECTOR
        self._grain = 0
        self._open = bytearray(GRAIN)
        self._unpacked = (-1, b"")

    def _locate(self, offset: int) -> None:
        return None

    def _allocate(self, offset: int) -> int:
        raise NotImplementedError("packed grains have no place for a byte")

    def pwrite(self, offset: int, data: bytes) -> None:
        """Write ``data`` at ``offset``, where nothing behind it was written before.

        Raises:
            ValueError: The range does not lie within the disk, or goes back into a finished grain.
        """
        self._check(offset, len(data))
        if data and offset // GRAIN < self._grain:
            raise ValueError(
                f"a streamOptimized disk is written front to back; byte {offset} is in a finished grain"
            )
        for position, count in self._pieces(offset, offset + len(data)):
            grain, within = divmod(offset + position, GRAIN)
            if grain > self._grain:
                self._close(grain)
            self._open[within : within + count] = data[position : position + count]

    def pcopy(self, offset: int, source: FileSource, begin: int, length: int) -> None:
        """Read ``length`` bytes of an open file and write them: here nothing is stored as it is.

        Raises:
            ValueError: As ``pwrite`` does.
        """
        for done in range(0, length, GRAIN):
            self.pwrite(offset + done, source.pread(begin + done, min(GRAIN, length - done)))

    def _close(self, grain: int) -> None:
        self._end = self._store()
        self._grain = grain
        self._open = bytearray(GRAIN)

    def _store(self) -> int:
        """Put the open grain behind the finished ones, and return the sector after it."""
        import zlib

        if not any(self._open):
            if self._tables.get(self._grain):  # stored by an earlier flush, and zeros since
                self._tables.set(self._grain, 0)
            return self._end
        packed = zlib.compress(bytes(self._open), LEVEL)
        marker = (self._grain * GRAIN // SECTOR).to_bytes(8, "little") + len(packed).to_bytes(4, "little")
        self._tables.set(self._grain, self._end)
        self._sink.pwrite(self._end * SECTOR, _padded(marker + packed))
        return self._end + _sectors(len(marker) + len(packed))

    def _read(self, offset: int, count: int) -> bytes:
        grain, within = divmod(offset, GRAIN)
        if grain == self._grain:
            return bytes(self._open[within : within + count])
        sector = self._tables.get(grain)
        if not sector or grain > self._grain:
            return bytes(count)
        if self._unpacked[0] != grain:
            import zlib

            raw = self._sink.pread(sector * SECTOR, layout.GRAIN_MARKER_SIZE)
            size = int.from_bytes(raw[8:], "little")
            packed = self._sink.pread(sector * SECTOR + layout.GRAIN_MARKER_SIZE, size)
            self._unpacked = (grain, zlib.decompress(packed))
        return self._unpacked[1][within : within + count]

    def flush(self) -> None:
        """Write the open grain and all that comes behind the last one; going on writes over that."""
        begin = position = self._store()
        directory = array("I", bytes(self._tables.count * ENTRY_SIZE))
        tail = []
        for number in sorted(self._tables.used):
            table = self._tables.used[number]
            if any(table):
                tail += [_marker(layout.MARKER_TABLE, TABLE_SECTORS), encode(table, "<I")]
                directory[number] = position + 1
                position += 1 + TABLE_SECTORS
        start = position + 1
        raw = _padded(encode(directory, "<I"))
        tail += [_marker(layout.MARKER_DIRECTORY, len(raw) // SECTOR), raw]
        tail += [_marker(layout.MARKER_FOOTER, 1), self._header(start), _marker(layout.MARKER_EOS, 0)]
        self._sink.truncate(begin * SECTOR)
        self._sink.pwrite(begin * SECTOR, b"".join(tail))
        self._sink.pwrite(DESCRIPTOR_OFFSET * SECTOR, _embedded(self._descriptor))
        self._sink.pwrite(0, self._header(GD_AT_END))
        self._sink.flush()

    def _header(self, gd_offset: int) -> bytes:
        return _header(
            self.size,
            version=3,
            flags=layout.VALID_NEWLINES | layout.COMPRESSED | layout.MARKERS,
            gd_offset=gd_offset,
            overhead=GRAIN // SECTOR,
            compression=layout.DEFLATE,
        )


class FlatStore(BlockWriter):
    """The flat file of monolithicFlat: raw, and zeros over a hole leave it one."""

    def __init__(self, sink: Sink, size: int, descriptor: bytes) -> None:
        super().__init__(sink, size, GRAIN)

    def _locate(self, offset: int) -> int:
        return offset

    def _allocate(self, offset: int) -> int:
        return offset

    def _place(self, offset: int, count: int, piece: memoryview | None) -> int | None:
        is_hole = piece is not None and is_zeros(piece) and is_zeros(self._sink.pread(offset, count))
        return None if is_hole else offset

    def flush(self) -> None:
        """Give the file its length, and sync."""
        self._sink.truncate(self.size)
        self._sink.flush()


def _sectors(length: int) -> int:
    return -(-length // SECTOR)


def _embedded(descriptor: bytes) -> bytes:
    return descriptor.ljust(DESCRIPTOR_SIZE * SECTOR, b"\0")


def _padded(data: bytes) -> bytes:
    return data.ljust(_sectors(len(data)) * SECTOR, b"\0")


def _marker(kind: int, sectors: int) -> bytes:
    return _padded(MARKER.build({"value": sectors, "size": 0, "type": kind}))
