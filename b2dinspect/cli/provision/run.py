"""``b2dprovision run``: a whole machine, from the key pair to the second login."""

from __future__ import annotations

from enum import StrEnum
from pathlib import Path
from typing import Annotated

import typer

from b2dinspect.cli.common import command, complain
from b2dinspect.cli.provision import common
from b2dinspect.cli.provision.common import (
    Engine,
    EngineOption,
    FaultOption,
    ForceOption,
    FormatOption,
    GuestOption,
    InitrdOption,
    IsoOption,
    JsonOption,
    KernelOption,
    KeyOption,
    KvmOption,
    Mkfs,
    MkfsOption,
    ScriptOption,
    SeedOption,
    SizeOption,
)
from b2dinspect.cli.provision.story import LanguageOption, Told
from b2dinspect.errors import UsageError
from b2dinspect.guests import profile_named
from b2dinspect.provisioning.host.drivers import DRIVERS

Driver = StrEnum("Driver", list(DRIVERS))  # type: ignore[misc]
Tamper = StrEnum("Tamper", {"delete_keys": "delete-keys", "replace_userdata": "replace-userdata"})
DEFAULT_DRIVER = Driver("virtualbox")
KeyType = StrEnum("KeyType", ["rsa", "ed25519"])


@command
def run(
    name: Annotated[str, typer.Argument(help="Name of the machine.")] = "default",
    driver: Annotated[Driver, typer.Option("--driver", help="Whose way to make the disk.")] = DEFAULT_DRIVER,
    guest: GuestOption = None,
    engine: EngineOption = Engine.simulate,
    kernel: KernelOption = None,
    initrd: InitrdOption = None,
    iso: IsoOption = None,
    kvm: KvmOption = False,
    script: ScriptOption = None,
    mkfs: MkfsOption = Mkfs.embedded,
    format_name: FormatOption = None,
    size: SizeOption = "20000MiB",
    key: KeyOption = None,
    key_type: Annotated[KeyType, typer.Option("--key-type", help="Kind of a new key pair.")] = KeyType.rsa,
    folder: Annotated[
        Path, typer.Option("--dir", metavar="DIR", help="Where the machine directory is made.")
    ] = Path("machines"),
    fault: FaultOption = None,
    tamper: Annotated[Tamper | None, typer.Option("--tamper", help="A lesson between the two boots.")] = None,
    seed: SeedOption = None,
    step: Annotated[bool, typer.Option("--step", help="Wait for Enter after each stage.")] = False,
    keep_stages: Annotated[
        bool, typer.Option("--keep-stages", help="Keep a copy of the disk after each stage.")
    ] = False,
    docker: Annotated[
        bool,
        typer.Option("--docker", help="Go on as docker-machine does: hostname, certificates, daemon, TLS."),
    ] = False,
    serve: Annotated[bool, typer.Option("--serve", help="Keep the guest up until Ctrl-C.")] = False,
    html: Annotated[
        Path | None,
        typer.Option("--html", metavar="FILE", help="Write a page too that plays it again, stage by stage."),
    ] = None,
    language: LanguageOption = None,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Make a machine, boot it twice, and log in each time with nothing but its key.

    Example: b2dprovision run demo --driver kvm2 --keep-stages

    With --docker it goes on behind the login, to a daemon behind TLS: simulate plays one, qemu runs a real
    one.
    Exit status: 0 logged in (and, with --docker, a client came in), 1 nobody can, 2 it could not be done.
    """
    from b2dinspect.containers.writers import format_for
    from b2dinspect.identity import Identities
    from b2dinspect.provisioning.pipeline import provision
    from b2dinspect.provisioning.stages import Plan

    if step and as_json:
        raise UsageError("--step is for people, --json for programs: choose one")
    chosen = DRIVERS[driver.value]
    player, qemu = common.engine_options(engine, kernel, initrd, iso, kvm, script)
    plan = Plan(
        name=common.check_name(name),
        driver=chosen,
        profile=profile_named(guest.value if guest else chosen.guest),
        format=format_for(chosen.disk, format_name) if format_name else chosen.format,
        folder=folder,
        size=common.parse_size(size),
        key=common.given_key(key),
        key_kind="rsa" if key_type is KeyType.rsa else "ed25519",
        fault=fault.value if fault else "",
        tamper=tamper.value if tamper else "",
        ids=Identities.from_seed(seed),
        engine=player,
        mkfs=common.chosen_mkfs(mkfs, engine),
        qemu=qemu,
        keeps_stages=keep_stages,
        serves=serve,
        force=force,
        docker=docker,
        decodes=as_json or html is not None,
    )
    if docker and (chosen.product != "docker-machine" or plan.profile.name == "minikube"):
        raise UsageError("--docker is what docker-machine does; minikube provisions its guests otherwise")
    if docker and (qemu.iso or qemu.initrd):
        raise UsageError("--docker provisions a guest of ours: leave --iso and --initrd away")
    if docker and player == "qemu":
        complain("a guest with a real dockerd: it takes 2 GiB of memory, and a minute or more without KVM")
    if docker and tamper:
        raise UsageError("--tamper is a lesson about the login, --docker goes on behind it: choose one")
    common.name_leftovers(folder)
    with Told(html, language, force=force) as told:
        finished = common.follow(told.heard(provision(plan)), as_json=as_json, is_stepping=step)
    common.exit_by(finished)
