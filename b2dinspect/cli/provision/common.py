"""Options that the commands of b2dprovision share, and how their events reach the screen."""

from __future__ import annotations

import contextlib
import re
import sys
from collections.abc import Generator, Iterator
from enum import StrEnum
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer

from b2dinspect.cli.common import FINDINGS, complain, say
from b2dinspect.errors import UsageError
from b2dinspect.guests import PROFILES
from b2dinspect.provisioning.events import Console, Done, Event, Finished, Serving, Started
from b2dinspect.provisioning.faults import FAULTS

if TYPE_CHECKING:
    from b2dinspect.provisioning.keypair import KeyPair
    from b2dinspect.provisioning.stages import QemuOptions

Engine = StrEnum("Engine", ["simulate", "qemu"])
Mkfs = StrEnum("Mkfs", ["embedded", "e2fsprogs"])
Guest = StrEnum("Guest", [profile.name for profile in PROFILES])  # type: ignore[misc]
Fault = StrEnum("Fault", {name.replace("-", "_"): name for name in FAULTS})  # type: ignore[misc]

GuestOption = Annotated[
    Guest | None,
    typer.Option("--guest", help="Guest generation; by default the fitting one."),
]
FaultOption = Annotated[
    Fault | None,
    typer.Option(
        "--fault", metavar="FAULT", help="Break it on purpose; `b2dprovision faults` explains each."
    ),
]
EngineOption = Annotated[
    Engine, typer.Option("--engine", help="Who plays the guest: this program, or a Linux booted in QEMU.")
]
MkfsOption = Annotated[
    Mkfs,
    typer.Option("--mkfs", help="What makes the ext4 of a simulated guest: this program, or mke2fs."),
]
KeyOption = Annotated[
    Path | None,
    typer.Option("--key", metavar="PATH", help="Private key, or its .pub, not a new pair."),
]
SizeOption = Annotated[
    str, typer.Option("--size", metavar="SIZE", help="Virtual size: bytes, or with MiB, GiB, MB, GB.")
]
FormatOption = Annotated[
    str | None, typer.Option("--format", metavar="NAME", help="Container format: raw, vdi, vhd, vmdk, qcow2.")
]
SeedOption = Annotated[
    str | None, typer.Option("--seed", metavar="TEXT", help="Pin UUIDs and times of the disk to this text.")
]
ForceOption = Annotated[bool, typer.Option("--force", help="Replace what exists.")]
JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON object a line for each event.")]

_UNITS = {"": 1, "B": 1, "KIB": 1 << 10, "MIB": 1 << 20, "GIB": 1 << 30, "TIB": 1 << 40}
_UNITS |= {"K": 1 << 10, "M": 1 << 20, "G": 1 << 30, "T": 1 << 40}
_UNITS |= {"KB": 10**3, "MB": 10**6, "GB": 10**9, "TB": 10**12}
SMALLEST, LARGEST = 1 << 20, 8 << 40
_NAME = re.compile(r"[a-zA-Z0-9][a-zA-Z0-9.-]{0,62}")


def parse_size(text: str) -> int:
    """Return bytes, rounded down to whole sectors.

    Raises:
        UsageError: No size, or none that a disk can have.
    """
    found = re.fullmatch(r"(\d{1,15}(?:\.\d{1,6})?)\s*([A-Za-z]*)", text.strip())
    if found is None or found[2].upper() not in _UNITS:
        raise UsageError(f"{text!r} is no size; write 20000MiB, 20GB or a number of bytes")
    size = int(float(found[1]) * _UNITS[found[2].upper()]) // 512 * 512
    if not SMALLEST <= size <= LARGEST:
        raise UsageError(f"a disk of {text} cannot be made; from 1MiB to 8TiB can")
    return size


KernelOption = Annotated[
    Path | None,
    typer.Option("--kernel", metavar="FILE", help="For qemu: a kernel, not /boot's newest."),
]
InitrdOption = Annotated[
    Path | None,
    typer.Option("--initrd", metavar="FILE", help="For qemu: a system of your own."),
]
IsoOption = Annotated[
    Path | None, typer.Option("--iso", metavar="FILE", help="For qemu: a real boot2docker or minikube ISO.")
]
KvmOption = Annotated[bool, typer.Option("--kvm", help="For qemu: use KVM; emulation is the default.")]


ScriptOption = Annotated[
    Path | None,
    typer.Option("--script", metavar="FILE", help="For qemu: your copy of an original first-boot script."),
]


