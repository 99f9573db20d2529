"""Annotated bytes in a page: a dump and its fields beside it, which light each other up.

Without script both are there to be read; ``script.py`` adds selecting, searching and jumping. A region is
folded away by its title; bytes that belong to no field are named as unclaimed.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import groupby

from b2dinspect.records import NamedTuple
from b2dinspect.render import style as report
from b2dinspect.render.annotated import script, style
from b2dinspect.render.hexdump import ROW, owner_colours, value
from b2dinspect.render.markup import Html
from b2dinspect.render.text import offset
from b2dinspect.source import is_zeros
from b2dinspect.views.annotation import Region

FOLDED = 4
"""Rows of zeros that no field begins in, from so many on: they are told, not shown."""


class _Run(NamedTuple):
    """Bytes side by side that belong together: to a span, or to nothing. Offsets count in the region."""

    start: int
    end: int
    owner: int | None


def page(path: str, regions: Sequence[Region]) -> str:
    """Return a page of regions that loads nothing."""
    title = f"b2dinspect hexdump {path}"
    document = Html.of(
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">{}'
        "<title>{}</title><style>{}{}</style></head>\n<body><main><h1>{}</h1>{}{}</main>{}</body></html>\n",
        Html.policy(script.SCRIPT),
        title,
        Html(report.PAGE),
        Html(style.PAGE),
        title,
        finder(),
        Html.join(annotated(region, f"({number})") for number, region in enumerate(regions, 1)),
        Html(script.ELEMENT),
    )
    return str(document)


def finder() -> Html:
    """Return where one types what to look for, or where to go; without the script it is hidden."""
    return Html(
        '<form class="finder" role="search"><label>find <input name="find" placeholder="text, or 55 aa" '
        'size="14"></label> <label>go to <input name="to" placeholder="0x200 or 512" size="12"></label> '
        '<button type="submit">go</button> <output aria-live="polite"></output></form>'
    )


def annotated(region: Region, among: str = "") -> Html:
    """Return a region; ``among`` tells it from others of the same title on the page."""
    runs = list(_runs(region))
    colours = owner_colours(region)
    where = f"{region.space} offset {offset(region.offset)}, {len(region.data)} bytes"
    return Html.of(
        '<details open class="region" data-offset="{}" data-size="{}"><summary>{}</summary>'
        '<p class="dim">{}</p><div class="annotated">'
        '<div class="bytes scroll" tabindex="0" role="region" aria-label="{}">{}</div>{}</div></details>',
        *(region.offset, len(region.data), region.title, where, f"{region.title} {among}".strip()),
        Html.join(_rows(region, runs, colours), "\n"),
        _fields(region, runs, colours),
    )


def _runs(region: Region) -> Iterator[_Run]:
    """Yield the runs of a region, from its first byte to its last."""
    at = 0
    for owner, same in groupby(region.owners()):
        end = at + sum(1 for _ in same)
        yield _Run(at, end, owner)
        at = end


def _rows(region: Region, runs: Sequence[_Run], colours: dict[int, int]) -> Iterator[Html]:
    """Yield the dump: offset on the disk, offset in the file where it is known, bytes, characters."""
    begins = {run.start // ROW for run in runs}
    of_byte = [index for index, run in enumerate(runs) for _ in range(run.start, run.end)]
    files = _in_file(region)
    at = 0
    while at < len(region.data):
        end = _fold(region, begins, at)
        if end > at + FOLDED * ROW:
            text = f"{'':8}  {'':{files.width}}* {end - at} zeros more"
            yield Html.of('<i class="dim" data-at="{}">{}</i>', region.offset + at, text)
            at = end
            continue
        count = min(ROW, len(region.data) - at)
        cells = Html.join((_cell(region, runs, colours, of_byte, i) for i in range(at, at + count)), " ")
        plain = Html.column(region.data[at : at + ROW])
        yield Html.of(
            '<i data-at="{}">{}</i>  {}{}{}  {}',
            *(
                region.offset + at,
                f"{region.offset + at:08x}",
                files.text(at),
                cells,
                "   " * (ROW - count),
                plain,
            ),
        )
        at += ROW


def _fold(region: Region, begins: set[int], at: int) -> int:
    """Return where zeros end in which nothing begins: there are no more fields to be told there."""
    end = at
    while end < len(region.data) and end // ROW not in begins and not any(region.data[end : end + ROW]):
        end += ROW
    return min(end, len(region.data))


def _cell(
    region: Region, runs: Sequence[_Run], colours: dict[int, int], of_byte: Sequence[int], at: int
) -> Html:
    is_missing = any(start <= at < end for start, end in region.missing)
    shown = "??" if is_missing else f"{region.data[at]:02x}"
    index = of_byte[at]
    template = '<b class="{}" data-run="{}" data-byte="{}">{}</b>'
    return Html.of(template, _kind(region, runs[index], colours), index, region.offset + at, shown)


def _kind(region: Region, run: _Run, colours: dict[int, int]) -> str:
    if run.owner is None:
        return "free"
    return f"c{colours[run.owner]}" + (" x" if region.spans[run.owner].is_odd else "")


class _InFile(NamedTuple):
    """The column that tells where bytes of the disk are in the file; without one for bytes of the file."""

    region: Region
    width: int

    def text(self, at: int) -> str:
        """Return the cell of a row, which is empty where the file stores nothing."""
        if not self.width:
            return ""
        place = self.region.in_file(at)
        return " " * self.width if place is None else f"{place:0{self.width - 2}x}  "


def _in_file(region: Region) -> _InFile:
    places = (
        [region.in_file(at) for at in range(0, len(region.data), ROW)] if region.space == "virtual" else []
    )
    known = [place for place in places if place is not None]
    return _InFile(region, max(8, len(f"{max(known):x}")) + 2 if known else 0)


def _fields(region: Region, runs: Sequence[_Run], colours: dict[int, int]) -> Html:
    """Return the fields as a tree: structures, and the runs in each; unclaimed bytes stand where they are."""
    rows = []
    before: str | None = None
    for index, run in enumerate(runs):
        structure = "" if run.owner is None else region.spans[run.owner].structure
        if structure and structure != before:
            rows.append(Html.of('<tr><th colspan="5" scope="rowgroup">{}</th></tr>', structure))
            before = structure
        rows.append(_field(region, run, index, _kind(region, run, colours)))
    head = Html.join(
        Html.of('<th scope="col">{}</th>', name) for name in ("offset", "size", "field", "value", "meaning")
    )
    return Html.of(
        '<div class="fields scroll" tabindex="0" role="region" aria-label="fields of {}"><table><thead><tr>{}'
        "</tr></thead><tbody>{}</tbody></table></div>",
        *(f"{region.title} at {region.offset:#x}", head, Html.join(rows)),
    )


def _field(region: Region, run: _Run, index: int, kind: str) -> Html:
    if run.owner is None:
        data = region.data[run.start : run.end]
        name, found, meaning = (
            "unclaimed",
            "zeros" if is_zeros(data) else value(data),
            "no field is known here",
        )
    else:
        field = region.spans[run.owner].field
        name, found, meaning = field.name, value(field.value), f"{field.meaning} {field.doc}".strip()
    return Html.of(
        '<tr data-run="{}"><td>{}</td><td>{}</td><td><code class="{}">{}</code></td>'
        "<td>{}</td><td>{}</td></tr>",
        *(index, f"{region.offset + run.start:#x}", run.end - run.start, kind, name, found, meaning),
    )
