r"""VHDX, Hyper-V's disk format since Windows Server 2012. Read only; the log is not replayed.

Layout (all integers little-endian; everything behind 1 MiB is aligned to 1 MiB)::

    0        file identifier    signature, and the creator in UTF-16
    64 KiB   header 1           4 KiB with a CRC-32C; of the sound ones that with the higher
    128 KiB  header 2             sequence number counts
    192 KiB  region table 1     64 KiB with a CRC-32C: where BAT and metadata are
    256 KiB  region table 2     its copy
    1 MiB    log, metadata, BAT and blocks, in any order

The BAT has 64-bit entries: state in the lowest three bits, file offset in MiB from bit 20 on. Behind the
entries of each chunk (2^23 sectors of the disk) stands one for the chunk's sector bitmap block of 1 MiB. Only
a differencing disk has sector bitmaps: they tell, lowest bit first, which sectors of a block in state 7 are
in the file; the others are the parent's.

Source: [MS-VHDX] Virtual Hard Disk v2 (VHDX) File Format, sections 2.2 to 2.6. State 5 is "unmapped" in its
draft 0.95 only; qemu's block/vhdx.h still names it. qemu 7.2 gives entries of sector bitmaps, which it never
uses, the state of zero blocks (seen).
"""

from __future__ import annotations

import sys
import uuid
from array import array
from collections.abc import Iterator
from typing import Any, Literal, NamedTuple

from construct import Bytes, Int16ul, Int32ul, Int64ul, Struct

from b2dinspect.containers.base import ParentLink, Probe
from b2dinspect.containers.blocks import BlockContainer, Piece, overlapping, run
from b2dinspect.errors import ContainerError
from b2dinspect.fields import Bits, Header, UuidLE
from b2dinspect.findings import Finding
from b2dinspect.source import ByteSource, read_exactly

SIGNATURE = b"vhdxfile"
KIB, MIB = 1 << 10, 1 << 20
HEADER_OFFSETS = (64 * KIB, 128 * KIB)
HEADER_SIZE = 4 * KIB
REGION_OFFSETS = (192 * KIB, 256 * KIB)
REGION_SIZE = 64 * KIB
MAX_TABLE = 2047
"""Entries in a region or metadata table."""
MAX_SIZE = 64 << 40
CHUNK_SECTORS = 1 << 23
MAX_ITEM = 64 * KIB
"""Bytes of a metadata item that are read."""
MAX_LOG = 16 * MIB
"""Bytes of the log that are searched for entries."""
MAX_SURVEYED = 1 << 21
MAX_FALSE_ENTRIES = 1 << 16
"""Entries beyond what the file can hold, after which a BAT is known to be false and not looked at further."""

BAT_REGION = uuid.UUID("2dc27766-f623-4200-9d64-115e9bfd4a08")
METADATA_REGION = uuid.UUID("8b7ca206-4790-4b9a-b8fe-575f050f886e")
FILE_PARAMETERS = uuid.UUID("caa16737-fa36-4d43-b3b6-33f0aa44e76b")
VIRTUAL_SIZE = uuid.UUID("2fa54224-cd1b-4876-b211-5dbed83bf4b8")
DISK_ID = uuid.UUID("beca12ab-b2e6-4523-93ef-c309e000c746")
LOGICAL_SECTOR = uuid.UUID("8141bf1d-a96f-4709-ba47-f233a8faab5f")
PHYSICAL_SECTOR = uuid.UUID("cda348c7-445d-4471-9cc9-e9885251c556")
PARENT_LOCATOR = uuid.UUID("a8d35f2d-b30b-454d-abf7-d3d84834ab0c")
ITEMS = {
    FILE_PARAMETERS: "file parameters",
    VIRTUAL_SIZE: "virtual size",
    DISK_ID: "disk id",
    LOGICAL_SECTOR: "logical sector size",
    PHYSICAL_SECTOR: "physical sector size",
    PARENT_LOCATOR: "parent locator",
}

