"""``b2dprovision sweep``: what killed runs have left behind, named and removed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from b2dinspect.cli.common import command, say
from b2dinspect.errors import UsageError


@command
def sweep(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="The folder in which a run was killed.")
    ] = Path("machines"),
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Name it and remove nothing.")] = False,
) -> None:
    """Remove what killed runs have left: unfinished files and machines in DIR, work folders with keys.

    Example: b2dprovision sweep machines --dry-run

    What somebody still works on stays. What is the only copy of something gets its name back. Exit status: 0
    all swept, 2 something cannot be removed.
    """
    from b2dinspect.newfile.leftovers import leftovers, scratch_leftovers
    from b2dinspect.newfile.leftovers import sweep as remove

    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder")
    found = [*scratch_leftovers(), *leftovers(folder)]
    for one in found:
        if not dry_run:
            remove(one)
        if one.belongs is not None:
            say(f"{one.path}: {'the only copy of' if dry_run else 'is again'} {one.belongs}")
        else:
            say(f"{one.path}: {'left by a killed run' if dry_run else 'removed'}")
    if not found:
        say("nothing was left behind")
