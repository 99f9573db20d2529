"""``b2dprovision boot``: one boot of a disk that is there."""

from __future__ import annotations

from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from b2dinspect.cli.common import command, rules
from b2dinspect.cli.provision import common
from b2dinspect.cli.provision.common import (
    Engine,
    EngineOption,
    ForceOption,
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
)
from b2dinspect.errors import UsageError
from b2dinspect.guests import profile_for
from b2dinspect.provisioning.host.drivers import DRIVERS

if TYPE_CHECKING:  # each command imports its own half of the package: the others need not wait for it
    from b2dinspect.inspection.facts import Inspection
    from b2dinspect.provisioning.stages import Plan


@command
def boot(
    image: Annotated[Path, typer.Argument(metavar="IMAGE", help="Disk image, or a machine.")],
    guest: GuestOption = None,
    engine: EngineOption = Engine.simulate,
    kernel: KernelOption = None,
    initrd: InitrdOption = None,
    iso: IsoOption = None,
    kvm: KvmOption = False,
    script: ScriptOption = None,
    mkfs: MkfsOption = Mkfs.embedded,
    key: KeyOption = None,
    in_place: Annotated[
        bool, typer.Option("--in-place", help="Let the guest change the image itself, not a copy.")
    ] = False,
    out: Annotated[
        Path | None, typer.Option("--out", metavar="FILE", help="Keep the copy that the guest changed.")
    ] = None,
    docker: Annotated[
        bool,
        typer.Option("--docker", help="Start the daemon, too, and come in with the machine's certificates."),
    ] = False,
    serve: Annotated[bool, typer.Option("--serve", help="Keep the guest up until Ctrl-C.")] = False,
    force: ForceOption = False,
    as_json: JsonOption = False,
) -> None:
    """Boot a guest from a copy of a disk and try to log in, with --key or the id_rsa beside the disk.

    Example: b2dprovision boot machines/default --serve

    With --docker it goes on to the daemon, which simulate plays, with the certificates that lie on the disk.
    Exit status: 0 logged in (and, with --docker, a client came in), 1 nobody can, 2 it could not be done.
    """
    from b2dinspect.containers.writers import written_formats
    from b2dinspect.inspection.walk import inspect
    from b2dinspect.machine.folder import open_machine
    from b2dinspect.machine.naming import disk_named
    from b2dinspect.provisioning.disk.rework import alone
    from b2dinspect.provisioning.keypair import KeyPair, load_key
    from b2dinspect.provisioning.pipeline import boot_image
    from b2dinspect.provisioning.stages import Plan

    if in_place and out is not None:
        raise UsageError("--in-place changes the image itself, --out keeps a copy: choose one")
    named = disk_named(str(image))
    folder, image = named.folder or image.parent, Path(named.path)
    machine_folder = open_machine(folder)
    private = machine_folder.keys.private
    key_path = key or (private.file.path if private and not private.file.error else None)
    pair = load_key(key_path) if key_path else KeyPair(b"", b"")
    machine = folder if private and (folder / "config.json").is_file() and key is None else None
    if docker and machine is None:
        raise UsageError("--docker comes with a machine's certificates: name its directory, and no --key")
    if docker and (iso or initrd):
        raise UsageError("--docker starts the daemon of a guest of ours: leave --iso and --initrd away")
    common.name_leftovers(out.parent if out else image.parent)
    player, qemu = common.engine_options(engine, kernel, initrd, iso, kvm, script)
    with ExitStack() as cleanup:
        with inspect(str(image), rules=rules([str(folder)] if named.folder else None)) as facts:
            known = guest.value if guest else facts.guest.profile
            plan = Plan(
                name=folder.absolute().name or "default",
                driver=DRIVERS.get(machine_folder.driver, DRIVERS["virtualbox"]),
                profile=profile_for(known),
                format=_format(facts, out),
                folder=folder,
                key=pair,
                engine=player,
                mkfs=common.chosen_mkfs(mkfs, engine),
                qemu=qemu,
                serves=serve,
                docker=docker,
            )
            if not in_place:
                image = _copy(facts, plan, out, cleanup, force)
            elif facts.container.format not in written_formats() or facts.origin != "file":
                text = f"{image}: only plain images of {', '.join(written_formats())} can be changed in place"
                raise UsageError(text)
            else:
                alone(facts.container.file, image)
                if not force:
                    _check_harmless(facts, plan)
        is_kept = in_place or out is not None
        common.exit_by(common.follow(boot_image(plan, image, machine, is_kept=is_kept), as_json=as_json))


def _check_harmless(facts: Inspection, plan: Plan) -> None:
    """Refuse a boot in place that would format what is on the disk."""
    choice = next(one for one in facts.choices if one.guest == plan.profile.name)
    if choice.action == "format" and facts.state not in ("fresh", "blank"):
        raise UsageError(
            f"{facts.path}: this guest would FORMAT a disk that holds something ({choice.reason}); "
            "leave out --in-place to see it on a copy, or say --force"
        )


def _format(facts: Inspection, out: Path | None) -> str:
    """Return the format of the copy: as the name of ``out`` says, else the image's own where it can be."""
    from b2dinspect.containers.writers import format_for, kept_format

    if out is not None:
        return format_for(out.name)
    return kept_format(facts.container.format)


def _copy(facts: Inspection, plan: Plan, out: Path | None, cleanup: ExitStack, force: bool) -> Path:
    from b2dinspect.provisioning.disk.rework import write_image

    if out is None:
        from b2dinspect.newfile.hold import scratch

        out = cleanup.enter_context(scratch()) / f"copy.{plan.format}"
    write_image(facts.container, out, plan, force=force)
    return out
