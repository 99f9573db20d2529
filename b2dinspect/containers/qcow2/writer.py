"""Makes new qcow2 images of version 3, as ``qemu-img create`` does: plain, in clusters of 64 KiB."""

from __future__ import annotations

from array import array
from typing import TYPE_CHECKING

from b2dinspect.containers.qcow2 import SIGNATURE
from b2dinspect.containers.qcow2.layout import HEADER_3, MAX_BITS, MAX_L1_BYTES, MIN_BITS
from b2dinspect.containers.tables import encode
from b2dinspect.containers.writing import BlockWriter
from b2dinspect.source import SECTOR

if TYPE_CHECKING:
    from b2dinspect.containers.base import Container
    from b2dinspect.identity import Identities
    from b2dinspect.newfile import Sink

DEFAULT_CLUSTER_SIZE = 1 << 16
COPIED = 1 << 63
REFCOUNT_ORDER = 4


class Qcow2Writer(BlockWriter):
    """Makes a new qcow2. Clusters are stored when something other than zeros is first written to them.

    Header, refcount table and L1 table have their places from the start; L2 tables, refcount blocks and data
    follow in the order in which they are needed. Metadata reaches the file by ``flush()``; until then it is
    no qcow2.

    Args:
        sink: An empty file to write to.
        virtual_size: Bytes, a multiple of 512.
        cluster_size: Bytes, a power of two from 512 to 2 MiB.

    Attributes:
        size: The virtual size.

    Raises:
        ValueError: An argument makes no qcow2.
    """

    def __init__(self, sink: Sink, virtual_size: int, *, cluster_size: int = DEFAULT_CLUSTER_SIZE) -> None:
        if virtual_size <= 0 or virtual_size % 512:
            raise ValueError(f"virtual size {virtual_size} is not a positive multiple of 512")
        if cluster_size & (cluster_size - 1) or not 1 << MIN_BITS <= cluster_size <= 1 << MAX_BITS:
            raise ValueError(f"cluster size {cluster_size} is not a power of two from 512 to 2 MiB")
        super().__init__(sink, virtual_size, cluster_size)
        self._cluster = cluster_size
        self._per_table = cluster_size // 8
        self._per_block = cluster_size * 8 >> REFCOUNT_ORDER
        clusters = -(-virtual_size // cluster_size)
        tables = -(-clusters // self._per_table)
        if tables * 8 > MAX_L1_BYTES:
            raise ValueError(f"virtual size {virtual_size} is too much for clusters of {cluster_size} bytes")
        self._l1 = array("Q", bytes(8 * tables))
        most = 2 * clusters + 2 * len(self._l1) + 64  # clusters of the file, refcounts and all
        self._blocks = array("Q", bytes(8 * -(-most // self._per_block)))
        self._table_clusters = -(-len(self._blocks) * 8 // cluster_size)
        self._l1_offset = (1 + self._table_clusters) * cluster_size
        self._next = 1 + self._table_clusters + -(-len(self._l1) * 8 // cluster_size)
        self._tables: dict[int, array[int]] = {}
        for block in range(-(-self._next // self._per_block)):
            self._add_block(block)

    def _add_block(self, number: int) -> None:
        self._blocks[number] = self._next * self._cluster
        self._next += 1

    def _new_cluster(self) -> int:
        """Return the offset of a new cluster at the end of the file; a refcount block may come before it."""
        while not self._blocks[self._next // self._per_block]:
            self._add_block(self._next // self._per_block)
        self._next += 1
        return (self._next - 1) * self._cluster

    def _locate(self, offset: int) -> int | None:
        cluster, within = divmod(offset, self._cluster)
        table = self._tables.get(cluster // self._per_table)
        entry = table[cluster % self._per_table] if table else 0
        return (entry & ~COPIED) + within if entry else None

    def _allocate(self, offset: int) -> int:
        number, index = divmod(offset // self._cluster, self._per_table)
        if number not in self._tables:
            self._tables[number] = array("Q", bytes(self._cluster))
            self._l1[number] = self._new_cluster() | COPIED
        where = self._new_cluster()
        self._tables[number][index] = where | COPIED
        return where + offset % self._cluster

    def flush(self) -> None:
        """Write header and tables, give the file its full length, and sync. Writing may go on."""
        self._sink.truncate(self._next * self._cluster)
        for number, table in self._tables.items():
            self._sink.pwrite(self._l1[number] & ~COPIED, encode(table, ">Q"))
        for number, place in enumerate(self._blocks):
            if place:
                used = min(self._per_block, max(0, self._next - number * self._per_block))
                self._sink.pwrite(place, (b"\0\1" * used).ljust(self._cluster, b"\0"))
        self._sink.pwrite(self._cluster, encode(self._blocks, ">Q"))
        self._sink.pwrite(self._l1_offset, encode(self._l1, ">Q"))
        self._sink.pwrite(0, self._header())
        self._sink.flush()

    def _header(self) -> bytes:
        built: bytes = HEADER_3.build(
            {
                "signature": SIGNATURE,
                "version": 3,
                "backing_file_offset": 0,
                "backing_file_size": 0,
                "cluster_bits": self._cluster.bit_length() - 1,
                "size": self.size,
                "crypt_method": 0,
                "l1_size": len(self._l1),
                "l1_table_offset": self._l1_offset,
                "refcount_table_offset": self._cluster,
                "refcount_table_clusters": self._table_clusters,
                "nb_snapshots": 0,
                "snapshots_offset": 0,
                "incompatible_features": 0,
                "compatible_features": 0,
                "autoclear_features": 0,
                "refcount_order": REFCOUNT_ORDER,
                "header_length": HEADER_3.sizeof(),
            }
        )
        return built + bytes(8)  # no extensions


def new_disk(
    sink: Sink,
    size: int,
    ids: Identities,
    *,
    like: Container | None = None,
    subformat: None = None,
) -> Qcow2Writer:
    """Return a writer of an empty disk (see ``containers.writers``)."""
    return Qcow2Writer(sink, -(-size // SECTOR) * SECTOR)
