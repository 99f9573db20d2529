"""A disk's map in the terminal: strips of cells with a legend, readable without colour; and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult

from b2dinspect.render.terminal import Line, Table
from b2dinspect.render.text import offset, size

if TYPE_CHECKING:
    from b2dinspect.views.diskmap import DiskMap, MapPart, Strip

WIDEST = 160
"""Columns of a strip."""
SIGNS = {
    "metadata": "m",
    "stored": "#",
    "free": ".",
    "missing": "?",
    "table": "T",
    "swap": "s",
    "data": "D",
    "other": "o",
    "userdata": "U",
    "residue": "r",
    "gap": ".",
}
STYLES = {
    "metadata": "magenta",
    "stored": "cyan",
    "free": "dim",
    "missing": "bold red",
    "table": "yellow",
    "swap": "blue",
    "data": "green",
    "other": "white",
    "userdata": "bold bright_green",
    "residue": "bright_yellow",
    "gap": "dim",
}


class Bar:
    """A strip as one or two lines as wide as the screen: what lies where, and what of it is stored."""

    def __init__(self, strip: Strip) -> None:
        self._strip = strip

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw for a width."""
        width = min(max(10, options.max_width - 2), WIDEST)
        yield Line("[").append_text(_cells(self._strip, self._strip.parts, width, "gap")).append("]")
        if self._strip.marks:
            yield Line(" ").append_text(_cells(self._strip, self._strip.marks, width, ""))
        if self._strip.stored:
            yield Line("[").append_text(_cells(self._strip, self._strip.stored, width, "free")).append("]")


def _cells(strip: Strip, parts: Sequence[MapPart], width: int, empty: str) -> Line:
    """Return a cell for each piece of the strip; of several parts in it the smallest is shown."""
    cells = [empty] * width
    for part in sorted(parts, key=lambda one: -one.length):
        first = (part.offset - strip.offset) * width // strip.length
        last = -(-(part.end - strip.offset) * width // strip.length)
        for cell in range(max(0, first), min(width, max(last, first + 1))):
            cells[cell] = part.kind
    text = Line()
    for kind in cells:
        text.append(SIGNS.get(kind, " "), style=STYLES.get(kind, ""))
    return text


def picture(found: DiskMap) -> Iterator[RenderableType]:
    """Yield the strips, each with what is in it."""
    for number, strip in enumerate((found.file, found.disk, found.start)):
        if number:
            yield ""
        yield Line.of((strip.title, "bold"), f", {size(strip.length)}")
        yield Bar(strip)
        yield _legend(strip)


def _legend(strip: Strip) -> Table:
    grid = Table.grid(padding=(0, 1))
    grid.add_column(no_wrap=True)
    grid.add_column(justify="right", no_wrap=True)
    grid.add_column(justify="right", no_wrap=True)
    grid.add_column(overflow="fold")
    named = [part for part in strip.parts if part.kind != "gap"]
    for part in _few([*named, *strip.marks]):
        sign = Line(f"  {SIGNS[part.kind]}", style=STYLES[part.kind])
        grid.add_row(sign, offset(part.offset), size(part.length), Line(part.name))
    if strip.stored:
        total = sum(part.length for part in strip.stored if part.kind == "stored")
        grid.add_row(
            Line("  #", style=STYLES["stored"]), "", size(total), Line("stored in the file, of all this")
        )
    return grid


def _few(parts: Sequence[MapPart], limit: int = 12) -> list[MapPart]:
    """Return at most ``limit`` parts, the largest, in their order."""
    chosen = sorted(parts, key=lambda part: -part.length)[:limit] if len(parts) > limit else parts
    return sorted(chosen, key=lambda part: part.offset)


def picture_json(path: str, found: DiskMap) -> dict[str, Any]:
    """Return the document of ``map --json``."""
    return {
        "path": path,
        "strips": [
            {
                "title": strip.title,
                "offset": strip.offset,
                "length": strip.length,
                "parts": [part._asdict() for part in strip.parts],
                "stored": [part._asdict() for part in strip.stored],
                "marks": [part._asdict() for part in strip.marks],
            }
            for strip in (found.file, found.disk, found.start)
        ],
    }
