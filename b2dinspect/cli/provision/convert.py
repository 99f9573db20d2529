"""``b2dprovision convert``: a disk into another container format."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from b2dinspect.cli.common import (
    FINDINGS,
    AllowChain,
    Image,
    PreferRedundant,
    ProgressBar,
    command,
    complain,
    rules,
    say,
)
from b2dinspect.cli.provision.common import ForceOption, FormatOption, SeedOption, name_leftovers


@command
def convert(
    source: Image,
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The new image; its name tells the format.")],
    format_name: FormatOption = None,
    subformat: Annotated[
        str | None,
        typer.Option("--subformat", metavar="NAME", help="Its kind: fixed, streamOptimized, monolithicFlat."),
    ] = None,
    verify: Annotated[bool, typer.Option("--verify", help="Read it back and compare.")] = False,
    fill_missing: Annotated[
        bool, typer.Option("--fill-missing", help="Zeros for what the source lacks; it is listed on stderr.")
    ] = False,
    seed: SeedOption = None,
    force: ForceOption = False,
    folders: AllowChain = None,
    prefer_redundant: PreferRedundant = False,
) -> None:
    """Copy a disk into an image of another format; what is not stored stays a hole.

    Example: b2dprovision convert sample_images/fresh.vdi.gz disk.vhd --verify

    Exit status: 0 done, 1 something was filled, 2 it could not be done, or what was read back differs.
    """
    from b2dinspect.containers.writers import format_for, subformat_for
    from b2dinspect.evidence.chain import open_disk
    from b2dinspect.evidence.file import about
    from b2dinspect.identity import Identities
    from b2dinspect.newfile import narrow
    from b2dinspect.provisioning.disk.convert import Filled
    from b2dinspect.provisioning.disk.convert import convert as copy
    from b2dinspect.render.text import size

    wanted = format_for(out.name, format_name)
    kind = subformat_for(wanted, subformat)
    name_leftovers(out.parent)
    with ProgressBar() as progress, about(source):
        allowed = rules(folders, prefer_redundant)
        with open_disk(source, rules=allowed, progress=progress) as opened:
            disk = opened.container
            whole = Filled(disk) if fill_missing else disk
            ids = Identities.from_seed(seed)
            mode = 0o644 if source == "-" else narrow(Path(source).stat().st_mode)
            copied = copy(
                whole,
                out,
                wanted,
                ids,
                subformat=kind,
                verify=verify,
                force=force,
                mode=mode,
                progress=progress,
            )
    compared = ", read back and compared" if verify else ""
    say(f"{out}: {wanted}, a disk of {size(disk.size)}, {size(copied)} copied{compared}")
    if isinstance(whole, Filled) and whole.missing:
        for start, end in whole.missing:
            complain(f"bytes {start} to {end - 1} of the disk are missing: now they are zeros")
        raise typer.Exit(FINDINGS)