NOT_PRESENT, UNDEFINED, ZERO, UNMAPPED, UNMAPPED_0_95, PRESENT, PARTIAL = 0, 1, 2, 3, 5, 6, 7
ZEROS = (UNDEFINED, ZERO, UNMAPPED, UNMAPPED_0_95)
STORES_NOTHING = bytes(byte for byte in range(256) if byte & 7 in (NOT_PRESENT, *ZEROS))
"""Lowest bytes of entries that need no room in the file."""
KEEP_ALLOCATED, HAS_PARENT = 1, 2
REQUIRED_REGION, REQUIRED_ITEM = 1, 4

IDENTIFIER = Struct(
    "signature" / Bytes(8) * "vhdxfile",
    "creator" / Bytes(512) * "UTF-16: the program that made the file",
)

HEADER = Struct(
    "signature" / Bytes(4) * "head",
    "checksum" / Int32ul * "CRC-32C of the 4 KiB with this field zero",
    "sequence_number" / Int64ul * "the header with the higher one counts",
    "file_write_guid" / UuidLE() * "changes when the file is opened for writing",
    "data_write_guid" / UuidLE() * "changes when the disk's content changes; a child knows its parent by it",
    "log_guid" / UuidLE() * "of the entries to replay; zero when there are none",
    "log_version" / Int16ul * "0",
    "version" / Int16ul * "1",
    "log_length" / Int32ul * "bytes",
    "log_offset" / Int64ul * "bytes",
)

REGION_TABLE = Struct(
    "signature" / Bytes(4) * "regi",
    "checksum" / Int32ul * "CRC-32C of the 64 KiB with this field zero",
    "entry_count" / Int32ul * "at most 2047",
    "reserved" / Int32ul * "zero",
)

REGION_ENTRY = Struct(
    "guid" / UuidLE() * "which region",
    "offset" / Int64ul * "in the file, bytes",
    "length" / Int32ul * "bytes",
    "flags" / Bits(Int32ul, {REQUIRED_REGION: "required"}) * "who does not know a required region must stop",
)

METADATA_TABLE = Struct(
    "signature" / Bytes(8) * "metadata",
    "reserved" / Int16ul * "zero",
    "entry_count" / Int16ul * "at most 2047",
    "reserved_2" / Bytes(20) * "zeros",
)

METADATA_ENTRY = Struct(
    "guid" / UuidLE() * "which item",
    "offset" / Int32ul * "from the start of the metadata region, bytes",
    "length" / Int32ul * "bytes",
    "flags" / Bits(Int32ul, {1: "user", 2: "virtual_disk", REQUIRED_ITEM: "required"}) * "whose item this is",
    "reserved" / Int32ul * "zero",
)

PARAMETERS = Struct(
    "block_size" / Int32ul * "bytes",
    "flags" / Bits(Int32ul, {KEEP_ALLOCATED: "keep_allocated", HAS_PARENT: "has_parent"}) * "kind of disk",
)

LOCATOR_HEADER = Struct(
    "type" / UuidLE() * "of the locator",
    "reserved" / Int16ul * "zero",
    "count" / Int16ul * "pairs of key and value",
)

LOCATOR_ENTRY = Struct(
    "key_offset" / Int32ul * "from the start of the locator, bytes",
    "value_offset" / Int32ul * "from the start of the locator, bytes",
    "key_length" / Int16ul * "bytes of UTF-16",
    "value_length" / Int16ul * "bytes of UTF-16",
)


def probe(file: ByteSource) -> Probe:
    """Tell whether the file begins with the VHDX identifier."""
    found = file.pread(0, 8)
    if found == SIGNATURE:
        return Probe(True, "signature vhdxfile at byte 0")
    return Probe(False, f"no signature vhdxfile at byte 0, but {found.hex() or 'the end of the file'}")


def crc32c(data: bytes) -> int:
    """Return the CRC-32C (Castagnoli) of the bytes."""
    table = _crc_table()
    crc = 0xFFFFFFFF
    for byte in data:
        crc = table[(crc ^ byte) & 0xFF] ^ (crc >> 8)
    return crc ^ 0xFFFFFFFF


