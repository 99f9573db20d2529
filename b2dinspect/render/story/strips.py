"""The disk of a stage as two strips, the whole and its first MiB, with what the stage wrote lit up."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from b2dinspect.provisioning.events import Decoded, Write
from b2dinspect.render.markup import Html
from b2dinspect.render.story.words import word
from b2dinspect.render.svg import COLOURS
from b2dinspect.render.text import offset, size
from b2dinspect.views.diskmap import MIB, MapPart

WIDTH, HEIGHT, LEAST = 480.0, 26, 4.0
"""Pixels; so wide is what would be too small to see."""


def drawn(disk: Decoded, writes: Sequence[Write], stage: str) -> Iterator[Html]:
    """Yield the strips with their legend; each lit place leads to the bytes below."""
    for name, length in (("whole disk", disk.size), ("first MiB", min(MIB, disk.size))):
        label = Html.of("<p>{}, {}</p>", word(name), size(length))
        yield label + _strip(disk, length, writes, stage)
    named = [part for part in (*disk.parts, *disk.marks) if part.kind != "gap"]
    rows = (
        Html.of(
            '<li><svg width="10" height="10" aria-hidden="true"><rect width="10" height="10" fill="{}"/>'
            "</svg> {} <small>{}, {}</small></li>",
            *(COLOURS[part.kind], part.name, offset(part.offset), size(part.length)),
        )
        for part in named[:12]
    )
    yield Html.of('<ul class="legend">{}</ul>', Html.join(rows))


def _strip(disk: Decoded, length: int, writes: Sequence[Write], stage: str) -> Html:
    parts = [part for part in (*disk.parts, *disk.marks) if part.kind != "gap" and part.offset < length]
    shapes = Html.join(_shape(part, length) for part in sorted(parts, key=lambda one: -one.length))
    lit = Html.join(
        _lit(write, length, f"{stage}-write-{number}")
        for number, write in enumerate(writes[:64], 1)
        if write.virtual_offset < length
    )
    return Html.of(
        '<svg class="strip" viewBox="0 0 {} {}" preserveAspectRatio="none">{}{}</svg>',
        *(int(WIDTH), HEIGHT, shapes, lit),
    )


def _shape(part: MapPart, length: int) -> Html:
    left, width = _place(part.offset, part.length, length)
    return Html.of(
        '<rect x="{}" y="8" width="{}" height="18" fill="{}"><title>{}</title></rect>',
        *(f"{left:.1f}", f"{width:.1f}", COLOURS[part.kind], part.name),
    )


def _lit(write: Write, length: int, target: str) -> Html:
    left, width = _place(write.virtual_offset, write.length, length)
    return Html.of(
        '<a href="#{}" aria-label="{}"><rect class="lit" x="{}" y="0" width="{}" height="{}"/></a>',
        *(target, offset(write.virtual_offset), f"{left:.1f}", f"{width:.1f}", HEIGHT),
    )


def _place(start: int, count: int, length: int) -> tuple[float, float]:
    width = max(LEAST, min(count, length - start) * WIDTH / length)
    return min(start * WIDTH / length, WIDTH - width), width
