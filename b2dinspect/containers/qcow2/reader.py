"""Reading a qcow2 image as a disk."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Literal

from construct import Bytes, GreedyBytes, Struct

from b2dinspect.containers import FORMATS
from b2dinspect.containers.base import ParentLink
from b2dinspect.containers.blocks import BlockContainer, Piece
from b2dinspect.containers.qcow2 import layout
from b2dinspect.containers.qcow2.survey import Survey, packed_place, survey_findings
from b2dinspect.containers.qcow2.tables import COMPRESSED, COPIED, OFFSET, ZERO, Tables
from b2dinspect.containers.tables import Cache, MapTable
from b2dinspect.errors import MissingDataError
from b2dinspect.fields import Header
from b2dinspect.findings import Finding
from b2dinspect.source import ByteSource

SUBCLUSTERS = 32
CACHED_BYTES = 4 << 20
MAX_SHOWN_SNAPSHOTS = 8


class Qcow2Container(BlockContainer):
    """Reader of versions 2 and 3.

    Args:
        file: The image.

    Attributes:
        parent_name: The backing file's name as written; "" for none.
        data_file: The file with the data: an external one until it is attached is None.
        snapshots: The internal snapshots.

    Raises:
        ContainerError: The header makes no sense, or has an incompatible feature that is not known. Tables
            and clusters that the file does not hold are findings, and raise MissingDataError when read.
    """

    format = "qcow2"
    layer = "qcow2"

    data_file: ByteSource | None

    def __init__(self, file: ByteSource) -> None:
        self.file = file
        shown, self.header = layout.read_header(file)
        header = self.header
        self.size: int = header.size
        self.variant = f"version {header.version}"
        self.cluster_size: int = 1 << header.cluster_bits
        self.snapshots = layout.read_snapshots(file, header)
        extensions = {one.type: one for one in reversed(list(layout.read_extensions(file, header)))}
        self.headers = (shown, *_extension_headers(extensions.values()))
        self._read_names(extensions)
        self._is_external = bool(header.get("incompatible_features", 0) & layout.DATA_FILE)
        self.data_file = None if self._is_external else file
        self._has_subclusters = layout.has_subclusters(header)
        self._tables = Tables(file, header, header.l1_table_offset, header.l1_size)
        self._unpacked: Cache[bytes] = Cache(CACHED_BYTES // self.cluster_size)
        self._survey = Survey(
            self, complete=not extensions.keys() & {layout.BITMAP_EXTENSION, layout.CRYPTO_HEADER}
        )
        self.allocated_size = min(self._survey.allocated, self.size)
        self.is_packed = self._survey.is_packed
        self.findings = tuple(self._judge())

    def attach(self, *, parent: ByteSource | None = None, data_file: ByteSource | None = None) -> None:
        """Give the disk its backing file and its external data file."""
        if data_file is not None and self._is_external:
            self.data_file = data_file
        super().attach(parent=parent)

    def _judge(self) -> Iterator[Finding]:
        yield from _header_findings(self)
        yield from survey_findings(self._survey)

    def _read_names(self, extensions: dict[int, layout.Extension]) -> None:
        self.parent_name = layout.read_backing_name(self.file, self.header)
        if self.parent_name:
            found = extensions.get(layout.BACKING_FORMAT)
            said = found.data.decode("latin-1") if found else ""
            known = (one.name for one in FORMATS.values() if said in one.qemu_names)
            self.parent_link = ParentLink((self.parent_name,), "", next(known, None))
        if self.header.get("incompatible_features", 0) & layout.DATA_FILE:
            name = extensions.get(layout.DATA_FILE_NAME)
            self.data_file_name = name.data.decode("utf-8", "surrogateescape") if name else ""

    @property
    def _data(self) -> ByteSource | None:
        return self.data_file

    def _piece_at(self, position: int, end: int) -> Piece:
        """Return the longest piece from here that one look at the tables tells of."""
        tables, size = self._tables, self.cluster_size
        cluster, within = divmod(position, size)
        number, index = divmod(cluster, tables.per_table)
        if number >= tables.held:
            return Piece(position, end - position, "missing")
        if empty := tables.empty_from(number):
            length = min(end, (number + empty) * tables.per_table * size) - position
            return Piece(position, length, self._unwritten())
        table = tables.table(number)
        if table is None:
            return Piece(position, min(end, (number + 1) * tables.per_table * size) - position, "missing")
        entry, bitmap = tables.entry(table, index)
        if self._has_subclusters and not entry & COMPRESSED:
            return self._subcluster_piece(position, end, entry, bitmap)
        most = min(tables.per_table - index, -(-(within + end - position) // size))
        count = tables.alike(table, index, most)
        return self._entry_piece(position, min(end - position, count * size - within), entry)

    def _entry_piece(self, position: int, length: int, entry: int) -> Piece:
        if entry & COMPRESSED:
            return Piece(position, min(length, self._rest(position)), "packed", entry)
        if entry & ZERO and self.header.version >= 3:
            return Piece(position, length, "zero")
        if not entry & OFFSET and not (self._is_external and entry & COPIED):
            return Piece(position, length, self._unwritten())
        return self._stored(position, length, (entry & OFFSET) + position % self.cluster_size)

    def _rest(self, position: int) -> int:
        return self.cluster_size - position % self.cluster_size

    def _subcluster_piece(self, position: int, end: int, entry: int, bitmap: int) -> Piece:
        """Return the run of subclusters from here that are alike: stored, zeros, or neither."""
        step = self.cluster_size // SUBCLUSTERS
        within = position % self.cluster_size
        first = last = within // step
        kind = _subcluster(bitmap, first)
        while last < SUBCLUSTERS and _subcluster(bitmap, last) == kind:
            last += 1
        length = min(end - position, last * step - within)
        if kind == "stored":
            return self._stored(position, length, (entry & OFFSET) + within)
        return Piece(position, length, "zero" if kind == "zero" else self._unwritten())

    def _stored(self, position: int, length: int, where: int) -> Piece:
        """Return what a data file holds there; the rest of a cluster that it ends in is zeros."""
        if self.data_file is None or self.header.crypt_method:
            return Piece(position, length, "missing")
        held = self.data_file.size - where
        if held > 0:
            return Piece(position, min(length, held), "data", where)
        if where - where % self.cluster_size < self.data_file.size:
            return Piece(position, min(length, self._rest(position)), "zero")
        return Piece(position, length, "missing")

    def _unwritten(self) -> Literal["zero", "parent", "missing"]:
        if not self.parent_name:
            return "zero"
        return "missing" if self.parent is None else "parent"

    def _unpack(self, piece: Piece) -> bytes:
        within = piece.offset % self.cluster_size
        data = self._unpacked.get(piece.where, lambda: self._unpack_cluster(piece))
        return data[within : within + piece.length]

    def _unpack_cluster(self, piece: Piece) -> bytes:
        if self.header.crypt_method:
            raise MissingDataError(self._why_missing(piece.offset), layer=self.layer, offset=piece.offset)
        where, length = packed_place(piece.where, self.header.cluster_bits)
        packed = self.file.pread(where, length) if where < self.file.size else b""
        unpack = _unzstd if self.header.get("compression_type", 0) == layout.ZSTD else _inflate
        data, why = unpack(packed, self.cluster_size)
        if len(data) < self.cluster_size:
            why = why or f"it unpacks to {len(data)} bytes only"
            raise MissingDataError(
                f"this compressed cluster, at byte {where} of the file, cannot be unpacked: {why}",
                layer=self.layer,
                offset=piece.offset,
            )
        return data

    def packed_at(self, offset: int) -> int | None:
        """Return where the compressed cluster begins that holds a byte of the disk."""
        piece = next(self._pieces(*self._clamp(offset, 1)), None)
        is_packed = piece is not None and piece.kind == "packed"
        return packed_place(piece.where, self.header.cluster_bits)[0] if piece and is_packed else None

    def _why_missing(self, offset: int) -> str:
        if self.header.crypt_method:
            return f"this is encrypted ({layout.ENCRYPTIONS[self.header.crypt_method]})"
        cluster = offset // self.cluster_size
        number, index = divmod(cluster, self._tables.per_table)
        if number >= self._tables.held:
            return "the L1 table has no entry for this cluster"
        if self._tables.empty_from(number):
            return "this is in the backing file, which was not given"
        table = self._tables.table(number)
        if table is None:
            return "the L2 table of this cluster lies past the end of the file"
        entry, _ = self._tables.entry(table, index)
        if entry & OFFSET or (self._is_external and entry & COPIED):
            if self.data_file is None:
                return "this is in the external data file, which was not given"
            return "this cluster lies past the end of the file"
        return "this is in the backing file, which was not given"

    def tables(self) -> Iterator[MapTable]:
        """Yield L1 and L2 tables, and those of the refcounts."""
        yield from self._tables.described()
        yield from self._survey.refcounts.described()

    def describe(self) -> dict[str, str]:
        """Return the cluster size, features, snapshots and the backing file."""
        header = self.header
        facts = {"clusters": f"{self.cluster_size} bytes"}
        if bits := header.get("incompatible_features", 0):
            facts["features"] = " ".join(name for bit, name in layout.INCOMPATIBLE.items() if bits & bit)
        if header.crypt_method:
            facts["encryption"] = layout.ENCRYPTIONS[header.crypt_method]
        if self.snapshots:
            names = [one.name or one.id for one in self.snapshots[:MAX_SHOWN_SNAPSHOTS]]
            more = len(self.snapshots) - len(names)
            facts["snapshots"] = ", ".join([*names, *([f"{more} more"] if more else [])])
        if self.parent_name:
            facts["backing file"] = self.parent_name
        if self.data_file_name:
            facts["data file"] = self.data_file_name
        return facts


def _subcluster(bitmap: int, number: int) -> str:
    if bitmap >> number & 1:
        return "stored"
    return "zero" if bitmap >> (number + SUBCLUSTERS) & 1 else "unwritten"


def _inflate(packed: bytes, size: int) -> tuple[bytes, str]:
    """Return at most ``size`` bytes of a bare deflate stream, and what is wrong with it."""
    import zlib

    try:
        return zlib.decompressobj(wbits=-15).decompress(packed, size), ""
    except zlib.error as error:
        return b"", str(error)


def _unzstd(packed: bytes, size: int) -> tuple[bytes, str]:
    """Return at most ``size`` bytes of a zstd stream, and what is wrong with it."""
    from b2dinspect import zstd

    try:
        return zstd.decompressor().decompress(packed, size), ""
    except (zstd.ZstdError, MemoryError) as error:
        return b"", str(error)


def _extension_headers(extensions: Any) -> Iterator[Header]:
    for one in sorted(extensions, key=lambda one: one.offset):
        name = layout.EXTENSIONS.get(one.type, f"{one.type:#x}")
        body = Bytes(len(one.data)) if one.data else GreedyBytes
        whole = layout.EXTENSION.build({"type": one.type, "length": len(one.data)}) + one.data
        fields = Struct(*layout.EXTENSION.subcons, "data" / body * name) if one.data else layout.EXTENSION
        yield Header(
            f"qcow2 extension: {name}", "file", one.offset - layout.EXTENSION.sizeof(), fields, whole
        )


def _header_findings(disk: Qcow2Container) -> Iterator[Finding]:
    header = disk.header
    features = header.get("incompatible_features", 0)
    where = layout.field_offset("incompatible_features")
    if features & layout.CORRUPT:
        text = "qemu has marked this image as corrupt; it writes no more to it until qemu-img check -r all"
        yield Finding("qcow2-corrupt", "error", text, where, "file")
    if features & layout.DIRTY:
        text = "the image was not closed: its refcounts may be wrong (qemu-img check -r all puts them right)"
        yield Finding("qcow2-dirty", "warning", text, where, "file")
    if header.crypt_method:
        name = layout.ENCRYPTIONS[header.crypt_method]
        text = f"the disk is encrypted ({name}): nothing on it can be read without the key"
        yield Finding("qcow2-encrypted", "warning", text, layout.field_offset("crypt_method"), "file")
    if disk.parent_name and disk.parent is None:
        text = f"this image holds only changes; the rest is in the backing file {disk.parent_name}"
        yield Finding("qcow2-parent-missing", "warning", text, header.backing_file_offset, "file")
    elif header.backing_file_offset and not disk.parent_name:
        text = "the backing file's name is not in the file, or too long"
        where = layout.field_offset("backing_file_offset")
        yield Finding("qcow2-backing-name", "error", text, where, "file")
    if disk.data_file is None:
        text = f"the disk's content is in another file, {disk.data_file_name or 'which is not named'}"
        yield Finding("qcow2-data-file-missing", "error", text, None, "file")
    if len(disk.snapshots) < header.nb_snapshots:
        text = f"the header counts {header.nb_snapshots} snapshots, {len(disk.snapshots)} can be read"
        yield Finding("qcow2-snapshots-cut", "warning", text, layout.field_offset("nb_snapshots"), "file")
