"""A disk's map as SVG, to scale, with a legend; a page of its own, or inside of one. All is escaped."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from b2dinspect.render.markup import Html
from b2dinspect.render.text import offset, size

if TYPE_CHECKING:
    from b2dinspect.views.diskmap import DiskMap, MapPart, Strip

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


def picture(found: DiskMap, title: str) -> str:
    """Return the map as an SVG document."""
    return str(drawn(found, title))


def drawn(found: DiskMap, title: str) -> Html:
    """Return the map as a piece of a page."""
    body: list[Html] = []
    top = MARGIN
    for strip in (found.file, found.disk, found.start):
        top = _strip(body, strip, top)
    return Html.of(
        '<svg xmlns="http://www.w3.org/2000/svg" class="b2d-map" viewBox="0 0 {} {}" role="img" '
        'aria-label="{}"><title>{}</title><style>{}</style>'
        '<rect class="paper" fill="{}" width="{}" height="{}"/>{}</svg>\n',
        *(WIDTH, top, title, title, Html(STYLE), PAPER, WIDTH, top, Html.join(body)),
    )


def _strip(body: list[Html], strip: Strip, top: int) -> int:
    """Add a strip, and return where the next one begins."""
    template = '<text class="title" fill="{}" x="{}" y="{}">{}, {}</text>'
    body.append(Html.of(template, INK, MARGIN, top + 12, strip.title, size(strip.length)))
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
        square = '<rect x="{}" y="{}" width="12" height="12" fill="{}"/>'
        body.append(Html.of(square, MARGIN, top - 10, COLOURS[part.kind]))
        body.append(Html.of('<text fill="{}" x="{}" y="{}">{}</text>', INK, MARGIN + 20, top, _name(part)))
    return top + 28


def _name(part: MapPart) -> str:
    return f"{part.name}: {offset(part.offset)}, {size(part.length)}"


def _frame(top: int, height: int) -> Html:
    template = '<rect class="frame" fill="none" stroke="{}" x="{}" y="{}" width="{}" height="{}"/>'
    return Html.of(template, EDGE, MARGIN, top, WIDTH - 2 * MARGIN, height)


def _rectangles(strip: Strip, parts: Sequence[MapPart], top: int, height: int) -> Iterator[Html]:
    scale = (WIDTH - 2 * MARGIN) / strip.length
    for part in sorted(parts, key=lambda one: -one.length):
        if part.kind in ("gap", "free"):
            continue
        left = MARGIN + (part.offset - strip.offset) * scale
        width = max(LEAST, part.length * scale)
        left = min(left, WIDTH - MARGIN - width)
        yield Html.of(
            '<rect x="{}" y="{}" width="{}" height="{}" fill="{}"><title>{}</title></rect>',
            *(f"{left:.2f}", top, f"{width:.2f}", height, COLOURS[part.kind], _name(part)),
        )


def _listed(strip: Strip, limit: int = 12) -> list[MapPart]:
    parts = [*(part for part in strip.parts if part.kind != "gap"), *strip.marks]
    chosen = sorted(parts, key=lambda part: -part.length)[:limit] if len(parts) > limit else parts
    return sorted(chosen, key=lambda part: part.offset)


def page(found: DiskMap, title: str) -> str:
    """Return a page of HTML that holds the map and loads nothing."""
    document = Html.of(
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        "<title>{}</title><style>:root{{color-scheme:light dark}}"
        "body{{margin:1rem;font:16px system-ui,sans-serif}}"
        "svg{{width:100%;height:auto;max-width:70rem}}</style></head>"
        "<body><main><h1>{}</h1>{}</main></body></html>\n",
        *(title, title, drawn(found, title)),
    )
    return str(document)
