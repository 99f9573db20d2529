"""The dump in a terminal: rows as wide as it is."""

from __future__ import annotations

import pytest

from b2dinspect.render.export import plain
from b2dinspect.render.hexdump import dump
from b2dinspect.views.annotation import Region

DATA = bytes(range(1, 33))


@pytest.mark.parametrize(
    ("width", "length"), [(100, 16), (76, 16), (75, 8), (60, 8), (44, 8), (43, 4), (30, 4)]
)
def test_a_row_has_as_many_bytes_as_fit(width: int, length: int) -> None:
    shown = plain(dump(Region("x", "virtual", 0, DATA, (), ())), width).splitlines()
    rows = [line for line in shown if line.startswith("000000")]
    assert len(rows) == len(DATA) // length
    assert rows[0].split()[1 : length + 1] == [f"{byte:02x}" for byte in DATA[:length]]
    assert all(len(line) <= width for line in rows)