def engine_options(
    engine: Engine,
    kernel: Path | None,
    initrd: Path | None,
    iso: Path | None,
    kvm: bool,
    script: Path | None = None,
) -> tuple[Literal["simulate", "qemu"], QemuOptions]:
    """Return the engine and its options.

    Raises:
        UsageError: Options of QEMU without it, or a file that is not there.
    """
    from b2dinspect.provisioning.stages import QemuOptions

    options = QemuOptions(kernel, initrd, iso, kvm, script)
    if engine is not Engine.qemu:
        if options != QemuOptions():
            raise UsageError("--kernel, --initrd, --iso, --kvm and --script need --engine qemu")
        return "simulate", options
    if script is not None and (initrd or iso):
        raise UsageError("--script is run by our own system: leave --initrd and --iso away")
    for path in (kernel, initrd, iso, script):
        if path is not None and not path.is_file():
            raise UsageError(f"{path}: no such file")
    return "qemu", options


def chosen_mkfs(mkfs: Mkfs, engine: Engine = Engine.simulate) -> Literal["embedded", "e2fsprogs"]:
    """Return what makes the filesystem.

    Raises:
        UsageError: It is chosen for a real guest, which brings its own.
    """
    if mkfs is Mkfs.embedded:
        return "embedded"
    if engine is Engine.qemu:
        raise UsageError("--mkfs is for --engine simulate: a real guest has its own mkfs.ext4")
    return "e2fsprogs"


def check_name(name: str) -> str:
    """Return a machine's name.

    Raises:
        UsageError: libmachine refuses it (only letters, digits, dots and hyphens).
    """
    if not _NAME.fullmatch(name):
        raise UsageError(f"{name!r} is no machine name: letters, digits, dots and hyphens, 63 at most")
    return name


def given_key(path: Path | None) -> KeyPair | None:
    """Return the key pair that the user named, if any."""
    from b2dinspect.provisioning.keypair import load_key

    return None if path is None else load_key(path)


def follow(events: Iterator[Event], *, as_json: bool, is_stepping: bool = False) -> Finished | None:
    """Show all events as they come, and return the last one. Closes them however it ends."""
    finished = None
    with contextlib.closing(_generator(events)) as steps, _Screen(as_json) as screen:
        for happened in steps:
            screen.show(happened)
            if isinstance(happened, Finished):
                finished = happened
            elif isinstance(happened, Serving):
                _wait_for_interrupt()
            elif isinstance(happened, Done) and is_stepping:
                _wait_for_enter()
    return finished


def conclude(events: Iterator[Event]) -> None:
    """Go through all events and show only the last one, in plain text: rich is slow to import."""
    from b2dinspect.render.ending import ending, places

    with contextlib.closing(_generator(events)) as steps:
        for happened in steps:
            if isinstance(happened, Finished):
                told = (f"  {name:<8} {value}" for name, value in places(happened))
                say(ending(happened), *told)


def name_leftovers(folder: Path) -> None:
    """Say on stderr what a killed run has left in a folder, and how to be rid of it."""
    from b2dinspect.newfile.leftovers import leftovers
    from b2dinspect.render.shell import command_line

    if found := leftovers(folder):
        names = ", ".join(one.path.name for one in found)
        swept = command_line(["b2dprovision", "sweep", str(folder)])
        complain(f"a run that was killed has left {names}; {swept}")


def exit_by(finished: Finished | None) -> None:
    """End with status 1 when nobody could log in."""
    if finished is None or not finished.logged_in:
        raise typer.Exit(FINDINGS)


def _generator(events: Iterator[Event]) -> Generator[Event, None, None]:
    yield from events


class _Screen:
    """Where events go: lines for people, the guest's console as one moving line on a terminal; or JSON."""

    def __init__(self, as_json: bool) -> None:
        from b2dinspect.render import events, stages
        from b2dinspect.render.terminal import console

        self._as_json = as_json
        self._json = events.event_json
        self._stages = stages
        self._console = console()
        self._status: Any = None

    def show(self, happened: Event) -> None:
        """Show one event."""
        if self._as_json:
            print(self._json(happened), flush=True)  # noqa: T201
        elif isinstance(happened, Console) and self._console.is_terminal:
            self._move(happened)
        else:
            self._rest()
            # Commands and paths at the end are there to be copied: nothing folds them.
            self._console.print(
                self._stages.event(happened), soft_wrap=isinstance(happened, Finished | Serving)
            )
            if isinstance(happened, Started) and self._console.is_terminal:
                self._status = self._console.status("")
                self._status.start()
            sys.stdout.flush()

    def _move(self, line: Console) -> None:
        if self._status is not None:
            self._status.update(self._stages.event(line))

    def _rest(self) -> None:
        if self._status is not None:
            self._status.stop()
            self._status = None

    def __enter__(self) -> _Screen:
        return self

    def __exit__(self, *ended: object) -> None:
        self._rest()


def _wait_for_enter() -> None:
    sys.stderr.write("Enter goes on, Ctrl-C stops: ")
    sys.stderr.flush()
    sys.stdin.readline()


def _wait_for_interrupt() -> None:
    import threading

    with contextlib.suppress(KeyboardInterrupt):
        threading.Event().wait()
