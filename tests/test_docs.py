"""What the documents say is true: commands, links, samples, states, and the picture."""

from __future__ import annotations

import json
import re
import runpy
from pathlib import Path
from typing import Any, get_args

import pytest
import typer

from b2dinspect.cli.main import COMMANDS, app
from b2dinspect.cli.provision.main import COMMANDS as COMPANION_COMMANDS
from b2dinspect.cli.provision.main import app as companion
from b2dinspect.containers import FORMATS
from b2dinspect.inspection.facts import DiskState, Source

ROOT = Path(__file__).parent.parent
README = (ROOT / "README.md").read_text(encoding="utf-8")
DOCUMENTS = ["README.md", "CONTRIBUTING.md", "ARCHITECTURE.md", "CHANGELOG.md", "sample_images/README.md"]


def command(name: str) -> str:
    found = re.search(rf"<!-- {name} -->\n```sh\n(.*?)\n```", README, re.DOTALL)
    assert found is not None
    return found[1]


def test_ci_runs_the_readme_test_command() -> None:
    assert command("test") in (ROOT / ".ci" / "run").read_text()


def test_readme_try_command_names_a_sample() -> None:
    sample = command("try").split()[-1]
    assert (ROOT / sample).is_file()


def test_readme_names_every_command_and_no_other() -> None:
    assert set(re.findall(r"`b2dinspect (\w+)", README)) | {"cat", "get"} == set(COMMANDS)
    assert set(re.findall(r"`b2dprovision (\w+)", README)) == set(COMPANION_COMMANDS)


PAGES = (*DOCUMENTS, *(str(path.relative_to(ROOT)) for path in (ROOT / ".github").rglob("*.*")))


@pytest.mark.parametrize("page", PAGES)
def test_no_page_names_a_command_or_option_that_there_is_not(page: str) -> None:
    found = re.findall(r"`(b2dinspect|b2dprovision) (\w+)([^`]*)`", (ROOT / page).read_text(encoding="utf-8"))
    for program, name, rest in found:
        group: Any = typer.main.get_command(app if program == "b2dinspect" else companion)
        meant = group.commands[name]
        if hasattr(meant, "commands"):
            meant = meant.commands[rest.split()[0]]
        known = {option for param in meant.params for option in (*param.opts, *param.secondary_opts)}
        assert set(re.findall(r"(?<!\S)--?[a-z][\w-]*", rest)) <= known, f"{program} {name}{rest}"


@pytest.mark.parametrize("word", [*get_args(DiskState), *get_args(Source)])
def test_readme_explains_every_state_and_source(word: str) -> None:
    assert f"| `{word}` |" in README


@pytest.mark.parametrize("document", DOCUMENTS)
def test_local_links_lead_somewhere(document: str) -> None:
    path = ROOT / document
    links = re.findall(r"\]\(([^)#]+)\)", path.read_text(encoding="utf-8"))
    assert [link for link in links if "://" not in link and not (path.parent / link).exists()] == []


def script(name: str) -> dict[str, Any]:
    """Return what a script of ``docs`` defines."""
    return runpy.run_path(str(ROOT / "docs" / f"{name}.py"), run_name=name)


def test_readme_picture_is_the_output_of_today() -> None:
    assert text_of(script("picture")["draw"]()) == text_of(
        (ROOT / "docs" / "show.svg").read_text(encoding="utf-8")
    )


def text_of(svg: str) -> list[str]:
    return re.findall(r"<text[^>]*>(.*?)</text>", svg)


def test_the_page_of_formats_has_every_container() -> None:
    told = {name.lower() for name, _ in script("reference")["STRUCTURES"]}
    assert {name for name, known in FORMATS.items() if not known.is_last} <= told


@pytest.mark.parametrize("page", ["findings", "commands", "formats", "python"])
def test_the_generated_pages_are_those_of_today(page: str) -> None:
    kept = (ROOT / "docs" / "site" / "reference" / f"{page}.md").read_text(encoding="utf-8")
    assert script("reference")["PAGES"][page]() == kept


def test_the_map_in_the_readme_is_the_output_of_today() -> None:
    drawn = script("picture")["draw_disk"]()
    assert (ROOT / "docs" / "map.svg").read_text(encoding="utf-8") == drawn


def test_the_picture_of_the_rooms_is_what_the_imports_give() -> None:
    rooms = script("rooms")
    today = rooms["graph"]()
    assert rooms["kept"]() == json.loads(rooms["data"](today)), "python docs/rooms.py draws it anew"
    assert rooms["draw"](today) == rooms["draw"](today)


def test_no_arrow_of_the_rooms_points_upward() -> None:
    found = script("rooms")["graph"]()
    floor = {room: number for number, rooms in enumerate(found.floors) for room in rooms}
    assert [pair for pair in found.imports if floor[pair[0]] >= floor[pair[1]]] == []


def test_only_implied_arrows_are_left_out() -> None:
    direct = script("rooms")["direct"]
    assert direct([("a", "b"), ("b", "c"), ("a", "c"), ("a", "d")]) == [("a", "b"), ("b", "c"), ("a", "d")]
