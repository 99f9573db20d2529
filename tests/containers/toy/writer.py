from __future__ import annotations

from array import array

from b2dinspect.containers.base import Container
from b2dinspect.containers.tables import encode
from b2dinspect.containers.writing import BlockWriter
from b2dinspect.identity import Identities
from b2dinspect.newfile import Sink
from tests.containers.toy import SIGNATURE
from tests.containers.toy.layout import BLOCK, HEADER, TABLE, blocks_offset


class ToyWriter(BlockWriter):
    def __init__(self, sink: Sink, size: int) -> None:
        super().__init__(sink, size, BLOCK)
        self._table = array("I", bytes(4 * -(-size // BLOCK)))
        self._stored = 0

    def _locate(self, offset: int) -> int | None:
        entry = self._table[offset // BLOCK]
        return blocks_offset(self.size) + (entry - 1) * BLOCK + offset % BLOCK if entry else None

    def _allocate(self, offset: int) -> int:
        self._stored += 1
        self._table[offset // BLOCK] = self._stored
        return blocks_offset(self.size) + (self._stored - 1) * BLOCK + offset % BLOCK

    def flush(self) -> None:
        self._sink.truncate(blocks_offset(self.size) + self._stored * BLOCK)
        self._sink.pwrite(0, HEADER.build({"signature": SIGNATURE, "size": self.size}))
        self._sink.pwrite(TABLE, encode(self._table, "<I"))
        self._sink.flush()


def new_disk(
    sink: Sink, size: int, ids: Identities, *, like: Container | None = None, subformat: None = None
) -> ToyWriter:
    return ToyWriter(sink, size)
