"""``b2dinspect report``: everything on one page, for an examiner's file or a classroom."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from b2dinspect.cli.common import (
    FINDINGS,
    Address,
    AllowChain,
    At,
    Format,
    ProgressBar,
    command,
    rules,
    visit_of,
)
from b2dinspect.cli.hexdump import Force


@command
def report(
    subject: Annotated[
        str, typer.Argument(metavar="NAME|DIR|IMAGE", help="A machine's name or directory, or a disk image.")
    ],
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", metavar="FILE", help="By default standard output."),
    ] = None,
    markdown: Annotated[bool, typer.Option("--markdown", help="Markdown; also if FILE ends in .md.")] = False,
    force: Force = False,
    format_name: Format = None,
    at: At = None,
    address: Address = None,
    folders: AllowChain = None,
) -> None:
    """Write a report: verdict, chain, findings, disk, keys, map, annotated bytes, headers, and hashes.

    Example: b2dinspect report sample_images/userdata-cut.vdi.gz -o report.html

    One file that loads nothing, readable in light and dark, on a phone and on paper. Exit status: 0 nothing
    wrong, 1 something is, 2 it could not be made.
    """
    from b2dinspect.doctor.case import open_case
    from b2dinspect.doctor.report import gather

    visit = visit_of(at, address)
    with (
        ProgressBar() as progress,
        open_case(
            subject, format_name=format_name, rules=rules(folders), progress=progress, visit=visit
        ) as case,
    ):
        found = gather(case, progress, visit.at)
    if markdown or (output and output.suffix == ".md"):
        from b2dinspect.render import markdown as drawing

        text = drawing.page(found)
    else:
        from b2dinspect.render import html

        text = html.page(found)
    if output is None:
        print(text, end="")  # noqa: T201
    else:
        from b2dinspect.newfile import NewFile

        with NewFile(output, force=force) as file:
            file.pwrite(0, text.encode("utf-8", "replace"))
    if not found.diagnosis.is_healthy:
        raise typer.Exit(FINDINGS)
