"""``b2dprovision samples`` and ``b2dprovision faults``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from b2dinspect.cli.common import command, out
from b2dinspect.provision.faults import FAULTS
from b2dinspect.render.text import size


@command
def samples(
    folder: Annotated[Path, typer.Argument(metavar="DIR", help="Where the samples are written.")],
) -> None:
    """Make all sample disks again, the same bytes every time (with mke2fs 1.47.0).

    Example: b2dprovision samples sample_images
    """
    from b2dinspect.provision.samples import rebuild

    for name, packed, unpacked in rebuild(folder):
        out(f"{name}: {size(packed)}, unpacked {size(unpacked)}")


@command
def faults() -> None:
    """List the ways in which --fault breaks a machine.

    Example: b2dprovision faults
    """
    from rich.table import Table

    table = Table("fault", "what goes wrong", "build can make it", box=None, pad_edge=False)
    for fault in FAULTS.values():
        table.add_row(fault.name, fault.sentence, "yes" if fault.on_disk else "no")
    out(table)
