"""``b2dinspect verify``: whether a container's own structures are sound, and nothing else."""

from __future__ import annotations

import typer

from b2dinspect.cli.common import FINDINGS, Format, Image, Json, ProgressBar, command, out


@command
def verify(image: Image, as_json: Json = False, format_name: Format = None) -> None:
    """Check the structures of a disk container: tables, overlaps, ranges, checksums, copies.

    Example: b2dinspect verify sample_images/out-of-order.vdi.gz

    What is on the disk inside does not matter here. Exit status: 0 sound, 1 something is wrong, 2 no
    container can be made out of the file.
    """
    from b2dinspect.containers import open_container
    from b2dinspect.evidence import about, open_evidence

    with ProgressBar() as progress, about(image):
        file = open_evidence(image, progress)
        try:
            disk = open_container(file, format_name)
        finally:
            file.close()
    if as_json:
        from b2dinspect.render import json

        print(json.dumps(json.verification(image, disk)))  # noqa: T201
    else:
        from b2dinspect.render import console

        out(console.verification(image, disk))
    if any(finding.is_fault for finding in disk.findings):
        raise typer.Exit(FINDINGS)
