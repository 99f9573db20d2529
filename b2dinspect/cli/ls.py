"""``b2dinspect ls``: names on the data partition."""

from __future__ import annotations

from typing import Annotated

import typer

from b2dinspect.cli.browse import Offset, Partition, opened
from b2dinspect.cli.common import AllowChain, Format, Image, Json, PreferRedundant, command, out, rules
from b2dinspect.render import console


@command
def ls(
    image: Image,
    path: Annotated[str, typer.Argument(metavar="[PATH]", help="Path on the data partition.")] = "/",
    partition: Partition = None,
    offset: Offset = None,
    as_json: Json = False,
    format_name: Format = None,
    folders: AllowChain = None,
    prefer_redundant: PreferRedundant = False,
) -> None:
    """List a directory of the data partition: mode, owner, size, time, name.

    Example: b2dinspect ls sample_images/provisioned-minikube.vdi.gz /var/lib

    Symbolic links are shown with their target and never followed.
    """
    with opened(image, path, partition, offset, format_name, rules(folders, prefer_redundant)) as (
        files,
        entry,
    ):
        entries = files.list(entry) if entry.type == "directory" else [entry]
    if as_json:
        from b2dinspect.render import json

        print(json.dumps({"path": path, "entries": [json.directory_entry(item) for item in entries]}))  # noqa: T201
    else:
        out(console.listing(entries))
