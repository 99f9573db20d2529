"""Reading a VHDX as a disk."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from b2dinspect.containers.base import ParentLink
from b2dinspect.containers.blocks import BlockContainer, Piece, run
from b2dinspect.containers.tables import Cache, MapTable
from b2dinspect.containers.vhdx import SIGNATURE
from b2dinspect.containers.vhdx.bat import ENTRY_SIZE, BlockAllocationTable
from b2dinspect.containers.vhdx.layout import (
    CHUNK_SECTORS,
    HAS_PARENT,
    IDENTIFIER,
    KEEP_ALLOCATED,
    NOT_PRESENT,
    PARTIAL,
    PRESENT,
    ZEROS,
    block_offset,
    decoded,
    expect,
    read_structure,
)
from b2dinspect.containers.vhdx.metadata import read_metadata
from b2dinspect.containers.vhdx.regions import choose_header, read_regions
from b2dinspect.containers.vhdx.survey import log_findings, parent_findings, survey_findings, survey_table
from b2dinspect.findings import Finding
from b2dinspect.source import ByteSource

CACHED_BITMAPS = 64


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
        identifier = read_structure(file, IDENTIFIER, 0, "VHDX file identifier")
        expect(identifier, "signature", SIGNATURE)
        self.header, self._header_findings = choose_header(file)
        self._regions = regions = read_regions(file)
        metadata = read_metadata(file, regions.metadata)
        self.headers = (identifier, *self.header.found, *regions.headers, *metadata.headers)
        self.creator = decoded(self.headers[0].layout.parse(identifier.data).creator)
        self.disk_id = metadata.disk_id
        self.size = metadata.size
        self.block_size = metadata.block_size
        self.sector_size = metadata.sector_size
        self.parent_names = metadata.parent_names
        self.is_child = bool(metadata.flags & HAS_PARENT)
        if self.is_child:
            keys = ("relative_path", "absolute_win32_path", "volume_path")
            names = [metadata.parent_names.get(key, "") for key in keys]
            self.parent_link = ParentLink(tuple(name for name in names if name))
        is_fixed = metadata.flags & KEEP_ALLOCATED
        self.variant = "differencing" if self.is_child else "fixed" if is_fixed else "dynamic"
        self._chunk_ratio = CHUNK_SECTORS * self.sector_size // self.block_size
        self.table = BlockAllocationTable(
            file, regions.bat, -(-self.size // self.block_size), self._chunk_ratio
        )
        self._bitmaps: Cache[str | None] = Cache(CACHED_BITMAPS)
        self._survey = survey_table(self, regions)
        self.allocated_size = min(self._survey.allocated * self.block_size, self.size)
        self.findings = tuple(self._judge())

    def _judge(self) -> Iterator[Finding]:
        yield from self._header_findings
        yield from self._regions.findings
        yield from log_findings(self)
        yield from parent_findings(self)
        yield from survey_findings(self._survey, self)

    def _piece_at(self, position: int, end: int) -> Piece:
        block, within = divmod(position, self.block_size)
        entry, alike = self.table.lookup(block)
        length = min(end, (block + alike) * self.block_size) - position
        if entry is None:
            return Piece(position, length, "missing")
        state, start = entry & 7, block_offset(entry)
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
        if not self.is_child:
            return "zero"
        return "missing" if self.parent is None else "parent"

    def _bitmap(self, block: int) -> str | None:
        """Return a block's part of the sector bitmap as a text of 0 and 1; None when it is not there."""
        return self._bitmaps.get(block, lambda: self._read_bitmap(block))

    def _read_bitmap(self, block: int) -> str | None:
        chunk, number = divmod(block, self._chunk_ratio)
        entry = self.table.bitmap_entry(chunk)
        if entry is None or entry & 7 != PRESENT or not self.is_child:
            return None
        sectors = self.block_size // self.sector_size
        start = block_offset(entry) + number * sectors // 8
        raw = self.file.pread(start, sectors // 8) if start < self.file.size else b""
        if len(raw) < sectors // 8:
            return None
        return f"{int.from_bytes(raw, 'little'):0{sectors}b}"[::-1]

    def _why_missing(self, offset: int) -> str:
        block, within = divmod(offset, self.block_size)
        entry, _ = self.table.lookup(block)
        if entry is None:
            return "the BAT has no entry for this block"
        state = entry & 7
        if state in (PRESENT, PARTIAL) and block_offset(entry) + within >= self.file.size:
            return "this block lies past the end of the file"
        if state == PARTIAL and self._bitmap(block) is None:
            return "this block is there in part, but its sector bitmap is not"
        if state in (NOT_PRESENT, PARTIAL):
            return "this is in the parent image, which was not given"
        return f"block state {state} means nothing"

    def tables(self) -> Iterator[MapTable]:
        """Yield the BAT, with the entries of sector bitmaps in it; states 0 to 5 store nothing."""
        end = self.table.place(self.table.count - 1) + ENTRY_SIZE
        free = (NOT_PRESENT, *ZEROS)
        yield MapTable(
            "block allocation table",
            self.table.offset,
            end - self.table.offset,
            ENTRY_SIZE,
            "little",
            free,
            7,
        )

    def describe(self) -> dict[str, str]:
        """Return the creator, sizes, identities and the parent's names."""
        facts = {"creator": self.creator} if self.creator else {}
        facts["blocks"] = f"{self.table.count} of {self.block_size} bytes"
        facts["sector size"] = f"{self.sector_size} bytes"
        if self.disk_id is not None:
            facts["disk id"] = str(self.disk_id)
        facts["data write guid"] = str(self.header.values.data_write_guid)
        facts.update((f"parent {key}", value) for key, value in self.parent_names.items())
        return facts
