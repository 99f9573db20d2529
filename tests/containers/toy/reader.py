from __future__ import annotations

from collections.abc import Iterator

from b2dinspect.containers.blocks import BlockContainer, Fault, Piece
from b2dinspect.containers.tables import MapTable, PagedTable
from b2dinspect.errors import ContainerError
from b2dinspect.fields import Header
from b2dinspect.findings import Finding
from b2dinspect.source import ByteSource, read_exactly
from tests.containers.toy.layout import BLOCK, HEADER, TABLE, blocks_offset


class ToyContainer(BlockContainer):
    format = "toy"
    layer = "toy"
    variant = "only"

    def __init__(self, file: ByteSource) -> None:
        self.file = file
        raw = read_exactly(file, 0, HEADER.sizeof(), ContainerError, "toy header")
        self.headers = (Header("toy header", "file", 0, HEADER, raw),)
        self.size = HEADER.parse(raw).size
        if not 0 < self.size < 1 << 40:
            raise ContainerError("size makes no sense", layer="toy header", offset=8, found=self.size)
        self._table = PagedTable(file, TABLE, -(-self.size // BLOCK), "<I")
        self._outside = Fault()
        stored = 0
        for block, entry in self._table.used(0):
            stored += 1
            if self._place(entry) >= file.size:
                self._outside.add(block, self._table.place(block))
        self.allocated_size = min(self.size, stored * BLOCK)
        self.findings = tuple(self._judge())

    def _place(self, entry: int) -> int:
        return blocks_offset(self.size) + (entry - 1) * BLOCK

    def _judge(self) -> Iterator[Finding]:
        if self._outside.count:
            text = f"block {self._outside.number} lies past the end of the file{self._outside.more}"
            yield Finding("toy-block-outside", "error", text, self._outside.offset, "file")

    def _piece_at(self, position: int, end: int) -> Piece:
        block, within = divmod(position, BLOCK)
        entry = self._table.get(block)
        length = min(end - position, BLOCK - within)
        if entry == 0:
            return Piece(position, min(end, (block + self._table.alike(block)) * BLOCK) - position, "zero")
        where = 0 if entry is None else self._place(entry) + within
        kind = "missing" if entry is None or where + length > self.file.size else "data"
        return Piece(position, length, kind, where)

    def _why_missing(self, offset: int) -> str:
        return "this block lies past the end of the file"

    def tables(self) -> Iterator[MapTable]:
        yield MapTable("toy table", TABLE, self._table.count * 4, 4, "little", (0,))

    def describe(self) -> dict[str, str]:
        return {"blocks": f"{self._table.count} of {BLOCK} bytes"}