_TABLE: list[int] = []


def _crc_table() -> list[int]:
    if not _TABLE:
        for number in range(256):
            for _ in range(8):
                number = (number >> 1) ^ (0x82F63B78 if number & 1 else 0)
            _TABLE.append(number)
    return _TABLE


class VhdxContainer(BlockContainer):
    """Reader of fixed, dynamic and differencing disks.

    Args:
        file: The image.

    Attributes:
        parent_names: What the image calls its parent, by key (``relative_path``, ``parent_linkage``, …).
            Nothing here opens them.

    Raises:
        ContainerError: Identifier, headers, region tables or metadata make no sense. Damaged copies, a log to
            replay, and blocks that the file does not hold are findings.
    """

    format = "vhdx"
    layer = "VHDX"

    def __init__(self, file: ByteSource) -> None:
        self.file = file
        identifier = _read(file, IDENTIFIER, 0, "VHDX file identifier")
        _expect(identifier, "signature", SIGNATURE)
        self._header, self._header_findings = _choose_header(file)
        self._regions = regions = _read_regions(file)
        metadata = _read_metadata(file, regions.metadata)
        self.headers = (identifier, *self._header.found, *regions.headers, *metadata.headers)
        self.creator = _text(self.headers[0].layout.parse(identifier.data).creator)
        self.disk_id = metadata.disk_id
        self.size = metadata.size
        self.block_size = metadata.block_size
        self.sector_size = metadata.sector_size
        self.parent_names = metadata.parent_names
        self._is_child = bool(metadata.flags & HAS_PARENT)
        if self._is_child:
            keys = ("relative_path", "absolute_win32_path", "volume_path")
            names = [metadata.parent_names.get(key, "") for key in keys]
            self.parent_link = ParentLink(tuple(name for name in names if name))
        is_fixed = metadata.flags & KEEP_ALLOCATED
        self.variant = "differencing" if self._is_child else "fixed" if is_fixed else "dynamic"
        self._chunk_ratio = CHUNK_SECTORS * self.sector_size // self.block_size
        self._table = BlockTable(file, regions.bat, -(-self.size // self.block_size), self._chunk_ratio)
        self._bitmaps: dict[int, str | None] = {}
        self._survey = _survey(self, regions)
        self.allocated_size = min(self._survey.allocated * self.block_size, self.size)
        self.findings = tuple(self._judge())

    def _judge(self) -> Iterator[Finding]:
        yield from self._header_findings
        yield from self._regions.findings
        yield from _log_findings(self)
        yield from _parent_findings(self)
        yield from _survey_findings(self._survey, self)

    def _piece_at(self, position: int, end: int) -> Piece:
        block, within = divmod(position, self.block_size)
        entry, alike = self._table.lookup(block)
        length = min(end, (block + alike) * self.block_size) - position
        if entry is None:
            return Piece(position, length, "missing")
        state, start = entry & 7, _offset(entry)
        if state == NOT_PRESENT:
            return Piece(position, length, self._unwritten())
        if state in ZEROS:
            return Piece(position, length, "zero")
        where = start + within
        if state not in (PRESENT, PARTIAL) or where >= self.file.size:
            return Piece(position, length, "missing")
        if state == PARTIAL:
            bits = self._bitmap(block)
            if bits is None:
                return Piece(position, length, "missing")
            is_set, run_end = run(bits, within // self.sector_size)
            length = min(length, run_end * self.sector_size - within)
            if not is_set:
                return Piece(position, length, self._unwritten())
        return Piece(position, min(length, self.file.size - where), "data", where)

    def _unwritten(self) -> Literal["zero", "parent", "missing"]:
        if not self._is_child:
            return "zero"
        return "missing" if self.parent is None else "parent"

    def _bitmap(self, block: int) -> str | None:
        """Return a block's part of the sector bitmap as a text of 0 and 1; None when it is not there."""
        if block not in self._bitmaps:
            if len(self._bitmaps) >= 64:
                self._bitmaps.clear()
            self._bitmaps[block] = self._read_bitmap(block)
        return self._bitmaps[block]

    def _read_bitmap(self, block: int) -> str | None:
        chunk, number = divmod(block, self._chunk_ratio)
        entry = self._table.bitmap_entry(chunk)
        if entry is None or entry & 7 != PRESENT or not self._is_child:
            return None
        sectors = self.block_size // self.sector_size
        start = _offset(entry) + number * sectors // 8
        raw = self.file.pread(start, sectors // 8) if start < self.file.size else b""
        if len(raw) < sectors // 8:
            return None
        return f"{int.from_bytes(raw, 'little'):0{sectors}b}"[::-1]

    def _why_missing(self, offset: int) -> str:
        block, within = divmod(offset, self.block_size)
        entry, _ = self._table.lookup(block)
        if entry is None:
            return "the BAT has no entry for this block"
        state = entry & 7
        if state in (PRESENT, PARTIAL) and _offset(entry) + within >= self.file.size:
            return "this block lies past the end of the file"
        if state == PARTIAL and self._bitmap(block) is None:
            return "this block is there in part, but its sector bitmap is not"
        if state in (NOT_PRESENT, PARTIAL):
            return "this is in the parent image, which was not given"
        return f"block state {state} means nothing"

    def describe(self) -> dict[str, str]:
        """Return the creator, sizes, identities and the parent's names."""
        facts = {"creator": self.creator} if self.creator else {}
        facts["blocks"] = f"{self._table.count} of {self.block_size} bytes"
        facts["sector size"] = f"{self.sector_size} bytes"
        if self.disk_id is not None:
            facts["disk id"] = str(self.disk_id)
        facts["data write guid"] = str(self._header.values.data_write_guid)
        facts.update((f"parent {key}", value) for key, value in self.parent_names.items())
        return facts


class BlockTable:
    """The BAT, read a page at a time; blocks are counted without the sector bitmaps between them."""

    PAGE = 1 << 13  # entries
    RUN = 64  # entries looked at together

    def __init__(self, file: ByteSource, region: _Region, count: int, chunk_ratio: int) -> None:
        self._file = file
        self.offset = region.offset
        self.count = count
        self._ratio = chunk_ratio
        length = min(region.length, max(0, file.size - region.offset))
        self.held = length // 8
        self._pages: dict[int, array[int]] = {}

    def lookup(self, block: int) -> tuple[int | None, int]:
        """Return the block's entry, and for how many blocks from this one on it is known to be the same.

        The entry is None when the file or the region ends before it.
        """
        index = block + block // self._ratio
        if index >= self.held:
            return None, 1 << 62
        number, within = divmod(index, self.PAGE)
        entries = self._page(number)
        chunk_left = self._ratio - block % self._ratio
        return entries[within], min(chunk_left, _alike(entries, within, self.RUN))

    def bitmap_entry(self, chunk: int) -> int | None:
        """Return the entry of a chunk's sector bitmap, or None when the BAT ends before it."""
        index = (chunk + 1) * self._ratio + chunk
        if index >= self.held:
            return None
        number, within = divmod(index, self.PAGE)
        return self._page(number)[within]

    def _page(self, number: int) -> array[int]:
        if number not in self._pages:
            if len(self._pages) >= 64:
                self._pages.clear()
            self._pages[number] = self._read_page(number)
        return self._pages[number]

    def _read_page(self, number: int) -> array[int]:
        entries = array("Q", self._read_raw(number))
        if sys.byteorder == "big":
            entries.byteswap()
        return entries

    def _read_raw(self, number: int) -> bytes:
        first = number * self.PAGE
        return self._file.pread(self.offset + first * 8, min(self.PAGE, self.held - first) * 8)

    def used(self) -> Iterator[tuple[int, int]]:
        """Yield each block that is neither free nor zeros, and its entry; pages without cost little."""
        last = min(self.held, self.count + self.count // self._ratio)
        for number in range(-(-last // self.PAGE)):
            raw = self._read_raw(number)
            states = raw[::8]
            if not states.translate(None, STORES_NOTHING):
                continue
            for place, state in enumerate(states):
                chunk, within = divmod(number * self.PAGE + place, self._ratio + 1)
                block = chunk * self._ratio + within
                if state not in STORES_NOTHING and within < self._ratio and block < self.count:
                    yield block, int.from_bytes(raw[place * 8 : place * 8 + 8], "little")

    def place(self, block: int) -> int:
        """Return where the block's entry is in the file, bytes."""
        return self.offset + (block + block // self._ratio) * 8


def _alike(entries: array[int], index: int, step: int) -> int:
    """Return how many entries from this one on are the same, if it stores nothing."""
    if entries[index] & 7 >= PRESENT:
        return 1
    same = entries[index : index + 1] * step
    position = index
    while entries[position : position + step] == same:
        position += step
    while position < len(entries) and entries[position] == same[0]:
        position += 1
    return position - index


def _offset(entry: int) -> int:
    """Return the file offset of an entry of the BAT, bytes."""
    return entry >> 20 << 20


class _Survey(NamedTuple):
    """What the BAT says; faults are the first block that has one, and how many have it."""

    allocated: int
    faults: dict[str, tuple[int, int]]
    is_whole: bool


def _survey(disk: VhdxContainer, regions: _Regions) -> _Survey:
    """Go once through the BAT: count, and look for blocks on top of something or outside the file."""
    limit = min(MAX_SURVEYED, disk.file.size // disk.block_size + MAX_FALSE_ENTRIES)
    faults: dict[str, tuple[int, int]] = {}
    starts: list[int] = []
    allocated = 0

    def add(name: str, block: int, count: int = 1) -> None:
        first, seen = faults.get(name, (block, 0))
        faults[name] = (first, seen + count)

    for block, entry in disk._table.used():
        if allocated > limit:
            break
        allocated += 1
        needed = min(disk.block_size, disk.size - block * disk.block_size)
        if entry & 7 < PRESENT or (entry & 7 == PARTIAL and not disk._is_child):
            add("vhdx-block-state", block)
        elif _offset(entry) + needed > disk.file.size:
            add("vhdx-block-outside", block)
        else:
            starts.append(entry >> 20)
    starts.sort()
    bad = overlapping(starts, disk.block_size // MIB, regions.in_mib(disk._header.values))
    if bad:
        first = next((block for block, entry in disk._table.used() if entry >> 20 in bad), -1)
        add("vhdx-block-overlap", first, sum(start in bad for start in starts))
    return _Survey(allocated, faults, allocated <= limit)


def _survey_findings(survey: _Survey, disk: VhdxContainer) -> Iterator[Finding]:
    for name, text in (
        ("vhdx-block-state", "has a state that means nothing in this disk"),
        ("vhdx-block-overlap", "lies on another block or on the file's tables"),
        ("vhdx-block-outside", "points past the end of the file: its content is missing"),
    ):
        if name in survey.faults:
            first, count = survey.faults[name]
            least = "" if survey.is_whole else "at least "
            more = f" ({least}{count - 1} more like it)" if count > 1 else ""
            where = disk._table.place(first)
            yield Finding(name, "error", f"block {first} of the BAT {text}{more}", where, "file")
    if not survey.is_whole:
        text = f"the BAT has more than {survey.allocated - 1} entries in use; the rest was not looked at"
        yield Finding("vhdx-bat-long", "warning", text, disk._table.offset, "file")
    last = disk._table.place(disk._table.count - 1) - disk._table.offset
    if last // 8 >= disk._table.held:
        text = f"the BAT holds {disk._table.held} entries of {last // 8 + 1}"
        yield Finding("vhdx-bat-short", "error", text, disk._table.offset, "file")


def _log_findings(disk: VhdxContainer) -> Iterator[Finding]:
    header = disk._header.values
    if not header.log_guid.int:
        return
    count = 0
    end = min(disk.file.size, header.log_offset + min(header.log_length, MAX_LOG))
    for offset in range(header.log_offset, end, 4 * KIB):
        entry = disk.file.pread(offset, 48)
        count += entry[:4] == b"loge" and entry[32:] == header.log_guid.bytes_le
    if count:
        text = (
            f"the log holds {count} entries to replay: the disk was not closed; shown as it is without them"
        )
        yield Finding("vhdx-log-dirty", "warning", text, header.log_offset, "file")


def _parent_findings(disk: VhdxContainer) -> Iterator[Finding]:
    if not disk._is_child:
        return
    linkage = [disk.parent_names.get(key, "") for key in ("parent_linkage", "parent_linkage2")]
    if disk.parent is None:
        text = f"this differencing image holds only changes; the rest is in the parent {linkage[0]}"
        yield Finding("vhdx-parent-missing", "warning", text, None, "file")
    elif isinstance(disk.parent, VhdxContainer):
        found = f"{{{disk.parent._header.values.data_write_guid}}}"
        if found.lower() not in [name.lower() for name in linkage]:
            text = f"the parent given is another image, or was changed (expected {linkage[0]}, found {found})"
            yield Finding("vhdx-parent-mismatch", "error", text, None, "file")


# --- headers, regions, metadata ---


class _ActiveHeader(NamedTuple):
    values: Any
    found: tuple[Header, ...]


def _choose_header(file: ByteSource) -> tuple[_ActiveHeader, list[Finding]]:
    """Return the header that counts, and what is wrong with the other one."""
    found, findings, sound, readable = [], [], [], []
    for number, offset in enumerate(HEADER_OFFSETS, 1):
        name = f"VHDX header {number}"
        raw = read_exactly(file, offset, HEADER_SIZE, ContainerError, name)
        header = Header(name, "file", offset, HEADER, raw[: HEADER.sizeof()])
        values = HEADER.parse(raw)
        if values.signature != b"head":
            text = f"header {number} is not there (expected head, found {values.signature.hex()})"
            findings.append(Finding("vhdx-header-damaged", "error", text, offset, "file"))
            continue
        found.append(header)
        readable.append(values)
        if (expected := _sum(raw)) == values.checksum:
            sound.append(values)
        else:
            fault = f"(expected {expected:#x}, found {values.checksum:#x})"
            text = f"header {number} has a wrong checksum {fault}"
            findings.append(Finding("vhdx-header-damaged", "error", text, offset + 4, "file"))
    if not readable:
        raise ContainerError(
            "neither header is there", layer="VHDX header", offset=HEADER_OFFSETS[0], expected="head"
        )
    chosen = max(sound or readable, key=lambda values: values.sequence_number)
    if chosen.version != 1:
        raise ContainerError(
            "unknown version", layer="VHDX header", offset=66, expected=1, found=chosen.version
        )
    return _ActiveHeader(chosen, tuple(found)), findings


def _sum(raw: bytes) -> int:
    """Return the checksum of a structure that keeps it in bytes 4 to 8."""
    return crc32c(raw[:4] + bytes(4) + raw[8:])


class _Region(NamedTuple):
    offset: int
    length: int


class _Regions(NamedTuple):
    bat: _Region
    metadata: _Region
    headers: tuple[Header, ...]
    findings: tuple[Finding, ...]

    def in_mib(self, header: Any) -> Iterator[tuple[int, int]]:
        """Yield start and end of all that is no block, in MiB."""
        log = _Region(header.log_offset, header.log_length)
        for region in (_Region(0, MIB), self.bat, self.metadata, log):
            yield region.offset // MIB, -(-(region.offset + region.length) // MIB)


def _read_regions(file: ByteSource) -> _Regions:
    findings = []
    chosen: tuple[int, bytes] | None = None
    for number, offset in enumerate(REGION_OFFSETS, 1):
        raw = file.pread(offset, REGION_SIZE) if offset < file.size else b""
        if raw[:4] != b"regi" or len(raw) < REGION_SIZE:
            text = f"region table {number} is not there (expected regi, found {raw[:4].hex()})"
            findings.append(Finding("vhdx-region-table-damaged", "error", text, offset, "file"))
            continue
        if chosen and raw == chosen[1]:
            break  # the same bytes have the same checksum
        stored = int.from_bytes(raw[4:8], "little")
        if (expected := _sum(raw)) != stored:
            text = f"region table {number} has a wrong checksum (expected {expected:#x}, found {stored:#x})"
            findings.append(Finding("vhdx-region-table-damaged", "error", text, offset + 4, "file"))
            chosen = chosen or (offset, raw)
        elif not chosen or findings:
            chosen = (offset, raw)
    if not chosen:
        raise ContainerError(
            "neither region table is there",
            layer="VHDX region table",
            offset=REGION_OFFSETS[0],
            expected="regi",
        )
    return _parse_regions(*chosen, findings)


def _parse_regions(offset: int, raw: bytes, findings: list[Finding]) -> _Regions:
    table = REGION_TABLE.parse(raw)
    layer = "VHDX region table"
    _check_count(layer, table.entry_count, offset + 8)
    headers = [Header(layer, "file", offset, REGION_TABLE, raw[: REGION_TABLE.sizeof()])]
    places: dict[uuid.UUID, _Region] = {}
    for number in range(table.entry_count):
        at = REGION_TABLE.sizeof() + number * REGION_ENTRY.sizeof()
        entry = REGION_ENTRY.parse(raw[at : at + REGION_ENTRY.sizeof()])
        if entry.guid in (BAT_REGION, METADATA_REGION):
            name = "BAT" if entry.guid == BAT_REGION else "metadata"
            data = raw[at : at + REGION_ENTRY.sizeof()]
            headers.append(Header(f"VHDX region {name}", "file", offset + at, REGION_ENTRY, data))
            places.setdefault(entry.guid, _Region(entry.offset, entry.length))
        elif entry.flags & REQUIRED_REGION:
            text = (
                f"a region of unknown kind {entry.guid} is called required: the disk may be more than shown"
            )
            findings.append(Finding("vhdx-region-unknown", "error", text, offset + at, "file"))
    for guid, name in ((BAT_REGION, "BAT"), (METADATA_REGION, "metadata")):
        if guid not in places:
            raise ContainerError(f"the {name} has no region", layer=layer, offset=offset, expected=guid)
    return _Regions(places[BAT_REGION], places[METADATA_REGION], tuple(headers[:8]), tuple(findings))


class _Metadata(NamedTuple):
    size: int
    block_size: int
    sector_size: int
    flags: int
    disk_id: uuid.UUID | None
    parent_names: dict[str, str]
    headers: tuple[Header, ...]


def _read_metadata(file: ByteSource, region: _Region) -> _Metadata:
    layer = "VHDX metadata table"
    table = _read(file, METADATA_TABLE, region.offset, layer)
    _expect(table, "signature", b"metadata")
    count = METADATA_TABLE.parse(table.data).entry_count
    _check_count(layer, count, region.offset + 10)
    start = region.offset + METADATA_TABLE.sizeof()
    size = METADATA_ENTRY.sizeof()
    raw = read_exactly(file, start, count * size, ContainerError, layer)
    items: dict[uuid.UUID, tuple[int, int]] = {}
    headers = [table]
    for at in range(0, count * size, size):
        entry = METADATA_ENTRY.parse(raw[at : at + size])
        if entry.guid in ITEMS and entry.guid not in items:
            name = f"VHDX metadata entry: {ITEMS[entry.guid]}"
            headers.append(Header(name, "file", start + at, METADATA_ENTRY, raw[at : at + size]))
            items[entry.guid] = (region.offset + entry.offset, entry.length)
    block_size, flags, header = _read_parameters(file, items, start)
    sector_size = _read_number(file, items, LOGICAL_SECTOR, 4, start, (512, 4096))
    disk_size = _read_number(file, items, VIRTUAL_SIZE, 8, start, range(1, MAX_SIZE + 1))
    disk_id = _item(file, items, DISK_ID)
    names = _parent_names(_item(file, items, PARENT_LOCATOR)) if flags & HAS_PARENT else {}
    identity = uuid.UUID(bytes_le=disk_id[:16]) if len(disk_id) >= 16 else None
    return _Metadata(disk_size, block_size, sector_size, flags, identity, names, (*headers, header))


def _item(file: ByteSource, items: dict[uuid.UUID, tuple[int, int]], guid: uuid.UUID) -> bytes:
    offset, length = items.get(guid, (0, 0))
    return file.pread(offset, min(length, MAX_ITEM)) if offset < file.size else b""


def _read_parameters(
    file: ByteSource, items: dict[uuid.UUID, tuple[int, int]], table: int
) -> tuple[int, int, Header]:
    name = "VHDX file parameters"
    offset, _ = items.get(FILE_PARAMETERS, (table, 0))
    if FILE_PARAMETERS not in items:
        raise ContainerError("there are none", layer=name, offset=table, expected=FILE_PARAMETERS)
    header = _read(file, PARAMETERS, offset, name)
    values = PARAMETERS.parse(header.data)
    size = values.block_size
    if not MIB <= size <= 256 * MIB or size & (size - 1):
        expected = "a power of two, 1 to 256 MiB"
        raise ContainerError(
            "block_size makes no sense", layer=name, offset=offset, expected=expected, found=size
        )
    return size, values.flags, header


def _read_number(
    file: ByteSource,
    items: dict[uuid.UUID, tuple[int, int]],
    guid: uuid.UUID,
    length: int,
    table: int,
    allowed: tuple[int, ...] | range,
) -> int:
    name = f"VHDX {ITEMS[guid]}"
    if guid not in items:
        raise ContainerError("there is none", layer=name, offset=table, expected=guid)
    offset, _ = items[guid]
    value = int.from_bytes(read_exactly(file, offset, length, ContainerError, name), "little")
    if value not in allowed:
        expected = f"{allowed[0]} to {allowed[-1]}" if isinstance(allowed, range) else "512 or 4096"
        raise ContainerError("makes no sense", layer=name, offset=offset, expected=expected, found=value)
    return value


def _parent_names(raw: bytes) -> dict[str, str]:
    if len(raw) < LOCATOR_HEADER.sizeof():
        return {}
    names = {}
    size = LOCATOR_ENTRY.sizeof()
    for number in range(min(LOCATOR_HEADER.parse(raw).count, 64)):
        at = LOCATOR_HEADER.sizeof() + number * size
        if at + size > len(raw):
            break
        entry = LOCATOR_ENTRY.parse(raw[at : at + size])
        key = _text(raw[entry.key_offset : entry.key_offset + entry.key_length])
        names[key] = _text(raw[entry.value_offset : entry.value_offset + entry.value_length])
    return names


def _read(file: ByteSource, layout: Struct, offset: int, name: str) -> Header:
    data = read_exactly(file, offset, layout.sizeof(), ContainerError, name)
    return Header(name, "file", offset, layout, data)


def _expect(header: Header, field: str, value: bytes) -> None:
    found = header.data[: len(value)]
    if found != value:
        raise ContainerError(
            f"wrong {field}",
            layer=header.name,
            offset=header.offset,
            expected=value.decode(),
            found=found.hex(),
        )


def _check_count(layer: str, count: int, offset: int) -> None:
    if count > MAX_TABLE:
        raise ContainerError(
            "entry_count makes no sense",
            layer=layer,
            offset=offset,
            expected=f"0 to {MAX_TABLE}",
            found=count,
        )


def _text(data: bytes) -> str:
    return data.decode("utf-16-le", "replace").split("\0")[0]
