"""How a repaired disk comes into use: by whom the machine is started, and what its hypervisor wants first."""

from __future__ import annotations

import os
from pathlib import Path

from b2dinspect.doctor.remedies import Command, start_command
from b2dinspect.machine.places import store_of
from b2dinspect.provisioning.repair.plan import Repair
from b2dinspect.provisioning.repair.writing import disk_change
from b2dinspect.records import NamedTuple

ANY_VM = "*S-1-5-83-0:F"
"""Full access for every virtual machine of Hyper-V, by the group's number, which no language changes."""


class Use(NamedTuple):
    """What to do next: a sentence, and commands to type one after the other."""

    text: str
    commands: tuple[Command, ...]


def after_in_place(repair: Repair) -> Use:
    """Return what is left to do when the machine itself was repaired."""
    case = repair.case
    commands: list[Command] = []
    is_new_file = repair.outcome is not None and disk_change(repair) is None
    if os.name == "nt" and is_new_file and case.machine is not None and case.machine.driver == "hyperv":
        commands.append(("icacls", case.path, "/grant", ANY_VM))
    if start := start_command(case):
        commands.append(start)
    text = "start the machine" if case.machine else "give the disk to its machine again"
    if case.machine is not None and store_of(case.machine.folder)[0] is None:
        text = (
            "move the directory into a folder called machines, where docker-machine and minikube look for "
            "it, and repair it there; then start the machine"
        )
    return Use(text, tuple(commands))


def after_copy(repair: Repair, copy: Path) -> Use:
    """Return how to put a repaired copy to use; the machine still uses what it used."""
    case = repair.case
    machine, disk = case.machine, case.disk
    if machine is None or not copy.is_dir():
        text = (
            f"nothing uses {copy.name} yet: with the machine off, give it the name and place of the old disk"
        )
        return Use(f"{text}, which you keep", ())
    folder = str(machine.folder)
    if disk is None or not disk.links:
        where = " outside of the store" if store_of(machine.folder)[0] and not store_of(copy)[0] else ""
        text = f"this is a copy{where}, the machine itself is as it was; to repair that one, with it off"
        return Use(text, (("b2dprovision", "repair", folder, *_options(repair), "--in-place"),))
    text = "this is a copy with a disk of its own, without snapshots; with the machine off, attach that disk"
    if machine.driver != "virtualbox" or machine.disks.chosen is None:
        return Use(text, ())
    attach = (
        "VBoxManage",
        "storageattach",
        machine.name,
        "--storagectl",
        "SATA",
        "--port",
        "1",
        "--device",
        "0",
    )
    medium = os.path.join(copy, machine.disks.chosen.name)  # noqa: PTH118 - keeps a relative name
    return Use(text, ((*attach, "--type", "hdd", "--medium", medium),))


def _options(repair: Repair) -> tuple[str, ...]:
    return ("--new-key",) if repair.new_key is not None else ()
