"""What the documents say is true: commands, links, samples, states, and the picture."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any, get_args

import pytest
import typer

from b2dinspect.cli.main import app
from b2dinspect.cli.provision.main import app as companion
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


def names(program: typer.Typer) -> set[str]:
    return {found.name or found.callback.__name__ for found in program.registered_commands if found.callback}


def test_readme_names_every_command_and_no_other() -> None:
    assert set(re.findall(r"`b2dinspect (\w+)", README)) | {"cat", "get"} == names(app)
    assert set(re.findall(r"`b2dprovision (\w+)", README)) == names(companion)


@pytest.mark.parametrize("word", [*get_args(DiskState), *get_args(Source)])
def test_readme_explains_every_state_and_source(word: str) -> None:
    assert f"| `{word}` |" in README


@pytest.mark.parametrize("document", DOCUMENTS)
def test_local_links_lead_somewhere(document: str) -> None:
    path = ROOT / document
    links = re.findall(r"\]\(([^)#]+)\)", path.read_text(encoding="utf-8"))
    assert [link for link in links if "://" not in link and not (path.parent / link).exists()] == []


def test_readme_picture_is_the_output_of_today() -> None:
    namespace: dict[str, object] = {"__file__": str(ROOT / "docs" / "picture.py"), "__name__": "picture"}
    exec((ROOT / "docs" / "picture.py").read_text(), namespace)
    draw = namespace["draw"]
    assert callable(draw)
    assert text_of(draw()) == text_of((ROOT / "docs" / "show.svg").read_text(encoding="utf-8"))


def text_of(svg: str) -> list[str]:
    return re.findall(r"<text[^>]*>(.*?)</text>", svg)


@pytest.mark.parametrize("page", ["findings", "commands", "formats", "python"])
def test_the_generated_pages_are_those_of_today(page: str) -> None:
    path = ROOT / "docs" / "reference.py"
    namespace: dict[str, Any] = {"__file__": str(path), "__name__": "reference"}
    exec(path.read_text(), namespace)
    kept = (ROOT / "docs" / "site" / "reference" / f"{page}.md").read_text(encoding="utf-8")
    assert namespace["PAGES"][page]() == kept


def test_the_map_in_the_readme_is_the_output_of_today() -> None:
    path = ROOT / "docs" / "picture.py"
    namespace: dict[str, Any] = {"__file__": str(path), "__name__": "picture"}
    exec(path.read_text(), namespace)
    assert (ROOT / "docs" / "map.svg").read_text(encoding="utf-8") == namespace["draw_disk"]()
