"""What is said when disks and machines are made: plain text, so that ``build`` need not wait for rich."""

from __future__ import annotations

import shlex
from collections.abc import Iterator

from b2dinspect.provisioning.events import Finished


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
        yield "look", f"b2dinspect show {shlex.quote(end.disk)}"
    if end.folder:
        yield "log in", f"b2dprovision boot {shlex.quote(end.folder)} --serve"
