r"""VHD, the disk format of Virtual PC and of Hyper-V before VHDX (qemu calls it vpc).

Layout (all integers big-endian, the BAT in sectors of 512 bytes)::

    fixed                          dynamic and differencing
    0      the disk                0        copy of the footer
    end    footer, 512 bytes       512      dynamic disk header, 1024 bytes (where the footer says)
                                   1536     BAT: one 32-bit sector number a block (where the header says)
                                   …        blocks: a sector bitmap, padded to 512 bytes, then the data
                                   end      footer

Block ``n`` has its bitmap at sector ``BAT[n]`` and its data right behind. 0xFFFFFFFF is a free block: zeros,
or the parent's content in a differencing disk. The highest bit of the bitmap's first byte is sector 0 of the
block. A clear bit means the parent in a differencing disk, and "never written" in a dynamic one.

Source: Virtual Hard Disk Image Format Specification 1.0 (Microsoft, October 2006): all fields, the checksums
(one's complement of the sum of the bytes), the geometry (its appendix), footers of 511 bytes (Virtual PC
before 2004). Where programs differ:

- Clear bits of a dynamic disk: to the specification such a sector was never written, which is taken for zeros
  here; qemu (tried with 7.2) ignores the bitmap and shows the bytes in the file. What Windows does was not
  tried. A finding tells of a block where clear bits hide something.
- The virtual size: qemu (7.2, tried with one footer for each creator) believes cylinders * heads * sectors,
  except for the creators in ``SIZE_FROM_FOOTER`` and for the largest geometry, where the footer's own size
  holds. Here too, and a finding tells when the two differ.
- With both footers sound, qemu reads a dynamic disk's copy at byte 0; the specification names the one at the
  end, and so does this reader. When they differ, that is a finding.
"""

from __future__ import annotations

import sys
import time
import uuid
from array import array
from bisect import bisect_right
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

from construct import Bytes, Int8ub, Int16ub, Int32ub, Int64ub, Struct

from b2dinspect.containers.base import ParentLink, Probe, stored_size
from b2dinspect.containers.blocks import BlockContainer, Piece, overlapping, run
from b2dinspect.errors import ContainerError, MissingDataError
from b2dinspect.fields import Bits, Header, Named, UuidBE
from b2dinspect.findings import Finding
from b2dinspect.source import SECTOR, ByteSource, Extent, read_exactly

if TYPE_CHECKING:
    from b2dinspect.newfile import Sink

COOKIE = b"conectix"
HEADER_COOKIE = b"cxsparse"
FREE = 0xFFFFFFFF
NO_OFFSET = 0xFFFFFFFF_FFFFFFFF
EPOCH = 946684800
"""2000-01-01 00:00:00 UTC in Unix time, from which VHD counts."""
DEFAULT_BLOCK_SIZE = 2 << 20
MAX_ENTRIES = 1 << 26
"""A BAT of 256 MiB: 2^26 blocks, where the largest disk that Windows makes has 2^20."""
MAX_SIZE = 0xFF000000 * SECTOR
"""2040 GiB, the most that Windows and qemu make."""

FIXED, DYNAMIC, DIFFERENCING = 2, 3, 4
TYPES = {FIXED: "fixed", DYNAMIC: "dynamic", DIFFERENCING: "differencing"}

SIZE_FROM_FOOTER = frozenset({b"win ", b"qem2", b"d2v ", b"tap\0", b"CTXS"})
"""Creators whose disks are as large as the footer says: Hyper-V, qemu with force_size, Disk2vhd, Xen."""
MAX_GEOMETRY = 65535 * 16 * 255
"""Sectors; a disk with this geometry may be larger."""

CREATORS = {
    b"vpc ": "Virtual PC",
    b"vs  ": "Virtual Server",
    b"win ": "Windows",
    b"d2v ": "Disk2vhd",
    b"qemu": "qemu",
    b"qem2": "qemu, size forced",
    b"vbox": "VirtualBox",
    b"tap\0": "Xen blktap",
    b"CTXS": "Citrix",
}
SYSTEMS = {b"Wi2k": "Windows", b"Mac ": "Macintosh"}

FOOTER = Struct(
    "cookie" / Bytes(8) * "conectix",
    "features" / Bits(Int32ub, {1: "temporary", 2: "reserved"}) * "the reserved bit is always set",
    "version" / Int32ub * "0x00010000",
    "data_offset" / Int64ub * "where the dynamic disk header is, bytes; all ones in a fixed disk",
    "timestamp" / Int32ub * "seconds since 2000-01-01 UTC: when the image was made",
    "creator_application" / Bytes(4) * "decides which size holds",
    "creator_major" / Int16ub * "version of the creator",
    "creator_minor" / Int16ub * "version of the creator",
    "creator_system" / Bytes(4) * "Wi2k or Mac ",
    "original_size" / Int64ub * "virtual size in bytes when the image was made",
    "current_size" / Int64ub * "virtual size in bytes now",
    "cylinders" / Int16ub * "geometry",
    "heads" / Int8ub * "geometry",
    "sectors" / Int8ub * "geometry: sectors a track",
    "type" / Named(Int32ub, TYPES) * "what free blocks mean",
    "checksum" / Int32ub * "one's complement of the sum of all other bytes",
    "uuid" / UuidBE() * "identity of the image; a child holds it as its parent's",
    "saved_state" / Int8ub * "1 when the machine was saved while running",
    "reserved" / Bytes(427) * "zeros",
)

