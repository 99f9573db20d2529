"""A disk's map as SVG, to scale, with a legend; a page of its own, or inside of one. All is escaped."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from html import escape
from typing import TYPE_CHECKING

from b2dinspect.render.text import offset, size, visible

if TYPE_CHECKING:
    from b2dinspect.views.diskmap import DiskMap, Part, Strip

WIDTH, MARGIN, BAR, LINE = 960, 16, 28, 18
LEAST = 2.0
"""Pixels: so wide is what would be too small to see."""
COLOURS = {
    "metadata": "#8e44ad",
    "stored": "#2a7ab8",
    "free": "#00000000",
    "missing": "#c0392b",
    "table": "#b7791f",
    "swap": "#5b6abf",
    "data": "#2e8b57",
    "other": "#7f8c8d",
    "userdata": "#d35400",
    "residue": "#a0522d",
    "gap": "#00000000",
}
INK, PAPER, EDGE = "#1b1f24", "#ffffff", "#8a919a"
STYLE = """
.b2d-map text{font:13px ui-sans-serif,system-ui,sans-serif}.b2d-map .title{font-weight:600}
@media screen and (prefers-color-scheme:dark){.b2d-map .paper{fill:#14171a}.b2d-map text{fill:#e6e9ed}
.b2d-map .frame{stroke:#6b737c}}
"""
"""Light colours are attributes, for viewers that know no style sheets; dark ones are the style sheet's."""


def _text(value: str) -> str:
    return escape(visible(value))


def picture(found: DiskMap, title: str) -> str:
    """Return the map as an SVG document."""
    body: list[str] = []
    top = MARGIN
    for strip in (found.file, found.disk, found.start):
        top = _strip(body, strip, top)
    safe = _text(title)
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" class="b2d-map" viewBox="0 0 {WIDTH} {top}" role="img" '
        f'aria-label="{safe}"><title>{safe}</title><style>{STYLE}</style>'
        f'<rect class="paper" fill="{PAPER}" width="{WIDTH}" height="{top}"/>{"".join(body)}</svg>\n'
    )


def _strip(body: list[str], strip: Strip, top: int) -> int:
    """Add a strip, and return where the next one begins."""
    title = f"{_text(strip.title)}, {size(strip.length)}"
    body.append(f'<text class="title" fill="{INK}" x="{MARGIN}" y="{top + 12}">{title}</text>')
    top += 22
    body += _rectangles(strip, strip.parts, top, BAR)
    if strip.marks:
        body += _rectangles(strip, strip.marks, top + BAR - 10, 10)
    body.append(_frame(top, BAR))
    top += BAR
    if strip.stored:
        body += _rectangles(strip, strip.stored, top + 3, 8)
        body.append(_frame(top + 3, 8))
        top += 12
    for part in _listed(strip):
        top += LINE
        colour = COLOURS[part.kind]
        where = f"{offset(part.offset)}, {size(part.length)}"
        body.append(f'<rect x="{MARGIN}" y="{top - 10}" width="12" height="12" fill="{colour}"/>')
        body.append(f'<text fill="{INK}" x="{MARGIN + 20}" y="{top}">{_text(part.name)}: {where}</text>')
    return top + 28


def _frame(top: int, height: int) -> str:
    place = f'x="{MARGIN}" y="{top}" width="{WIDTH - 2 * MARGIN}" height="{height}"'
    return f'<rect class="frame" fill="none" stroke="{EDGE}" {place}/>'


def _rectangles(strip: Strip, parts: Sequence[Part], top: int, height: int) -> Iterator[str]:
    scale = (WIDTH - 2 * MARGIN) / strip.length
    for part in sorted(parts, key=lambda one: -one.length):
        if part.kind in ("gap", "free"):
            continue
        left = MARGIN + (part.offset - strip.offset) * scale
        width = max(LEAST, part.length * scale)
        left = min(left, WIDTH - MARGIN - width)
        label = f"{_text(part.name)}: {offset(part.offset)}, {size(part.length)}"
        place = f'x="{left:.2f}" y="{top}" width="{width:.2f}" height="{height}"'
        yield f'<rect {place} fill="{COLOURS[part.kind]}"><title>{label}</title></rect>'


def _listed(strip: Strip, limit: int = 12) -> list[Part]:
    parts = [*(part for part in strip.parts if part.kind != "gap"), *strip.marks]
    chosen = sorted(parts, key=lambda part: -part.length)[:limit] if len(parts) > limit else parts
    return sorted(chosen, key=lambda part: part.offset)


def page(found: DiskMap, title: str) -> str:
    """Return a page of HTML that holds the map and loads nothing."""
    safe = _text(title)
    return (
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{safe}</title><style>:root{{color-scheme:light dark}}"
        "body{margin:1rem;font:16px system-ui,sans-serif}"
        "svg{width:100%;height:auto;max-width:70rem}</style></head>"
        f"<body><main><h1>{safe}</h1>{picture(found, title)}</main></body></html>\n"
    )
