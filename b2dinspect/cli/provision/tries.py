"""``b2dprovision tries``: what one would try first to get in, tried."""

from __future__ import annotations

import json
from typing import Annotated

import typer

from b2dinspect.cli.common import command, out
from b2dinspect.cli.provision.common import JsonOption
from b2dinspect.errors import UsageError


@command
def tries(
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]...", help="Which ways; by default all.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Try what one would try first: a password through a pipe, scp, SSH_ASKPASS, expect; and see why not.

    Example: b2dprovision tries pipe expect

    A real ssh client asks a server on this machine that takes a password. Each way is tried, and told what
    comes of it: three are refused, two get in, and still none of them is how docker-machine does it.
    """
    from b2dinspect.provisioning.tries import WAYS
    from b2dinspect.provisioning.tries import tries as tried
    from b2dinspect.render.stages import attempt

    known = [way.id for way in WAYS]
    if unknown := [name for name in names or () if name not in known]:
        raise UsageError(f"no way is called {unknown[0]!r}; there are {', '.join(known)}")
    for one in tried(names or ()):
        if as_json:
            print(json.dumps({"schema_version": 1, "event": "tried", **one._asdict()}), flush=True)  # noqa: T201
        else:
            out(attempt(one))
