"""What ``ls``, ``cat`` and ``get`` share: a disk's files, and a path in them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from b2dinspect.cli.common import as_path, examine
from b2dinspect.errors import FilesystemError
from b2dinspect.evidence.chain import Rules
from b2dinspect.filesystems.ext4 import DirectoryEntry, Ext4
from b2dinspect.inspection.walk import volume_for

Path = Annotated[str, typer.Argument(metavar="PATH", help="Path on the data partition.")]
Partition = Annotated[
    int | None,
    typer.Option("--partition", metavar="N", help="Another partition; 0 is a disk without a table."),
]

Offset = Annotated[
    int | None,
    typer.Option("--offset", metavar="BYTE", help="What begins at this byte of the disk, named or not."),
]


@contextmanager
def opened(
    image: str,
    path: str,
    partition: int | None,
    offset: int | None,
    format_name: str | None,
    allowed: Rules,
) -> Iterator[tuple[Ext4, DirectoryEntry]]:
    """Give the files of a disk's data partition and the entry at ``path``.

    Raises:
        UsageError: No such partition.
        FilesystemError: Nothing whose files are read, or the path is not on it.
    """
    with examine(image, format_name, allowed) as facts:
        volume = volume_for(facts, partition, offset)
        if not volume.file_kind:
            raise FilesystemError(
                f"{volume.partition.place} holds {volume.filesystem}, not ext2, 3 or 4, ISO 9660 or FAT"
            )
        with Ext4(volume.source, volume.file_kind) as files:
            yield files, files.find(as_path(path))
