"""The ``b2dprovision`` program: its commands, put together."""

from __future__ import annotations

import gc
import signal
from types import FrameType

from b2dinspect.cli.common import command, prepare_streams
from b2dinspect.cli.program import program

COMMANDS = {
    "run": (
        "b2dinspect.cli.provision.run:run",
        "Make a machine, boot it twice, and log in each time with nothing but its key.",
    ),
    "build": (
        "b2dinspect.cli.provision.build:build",
        "Make a disk image. Without --key it holds the samples' public key, to which nobody has the "
        "other half.",
    ),
    "boot": (
        "b2dinspect.cli.provision.boot:boot",
        "Boot a guest from a copy of a disk and try to log in, with --key or the id_rsa beside the disk.",
    ),
    "story": (
        "b2dinspect.cli.provision.story:story",
        "Make a page that plays a provision again, stage by stage, out of what it told as JSON.",
    ),
    "tries": (
        "b2dinspect.cli.provision.tries:tries",
        "Try what one would try first: a password through a pipe, scp, SSH_ASKPASS, expect; and see why not.",
    ),
    "convert": (
        "b2dinspect.cli.provision.convert:convert",
        "Copy a disk into an image of another format; what is not stored stays a hole.",
    ),
    "env": (
        "b2dinspect.cli.provision.env:env",
        "Print the variables that a Docker client needs for a machine, as docker-machine env does.",
    ),
    "repair": (
        "b2dinspect.cli.provision.repair:repair",
        "Get the owner back in: add the key to those on the disk, mend marker, label, key files and paths.",
    ),
    "prove": (
        "b2dinspect.cli.provision.prove:prove",
        "Boot a guest on a copy of the disk in memory, and try every key whose private half is at hand.",
    ),
    "sweep": (
        "b2dinspect.cli.provision.sweep:sweep",
        "Name what killed runs have left in DIR, unfinished files and machines, and remove it when "
        "you say so.",
    ),
    "samples": (
        "b2dinspect.cli.provision.samples:samples",
        "Make all sample disks again, the same bytes every time and on every system.",
    ),
    "incidents": (
        "b2dinspect.cli.provision.samples:incidents",
        "Make broken machines to practise on: one for each thing that goes wrong in real life.",
    ),
    "faults": (
        "b2dinspect.cli.provision.samples:faults",
        "List the ways in which --fault breaks a machine.",
    ),
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
    gc.set_threshold(50_000)  # what is imported now is no garbage; the default looks a hundred times
    prepare_streams()
    signal.signal(signal.SIGTERM, _interrupt)
    try:
        app(prog_name="b2dprovision")
    finally:
        gc.freeze()  # or a good part of the time of ``build`` goes into a last search for cycles
