"""``b2dprovision sweep``: what killed runs have left behind, named and removed."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from b2dinspect.cli.common import FINDINGS, command, complain, say
from b2dinspect.errors import UsageError

if TYPE_CHECKING:
    from b2dinspect.newfile.leftovers import Leftover


@command
def sweep(
    folder: Annotated[
        Path, typer.Argument(metavar="DIR", help="The folder in which a run was killed.")
    ] = Path("machines"),
    work_folders: Annotated[
        bool,
        typer.Option("--work-folders", help="Your own work folders among the temporary files, too."),
    ] = False,
    force: Annotated[bool, typer.Option("--force", help="Remove without a question.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Name it and remove nothing.")] = False,
) -> None:
    """Name what killed runs have left in DIR, unfinished files and machines, and remove it when you say so.

    Example: b2dprovision sweep machines

    On a terminal it asks; elsewhere only --force removes. What somebody still works on stays. What is the
    only copy of something gets its name back. Exit status: 0 all swept, 1 something is left there, 2
    something cannot be removed.
    """
    from b2dinspect.newfile.leftovers import leftovers, scratch_leftovers
    from b2dinspect.newfile.leftovers import sweep as remove

    if not folder.is_dir():
        raise UsageError(f"{folder} is not a folder")
    found = [*(scratch_leftovers() if work_folders else ()), *leftovers(folder)]
    say(*(_named(one) for one in found) if found else ("nothing was left behind",))
    if not found or dry_run:
        return
    if not force and not _agreed():
        complain("nothing is removed")
        raise typer.Exit(FINDINGS)
    for one in found:
        remove(one)
        say(f"{one.path}: {'removed' if one.belongs is None else f'is again {one.belongs}'}")


def _named(one: Leftover) -> str:
    return f"{one.path}: " + (
        "left by a killed run" if one.belongs is None else f"the only copy of {one.belongs}"
    )


def _agreed() -> bool:
    """Ask on a terminal; elsewhere nobody can answer, and that is no."""
    if not (sys.stdin.isatty() and sys.stderr.isatty()):
        complain("to remove it, say --force")
        return False
    return typer.confirm("Remove all of it?", err=True)
