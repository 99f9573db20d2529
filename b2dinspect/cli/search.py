"""``b2dinspect search``: keys, tars, superblocks that nothing names any more, by their own bytes."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from b2dinspect.cli.common import (
    FINDINGS,
    TROUBLE,
    AllowChain,
    Format,
    PreferRedundant,
    ProgressBar,
    advised,
    command,
    complain,
    examine,
    rules,
)
from b2dinspect.errors import B2dError, UsageError

if TYPE_CHECKING:
    from b2dinspect.evidence.chain import Rules
    from b2dinspect.inspection.facts import Inspection
    from b2dinspect.search.carving import Carved
    from b2dinspect.search.facts import Hit, Kind
    from b2dinspect.search.scan import Search, Wanted


@command
def search(
    images: Annotated[
        list[str],
        typer.Argument(
            metavar="IMAGE…", help="Disk images, block devices, or names of machines; - for stdin."
        ),
    ],
    patterns: Annotated[
        list[str] | None,
        typer.Option(
            "--pattern",
            metavar="WHAT",
            help="Also search for text, bytes (0x53ef, 53 ef), a /regular expression/, or a key's "
            "fingerprint (SHA256:…, MD5:…). Repeatable.",
        ),
    ] = None,
    only: Annotated[
        list[str] | None,
        typer.Option(
            "--kind",
            metavar="KIND",
            help="Only: marker, tar-entry, public-key, private-key, host-key, superblock, swap, table, "
            "config, pattern. Repeatable.",
        ),
    ] = None,
    carve: Annotated[
        Path | None,
        typer.Option(
            "--carve", metavar="DIR", help="Write tars, keys and configurations that were found there."
        ),
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace files in DIR.")] = False,
    as_json: Annotated[
        bool, typer.Option("--json", help="Print an object of JSON a line, as soon as it is found.")
    ] = False,
    engine: Annotated[
        str | None,
        typer.Option("--engine", metavar="NAME", help="What searches: yara-x, or python (slower)."),
    ] = None,
    format_name: Format = None,
    folders: AllowChain = None,
    prefer_redundant: PreferRedundant = False,
) -> None:
    """Search everything that a disk stores for keys, tars, superblocks and tables, by their own bytes.

    Example: b2dinspect search sample_images/key-replaced.vdi.gz

    Example: b2dinspect search disk.vdi --kind private-key --carve ./found

    One pass over all that is stored: files, unallocated blocks, slack, journal, swap, gaps. Each hit is told
    with its place on the disk and in the file, whose block it is in, how sure it is, and, of a key, its
    fingerprint and whether it lets somebody in. An interrupt keeps what was found.

    Exit status: 0 found, 1 nothing found, or not all could be searched, 2 an image could not be searched.
    """
    wanted = _wanted(patterns, only, engine)
    session = _Session(carve, force, as_json)
    allowed = rules(folders, prefer_redundant)
    try:
        for image in images:
            session.search(image, format_name, allowed, wanted, is_alone=len(images) == 1)
    finally:
        session.end()
    if session.failed:
        raise typer.Exit(TROUBLE)
    if session.is_short or not session.found:
        raise typer.Exit(FINDINGS)


def _wanted(patterns: Sequence[str] | None, only: Sequence[str] | None, engine: str | None) -> Wanted:
    from b2dinspect.search.facts import KINDS
    from b2dinspect.search.patterns import parse
    from b2dinspect.search.scan import Wanted

    for one in only or ():
        if one not in KINDS:
            raise UsageError(f"--kind {one}: it is one of {', '.join(KINDS)}")
    if engine not in (None, "yara-x", "python"):
        raise UsageError(f"--engine {engine}: it is yara-x or python")
    kinds: tuple[Kind, ...] = tuple(one for one in KINDS if not only or one in only)
    return Wanted(kinds, tuple(map(parse, patterns or ())), engine)  # type: ignore[arg-type]


class _Session:
    """What is printed and written of searches of several images.

    Attributes:
        found: Hits.
        failed: Images that could not be searched, and files that could not be written.
        is_short: Whether something was not searched.
    """

    def __init__(self, folder: Path | None, force: bool, as_json: bool) -> None:
        self.found = self.failed = 0
        self.is_short = False
        self._folder = folder
        self._force = force
        self._as_json = as_json
        self._images: list[dict[str, Any]] = []
        self._carved: list[str] = []

    def search(
        self, image: str, format_name: str | None, allowed: Rules, wanted: Wanted, *, is_alone: bool
    ) -> None:
        """Search one image; one that cannot be searched costs itself, unless it is the only one.

        Raises:
            B2dError: It cannot be, and there is no other.
        """
        from b2dinspect.render import search as render

        try:
            with examine(image, format_name, allowed) as facts:
                self._search(facts, wanted)
        except B2dError as error:
            if is_alone:
                raise
            self.failed += 1
            complain(advised(error))
            self._images.append(render.failed_json(image, str(error)))

    def _search(self, facts: Inspection, wanted: Wanted) -> None:
        from b2dinspect.search.carving import Carver
        from b2dinspect.search.scan import Search

        with ProgressBar() as progress:
            search = Search(facts, wanted, progress)
            carver = Carver(facts.container) if self._folder else None
            self._carved = []
            try:
                with closing(search.hits()) as hits:
                    for hit in hits:
                        self.found += 1
                        self._print(facts.path, hit)
                        for one in carver.take(hit) if carver else ():
                            self._write(one)
            finally:
                progress.__exit__(None, None, None)
                self._sum_up(facts, search)

    def _print(self, path: str, hit: Hit) -> None:
        if self._as_json:
            from b2dinspect.render import search as render

            sys.stdout.write(render.line(render.hit_json(path, hit)) + "\n")
            sys.stdout.flush()

    def _write(self, carved: Carved) -> None:
        """Write a file whole or not at all; only its owner may read it. One that exists costs itself."""
        from b2dinspect.newfile import NewFile

        folder = self._folder or Path()
        try:
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            target = folder / carved.name
            with NewFile(target, force=self._force, mode=0o600) as file:
                file.pwrite(0, carved.content)
            self._carved.append(str(target))
        except (B2dError, OSError) as error:
            self.failed += 1
            complain(advised(error) if isinstance(error, B2dError) else f"{folder}: {error.strerror}")

    def _sum_up(self, facts: Inspection, search: Search) -> None:
        from b2dinspect.cli.docker.common import show
        from b2dinspect.render import search as render

        totals, merged = search.totals, search.merged
        self.is_short = self.is_short or not totals.is_complete or bool(totals.missing or totals.left_out)
        self._images.append(render.image_json(facts.path, merged, totals, search.engine, self._carved))
        for text in render.shortcomings(merged, totals):
            complain(text)
        if self._as_json:
            return
        if merged.counts:
            show([render.sheet("", merged.things())])
        complain(render.end_text(facts.path, merged, totals))
        if self._carved:
            complain(f"{len(self._carved)} file{'s' * (len(self._carved) != 1)} written to {self._folder}")

    def end(self) -> None:
        """Print the last object."""
        if self._as_json:
            from b2dinspect.render import search as render

            sys.stdout.write(render.line(render.summary_json(self._images)) + "\n")
