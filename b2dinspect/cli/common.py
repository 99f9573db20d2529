"""What every command shares: options, output, progress, and errors made into one clear line."""

from __future__ import annotations

import contextlib
import functools
import io
import os
import sys
import time
from collections.abc import Callable
from datetime import UTC, datetime
from types import TracebackType
from typing import TYPE_CHECKING, Annotated, Any, ParamSpec, TypeVar

import typer

from b2dinspect.errors import B2dError
from b2dinspect.render.text import visible

if TYPE_CHECKING:
    from b2dinspect.evidence.chain import Rules
    from b2dinspect.inspection.facts import Inspection
    from b2dinspect.userdata.admission import Visit

FINE, FINDINGS, TROUBLE, INTERRUPTED = 0, 1, 2, 130

Image = Annotated[
    str,
    typer.Argument(
        metavar="IMAGE",
        help="Disk image or block device, also packed (.gz, .xz, .bz2, .zst, .ova); or the name or directory "
        "of a machine; or a URL (https://, s3://, gs://, sftp://, smb://); or - for standard input.",
    ),
]
Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
Format = Annotated[
    str | None,
    typer.Option("--format", metavar="NAME", help="Read it as raw, vdi, vhd, vhdx, vmdk or qcow2."),
]
AllowChain = Annotated[
    list[str] | None,
    typer.Option(
        "--allow-chain",
        metavar="FOLDER",
        help="Also open parents and other files that the image names below this folder. Repeatable.",
    ),
]
PreferRedundant = Annotated[
    bool, typer.Option("--prefer-redundant", help="Read a VMDK through its redundant grain tables.")
]
At = Annotated[
    datetime | None,
    typer.Option(
        metavar="TIME",
        formats=["%Y-%m-%d", "%Y-%m-%dT%H:%M:%SZ"],
        help="When somebody comes, UTC: for then keys and certificates are judged; else now.",
    ),
]
Address = Annotated[
    str | None,
    typer.Option(metavar="IP", help="From where, as the guest's sshd sees it; else the host behind NAT."),
]

P = ParamSpec("P")
R = TypeVar("R")


def command(function: Callable[P, R]) -> Callable[P, R]:
    """Wrap a command, or all: errors become one line on stderr and status 2, an interrupt status 130."""

    @functools.wraps(function)
    def wrapped(*args: P.args, **kwargs: P.kwargs) -> R:
        try:
            try:
                return function(*args, **kwargs)
            finally:
                sys.stdout.flush()
        except B2dError as error:
            complain(advised(error))
            raise SystemExit(TROUBLE) from None
        except KeyboardInterrupt:
            raise SystemExit(INTERRUPTED) from None
        except BrokenPipeError:
            _drop_output()
            raise SystemExit(FINE) from None
        except OSError as error:
            _drop_output()
            complain(f"{error.filename or 'standard output'}: {error.strerror or error}")
            raise SystemExit(TROUBLE) from None

    return wrapped


def _drop_output() -> None:
    """Send what could not be written nowhere, or the flush at exit would fail on it again."""
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())


