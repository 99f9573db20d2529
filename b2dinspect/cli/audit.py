"""``b2dinspect audit``: one record for each of many disks, and the answers across them."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated

import typer

from b2dinspect.cli.common import FINDINGS, At, Json, ProgressBar, command, complain, visit_of
from b2dinspect.errors import UsageError

PATIENCE = 120.0


@command
def audit(
    roots: Annotated[
        list[str] | None,
        typer.Argument(metavar="[ROOT…]", help="Folders, files or URLs, below which all is taken."),
    ] = None,
    output: Annotated[
        Path | None,
        typer.Option(
            "--output", "-o", metavar="FILE", help="Where records go: .ndjson, a line each, or .parquet."
        ),
    ] = None,
    summary: Annotated[
        Path | None, typer.Option("--summary", metavar="FILE", help="Answer from the records in a file.")
    ] = None,
    hashes: Annotated[
        bool, typer.Option("--hash", help="Hash the evidence too (SHA-256): reads all of it.")
    ] = False,
    jobs: Annotated[
        int | None, typer.Option("--jobs", "-j", min=1, max=256, help="Processes; by default one a core.")
    ] = None,
    seconds: Annotated[
        float,
        typer.Option("--timeout", min=1, metavar="SECONDS", help="For one subject; then it is given up."),
    ] = PATIENCE,
    dask: Annotated[
        str | None,
        typer.Option("--dask", metavar="ADDRESS", help="Do it on the Dask cluster of this scheduler."),
    ] = None,
    at: At = None,
    force: Annotated[bool, typer.Option("--force", help="Replace FILE.")] = False,
    as_json: Json = False,
) -> None:
    """Inspect and diagnose every image and machine directory below folders, a record each.

    Example: b2dinspect audit sample_images -o audit.ndjson

    Example: b2dinspect audit --summary audit.ndjson

    What fails costs its own record, which says why. Records are in the order of the subjects' names; the same
    command takes up an audit that was stopped where it stopped. --summary tells which keys open which
    machines, keys used in many, keys in force whose private half lies elsewhere, machines that nobody can
    enter, findings by count, containers and volumes.

    Exit status: 0 nothing wrong with any, 1 something is, 2 it could not look.
    """
    if summary is not None:
        if roots or output:
            raise UsageError("a summary is of a file of records alone")
        _answer(summary, as_json)
        return
    if not roots or output is None:
        raise UsageError("say what to audit, and where records go: ROOT -o FILE; or --summary FILE")
    _audit(roots, output, hashes, jobs, seconds, dask, visit_of(at, None).at, force)


def _audit(
    roots: list[str],
    output: Path,
    hashes: bool,
    jobs: int | None,
    seconds: float,
    dask: str | None,
    at: int,
    force: bool,
) -> None:
    from b2dinspect.audit.store import Store
    from b2dinspect.audit.subjects import subjects_below
    from b2dinspect.evidence.urls import shown

    began, faults, count = time.monotonic(), 0, 0
    with Store(output, force) as store, ProgressBar() as progress:
        if store.done:
            complain(f"goes on: {len(store.done)} records are there")
        subjects = (one for one in subjects_below(roots) if shown(one) not in store.done)
        for line in _lines(subjects, at, hashes, jobs, seconds, dask):
            store.add(line)
            count += 1
            faults += '"healthy": true' not in line
            progress("auditing", count, None)
    took = time.monotonic() - began
    complain(f"{count} records in {took:.1f} s, {faults} with something wrong: {output}")
    if faults:
        raise typer.Exit(FINDINGS)


def _lines(
    subjects: Iterator[str], at: int, hashes: bool, jobs: int | None, seconds: float, dask: str | None
) -> Iterator[str]:
    if dask is not None:
        from b2dinspect.audit import cluster

        return cluster.lines(subjects, at, hashes, dask)
    from b2dinspect.audit import workers

    return workers.lines(subjects, at, hashes, jobs or os.cpu_count() or 1, seconds)


def _answer(path: Path, as_json: bool) -> None:
    from b2dinspect.audit.store import records_in
    from b2dinspect.audit.summary import summarise
    from b2dinspect.cli.docker.common import show
    from b2dinspect.render import audit as render

    found = summarise(records_in(path))
    if as_json:
        from b2dinspect.render import json

        print(json.dumps(render.summary_json(found)))  # noqa: T201
    else:
        show([*render.sheets(found)])
    if found.failed or found.findings:
        raise typer.Exit(FINDINGS)
