"""Makes new VMDK disks: monolithicSparse, streamOptimized, and the flat file of monolithicFlat."""

from __future__ import annotations

import os
import sys
import uuid
from array import array
from collections.abc import Iterator
from typing import TYPE_CHECKING, Literal, NamedTuple, Protocol

from b2dinspect.containers.vmdk import FORMAT, SIGNATURE, layout
from b2dinspect.containers.vmdk.descriptor import NO_UUID, build_descriptor, check_name, flat_descriptor
from b2dinspect.containers.vmdk.layout import ENTRY_SIZE, GD_AT_END, HEADER, MARKER
from b2dinspect.source import SECTOR

if TYPE_CHECKING:
    from b2dinspect.containers.base import Container
    from b2dinspect.identity import Identities
    from b2dinspect.newfile import Sink

GRAIN = 128 * SECTOR
GTES = 512
TABLE_SECTORS = GTES * ENTRY_SIZE // SECTOR
DESCRIPTOR_OFFSET, DESCRIPTOR_SIZE = 1, 20
"""Sectors, as VirtualBox and VMware have them."""
MAX_SECTOR = (1 << 32) - 1
MAX_SIZE = 1 << 46
LEVEL = 6
_ZEROS = bytes(GRAIN)

Variant = Literal["monolithicSparse", "streamOptimized", "monolithicFlat"]
DATA_FILES = {"monolithicFlat": "-flat.vmdk"}
"""Subformats that keep the disk in a file of its own, and how its name ends."""


class Identity(NamedTuple):
    """The UUIDs of an image as VirtualBox keeps them (``ddb.uuid``); pin them for reproducible files."""

    image: uuid.UUID
    modification: uuid.UUID
    parent: uuid.UUID = NO_UUID
    parent_modification: uuid.UUID = NO_UUID


class VmdkWriter:
    """Makes a new VMDK in grains of 64 KiB, stored when something other than zeros is written to them.

    ``monolithicSparse`` is laid out as VirtualBox does it: descriptor of 20 sectors, redundant directory and
    tables, directory and tables, and grains in the order of writing. ``streamOptimized`` must be written from
    front to back; its bytes depend on the zlib that packs them. ``monolithicFlat`` writes the flat file only,
    which is raw: ``descriptor()`` is the text that belongs beside it.

    Headers, tables and descriptor reach the file by ``flush()``; until then the file is no VMDK.

    Args:
        sink: An empty file to write to.
        virtual_size: Bytes, a multiple of 512.
        variant: Which kind.
        identity: UUIDs.
        cid: Content identity, 0 to 0xfffffffe.
        name: Of the extent, for the descriptor: the file's own name, or that of the flat file.

    Attributes:
        size: The virtual size.

    Raises:
        ValueError: An argument makes no VMDK.
    """

    def __init__(
        self,
        sink: Sink,
        virtual_size: int,
        *,
        variant: Variant = "monolithicSparse",
        identity: Identity | None = None,
        cid: int | None = None,
        name: str = "disk.vmdk",
    ) -> None:
        if virtual_size <= 0 or virtual_size % SECTOR:
            raise ValueError(f"virtual size {virtual_size} is not a positive multiple of 512")
        if virtual_size > MAX_SIZE:
            raise ValueError(f"virtual size {virtual_size} is more than a VMDK of 64 KiB grains can have")
        if cid is None:
            cid = int.from_bytes(os.urandom(4), "little") & 0xFFFFFFFE
        if not 0 <= cid < 0xFFFFFFFF:
            raise ValueError(f"CID {cid:#x} is not 0 to 0xfffffffe")
        if variant not in _STORES:
            raise ValueError(f"no variant {variant!r}; there are {', '.join(_STORES)}")
        check_name(name)
        self.size = virtual_size
        self._variant = variant
        self._identity = identity or Identity(uuid.uuid4(), uuid.uuid4())
        self._cid = cid
        self._name = name
        self._sink = sink
        self._store = _STORES[variant](sink, virtual_size, self.descriptor())

    def descriptor(self) -> bytes:
        """Return the descriptor: the embedded one, or for monolithicFlat the text of the file beside it."""
        if self._variant == "monolithicFlat":
            image, modification = self._identity[:2]
            return flat_descriptor(
                self.size, self._name, cid=self._cid, image=image, modification=modification
            )
        access = "RDONLY" if self._variant == "streamOptimized" else "RW"
        line = f'{access} {self.size // SECTOR} SPARSE "{self._name}"'
        return build_descriptor(self._variant, [line], self.size, cid=self._cid, uuids=self._identity)

    def pwrite(self, offset: int, data: bytes) -> None:
        """Write ``data`` at a virtual ``offset``, storing grains on demand.

        Raises:
            ValueError: The range does not lie within the disk, goes back into a finished grain of a
                streamOptimized disk, or needs a sector beyond the last that an entry can name (2 TiB).
        """
        if offset < 0 or offset + len(data) > self.size:
            raise ValueError(f"{len(data)} bytes at {offset} do not fit on a disk of {self.size}")
        if data:
            self._store.pwrite(offset, data)

    def pread(self, offset: int, length: int) -> bytes:
        """Return up to ``length`` bytes at a virtual ``offset`` as written so far; fewer only at the end."""
        if offset < 0 or length < 0:
            raise ValueError(f"offset {offset} and length {length} must not be negative")
        end = min(self.size, offset + length)
        return b"".join(
            self._store.pread(grain, within, count) for grain, within, count in _pieces(offset, end)
        )

    def locate(self, offset: int) -> int | None:
        """Return the file offset of a stored byte; None where nothing is stored, and for what is packed."""
        if not 0 <= offset < self.size:
            return None
        return self._store.locate(offset)

    def flush(self) -> None:
        """Write headers, tables and descriptor, give the file its length, and sync. Writing may go on."""
        self._store.finish()
        self._sink.flush()


