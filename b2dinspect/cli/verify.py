"""``b2dinspect verify``: whether a container's own structures are sound, and nothing else."""

from __future__ import annotations

import typer

from b2dinspect.cli.common import (
    FINDINGS,
    AllowChain,
    Format,
    Image,
    Json,
    PreferRedundant,
    ProgressBar,
    command,
    image_of,
    out,
    rules,
)


@command
def verify(
    image: Image,
    as_json: Json = False,
    format_name: Format = None,
    folders: AllowChain = None,
    prefer_redundant: PreferRedundant = False,
) -> None:
    """Check the structures of a disk container: tables, overlaps, ranges, checksums, copies.

    Example: b2dinspect verify sample_images/out-of-order.vdi.gz

    What is on the disk inside does not matter here. Exit status: 0 sound, 1 something is wrong, 2 no
    container can be made out of the file.
    """
    from b2dinspect.evidence.chain import open_disk
    from b2dinspect.evidence.file import about

    image, allowed = image_of(image, rules(folders, prefer_redundant))
    with (
        ProgressBar() as progress,
        about(image),
        open_disk(image, format_name, rules=allowed, progress=progress) as opened,
    ):
        disk = opened.container
    if as_json:
        from b2dinspect.render import json

        print(json.dumps(json.verification(image, disk)))  # noqa: T201
    else:
        from b2dinspect.render import console

        out(console.verification(image, disk))
    if any(finding.is_fault for finding in disk.findings):
        raise typer.Exit(FINDINGS)
