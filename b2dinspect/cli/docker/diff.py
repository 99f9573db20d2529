"""``b2dinspect docker diff``."""

from __future__ import annotations

from typing import Annotated

import typer

from b2dinspect.cli.common import FINDINGS, AllowChain, Format, Image, Json, command, rules, say
from b2dinspect.cli.docker.common import DataRoot, end, opened

Container = Annotated[
    str, typer.Argument(metavar="NAME", help="A container: its name or the beginning of its id.")
]


@command
def diff(
    image: Image,
    name: Container,
    as_json: Json = False,
    data_root: DataRoot = None,
    format_name: Format = None,
    folders: AllowChain = None,
) -> None:
    """List what a container added (A), changed (C) and deleted (D) in its image's files.

    Example: b2dinspect docker diff disk.vmdk web

    Exit status: 0 all read, 1 something could not be read, 2 there is no such container.
    """
    from b2dinspect.cli.get import Said
    from b2dinspect.docker.changes import changes
    from b2dinspect.docker.contents import container_named

    said = Said()
    with opened(image, data_root, format_name, rules(folders)) as found:
        root, container = container_named(found, name)
        there = changes(root, container, said.fault)
    if as_json:
        from b2dinspect.render import json

        document = {
            "path": image,
            "id": container.id,
            "name": container.name,
            "changes": [{"kind": one.kind, "path": json.text(one.path)} for one in there],
        }
        print(json.dumps(document))  # noqa: T201
    else:
        say(*(f"{one.kind} {one.path.decode('utf-8', 'surrogateescape')}" for one in there))
    end(container.problems)
    if said.times:
        raise typer.Exit(FINDINGS)
