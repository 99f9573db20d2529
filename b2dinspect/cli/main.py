"""The ``b2dinspect`` program: its commands, put together."""

from __future__ import annotations

import gc

from b2dinspect.cli.common import command, prepare_streams
from b2dinspect.cli.program import program

COMMANDS = {
    "show": (
        "b2dinspect.cli.show:show",
        "Show what a disk is, in which state, where its userdata is, and which keys are on it.",
    ),
    "doctor": (
        "b2dinspect.cli.doctor:doctor",
        "Tell why a machine will not let you in, where the chain from key to login breaks, and what to do.",
    ),
    "explain": (
        "b2dinspect.cli.doctor:explain",
        "Explain a finding: what it means, why it matters, and what to do on each system.",
    ),
    "machines": (
        "b2dinspect.cli.doctor:machines",
        "List machines, a line each: driver, state, disk, size, whether the key fits, and the first finding.",
    ),
    "keys": (
        "b2dinspect.cli.keys:keys",
        "Print the keys that decide who may log in: authorized_keys byte for byte, as the guest has it.",
    ),
    "diff": (
        "b2dinspect.cli.diff:diff",
        "Compare the keys of two places, matched by the key itself and not by its text.",
    ),
    "ls": (
        "b2dinspect.cli.ls:ls",
        "List a directory of the data partition: mode, owner, size, time, name.",
    ),
    "cat": (
        "b2dinspect.cli.cat:cat",
        "Print a file of the data partition, byte for byte; on a terminal, control characters are escaped.",
    ),
    "get": (
        "b2dinspect.cli.get:get",
        "Copy a file, or a directory with all in it, out of the data partition.",
    ),
    "query": (
        "b2dinspect.cli.query:query",
        "Ask for a part of all that is known of a disk: values, offsets, keys, findings.",
    ),
    "hexdump": (
        "b2dinspect.cli.hexdump:hexdump",
        "Show bytes with the fields that they belong to, named and explained.",
    ),
    "map": (
        "b2dinspect.cli.map:map_",
        "Draw a disk: the file with its metadata and blocks, the disk in it, and its first MiB, each "
        "to scale.",
    ),
    "audit": (
        "b2dinspect.cli.audit:audit",
        "Inspect and diagnose every image and machine directory below folders, a record each.",
    ),
    "search": (
        "b2dinspect.cli.search:search",
        "Search everything that a disk stores for keys, tars, superblocks and tables, by their own bytes.",
    ),
    "report": (
        "b2dinspect.cli.report:report",
        "Write a report: verdict, chain, findings, disk, keys, map, annotated bytes, headers, and hashes.",
    ),
    "tui": (
        "b2dinspect.cli.tui:tui",
        "Explore a disk: structures on the left, their bytes on the right. `?` shows the keys.",
    ),
    "logs": (
        "b2dinspect.cli.logs:logs",
        "Show the guest's log files on the data partition, oldest first, and the names of deleted files.",
    ),
    "docker": (
        "b2dinspect.cli.docker:FAMILY",
        "Read the containers, images, volumes and logs on a disk: Docker's, containerd's and Podman's.",
    ),
    "choice": (
        "b2dinspect.cli.choice:choice",
        "Tell which disk each guest generation would take at its next boot, and whether it would FORMAT it.",
    ),
    "verify": (
        "b2dinspect.cli.verify:verify",
        "Check the structures of a disk container: tables, overlaps, ranges, checksums, copies.",
    ),
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
    gc.set_threshold(50_000)  # what is imported now is no garbage; the default looks a hundred times
    prepare_streams()
    try:
        app(prog_name="b2dinspect")
    finally:
        gc.freeze()  # or a fifth of the time of ``show`` goes into a last search for cycles
