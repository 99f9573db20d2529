"""Annotated bytes in a page: every byte and every field once, and a script that lights them up."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest

from b2dinspect.fields import Field
from b2dinspect.inspection.walk import inspect
from b2dinspect.render.annotated import annotated, page
from b2dinspect.source import Extent
from b2dinspect.views.annotation import Region, Span, overview, region
from tests.axe import browsed
from tests.cli.helpers import unpacked
from tests.oracles import needs


@pytest.fixture(scope="module")
def facts() -> Any:
    with inspect(str(unpacked("provisioned-autoformat.vdi"))) as found:
        yield found


def handmade(**changes: Any) -> Region:
    spans = (
        Span(4096, "outer", Field(0, 4, "magic", 7, "", "")),
        Span(4102, "outer", Field(6, 2, "size", 9, "", "")),
    )
    data = b"\1\2\3\4\0\0\5\6" + bytes(8) + bytes(160) + b"\xff" * 16
    return Region("handmade", "virtual", 4096, data, (), spans, 512)._replace(**changes)


def cells(text: str) -> list[tuple[str, str]]:
    return re.findall(r'data-run="(\d+)" data-byte="\d+">(..)<', text)


def rows(text: str) -> list[list[str]]:
    found = re.findall(r'<tr data-run="\d+">(.*?)</tr>', text)
    return [[re.sub("<[^>]*>", "", one) for one in re.findall("<td>(.*?)</td>", row)] for row in found]


def test_every_byte_belongs_to_a_row_of_the_fields() -> None:
    text = str(annotated(handmade()))
    assert [name for _, _, name, *_ in rows(text)] == ["magic", "unclaimed", "size", "unclaimed"]
    assert [int(size) for _, size, *_ in rows(text)] == [4, 2, 2, 184]
    assert [found for *_, found, _ in rows(text)][1] == "zeros"
    assert [run for run, _ in cells(text)][:9] == ["0"] * 4 + ["1"] * 2 + ["2"] * 2 + ["3"]
    assert [shown for _, shown in cells(text)][:8] == ["01", "02", "03", "04", "00", "00", "05", "06"]


def test_zeros_in_which_nothing_begins_are_told_and_not_shown() -> None:
    text = str(annotated(handmade()))
    assert "* 160 zeros more" in text
    assert len(cells(text)) == 32
    assert len(cells(str(annotated(handmade(data=bytes(192), spans=()))))) == 16


@pytest.mark.parametrize(
    ("extents", "places"),
    [
        ((), ["00000200", ""]),
        ((Extent(4096, 4096, "data", 512),), ["00000200", "000002b0"]),
        ((Extent(4096, 16, "data", 512), Extent(4112, 4080, "zero")), ["00000200", ""]),
        (
            (Extent(4096, 16, "data", 512), Extent(4112, 4080, "data", 1 << 40)),
            ["00000000200", "100000000a0"],
        ),
    ],
)
def test_the_place_in_the_file_stands_beside_that_on_the_disk(
    extents: tuple[Extent, ...], places: list[str]
) -> None:
    text = str(annotated(handmade(extents=extents)))
    found = [line for line in text.splitlines() if "</i>  " in line]
    shown = [re.sub("<[^>]*>", "", line.split("</i>", 1)[1]).split("  ")[1].strip() for line in found]
    width = max(map(len, places))
    assert [one if len(one) == width and not one.startswith("ff ") else "" for one in shown] == places


def test_what_is_missing_is_no_byte() -> None:
    assert [shown for _, shown in cells(str(annotated(handmade(missing=((0, 2),)))))][:3] == [
        "??",
        "??",
        "03",
    ]


def test_a_real_region_tells_where_its_rows_are_in_the_file(facts: Any) -> None:
    found = region(facts, "virtual", 512, 2048)
    assert [found.in_file(at) for at in (0, 16, 600)] == [
        facts.container.locate(512 + at) for at in (0, 16, 600)
    ]
    text = str(annotated(found))
    assert f"{facts.container.locate(528):08x}" in text


def test_nothing_of_the_evidence_gets_out_raw() -> None:
    text = page("<i>.vdi", [handmade(title="<script>alert(1)</script>")])
    assert text.count("<script>") == 1
    assert "<i>.vdi" not in text


@needs("chromium")
@pytest.mark.slow
def test_a_browser_selects_searches_and_jumps(facts: Any, tmp_path: Path) -> None:
    asked = """
      const form = document.querySelector(".finder"), said = () => form.querySelector("output").textContent;
      const ask = (name, value) => { form.reset(); form.elements[name].value = value; form.requestSubmit(); };
      const seen = [];
      document.querySelector(".bytes b").click();
      seen.push(document.querySelectorAll("tr.lit").length);
      document.querySelector(".fields tr[data-run='1']").click();
      seen.push(document.querySelectorAll("b.lit").length > 0);
      ask("find", "EFI PART"); seen.push(document.querySelectorAll("b.found").length, said());
      ask("find", "45 46 49 20"); seen.push(document.querySelectorAll("b.found").length);
      ask("find", "nowhere at all"); seen.push(said());
      ask("to", "0x200"); seen.push(said(), document.querySelector("tr.lit td").textContent);
      ask("to", "99999999999"); seen.push(said());
      ask("to", "x"); seen.push(said());
      return seen;
    """
    assert browsed(page("x", overview(facts)), asked, tmp_path) == [
        *(1, True, 8, "1 of 1", 4, "not on this page", "", "0x200"),
        *("not on this page: 99999999999", "no offset: x"),
    ]
