r"""VDI, VirtualBox's own disk format.

Layout (all integers little-endian)::

    0        pre-header      text, signature 0xBEDA107F, version
    72       header          0.1: 348 bytes; 1.1: 384, or 400 with the LCHS geometry
    offBlocks  block map     one 32-bit entry a block
    offData  blocks          cbBlockExtra bytes, then cbBlock bytes, each

Block ``n`` of the disk is at ``offData + map[n] * (cbBlock + cbBlockExtra) + cbBlockExtra``. The map is in
order of first write, not of position. 0xFFFFFFFF is a free block: zeros, or the parent's content in a
differencing or undo image. 0xFFFFFFFE is a block of zeros.

Source: VirtualBox, src/VBox/Storage/VDICore.h and VDI.cpp. In version 0.1 the map follows the header
directly and the blocks follow the map.
"""

from __future__ import annotations

import sys
import uuid
from array import array
from collections.abc import Iterator
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from construct import Bytes, Int16ul, Int32ul, Int64ul, Struct

from b2dinspect.containers.base import ParentLink, Probe
from b2dinspect.containers.blocks import BlockContainer, Fault, Piece
from b2dinspect.errors import ContainerError
from b2dinspect.fields import Bits, Header, Named, UuidLE
from b2dinspect.findings import Finding
from b2dinspect.source import SECTOR, ByteSource, is_zeros, read_exactly

if TYPE_CHECKING:
    from b2dinspect.newfile import Sink

SIGNATURE = 0xBEDA107F
FREE = 0xFFFFFFFF
ZERO = 0xFFFFFFFE
MAX_BLOCKS = 1 << 26
"""A map of 256 MiB, which is 64 TiB in blocks of 1 MiB: more than VirtualBox makes."""
DEFAULT_BLOCK_SIZE = 1 << 20

DYNAMIC, FIXED, UNDO, DIFFERENCING = 1, 2, 3, 4
TYPES = {DYNAMIC: "dynamic", FIXED: "fixed", UNDO: "undo", DIFFERENCING: "differencing"}

PREHEADER = Struct(
    "text" / Bytes(64) * "for human eyes; ends with a NUL",
    "signature" / Int32ul * "0xBEDA107F",
    "version_minor" / Int16ul * "low half of the version",
    "version_major" / Int16ul * "high half of the version",
)

_TYPE = "type" / Named(Int32ul, TYPES) * "what free blocks mean"
_FLAGS = "flags" / Bits(Int32ul, {0x100: "zero_expand"}) * "image flags"
_COMMENT = "comment" / Bytes(256) * "UTF-8, ends with a NUL"
_GEOMETRY = (
    "cylinders" / Int32ul * "legacy (physical) geometry",
    "heads" / Int32ul * "legacy geometry",
    "sectors" / Int32ul * "legacy geometry: sectors a track",
    "sector_size" / Int32ul * "bytes; always 512",
)
_UUIDS = (
    "uuid_create" / UuidLE() * "identity of the image; the media registry holds it too",
    "uuid_modify" / UuidLE() * "changes whenever the image is written",
    "uuid_linkage" / UuidLE() * "uuid_create of the parent",
)

HEADER_0_1 = Struct(
    _TYPE,
    _FLAGS,
    _COMMENT,
    *_GEOMETRY,
    "disk_size" / Int64ul * "virtual size in bytes",
    "block_size" / Int32ul * "bytes",
    "block_count" / Int32ul * "entries in the block map",
    "blocks_allocated" / Int32ul * "blocks stored in the file",
    *_UUIDS,
)

HEADER_1_1 = Struct(
    "header_size" / Int32ul * "bytes from this field on: 384, or 400 with the LCHS geometry",
    _TYPE,
    _FLAGS,
    _COMMENT,
    "blocks_offset" / Int32ul * "offBlocks: where the block map begins, bytes",
    "data_offset" / Int32ul * "offData: where the first block begins, bytes",
    *_GEOMETRY,
    "unused" / Int32ul * "was the BIOS translation mode",
    "disk_size" / Int64ul * "virtual size in bytes",
    "block_size" / Int32ul * "bytes without the extra",
    "block_extra" / Int32ul * "cbBlockExtra: bytes before each block's data",
    "block_count" / Int32ul * "entries in the block map",
    "blocks_allocated" / Int32ul * "blocks stored in the file",
    *_UUIDS,
    "uuid_parent_modify" / UuidLE() * "uuid_modify of the parent when this child was made",
)

