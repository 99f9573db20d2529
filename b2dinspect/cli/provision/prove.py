"""``b2dprovision prove``: boot the disk on an overlay and see who gets in."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from b2dinspect.cli.common import FINDINGS, TROUBLE, Json, command, complain, out
from b2dinspect.cli.provision import common
from b2dinspect.cli.provision.common import (
    Engine,
    EngineOption,
    GuestOption,
    InitrdOption,
    IsoOption,
    KernelOption,
    KvmOption,
)


@command
def prove(
    subject: Annotated[
        str,
        typer.Argument(metavar="NAME|DIR|IMAGE", help="A machine by its name or directory, or a disk image."),
    ],
    keys: Annotated[
        list[Path] | None,
        typer.Option(
            "--key", metavar="FILE", help="A private key to try; the first is the owner's. Repeatable."
        ),
    ] = None,
    guest: GuestOption = None,
    engine: EngineOption = Engine.simulate,
    kernel: KernelOption = None,
    initrd: InitrdOption = None,
    iso: IsoOption = None,
    kvm: KvmOption = False,
    as_json: Json = False,
) -> None:
    """Boot a guest on a copy of the disk in memory, and try every key whose private half is at hand.

    Example: b2dprovision prove machines/default

    Nothing is written to the machine. The keys: the machine's own, other private keys in its directory, those
    of the machines beside it, and those of --key. Exit status: 0 the owner gets in, 1 the owner does not,
    2 it could not be tried, or the guest did something else than the bytes on the disk say.
    """
    from b2dinspect.doctor.case import open_case
    from b2dinspect.guests import profile_named
    from b2dinspect.provisioning.repair import proof
    from b2dinspect.render import proof as render

    name, qemu = common.engine_options(engine, kernel, initrd, iso, kvm)
    profile = profile_named(guest.value) if guest else None
    with open_case(subject) as case:
        found = proof.prove(case, proof.keys_at_hand(case, keys or ()), profile, proof.Engine(name, qemu))
    if as_json:
        from b2dinspect.render import json

        print(json.dumps(render.proof_json(subject, found)))  # noqa: T201
    else:
        out(*render.proof(found))
    if not found.agrees:
        complain(
            "the guest did something else than the bytes on the disk say: please report this as a defect"
        )
        raise typer.Exit(TROUBLE)
    if not found.owner_is_in:
        raise typer.Exit(FINDINGS)
