"""What a terminal would show, as SVG or as a page of HTML of its own. Text is escaped by rich."""

from __future__ import annotations

from collections.abc import Iterable
from io import StringIO

from rich.console import RenderableType
from rich.terminal_theme import TerminalTheme
from rich.theme import Theme

from b2dinspect.render.terminal import Screen
from b2dinspect.render.text import visible

LIGHT = TerminalTheme(
    (255, 255, 255),
    (27, 31, 36),
    [
        *((27, 31, 36), (179, 38, 30), (26, 107, 60), (138, 83, 0)),
        *((31, 95, 191), (142, 36, 170), (14, 116, 144), (87, 96, 106)),
    ],
    [
        *((60, 66, 74), (198, 40, 40), (46, 125, 50), (154, 92, 0)),
        *((57, 73, 171), (173, 20, 87), (0, 105, 120), (27, 31, 36)),
    ],
)
"""Dark enough on white for everybody; a view brings its white along."""

FRAGMENT = (
    '<pre style="color:#1b1f24;background:#fff;padding:.5em;white-space:pre;overflow-x:auto;line-height:1.3;'
    "font-family:ui-monospace,Menlo,Consolas,'DejaVu Sans Mono',monospace\">{code}</pre>"
)
PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>TITLE</title>
<style>
{stylesheet}
h1 {{ font: 600 1.2rem system-ui, sans-serif; overflow-wrap: anywhere; }}
body {{ color: {foreground}; background-color: {background}; margin: 1rem; }}
pre {{ font-family: ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace; font-size: .8rem;
  line-height: 1.25; overflow-x: auto; }}
@media print {{ body {{ background: #fff; color: #000; }} pre {{ white-space: pre-wrap; font-size: 7pt; }} }}
</style>
</head>
<body><main><h1>TITLE</h1>
<pre tabindex="0" role="region" aria-label="TITLE"><code>{code}</code></pre></main></body>
</html>
"""


READABLE = Theme({"dim": "#57606a"})
"""On white, half of a colour is too little contrast."""


def _recorded(
    parts: Iterable[RenderableType], width: int, *, is_plain: bool = False, theme: Theme | None = None
) -> Screen:
    console = Screen(
        theme=theme,
        record=True,
        width=width,
        file=StringIO(),
        force_terminal=not is_plain,
        force_jupyter=False,  # or it would show what it prints by itself
        color_system=None if is_plain else "truecolor",
        legacy_windows=False,
    )
    for part in parts:
        console.print(part)
    return console


def svg(parts: Iterable[RenderableType], title: str, width: int = 100) -> str:
    """Return an SVG picture."""
    return _recorded(parts, width).export_svg(title=visible(title), unique_id="b2dinspect")


def plain(parts: Iterable[RenderableType], width: int = 100) -> str:
    """Return lines of text."""
    text: str = _recorded(parts, width, is_plain=True).export_text()
    return "\n".join(line.rstrip() for line in text.rstrip("\n").splitlines())


def fragment(parts: Iterable[RenderableType], width: int = 100) -> str:
    """Return a piece of HTML for a page of somebody else's."""
    console = _recorded(parts, width, theme=READABLE)
    return console.export_html(theme=LIGHT, inline_styles=True, code_format=FRAGMENT)


def page(parts: Iterable[RenderableType], title: str, width: int = 100) -> str:
    """Return a page of HTML that loads nothing."""
    from b2dinspect.render.markup import Html

    console = _recorded(parts, width, theme=READABLE)
    safe = str(Html.quoted(title)).replace("{", "{{").replace("}", "}}")
    return console.export_html(theme=LIGHT, code_format=PAGE.replace("TITLE", safe))
