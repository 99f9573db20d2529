"""What the docker commands share: the disk, its data-roots, and what is in them."""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from itertools import chain
from typing import TYPE_CHECKING, Annotated

import typer

from b2dinspect.cli.common import FINDINGS, as_path, complain, examine, out
from b2dinspect.docker.contents import contents
from b2dinspect.docker.facts import Contents, DockerContainer, DockerImage, DockerVolume
from b2dinspect.docker.roots import open_roots
from b2dinspect.errors import UsageError
from b2dinspect.evidence.chain import Rules
from b2dinspect.findings import Finding

if TYPE_CHECKING:
    from b2dinspect.render.docker import Sheet

DataRoot = Annotated[
    str | None,
    typer.Option(
        "--data-root", metavar="PATH", help="Where the engine keeps its data; by default it is searched."
    ),
]
NoTrunc = Annotated[bool, typer.Option("--no-trunc", help="Print ids, commands and times whole.")]


@contextmanager
def opened(
    image: str, data_root: str | None, format_name: str | None, allowed: Rules
) -> Iterator[tuple[Contents, ...]]:
    """Give what is in each data-root of a disk; files can be read as long as the context is.

    Raises:
        UsageError: There is none.
    """
    with (
        examine(image, format_name, allowed) as facts,
        open_roots(facts, as_path(data_root) if data_root is not None else None) as roots,
    ):
        if not roots:
            kinds = dict.fromkeys(volume.filesystem for volume in facts.volumes)
            there = ", ".join(kinds) or "no filesystem"
            text = f"{facts.path}: no container engine left anything that is found here ({there})"
            raise UsageError(text).naming("data_root")
        yield tuple(contents(root) for root in roots)


def problems_of(found: Sequence[Contents]) -> list[Finding]:
    """Return all that cannot be read, each once."""
    problems: dict[Finding, None] = {}
    for one in found:
        items: chain[DockerContainer | DockerImage | DockerVolume] = chain(
            one.containers, one.images, one.volumes
        )
        problems.update(dict.fromkeys(chain(one.problems, *(item.problems for item in items))))
    return list(problems)


def show(sheets: Sequence[Sheet]) -> None:
    """Print tables: folded into the columns of a terminal, or of COLUMNS; else as wide as they are."""
    from b2dinspect.render import docker as render

    if sys.stdout.isatty() or "COLUMNS" in os.environ:
        out(*render.drawn(sheets))
    else:
        sys.stdout.write("".join(f"{line}\n" for line in render.plain(sheets)))


def end(problems: Sequence[Finding], as_json: bool = False) -> None:
    """Say what cannot be read on stderr, unless JSON had it, and end with the status that belongs to it.

    Raises:
        Exit: There is something.
    """
    if not as_json:
        for problem in problems:
            complain(problem.message)
    if problems:
        raise typer.Exit(FINDINGS)
