"""``b2dinspect docker rescue``."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Annotated

import typer

from b2dinspect.cli.common import (
    FINDINGS,
    AllowChain,
    Format,
    Image,
    Json,
    ProgressBar,
    command,
    complain,
    rules,
    say,
)
from b2dinspect.cli.docker.common import DataRoot, opened
from b2dinspect.cli.get import Force
from b2dinspect.errors import SourceError, UsageError


@command
def rescue(
    image: Image,
    destination: Annotated[str, typer.Argument(metavar="DEST", help="A new folder.")],
    force: Force = False,
    as_json: Json = False,
    data_root: DataRoot = None,
    format_name: Format = None,
    folders: AllowChain = None,
) -> None:
    """Save all volumes, containers' own changes and images into a folder, and say how to put them back.

    Example: b2dinspect docker rescue disk.vmdk ./rescued

    DEST gets volumes/*.tar, containers/*.tar and *.json, images.tar, a README.md with the commands that put
    each back where Docker runs, and manifest.json with the hashes and all that is missing. It goes on after a
    fault: what this image does not hold of a file is zeros, and named.

    Exit status: 0 all saved, 1 something is missing or damaged, 2 nothing saved.
    """
    from b2dinspect.docker.rescue import rescue as rescue_all
    from b2dinspect.render import json
    from b2dinspect.render import rescue as render

    target = Path(destination)
    with opened(image, data_root, format_name, rules(folders)) as found, ProgressBar() as progress:
        shelf = _Shelf(target, force, progress)
        rescued = rescue_all(found, shelf.new_file, shelf.begin)
        document = json.dumps(render.manifest(image, rescued))
        for name, text in (("README.md", render.readme(image, rescued)), ("manifest.json", f"{document}\n")):
            with shelf.new_file(name) as write:
                write(text.encode("utf-8", "backslashreplace"))
    faults = [problem for one in rescued.kept for problem in one.problems] + [*rescued.problems]
    for fault in faults[:20]:
        complain(fault)
    if len(faults) > 20:
        complain(f"and {len(faults) - 20} more: see {target / 'manifest.json'}")
    if as_json:
        print(document)  # noqa: T201
    else:
        say(*render.summary(rescued, destination))
    if faults:
        raise typer.Exit(FINDINGS)


class _Shelf:
    """The folder, and its files, each of which appears whole or not at all.

    Raises:
        UsageError: There is something in the folder already.
        SourceError: It cannot be made.
    """

    def __init__(self, folder: Path, force: bool, progress: ProgressBar) -> None:
        self._folder = folder
        self._force = force
        self._progress = progress
        self._what = ""
        self._done = 0
        if folder.is_symlink() or (folder.exists() and not folder.is_dir()):
            raise UsageError(f"{folder} is no folder")
        try:
            if not force and folder.exists() and any(folder.iterdir()):
                raise UsageError(f"{folder} has something in it").naming("force")
            for place in (folder, folder / "volumes", folder / "containers"):
                if place.is_symlink():
                    raise UsageError(f"{place} is a symbolic link; nothing is written through it")
                place.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise SourceError(f"cannot create {folder}: {error.strerror}") from error

    def begin(self, what: str) -> None:
        """Take note of what comes next."""
        self._what = what

    @contextmanager
    def new_file(self, name: str) -> Iterator[Callable[[bytes], object]]:
        """Give what takes the bytes of a file."""
        from b2dinspect.newfile import NewFile

        with NewFile(self._folder / name, force=self._force, mode=0o600) as file:

            def write(data: bytes) -> None:
                file.pwrite(file.size, data)
                self._done += len(data)
                self._progress(self._what, self._done, None)

            yield write
