"""``b2dprovision repair``: get the owner back in, without losing anything of anybody's."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from b2dinspect.cli.common import FINDINGS, command, complain, out, say
from b2dinspect.cli.provision.common import ForceOption, KeyOption, name_leftovers
from b2dinspect.errors import UsageError

if TYPE_CHECKING:
    from b2dinspect.doctor.case import Case
    from b2dinspect.provisioning.keypair import KeyPair
    from b2dinspect.provisioning.repair.backup import FileChange, NewImage
    from b2dinspect.provisioning.repair.ondisk import Wish
    from b2dinspect.provisioning.repair.plan import Repair
    from b2dinspect.provisioning.repair.use import Use


@command
def repair(
    subject: Annotated[
        str | None,
        typer.Argument(metavar="NAME|DIR|IMAGE", help="A machine by its name or directory, or a disk image."),
    ] = None,
    key: KeyOption = None,
    new_key: Annotated[
        bool, typer.Option("--new-key", help="Make a new key pair, for a machine that lost its own.")
    ] = False,
    drop: Annotated[
        list[str] | None,
        typer.Option(
            "--drop",
            metavar="WHAT",
            help="What may go, and does: a key (SHA256:…), a file in userdata.tar, id_rsa, ca-key.pem.",
        ),
    ] = None,
    in_place: Annotated[
        bool, typer.Option("--in-place", help="Repair the machine itself; a backup is written first.")
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
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Show every change and write nothing.")] = False,
    cut: Annotated[
        bool, typer.Option("--cut", help="Make userdata.tar fit in the 4096 bytes that a guest keeps.")
    ] = False,
    certs: Annotated[
        bool,
        typer.Option("--certs", help="Also make new certificates, so that a Docker client comes in again."),
    ] = False,
    force: ForceOption = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print JSON for programs.")] = False,
) -> None:
    """Get the owner back in: add the key to those on the disk, mend marker, label, key files and paths.

    Example: b2dprovision repair machines/default --dry-run

    Works on a copy, NAME-repaired, unless --in-place is given; that of a machine in a store goes outside of
    it, into the current folder. Other people's keys and files stay. A
    simulated login proves the repair before anything is written; with --certs, so does a Docker client.
    Exit status: 0 repaired, or nothing to do, 1 something is left, 2 it could not be done.
    """
    from b2dinspect.doctor.case import open_case
    from b2dinspect.doctor.diagnosis import diagnose
    from b2dinspect.provisioning.repair.merge import WouldLoseError
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
    wish = _wish(key, new_key, tuple(drop or ()), cut)._replace(certs=certs)
    with open_case(subject) as case:
        if case.is_packed:
            raise UsageError(f"{subject} is packed: unpack it, and repair the directory")
        try:
            plan = plan_repair(diagnose(case), wish)
        except WouldLoseError as error:
            names = " ".join(f"--drop {one.name}" for one in error.lost)
            raise UsageError(f"{error}. Nothing is written. If all of that may go: {names}") from None
        name_leftovers(case.machine.folder if case.machine else Path(case.path).parent)
        _carry_out(plan, subject, _Target(in_place, dry_run, out_path, backup, force), as_json)


class _Target:
    """Where a repair goes."""

    def __init__(
        self, in_place: bool, dry_run: bool, out_path: Path | None, backup: Path | None, force: bool
    ) -> None:
        self.in_place, self.dry_run, self.out_path = in_place, dry_run, out_path
        self.backup, self.force = backup, force


def _carry_out(plan: Repair, subject: str, target: _Target, as_json: bool) -> None:
    from b2dinspect.provisioning.repair.use import after_copy, after_in_place
    from b2dinspect.provisioning.repair.writing import disk_change

    screen = _Screen(plan, as_json)
    if plan.actions and plan.is_proven_wrong:
        what = "login" if plan.logged_in is False else "Docker client"
        complain(f"the simulated {what} fails even so: nothing is written")
    elif plan.actions and target.dry_run:
        screen.show_changes(_host_files(plan))
    elif plan.actions and target.in_place:
        disk_change(plan)  # refuses an image that cannot be changed in place, before a key is made for it
        screen.new_key = _lone_key(plan, Path(plan.case.path), force=target.force)  # first: it opens the disk
        screen.files, screen.backup = _in_place(plan, target.backup)
        screen.written = subject
        screen.use = after_in_place(plan)
    elif plan.actions:
        copy, screen.is_new = _copy(plan, subject, target)
        if screen.is_new and not copy.is_dir():
            screen.new_key = _lone_key(plan, copy, force=target.force)
        screen.written, screen.use = str(copy), after_copy(plan, copy)
    screen.end()


def _wish(key: Path | None, new_key: bool, drop: tuple[str, ...], cut: bool) -> Wish:
    from b2dinspect.provisioning.keypair import load_key, make_key
    from b2dinspect.provisioning.repair.ondisk import Wish

    if key is not None and new_key:
        raise UsageError("--key names a key, --new-key makes one: choose one")
    pair: KeyPair | None = make_key("rsa") if new_key else load_key(key) if key else None
    return Wish(pair, new_key, drop, cut)


class _Screen:
    """What a repair prints: lines as it goes, or one JSON document at the end."""

    def __init__(self, plan: Repair, as_json: bool) -> None:
        from b2dinspect.render import repair as render

        self._plan, self._as_json, self._render = plan, as_json, render
        self.files: list[FileChange | NewImage] = []
        self.written = self.backup = self.new_key = ""
        self.is_new = True
        self.use: Use | None = None
        if not as_json:
            out(*render.plan(plan))

    def show_changes(self, files: list[FileChange | NewImage]) -> None:
        """Show what would change."""
        self.files = files
        if not self._as_json:
            out(*self._render.changes(self._plan, files))

    def end(self) -> None:
        """Say what was written, and end with status 1 when something is left."""
        from b2dinspect.provisioning.repair.use import Use

        healthy, needs_start, found = _check(self.written) if self.written else (None, False, ())
        if found and not needs_start and self.use is not None:
            self.use = Use("see what is left", (("b2dinspect", "doctor", self.written),))
        if self._as_json:
            from b2dinspect.render import json

            done = self._render.RepairOutcome(self.files, self.written, self.backup, healthy, self.use)
            print(json.dumps(self._render.repair_json(self._plan, done)))  # noqa: T201
        elif self.written:
            out(
                *self._render.written(
                    self.written, self.backup, found, needs_start, self.is_new, self.new_key, self.use
                )
            )
        is_left = any(one.explanation.mends != "start" for one in self._plan.left)
        if is_left or self._plan.is_proven_wrong or (healthy is False and not needs_start):
            raise typer.Exit(FINDINGS)


def _host_files(plan: Repair) -> list[FileChange | NewImage]:
    from b2dinspect.provisioning.repair.writing import host_changes

    machine = plan.case.machine
    return [*host_changes(plan, machine.folder.absolute())] if machine else []


def _in_place(plan: Repair, backup: Path | None) -> tuple[list[FileChange | NewImage], str]:
    from b2dinspect.provisioning.repair.writing import repair_in_place

    machine = plan.case.machine
    folder = machine.folder if machine else Path(plan.case.path).absolute().parent
    name = f"repair-{time.strftime('%Y%m%dT%H%M%SZ', time.gmtime())}.b2dbackup"
    if plan.certificates is not None:
        from b2dinspect.provisioning.repair.certificates import backup_folder

        folder = backup_folder(folder.absolute())
    path = backup or folder / name
    files = repair_in_place(plan, path)
    return files, str(path) if files else ""


def _copy(plan: Repair, subject: str, target: _Target) -> tuple[Path, bool]:
    """Write the copy, and return it; or one that an earlier run has made, and False."""
    from b2dinspect.containers.writers import kept_format, suffix
    from b2dinspect.provisioning.repair import writing

    machine = plan.case.machine
    if machine is not None and Path(plan.case.subject).resolve() != Path(plan.case.path).resolve():
        name = f"{machine.folder.resolve().name}-repaired"
        path = target.out_path or _outside_of_store(machine.folder) / name
        if not target.force and writing.is_copy_of(plan, path):
            return path, False
        writing.repair_machine_copy(plan, path, force=target.force)
        return path, True
    disk = plan.case.disk
    name = Path(subject).name
    stem = name.split(".")[0] if disk and disk.origin != "file" else Path(name).stem
    ending = suffix(kept_format(disk.container.format)) if disk else "img"
    path = target.out_path or Path(subject).with_name(f"{stem}-repaired.{ending}")
    if not target.force and path.is_file() and _is_repaired(plan, path):
        return path, False
    writing.repair_image_copy(plan, path, force=target.force)
    return path, True


def _lone_key(plan: Repair, disk: Path, *, force: bool) -> str:
    """Write a new key pair beside a disk that is no machine's, and return where; "" when there is none."""
    from b2dinspect.provisioning.repair.writing import write_key

    if plan.new_key is None or (plan.case.machine is not None and disk == Path(plan.case.path)):
        return ""
    path = disk.with_suffix(".id_rsa")
    write_key(plan.new_key, path, force=force)
    return str(path)


