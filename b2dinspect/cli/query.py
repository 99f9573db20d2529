"""``b2dinspect query``: ask the decoded fields."""

from __future__ import annotations

from typing import Annotated

import typer

from b2dinspect.cli.common import (
    FINDINGS,
    AllowChain,
    Format,
    Image,
    Json,
    PreferRedundant,
    command,
    complain,
    examine,
    rules,
    say,
)


@command
def query(
    image: Image,
    expression: Annotated[str, typer.Argument(metavar="EXPR", help="In the language of JMESPath.")],
    as_json: Json = False,
    format_name: Format = None,
    folders: AllowChain = None,
    prefer_redundant: PreferRedundant = False,
) -> None:
    """Ask for a part of all that is known of a disk: values, offsets, keys, findings.

    Example: b2dinspect query sample_images/fresh.vdi.gz header.block_size

    Asked is the document of show --json, with three parts more: `header`, the container's fields by name;
    `headers`, every structure as show --headers has it; and `fields`, all fields in one list, each with its
    structure, space, offset there and, for the disk, in the file. A text is printed as it is, everything else
    as JSON. The language: https://jmespath.org. Exit status: 0 there is something, 1 there is nothing, 2 it
    could not be done.
    """
    from b2dinspect.docker.summary import summaries
    from b2dinspect.doctor.disk import examine as find_oddities
    from b2dinspect.render import json, query

    asked = query.compiled(expression)
    with examine(image, format_name, rules(folders, prefer_redundant)) as facts:
        document = query.document(facts, find_oddities(facts), summaries(facts))
    found = asked(document)
    if as_json:
        answer = {"path": document["path"], "expression": expression, "result": found}
        print(json.dumps(answer))  # noqa: T201
    elif isinstance(found, str):
        say(found)
    elif found is not None:
        print(json.plain(found))  # noqa: T201
    if found in (None, [], {}, ""):
        if nearest := query.nearest(document, expression):
            complain(f"there is nothing; the nearest is {nearest}")
        raise typer.Exit(FINDINGS)