HEADER_1_1_PLUS = Struct(
    *HEADER_1_1.subcons,
    "lchs_cylinders" / Int32ul * "logical geometry as the BIOS sees it",
    "lchs_heads" / Int32ul * "logical geometry",
    "lchs_sectors" / Int32ul * "logical geometry: sectors a track",
    "lchs_sector_size" / Int32ul * "bytes",
)

PREHEADER_SIZE = PREHEADER.sizeof()
ENTRY_SIZE = 4
MAX_FALSE_ENTRIES = 1 << 16
"""Entries beyond what the file can hold, after which a map is known to be false and not looked at further."""


def probe(file: ByteSource) -> Probe:
    """Tell whether the file carries the VDI signature at byte 64."""
    found = file.pread(64, 4)
    if found == SIGNATURE.to_bytes(4, "little"):
        return Probe(True, "signature 0xBEDA107F at byte 64")
    return Probe(False, f"no signature 0xBEDA107F at byte 64, but {found.hex() or 'the end of the file'}")


class VdiContainer(BlockContainer):
    """Reader of all four types.

    Args:
        file: The image.

    Raises:
        ContainerError: The header makes no sense. A map or blocks that the file does not hold in full are
            findings, and raise MissingDataError only when they are read.
    """

    format = "vdi"
    layer = "VDI"

    def __init__(self, file: ByteSource) -> None:
        self.file = file
        self.headers, self.header = _read_headers(file)
        header = self.header
        self.size = header.disk_size
        self.variant = TYPES[header.type]
        self.block_size: int = header.block_size
        self._extra: int = header.get("block_extra", 0)
        self._map_offset, self._data_offset = _offsets(header)
        self._map = BlockMap(file, self._map_offset, header.block_count)
        self._is_child = header.type in (UNDO, DIFFERENCING)
        self.identity = str(header.uuid_create)
        if self._is_child:
            self.parent_link = ParentLink((), str(header.uuid_linkage))
        self._survey = _survey(self._map, self)
        self.allocated_size = min(self._survey.allocated * self.block_size, self.size)
        self.findings = tuple(self._judge())

    @classmethod
    def read_identity(cls, file: ByteSource) -> str:
        """Return ``uuid_create``, by which a child knows this image."""
        return str(_read_headers(file)[1].uuid_create)

    def _judge(self) -> Iterator[Finding]:
        yield from _header_findings(self)
        yield from _survey_findings(self._survey, self)

    def block_offset(self, entry: int) -> int:
        """Return the file offset of a stored block's data, in bytes."""
        return self._data_offset + entry * (self.block_size + self._extra) + self._extra

    def _piece_at(self, position: int, end: int) -> Piece:
        """Return the longest piece from here that one entry, or one run of free ones, tells of."""
        block, within = divmod(position, self.block_size)
        entry, alike = self._map.lookup(block)
        length = min(end, (block + alike) * self.block_size) - position
        if entry is None:
            return Piece(position, length, "missing")
        if entry == FREE and self._is_child:
            return Piece(position, length, "missing" if self.parent is None else "parent")
        if entry in (FREE, ZERO):
            return Piece(position, length, "zero")
        length = min(end - position, self.block_size - within)
        where = self.block_offset(entry) + within
        held = max(0, self.file.size - where)
        return (
            Piece(position, min(length, held), "data", where) if held else Piece(position, length, "missing")
        )

    def _why_missing(self, offset: int) -> str:
        entry, _ = self._map.lookup(offset // self.block_size)
        if entry == FREE:
            return "this block is in the parent image, which was not given"
        if entry is None:
            return "the block map has no entry for this block"
        return "this block lies past the end of the file"

    def describe(self) -> dict[str, str]:
        """Return the version, block size, comment and identities."""
        header, pre = self.header, self.headers[0].layout.parse(self.headers[0].data)
        facts = {
            "version": f"{pre.version_major}.{pre.version_minor}",
            "blocks": f"{header.block_count} of {self.block_size} bytes",
            "uuid": str(header.uuid_create),
        }
        if comment := header.comment.split(b"\0")[0]:
            facts["comment"] = comment.decode("utf-8", "surrogateescape")
        if self._is_child:
            facts["parent uuid"] = str(header.uuid_linkage)
        return facts


class BlockMap:
    """The block map, read a page at a time: a 2 TiB disk has 8 MiB of it."""

    PAGE = 1 << 14  # entries
    RUN = 64  # entries looked at together
    REACH = 1 << 12  # entries looked at in advance

    def __init__(self, file: ByteSource, offset: int, count: int) -> None:
        self._file = file
        self._offset = offset
        self.count = count
        held = max(0, file.size - offset) // ENTRY_SIZE
        self.held = min(count, held)
        self._free_run = array("I", [FREE]) * self.RUN
        self._pages: dict[int, tuple[array[int], bool]] = {}

    def lookup(self, block: int) -> tuple[int | None, int]:
        """Return the block's entry, and for how many blocks from this one on it is known to be the same.

        The entry is None when the file ends before it or the map has too few entries.
        """
        if block >= self.held:
            return None, 1 << 62
        number, index = divmod(block, self.PAGE)
        entries, uniform = self._page(number)
        if uniform:
            return entries[index], len(entries) - index
        return entries[index], self._free_from(entries, index) if entries[index] == FREE else 1

    def _free_from(self, entries: array[int], index: int) -> int:
        """Return how many entries from this one on are known to be free: looks at whole runs only."""
        end = start = index + 1
        while end - start < self.REACH and entries[end : end + self.RUN] == self._free_run:
            end += self.RUN
        return end - index

    def _page(self, number: int) -> tuple[array[int], bool]:
        if number not in self._pages:
            if len(self._pages) >= 64:
                self._pages.clear()
            self._pages[number] = self.read_page(number)
        return self._pages[number]

    def read_page(self, number: int) -> tuple[array[int], bool]:
        """Return one page of entries, and whether all of them are the same."""
        first = number * self.PAGE
        count = min(self.PAGE, self.held - first)
        raw = self._file.pread(self._offset + first * ENTRY_SIZE, count * ENTRY_SIZE)
        entries = array("I", raw)
        if sys.byteorder == "big":
            entries.byteswap()
        return entries, raw == raw[:ENTRY_SIZE] * count

    def stored(self) -> Iterator[tuple[int, int]]:
        """Yield each block that the file stores, and its entry; free stretches cost next to nothing."""
        for number in range(-(-self.held // self.PAGE)):
            entries, uniform = self.read_page(number)
            if uniform and entries[0] in (FREE, ZERO):
                continue
            for start in range(0, len(entries), self.RUN):
                run = entries[start : start + self.RUN]
                if run != self._free_run:
                    first = number * self.PAGE + start
                    yield from ((first + index, entry) for index, entry in enumerate(run) if entry < ZERO)


class _Survey(NamedTuple):
    allocated: int
    shared: Fault
    outside: Fault
    is_whole: bool


def _survey(block_map: BlockMap, disk: VdiContainer) -> _Survey:
    """Go once through the map: count, and collect entries that share a block or point outside the file."""
    allocated, shared, outside = 0, Fault(), Fault()
    blocks_in_file = max(0, disk.file.size - disk.block_offset(0)) // (disk.block_size + disk._extra) + 1
    seen = bytearray(min(blocks_in_file, MAX_BLOCKS))
    for block, entry in block_map.stored():
        allocated += 1
        if allocated > blocks_in_file + MAX_FALSE_ENTRIES:
            return _Survey(allocated, shared, outside, is_whole=False)
        if entry >= len(seen) or disk.block_offset(entry) + _last_bytes(disk, block) > disk.file.size:
            outside.add(block)
        elif seen[entry]:
            shared.add(block)
        else:
            seen[entry] = 1
    return _Survey(allocated, shared, outside, is_whole=True)


def _last_bytes(disk: VdiContainer, block: int) -> int:
    """Return how many bytes of this block belong to the disk: the last block may stick out."""
    return max(1, min(disk.block_size, disk.size - block * disk.block_size))


def _survey_findings(survey: _Survey, disk: VdiContainer) -> Iterator[Finding]:
    header = disk.header
    for fault, name, text in (
        (survey.shared, "vdi-block-shared", "points to a block of the file that another entry uses too"),
        (survey.outside, "vdi-block-outside", "points past the end of the file: its content is missing"),
    ):
        if fault.count:
            least = "" if survey.is_whole else "at least "
            more = f" ({least}{fault.count - 1} more like it)" if fault.count > 1 else ""
            where = disk._map_offset + fault.number * ENTRY_SIZE
            yield Finding(name, "error", f"block {fault.number} of the map {text}{more}", where, "file")
    if survey.is_whole and survey.allocated != header.blocks_allocated:
        text = f"the header counts {header.blocks_allocated} allocated blocks, the map has {survey.allocated}"
        yield Finding("vdi-allocated-count", "warning", text, None, "file")


def _parent_findings(disk: VdiContainer) -> Iterator[Finding]:
    header, parent = disk.header, disk.parent
    if parent is None:
        text = (
            f"this {disk.variant} image holds only changes; the rest is in the parent {header.uuid_linkage}"
        )
        yield Finding("vdi-parent-missing", "warning", text, None, "file")
    elif isinstance(parent, VdiContainer):
        expected, found = header.get("uuid_parent_modify"), parent.header.uuid_modify
        if parent.header.uuid_create != header.uuid_linkage:
            text = (
                "the parent given is another image "
                f"(expected {header.uuid_linkage}, found {parent.header.uuid_create})"
            )
            yield Finding("vdi-parent-mismatch", "error", text, None, "file")
        elif expected and expected.int and expected != found:
            text = (
                "the parent was written to since this image was made on it "
                f"(expected {expected}, found {found})"
            )
            yield Finding("vdi-parent-changed", "error", text, None, "file")


def _header_findings(disk: VdiContainer) -> Iterator[Finding]:
    header, block_map = disk.header, disk._map
    if disk._is_child:
        yield from _parent_findings(disk)
    if block_map.held < block_map.count:
        text = f"the file ends inside the block map: {block_map.held} of {block_map.count} entries are there"
        yield Finding("vdi-map-cut", "error", text, disk.file.size, "file")
    if header.block_count * disk.block_size < disk.size:
        text = f"the block map has room for {header.block_count * disk.block_size} bytes of {disk.size}"
        yield Finding("vdi-map-short", "error", text, None, "file")


def _read_headers(file: ByteSource) -> tuple[tuple[Header, Header], Any]:
    raw = read_exactly(file, 0, PREHEADER_SIZE, ContainerError, "VDI pre-header")
    pre = PREHEADER.parse(raw)
    if pre.signature != SIGNATURE:
        raise ContainerError(
            "wrong signature",
            layer="VDI pre-header",
            offset=64,
            expected=hex(SIGNATURE),
            found=hex(pre.signature),
        )
    version = (pre.version_major, pre.version_minor)
    layout = _layout(file, version)
    data = read_exactly(file, PREHEADER_SIZE, layout.sizeof(), ContainerError, "VDI header")
    header = layout.parse(data)
    _check(header, layout)
    headers = (
        Header("VDI pre-header", "file", 0, PREHEADER, raw),
        Header(f"VDI header {version[0]}.{version[1]}", "file", PREHEADER_SIZE, layout, data),
    )
    return headers, header


def _layout(file: ByteSource, version: tuple[int, int]) -> Struct:
    if version == (0, 1):
        return HEADER_0_1
    if version != (1, 1):
        raise ContainerError(
            "unknown version",
            layer="VDI pre-header",
            offset=68,
            expected="0.1 or 1.1",
            found=f"{version[0]}.{version[1]}",
        )
    raw = read_exactly(file, PREHEADER_SIZE, 4, ContainerError, "VDI header")
    size = int.from_bytes(raw, "little")
    if size < HEADER_1_1.sizeof():
        raise ContainerError(
            "header size is too small", layer="VDI header", offset=72, expected=">= 384", found=size
        )
    return HEADER_1_1 if size < HEADER_1_1_PLUS.sizeof() else HEADER_1_1_PLUS


def _check(header: Any, layout: Struct) -> None:
    """Refuse values that no reader could work with, before any of them is used."""
    header_end = PREHEADER_SIZE + layout.sizeof()
    checks = [
        ("type", header.type in TYPES, "1 to 4"),
        ("block_size", header.block_size >= SECTOR and header.block_size % SECTOR == 0, "a multiple of 512"),
        ("block_size", header.block_size <= 1 << 30, "at most 1 GiB"),
        ("disk_size", 0 < header.disk_size < 1 << 63, "1 to 2^63 - 1 bytes"),
        ("block_count", 0 < header.block_count <= MAX_BLOCKS, f"1 to {MAX_BLOCKS}"),
    ]
    if layout is not HEADER_0_1:
        map_end = header.blocks_offset + header.block_count * ENTRY_SIZE
        checks += [
            ("blocks_offset", header.blocks_offset >= header_end, f"past the header, >= {header_end}"),
            ("data_offset", header.data_offset >= map_end, f"past the block map, >= {map_end}"),
            ("block_extra", header.block_extra <= header.block_size, "no larger than a block"),
        ]
    for name, is_sound, expected in checks:
        if not is_sound:
            offset = PREHEADER_SIZE + _field_offset(layout, name)
            raise ContainerError(
                f"{name} makes no sense",
                layer="VDI header",
                offset=offset,
                expected=expected,
                found=header[name],
            )


def _field_offset(layout: Struct, name: str) -> int:
    offset = 0
    for part in layout.subcons:
        if part.name == name:
            break
        offset += part.sizeof()
    return offset


def _offsets(header: Any) -> tuple[int, int]:
    """Return where the block map and the first block begin, bytes."""
    if "blocks_offset" in header:
        return header.blocks_offset, header.data_offset
    start = PREHEADER_SIZE + HEADER_0_1.sizeof()
    return start, start + header.block_count * ENTRY_SIZE


class Identity(NamedTuple):
    """The three UUIDs of an image; pin them for reproducible files."""

    create: uuid.UUID
    modify: uuid.UUID
    parent: uuid.UUID = uuid.UUID(int=0)


class VdiWriter:
    """Makes a new VDI 1.1 as VirtualBox lays it out: header, map at 1 MiB, blocks aligned to 1 MiB.

    Blocks are stored when something other than zeros is first written to them. The header and the map reach
    the file by ``flush()``; until then the file is no VDI.

    Args:
        sink: An empty file to write to.
        virtual_size: Bytes, a multiple of 512.
        variant: ``"dynamic"``, or ``"fixed"`` with every block stored in order.
        block_size: Bytes, a power of two of at least 4096.
        identity: UUIDs.
        comment: At most 255 bytes.
    """

    def __init__(
        self,
        sink: Sink,
        virtual_size: int,
        *,
        variant: Literal["dynamic", "fixed"] = "dynamic",
        block_size: int = DEFAULT_BLOCK_SIZE,
        identity: Identity | None = None,
        comment: bytes = b"",
    ) -> None:
        if virtual_size <= 0 or virtual_size % SECTOR:
            raise ValueError(f"virtual size {virtual_size} is not a positive multiple of 512")
        if block_size < 4096 or block_size & (block_size - 1):
            raise ValueError(f"block size {block_size} is not a power of two of at least 4096")
        if len(comment) > 255:
            raise ValueError(f"comment of {len(comment)} bytes; 255 are the most")
        count = -(-virtual_size // block_size)
        if count > MAX_BLOCKS:
            raise ValueError(f"{count} blocks; {MAX_BLOCKS} are the most: use larger blocks")
        self.size = virtual_size
        self._sink = sink
        self._variant = variant
        self._block_size = block_size
        self._identity = identity or Identity(uuid.uuid4(), uuid.uuid4())
        self._comment = comment
        self._map_offset = 1 << 20
        self._data_offset = _align(self._map_offset + count * ENTRY_SIZE, 1 << 20)
        if variant == "fixed":
            self._map = array("I", range(count))
            self._allocated = count
        else:
            self._map = array("I", [FREE]) * count
            self._allocated = 0

    def pwrite(self, offset: int, data: bytes) -> None:
        """Write ``data`` at a virtual ``offset``, storing blocks on demand.

        Raises:
            ValueError: The range does not lie within the disk.
        """
        if offset < 0 or offset + len(data) > self.size:
            raise ValueError(f"{len(data)} bytes at {offset} do not fit on a disk of {self.size}")
        view = memoryview(data)
        while view:
            block, within = divmod(offset, self._block_size)
            piece = bytes(view[: self._block_size - within])
            self._write_block(block, within, piece)
            view, offset = view[len(piece) :], offset + len(piece)

    def _write_block(self, block: int, within: int, piece: bytes) -> None:
        if self._map[block] == FREE:
            if is_zeros(piece):
                return
            self._map[block] = self._allocated
            self._allocated += 1
        self._sink.pwrite(self._data_offset + self._map[block] * self._block_size + within, piece)

    def pread(self, offset: int, length: int) -> bytes:
        """Return up to ``length`` bytes of the disk at ``offset``, as written so far."""
        pieces, end = [], min(self.size, offset + length)
        while offset < end:
            within = offset % self._block_size
            count = min(end - offset, self._block_size - within)
            place = self.locate(offset)
            stored = b"" if place is None else self._sink.pread(place, count)
            pieces.append(stored.ljust(count, b"\0"))
            offset += count
        return b"".join(pieces)

    def locate(self, offset: int) -> int | None:
        """Return the file offset of a byte of the disk, or None when its block is not stored."""
        block, within = divmod(offset, self._block_size)
        if self._map[block] == FREE:
            return None
        return self._data_offset + self._map[block] * self._block_size + within

    def flush(self) -> None:
        """Write the header and the map, give the file its full length, and sync."""
        self._sink.truncate(self._data_offset + self._allocated * self._block_size)
        entries = self._map
        if sys.byteorder == "big":
            entries = array("I", entries)
            entries.byteswap()
        self._sink.pwrite(self._map_offset, entries.tobytes())
        self._sink.pwrite(0, self._header_bytes())
        self._sink.flush()

    def _header_bytes(self) -> bytes:
        pre = PREHEADER.build(
            {
                "text": b"<<< b2dinspect: VirtualBox Disk Image >>>\n".ljust(64, b"\0"),
                "signature": SIGNATURE,
                "version_major": 1,
                "version_minor": 1,
            }
        )
        cylinders = min(1024, self.size // (SECTOR * 63 * 16))
        header = HEADER_1_1_PLUS.build(
            {
                "header_size": HEADER_1_1_PLUS.sizeof(),
                "type": FIXED if self._variant == "fixed" else DYNAMIC,
                "flags": 0,
                "comment": self._comment.ljust(256, b"\0"),
                "blocks_offset": self._map_offset,
                "data_offset": self._data_offset,
                "cylinders": 0,
                "heads": 0,
                "sectors": 0,
                "sector_size": SECTOR,
                "unused": 0,
                "disk_size": self.size,
                "block_size": self._block_size,
                "block_extra": 0,
                "block_count": len(self._map),
                "blocks_allocated": self._allocated,
                "uuid_create": self._identity.create,
                "uuid_modify": self._identity.modify,
                "uuid_linkage": self._identity.parent,
                "uuid_parent_modify": uuid.UUID(int=0),
                "lchs_cylinders": cylinders,
                "lchs_heads": 16,
                "lchs_sectors": 63,
                "lchs_sector_size": SECTOR,
            }
        )
        return bytes(pre + header)


def _align(value: int, unit: int) -> int:
    return -(-value // unit) * unit
