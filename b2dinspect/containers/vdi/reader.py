"""Reading a VDI as a disk."""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterator

from b2dinspect.containers.base import ParentLink, Probe
from b2dinspect.containers.blocks import BlockContainer, Piece
from b2dinspect.containers.vdi.layout import (
    DIFFERENCING,
    ENTRY_SIZE,
    FREE,
    SIGNATURE,
    TYPES,
    UNDO,
    ZERO,
    read_headers,
    table_offsets,
)
from b2dinspect.containers.vdi.survey import header_findings, survey_findings, survey_map
from b2dinspect.findings import Finding
from b2dinspect.source import ByteSource


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
        self.headers, self.header = read_headers(file)
        header = self.header
        self.size = header.disk_size
        self.variant = TYPES[header.type]
        self.block_size: int = header.block_size
        self.extra: int = header.get("block_extra", 0)
        self.map_offset, self._data_offset = table_offsets(header)
        self.map = BlockMap(file, self.map_offset, header.block_count)
        self.is_child = header.type in (UNDO, DIFFERENCING)
        self.identity = str(header.uuid_create)
        if self.is_child:
            self.parent_link = ParentLink((), str(header.uuid_linkage))
        self._survey = survey_map(self.map, self)
        self.allocated_size = min(self._survey.allocated * self.block_size, self.size)
        self.findings = tuple(self._judge())

    @classmethod
    def read_identity(cls, file: ByteSource) -> str:
        """Return ``uuid_create``, by which a child knows this image."""
        return str(read_headers(file)[1].uuid_create)

    def _judge(self) -> Iterator[Finding]:
        yield from header_findings(self)
        yield from survey_findings(self._survey, self)

    def block_offset(self, entry: int) -> int:
        """Return the file offset of a stored block's data, in bytes."""
        return self._data_offset + entry * (self.block_size + self.extra) + self.extra

    def _piece_at(self, position: int, end: int) -> Piece:
        """Return the longest piece from here that one entry, or one run of free ones, tells of."""
        block, within = divmod(position, self.block_size)
        entry, alike = self.map.lookup(block)
        length = min(end, (block + alike) * self.block_size) - position
        if entry is None:
            return Piece(position, length, "missing")
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
        entry, _ = self.map.lookup(offset // self.block_size)
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
        if self.is_child:
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
