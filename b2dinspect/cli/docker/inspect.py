"""``b2dinspect docker inspect``."""

from __future__ import annotations

from typing import Annotated

import typer

from b2dinspect.cli.common import AllowChain, Format, Image, command, rules
from b2dinspect.cli.docker.common import DataRoot, end, opened
from b2dinspect.errors import UsageError

KINDS = ("container", "image", "volume")


@command
def inspect(
    image: Image,
    names: Annotated[
        list[str], typer.Argument(metavar="NAME…", help="Containers, images or volumes: name or id.")
    ],
    kind: Annotated[
        str | None, typer.Option("--type", metavar="TYPE", help="Only a container, image or volume.")
    ] = None,
    data_root: DataRoot = None,
    format_name: Format = None,
    folders: AllowChain = None,
) -> None:
    """Print all that is known of containers, images or volumes, as JSON in the shape of `docker inspect`.

    Example: b2dinspect docker inspect disk.vmdk web

    What a running daemon alone knows is not there: the places where it would mount layers, and its networks'
    state is that of the last time it wrote it down.
    """
    from b2dinspect.docker.inspect import inspected

    if kind is not None and kind not in KINDS:
        raise UsageError(f"--type {kind} is not one of {', '.join(KINDS)}")
    with opened(image, data_root, format_name, rules(folders)) as found:
        described = [inspected(found, name, kind) for name in names]
    from b2dinspect.render import docker as render

    print(render.inspection([one.document for one in described]))  # noqa: T201
    end([problem for one in described for problem in one.problems])