LOCATOR = Struct(
    "platform" / Bytes(4) * "how the data is coded: W2ku, W2ru, Wi2k, Wi2r, MacX, Mac ",
    "data_space" / Int32ub * "sectors set aside; some writers count bytes",
    "data_length" / Int32ub * "bytes",
    "reserved" / Int32ub * "zero",
    "data_offset" / Int64ub * "where the data is in the file, bytes",
)

LOCATORS = tuple(f"locator_{number}" for number in range(1, 9))

DYNAMIC_HEADER = Struct(
    "cookie" / Bytes(8) * "cxsparse",
    "data_offset" / Int64ub * "all ones",
    "table_offset" / Int64ub * "where the BAT begins, bytes",
    "version" / Int32ub * "0x00010000",
    "table_entries" / Int32ub * "entries in the BAT",
    "block_size" / Int32ub * "bytes without the bitmap",
    "checksum" / Int32ub * "one's complement of the sum of all other bytes",
    "parent_uuid" / UuidBE() * "uuid of the parent",
    "parent_timestamp" / Int32ub * "when the parent was last written, seconds since 2000-01-01 UTC",
    "reserved" / Int32ub * "zero",
    "parent_name" / Bytes(512) * "UTF-16, big-endian",
    *(name / LOCATOR * "one way to find the parent" for name in LOCATORS),
    "reserved_2" / Bytes(256) * "zeros",
)

ENTRY_SIZE = 4
MAX_LOCATOR = 1 << 16
"""Bytes of a parent's name that are read."""
MAX_SURVEYED = 1 << 21
"""Stored blocks that are compared with each other; a disk of Windows has at most 2^20."""
MAX_FALSE_ENTRIES = 1 << 16
"""Entries beyond what the file can hold, after which a BAT is known to be false and not looked at further."""
SAMPLED_BLOCKS = 16
SAMPLED_BYTES = 1 << 16


def probe(file: ByteSource) -> Probe:
    """Tell whether the file carries a VHD footer at its end or a copy of one at byte 0."""
    if file.pread(0, 8) == COOKIE:
        return Probe(True, "signature conectix at byte 0")
    for size in (512, 511):
        if file.size >= size and file.pread(file.size - size, 8) == COOKIE:
            return Probe(True, f"signature conectix {size} bytes before the end")
    return Probe(False, "no signature conectix at byte 0 or in the last 512 bytes")


def checksum(data: bytes, offset: int) -> int:
    """Return the checksum of a structure that keeps it in the four bytes at ``offset``."""
    return ~(sum(data) - sum(data[offset : offset + 4])) & 0xFFFFFFFF


