"""What a terminal would show, as SVG or as a page of HTML of its own. Text is escaped by rich."""

from __future__ import annotations

from collections.abc import Iterable
from io import StringIO

from rich.console import Console, RenderableType
from rich.terminal_theme import SVG_EXPORT_THEME

PAGE = """<!DOCTYPE html>
<html lang="en">
<head>
<meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1">
<title>TITLE</title>
<style>
{stylesheet}
body {{ color: {foreground}; background-color: {background}; margin: 1rem; }}
pre {{ font-family: ui-monospace, Menlo, Consolas, "DejaVu Sans Mono", monospace; font-size: .8rem;
  line-height: 1.25; overflow-x: auto; }}
@media print {{ body {{ background: #fff; color: #000; }} pre {{ white-space: pre-wrap; font-size: 7pt; }} }}
</style>
</head>
<body><pre tabindex="0" aria-label="TITLE"><code>{code}</code></pre></body>
</html>
"""


def _recorded(parts: Iterable[RenderableType], width: int) -> Console:
    console = Console(
        record=True,
        width=width,
        file=StringIO(),
        force_terminal=True,
        color_system="truecolor",
        markup=False,
        highlight=False,
        emoji=False,
    )
    for part in parts:
        console.print(part)
    return console


def svg(parts: Iterable[RenderableType], title: str, width: int = 100) -> str:
    """Return an SVG picture."""
    return _recorded(parts, width).export_svg(title=title, unique_id="b2dinspect")


def page(parts: Iterable[RenderableType], title: str, width: int = 100) -> str:
    """Return a page of HTML that loads nothing."""
    from html import escape

    console = _recorded(parts, width)
    safe = escape(title).replace("{", "{{").replace("}", "}}")
    return console.export_html(theme=SVG_EXPORT_THEME, code_format=PAGE.replace("TITLE", safe))
