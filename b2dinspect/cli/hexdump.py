"""``b2dinspect hexdump``: bytes, each with the field that it belongs to."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from b2dinspect.cli.common import AllowChain, Format, Image, Json, command, examine, out, rules
from b2dinspect.errors import UsageError

if TYPE_CHECKING:
    from b2dinspect.findings import Space
    from b2dinspect.inspection.facts import Inspection
    from b2dinspect.views.annotation import Region

DEFAULT_LENGTH = 256

Svg = Annotated[Path | None, typer.Option("--svg", metavar="FILE", help="Write a picture instead.")]
Html = Annotated[Path | None, typer.Option("--html", metavar="FILE", help="Write a page of HTML instead.")]
Force = Annotated[bool, typer.Option("--force", help="Replace existing files.")]


@command
def hexdump(
    image: Image,
    at: Annotated[
        str | None,
        typer.Option(
            "--at",
            metavar="PLACE",
            help="header, map, magic, mbr, gpt, superblock, userdata, or an offset (0x200, 4096, 1M, 2048s).",
        ),
    ] = None,
    length: Annotated[
        int | None, typer.Option("--length", "-n", metavar="N", help="Bytes; by default the whole place.")
    ] = None,
    of_file: Annotated[
        bool, typer.Option("--file/--virtual", help="What an offset counts in: the file, or the disk in it.")
    ] = False,
    svg: Svg = None,
    html: Html = None,
    force: Force = False,
    as_json: Json = False,
    format_name: Format = None,
    folders: AllowChain = None,
) -> None:
    """Show bytes with the fields that they belong to, named and explained.

    Example: b2dinspect hexdump sample_images/fresh.vdi.gz --at magic

    Without --at: every place that matters, in short, from the container's header to the userdata. `(!)` marks
    unknown bits, and bytes where there should be zeros; `??` is not in the evidence.
    """
    with examine(image, format_name, rules(folders)) as facts:
        regions = _regions(facts, at, length, "file" if of_file else "virtual")
    if as_json:
        from b2dinspect.render import hexdump as render
        from b2dinspect.render import json

        print(json.dumps(render.dump_json(facts.path, regions)))  # noqa: T201
    elif svg or html:
        _export(facts.path, regions, svg, html, force)
    else:
        from b2dinspect.render import hexdump as render

        for number, region in enumerate(regions):
            out(*([""] if number else []), *render.dump(region))


def _regions(facts: Inspection, at: str | None, length: int | None, space: Space) -> list[Region]:
    from b2dinspect.views.annotation import PLACES, overview, place, region
    from b2dinspect.views.search import parse_offset

    if at is None:
        return overview(facts)
    if at in PLACES:
        found = place(facts, at, length)
        if found is None:
            raise UsageError(f"--at {at}: this disk has none ({facts.container.format}, {facts.state})")
        return [found]
    return [region(facts, space, parse_offset(at), length or DEFAULT_LENGTH)]


def _export(path: str, regions: list[Region], svg: Path | None, html: Path | None, force: bool) -> None:
    from b2dinspect.newfile import NewFile
    from b2dinspect.render import annotated, export
    from b2dinspect.render import hexdump as render

    if svg is not None:
        parts = [part for region in regions for part in (*render.dump(region), "")]
        with NewFile(svg, force=force) as file:
            file.pwrite(0, export.svg(parts, f"b2dinspect hexdump {path}").encode())
    if html is not None:
        with NewFile(html, force=force) as file:
            file.pwrite(0, annotated.page(path, regions).encode("utf-8", "replace"))