def geometry(sectors: int) -> tuple[int, int, int]:
    """Return cylinders, heads and sectors a track for a disk of so many sectors (specification, appendix)."""
    sectors = min(sectors, MAX_GEOMETRY)
    if sectors >= 65535 * 16 * 63:
        return sectors // 255 // 16, 16, 255
    tracks = sectors // 17
    heads = max(4, -(-tracks // 1024))
    if tracks < heads * 1024 and heads <= 16:
        return tracks // heads, heads, 17
    per_track = 31 if sectors // 31 < 16 * 1024 else 63
    return sectors // per_track // 16, 16, per_track


class ParentLocator(NamedTuple):
    """A name of the parent, as written inside the image. Nothing here opens it.

    Attributes:
        platform: The code: ``b"W2ku"`` is an absolute, ``b"W2ru"`` a relative Windows path in UTF-16,
            ``b"MacX"`` a file URL, ``b"Wi2k"`` and ``b"Wi2r"`` are deprecated.
        data: The name as stored.
        name: The name as text; what cannot be decoded is replaced.
        offset: Where ``data`` is in the file, bytes.
    """

    platform: bytes
    data: bytes
    name: str
    offset: int


class VhdContainer(BlockContainer):
    """Reader of fixed, dynamic and differencing disks.

    Args:
        file: The image.

    Attributes:
        parent_name: The parent's name in the header; "" when there is none.
        parent_locators: Its names for the platforms.

    Raises:
        ContainerError: Neither footer, or no header, makes sense. Wrong checksums, a BAT or blocks that the
            file does not hold in full are findings.
    """

    format = "vhd"
    layer = "VHD"

    def __init__(self, file: ByteSource) -> None:
        self.file = file
        footers = _find_footers(file)
        self.footer, self._footer_findings = _choose(footers)
        _check_footer(self.footer)
        kind = self.footer.values.type
        self.variant = TYPES[kind]
        self.size = _virtual_size(self.footer.values)
        self.parent_name = ""
        self.parent_locators: tuple[ParentLocator, ...] = ()
        self._is_child = kind == DIFFERENCING
        self.identity = str(self.footer.values.uuid)
        self._footers = [footer.header for footer in footers if footer.has_cookie]
        if kind == FIXED:
            self._held = min(self.size, self.footer.header.offset)
            self.allocated_size = min(stored_size(file), self._held)
            self.headers = (self.footer.header,)
        else:
            self._open_dynamic()
        self.findings = tuple(self._judge())

    @classmethod
    def read_identity(cls, file: ByteSource) -> str:
        """Return the footer's UUID, by which a child knows this image."""
        return str(_choose(_find_footers(file))[0].values.uuid)

    def _judge(self) -> Iterator[Finding]:
        yield from self._footer_findings
        yield from _size_findings(self)
        if self.variant != "fixed":
            yield from _header_findings(self)
            yield from _parent_findings(self)
            yield from _survey_findings(self._survey, self)
            yield from _bitmap_findings(self)

    def _open_dynamic(self) -> None:
        self._header = _read_dynamic_header(self.file, self.footer)
        self.headers = tuple(sorted([*self._footers, self._header], key=lambda header: header.offset))
        self.dynamic_header = DYNAMIC_HEADER.parse(self._header.data)
        self.block_size: int = self.dynamic_header.block_size
        self._bitmap_size = _align(-(-self.block_size // SECTOR // 8), SECTOR)
        used = min(self.dynamic_header.table_entries, -(-self.size // self.block_size))
        self._table = BlockTable(self.file, self.dynamic_header.table_offset, used)
        self._bitmaps: dict[int, str] = {}
        if self._is_child:
            self.parent_name = _text(self.dynamic_header.parent_name, "utf-16-be")
            self.parent_locators = tuple(_read_locators(self.file, self.dynamic_header))
            names = [*(locator.name for locator in self.parent_locators), self.parent_name]
            identity = str(self.dynamic_header.parent_uuid)
            self.parent_link = ParentLink(tuple(name for name in names if name), identity)
        self._survey = _survey(self._table, self)
        self.allocated_size = min(self._survey.allocated * self.block_size, self.size)

    def extents(self, offset: int = 0, length: int | None = None) -> Iterator[Extent]:
        """Yield what the BAT and the bitmaps say; of a fixed disk what the file system knows of holes."""
        if self.variant == "fixed":
            return self._fixed_extents(*self._clamp(offset, length))
        return super().extents(offset, length)

    def _fixed_extents(self, position: int, end: int) -> Iterator[Extent]:
        if position < min(end, self._held):
            for extent in self.file.extents(position, min(end, self._held) - position):
                is_data = extent.kind == "data"
                yield extent._replace(file_offset=extent.offset) if is_data else extent
        start = max(position, self._held)
        if start < end:
            yield Extent(start, end - start, "missing")

    def _piece_at(self, position: int, end: int) -> Piece:
        """Return the longest piece from here that one entry, or one run of free ones, tells of."""
        block, within = divmod(position, self.block_size)
        entry, alike = self._table.lookup(block)
        length = min(end, (block + alike) * self.block_size) - position
        if entry is None:
            return Piece(position, length, "missing")
        if entry == FREE:
            return Piece(position, length, self._unwritten())
        where = entry * SECTOR + self._bitmap_size + within
        if where >= self.file.size:
            return Piece(position, length, "missing")
        bits = self._bitmap(entry)
        if bits:
            is_set, run_end = run(bits, within // SECTOR)
            length = min(length, run_end * SECTOR - within)
            if not is_set:
                return Piece(position, length, self._unwritten())
        return Piece(position, min(length, self.file.size - where), "data", where)

    def _unwritten(self) -> Literal["zero", "parent", "missing"]:
        if not self._is_child:
            return "zero"
        return "missing" if self.parent is None else "parent"

    def _bitmap(self, entry: int) -> str:
        """Return a block's sector bitmap as a text of 0 and 1; empty when all are 1."""
        bits = self._bitmaps.get(entry)
        if bits is None:
            sectors = self.block_size // SECTOR
            raw = self.file.pread(entry * SECTOR, -(-sectors // 8))
            value = int.from_bytes(raw, "big") >> (-sectors % 8)
            bits = "" if value == (1 << sectors) - 1 else f"{value:0{sectors}b}"
            if len(self._bitmaps) >= max(2, (1 << 22) // sectors):
                self._bitmaps.clear()
            self._bitmaps[entry] = bits
        return bits

    def _pread(self, offset: int, length: int) -> bytes:
        if self.variant != "fixed":
            return super()._pread(offset, length)
        if offset + length > self._held:
            where = max(offset, self._held)
            raise MissingDataError("this lies past the end of the file", layer=self.layer, offset=where)
        return self.file.pread(offset, length)

    def _why_missing(self, offset: int) -> str:
        block, within = divmod(offset, self.block_size)
        entry, _ = self._table.lookup(block)
        if entry is None:
            return "the BAT has no entry for this block"
        if entry != FREE and entry * SECTOR + self._bitmap_size + within >= self.file.size:
            return "this block lies past the end of the file"
        return "this is in the parent image, which was not given"

    def describe(self) -> dict[str, str]:
        """Return the creator, both sizes, blocks and identities."""
        footer = self.footer.values
        facts = {
            "creator": _creator(footer),
            "created": _time(footer.timestamp),
            "current size": f"{footer.current_size} bytes",
            "geometry": f"{footer.cylinders} * {footer.heads} * {footer.sectors} = {_chs_size(footer)} bytes",
            "uuid": str(footer.uuid),
        }
        if self.variant != "fixed":
            facts["blocks"] = f"{self.dynamic_header.table_entries} of {self.block_size} bytes"
        if self._is_child:
            facts["parent uuid"] = str(self.dynamic_header.parent_uuid)
            facts["parent name"] = self.parent_name
            for locator in self.parent_locators:
                facts[f"parent {_code(locator.platform)}"] = locator.name
        return facts


class BlockTable:
    """The BAT, read a page at a time: a 2 TiB disk has 4 MiB of it."""

    PAGE = 1 << 14  # entries
    RUN = 64  # entries looked at together

    def __init__(self, file: ByteSource, offset: int, count: int) -> None:
        self._file = file
        self.offset = offset
        self.count = count
        self.held = min(count, max(0, file.size - offset) // ENTRY_SIZE)
        self._free_run = array("I", [FREE]) * self.RUN
        self._pages: dict[int, array[int]] = {}

    def lookup(self, block: int) -> tuple[int | None, int]:
        """Return the block's entry, and for how many blocks from this one on it is known to be the same.

        The entry is None when the file ends before it or the BAT has too few entries.
        """
        if block >= self.held:
            return None, 1 << 62
        number, index = divmod(block, self.PAGE)
        entries = self._page(number)
        entry = entries[index]
        return entry, self._free_entries(entries, index) if entry == FREE else 1

    def _free_entries(self, entries: array[int], index: int) -> int:
        position = index
        while entries[position : position + self.RUN] == self._free_run:
            position += self.RUN
        while position < len(entries) and entries[position] == FREE:
            position += 1
        return position - index

    def _page(self, number: int) -> array[int]:
        if number not in self._pages:
            if len(self._pages) >= 64:
                self._pages.clear()
            self._pages[number] = self._read_page(number)
        return self._pages[number]

    def _read_page(self, number: int) -> array[int]:
        first = number * self.PAGE
        count = min(self.PAGE, self.held - first)
        entries = array("I", self._file.pread(self.offset + first * ENTRY_SIZE, count * ENTRY_SIZE))
        if sys.byteorder == "little":
            entries.byteswap()
        return entries

    def _runs(self) -> Iterator[tuple[int, array[int]]]:
        """Yield the entries in runs that are not all free, each with its first block's number."""
        free_page = self._free_run * (self.PAGE // self.RUN)
        for number in range(-(-self.held // self.PAGE)):
            entries = self._read_page(number)
            if entries == free_page:
                continue
            for start in range(0, len(entries), self.RUN):
                part = entries[start : start + self.RUN]
                if part != self._free_run:
                    yield number * self.PAGE + start, part

    def stored(self) -> Iterator[tuple[int, int]]:
        """Yield each block that the file stores, and its entry; free stretches cost next to nothing."""
        for first, part in self._runs():
            yield from ((first + index, entry) for index, entry in enumerate(part) if entry != FREE)

    def used(self, limit: int) -> array[int]:
        """Return all entries but the free ones, or the first of them when there are more than ``limit``."""
        found = array("I")
        for _, part in self._runs():
            found.extend(entry for entry in part if entry != FREE)
            if len(found) > limit:
                break
        return found


class _Survey(NamedTuple):
    """What the BAT says; faults are the first block that has one, and how many have it."""

    allocated: int
    outside: tuple[int, int]
    overlapping: tuple[int, int]
    is_whole: bool


def _survey(table: BlockTable, disk: VhdContainer) -> _Survey:
    """Go once through the BAT: count, and look for blocks on top of something or outside the file."""
    stride = disk._bitmap_size + disk.block_size
    limit = min(MAX_SURVEYED, disk.file.size // stride + MAX_FALSE_ENTRIES)
    starts = sorted(table.used(limit))
    is_whole = len(starts) <= limit
    inside = bisect_right(starts, (disk.file.size - stride) // SECTOR)
    outside = len(starts) - inside
    if outside and _fits_as_last(disk):
        outside -= 1
    places = (*_header_regions(disk), _table_region(disk))
    regions = [(start // SECTOR, -(-end // SECTOR)) for start, end in places]
    on_top = overlapping(starts[:inside], stride // SECTOR, regions)
    return _Survey(
        len(starts),
        (_first_block(disk, set(starts[inside:])), outside) if outside else (-1, 0),
        (_first_block(disk, on_top), sum(entry in on_top for entry in starts)) if on_top else (-1, 0),
        is_whole,
    )


def _fits_as_last(disk: VhdContainer) -> bool:
    """Tell whether the file holds what the disk needs of its last block, though not the whole block."""
    block = disk._table.count - 1
    entry, _ = disk._table.lookup(block)
    if entry is None or entry == FREE:
        return False
    room = disk.file.size - entry * SECTOR - disk._bitmap_size
    return _last_bytes(disk, block) <= room < disk.block_size


def _first_block(disk: VhdContainer, entries: set[int]) -> int:
    return next((block for block, entry in disk._table.stored() if entry in entries), -1)


def _header_regions(disk: VhdContainer) -> list[tuple[int, int]]:
    return [(header.offset, header.offset + len(header.data)) for header in disk.headers]


def _table_region(disk: VhdContainer) -> tuple[int, int]:
    return disk._table.offset, disk._table.offset + disk.dynamic_header.table_entries * ENTRY_SIZE


def _last_bytes(disk: VhdContainer, block: int) -> int:
    """Return how many bytes of this block belong to the disk: the last block may stick out."""
    return min(disk.block_size, disk.size - block * disk.block_size)


def _survey_findings(survey: _Survey, disk: VhdContainer) -> Iterator[Finding]:
    for (first, count), name, text in (
        (survey.overlapping, "vhd-block-overlap", "lies on another block, a header or the BAT"),
        (survey.outside, "vhd-block-outside", "points past the end of the file: its content is missing"),
    ):
        if count:
            least = "" if survey.is_whole else "at least "
            more = f" ({least}{count - 1} more like it)" if count > 1 else ""
            where = disk._table.offset + first * ENTRY_SIZE
            yield Finding(name, "error", f"block {first} of the BAT {text}{more}", where, "file")
    if not survey.is_whole:
        text = f"the BAT has more than {survey.allocated - 1} entries in use; the rest was not looked at"
        yield Finding("vhd-bat-long", "warning", text, disk._table.offset, "file")


def _header_findings(disk: VhdContainer) -> Iterator[Finding]:
    header, table, offset = disk.dynamic_header, disk._table, disk._header.offset
    if (expected := checksum(disk._header.data, 36)) != header.checksum:
        fault = f"(expected {expected:#x}, found {header.checksum:#x})"
        text = f"the dynamic disk header has a wrong checksum {fault}; read all the same"
        yield Finding("vhd-header-checksum", "error", text, offset + 36, "file")
    start, end = _table_region(disk)
    if any(start < region_end and end > region_start for region_start, region_end in _header_regions(disk)):
        text = "the BAT lies on a footer or on the dynamic disk header"
        yield Finding("vhd-bat-overlap", "error", text, start, "file")
    if table.held < table.count:
        text = f"the file ends inside the BAT: {table.held} of {table.count} entries are there"
        yield Finding("vhd-bat-cut", "error", text, disk.file.size, "file")
    if header.table_entries * disk.block_size < disk.size:
        text = f"the BAT has room for {header.table_entries * disk.block_size} bytes of {disk.size}"
        yield Finding("vhd-bat-short", "error", text, offset + 28, "file")


def _parent_findings(disk: VhdContainer) -> Iterator[Finding]:
    header = disk.dynamic_header
    if not disk._is_child:
        return
    if disk.parent is None:
        text = f"this differencing image holds only changes; the rest is in the parent {header.parent_uuid}"
        yield Finding("vhd-parent-missing", "warning", text, None, "file")
    elif isinstance(disk.parent, VhdContainer) and disk.parent.footer.values.uuid != header.parent_uuid:
        found = disk.parent.footer.values.uuid
        text = f"the parent given is another image (expected {header.parent_uuid}, found {found})"
        yield Finding("vhd-parent-mismatch", "error", text, None, "file")
    for name in LOCATORS:
        locator = header[name]
        if locator.data_length and locator.data_offset + locator.data_length > disk.file.size:
            text = f"the parent's {name} ({_code(locator.platform)}) points past the end of the file"
            yield Finding("vhd-locator-outside", "warning", text, None, "file")


def _bitmap_findings(disk: VhdContainer) -> Iterator[Finding]:
    """Tell of data behind clear bits, from the first blocks: every block's bitmap would take a seek each."""
    if disk._is_child:
        return
    for block, entry in islice(disk._table.stored(), SAMPLED_BLOCKS):
        start = block * disk.block_size
        pieces = disk._pieces(start, start + _last_bytes(disk, block))
        first = next((piece for piece in pieces if piece.kind == "zero"), None)
        if not first:
            continue
        where = entry * SECTOR + disk._bitmap_size + first.offset - start
        if disk.file.pread(where, min(first.length, SAMPLED_BYTES)).strip(b"\0"):
            text = (
                f"sectors of block {block} hold data, but its sector bitmap says they were never written: "
                "shown as zeros, as never written; qemu shows the data"
            )
            yield Finding("vhd-bitmap-hides", "warning", text, where, "file")
            return


def _size_findings(disk: VhdContainer) -> Iterator[Finding]:
    footer, offset = disk.footer.values, disk.footer.header.offset
    if disk.size != _sectors(footer.current_size):
        text = (
            f"the footer says {footer.current_size} bytes, its geometry {disk.size}; for an image of this "
            "creator the geometry counts, as in qemu"
        )
        yield Finding("vhd-two-sizes", "info", text, offset + 48, "file")
    if disk.variant == "fixed" and disk._held < disk.size:
        text = f"the file holds {disk._held} bytes of a disk of {disk.size}: the rest is missing"
        yield Finding("vhd-fixed-cut", "error", text, disk._held, "file")
    if footer.saved_state:
        text = "the machine was saved while it ran: what it held in memory may not be on this disk"
        yield Finding("vhd-saved-state", "info", text, offset + 84, "file")


# --- footers and header ---


class Footer(NamedTuple):
    """A footer, or its copy at byte 0.

    Attributes:
        header: The bytes, and where they are.
        values: The decoded fields.
        expected: The checksum as it should be.
    """

    header: Header
    values: Any
    expected: int

    @property
    def is_sound(self) -> bool:
        """Whether cookie and checksum are right."""
        return self.has_cookie and self.values.checksum == self.expected

    @property
    def has_cookie(self) -> bool:
        """Whether this is a footer at all."""
        return bool(self.values.cookie == COOKIE)


def _find_footers(file: ByteSource) -> list[Footer]:
    """Return the footer at the end, and the copy at byte 0; either may be damaged, both are not."""
    size = 511 if file.size >= 511 and file.pread(file.size - 511, 8) == COOKIE else SECTOR
    footers = []
    if file.size >= size:
        footers.append(_read_footer(file, file.size - size, size, "VHD footer"))
    # what is at byte 0 of a fixed disk belongs to the disk
    is_fixed = footers and footers[0].is_sound and footers[0].values.type == FIXED
    if not is_fixed and file.size >= 2 * SECTOR:
        footers.append(_read_footer(file, 0, SECTOR, "VHD footer copy"))
    if not any(footer.has_cookie for footer in footers):
        raise ContainerError(
            "no footer at the end, and no copy of it at byte 0",
            layer="VHD footer",
            offset=max(0, file.size - SECTOR),
            expected=COOKIE.decode(),
            found=footers[0].values.cookie.hex() if footers else f"{file.size} bytes",
        )
    return footers


def _read_footer(file: ByteSource, offset: int, size: int, name: str) -> Footer:
    data = read_exactly(file, offset, size, ContainerError, name)
    padded = data.ljust(SECTOR, b"\0")
    return Footer(Header(name, "file", offset, FOOTER, data), FOOTER.parse(padded), checksum(padded, 64))


def _choose(footers: list[Footer]) -> tuple[Footer, tuple[Finding, ...]]:
    """Return the footer to believe: a sound one before a damaged one, the one at the end before its copy."""
    sound = [footer for footer in footers if footer.is_sound]
    chosen = (sound or [footer for footer in footers if footer.has_cookie])[0]
    if chosen.values.type == FIXED and chosen is footers[0]:
        footers = footers[:1]
    findings = []
    for index, footer in enumerate(footers):
        if footer.is_sound:
            continue
        name, label = (
            ("vhd-footer-copy-damaged", "the copy of the footer at byte 0")
            if index
            else ("vhd-footer-damaged", "the footer at the end")
        )
        fault = (
            f"has a wrong checksum (expected {footer.expected:#x}, found {footer.values.checksum:#x})"
            if footer.has_cookie
            else f"is not there (expected {COOKIE.decode()}, found {footer.values.cookie.hex()})"
        )
        other = "read all the same" if footer is chosen else "the other one is used"
        findings.append(Finding(name, "error", f"{label} {fault}; {other}", footer.header.offset, "file"))
    if len(sound) == 2 and sound[0].header.data != sound[1].header.data[: len(sound[0].header.data)]:
        text = "the footer at the end and its copy at byte 0 are sound but differ; the one at the end is used"
        findings.append(Finding("vhd-footers-differ", "warning", text, sound[0].header.offset, "file"))
    return chosen, tuple(findings)


def _check_footer(footer: Footer) -> None:
    """Refuse values that no reader could work with, before any of them is used."""
    values, start = footer.values, footer.header.offset
    size = _virtual_size(values)
    is_misplaced = values.type == FIXED and not start and footer.header.name != "VHD footer"
    types = "3 or 4 in a copy at byte 0" if is_misplaced else "2 to 4"
    for offset, name, is_sound, expected, found in (
        (60, "type", values.type in TYPES and not is_misplaced, types, values.type),
        (48, "current_size", 0 < size < 1 << 63, "512 to 2^63 - 1 bytes", values.current_size),
    ):
        if not is_sound:
            raise ContainerError(
                f"{name} makes no sense",
                layer=footer.header.name,
                offset=start + offset,
                expected=expected,
                found=found,
            )


def _read_dynamic_header(file: ByteSource, footer: Footer) -> Header:
    offset = footer.values.data_offset
    name = "VHD dynamic disk header"
    data = read_exactly(file, offset, DYNAMIC_HEADER.sizeof(), ContainerError, name)
    header = DYNAMIC_HEADER.parse(data)
    entries, size = header.table_entries, header.block_size
    for field, at, is_sound, expected, found in (
        ("cookie", 0, header.cookie == HEADER_COOKIE, HEADER_COOKIE.hex(), header.cookie.hex()),
        ("table_entries", 28, 0 < entries <= MAX_ENTRIES, f"1 to {MAX_ENTRIES}", entries),
        ("block_size", 32, size >= SECTOR and not size & (size - 1), "a power of two, >= 512", size),
    ):
        if not is_sound:
            raise ContainerError(
                f"{field} makes no sense", layer=name, offset=offset + at, expected=expected, found=found
            )
    return Header(name, "file", offset, DYNAMIC_HEADER, data)


def _read_locators(file: ByteSource, header: Any) -> Iterator[ParentLocator]:
    for name in LOCATORS:
        locator: Any = header[name]
        if locator.data_length:
            at = locator.data_offset
            data = file.pread(at, min(locator.data_length, MAX_LOCATOR)) if at < file.size else b""
            coding = "utf-16-le" if locator.platform.startswith(b"W2") else "utf-8"
            yield ParentLocator(locator.platform, data, _text(data, coding), at)


def _virtual_size(footer: Any) -> int:
    """Return the virtual size in bytes, by the size that counts for this creator."""
    chs = _chs_size(footer)
    if footer.creator_application in SIZE_FROM_FOOTER or chs in (0, MAX_GEOMETRY * SECTOR):
        return _sectors(footer.current_size)
    return chs


def _chs_size(footer: Any) -> int:
    return int(footer.cylinders * footer.heads * footer.sectors * SECTOR)


def _sectors(size: int) -> int:
    return size // SECTOR * SECTOR


def _creator(footer: Any) -> str:
    application = CREATORS.get(footer.creator_application, _code(footer.creator_application))
    system = SYSTEMS.get(footer.creator_system, _code(footer.creator_system))
    return f"{application} {footer.creator_major}.{footer.creator_minor} on {system}"


def _code(code: bytes) -> str:
    return repr(code.decode("latin-1"))[1:-1]


def _text(data: bytes, coding: str) -> str:
    return data.decode(coding, "replace").split("\0")[0]


def _time(seconds: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(EPOCH + seconds))


def _align(value: int, unit: int) -> int:
    return -(-value // unit) * unit


# --- writing ---

ZEROS = bytes(1 << 16)


class VhdWriter:
    """Makes a new VHD as Hyper-V does: creator ``win ``, so that the footer's size counts everywhere.

    Blocks are stored when something other than zeros is first written to them, with all bits of their bitmap
    set. Footers, header and BAT reach the file by ``flush()``; until then the file is no VHD.

    Args:
        sink: An empty file to write to.
        virtual_size: Bytes, a multiple of 512, up to 2040 GiB.
        variant: ``"dynamic"`` in blocks of 2 MiB, or ``"fixed"``.
        identity: UUID.
        timestamp: Seconds since 2000-01-01 UTC.

    Attributes:
        size: Virtual size in bytes.
    """

    def __init__(
        self,
        sink: Sink,
        virtual_size: int,
        *,
        variant: Literal["dynamic", "fixed"] = "dynamic",
        identity: uuid.UUID | None = None,
        timestamp: int | None = None,
    ) -> None:
        _check_size(virtual_size)
        self.size = virtual_size
        self._original_size = virtual_size
        self._sink = sink
        self._is_fixed = variant == "fixed"
        self._identity = identity or uuid.uuid4()
        self._timestamp = max(0, int(time.time()) - EPOCH) if timestamp is None else timestamp
        self._stride = SECTOR + DEFAULT_BLOCK_SIZE
        self._table = array("I")
        self._table_offset = SECTOR + DYNAMIC_HEADER.sizeof()
        self._end = 0  # of the blocks, where the footer goes; of what was written to a fixed disk
        self._footer_at: int | None = None
        if not self._is_fixed:
            self._grow_table()

    def resize(self, new_size: int) -> None:
        """Make the disk larger, as Resize-VHD does. Blocks in the way of a longer BAT move to the end.

        Raises:
            ValueError: The new size is smaller, or no size for a VHD.
        """
        _check_size(new_size)
        if new_size < self.size:
            raise ValueError(f"a disk of {self.size} bytes cannot shrink to {new_size}")
        self.size = new_size
        if not self._is_fixed:
            self._grow_table()
        elif self._footer_at is not None and self._footer_at < new_size:
            self._sink.pwrite(self._footer_at, bytes(SECTOR))
            self._footer_at = None

    def pwrite(self, offset: int, data: bytes) -> None:
        """Write ``data`` at a virtual ``offset``, storing blocks on demand.

        Raises:
            ValueError: The range does not lie within the disk.
        """
        if offset < 0 or offset + len(data) > self.size:
            raise ValueError(f"{len(data)} bytes at {offset} do not fit on a disk of {self.size}")
        view = memoryview(data)
        while view:
            piece = view[: DEFAULT_BLOCK_SIZE - offset % DEFAULT_BLOCK_SIZE]
            where = self.locate(offset)
            is_new = offset >= self._end if self._is_fixed else where is None
            if not (is_new and _is_zero(piece)):
                self._sink.pwrite(self._allocate(offset) if where is None else where, bytes(piece))
                self._end = max(self._end, offset + len(piece)) if self._is_fixed else self._end
            view, offset = view[len(piece) :], offset + len(piece)

    def pread(self, offset: int, length: int) -> bytes:
        """Return up to ``length`` bytes at a virtual ``offset``: what has been written, and zeros."""
        end = min(self.size, offset + length)
        pieces = []
        while offset < end:
            count = min(end - offset, DEFAULT_BLOCK_SIZE - offset % DEFAULT_BLOCK_SIZE)
            where = self.locate(offset)
            stored = b"" if where is None else self._sink.pread(where, count)
            pieces.append(stored.ljust(count, b"\0"))
            offset += count
        return b"".join(pieces)

    def locate(self, offset: int) -> int | None:
        """Return where in the file this byte is stored, or None where nothing is."""
        if not 0 <= offset < self.size:
            return None
        if self._is_fixed:
            return offset
        block, within = divmod(offset, DEFAULT_BLOCK_SIZE)
        entry = self._table[block]
        return None if entry == FREE else entry * SECTOR + SECTOR + within

    def flush(self) -> None:
        """Write footers, header and BAT, give the file its full length, and sync."""
        footer = self._footer_bytes()
        end = self.size if self._is_fixed else self._end
        self._sink.truncate(end + SECTOR)
        self._sink.pwrite(end, footer)
        self._footer_at = end
        if not self._is_fixed:
            self._sink.pwrite(self._table_offset, self._table_bytes())
            self._sink.pwrite(SECTOR, self._header_bytes())
            self._sink.pwrite(0, footer)
        self._sink.flush()

    def _allocate(self, offset: int) -> int:
        block, within = divmod(offset, DEFAULT_BLOCK_SIZE)
        start = self._new_slot()
        self._table[block] = start // SECTOR
        self._sink.pwrite(start, b"\xff" * SECTOR)
        return start + SECTOR + within

    def _new_slot(self) -> int:
        start, self._end = self._end, self._end + self._stride
        return start

    def _grow_table(self) -> None:
        count = -(-self.size // DEFAULT_BLOCK_SIZE)
        self._table.extend(array("I", [FREE]) * (count - len(self._table)))
        table_end = _align(self._table_offset + count * ENTRY_SIZE, SECTOR)
        in_the_way = [
            (entry, block)
            for block, entry in enumerate(self._table)
            if entry != FREE and entry * SECTOR < table_end
        ]
        self._end = max(self._end, table_end)
        for entry, block in sorted(in_the_way):
            self._move(block, entry * SECTOR)

    def _move(self, block: int, old: int) -> None:
        new = self._new_slot()
        for at in range(0, self._stride, len(ZEROS)):
            count = min(len(ZEROS), self._stride - at)
            piece = self._sink.pread(old + at, count)
            if not _is_zero(memoryview(piece)):
                self._sink.pwrite(new + at, piece)
                self._sink.pwrite(old + at, ZEROS[: len(piece)])
        self._table[block] = new // SECTOR

    def _table_bytes(self) -> bytes:
        entries = self._table
        if sys.byteorder == "little":
            entries = array("I", entries)
            entries.byteswap()
        raw = entries.tobytes()
        return raw.ljust(_align(len(raw), SECTOR), b"\xff")

    def _footer_bytes(self) -> bytes:
        cylinders, heads, sectors = geometry(self.size // SECTOR)
        values = {
            "cookie": COOKIE,
            "features": 2,
            "version": 0x10000,
            "data_offset": NO_OFFSET if self._is_fixed else SECTOR,
            "timestamp": self._timestamp,
            "creator_application": b"win ",
            "creator_major": 10,
            "creator_minor": 0,
            "creator_system": b"Wi2k",
            "original_size": self._original_size,
            "current_size": self.size,
            "cylinders": cylinders,
            "heads": heads,
            "sectors": sectors,
            "type": FIXED if self._is_fixed else DYNAMIC,
            "checksum": 0,
            "uuid": self._identity,
            "saved_state": 0,
            "reserved": bytes(427),
        }
        return _sealed(FOOTER, values, 64)

    def _header_bytes(self) -> bytes:
        no_locator = dict.fromkeys(("data_space", "data_length", "reserved", "data_offset"), 0)
        values = {
            "cookie": HEADER_COOKIE,
            "data_offset": NO_OFFSET,
            "table_offset": self._table_offset,
            "version": 0x10000,
            "table_entries": len(self._table),
            "block_size": DEFAULT_BLOCK_SIZE,
            "checksum": 0,
            "parent_uuid": uuid.UUID(int=0),
            "parent_timestamp": 0,
            "reserved": 0,
            "parent_name": bytes(512),
            **{name: {"platform": bytes(4), **no_locator} for name in LOCATORS},
            "reserved_2": bytes(256),
        }
        return _sealed(DYNAMIC_HEADER, values, 36)


def _sealed(layout: Struct, values: dict[str, Any], checksum_offset: int) -> bytes:
    """Build a structure with its checksum in it."""
    raw = bytes(layout.build(values))
    seal = checksum(raw, checksum_offset).to_bytes(4, "big")
    return raw[:checksum_offset] + seal + raw[checksum_offset + 4 :]


def _check_size(size: int) -> None:
    if size <= 0 or size % SECTOR or size > MAX_SIZE:
        raise ValueError(f"virtual size {size} is not a positive multiple of 512 up to {MAX_SIZE}")


def _is_zero(piece: memoryview) -> bool:
    step = len(ZEROS)
    return all(
        bytes(piece[start : start + step]) == ZEROS[: len(piece) - start]
        for start in range(0, len(piece), step)
    )
