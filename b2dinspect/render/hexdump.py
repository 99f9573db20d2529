"""Annotated bytes: offset, hexadecimal, text, and below each row the fields that begin in it.

Every byte has the colour of its field, and under it the letter by which the field is named, so that it can be
read without colour too. Rows that say the same as the one above are folded.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult

from b2dinspect.render import json
from b2dinspect.render.terminal import Line, Table
from b2dinspect.render.text import as_text, offset

if TYPE_CHECKING:
    from b2dinspect.views.annotation import Region, Span

ROW = 16
WIDTH_BESIDE = 12
"""Columns of a row beside its bytes: the offset, and gaps."""
COLOURS = ("cyan", "green", "yellow", "magenta", "blue", "bright_cyan", "bright_green", "bright_magenta")
ODD = "bold red"
LETTERS = "abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ"
MIN_FOLDED = 2
MAX_VALUE = 48


class _Palette:
    """Letter and colour of each span: neighbours get different ones."""

    def __init__(self, spans: Sequence[Span]) -> None:
        self.spans = spans
        order = sorted(range(len(spans)), key=lambda index: spans[index].offset)
        self._rank = {index: rank for rank, index in enumerate(order)}

    def letter(self, owner: int) -> str:
        """Return the letter of a span."""
        return LETTERS[self._rank[owner] % len(LETTERS)]

    def style(self, owner: int | None) -> str:
        """Return the colour of a span, or of what belongs to none."""
        if owner is None:
            return ""
        return ODD if self.spans[owner].is_odd else COLOURS[self._rank[owner] % len(COLOURS)]


class _Row:
    """One row: where it is, its bytes, and the span of each."""

    def __init__(self, region: Region, owners: Sequence[int | None], at: int, length: int) -> None:
        self.at = at
        self.length = length
        self.data = region.data[at : at + length]
        self.owners = owners[at : at + length]
        self.missing = [_is_in(region.missing, at + i) for i in range(len(self.data))]
        spans = [None if owner is None else region.spans[owner] for owner in dict.fromkeys(self.owners)]
        self.is_table = all(span is not None and span.field.name.endswith("]") for span in spans)
        self.sense = {span and (span.structure, span.field.value, span.field.meaning) for span in spans}

    def repeats(self, other: _Row) -> bool:
        """Whether it says the same as another row: more of one field, or further fields of the same value."""
        is_alike = self.data == other.data and self.missing == other.missing and self.sense == other.sense
        is_one = self.owners[0] == self.owners[-1] == other.owners[0]
        return is_alike and len(self.sense) == 1 and (is_one or self.is_table)


def _is_in(ranges: Sequence[tuple[int, int]], at: int) -> bool:
    return any(start <= at < end for start, end in ranges)


def dump(region: Region, lit: range = range(0)) -> Iterator[RenderableType]:
    """Yield a region, with bytes of it lit up; ``lit`` counts as ``region.offset`` does."""
    where = f"{region.space} offset {offset(region.offset)}"
    if region.space == "virtual" and region.file_offset is not None:
        where += f", file offset {offset(region.file_offset)}"
    yield Line.of((region.title, "bold"), f", {len(region.data)} bytes at {where}")
    yield Rows(region, lit)


class Rows:
    """The rows of a region, with as many bytes in each as fit into the width: sixteen, eight or four."""

    def __init__(self, region: Region, lit: range = range(0)) -> None:
        self._region, self._lit = region, lit
        self._owners, self._palette = region.owners(), _Palette(region.spans)

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw for a width."""
        length = next(
            (one for one in (ROW, ROW // 2) if WIDTH_BESIDE + 4 * one <= options.max_width), ROW // 4
        )
        return self._drawn(length)

    def _drawn(self, length: int) -> Iterator[RenderableType]:
        region = self._region
        rows = [_Row(region, self._owners, at, length) for at in range(0, len(region.data), length)]
        named: set[int] = set()
        index = 0
        while index < len(rows):
            row = rows[index]
            yield from _row(region, row, self._palette, named, self._lit)
            alike = index + 1
            while alike < len(rows) and rows[alike].repeats(row):
                alike += 1
            if alike - index - 1 >= MIN_FOLDED:
                yield _folded(region, rows[index + 1 : alike])
                index = alike
            else:
                index += 1


def _folded(region: Region, rows: Sequence[_Row]) -> Line:
    count = sum(len(row.data) for row in rows)
    first, last = rows[0].owners[0], rows[-1].owners[-1]
    what = "of zeros" if not any(rows[0].data) else "alike"
    if first is not None and last is not None and first != last:
        field = region.spans[first].field
        meaning = f", {field.meaning}" if field.meaning else ""
        what += f": {field.name} to {region.spans[last].field.name}{meaning}"
    return Line(f"{'*':>8}  {count} more bytes {what}", style="dim")


def _row(
    region: Region, row: _Row, palette: _Palette, named: set[int], lit: range
) -> Iterator[RenderableType]:
    line = Line(f"{region.offset + row.at:08x}  ", style="dim")
    under, plain = Line(" " * 10), Line("  ")
    for i, byte in enumerate(row.data):
        owner = row.owners[i]
        style = palette.style(owner)
        if region.offset + row.at + i in lit:
            style = f"{style} reverse"
        joins = i + 1 < len(row.data) and row.owners[i + 1] == owner
        line.append("?? " if row.missing[i] else f"{byte:02x} ", style=f"not dim {style}")
        letter = " " if owner is None else palette.letter(owner)
        under.append(letter * 2 + (letter if joins else " "), style=style)
        plain.append_column(b"\0" if row.missing[i] else bytes([byte]), f"not dim {style}")
    line.append("   " * (row.length - len(row.data))).append_text(plain)
    yield line
    owners = dict.fromkeys(owner for owner in row.owners if owner is not None)
    if owners:
        yield under
    fresh = [owner for owner in owners if owner not in named]
    if fresh:
        named.update(fresh)
        yield _notes(palette, fresh)


def _notes(palette: _Palette, owners: Sequence[int]) -> Table:
    grid = Table.grid(padding=(0, 1))
    grid.add_column(width=11, justify="right")
    grid.add_column(overflow="fold")
    for owner in owners:
        span, style = palette.spans[owner], palette.style(owner)
        text = Line().append(span.field.name, style=f"bold {style}").append(" = ")
        text.append(value(span.field.value))
        if span.field.meaning:
            text.append(f"  {span.field.meaning}", style=style or "bold")
        if span.is_odd:
            text.append("  (!)", style=ODD)
        if span.field.doc:
            text.append(f"  {span.field.doc}", style="dim")
        grid.add_row(Line(palette.letter(owner), style=style), text)
    return grid


def owner_colours(region: Region) -> dict[int, int]:
    """Return for each span a number from 0 to 7; neighbours get different ones."""
    order = sorted(range(len(region.spans)), key=lambda index: region.spans[index].offset)
    return {index: rank % len(COLOURS) for rank, index in enumerate(order)}


def value(found: object) -> str:
    """Return a field's value for people, still to be escaped."""
    if isinstance(found, bytes):
        stripped = found.rstrip(b"\0")
        if not stripped:
            return f"{len(found)} zeros" if found else "nothing"
        return f'"{as_text(stripped[:MAX_VALUE])}"' + ("…" if len(stripped) > MAX_VALUE else "")
    if isinstance(found, int) and found > 9:
        return f"{found} ({found:#x})"
    shown = str(found)
    return shown if len(shown) <= MAX_VALUE else f"{shown[:MAX_VALUE]}…"


def dump_json(path: str, regions: Sequence[Region]) -> dict[str, Any]:
    """Return the document of ``hexdump --json``."""
    return {"path": path, "regions": [json.region(one) for one in regions]}
