"""Offsets and patterns as people type them, and finding what Python finds."""

from __future__ import annotations

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from b2dinspect.errors import UsageError
from b2dinspect.source import MemorySource
from b2dinspect.views.search import find, parse_offset, parse_pattern


@pytest.mark.parametrize(
    ("text", "value"),
    [("0", 0), ("0x200", 512), ("4096", 4096), ("1M", 1 << 20), ("2048s", 1 << 20), ("2k", 2048)],
)
def test_offsets(text: str, value: int) -> None:
    assert parse_offset(text) == value


@pytest.mark.parametrize("text", ["", "-1", "x", "0x", "0x10K", "1.5M", "9" * 30, "１"])
def test_what_is_no_offset(text: str) -> None:
    with pytest.raises(UsageError):
        parse_offset(text)


@given(st.binary(min_size=1, max_size=400), st.integers(0, 400), st.integers(0, 400), st.integers(1, 8))
@example(b"x", 0, 1, 1)
def test_a_pattern_is_found_where_python_finds_it(data: bytes, taken: int, start: int, length: int) -> None:
    pattern = data[taken : taken + length] or b"x"
    found = find(MemorySource(data), pattern, min(start, len(data)))
    at = data.find(pattern, min(start, len(data)))
    assert found == (None if at < 0 else at)


def test_a_pattern_across_two_pieces() -> None:
    data = bytes(1 << 20) + b"yz"
    data = data[: (1 << 20) - 1] + b"x" + data[1 << 20 :]
    assert find(MemorySource(data), b"xyz") == (1 << 20) - 1


@pytest.mark.parametrize("text", ["", "x" * 5000])
def test_what_cannot_be_searched_for(text: str) -> None:
    with pytest.raises(UsageError):
        parse_pattern(text)