def _pieces(offset: int, end: int) -> Iterator[tuple[int, int, int]]:
    """Yield grain, offset in it and length of each piece of a range."""
    while offset < end:
        grain, within = divmod(offset, GRAIN)
        count = min(GRAIN - within, end - offset)
        yield grain, within, count
        offset += count


def _is_zero(data: bytes, start: int, count: int) -> bool:
    """Tell whether a piece is zeros, without copying it."""
    return data.startswith(_ZEROS if count == GRAIN else _ZEROS[:count], start)


class _Store(Protocol):
    def __init__(self, sink: Sink, size: int, descriptor: bytes) -> None: ...
    def pwrite(self, offset: int, data: bytes) -> None: ...
    def pread(self, grain: int, within: int, count: int) -> bytes: ...
    def locate(self, offset: int) -> int | None: ...
    def finish(self) -> None: ...


class _Tables:
    """Entries of the grains in use: memory grows with them, not with the disk."""

    def __init__(self, size: int) -> None:
        self.grains = -(-size // GRAIN)
        self.count = -(-self.grains // GTES)
        self.used: dict[int, array[int]] = {}

    def get(self, grain: int) -> int:
        table = self.used.get(grain // GTES)
        return table[grain % GTES] if table else 0

    def set(self, grain: int, sector: int) -> None:
        if sector + GRAIN // SECTOR > MAX_SECTOR:
            raise ValueError("the file would grow past sector 2^32, which no grain table entry can name")
        if grain // GTES not in self.used:
            self.used[grain // GTES] = array("I", bytes(GTES * ENTRY_SIZE))
        self.used[grain // GTES][grain % GTES] = sector


def _bytes(entries: array[int]) -> bytes:
    if sys.byteorder == "big":
        entries = array("I", entries)
        entries.byteswap()
    return entries.tobytes()


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


def _sectors(length: int) -> int:
    return -(-length // SECTOR)


def _embedded(descriptor: bytes) -> bytes:
    return descriptor.ljust(DESCRIPTOR_SIZE * SECTOR, b"\0")


class _Sparse:
    """monolithicSparse. The tables of both copies have their places from the start; unused ones are holes."""

    def __init__(self, sink: Sink, size: int, descriptor: bytes) -> None:
        self._sink, self._size, self._descriptor = sink, size, descriptor
        self._tables = _Tables(size)
        copy = _sectors(self._tables.count * ENTRY_SIZE) + self._tables.count * TABLE_SECTORS
        self._redundant = DESCRIPTOR_OFFSET + DESCRIPTOR_SIZE
        self._primary = self._redundant + copy
        self._overhead = -(-(self._primary + copy) * SECTOR // GRAIN) * GRAIN // SECTOR
        self._next = self._overhead

    def pwrite(self, offset: int, data: bytes) -> None:
        """Write grain after grain; those that are neighbours in the file go out together."""
        view = memoryview(data)
        done = pending = 0  # data[done:pending] belongs at `place`
        place = 0
        position = 0
        for grain, within, count in _pieces(offset, offset + len(data)):
            where = self._place(grain, within, data, position, count)
            if where != place + pending - done or where == 0:
                self._put(place, view, done, pending)
                done, place = position, where
            position += count
            if where:
                pending = position
            else:
                done = pending = position
        self._put(place, view, done, pending)

    def _place(self, grain: int, within: int, data: bytes, position: int, count: int) -> int:
        """Return where in the file the piece goes; 0 for zeros that need not be stored."""
        sector = self._tables.get(grain)
        if not sector:
            if _is_zero(data, position, count):
                return 0
            sector = self._next
            self._tables.set(grain, sector)
            self._next += GRAIN // SECTOR
        return sector * SECTOR + within

    def _put(self, place: int, view: memoryview, start: int, end: int) -> None:
        if start < end:
            self._sink.pwrite(place, bytes(view[start:end]))

    def pread(self, grain: int, within: int, count: int) -> bytes:
        sector = self._tables.get(grain)
        return (
            self._sink.pread(sector * SECTOR + within, count).ljust(count, b"\0") if sector else bytes(count)
        )

    def locate(self, offset: int) -> int | None:
        sector = self._tables.get(offset // GRAIN)
        return sector * SECTOR + offset % GRAIN if sector else None

    def finish(self) -> None:
        self._sink.truncate(self._next * SECTOR)
        count = self._tables.count
        for start in (self._redundant, self._primary):
            first = start + _sectors(count * ENTRY_SIZE)
            directory = array("I", range(first, first + count * TABLE_SECTORS, TABLE_SECTORS))
            self._sink.pwrite(start * SECTOR, _bytes(directory))
            for number, table in self._tables.used.items():
                self._sink.pwrite((first + number * TABLE_SECTORS) * SECTOR, _bytes(table))
        self._sink.pwrite(DESCRIPTOR_OFFSET * SECTOR, _embedded(self._descriptor))
        header = _header(
            self._size,
            flags=layout.VALID_NEWLINES | layout.REDUNDANT,
            rgd_offset=self._redundant,
            gd_offset=self._primary,
            overhead=self._overhead,
        )
        self._sink.pwrite(0, header)


class _Stream:
    """streamOptimized. One grain is open; the ones before it are packed and in the file for good."""

    def __init__(self, sink: Sink, size: int, descriptor: bytes) -> None:
        self._sink, self._size, self._descriptor = sink, size, descriptor
        self._tables = _Tables(size)
        self._end = GRAIN // SECTOR
        self._grain = 0
        self._open = bytearray(GRAIN)
        self._unpacked = (-1, b"")

    def pwrite(self, offset: int, data: bytes) -> None:
        if offset // GRAIN < self._grain:
            raise ValueError(
                f"a streamOptimized disk is written front to back; byte {offset} is in a finished grain"
            )
        position = 0
        for grain, within, count in _pieces(offset, offset + len(data)):
            if grain > self._grain:
                self._close(grain)
            self._open[within : within + count] = data[position : position + count]
            position += count

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

    def pread(self, grain: int, within: int, count: int) -> bytes:
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

    def locate(self, offset: int) -> int | None:
        return None

    def finish(self) -> None:
        """Write the open grain and all that comes behind the last one; going on writes over that."""
        begin = position = self._store()
        directory = array("I", bytes(self._tables.count * ENTRY_SIZE))
        tail = []
        for number in sorted(self._tables.used):
            table = self._tables.used[number]
            if any(table):
                tail += [_marker(layout.MARKER_TABLE, TABLE_SECTORS), _bytes(table)]
                directory[number] = position + 1
                position += 1 + TABLE_SECTORS
        start = position + 1
        raw = _padded(_bytes(directory))
        tail += [_marker(layout.MARKER_DIRECTORY, len(raw) // SECTOR), raw]
        tail += [_marker(layout.MARKER_FOOTER, 1), self._header(start), _marker(layout.MARKER_EOS, 0)]
        self._sink.truncate(begin * SECTOR)
        self._sink.pwrite(begin * SECTOR, b"".join(tail))
        self._sink.pwrite(DESCRIPTOR_OFFSET * SECTOR, _embedded(self._descriptor))
        self._sink.pwrite(0, self._header(GD_AT_END))

    def _header(self, gd_offset: int) -> bytes:
        return _header(
            self._size,
            version=3,
            flags=layout.VALID_NEWLINES | layout.COMPRESSED | layout.MARKERS,
            gd_offset=gd_offset,
            overhead=GRAIN // SECTOR,
            compression=layout.DEFLATE,
        )


def _padded(data: bytes) -> bytes:
    return data.ljust(_sectors(len(data)) * SECTOR, b"\0")


def _marker(kind: int, sectors: int) -> bytes:
    return _padded(MARKER.build({"value": sectors, "size": 0, "type": kind}))


class _Flat:
    """The flat file of monolithicFlat: raw."""

    def __init__(self, sink: Sink, size: int, descriptor: bytes) -> None:
        self._sink, self._size = sink, size

    def pwrite(self, offset: int, data: bytes) -> None:
        position = 0
        for _, _, count in _pieces(offset, offset + len(data)):
            where = offset + position
            # zeros over a hole stay a hole
            if not _is_zero(data, position, count) or any(self._sink.pread(where, count)):
                self._sink.pwrite(where, data[position : position + count])
            position += count

    def pread(self, grain: int, within: int, count: int) -> bytes:
        return self._sink.pread(grain * GRAIN + within, count).ljust(count, b"\0")

    def locate(self, offset: int) -> int | None:
        return offset

    def finish(self) -> None:
        self._sink.truncate(self._size)


_STORES: dict[str, type[_Store]] = {
    "monolithicSparse": _Sparse,
    "streamOptimized": _Stream,
    "monolithicFlat": _Flat,
}


def new_disk(
    sink: Sink,
    size: int,
    ids: Identities,
    *,
    like: Container | None = None,
    subformat: Variant | None = None,
) -> VmdkWriter:
    """Return a writer of an empty disk (see ``containers.writers``)."""
    is_same = like is not None and like.format == FORMAT.name and like.identity
    image = uuid.UUID(like.identity) if like is not None and is_same else ids.uuid("vmdk image")
    return VmdkWriter(
        sink,
        -(-size // SECTOR) * SECTOR,
        variant=subformat or "monolithicSparse",
        identity=Identity(image, ids.uuid("vmdk modification")),
        cid=ids.uuid("vmdk cid").fields[0] & 0xFFFFFFFE,
        name=_own_name(sink),
    )


def _own_name(sink: Sink) -> str:
    """Return the name that the file will have: some readers look for the extent by it."""
    path = getattr(sink, "path", None)
    return path.name if path else "disk.vmdk"
