"""``b2dprovision samples`` and ``b2dprovision faults``."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Annotated

import typer

from b2dinspect.cli.common import command, out
from b2dinspect.errors import UsageError
from b2dinspect.provisioning.faults import FAULTS
from b2dinspect.render.text import size


@command
def samples(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where the samples are written.")],
) -> None:
    """Make all sample disks again, the same bytes every time and on every system.

    Example: b2dprovision samples sample_images
    """
    from b2dinspect.provisioning.samples.samples import rebuild

    for name, packed, unpacked in rebuild(folder):
        out(f"{name}: {size(packed)}, unpacked {size(unpacked)}")


@command
def incidents(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where the machine directories are made.")],
    names: Annotated[
        list[str] | None, typer.Argument(metavar="[NAME]…", help="Only these; by default all.")
    ] = None,
    pack: Annotated[bool, typer.Option("--pack", help="Make the packed samples instead.")] = False,
) -> None:
    """Make broken machines to practise on: one for each thing that goes wrong in real life.

    Example: b2dprovision incidents /tmp/broken key-regenerated

    Then ask `b2dinspect machines DIR` and `b2dinspect doctor DIR/NAME`; of the second door (door-open and
    what follows it) with `--at 2019-06-01`, when their certificates were good. Everybody has their keys.
    """
    from b2dinspect.provisioning.samples.door_incidents import DOOR_INCIDENTS, make_door, rebuild_door
    from b2dinspect.provisioning.samples.incidents import INCIDENTS, make, rebuild

    known = INCIDENTS | DOOR_INCIDENTS
    if unknown := [name for name in names or [] if name not in known]:
        raise UsageError(f"no incident is called {unknown[0]!r}; there are {', '.join(known)}")
    wanted = [*(names or known)]
    login = tuple(name for name in wanted if name in INCIDENTS)
    door = tuple(name for name in wanted if name in DOOR_INCIDENTS)
    if pack:
        found = [
            *([rebuild(folder, login)] if login else []),
            *([rebuild_door(folder, door)] if door else []),
        ]
        for name, length in itertools.chain(*found):
            out(f"{name}: {size(length)}")
        return
    for name in wanted:
        made = (make_door if name in door else make)(known[name], folder.absolute())
        out(f"{made}: {known[name].story}")


@command
def faults() -> None:
    """List the ways in which --fault breaks a machine.

    Example: b2dprovision faults
    """
    from b2dinspect.render.terminal import Table

    table = Table("fault", "what goes wrong", "build can make it", box=None, pad_edge=False)
    for fault in FAULTS.values():
        table.add_row(fault.name, fault.sentence, "yes" if fault.on_disk else "no")
    out(table)
