"""The ``b2dinspect`` program: its commands, put together."""

from __future__ import annotations

import gc

from b2dinspect.cli.common import command, prepare_streams
from b2dinspect.cli.program import program

COMMANDS = {
    "show": "b2dinspect.cli.show:show",
    "doctor": "b2dinspect.cli.doctor:doctor",
    "explain": "b2dinspect.cli.doctor:explain",
    "machines": "b2dinspect.cli.doctor:machines",
    "keys": "b2dinspect.cli.keys:keys",
    "diff": "b2dinspect.cli.diff:diff",
    "ls": "b2dinspect.cli.ls:ls",
    "cat": "b2dinspect.cli.cat:cat",
    "get": "b2dinspect.cli.get:get",
    "query": "b2dinspect.cli.query:query",
    "hexdump": "b2dinspect.cli.hexdump:hexdump",
    "map": "b2dinspect.cli.map:map_",
    "search": "b2dinspect.cli.search:search",
    "report": "b2dinspect.cli.report:report",
    "tui": "b2dinspect.cli.tui:tui",
    "logs": "b2dinspect.cli.logs:logs",
    "docker": "b2dinspect.cli.docker:FAMILY",
    "choice": "b2dinspect.cli.choice:choice",
    "verify": "b2dinspect.cli.verify:verify",
}
app = program(
    "b2dinspect",
    COMMANDS,
    """Read boot2docker disks: which SSH key is on them, where, and why a machine will not let you in.

    Nothing is ever written to a disk. Example: b2dinspect show disk.vdi
    """,
)


@command
def run() -> None:
    """Entry point of the console script."""
    prepare_streams()
    try:
        app(prog_name="b2dinspect")
    finally:
        gc.freeze()  # or a fifth of the time of ``show`` goes into a last search for cycles
