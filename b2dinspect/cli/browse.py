"""What ``ls``, ``cat`` and ``get`` share: a disk's files, and a path in them."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Annotated

import typer

from b2dinspect.cli.common import as_path, examine
from b2dinspect.errors import FilesystemError
from b2dinspect.evidence.chain import Rules
from b2dinspect.filesystems.ext4 import Entry, Ext4
from b2dinspect.inspection.walk import volume_for

Path = Annotated[str, typer.Argument(metavar="PATH", help="Path on the data partition.")]
Partition = Annotated[
    int | None,
    typer.Option("--partition", metavar="N", help="Another partition; 0 is a disk without a table."),
]


@contextmanager
def opened(
    image: str, path: str, partition: int | None, format_name: str | None, allowed: Rules
) -> Iterator[tuple[Ext4, Entry]]:
    """Give the files of a disk's data partition and the entry at ``path``.

    Raises:
        UsageError: No such partition.
        FilesystemError: Not ext2, 3 or 4, or the path is not on it.
    """
    with examine(image, format_name, allowed) as facts:
        volume = volume_for(facts, partition)
        if not volume.is_ext:
            raise FilesystemError(
                f"partition {volume.partition.number} holds {volume.filesystem}, not ext2, 3 or 4"
            )
        with Ext4(volume.source) as files:
            yield files, files.find(as_path(path))
