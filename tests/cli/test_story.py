"""The replay, as its users make it: beside a run, and later out of what the run told."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from b2dinspect.cli.provision.main import app
from tests.oracles import needs

pytestmark = needs("ssh")
SMALL = ("--size", "1200MiB", "--format", "vdi", "--key-type", "ed25519")


def invoke(*words: object, stdin: str = "", **env: str) -> Any:
    return CliRunner().invoke(
        app, [str(word) for word in words], env=env, input=stdin, catch_exceptions=False
    )


@pytest.fixture(scope="module")
def told(tmp_path_factory: pytest.TempPathFactory) -> str:
    done = invoke("run", "demo", *SMALL, "--json", "--dir", tmp_path_factory.mktemp("machines"))
    assert done.exit_code == 0, done.stderr
    return str(done.stdout)


def test_beside_a_run_that_fails(tmp_path: Path) -> None:
    page = tmp_path / "Geschichte 1.html"
    words = ("--fault", "no-magic", "--html", page, "--language", "zh")
    done = invoke("run", "demo", *SMALL, "--dir", tmp_path, *words)
    assert done.exit_code == 1
    text = page.read_text(encoding="utf-8")
    assert '<html lang="zh-Hans">' in text
    assert "The login dies here" in text
    assert "virtual offset" in text, "no bytes are explained"


@pytest.mark.parametrize("way", ["-", "file"])
def test_out_of_what_a_run_told(way: str, told: str, tmp_path: Path) -> None:
    page, events = tmp_path / "story.html", tmp_path / "events.ndjson"
    events.write_text(told, encoding="utf-8")
    done = invoke(
        "story", events if way == "file" else "-", "-o", page, stdin=told, LANG="zh_CN.UTF-8", LC_ALL=""
    )
    assert done.exit_code == 0, done.stderr
    text = page.read_text(encoding="utf-8")
    assert re.findall(r'id="stage-(\d+)"', text) == [str(number) for number in range(1, 17)]
    assert '<html lang="zh-Hans">' in text
    again = invoke("story", events, "-o", page)
    assert again.exit_code == 2
    assert "--force" in again.stderr
    assert invoke("story", events, "-o", page, "--force", B2D_LANG="en").exit_code == 0
    assert '<html lang="en">' in page.read_text(encoding="utf-8")


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "no stage of a provision is told there"),
        (b"PK\x03\x04\n", "line 1 is no event of a provision"),
        (b"\xff\xfe\x00", "that is no text"),
        (b"[]\n", "line 1 is no event of a provision"),
    ],
)
def test_what_tells_no_story_leaves_no_page(data: bytes, message: str, tmp_path: Path) -> None:
    (tmp_path / "events").write_bytes(data)
    done = invoke("story", tmp_path / "events", "-o", tmp_path / "story.html")
    assert done.exit_code == 2
    assert message in done.stderr
    assert [path.name for path in tmp_path.iterdir()] == ["events"]


def test_no_events_there(tmp_path: Path) -> None:
    done = invoke("story", tmp_path / "nothing", "-o", tmp_path / "story.html")
    assert (done.exit_code, "no such file" in done.stderr) == (2, True)
    assert not (tmp_path / "story.html").exists()


def test_the_page_is_there_already_before_anything_is_made(tmp_path: Path) -> None:
    (tmp_path / "story.html").write_text("mine", encoding="utf-8")
    done = invoke("run", "demo", *SMALL, "--dir", tmp_path / "m", "--html", tmp_path / "story.html")
    assert done.exit_code == 2
    assert (tmp_path / "story.html").read_text(encoding="utf-8") == "mine"
    assert not (tmp_path / "m").exists()
