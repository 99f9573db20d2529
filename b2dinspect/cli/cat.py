"""``b2dinspect cat``: the content of one file of the data partition."""

from __future__ import annotations

from b2dinspect.cli.browse import Offset, Partition, Path, opened
from b2dinspect.cli.common import AllowChain, Format, Image, PreferRedundant, command, rules, write_bytes

CHUNK = 1 << 20


@command
def cat(
    image: Image,
    path: Path,
    partition: Partition = None,
    offset: Offset = None,
    format_name: Format = None,
    folders: AllowChain = None,
    prefer_redundant: PreferRedundant = False,
) -> None:
    """Print a file of the data partition, byte for byte; on a terminal, control characters are escaped.

    Example: b2dinspect cat disk.vdi /var/lib/boot2docker/userdata.tar | tar tvf -
    """
    with opened(image, path, partition, offset, format_name, rules(folders, prefer_redundant)) as (
        files,
        entry,
    ):
        content = files.content(entry)
        for offset in range(0, content.size, CHUNK):
            write_bytes(content.pread(offset, CHUNK))
