"""Reading a VHD as a disk."""

from __future__ import annotations

import time
from collections.abc import Iterator
from typing import Any, Literal

from b2dinspect.containers.base import ParentLink, stored_size
from b2dinspect.containers.blocks import BlockContainer, Piece, run
from b2dinspect.containers.tables import MapTable, PagedTable
from b2dinspect.containers.vhd.footers import check_footer, choose_footer, find_footers, read_dynamic_header
from b2dinspect.containers.vhd.layout import (
    CREATORS,
    DIFFERENCING,
    DYNAMIC_HEADER,
    ENTRY_SIZE,
    EPOCH,
    FIXED,
    FREE,
    SYSTEMS,
    TYPES,
    chs_size,
    virtual_size,
)
from b2dinspect.containers.vhd.locators import ParentLocator, code_text, decoded, read_locators
from b2dinspect.containers.vhd.survey import (
    bitmap_findings,
    header_findings,
    parent_findings,
    size_findings,
    survey_findings,
    survey_table,
)
from b2dinspect.errors import MissingDataError
from b2dinspect.findings import Finding
from b2dinspect.source import SECTOR, ByteSource, Extent, align


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
        footers = find_footers(file)
        self.footer, self._footer_findings = choose_footer(footers)
        check_footer(self.footer)
        kind = self.footer.values.type
        self.variant = TYPES[kind]
        self.size = virtual_size(self.footer.values)
        self.parent_name = ""
        self.parent_locators: tuple[ParentLocator, ...] = ()
        self.is_child = kind == DIFFERENCING
        self.identity = str(self.footer.values.uuid)
        self._footers = [footer.header for footer in footers if footer.has_cookie]
        if kind == FIXED:
            self.held = min(self.size, self.footer.header.offset)
            self.allocated_size = min(stored_size(file), self.held)
            self.headers = (self.footer.header,)
        else:
            self._open_dynamic()
        self.findings = tuple(self._judge())

    @classmethod
    def read_identity(cls, file: ByteSource) -> str:
        """Return the footer's UUID, by which a child knows this image."""
        return str(choose_footer(find_footers(file))[0].values.uuid)

    def _judge(self) -> Iterator[Finding]:
        yield from self._footer_findings
        yield from size_findings(self)
        if self.variant != "fixed":
            yield from header_findings(self)
            yield from parent_findings(self)
            yield from survey_findings(self._survey, self)
            yield from bitmap_findings(self)

    def _open_dynamic(self) -> None:
        self.header = read_dynamic_header(self.file, self.footer)
        self.headers = tuple(sorted([*self._footers, self.header], key=lambda header: header.offset))
        self.dynamic_header = DYNAMIC_HEADER.parse(self.header.data)
        self.block_size: int = self.dynamic_header.block_size
        self.bitmap_size = align(-(-self.block_size // SECTOR // 8), SECTOR)
        used = min(self.dynamic_header.table_entries, -(-self.size // self.block_size))
        self.table = PagedTable(self.file, self.dynamic_header.table_offset, used, ">I")
        self._bitmaps: dict[int, str] = {}
        if self.is_child:
            self.parent_name = decoded(self.dynamic_header.parent_name, "utf-16-be")
            self.parent_locators = tuple(read_locators(self.file, self.dynamic_header))
            names = [*(locator.name for locator in self.parent_locators), self.parent_name]
            identity = str(self.dynamic_header.parent_uuid)
            self.parent_link = ParentLink(tuple(name for name in names if name), identity)
        self._survey = survey_table(self)
        self.allocated_size = min(self._survey.allocated * self.block_size, self.size)

    def extents(self, offset: int = 0, length: int | None = None) -> Iterator[Extent]:
        """Yield what the BAT and the bitmaps say; of a fixed disk what the file system knows of holes."""
        if self.variant == "fixed":
            return self._fixed_extents(*self._clamp(offset, length))
        return super().extents(offset, length)

    def _fixed_extents(self, position: int, end: int) -> Iterator[Extent]:
        if position < min(end, self.held):
            for extent in self.file.extents(position, min(end, self.held) - position):
                is_data = extent.kind == "data"
                yield extent._replace(file_offset=extent.offset) if is_data else extent
        start = max(position, self.held)
        if start < end:
            yield Extent(start, end - start, "missing")

    def _piece_at(self, position: int, end: int) -> Piece:
        """Return the longest piece from here that one entry, or one run of free ones, tells of."""
        block, within = divmod(position, self.block_size)
        entry = self.table.get(block)
        if entry is None:
            return Piece(position, end - position, "missing")
        alike = self.table.alike(block) if entry == FREE else 1
        length = min(end, (block + alike) * self.block_size) - position
        if entry == FREE:
            return Piece(position, length, self._unwritten())
        where = entry * SECTOR + self.bitmap_size + within
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
        if not self.is_child:
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
        if offset + length > self.held:
            where = max(offset, self.held)
            raise MissingDataError("this lies past the end of the file", layer=self.layer, offset=where)
        return self.file.pread(offset, length)

    def _why_missing(self, offset: int) -> str:
        block, within = divmod(offset, self.block_size)
        entry = self.table.get(block)
        if entry is None:
            return "the BAT has no entry for this block"
        if entry != FREE and entry * SECTOR + self.bitmap_size + within >= self.file.size:
            return "this block lies past the end of the file"
        return "this is in the parent image, which was not given"

    def tables(self) -> Iterator[MapTable]:
        """Yield the BAT; a fixed disk has none."""
        if self.variant != "fixed":
            length = self.dynamic_header.table_entries * ENTRY_SIZE
            yield MapTable("block allocation table", self.table.offset, length, ENTRY_SIZE, "big", (FREE,))

    def describe(self) -> dict[str, str]:
        """Return the creator, both sizes, blocks and identities."""
        footer = self.footer.values
        facts = {
            "creator": _creator(footer),
            "created": _time(footer.timestamp),
            "current size": f"{footer.current_size} bytes",
            "geometry": f"{footer.cylinders} * {footer.heads} * {footer.sectors} = {chs_size(footer)} bytes",
            "uuid": str(footer.uuid),
        }
        if self.variant != "fixed":
            facts["blocks"] = f"{self.dynamic_header.table_entries} of {self.block_size} bytes"
        if self.is_child:
            facts["parent uuid"] = str(self.dynamic_header.parent_uuid)
            facts["parent name"] = self.parent_name
            for locator in self.parent_locators:
                facts[f"parent {code_text(locator.platform)}"] = locator.name
        return facts


def _creator(footer: Any) -> str:
    application = CREATORS.get(footer.creator_application, code_text(footer.creator_application))
    system = SYSTEMS.get(footer.creator_system, code_text(footer.creator_system))
    return f"{application} {footer.creator_major}.{footer.creator_minor} on {system}"


def _time(seconds: int) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S UTC", time.gmtime(EPOCH + seconds))
