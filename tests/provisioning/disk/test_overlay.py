"""A disk with changes that nobody has written yet."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from b2dinspect.provisioning.disk.overlay import Change, Overlay
from b2dinspect.source import MemorySource

SIZE = 4096
BASE = bytes(range(256)) * (SIZE // 256)

writes = st.lists(
    st.tuples(st.integers(0, SIZE - 1), st.binary(min_size=1, max_size=1500)).filter(
        lambda one: one[0] + len(one[1]) <= SIZE
    ),
    max_size=8,
)


@given(writes, st.integers(0, SIZE), st.integers(0, SIZE))
def test_it_reads_as_if_written(pieces: list[tuple[int, bytes]], start: int, length: int) -> None:
    model, overlay = bytearray(BASE), Overlay(MemorySource(BASE))
    for offset, data in pieces:
        overlay.pwrite(offset, data)
        model[offset : offset + len(data)] = data
    assert overlay.pread(start, length) == bytes(model[start : start + length])
    assert overlay.pread(0, SIZE) == bytes(model)


@given(writes)
def test_the_differences_make_one_of_the_other(pieces: list[tuple[int, bytes]]) -> None:
    overlay = Overlay(MemorySource(BASE))
    for offset, data in pieces:
        overlay.pwrite(offset, data)
    rebuilt = bytearray(BASE)
    for change in overlay.differences():
        assert BASE[change.offset : change.offset + len(change.old)] == change.old
        assert change.old != change.new
        rebuilt[change.offset : change.offset + len(change.new)] = change.new
    assert bytes(rebuilt) == overlay.pread(0, SIZE)


@given(writes)
def test_the_extents_cover_it_once(pieces: list[tuple[int, bytes]]) -> None:
    overlay = Overlay(MemorySource(BASE))
    for offset, data in pieces:
        overlay.pwrite(offset, data)
    position = 0
    for extent in overlay.extents():
        assert extent.offset == position
        position += extent.length
    assert position == SIZE


def test_a_change_is_told_once() -> None:
    overlay = Overlay(MemorySource(BASE))
    overlay.pwrite(600, b"new")
    assert [write.virtual_offset for write in overlay.changes()] == [512]
    assert overlay.changes() == ()
    overlay.pwrite(601, b"x")
    assert [write.virtual_offset for write in overlay.changes()] == [512]


def test_what_is_written_as_it_was_is_no_difference() -> None:
    overlay = Overlay(MemorySource(BASE))
    overlay.pwrite(512, BASE[512:1024])
    overlay.pwrite(2048, b"?")
    assert overlay.differences() == [Change(2048, BASE[2048:2560], b"?" + BASE[2049:2560])]
