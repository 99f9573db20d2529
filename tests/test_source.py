"""ByteSource and its kinds: clamped positional reads, extents, and where a byte lies in the file."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from b2dinspect.errors import ContainerError, MissingDataError, SourceError
from b2dinspect.source import (
    ByteSource,
    Extent,
    FileSource,
    MemorySource,
    PatchedSource,
    Run,
    RunsSource,
    SliceSource,
    read_exactly,
    read_lenient,
)

DATA = bytes(range(200))


class Torn(ByteSource):
    """Bytes 40 to 59 are missing; the rest lies in a file from byte 1000 on."""

    size = len(DATA)

    def _pread(self, offset: int, length: int) -> bytes:
        if offset < 60 and offset + length > 40:
            raise MissingDataError("torn", offset=offset)
        return DATA[offset : offset + length]

    def extents(self, offset: int = 0, length: int | None = None) -> Iterator[Extent]:
        start, end = self._clamp(offset, length)
        for first, last, kind in ((0, 40, "data"), (40, 60, "missing"), (60, 200, "data")):
            a, b = max(start, first), min(end, last)
            if a < b:
                yield Extent(a, b - a, kind, 1000 + a if kind == "data" else None)


def open_file(path: Path, origin: str = "file") -> FileSource:
    return FileSource(os.open(path, os.O_RDONLY), path.stat().st_size, origin)


@pytest.fixture
def file(tmp_path: Path) -> Iterator[FileSource]:
    path = tmp_path / "file"
    path.write_bytes(DATA)
    source = open_file(path)
    yield source
    source.close()


def assert_covers(source: ByteSource, offset: int, length: int | None, extents: list[Extent]) -> None:
    end = source.size if length is None else min(source.size, offset + length)
    position = offset
    for extent in extents:
        assert extent.offset == position
        assert extent.length > 0
        position += extent.length
    assert position == max(end, offset)


# --- every source ---


@pytest.fixture(params=["memory", "file", "slice", "patched", "runs"])
def source(request: pytest.FixtureRequest, file: FileSource) -> ByteSource:
    memory = MemorySource(DATA)
    return {
        "memory": memory,
        "file": file,
        "slice": SliceSource(MemorySource(b"before" + DATA + b"behind"), 6, len(DATA)),
        "patched": PatchedSource(MemorySource(DATA[:50] + b"xxxx" + DATA[54:]), 50, DATA[50:54]),
        "runs": RunsSource(MemorySource(DATA[100:] + DATA[:100]), [Run(100, 100), Run(100, 0)], len(DATA)),
    }[request.param]


@given(offset=st.integers(0, 250), length=st.integers(0, 250))
def test_any_read_is_a_slice(offset: int, length: int) -> None:
    sources = (
        MemorySource(DATA),
        SliceSource(MemorySource(b"before" + DATA + b"behind"), 6, len(DATA)),
        PatchedSource(MemorySource(DATA[:50] + b"xxxx" + DATA[54:]), 50, DATA[50:54]),
        RunsSource(MemorySource(DATA[100:] + DATA[:100]), [Run(100, 100), Run(100, 0)], len(DATA)),
    )
    for source in sources:
        assert source.pread(offset, length) == DATA[offset : offset + length]


def test_read_everything(source: ByteSource) -> None:
    assert source.size == len(DATA)
    assert source.pread(0, len(DATA)) == DATA


@pytest.mark.parametrize(("offset", "length"), [(199, 2), (200, 1), (10**30, 1), (0, 10**30)])
def test_read_past_the_end_is_clamped(source: ByteSource, offset: int, length: int) -> None:
    assert source.pread(offset, length) == DATA[offset : offset + length]


@pytest.mark.parametrize(("offset", "length"), [(-1, 1), (0, -1)])
def test_negative_ranges_are_refused(source: ByteSource, offset: int, length: int) -> None:
    with pytest.raises(ValueError, match="negative"):
        source.pread(offset, length)
    with pytest.raises(ValueError, match="negative"):
        list(source.extents(offset, length))


@pytest.mark.parametrize(
    ("offset", "length"), [(0, None), (0, 1), (51, 2), (99, 2), (199, 50), (200, 9), (300, 1)]
)
def test_extents_cover_the_range(source: ByteSource, offset: int, length: int | None) -> None:
    extents = list(source.extents(offset, length))
    if offset < source.size:
        assert_covers(source, offset, length, extents)
    else:
        assert extents == []


# --- files ---


def test_file_locates_its_own_offsets(file: FileSource) -> None:
    assert file.locate(0) == 0
    assert file.locate(199) == 199
    assert file.locate(200) is None


def test_file_that_shrank_is_an_error_not_short_data(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(DATA)
    source = open_file(path)
    os.truncate(path, 150)
    assert source.pread(0, 150) == DATA[:150]
    with pytest.raises(SourceError, match="was longer") as caught:
        source.pread(100, 100)
    assert caught.value.offset == 150
    source.close()


def test_read_error_names_the_offset(tmp_path: Path) -> None:
    fd = os.open(tmp_path, os.O_RDONLY)
    source = FileSource(fd, 100)
    with pytest.raises(SourceError, match="cannot read") as caught:
        source.pread(7, 1)
    assert caught.value.offset == 7
    source.close()


def test_closing_twice_is_harmless_and_then_reads_fail(tmp_path: Path) -> None:
    path = tmp_path / "file"
    path.write_bytes(DATA)
    source = open_file(path)
    source.close()
    source.close()
    with pytest.raises(SourceError):
        source.pread(0, 1)


@pytest.fixture
def sparse(tmp_path: Path) -> Iterator[FileSource]:
    path = tmp_path / "sparse"
    with path.open("wb") as stream:
        stream.seek(1 << 20)
        stream.write(b"x" * (1 << 16))
        stream.truncate(3 << 20)
    if path.stat().st_blocks * 512 >= 3 << 20:
        pytest.skip("this file system stores no holes")
    source = open_file(path)
    yield source
    source.close()


def test_holes_are_zero_extents(sparse: FileSource) -> None:
    extents = list(sparse.extents())
    assert extents == [
        Extent(0, 1 << 20, "zero"),
        Extent(1 << 20, 1 << 16, "data", 1 << 20),
        Extent((1 << 20) + (1 << 16), (2 << 20) - (1 << 16), "zero"),
    ]
    assert sparse.pread(0, 16) == bytes(16)


def test_extents_inside_a_hole_and_inside_data(sparse: FileSource) -> None:
    assert list(sparse.extents(5, 10)) == [Extent(5, 10, "zero")]
    assert list(sparse.extents((1 << 20) + 1, 2)) == [Extent((1 << 20) + 1, 2, "data", (1 << 20) + 1)]
    assert list(sparse.extents((1 << 20) - 1, 2)) == [
        Extent((1 << 20) - 1, 1, "zero"),
        Extent(1 << 20, 1, "data", 1 << 20),
    ]
    assert sparse.locate(0) is None


def test_block_device_is_all_data(tmp_path: Path) -> None:
    path = tmp_path / "device"
    with path.open("wb") as stream:
        stream.truncate(1 << 20)
    source = open_file(path, "block device")
    assert list(source.extents()) == [Extent(0, 1 << 20, "data", 0)]
    source.close()


# --- slices ---


def test_slice_never_leaks_its_neighbours() -> None:
    window = SliceSource(MemorySource(DATA), 10, 5)
    assert window.pread(0, 100) == DATA[10:15]
    assert window.pread(5, 1) == b""
    assert SliceSource(window, 2, 100).pread(0, 100) == DATA[12:15]


@pytest.mark.parametrize(("offset", "length", "size"), [(190, 50, 10), (300, 5, 0), (10, -5, 0), (200, 1, 0)])
def test_slice_is_clamped_to_its_parent(offset: int, length: int, size: int) -> None:
    window = SliceSource(MemorySource(DATA), offset, length)
    assert window.size == size
    assert window.pread(0, 100) == DATA[offset : offset + size]
    assert sum(extent.length for extent in window.extents()) == size


def test_slice_extents_keep_the_file_offset() -> None:
    window = SliceSource(Torn(), 30, 50)
    assert list(window.extents()) == [
        Extent(0, 10, "data", 1030),
        Extent(10, 20, "missing"),
        Extent(30, 20, "data", 1060),
    ]
    assert window.locate(31) == 1061
    assert window.locate(10) is None


# --- patches ---


@pytest.mark.parametrize(
    ("offset", "patch"), [(0, b"new"), (50, b"new"), (198, b"new"), (300, b"new"), (50, b"")]
)
def test_patch_replaces_its_bytes_only(offset: int, patch: bytes) -> None:
    expected = bytearray(DATA)
    for index, byte in enumerate(patch):
        if offset + index < len(DATA):
            expected[offset + index] = byte
    patched = PatchedSource(MemorySource(DATA), offset, patch)
    assert patched.pread(0, 300) == bytes(expected)
    for start in range(195):
        assert patched.pread(start, 4) == expected[start : start + 4]


def test_patched_bytes_are_in_no_file() -> None:
    patched = PatchedSource(Torn(), 70, b"new")
    assert list(patched.extents(60, 20)) == [
        Extent(60, 10, "data", 1060),
        Extent(70, 3, "data"),
        Extent(73, 7, "data", 1073),
    ]
    assert patched.locate(71) is None
    assert patched.locate(73) == 1073


def test_patch_stands_in_for_missing_bytes() -> None:
    patched = PatchedSource(Torn(), 38, b"p" * 24)
    assert patched.pread(36, 30) == DATA[36:38] + b"p" * 24 + DATA[62:66]
    with pytest.raises(MissingDataError):
        PatchedSource(Torn(), 38, b"p" * 20).pread(36, 30)


# --- runs ---


def test_runs_with_holes_and_a_sparse_tail() -> None:
    runs = [Run(10, 100), Run(20, None), Run(10, 50)]
    file = RunsSource(MemorySource(DATA), runs, 60)
    expected = DATA[100:110] + bytes(20) + DATA[50:60] + bytes(20)
    for offset in range(60):
        for length in (1, 9, 11, 21, 60):
            assert file.pread(offset, length) == expected[offset : offset + length]
    assert [extent.kind for extent in file.extents()] == ["data", "zero", "data", "zero"]
    assert_covers(file, 0, None, list(file.extents()))


def test_runs_know_where_a_byte_lies() -> None:
    file = RunsSource(Torn(), [Run(10, 100), Run(20, None), Run(10, 70)], 60)
    assert [file.parent_offset(offset) for offset in (0, 9, 10, 30, 39, 40, 60)] == [
        100, 109, None, 70, 79, None, None,
    ]  # fmt: skip
    assert [file.locate(offset) for offset in (0, 10, 39)] == [1100, None, 1079]


def test_runs_longer_than_the_file_are_cut() -> None:
    file = RunsSource(MemorySource(DATA), [Run(100, 0)], 30)
    assert file.pread(0, 100) == DATA[:30]
    assert list(file.extents()) == [Extent(0, 30, "data")]


def test_runs_of_an_empty_file() -> None:
    file = RunsSource(MemorySource(DATA), [], 0)
    assert file.pread(0, 1) == b""
    assert list(file.extents()) == []
    assert file.parent_offset(0) is None


def test_empty_runs_are_skipped() -> None:
    file = RunsSource(MemorySource(DATA), [Run(0, 5), Run(4, 8), Run(0, None), Run(0, 1), Run(2, 0)], 6)
    assert file.pread(0, 6) == DATA[8:12] + DATA[:2]
    assert [file.pread(i, 1) for i in range(6)] == [bytes([byte]) for byte in (8, 9, 10, 11, 0, 1)]


def test_run_past_the_end_of_the_disk_is_missing_not_zeros() -> None:
    file = RunsSource(MemorySource(DATA), [Run(10, 195)], 10)
    assert file.pread(0, 5) == DATA[195:]
    assert list(file.extents()) == [Extent(0, 5, "data"), Extent(5, 5, "missing")]
    with pytest.raises(MissingDataError, match="past the end of the disk"):
        file.pread(0, 6)


def test_run_over_missing_bytes_is_missing() -> None:
    file = RunsSource(Torn(), [Run(20, 30)], 20)
    assert list(file.extents()) == [Extent(0, 10, "data", 1030), Extent(10, 10, "missing")]
    with pytest.raises(MissingDataError, match="torn"):
        file.pread(5, 10)


# --- helpers ---


def test_read_exactly() -> None:
    source = MemorySource(DATA)
    assert read_exactly(source, 190, 10, ContainerError, "layer") == DATA[190:]
    assert read_exactly(source, 200, 0, ContainerError, "layer") == b""
    for offset, found in ((191, "9 bytes"), (200, "0 bytes"), (1 << 80, "0 bytes")):
        with pytest.raises(ContainerError) as caught:
            read_exactly(source, offset, 10, ContainerError, "layer")
        error = caught.value
        assert (error.layer, error.offset, error.expected, error.found) == (
            "layer",
            offset,
            "10 bytes",
            found,
        )
        assert str(error) == f"layer: cut short (expected 10 bytes, found {found}) at byte {offset:#x}"


def test_read_lenient() -> None:
    assert read_lenient(Torn(), 0, 40) == DATA[:40]
    assert read_lenient(Torn(), 0, 41) == b""
    assert read_lenient(Torn(), 500, 1) == b""
