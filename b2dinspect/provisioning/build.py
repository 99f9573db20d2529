"""Only the disk: in any state of its life, without a machine around it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Literal

from b2dinspect.containers.writers import new_disk
from b2dinspect.newfile import NewFile
from b2dinspect.newfile.hold import scratch
from b2dinspect.provisioning.disk.images import WorkDisk
from b2dinspect.provisioning.events import Event, Finished
from b2dinspect.provisioning.faults import FAULTS
from b2dinspect.provisioning.host.host import HOST_STAGES, disk_size
from b2dinspect.provisioning.programs import need_program
from b2dinspect.provisioning.stages import Plan, Stage, State, perform

DiskState = Literal["blank", "fresh", "partitioned", "provisioned"]
STATES: tuple[DiskState, ...] = ("blank", "fresh", "partitioned", "provisioned")


def build(plan: Plan, out: Path, wanted: DiskState | None = None) -> Iterator[Event]:
    """Make a disk image at ``out``.

    Args:
        plan: Size, format, key, guest, fault and identities; the rest of it is not used.
        out: The new file; it appears when it is whole.
        wanted: How far its life has come; by itself as far as the plan's fault needs.

    Raises:
        UsageError: The file exists and the plan does not force.
        ToolError: A program that is needed is missing or failed.
        OSError: The disk is full.
    """
    wanted = wanted or _state_for(plan.fault)
    with ExitStack() as cleanup:
        work = out.parent  # only mke2fs needs a folder
        if plan.mkfs == "e2fsprogs" and wanted not in ("blank", "fresh"):
            need_program("mke2fs")
            work = cleanup.enter_context(scratch())
        file = cleanup.enter_context(NewFile(out, force=plan.force))
        disk = WorkDisk(new_disk(plan.format, file, disk_size(plan), plan.ids))
        state = State(plan, work, cleanup, disk=disk, disk_path=out)
        for stage in _stages(wanted):
            state = yield from perform(stage, state)
        if plan.fault and FAULTS[plan.fault].stage == "between-boots":
            from b2dinspect.provisioning.lessons import ACCIDENTS, change_partition

            change_partition(disk, state, ACCIDENTS[plan.fault])
        disk.writer.flush()
    yield Finished(False, "", str(out), "the disk is made", ())


def _state_for(fault: str) -> DiskState:
    """Return the state in which a disk shows a fault."""
    needs_boot = fault and FAULTS[fault].stage in ("mkfs", "fill", "between-boots")
    return "provisioned" if needs_boot else "fresh"


def _stages(wanted: DiskState) -> Iterator[Stage]:
    if wanted == "blank":
        return
    yield from HOST_STAGES[:3]
    if wanted == "fresh":
        return
    from b2dinspect.provisioning.simulated.simulate import (
        DISK_STAGES,  # a fresh disk needs nothing of a guest
    )

    for stage in DISK_STAGES:
        if stage.id == "mkfs" and wanted == "partitioned":
            return
        yield stage
