"""``python notebooks/make.py`` builds the notebooks from ``src/`` and runs them; ``--check`` only runs them.

A source is Markdown. A block of ``python`` is a code cell; ``python exercise`` one that the reader changes;
what follows as ``python solution`` is its answer, folded away. ``--solve`` runs with every answer in place,
``--en`` and ``--zh`` those of one language.
Needs nbformat, nbclient and ipykernel (the extra ``test``).
"""

from __future__ import annotations

import re
import sys
import tempfile
from pathlib import Path

import nbformat
from nbclient import NotebookClient

HERE = Path(__file__).parent
LANGUAGES = {"en": HERE, "zh": HERE / "zh"}
SOLUTION = {"en": "Solution", "zh": "答案"}
FENCE = re.compile(r"^```python ?(\w*)\n(.*?)^```\n", re.DOTALL | re.MULTILINE)
SECONDS = 120
WORK = re.compile(rf"{re.escape(tempfile.gettempdir())}/b2d-[a-z0-9_]{{8}}")


def sources(language: str) -> list[Path]:
    """Return the sources of a language, in order."""
    return sorted((HERE / "src" / language).glob("*.md"))


def parts(text: str) -> list[tuple[str, str]]:
    """Return the pieces of a source as (kind, text): markdown, code, exercise or solution."""
    found, position = [], 0
    for match in FENCE.finditer(text):
        found.append(("markdown", text[position : match.start()].strip()))
        found.append((match[1] or "code", match[2].rstrip("\n")))
        position = match.end()
    found.append(("markdown", text[position:].strip()))
    return [(kind, piece) for kind, piece in found if piece]


def build(path: Path, language: str, *, solve: bool = False) -> nbformat.NotebookNode:
    """Return the notebook of a source, not run yet."""
    notebook = nbformat.v4.new_notebook()
    notebook.metadata = {
        "kernelspec": {"display_name": "Python 3", "language": "python", "name": "python3"},
        "language_info": {"name": "python"},
    }
    for kind, piece in parts(path.read_text(encoding="utf-8")):
        if kind == "markdown":
            cell = nbformat.v4.new_markdown_cell(piece)
        elif kind == "solution":
            if solve:
                exercise = notebook.cells[-1]
                exercise.source = exercise.source.replace("answer = None", piece)
            folded = (
                f"<details><summary>{SOLUTION[language]}</summary>\n\n```python\n{piece}\n```\n\n</details>"
            )
            cell = nbformat.v4.new_markdown_cell(folded)
        else:
            cell = nbformat.v4.new_code_cell(piece)
            cell.metadata["tags"] = [kind]
        cell.id = f"cell-{len(notebook.cells):02}"
        notebook.cells.append(cell)
    return notebook


def run(notebook: nbformat.NotebookNode, folder: Path) -> None:
    """Run a notebook in a folder; raises CellExecutionError when a cell fails."""
    NotebookClient(notebook, timeout=SECONDS, resources={"metadata": {"path": str(folder)}}).execute()
    for cell in notebook.cells:
        cell.metadata.pop("execution", None)
        for output in cell.get("outputs", []):
            _forget_page(output)
            _forget_place(output)


def _forget_page(output: dict[str, dict[str, str]]) -> None:
    """Keep no page within a page: it is large, and who only reads the notebook (GitHub) does not show it."""
    if output.get("data", {}).get("text/html", "").startswith("<iframe"):
        del output["data"]["text/html"]


def _forget_place(value: dict[str, object]) -> None:
    """Replace the temporary folder's name, which is another one every time."""
    for key, found in value.items():
        if isinstance(found, dict):
            _forget_place(found)
        elif isinstance(found, str):
            value[key] = WORK.sub("/tmp/b2d-work", found)  # noqa: S108 - only a name in a text


def main() -> None:
    """Build or check every notebook."""
    is_check, solve = "--check" in sys.argv, "--solve" in sys.argv
    chosen = [name for name in LANGUAGES if f"--{name}" in sys.argv]
    for language in chosen or LANGUAGES:
        folder = LANGUAGES[language]
        for path in sources(language):
            notebook = build(path, language, solve=solve)
            run(notebook, folder)
            if solve:
                _all_solved(path, notebook)
            if not is_check and not solve:
                target = folder / f"{path.stem}.ipynb"
                with tempfile.NamedTemporaryFile("w", encoding="utf-8", dir=folder, delete=False) as file:
                    nbformat.write(notebook, file)
                Path(file.name).chmod(0o644)
                Path(file.name).replace(target)
            print(f"{language} {path.stem}: {len(notebook.cells)} cells")


def _all_solved(path: Path, notebook: nbformat.NotebookNode) -> None:
    exercises = [cell for cell in notebook.cells if cell.metadata.get("tags") == ["exercise"]]
    for cell in exercises:
        printed = "".join(output.get("text", "") for output in cell.outputs)
        if "✓" not in printed:
            raise SystemExit(f"{path}: the solution is wrong: {cell.source}")
    if not exercises:
        raise SystemExit(f"{path}: no exercise")


if __name__ == "__main__":
    main()
