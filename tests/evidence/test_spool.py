"""What is copied into a temporary file: gzips and streams."""

from __future__ import annotations

import contextlib
import gzip
import io
import os
import random
import sys
import threading
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from b2dinspect.errors import SourceError
from b2dinspect.evidence import packing, spool
from b2dinspect.evidence.file import open_evidence
from b2dinspect.evidence.packing import CHUNK
from tests.evidence.handmade import content

NOISE = random.Random(1).randbytes(3 * CHUNK)
HEADER_AND_TRAILER = 10 + 8
STORED_BLOCK = 5


def packed(data: bytes, level: int = 6) -> bytes:
    return gzip.compress(data, level, mtime=0)


# --- gzip ---


@pytest.mark.parametrize("level", [0, 9])
@pytest.mark.parametrize(
    "length",
    [
        0, 1, CHUNK - 1, CHUNK, CHUNK + 1, 2 * CHUNK, 3 * CHUNK,
        CHUNK - HEADER_AND_TRAILER - 17 * STORED_BLOCK,
    ],
)  # fmt: skip
def test_gzip_of_any_length(write: Callable[[bytes], str], length: int, level: int) -> None:
    source = open_evidence(write(packed(NOISE[:length], level)))
    assert (source.size, source.origin) == (length, "gzip")
    assert content(source) == NOISE[:length]


@pytest.mark.parametrize("data", [b"", b"zeros \0 and more", bytes(5000), NOISE[:5000]])
@pytest.mark.parametrize("chunk", [2, 3, 7, 18, 64, 4096])
def test_chunks_of_any_size(
    write: Callable[[bytes], str], monkeypatch: pytest.MonkeyPatch, data: bytes, chunk: int
) -> None:
    monkeypatch.setattr(packing, "CHUNK", chunk)
    assert content(open_evidence(write(packed(data) + packed(b"second") + bytes(9)))) == data + b"second"


@pytest.mark.parametrize("surplus", [-1, 0, 1])
def test_members_that_end_where_a_chunk_ends(
    write: Callable[[bytes], str], monkeypatch: pytest.MonkeyPatch, surplus: int
) -> None:
    monkeypatch.setattr(packing, "CHUNK", 4096)
    first = packed(NOISE[: 4096 - HEADER_AND_TRAILER - STORED_BLOCK + surplus], level=0)
    assert len(first) == 4096 + surplus
    unpacked = gzip.decompress(first)
    assert content(open_evidence(write(first))) == unpacked
    assert content(open_evidence(write(first + packed(b"more")))) == unpacked + b"more"
    assert content(open_evidence(write(first + bytes(512)))) == unpacked


@settings(max_examples=60)
@given(
    members=st.lists(st.binary(max_size=200), min_size=1, max_size=5),
    padding=st.integers(0, 40),
    chunk=st.integers(2, 300),
)
def test_any_members_and_padding(
    tmp_path_factory: pytest.TempPathFactory, members: list[bytes], padding: int, chunk: int
) -> None:
    path = tmp_path_factory.getbasetemp() / "any.gz"
    path.write_bytes(b"".join(map(packed, members)) + bytes(padding))
    with pytest.MonkeyPatch.context() as monkeypatch:
        monkeypatch.setattr(packing, "CHUNK", chunk)
        assert content(open_evidence(str(path))) == b"".join(members)