def _outside_of_store(folder: Path) -> Path:
    """Return where the copy of a machine directory goes: where no docker-machine takes it for a machine.

    It would list the copy, whose config.json names the machine itself, and remove that one's VM with it.
    """
    from b2dinspect.machine.places import store_of

    store = store_of(folder)[0]
    if store is None:
        return folder.absolute().parent
    here = Path.cwd()
    return store.parent if here.resolve().is_relative_to((store / "machines").resolve()) else here


def _is_repaired(plan: Repair, path: Path) -> bool:
    """Tell whether an image is the same disk with nothing wrong any more."""
    from b2dinspect.doctor.case import open_case
    from b2dinspect.doctor.diagnosis import diagnose

    def filesystem(case: Case) -> str:
        return case.disk.data.volume.uuid if case.disk and case.disk.data else ""

    with open_case(str(path)) as case:
        return filesystem(case) == filesystem(plan.case) != "" and diagnose(case).is_healthy


def _check(path: str) -> tuple[bool, bool, tuple[str, ...]]:
    """Ask the doctor about the outcome: is nothing wrong, need it only be started, and what is found."""
    from b2dinspect.doctor.case import open_case
    from b2dinspect.doctor.diagnosis import diagnose

    with open_case(path) as case:
        found = diagnose(case)
        faults = [one for one in found.findings if one.finding.is_fault]
        needs_start = all(one.explanation.mends == "start" for one in faults)
        return found.is_healthy, needs_start, tuple(dict.fromkeys(one.finding.id for one in faults))


def _undo(backup: Path, subject: str | None, as_json: bool) -> None:
    from b2dinspect.provisioning.repair.backup import undo

    if subject is not None:
        raise UsageError("--undo knows from the backup what to put back: name nothing else")
    files: list[Any] = [str(path) for path in undo(backup)]
    if as_json:
        from b2dinspect.render import json

        print(json.dumps({"undone": files}))  # noqa: T201
    else:
        say(*(f"as before  {path}" for path in files))
