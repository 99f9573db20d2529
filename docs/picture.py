"""``python docs/picture.py`` draws the README's picture: the real output of ``show`` on a sample, as SVG."""

from __future__ import annotations

from io import StringIO
from pathlib import Path

from rich.console import Console

from b2dinspect.doctor.disk import examine
from b2dinspect.inspection import inspect
from b2dinspect.render.console import show

HERE = Path(__file__).parent
SAMPLE = "sample_images/provisioned-automount.vdi.gz"


def draw() -> str:
    """Return the SVG."""
    facts = inspect(str(HERE.parent / SAMPLE))._replace(path=SAMPLE)
    console = Console(record=True, width=88, file=StringIO(), force_terminal=True, color_system="truecolor")
    console.print(show(facts, examine(facts)), markup=False, highlight=False)
    title = f"b2dinspect show {SAMPLE}"
    return console.export_svg(title=title, unique_id="b2dinspect")


if __name__ == "__main__":
    (HERE / "show.svg").write_text(draw(), encoding="utf-8")
