"""The notebooks: built from their sources, the same in both languages, and they run."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from b2dinspect.doctor.explanations import explanations
from tests.oracles import PATIENCE, needs

NOTEBOOKS = Path(__file__).parents[2] / "notebooks"
SOURCES = sorted((NOTEBOOKS / "src" / "en").glob("*.md"))
NAMES = [path.stem for path in SOURCES]
FENCE = re.compile(r"^```python ?(\w*)\n(.*?)^```\n", re.DOTALL | re.MULTILINE)
FOLDERS = {"en": NOTEBOOKS, "zh": NOTEBOOKS / "zh"}


def source(name: str, language: str) -> str:
    return (NOTEBOOKS / "src" / language / f"{name}.md").read_text(encoding="utf-8")


def notebook(name: str, language: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((FOLDERS[language] / f"{name}.ipynb").read_text(encoding="utf-8"))
    return found


def shape(text: str) -> list[str]:
    """Return code blocks as they are, and of the words between them only headings, tables and lists."""
    found, position = [], 0
    for match in FENCE.finditer(text):
        found += [*_marks(text[position : match.start()]), match[0]]
        position = match.end()
    return [*found, *_marks(text[position:])]


def _marks(words: str) -> list[str]:
    return re.findall(r"^(#+ |\||-{3}|\*\*)", words, re.MULTILINE)


def test_there_are_nine_in_both_languages() -> None:
    assert [name[0] for name in NAMES] == list("123456789")
    assert sorted(path.stem for path in (NOTEBOOKS / "src" / "zh").glob("*.md")) == NAMES
    for folder in FOLDERS.values():
        assert sorted(path.stem for path in folder.glob("*.ipynb")) == NAMES


@pytest.mark.parametrize("name", NAMES)
def test_both_languages_are_in_step(name: str) -> None:
    translated = source(name, "zh").replace('("zh")', "()")  # what is shown in words asks for the reader's
    assert shape(source(name, "en")) == shape(translated)


@pytest.mark.parametrize("name", NAMES)
def test_it_is_a_real_translation(name: str) -> None:
    words = FENCE.sub("", source(name, "zh"))
    assert len(re.findall(r"[\u4e00-\u9fff]", words)) > 100


@pytest.mark.parametrize("name", NAMES)
def test_each_says_what_one_learns_how_long_it_takes_and_its_sources(name: str) -> None:
    text = source(name, "en")
    for word in (
        "**You will learn**",
        "**Time:**",
        "**Sources:**",
        "```python exercise",
        "```python solution",
    ):
        assert word in text


@pytest.mark.parametrize("language", FOLDERS)
@pytest.mark.parametrize("name", NAMES)
def test_the_stored_notebook_is_its_source_with_outputs(name: str, language: str) -> None:
    cells = notebook(name, language)["cells"]
    code = ["".join(cell["source"]) for cell in cells if cell["cell_type"] == "code"]
    blocks = FENCE.findall(source(name, language))
    assert code == [text.rstrip("\n") for kind, text in blocks if kind != "solution"]
    outputs = [output for cell in cells for output in cell.get("outputs", [])]
    assert outputs
    assert all(output["output_type"] != "error" for output in outputs)
    assert not re.search(r"/home/(?!docker)|/work/|/root/", json.dumps(outputs))


@needs("mke2fs", "debugfs", "ssh")
@pytest.mark.no_cover
@pytest.mark.slow
@pytest.mark.timeout(900)
def test_all_run_and_every_solution_is_right() -> None:
    """In one language: that the code of both is the same is a test of its own."""
    command = [sys.executable, str(NOTEBOOKS / "make.py"), "--solve", "--en"]
    done = subprocess.run(command, capture_output=True, timeout=PATIENCE)
    assert done.returncode == 0, done.stderr.decode()[-3000:]
    assert done.stdout.decode().count("cells") == len(NAMES)


@pytest.mark.parametrize("language", FOLDERS)
@pytest.mark.parametrize("name", NAMES)
def test_what_a_stored_output_advises_is_advised_today(name: str, language: str) -> None:
    fixes = [item.fix for item in explanations()]
    outputs = [output for cell in notebook(name, language)["cells"] for output in cell.get("outputs", ())]
    plain = ["".join(one.get("data", {}).get("text/plain", one.get("text", ""))) for one in outputs]
    for advice in re.findall(r"Do: (.{24})", " ".join(" ".join(plain).split())):
        assert any(fix.startswith(advice) for fix in fixes), advice
