"""The ``b2dprovision`` program: its commands, put together."""

from __future__ import annotations

import gc
import signal
from types import FrameType
from typing import Annotated

import typer

from b2dinspect import __version__
from b2dinspect.cli.common import command, prepare_streams
from b2dinspect.cli.provision.boot import boot
from b2dinspect.cli.provision.build import build
from b2dinspect.cli.provision.convert import convert
from b2dinspect.cli.provision.prove import prove
from b2dinspect.cli.provision.repair import repair
from b2dinspect.cli.provision.run import run as run_machine
from b2dinspect.cli.provision.samples import faults, incidents, samples

app = typer.Typer(
    name="b2dprovision",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for function in (run_machine, build, boot, convert, repair, prove, samples, incidents, faults):
    app.command(function.__name__)(function)


def _print_version(is_asked: bool) -> None:
    if is_asked:
        print(f"b2dprovision {__version__}")  # noqa: T201
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Make boot2docker disks and machines, and show every step from the key pair to the login.

    Example: b2dprovision run demo
    """


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt  # a polite kill cleans up as Ctrl-C does


@command
def run() -> None:
    """Entry point of the console script."""
    prepare_streams()
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        app(prog_name="b2dprovision")
    finally:
        gc.freeze()  # or a good part of the time of ``build`` goes into a last search for cycles
