"""The ``b2dprovision`` program: its commands, put together."""

from __future__ import annotations

import gc
import signal
from types import FrameType

from b2dinspect.cli.common import command, prepare_streams
from b2dinspect.cli.program import program

COMMANDS = {
    "run": "b2dinspect.cli.provision.run:run",
    "build": "b2dinspect.cli.provision.build:build",
    "boot": "b2dinspect.cli.provision.boot:boot",
    "story": "b2dinspect.cli.provision.story:story",
    "tries": "b2dinspect.cli.provision.tries:tries",
    "convert": "b2dinspect.cli.provision.convert:convert",
    "env": "b2dinspect.cli.provision.env:env",
    "repair": "b2dinspect.cli.provision.repair:repair",
    "prove": "b2dinspect.cli.provision.prove:prove",
    "sweep": "b2dinspect.cli.provision.sweep:sweep",
    "samples": "b2dinspect.cli.provision.samples:samples",
    "incidents": "b2dinspect.cli.provision.samples:incidents",
    "faults": "b2dinspect.cli.provision.samples:faults",
}
app = program(
    "b2dprovision",
    COMMANDS,
    """Make boot2docker disks and machines, and show every step from the key pair to the login.

    Example: b2dprovision run demo
    """,
)


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
