"""What a plan needs of this machine, looked at before anything is made: nothing begins that cannot end."""

from __future__ import annotations

import shutil
import socket
from pathlib import Path

from b2dinspect.errors import ToolError, UsageError
from b2dinspect.provisioning.programs import need_program
from b2dinspect.provisioning.stages import Plan

ROOM = 64 << 20
"""Bytes that a machine, the copies that become its disk, and a guest's work folder take at most."""
ROOM_OF_A_STAGE = 8 << 20
"""Bytes of a copy of the disk after one stage."""
STAGES = 12


def check_needs(plan: Plan, folder: Path) -> None:
    """Refuse a plan that could not be carried out.

    Args:
        plan: What is to be made.
        folder: Where it will be made, there or not.

    Raises:
        ToolError: A program, a kernel or a port is missing.
        UsageError: There is too little room.
    """
    if plan.engine == "qemu":
        _check_qemu(plan)
    elif plan.mkfs == "e2fsprogs":
        need_program("mke2fs")
    _check_room(folder, ROOM + (STAGES * ROOM_OF_A_STAGE if plan.keeps_stages else 0))
    try:
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
    except OSError as error:
        raise ToolError(f"no port of 127.0.0.1 can be opened: {error.strerror}") from error


def _check_qemu(plan: Plan) -> None:
    need_program("qemu-system-x86_64")
    if plan.qemu.iso is not None:
        return
    from b2dinspect.provisioning.real.guestscript import programs
    from b2dinspect.provisioning.real.initramfs import find_kernel

    if plan.qemu.kernel is None:
        find_kernel()
    if plan.qemu.initrd is None:
        for name in (*programs(plan), "ldd"):
            need_program(name)


def _check_room(folder: Path, needed: int) -> None:
    there = next((one for one in (folder.absolute(), *folder.absolute().parents) if one.is_dir()), None)
    free = needed if there is None else shutil.disk_usage(there).free
    if free < needed:
        raise UsageError(f"{there} has {free >> 20} MiB free, and this can take {needed >> 20} MiB")
