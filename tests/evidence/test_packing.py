"""Packed files: xz, bzip2 and zstd in any chunks, damaged or cut. For gzip see test_spool."""

from __future__ import annotations

import bz2
import lzma
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from b2dinspect.errors import SourceError
from b2dinspect.evidence.chain import open_disk
from b2dinspect.evidence.packing import decompress
from tests.evidence.handmade import MIB
from tests.packers import zstd

PACKERS = {"xz": lzma.compress, "bzip2": bz2.compress, "zstd": zstd}
CONTENT = b"boot2docker" * 5000 + bytes(3 * MIB) + b"end" + bytes(457)


@pytest.mark.parametrize("packing", PACKERS)
def test_a_packed_disk_opens(tmp_path: Path, packing: str) -> None:
    path = tmp_path / "disk"
    path.write_bytes(PACKERS[packing](CONTENT))
    with open_disk(str(path)) as opened:
        assert opened.origin == packing
        assert opened.container.pread(0, len(CONTENT) + 1) == CONTENT


class Pieces:
    def __init__(self, data: bytes) -> None:
        self._data = data

    def read(self, length: int) -> bytes:
        piece, self._data = self._data[:7], self._data[7:]
        return piece


@pytest.mark.parametrize("packing", PACKERS)
def test_members_and_padding(packing: str) -> None:
    packed = PACKERS[packing](b"one") + bytes(20) + PACKERS[packing](b"two") + bytes(9)
    assert b"".join(decompress(packing, Pieces(packed))) == b"onetwo"


@pytest.mark.parametrize("packing", PACKERS)
@settings(max_examples=60)
@given(data=st.data())
def test_a_damaged_stream_is_one_clear_error(packing: str, data: st.DataObject) -> None:
    packed = bytearray(PACKERS[packing](b"content" * 100))
    at = data.draw(st.integers(0, len(packed) - 1))
    cut = data.draw(st.booleans())
    try:
        if cut:
            list(decompress(packing, Pieces(bytes(packed[:at]))))
            assert at == 0
        else:
            packed[at] ^= data.draw(st.integers(1, 255))
            list(decompress(packing, Pieces(bytes(packed))))
    except SourceError as error:
        assert error.layer == packing


@pytest.mark.parametrize("packing", PACKERS)
@pytest.mark.no_cover
@pytest.mark.slow
def test_a_bomb_comes_in_chunks(packing: str) -> None:
    packed = PACKERS[packing](bytes(64 * MIB))

    class Whole:
        done = False

        def read(self, length: int) -> bytes:
            piece, self.done = (b"" if self.done else packed), True
            return piece

    assert max(len(chunk) for chunk in decompress(packing, Whole())) <= 140 * MIB // 4