def prepare_streams() -> None:
    """Make the standard streams fit for use, whatever the caller did to them.

    A closed one becomes the null device, or the evidence would be opened in its place and the guard around
    The Sleuth Kit would cut it off. A character that the terminal's encoding lacks is printed escaped.
    """
    while (fd := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(fd, True)
    os.close(fd)
    sys.stdout = sys.stdout or os.fdopen(1, "w")
    sys.stderr = sys.stderr or os.fdopen(2, "w")
    for stream in (sys.stdout, sys.stderr):
        if isinstance(stream, io.TextIOWrapper):
            stream.reconfigure(errors="backslashreplace")


OPTIONS = {
    "tar": "name a folder, or a file with --tar",
    "force": "say --force to replace it",
    "format_name": "name one with --format",
    "folders": "--allow-chain FOLDER allows one",
    "prefer_redundant": "leave out --prefer-redundant",
    "data_root": "name one with --data-root",
    "partition": "name one with --partition",
    "kernel": "or name one with --kernel",
    "key": "name one with --key",
    "drop": "--drop lets them go",
    "in_place": "leave out --in-place to make a copy",
}
"""How the arguments that errors name are given here."""


def advised(error: B2dError) -> str:
    """Return an error's message, and the option that would have it otherwise."""
    option = OPTIONS.get(error.argument)
    return f"{error}; {option}" if option else str(error)


_signature = "b2dinspect"


def sign_as(program: str) -> None:
    """Set the name with which this program signs what it complains about."""
    global _signature
    _signature = program


def complain(message: str) -> None:
    """Print one line on stderr. It may quote evidence, so it is escaped."""
    with contextlib.suppress(OSError):  # nobody is listening: the exit status tells it all the same
        sys.stderr.write(f"{_signature}: {visible(message)}\n")


def say(*lines: str) -> None:
    """Print lines on stdout without rich, which is slow to import. They may quote evidence."""
    sys.stdout.write("".join(f"{visible(line)}\n" for line in lines))


def out(*renderables: Any) -> None:
    """Print results on stdout. What is to be copied from there is not folded."""
    from b2dinspect.render.terminal import Verbatim, console

    screen = console()
    for one in renderables:
        screen.print(one, soft_wrap=isinstance(one, Verbatim))


def write_bytes(data: bytes) -> None:
    """Write evidence to stdout: verbatim into a pipe or file, escaped on a terminal."""
    if sys.stdout.isatty():
        sys.stdout.write("\n".join(visible(line) for line in data.split(b"\n")))
    else:
        sys.stdout.buffer.write(data)


def rules(folders: list[str] | None, prefer_redundant: bool = False) -> Rules:
    """Return what the options allow."""
    from b2dinspect.evidence.chain import Rules

    return Rules(tuple(folders or ()), prefer_redundant)


def image_of(argument: str, allowed: Rules | None = None) -> tuple[str, Rules | None]:
    """Return the image that an argument means, itself or a machine's disk, and the rules to open it by.

    Raises:
        UsageError: There is nothing of that name, or a machine without a disk.
    """
    if argument == "-" or "://" in argument or (os.path.lexists(argument) and not is_folder(argument)):
        return argument, allowed  # most are, and need nothing imported
    from b2dinspect.machine.naming import disk_named

    found = disk_named(argument)
    known = allowed or rules(None)
    return found.path, known._replace(folders=(*known.folders, str(found.folder)))


def visit_of(at: datetime | None, address: str | None) -> Visit:
    """Return when and from where somebody is to log in, by default now and from the host.

    Raises:
        UsageError: That is no address.
    """
    from b2dinspect.errors import UsageError
    from b2dinspect.userdata.admission import HOST_ADDRESS, Visit

    if address is not None:
        from ipaddress import ip_address  # slow to import

        try:
            ip_address(address)
        except ValueError as error:
            raise UsageError(f"--address {address}: {error}") from error
    seconds = time.time() if at is None else at.replace(tzinfo=UTC).timestamp()
    return Visit(int(seconds), address or HOST_ADDRESS)


def examine(
    path: str, format_name: str | None = None, allowed: Rules | None = None, visit: Visit | None = None
) -> Inspection:
    """Inspect an image with a progress bar where opening it takes long; ``visit`` as in ``inspect``."""
    from b2dinspect.inspection.walk import inspect  # b2dprovision, which shares this module, starts faster

    path, allowed = image_of(path, allowed)
    with ProgressBar() as progress:
        return inspect(path, format_name=format_name, rules=allowed, progress=progress, visit=visit)


class ProgressBar:
    """A progress bar on stderr that appears only on a terminal, and only after a second."""

    def __init__(self) -> None:
        self._started = time.monotonic()
        self._bar: Any = None
        self._task: Any = None

    def __call__(self, what: str, done: int, total: int | None) -> None:
        """Report progress in bytes."""
        if self._bar is None:
            if time.monotonic() - self._started < 1 or not sys.stderr.isatty():
                return
            self._start(what)
        self._bar.update(self._task, completed=done, total=total, description=what)

    def _start(self, what: str) -> None:
        from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn

        from b2dinspect.render.terminal import console

        columns = (
            TextColumn("{task.description}", markup=False),
            BarColumn(),
            DownloadColumn(),
            TimeRemainingColumn(),
        )
        self._bar = Progress(*columns, console=console(is_error=True), transient=True)
        self._bar.start()
        self._task = self._bar.add_task(what, total=None)

    def __enter__(self) -> ProgressBar:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._bar is not None:
            self._bar.stop()


def as_path(text: str) -> bytes:
    """Return a path inside an image as the bytes that the user typed."""
    return os.fsencode(text)


def is_folder(path: str) -> bool:
    """Tell whether an argument names a directory on the examiner's machine."""
    return path != "-" and os.path.isdir(path)  # noqa: PTH112 - Path.is_dir raises for too long a name
