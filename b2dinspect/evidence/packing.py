"""How a file is packed, and unpacking gzip, xz, bzip2 and zstd streams, a chunk at a time, in bounded memory.

Sources: RFC 1952 (gzip), the xz file format 1.1.0, bzip2 1.0.8, RFC 8878 (zstd). Each may hold several
members one behind the other, and zeros behind the last one.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, Protocol

from b2dinspect.errors import SourceError

PACKINGS = ((b"\x1f\x8b", "gzip"), (b"\xfd7zXZ\0", "xz"), (b"\x28\xb5\x2f\xfd", "zstd"))
HEAD = 16
"""Bytes that tell how a file is packed."""
CHUNK = 1 << 20
XZ_MEMORY = 256 << 20
"""Bytes: xz -9 needs 65 MiB; a stream that wants more is refused."""


if TYPE_CHECKING:

    class Stream(Protocol):
        """The packed bytes."""

        def read(self, length: int, /) -> bytes:
            """Return up to ``length`` bytes; none at the end."""


def packing_of(head: bytes) -> str | None:
    """Return how a file that begins so is packed: ``gzip``, ``xz``, ``zstd`` or ``bzip2``; None for not."""
    if head[:3] == b"BZh" and head[4:10] in (b"1AY&SY", b"\x17rE8P\x90"):  # a block, or none at all
        return "bzip2"
    return next((name for magic, name in PACKINGS if head.startswith(magic)), None)


def decompress(packing: str, stream: Stream) -> Iterator[bytes]:
    """Yield what a stream holds, in chunks of at most 1 MiB.

    Args:
        packing: ``gzip``, ``xz``, ``bzip2`` or ``zstd``.
        stream: The packed bytes.

    Raises:
        SourceError: It is damaged, cut short, or wants too much memory.
    """
    new_member, errors = _WAYS[packing]()
    packed, done = stream.read(CHUNK), 0
    try:
        while packed:
            member = new_member()
            while not member.eof:
                if chunk := member.decompress(packed, CHUNK):
                    done += len(chunk)
                    yield chunk
                packed = b""
                if member.eof or not member.needs_input:
                    continue
                if not (packed := stream.read(CHUNK)):
                    raise SourceError("ends in the middle of its data", layer=packing, offset=done)
            packed = member.unused_data.lstrip(b"\0")  # zero padding between members, and after the last
            while not packed and (padded := stream.read(CHUNK)):
                packed = padded.lstrip(b"\0")
    except errors as error:
        raise SourceError(f"is damaged after {done:,} unpacked bytes: {error}", layer=packing) from error


if TYPE_CHECKING:

    class _Member(Protocol):
        """What lzma, bz2 and zstd offer; gzip is made to look like it."""

        @property
        def eof(self) -> bool: ...
        @property
        def needs_input(self) -> bool: ...
        @property
        def unused_data(self) -> bytes: ...
        def decompress(self, data: bytes, max_length: int) -> bytes: ...

    _Way = tuple[Callable[[], _Member], tuple[type[Exception], ...]]


class _Gzip:
    def __init__(self, member: Any) -> None:
        self._member = member
        self.eof, self.needs_input, self.unused_data = False, True, b""

    def decompress(self, data: bytes, max_length: int) -> bytes:
        chunk: bytes = self._member.decompress(self._member.unconsumed_tail + data, max_length)
        # a full chunk may have more behind it without more input
        self.needs_input = not self._member.unconsumed_tail and len(chunk) < max_length
        self.eof, self.unused_data = self._member.eof, self._member.unused_data
        return chunk


def _gzip() -> _Way:
    import zlib

    return lambda: _Gzip(zlib.decompressobj(wbits=31)), (zlib.error,)


def _xz() -> _Way:
    import lzma

    return lambda: lzma.LZMADecompressor(lzma.FORMAT_XZ, memlimit=XZ_MEMORY), (lzma.LZMAError,)


def _bzip2() -> _Way:
    import bz2

    return bz2.BZ2Decompressor, (OSError, ValueError)


def _zstd() -> _Way:
    from b2dinspect import zstd

    return zstd.decompressor, (zstd.ZstdError,)


_WAYS: dict[str, Callable[[], _Way]] = {"gzip": _gzip, "xz": _xz, "bzip2": _bzip2, "zstd": _zstd}
"""Each imports what it needs, and returns how a member is begun and what a damaged one raises."""
