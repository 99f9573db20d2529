"""``b2dprovision build``: only the disk."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from b2dinspect.cli.common import command
from b2dinspect.cli.provision import common
from b2dinspect.cli.provision.common import (
    FaultOption,
    ForceOption,
    FormatOption,
    GuestOption,
    JsonOption,
    KeyOption,
    Mkfs,
    MkfsOption,
    SeedOption,
    SizeOption,
)
from b2dinspect.errors import UsageError
from b2dinspect.guests import profile_named
from b2dinspect.provisioning.faults import FAULTS
from b2dinspect.provisioning.host.drivers import DRIVERS

DiskState = StrEnum("DiskState", ["blank", "fresh", "partitioned", "provisioned"])


@command
def build(
    out: Annotated[Path, typer.Argument(metavar="OUT", help="The new disk image.")],
    key: KeyOption = None,
    size: SizeOption = "20000MiB",
    state: Annotated[
        DiskState | None, typer.Option("--state", help="How far the disk's life has come; fresh by default.")
    ] = None,
    guest: GuestOption = None,
    format_name: FormatOption = None,
    fault: FaultOption = None,
    seed: SeedOption = None,
    mkfs: MkfsOption = Mkfs.embedded,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Make a disk image. Without --key it holds the samples' public key, to which nobody has the other half.

    Example: b2dprovision build disk.vdi --key ~/.ssh/id_ed25519.pub --state provisioned --guest minikube

    Exit status: 0 made, 2 it could not be done.
    """
    from b2dinspect.containers.writers import format_for
    from b2dinspect.identity import Identities
    from b2dinspect.provisioning.build import STATES
    from b2dinspect.provisioning.build import build as build_disk
    from b2dinspect.provisioning.keypair import KeyPair, sample_key
    from b2dinspect.provisioning.stages import Plan

    if fault and not FAULTS[fault.value].on_disk:
        raise UsageError(f"the fault {fault.value} does not show on a disk; `b2dprovision run` makes it")
    plan = Plan(
        name=out.stem,
        driver=DRIVERS["virtualbox"],
        profile=profile_named(guest.value if guest else "autoformat"),
        format=format_for(out.name, format_name),
        folder=out.parent,
        size=common.parse_size(size),
        key=common.given_key(key) or KeyPair(b"", sample_key("owner")),
        fault=fault.value if fault else "",
        ids=Identities.from_seed(seed),
        mkfs=common.chosen_mkfs(mkfs),
        force=force,
    )
    wanted = next((name for name in STATES if state and name == state.value), None)
    events = build_disk(plan, out, wanted)
    common.name_leftovers(out.parent)
    if as_json:
        common.follow(events, as_json=True)
    else:
        common.conclude(events)
