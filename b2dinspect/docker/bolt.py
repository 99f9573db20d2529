"""BoltDB, read-only: a B+ tree of pages in one file, in which containerd and Docker keep their notes.

Two meta pages, of which the valid one with the higher transaction counts, point to a root bucket. A bucket
is a tree of branch and leaf pages, or a single page inside its parent's value; its values are bytes or
buckets.

Source: go.etcd.io/bbolt, page.go, bucket.go and db.go. Little-endian, as on every machine we met one from.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator

from b2dinspect.errors import EvidenceError
from b2dinspect.records import NamedTuple

MAGIC, VERSION = 0xED0CDAED, 2
BRANCH, LEAF = 0x01, 0x02
IS_BUCKET = 0x01
MAX_FILE = 32 << 20
"""Bytes of a file that is read whole; containerd's of a node with thousands of images has some 10 MiB."""
MAX_DEPTH = 32
MAX_ITEMS = 500_000
"""Keys of all buckets together that one reading may meet."""
MAX_TIMES = 4
"""How often a reading may meet all bytes of the file: elements and pages can be said to lie on each other."""

_PAGE = struct.Struct("<QHHI")  # id, flags, count, overflow
_META = struct.Struct(
    "<IIIIQQQQQQ"
)  # magic, version, page size, flags, root, sequence, freelist, pages, txid, sum
_BRANCH = struct.Struct("<IIQ")  # position, key size, page
_LEAF = struct.Struct("<IIII")  # flags, position, key size, value size
_BUCKET = struct.Struct("<QQ")  # root page (0: inline), sequence


class BoltError(EvidenceError):
    """A BoltDB file that is not what its format demands."""

    layer = "BoltDB"


class _Page(NamedTuple):
    """Where a page is, and what it says of itself."""

    start: int
    end: int
    flags: int
    elements: int


class Bucket:
    """A bucket: keys, and values that are bytes or buckets."""

    def __init__(self, file: Bolt, page: _Page) -> None:
        self._file = file
        self._root = page

    def items(self) -> Iterator[tuple[bytes, bytes | Bucket]]:
        """Yield keys and values in order.

        Raises:
            BoltError: A page is not what it should be.
        """
        yield from self._file.walk(self._root)

    def buckets(self) -> Iterator[tuple[bytes, Bucket]]:
        """Yield the buckets in it."""
        for key, value in self.items():
            if isinstance(value, Bucket):
                yield key, value

    def bucket(self, *path: bytes) -> Bucket | None:
        """Return a bucket in a bucket in it; None when there is none."""
        here: Bucket | None = self
        for name in path:
            here = next((value for key, value in here.buckets() if key == name), None) if here else None
        return here

    def values(self) -> dict[bytes, bytes]:
        """Return what is in it but buckets."""
        return {key: value for key, value in self.items() if isinstance(value, bytes)}


class Bolt:
    """A BoltDB file.

    Args:
        data: All of it.

    Attributes:
        root: The bucket of all buckets.

    Raises:
        BoltError: Neither meta page is valid, or the root is not there.
    """

    def __init__(self, data: bytes) -> None:
        self._data = data
        self._met = 0
        self._left = MAX_TIMES * len(data) + (16 << 20)
        metas = [meta for meta in map(self._meta, self._places()) if meta]
        if not metas:
            raise BoltError("no valid meta page", offset=0)
        _, self._page_size, root = max(metas)
        self.root = Bucket(self, self._page(root))

    def _places(self) -> Iterator[int]:
        """Yield where meta pages can be: the second is one page on, whose size only the first tells."""
        yield 0
        yield from (1 << power for power in range(9, 17))

    def _meta(self, place: int) -> tuple[int, int, int] | None:
        """Return transaction, page size and root of a meta page; None when it is none."""
        start = place + _PAGE.size
        if start + _META.size > len(self._data):
            return None
        magic, version, size, _, root, _, _, _, txid, total = _META.unpack_from(self._data, start)
        if (magic, version) != (MAGIC, VERSION) or not 512 <= size <= 1 << 16 or place not in (0, size):
            return None
        if total != checksum(self._data[start : start + _META.size - 8]):
            return None
        return txid, size, root

    def _page(self, number: int) -> _Page:
        start = number * self._page_size
        if start + _PAGE.size > len(self._data):
            raise BoltError(f"page {number} lies past the end of the file", offset=start)
        identity, flags, count, overflow = _PAGE.unpack_from(self._data, start)
        if identity != number:
            raise BoltError("wrong page number", offset=start, expected=number, found=identity)
        end = min(len(self._data), start + (overflow + 1) * self._page_size)
        return _Page(start, end, flags, count)

    def walk(self, page: _Page, depth: int = 0) -> Iterator[tuple[bytes, bytes | Bucket]]:
        """Yield what is in the leaves below a page."""
        if depth > MAX_DEPTH:
            raise BoltError("pages that lead into each other", offset=page.start)
        if page.flags & LEAF:
            for index in range(page.elements):
                yield self._leaf(page, index)
        elif page.flags & BRANCH:
            for index in range(page.elements):
                at = page.start + _PAGE.size + index * _BRANCH.size
                _, _, number = _BRANCH.unpack(self._slice(page, at, _BRANCH.size))
                self._count(page)
                yield from self.walk(self._page(number), depth + 1)
        else:
            raise BoltError(f"flags {page.flags:#x} of no tree", offset=page.start)

    def _leaf(self, page: _Page, index: int) -> tuple[bytes, bytes | Bucket]:
        self._count(page)
        at = page.start + _PAGE.size + index * _LEAF.size
        flags, position, key_size, value_size = _LEAF.unpack(self._slice(page, at, _LEAF.size))
        key = self._slice(page, at + position, key_size)
        where = at + position + key_size
        value = self._slice(page, where, value_size)
        return key, self._bucket(where, value) if flags & IS_BUCKET else value

    def _bucket(self, where: int, value: bytes) -> Bucket:
        if len(value) < _BUCKET.size:
            raise BoltError("a bucket cut short", offset=where)
        root, _ = _BUCKET.unpack_from(value)
        if root:
            return Bucket(self, self._page(root))
        if len(value) < _BUCKET.size + _PAGE.size:
            raise BoltError("a bucket cut short", offset=where)
        start = where + _BUCKET.size
        _, flags, count, _ = _PAGE.unpack_from(self._data, start)
        return Bucket(self, _Page(start, where + len(value), flags, count))

    def _slice(self, page: _Page, start: int, length: int) -> bytes:
        if not page.start <= start <= start + length <= page.end:
            raise BoltError("an element that reaches out of its page", offset=page.start)
        self._left -= length
        if self._left < 0:
            raise BoltError("elements that lie on each other", offset=page.start)
        return self._data[start : start + length]

    def _count(self, page: _Page) -> None:
        self._met += 1
        if self._met > MAX_ITEMS:
            raise BoltError(f"more than {MAX_ITEMS} elements", offset=page.start)


def checksum(data: bytes) -> int:
    """Return the checksum of a meta page: FNV-1a, 64 bits."""
    found = 0xCBF29CE484222325
    for byte in data:
        found = (found ^ byte) * 0x100000001B3 & 0xFFFFFFFFFFFFFFFF
    return found
