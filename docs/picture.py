"""``python docs/picture.py`` draws the README's pictures: real output, as SVG."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable
from io import StringIO
from pathlib import Path
from unittest.mock import patch

from rich.console import Console, RenderableType

from b2dinspect.doctor.disk import examine
from b2dinspect.inspection.walk import inspect
from b2dinspect.provisioning.events import Done, Finished
from b2dinspect.provisioning.samples.incidents import practice_key
from b2dinspect.render import stages, svg
from b2dinspect.render.console import show
from b2dinspect.views.diskmap import draw as draw_map

HERE = Path(__file__).parent
SAMPLE = "sample_images/provisioned-automount.vdi.gz"
SHOWN_STAGES = 6


def _svg(parts: Iterable[RenderableType], title: str) -> str:
    console = Console(record=True, width=88, file=StringIO(), force_terminal=True, color_system="truecolor")
    for part in parts:
        console.print(part, markup=False, highlight=False)
    return console.export_svg(title=title, unique_id="b2dinspect")


def draw() -> str:
    """Return the picture of ``show``."""
    with inspect(str(HERE.parent / SAMPLE)) as opened:
        facts = opened._replace(path=SAMPLE)
        return _svg([show(facts, examine(facts))], f"b2dinspect show {SAMPLE}")


def draw_disk() -> str:
    """Return the picture of ``map``."""
    with inspect(str(HERE.parent / SAMPLE)) as facts:
        return svg.picture(draw_map(facts), f"b2dinspect map {SAMPLE}")


def draw_stages() -> str:
    """Return the picture of a provision's first stages."""
    import b2dinspect as b2d

    key = "b2dinspect.provisioning.host.host.make_key"
    with tempfile.TemporaryDirectory() as folder, patch(key, lambda kind: practice_key(1)):
        made = b2d.provision(folder, seed="picture")
    parts = []
    for event in made.events:
        if isinstance(event, Done):
            event = event._replace(seconds=0.01)
        if getattr(event, "number", 0) > SHOWN_STAGES or isinstance(event, Finished):
            break
        if (part := stages.event(event)) is not None:
            parts.append(part)
    return _svg(parts, "b2dprovision run demo")


if __name__ == "__main__":
    for name, picture in (("show", draw), ("map", draw_disk), ("stages", draw_stages)):
        (HERE / f"{name}.svg").write_text(picture(), encoding="utf-8")
