"""``b2dinspect ls``: names on the data partition."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from typing import Annotated

import typer

from b2dinspect.cli.browse import Offset, Partition, opened
from b2dinspect.cli.common import (
    FINDINGS,
    AllowChain,
    Format,
    Image,
    Json,
    PreferRedundant,
    command,
    complain,
    out,
    rules,
    say,
)
from b2dinspect.errors import B2dError
from b2dinspect.filesystems.ext4 import DirectoryEntry, Ext4

Found = tuple[bytes, DirectoryEntry]
"""A path below what is listed, and what is there."""


@command
def ls(
    image: Image,
    path: Annotated[str, typer.Argument(metavar="[PATH]", help="Path on the data partition.")] = "/",
    recursive: Annotated[
        bool, typer.Option("--recursive", "-R", help="List all directories below, too.")
    ] = False,
    partition: Partition = None,
    offset: Offset = None,
    as_json: Json = False,
    format_name: Format = None,
    folders: AllowChain = None,
    prefer_redundant: PreferRedundant = False,
) -> None:
    """List a directory of the data partition: mode, owner, size, time, name.

    Example: b2dinspect ls sample_images/provisioned-minikube.vdi.gz /var/lib

    Symbolic links are shown with their target and never followed. What is damaged costs only itself.

    Exit status: 0 all listed, 1 something cannot be read, 2 there is no such directory.
    """
    faults = _Faults()
    with opened(image, path, partition, offset, format_name, rules(folders, prefer_redundant)) as (
        files,
        entry,
    ):
        found = _below(files, entry, faults) if recursive else _in(files, entry, faults)
        if as_json:
            from b2dinspect.render import json

            items = (
                {**({"path": json.text(where)} if recursive else {}), **json.directory_entry(item)}
                for where, item in found
            )
            for piece in json.stream({"path": path}, "entries", items):
                sys.stdout.write(piece)
        elif recursive:
            from b2dinspect.render import console

            for where, item in found:
                say(console.listed(where, item))
        else:
            from b2dinspect.render import console

            out(console.listing([item for _, item in found]))
    if faults.times:
        raise typer.Exit(FINDINGS)


class _Faults:
    """Says what cannot be read, and counts it."""

    def __init__(self) -> None:
        self.times = 0

    def take(self, path: bytes, error: B2dError) -> None:
        """Say it."""
        self.times += 1
        complain(f"{path.decode('utf-8', 'surrogateescape') or '/'}: {error}")


def _in(files: Ext4, entry: DirectoryEntry, faults: _Faults) -> Iterator[Found]:
    """Yield what is in a directory, or the one thing that was named.

    Raises:
        FilesystemError: Nothing of the directory can be read.
    """
    if entry.type != "directory":
        yield entry.name, entry
        return
    is_empty = True
    for item in files.scan(entry, faults.take):
        is_empty = False
        yield item.name, item
    if is_empty and faults.times:
        files.list(entry)


def _below(files: Ext4, entry: DirectoryEntry, faults: _Faults) -> Iterator[Found]:
    from b2dinspect.extraction.members import walk

    for member in walk(files, entry, faults.take):
        if member.path or entry.type != "directory":
            yield member.path or entry.name, member.entry
