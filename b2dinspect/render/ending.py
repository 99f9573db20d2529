"""What is said when disks and machines are made: plain text, so that ``build`` need not wait for rich."""

from __future__ import annotations

from collections.abc import Iterator

from b2dinspect.provisioning.events import Finished
from b2dinspect.render.shell import command_line


def ending(end: Finished) -> str:
    """Return the last sentence."""
    return f"{end.message[:1].upper()}{end.message[1:]}."


def places(end: Finished) -> Iterator[tuple[str, str]]:
    """Yield where everything is, and what to type next, by name."""
    if end.folder:
        yield "machine", end.folder
    if end.disk:
        yield "disk", end.disk
    for snapshot in end.snapshots:
        yield "stage", snapshot
    if end.disk:
        yield "look", command_line(["b2dinspect", "show", end.disk])
    if end.folder:
        daemon = ["--docker"] if end.has_daemon else []
        yield "log in", command_line(["b2dprovision", "boot", end.folder, *daemon, "--serve"])
