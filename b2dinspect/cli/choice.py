"""``b2dinspect choice``: which disk a guest would take, and whether it would format it."""

from __future__ import annotations

from contextlib import ExitStack
from typing import Annotated

import typer

from b2dinspect.cli.common import FINDINGS, TROUBLE, AllowChain, Json, command, examine, out, rules


@command
def choice(
    images: Annotated[list[str], typer.Argument(metavar="IMAGE…", help="The disks of one machine.")],
    as_json: Json = False,
    folders: AllowChain = None,
    vmware: Annotated[bool, typer.Option("--vmware", help="The disks are VMware's.")] = False,
    nvme: Annotated[bool, typer.Option("--nvme", help="They are attached to an NVMe controller.")] = False,
) -> None:
    """Tell which disk each guest generation would take at its next boot, and whether it would FORMAT it.

    Example: b2dinspect choice sample_images/magic-damaged.vdi.gz

    Ask this before you boot a recovered disk. Exit status: 0 none would format anything but a fresh disk, 1
    one would, or several partitions carry the label, 2 what a guest looks at is not in the files.
    """
    from b2dinspect.guests import PROFILES
    from b2dinspect.inspection.choice import Candidate, Hardware, choose_among
    from b2dinspect.render import doctor as render

    hardware = Hardware(is_vmware=vmware, is_nvme=nvme)
    with ExitStack() as opened:
        disks = [opened.enter_context(examine(image, None, rules(folders))) for image in images]
        candidates = [Candidate(facts.container, facts.table, facts.volumes) for facts in disks]
        found = [(one.name, one.program, choose_among(one, candidates, hardware)) for one in PROFILES]
    paths = [facts.path for facts in disks]
    if as_json:
        from b2dinspect.render import json

        print(json.dumps(render.choices_json(paths, found)))  # noqa: T201
    else:
        out(render.choices(paths, found))
    if not all(chosen.is_told for _, _, chosen in found):
        raise typer.Exit(TROUBLE)
    for _, _, chosen in found:
        if chosen.rivals:
            raise typer.Exit(FINDINGS)
        if chosen.disk is not None and chosen.choice.action == "format":
            state = disks[chosen.disk].state
            if state != "fresh" and not (state == "blank" and vmware):
                raise typer.Exit(FINDINGS)
