"""``b2dprovision repair``: get the owner back in, without losing the data."""

from __future__ import annotations

import shlex
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from b2dinspect.cli.common import FINDINGS, command, complain, out, say
from b2dinspect.cli.provision.common import ForceOption, KeyOption
from b2dinspect.errors import UsageError

if TYPE_CHECKING:
    from b2dinspect.provisioning.repair.backup import FileChange
    from b2dinspect.provisioning.repair.plan import Repair


@command
def repair(
    subject: Annotated[
        str | None,
        typer.Argument(metavar="NAME|DIR|IMAGE", help="A machine by its name or directory, or a disk image."),
    ] = None,
    key: KeyOption = None,
    in_place: Annotated[
        bool, typer.Option("--in-place", help="Change the files themselves; a backup is written first.")
    ] = False,
    out_path: Annotated[
        Path | None, typer.Option("--out", metavar="PATH", help="Where the repaired copy goes.")
    ] = None,
    backup: Annotated[
        Path | None, typer.Option("--backup", metavar="FILE", help="Where the backup of --in-place goes.")
    ] = None,
    undo: Annotated[
        Path | None, typer.Option("--undo", metavar="BACKUP", help="Put back what a repair in place changed.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Show the byte changes and write nothing.")
    ] = False,
    cut: Annotated[
        bool, typer.Option("--cut", help="Cut the new userdata.tar at 4096 bytes, as a guest would.")
    ] = False,
    force: ForceOption = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Get the owner back in: put the key on the data partition, mend label, key files and paths.

    Example: b2dprovision repair machines/default --dry-run

    Works on a copy, NAME-repaired, unless --in-place is given. A simulated login proves the repair before
    anything is written. Never writes to byte 0 of a used disk. Exit status: 0 repaired, or nothing to do, 1
    something is left, 2 it could not be done.
    """
    from b2dinspect.doctor.case import open_case
    from b2dinspect.doctor.diagnosis import diagnose
    from b2dinspect.provisioning.repair.plan import plan_repair

    if undo is not None:
        _undo(undo, subject, as_json)
        return
    if subject is None:
        raise UsageError("name a machine, its directory, or a disk image")
    if subject == "-":
        raise UsageError("standard input cannot be repaired; name a file")
    if in_place and out_path is not None:
        raise UsageError("--in-place changes the files themselves, --out makes a copy: choose one")
    pair = None if key is None else _load(key)
    with open_case(subject) as case:
        plan = plan_repair(diagnose(case), pair, is_cut=cut)
        screen = _Screen(plan, as_json)
        if plan.actions and plan.logged_in is False:
            complain("the simulated login fails even so: nothing is written")
        elif plan.actions and dry_run:
            screen.show_changes(_host_files(plan))
        elif plan.actions and in_place:
            screen.files, screen.backup = _in_place(plan, backup)
            screen.written = subject
        elif plan.actions:
            screen.written = str(_copy(plan, subject, out_path, force))
    screen.end()


class _Screen:
    """What a repair prints: lines as it goes, or one JSON document at the end."""

    def __init__(self, plan: Repair, as_json: bool) -> None:
        from b2dinspect.render import repair as render

        self._plan, self._as_json, self._render = plan, as_json, render
        self.files: list[FileChange] = []
        self.written = self.backup = ""
        if not as_json:
            out(*render.plan(plan))

    def show_changes(self, files: list[FileChange]) -> None:
        """Show what would change."""
        self.files = files
        if not self._as_json:
            out(*self._render.changes(self._plan, files))

    def end(self) -> None:
        """Say what was written, and end with status 1 when something is left."""
        healthy = _check(self.written) if self.written else None
        if self._as_json:
            from b2dinspect.render import json

            document = self._render.repair_json(self._plan, self.files, self.written, self.backup, healthy)
            print(json.dumps(document))  # noqa: T201
        elif self.written:
            _tell(self.written, self.backup, healthy)
        if self._plan.left or self._plan.logged_in is False or healthy is False:
            raise typer.Exit(FINDINGS)


def _load(path: Path) -> Any:
    from b2dinspect.provisioning.keypair import load_key

    return load_key(path)


def _host_files(plan: Repair) -> list[FileChange]:
    from b2dinspect.provisioning.repair.plan import host_changes

    machine = plan.case.machine
    return host_changes(plan, machine.folder.absolute()) if machine else []


def _in_place(plan: Repair, backup: Path | None) -> tuple[list[FileChange], str]:
    from b2dinspect.provisioning.repair.plan import repair_in_place

    machine = plan.case.machine
    folder = machine.folder if machine else Path(plan.case.path).absolute().parent
    name = f"repair-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}.b2dbackup"
    path = backup or folder / name
    files = repair_in_place(plan, path)
    return files, str(path) if files else ""


def _copy(plan: Repair, subject: str, out_path: Path | None, force: bool) -> Path:
    from b2dinspect.containers.writers import kept_format, suffix
    from b2dinspect.provisioning.repair.plan import repair_image_copy, repair_machine_copy

    machine = plan.case.machine
    if machine is not None and Path(plan.case.subject).resolve() != Path(plan.case.path).resolve():
        target = out_path or machine.folder.absolute().with_name(f"{machine.folder.resolve().name}-repaired")
        repair_machine_copy(plan, target, force=force)
        return target
    disk = plan.case.disk
    name = Path(subject).name
    stem = name.split(".")[0] if disk and disk.origin != "file" else Path(name).stem
    ending = suffix(kept_format(disk.container.format)) if disk else "img"
    target = out_path or Path(subject).with_name(f"{stem}-repaired.{ending}")
    repair_image_copy(plan, target, force=force)
    return target


def _check(path: str) -> bool:
    """Ask the doctor about the outcome."""
    from b2dinspect.doctor.case import open_case
    from b2dinspect.doctor.diagnosis import diagnose

    with open_case(path) as case:
        return diagnose(case).is_healthy


def _tell(written: str, backup: str, healthy: bool | None) -> None:
    word = "the doctor finds nothing wrong any more" if healthy else "the doctor still finds something"
    lines = [f"written  {written}: {word}"]
    if backup:
        lines.append(f"undo     b2dprovision repair --undo {shlex.quote(backup)}")
    say(*lines)


def _undo(backup: Path, subject: str | None, as_json: bool) -> None:
    from b2dinspect.provisioning.repair.backup import undo

    if subject is not None:
        raise UsageError("--undo knows from the backup what to put back: name nothing else")
    files = [str(path) for path in undo(backup)]
    if as_json:
        from b2dinspect.render import json

        print(json.dumps({"undone": files}))  # noqa: T201
    else:
        say(*(f"as before  {path}" for path in files))
