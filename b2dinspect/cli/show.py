"""``b2dinspect show``: one screen that answers what this disk is and who may log in."""

from __future__ import annotations

from typing import Annotated

import typer

from b2dinspect.cli.common import (
    FINDINGS,
    Address,
    AllowChain,
    At,
    Format,
    Image,
    Json,
    PreferRedundant,
    command,
    examine,
    out,
    rules,
    visit_of,
)
from b2dinspect.docker.summary import summaries
from b2dinspect.doctor.disk import examine as find_oddities


@command
def show(
    image: Image,
    as_json: Json = False,
    headers: Annotated[
        bool, typer.Option("--headers", help="Add the decoded fields of every header.")
    ] = False,
    format_name: Format = None,
    at: At = None,
    address: Address = None,
    folders: AllowChain = None,
    prefer_redundant: PreferRedundant = False,
) -> None:
    """Show what a disk is, in which state, where its userdata is, and which keys are on it.

    Example: b2dinspect show sample_images/provisioned-autoformat.vdi.gz

    A key line that expires, or asks from where somebody comes, is judged for --at and --address. Exit
    status: 0 nothing odd, 1 something odd (warning or error), 2 the disk could not be read.
    """
    with examine(image, format_name, rules(folders, prefer_redundant), visit_of(at, address)) as facts:
        findings, engines = find_oddities(facts), summaries(facts)
    if as_json:
        from b2dinspect.render import json

        document = json.show(facts, findings, engines)
        if headers:
            document["headers"] = json.headers(facts)
        print(json.dumps(document))  # noqa: T201
    else:
        from b2dinspect.render import console

        out(console.show(facts, findings, headers, engines))
    if any(finding.is_fault for finding in findings):
        raise typer.Exit(FINDINGS)
