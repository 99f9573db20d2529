"""The ``b2dinspect`` program: its commands, put together."""

from __future__ import annotations

import gc
from typing import Annotated

import typer

from b2dinspect import __version__
from b2dinspect.cli.cat import cat
from b2dinspect.cli.choice import choice
from b2dinspect.cli.common import command, prepare_streams
from b2dinspect.cli.diff import diff
from b2dinspect.cli.doctor import doctor, explain, machines
from b2dinspect.cli.get import get
from b2dinspect.cli.hexdump import hexdump
from b2dinspect.cli.keys import keys
from b2dinspect.cli.logs import logs
from b2dinspect.cli.ls import ls
from b2dinspect.cli.map import map_
from b2dinspect.cli.report import report
from b2dinspect.cli.show import show
from b2dinspect.cli.tui import tui
from b2dinspect.cli.verify import verify

app = typer.Typer(
    name="b2dinspect",
    no_args_is_help=True,
    rich_markup_mode="markdown",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
COMMANDS = (
    *(show, doctor, explain, machines, keys, diff, ls, cat, get),
    *(hexdump, map_, report, tui, logs, choice, verify),
)
for function in COMMANDS:
    app.command(function.__name__.rstrip("_"))(function)


def _print_version(is_asked: bool) -> None:
    if is_asked:
        print(f"b2dinspect {__version__}")  # noqa: T201
        raise typer.Exit


@app.callback()
def main(
    version: Annotated[
        bool, typer.Option("--version", help="Print the version.", callback=_print_version, is_eager=True)
    ] = False,
) -> None:
    """Read boot2docker disks: which SSH key is on them, where, and why a machine will not let you in.

    Nothing is ever written to a disk. Example: b2dinspect show disk.vdi
    """


@command
def run() -> None:
    """Entry point of the console script."""
    prepare_streams()
    try:
        app(prog_name="b2dinspect")
    finally:
        gc.freeze()  # or a fifth of the time of ``show`` goes into a last search for cycles
