"""``b2dinspect get``: copy files out of the data partition, never outside the destination."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path as HostPath
from typing import TYPE_CHECKING, Annotated

import typer

from b2dinspect.cli.browse import Offset, Partition, Path, opened
from b2dinspect.cli.common import (
    FINDINGS,
    TROUBLE,
    AllowChain,
    Format,
    Image,
    PreferRedundant,
    ProgressBar,
    advised,
    command,
    complain,
    rules,
)
from b2dinspect.errors import B2dError, SourceError, UsageError

if TYPE_CHECKING:
    from b2dinspect.extraction.members import Member
    from b2dinspect.extraction.tar import Style
    from b2dinspect.findings import Finding

IS_WINDOWS = sys.platform == "win32"

Force = Annotated[bool, typer.Option("--force", help="Replace files that exist.")]
Owners = Annotated[
    bool, typer.Option("--owners", help="Keep owners, groups and all bits of the mode, as root may.")
]
Fill = Annotated[
    bool,
    typer.Option(
        "--fill-missing", help="Write zeros for what the image does not hold of a file, and name it."
    ),
]


@command
def get(
    image: Image,
    path: Path,
    destination: Annotated[
        str | None, typer.Argument(metavar="[DEST]", help="File, or directory to copy into.")
    ] = None,
    tar: Annotated[
        str | None, typer.Option("--tar", metavar="FILE", help="Write a tar instead; - for standard output.")
    ] = None,
    owners: Owners = False,
    fill: Fill = False,
    partition: Partition = None,
    offset: Offset = None,
    force: Force = False,
    format_name: Format = None,
    folders: AllowChain = None,
    prefer_redundant: PreferRedundant = False,
) -> None:
    """Copy a file, or a directory with all in it, out of the data partition.

    Example: b2dinspect get disk.vdi /var/lib/docker/volumes ./rescued

    Example: b2dinspect get disk.vdi /var/lib/docker/volumes --tar volumes.tar

    A copy keeps modes, times, holes, hard links where this system has them, and symbolic links as links. What
    it cannot take (a name, a device) is reported and left out; a tar keeps everything, with owners and
    extended attributes.
    Each file appears whole or not at all. A copy is yours; nobody may read it who could not read the file.

    Exit status: 0 all copied, 1 something left out or not whole, 2 nothing copied.
    """
    if (destination is None) == (tar is None):
        raise UsageError("say where to: a folder or file, or a tar").naming("tar")
    from b2dinspect.extraction.members import walk, walk_quickly

    said = Said()
    allowed = rules(folders, prefer_redundant)
    with (
        opened(image, path, partition, offset, format_name, allowed) as (files, entry),
        ProgressBar() as progress,
    ):
        if tar is not None:
            from b2dinspect.extraction.tar import Style

            members = walk(files, entry, said.fault)
            name = entry.name or b"."
            style = Style(sparse=True, fill=fill, dot=True)
            if entry.type != "directory":
                members = (one._replace(path=name) for one in members)
            copied = to_tar(members, tar, force, said, style, progress)
        else:
            from b2dinspect.extraction.host import ExtractionRules, HostTree

            target = HostPath(str(destination))
            if entry.type != "directory" and target.is_dir():
                target /= _safe_name(entry.name)
            with HostTree(
                target, said.fault, ExtractionRules(force, owners, fill), evidence_of(image), told(progress)
            ) as tree:
                for member in walk_quickly(files, entry, said.fault):
                    tree.take(member)
            copied = f"{tree.copied} file{'s' * (tree.copied != 1)}, {tree.size} bytes"
    if entry.type == "directory":
        complain(f"{copied}, {said.times} left out or not whole" if said.times else f"{copied}, 0 left out")
    if said.times:
        raise typer.Exit(FINDINGS if entry.type == "directory" else TROUBLE)


class Said:
    """What was said on stderr of what does not come out, or not whole.

    Attributes:
        times: How often.
    """

    def __init__(self, where: str = "") -> None:
        self._where = where
        self.times = 0

    def fault(self, path: bytes, error: B2dError) -> None:
        """Say it."""
        self.times += 1
        from b2dinspect.extraction.members import NotWholeError

        what = "not whole" if isinstance(error, NotWholeError) else "left out"
        complain(f"{what}: {self._where}{path.decode('utf-8', 'surrogateescape') or '/'}: {advised(error)}")

    def problems(self, found: Iterable[Finding]) -> None:
        """Say what else is not known, and so may be missing of what comes out."""
        for one in found:
            self.times += 1
            complain(one.message)


def to_tar(
    members: Iterator[Member], target: str, force: bool, said: Said, style: Style, progress: ProgressBar
) -> str:
    """Write members as a tar into a file, whole or not at all, or to standard output; return how many."""
    from b2dinspect.extraction.tar import TarWriter

    with sink(target, force) as write:
        done = 0

        def written(data: bytes) -> None:
            nonlocal done
            write(data)
            done += len(data)
            progress("writing", done, None)

        tar = TarWriter(written, said.fault, style)
        for member in members:
            tar.add(member)
        tar.end()
    return f"{tar.members} members, {tar.size} bytes"


@contextmanager
def sink(target: str, force: bool) -> Iterator[Callable[[bytes], object]]:
    """Give what takes the bytes of a new file, or of standard output for ``-``.

    Raises:
        UsageError: The file exists, or standard output is a terminal.
    """
    if target == "-":
        if sys.stdout.isatty():
            raise UsageError("a tar is nothing for a terminal; write it into a file or a pipe")
        yield sys.stdout.buffer.write
        sys.stdout.buffer.flush()
        return
    from b2dinspect.newfile import NewFile

    with NewFile(target, force=force, mode=0o600) as file:

        def write(data: bytes) -> None:
            file.pwrite(file.size, data)

        yield write


def evidence_of(image: str) -> os.stat_result | None:
    """Return which file is read, so that it is never written; None for one that has no name here."""
    try:
        return os.fstat(0) if image == "-" else HostPath(image).stat()
    except OSError:
        return None


def told(progress: ProgressBar) -> Callable[[int], None]:
    """Return what takes the bytes copied so far."""
    return lambda done: progress("copying", done, None)


def _safe_name(name: bytes) -> str:
    if name in (b"", b".", b"..") or b"/" in name or (IS_WINDOWS and (b"\\" in name or b":" in name)):
        raise SourceError(f"{os.fsdecode(name)} is no name for a file here; give DEST as a file name")
    return os.fsdecode(name)
