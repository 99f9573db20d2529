"""Reading a VDI as a disk."""

from __future__ import annotations

from collections.abc import Iterator

from b2dinspect.containers.base import ParentLink
from b2dinspect.containers.blocks import BlockContainer, Piece
from b2dinspect.containers.tables import MapTable, PagedTable
from b2dinspect.containers.vdi.layout import (
    DIFFERENCING,
    ENTRY_SIZE,
    FREE,
    TYPES,
    UNDO,
    ZERO,
    read_headers,
    read_uuid,
    table_offsets,
)
from b2dinspect.containers.vdi.survey import header_findings, survey_findings, survey_map
from b2dinspect.findings import Finding
from b2dinspect.source import ByteSource


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
        self.headers, self.header = read_headers(file)
        header = self.header
        self.size = header.disk_size
        self.variant = TYPES[header.type]
        self.block_size: int = header.block_size
        self.extra: int = header.get("block_extra", 0)
        self.map_offset, self._data_offset = table_offsets(header)
        self.map = PagedTable(file, self.map_offset, header.block_count, "<I")
        self.is_child = header.type in (UNDO, DIFFERENCING)
        self.identity = str(header.uuid_create)
        if self.is_child:
            self.parent_link = ParentLink((), str(header.uuid_linkage))
        self._survey = survey_map(self)
        self.allocated_size = min(self._survey.allocated * self.block_size, self.size)
        self.findings = tuple(self._judge())

    @classmethod
    def read_identity(cls, file: ByteSource) -> str:
        """Return ``uuid_create``, by which a child knows this image."""
        return str(read_uuid(file))

    def _judge(self) -> Iterator[Finding]:
        yield from header_findings(self)
        yield from survey_findings(self._survey, self)

    def block_offset(self, entry: int) -> int:
        """Return the file offset of a stored block's data, in bytes."""
        return self._data_offset + entry * (self.block_size + self.extra) + self.extra

    def _piece_at(self, position: int, end: int) -> Piece:
        """Return the longest piece from here that one entry, or one run of free ones, tells of."""
        block, within = divmod(position, self.block_size)
        entry = self.map.get(block)
        if entry is None:
            return Piece(position, end - position, "missing")
        alike = self.map.alike(block) if entry in (FREE, ZERO) else 1
        length = min(end, (block + alike) * self.block_size) - position
        if entry == FREE and self.is_child:
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
        entry = self.map.get(offset // self.block_size)
        if entry == FREE:
            return "this block is in the parent image, which was not given"
        if entry is None:
            return "the block map has no entry for this block"
        return "this block lies past the end of the file"

    def tables(self) -> Iterator[MapTable]:
        """Yield the block map."""
        length = self.map.count * ENTRY_SIZE
        yield MapTable("block map", self.map_offset, length, ENTRY_SIZE, "little", (FREE, ZERO))

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
        if self.is_child:
            facts["parent uuid"] = str(header.uuid_linkage)
        return facts
