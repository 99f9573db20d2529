"""``b2dinspect logs``: what the guest wrote down before it let nobody in."""

from __future__ import annotations

from typing import Annotated

import typer

from b2dinspect.cli.browse import Partition
from b2dinspect.cli.common import AllowChain, Format, Image, Json, command, examine, out, rules


@command
def logs(
    image: Image,
    lines: Annotated[
        int,
        typer.Option("--lines", "-n", min=0, max=10000, metavar="N", help="Last lines of each; 0 for none."),
    ] = 5,
    partition: Partition = None,
    as_json: Json = False,
    format_name: Format = None,
    folders: AllowChain = None,
) -> None:
    """Show the guest's log files on the data partition, oldest first, and the names of deleted files.

    Example: b2dinspect logs sample_images/provisioned-minikube.vdi.gz

    `b2dinspect cat IMAGE /var/log/NAME` prints one in full.
    """
    from b2dinspect.render import logs as render
    from b2dinspect.views.logs import read_logs

    with examine(image, format_name, rules(folders)) as facts:
        found = read_logs(facts, lines, partition)
    if as_json:
        from b2dinspect.render import json

        print(json.dumps(render.logs_json(facts.path, found)))  # noqa: T201
    else:
        out(*render.logs(found))