def test_padding_of_several_chunks(write: Callable[[bytes], str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(packing, "CHUNK", 64)
    assert content(open_evidence(write(packed(b"data") + bytes(1000)))) == b"data"


@pytest.mark.parametrize("padding", [0, 1, 44, 45, 46, 200])
def test_a_member_behind_padding_is_not_lost(
    write: Callable[[bytes], str], monkeypatch: pytest.MonkeyPatch, padding: int
) -> None:
    monkeypatch.setattr(packing, "CHUNK", 64)
    first = packed(b"first")
    path = write(first + bytes(padding) + packed(b"second"))
    assert gzip.decompress(Path(path).read_bytes()) == b"firstsecond"
    assert content(open_evidence(path)) == b"firstsecond"


@pytest.mark.usefixtures("no_descriptor_is_lost")
@pytest.mark.parametrize("cut", [2, 5, 10, 11, 500, -9, -8, -1])
def test_a_truncated_gzip_is_an_error(write: Callable[[bytes], str], cut: int) -> None:
    with pytest.raises(SourceError, match="gzip: ends in the middle"):
        open_evidence(write(packed(NOISE[:1000])[:cut]))


def test_a_truncated_gzip_tells_how_far_it_came(write: Callable[[bytes], str]) -> None:
    with pytest.raises(SourceError, match="ends in the middle") as caught:
        open_evidence(write(packed(NOISE[:4096], level=0)[: 10 + STORED_BLOCK + 1000]))
    assert caught.value.offset == 1000


@pytest.mark.usefixtures("no_descriptor_is_lost")
@pytest.mark.parametrize(
    ("place", "reason"),
    [
        (2, "unknown compression method"),
        (10, "invalid"),
        (-8, "incorrect data check"),
        (-1, "incorrect length check"),
    ],
)
def test_a_damaged_gzip_is_an_error(write: Callable[[bytes], str], place: int, reason: str) -> None:
    data = bytearray(packed(NOISE[:5000]))
    data[place] ^= 0x07
    with pytest.raises(SourceError, match=f"gzip: is damaged after .*{reason}"):
        open_evidence(write(bytes(data)))


def test_garbage_behind_a_gzip_is_an_error(write: Callable[[bytes], str]) -> None:
    with pytest.raises(SourceError, match=r"is damaged after 4 unpacked bytes: .*incorrect header check"):
        open_evidence(write(packed(b"data") + b"garbage"))


@pytest.mark.slow
def test_zeros_become_holes(write: Callable[[bytes], str]) -> None:
    size = 64 << 20
    packer = zlib.compressobj(9, wbits=31)
    pieces = [packer.compress(bytes(CHUNK)) for _ in range(40)]
    pieces += [packer.compress(b"data".ljust(CHUNK, b"\0"))]
    pieces += [packer.compress(bytes(CHUNK)) for _ in range(23)]
    with contextlib.closing(open_evidence(write(b"".join(pieces) + packer.flush()))) as source:
        assert source.size == size
        assert source.allocated == CHUNK
        assert os.fstat(source._fd).st_blocks * 512 <= 2 * CHUNK
        assert source.pread(40 * CHUNK, 8) == b"data\0\0\0\0"
        assert source.pread(size - 4, 8) == bytes(4)
        assert not source.pread(0, 4 * CHUNK).strip(b"\0")


def test_a_stream_that_is_only_zeros_keeps_its_length(write: Callable[[bytes], str]) -> None:
    with contextlib.closing(open_evidence(write(packed(bytes(5 << 20))))) as source:
        assert (source.size, source.allocated) == (5 << 20, 0)


def test_spool_is_gone_when_closed(write: Callable[[bytes], str], monkeypatch: pytest.MonkeyPatch) -> None:
    path = write(packed(b"data"))
    folder = Path(path).parent
    monkeypatch.setattr("tempfile.tempdir", str(folder))
    with contextlib.closing(open_evidence(path)):
        assert [item.name for item in folder.iterdir()] == ["evidence"]


@pytest.mark.usefixtures("no_descriptor_is_lost")
def test_more_data_than_room(write: Callable[[bytes], str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "_free_space", lambda: 2 * CHUNK)
    assert content(open_evidence(write(packed(bytes(5 * CHUNK) + NOISE[:CHUNK])))).endswith(NOISE[:CHUNK])
    with pytest.raises(SourceError, match="too large to unpack"):
        open_evidence(write(packed(NOISE[: CHUNK + 1])))


def test_longer_than_any_disk(write: Callable[[bytes], str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(spool, "LENGTH_LIMIT", 3 * CHUNK)
    assert content(open_evidence(write(packed(bytes(3 * CHUNK))))) == bytes(3 * CHUNK)
    with pytest.raises(SourceError, match="too large to unpack"):
        open_evidence(write(packed(bytes(3 * CHUNK + 1))))


@pytest.mark.usefixtures("no_descriptor_is_lost")
def test_a_full_temporary_folder_is_a_clear_error(
    write: Callable[[bytes], str], monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write(packed(b"data"))
    monkeypatch.setattr("tempfile.tempdir", str(Path(path).parent / "gone"))
    with pytest.raises(SourceError, match="No such file"):
        open_evidence(path)


def test_progress_of_a_gzip_ends_at_its_size(write: Callable[[bytes], str]) -> None:
    data = packed(NOISE)
    calls: list[tuple[str, int, int | None]] = []
    content(open_evidence(write(data), lambda *call: calls.append(call)))
    assert {(what, total) for what, _, total in calls} == {("unpacking", len(data))}
    done = [call[1] for call in calls]
    assert done == sorted(done)
    assert done[-1] == len(data)


# --- standard input ---


@pytest.fixture
def stdin(monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[[bytes], None]]:
    """Return a function that makes standard input a pipe with these bytes in it."""
    threads, streams = [], []

    def feed(data: bytes) -> None:
        reader, writer = os.pipe()

        def write() -> None:
            with contextlib.suppress(BrokenPipeError), os.fdopen(writer, "wb") as stream:
                stream.write(data)

        threads.append(threading.Thread(target=write))
        threads[-1].start()
        streams.append(os.fdopen(reader, "r"))
        monkeypatch.setattr(sys, "stdin", streams[-1])

    yield feed
    for stream in streams:
        stream.close()
    for thread in threads:
        thread.join()


@pytest.mark.parametrize("length", [0, 1, 2, 3, CHUNK, CHUNK + 1, 2 * CHUNK + 7])
def test_stdin_plain(stdin: Callable[[bytes], None], length: int) -> None:
    stdin(NOISE[:length])
    source = open_evidence("-")
    assert (source.size, source.origin) == (length, "stream")
    assert content(source) == NOISE[:length]


def test_stdin_with_holes(stdin: Callable[[bytes], None]) -> None:
    data = bytes(CHUNK) + NOISE[:100] + bytes(3 * CHUNK)
    stdin(data)
    calls: list[tuple[str, int, int | None]] = []
    source = open_evidence("-", lambda *call: calls.append(call))
    assert source.allocated == CHUNK
    assert content(source) == data
    assert calls[-1] == ("reading", len(data), None)


def test_stdin_packed(stdin: Callable[[bytes], None]) -> None:
    stdin(packed(b"first") + packed(NOISE))
    assert content(open_evidence("-")) == b"first" + NOISE


def test_stdin_packed_and_truncated(stdin: Callable[[bytes], None]) -> None:
    stdin(packed(NOISE)[:-100])
    with pytest.raises(SourceError, match="ends in the middle"):
        open_evidence("-")


@pytest.mark.parametrize("data", [b"plain", packed(b"plain")])
def test_stdin_that_is_no_descriptor(monkeypatch: pytest.MonkeyPatch, data: bytes) -> None:
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(data)))
    assert content(open_evidence("-")) == b"plain"


def test_stdin_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "stdin", None)
    with pytest.raises(SourceError, match="standard input is closed"):
        open_evidence("-")


def test_stdin_that_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    def read(_: int) -> bytes:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr(sys, "stdin", SimpleNamespace(buffer=SimpleNamespace(read=read, fileno=lambda: 0)))
    with pytest.raises(SourceError, match="Input/output error"):
        open_evidence("-")


@pytest.mark.slow
def test_unpacking_ends_after_a_time(write: Callable[[bytes], str], monkeypatch: pytest.MonkeyPatch) -> None:
    """Zeros take no room, so that only time could end it."""
    bomb = packed(bytes(CHUNK)) * 64
    assert content(open_evidence(write(bomb))) == bytes(64 * CHUNK)
    monkeypatch.setattr(spool, "WORK_LIMIT", 0.0)
    with pytest.raises(SourceError, match=r"is not unpacked after 0 seconds of work, .* bytes so far"):
        open_evidence(write(bomb))
