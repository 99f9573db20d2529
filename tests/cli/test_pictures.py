"""hexdump and map, on the screen and as files, with hostile bytes."""

from __future__ import annotations

import re
import shutil
from pathlib import Path
from xml.etree import ElementTree

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from b2dinspect.containers.raw.reader import RawContainer
from b2dinspect.inspection.walk import inspect_disk
from b2dinspect.render import diskmap as map_render
from b2dinspect.render import export, hexdump, svg
from b2dinspect.render.annotated import script
from b2dinspect.source import MemorySource
from b2dinspect.views.annotation import overview
from b2dinspect.views.diskmap import draw
from tests.cli.helpers import MANIFEST, document, invoke, is_harmless, unpacked
from tests.incidents import incident

EVIL = b"<script>alert(1)</script>\x1b[2J&'\"[red]{0}"


@pytest.fixture
def hostile(tmp_path: Path) -> Path:
    """Return a VDI whose comment is markup and control characters, and whose file name is no better."""
    data = bytearray(unpacked("provisioned-automount.vdi").read_bytes())
    data[0x54 : 0x54 + len(EVIL)] = EVIL
    at = data.index(b"boot2docker-data", 2 << 20)
    data[at : at + 16] = b"<b>\x1b[31m&amp;\x00\x00\x00\x00\x00"[:16].ljust(16, b"\0")
    path = tmp_path / "<img src=x onerror=alert(1)>{0}.vdi"
    path.write_bytes(data)
    return path


@pytest.mark.parametrize("columns", [60, 80, 120])
@pytest.mark.parametrize("name", MANIFEST)
@pytest.mark.slow
@pytest.mark.no_cover
def test_they_fit_the_screen(name: str, columns: int) -> None:
    for command in ("map", "hexdump"):
        done = invoke(command, unpacked(name), columns=columns)
        assert done.returncode == 0
        text = done.stdout.decode()
        assert is_harmless(text)
        if command == "map" or columns >= 80:
            assert max(len(line) for line in text.splitlines()) <= columns


def test_a_row_names_its_fields_without_colour() -> None:
    text = invoke("hexdump", unpacked("fresh.vdi"), "--at", "magic", columns=120).stdout.decode()
    lines = text.splitlines()
    assert lines[1].startswith("00000000  62 6f 6f 74 32 64 6f 63 6b 65 72 2c 20 70 6c 65   boot2docker, ple")
    assert lines[2].split() == ["a" * 47]
    assert 'a name = "boot2docker, please format-me"' in lines[3]
    assert "more bytes of zeros" in text


def test_the_block_map_is_folded() -> None:
    text = invoke("hexdump", unpacked("fresh.vdi"), "--at", "map").stdout.decode()
    assert "block map[8] to block map[16383], not stored" in text
    assert len(text.splitlines()) < 20


def test_an_offset_of_the_file_and_of_the_disk() -> None:
    image = unpacked("fresh.vdi")
    of_disk = invoke("hexdump", image, "--at", "0", "-n", "16").stdout
    of_file = invoke("hexdump", image, "--at", "2M", "-n", "16", "--file").stdout
    assert b"boot2docker" in of_disk
    assert b"00200000" in of_file
    assert b"62 6f 6f 74" in of_file
    assert invoke("hexdump", image, "--at", "gpt").returncode == 2
    assert invoke("hexdump", image, "--at", "1T").returncode == 2


@pytest.mark.parametrize("name", ["fresh.vdi", "provisioned-automount.vdi", "fresh.raw"])
def test_json(name: str) -> None:
    found = document(invoke("hexdump", unpacked(name), "--json"), "hexdump")
    assert found["regions"]
    document(invoke("map", unpacked(name), "--json"), "map")


def test_missing_bytes_are_question_marks(tmp_path: Path) -> None:
    image = tmp_path / "cut.vdi"
    image.write_bytes(unpacked("fresh.vdi").read_bytes()[: (2 << 20) + 1024])
    assert b"?? ?? ??" in invoke("hexdump", image, "--at", "0", "-n", "4096").stdout


@pytest.mark.parametrize("command", ["hexdump", "map"])
@pytest.mark.slow
def test_files_are_made_whole_and_not_overwritten(command: str, tmp_path: Path) -> None:
    drawing, page = tmp_path / "a.svg", tmp_path / "a.html"
    assert invoke(command, unpacked("fresh.vdi"), "--svg", drawing, "--html", page).returncode == 0
    ElementTree.fromstring(drawing.read_text())
    assert page.read_text().startswith("<!DOCTYPE html>")
    assert invoke(command, unpacked("fresh.vdi"), "--svg", drawing).returncode == 2
    assert invoke(command, unpacked("fresh.vdi"), "--svg", drawing, "--force").returncode == 0
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.html", "a.svg"]


@pytest.mark.parametrize("command", ["hexdump", "map"])
@pytest.mark.slow
def test_hostile_text_is_shown_and_never_obeyed(command: str, hostile: Path, tmp_path: Path) -> None:
    assert is_harmless(invoke(command, hostile).stdout.decode())
    drawing, page = tmp_path / "a.svg", tmp_path / "a.html"
    assert invoke(command, hostile, "--svg", drawing, "--html", page).returncode == 0
    for made in (drawing, page):
        text = made.read_text().replace(script.ELEMENT, "")
        assert is_harmless(text)
        for tag in ("<script", "<img", "<b>"):
            assert tag not in text.lower()
    tree = ElementTree.fromstring(drawing.read_text())
    assert {element.tag.rsplit("}")[-1] for element in tree.iter()} <= {
        *("svg", "title", "style", "rect", "text", "g", "path", "circle", "defs", "clipPath"),
    }


def test_pages_load_nothing(tmp_path: Path) -> None:
    for command in ("hexdump", "map"):
        page = tmp_path / f"{command}.html"
        invoke(command, incident("healthy-virtualbox"), "--html", page)
        text = page.read_text().replace(script.ELEMENT, "")
        assert not re.search(r"""(src|href)\s*=|url\(|@import|<link|<script""", text)
        assert 'name="viewport"' in text
        assert 'lang="en"' in text


@settings(max_examples=60, deadline=None)
@given(st.binary(min_size=1, max_size=3000))
def test_any_bytes_can_be_drawn(data: bytes) -> None:
    facts = inspect_disk(RawContainer(MemorySource(data)), "x")
    parts = [part for region in overview(facts) for part in hexdump.dump(region)]
    ElementTree.fromstring(export.svg(parts, "x"))
    export.page(parts, "x")
    found = draw(facts)
    ElementTree.fromstring(svg.picture(found, "x"))
    list(map_render.picture(found))


def test_the_evidence_is_not_touched(tmp_path: Path) -> None:
    image = tmp_path / "x.vdi"
    shutil.copy(unpacked("fresh.vdi"), image)
    before = image.read_bytes()
    invoke("map", image, "--svg", tmp_path / "a.svg")
    assert image.read_bytes() == before
    assert invoke("map", image, "--svg", image).returncode == 2
    assert image.read_bytes() == before
