"""``b2dinspect diff``: which keys two places share, and which only one has."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from b2dinspect.cli.common import FINDINGS, AllowChain, Json, ProgressBar, command, out, rules
from b2dinspect.errors import UsageError
from b2dinspect.inspection.walk import inspect

if TYPE_CHECKING:
    from b2dinspect.evidence.chain import Rules
    from b2dinspect.views.comparison import Comparison

Side = "disk image, authorized_keys or .pub file, private key, tar, or machine"


@command
def diff(
    left: Annotated[str, typer.Argument(metavar="LEFT", help=f"A {Side}.")],
    right: Annotated[str | None, typer.Argument(metavar="[RIGHT]", help="The same, to compare with.")] = None,
    as_json: Json = False,
    folders: AllowChain = None,
) -> None:
    """Compare the keys of two places, matched by the key itself and not by its text.

    With one image: authorized_keys against authorized_keys2, and the original tar against today's. With one
    machine: the host's key against those that its disk lets in. As one of two places, a machine is its disk.

    Example: b2dinspect diff ~/.docker/machine/machines/default/id_rsa disk.vdi

    Exit status: 0 the same keys, 1 they differ, 2 trouble.
    """
    from b2dinspect.machine.naming import machine_named
    from b2dinspect.views.comparison import compare, key_set, within_disk

    allowed = rules(folders)
    with ProgressBar() as progress:
        if right is not None:
            found = [compare(key_set(left, progress, allowed), key_set(right, progress, allowed))]
        elif machine_named(left) is not None:
            found = _within_machine(left, progress, allowed)
        else:
            with inspect(left, rules=allowed, progress=progress) as facts:
                found = [*within_disk(facts)]
    if not found:
        raise UsageError(f"{left} holds only one set of keys, or none: give a second place to compare with")
    if as_json:
        from b2dinspect.render import json

        print(json.dumps({"comparisons": [json.comparison(item) for item in found]}))  # noqa: T201
    else:
        for item in found:
            from b2dinspect.render import console

            out(console.comparison(item))
    if not any(item.left.keys or item.right.keys for item in found):
        nobody = f"neither {left} nor {right} holds" if right is not None else f"nothing in {left} is"
        raise UsageError(f"{nobody} a key that sshd would accept: nothing was compared")
    if any(item.differs for item in found):
        raise typer.Exit(FINDINGS)


def _within_machine(path: str, progress: ProgressBar, allowed: Rules) -> list[Comparison]:
    from b2dinspect.views.comparison import compare, machine_sides

    sides = machine_sides(path, progress, allowed)
    return [compare(*sides)] if len(sides) == 2 else []
