"""Reports: complete, self-contained, and deaf to what the evidence says."""

from __future__ import annotations

import hashlib
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from b2dinspect.doctor.case import open_case
from b2dinspect.doctor.report import gather
from b2dinspect.render import html, markdown
from b2dinspect.render.annotated import script
from b2dinspect.render.markup import Markdown
from tests.axe import faults
from tests.cli.helpers import MANIFEST, invoke, is_harmless, unpacked
from tests.incidents import NAMES, copy_of, incident
from tests.opened import keep
from tests.oracles import needs, run

VOID = {"meta", "br", "input", "img", "rect", "path", "circle"}


class Checker(HTMLParser):
    """Every tag is closed, and only these tags and attributes are there."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.tags: set[str] = set()
        self.attributes: set[str] = set()
        self.text = ""

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.tags.add(tag)
        self.attributes.update(name for name, _ in attrs)
        if tag not in VOID:
            self.open.append(tag)

    def handle_endtag(self, tag: str) -> None:
        if tag not in VOID:
            assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        self.text += data


def checked(page: str) -> Checker:
    checker = Checker()
    checker.feed(page)
    assert checker.open == []
    assert page.count("<script") == page.count(script.ELEMENT) <= 1
    assert not checker.tags & {"img", "link", "iframe", "object", "base", "a"}
    assert not any(name.startswith("on") or name in ("src", "href", "action") for name in checker.attributes)
    return checker


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.slow
def test_every_incident(name: str) -> None:
    found = gather(keep(open_case(str(incident(name)))))
    page = html.page(found)
    text = checked(page).text
    assert is_harmless(page)
    assert not re.search(r"url\(|@import", page)
    for one in found.diagnosis.findings:
        assert one.finding.id in text
        assert one.finding.id in markdown.page(found)
    for link in found.diagnosis.links:
        assert link.name in text


@pytest.mark.parametrize("name", MANIFEST)
@pytest.mark.slow
@pytest.mark.no_cover
def test_every_sample_with_its_hash(name: str, tmp_path: Path) -> None:
    page = tmp_path / "r.html"
    done = invoke("report", unpacked(name), "-o", page)
    assert done.returncode in (0, 1)
    assert MANIFEST[name]["sha256"] in checked(page.read_text()).text
    assert hashlib.md5(unpacked(name).read_bytes()).hexdigest() in page.read_text()


def test_no_private_key_is_in_it() -> None:
    folder = incident("healthy-virtualbox")
    page = html.page(gather(keep(open_case(str(folder)))))
    assert "PRIVATE KEY" not in page
    secret = (folder / "id_rsa").read_text().splitlines()[5]
    assert secret not in page
    assert hashlib.sha256((folder / "id_rsa").read_bytes()).hexdigest() not in page


def test_hostile_text_everywhere(tmp_path: Path) -> None:
    folder = copy_of("userdata-lost", tmp_path)
    evil = "</title><script>alert(1)</script><img src=x onerror=alert(1)>`|\x1b[2J\u202e&amp;"
    config = json.loads((folder / "config.json").read_bytes())
    config["DriverName"] = evil
    config["Driver"]["SSHKeyPath"] = f"/{evil}"
    (folder / "config.json").write_text(json.dumps(config))
    data = bytearray((folder / "disk.vmdk").read_bytes())
    at = data.index(b'ddb.comment = "' if b'ddb.comment = "' in data else b"ddb.adapterType")
    data[at : at + 20] = b"<script>x</script>\x1b]"
    (folder / "disk.vmdk").write_bytes(data)
    found = gather(keep(open_case(str(folder))))
    page = html.page(found)
    checked(page)
    assert is_harmless(page)
    text = markdown.page(found)
    assert is_harmless(text)
    outside = re.sub(r"(`+)(?!`).*?(?<!`)\1(?!`)", "", text)
    assert "<" not in outside


@pytest.mark.parametrize("value", ["", "`", "``", "a`b``c", "|", "`|`", "plain", "\x1b`"])
def test_a_code_span_cannot_be_left(value: str) -> None:
    span = str(Markdown.of("{}", value))
    assert is_harmless(span)
    if value:
        fence = re.match("`+", span)
        assert fence is not None
        inner = span[len(fence[0]) : -len(fence[0])]
        assert fence[0] not in re.findall("`+", inner)
        assert "|" not in inner.replace("\\|", "")


@pytest.mark.slow
def test_output(tmp_path: Path) -> None:
    page = tmp_path / "r.md"
    assert invoke("report", unpacked("fresh.vdi"), "-o", page).returncode == 1
    assert page.read_text().startswith("# b2dinspect report")
    assert invoke("report", unpacked("fresh.vdi"), "-o", page).returncode == 2
    assert invoke("report", unpacked("fresh.vdi"), "-o", page, "--force").returncode == 1
    assert invoke("report", unpacked("fresh.vdi")).stdout.startswith(b"<!DOCTYPE html>")
    assert invoke("report", tmp_path / "nothing").returncode == 2


@needs("chromium")
@pytest.mark.parametrize("width", [400, 1100])
@pytest.mark.slow
@pytest.mark.no_cover
def test_a_browser_shows_it_without_complaint(width: int, tmp_path: Path) -> None:
    page, picture = tmp_path / "r.html", tmp_path / "r.png"
    invoke("report", incident("userdata-lost"), "-o", page)
    size = f"--window-size={width},900"
    flags = ("--headless", "--no-sandbox", "--disable-gpu", "--enable-logging=stderr", size)
    done = run("chromium", *flags, f"--user-data-dir={tmp_path / 'profile'}", f"--screenshot={picture}", page)
    assert picture.stat().st_size > 10_000
    assert b"CONSOLE" not in done.stderr


@needs("chromium")
@pytest.mark.parametrize("words", [("report", "-o"), ("map", "--html"), ("hexdump", "--html")], ids=" ".join)
@pytest.mark.slow
@pytest.mark.no_cover
def test_axe_finds_no_fault(words: tuple[str, str], tmp_path: Path) -> None:
    page = tmp_path / "a.html"
    invoke(words[0], incident("userdata-lost"), words[1], page)
    assert faults(page.read_text(encoding="utf-8"), tmp_path) == []
