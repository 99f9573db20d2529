"""``b2dinspect docker history``."""

from __future__ import annotations

from typing import Annotated

import typer

from b2dinspect.cli.common import AllowChain, Format, Image, Json, command, rules
from b2dinspect.cli.docker.common import DataRoot, NoTrunc, end, opened, show
from b2dinspect.render import docker as render


@command
def history(
    image: Image,
    reference: Annotated[
        str, typer.Argument(metavar="REF", help="An image: name, name:tag, or the beginning of its id.")
    ],
    no_trunc: NoTrunc = False,
    as_json: Json = False,
    data_root: DataRoot = None,
    format_name: Format = None,
    folders: AllowChain = None,
) -> None:
    """Show the steps by which an image was made, newest first.

    Example: b2dinspect docker history disk.vmdk nginx:latest
    """
    from b2dinspect.docker.contents import image_named

    with opened(image, data_root, format_name, rules(folders)) as found:
        _, chosen = image_named(found, reference)
    if as_json:
        from b2dinspect.render import json

        print(json.dumps(render.history_json(image, chosen)))  # noqa: T201
    else:
        show(render.history(chosen, is_whole=no_trunc))
    end(chosen.problems, as_json)
