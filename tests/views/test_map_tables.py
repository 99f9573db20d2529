"""The tables that say where blocks are, of every format that the contract suite can make."""

from __future__ import annotations

from pathlib import Path

import pytest

from b2dinspect.evidence.chain import open_disk
from b2dinspect.inspection.walk import inspect_disk
from b2dinspect.views.annotation import MAX_LENGTH, map_table, place, region
from b2dinspect.views.diskmap import draw
from tests.contracts.test_container_contract import ROWS, Row
from tests.oracles import needs

FIRST = {
    "vdi": "block map",
    "vhd": "block allocation table",
    "vhdx": "block allocation table",
    "vmdk": "grain directory",
    "qcow2": "L1 table",
}
"""What each format calls the table that leads to all others."""


@pytest.mark.parametrize("row", [pytest.param(row, id=row.name, marks=needs(*row.programs)) for row in ROWS])
@pytest.mark.slow(but=6)
def test_tables_and_picture(row: Row, tmp_path: Path) -> None:
    path = tmp_path / "disk"
    row.make(path)
    with open_disk(str(path)) as opened:
        disk = inspect_disk(opened.container, str(path))
        first = map_table(disk)
        whole = draw(disk).file
        assert sum(part.length for part in whole.parts) == opened.container.file.size
        if first is None:
            assert row.format == "raw" or opened.container.variant == "fixed"
            assert place(disk, "map") is None
            return
        shown = place(disk, "map")
        assert shown is not None
        assert shown.offset == first.offset
        assert len(shown.data) == min(first.length, MAX_LENGTH)
        if not first.entry_size:
            assert first.name == "extent lines"
            assert {span.field.name for span in shown.spans} >= {"extent[0]"}
            return
        assert row.format in FIRST, "a new format names its first table in FIRST"
        assert first.name == FIRST[row.format]
        named = [span for span in shown.spans if span.structure == first.name]
        assert len(named) == first.entries
        assert any(not span.field.meaning for span in named)
        for table in opened.container.tables():
            assert table.offset + table.length <= opened.container.file.size, table
            length = min(table.length, 4096)
            spans = region(disk, "file", table.offset, length).spans
            assert not table.entry_size or any(span.structure == table.name for span in spans)
