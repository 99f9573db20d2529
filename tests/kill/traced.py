"""``python -m tests.kill.traced [COMMAND]…``: as ``tests.kill``, of whole programs, by strace.

It injects the fault at the n-th call of a kind, in C code too. Afterwards the file in question is the old one
or the new one, and what else is there ``sweep`` removes.
"""

from __future__ import annotations

import collections
import os
import re
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

from b2dinspect.provisioning.repair.backup import FileChange, Patch, write_backup

CALLS = (
    "write",
    "fsync",
    "ftruncate",
    "fchmod",
    "rename",
    "renameat",
    "renameat2",
    "unlink",
    "unlinkat",
    "mkdir",
)
FAULTS = ("signal=KILL", "signal=TERM", "signal=INT", "error=ENOSPC", "error=EIO")
PROGRAM = (sys.executable, "-m", "b2dinspect.cli.provision")


class Victim(NamedTuple):
    """A command, and the file that it replaces in a folder made by ``prepare``."""

    name: str
    prepare: Callable[[Path], object]
    words: tuple[str, ...]
    file: str


def _old_disk(folder: Path) -> None:
    (folder / "source.img").write_bytes(b"new" + bytes(1 << 20))
    (folder / "disk.img").write_bytes(b"old" + bytes(1 << 20))


def _repaired(folder: Path) -> None:
    file = folder / "disk.img"
    file.write_bytes(b"NEW!")
    change = FileChange(file, True, 4, 4, 0o644, 0o644, (Patch(0, b"OLD!", b"NEW!"),))
    write_backup(folder / "undo.b2dbackup", [change])


VICTIMS = (
    Victim("build", _old_disk, ("build", "disk.img", "--size", "4MiB", "--seed", "x", "--force"), "disk.img"),
    Victim("convert", _old_disk, ("convert", "source.img", "disk.img", "--force"), "disk.img"),
    Victim("undo", _repaired, ("repair", "--undo", "undo.b2dbackup"), "disk.img"),
)


def run(victim: Victim, folder: Path, *tracing: str) -> int:
    """Run a command under strace in a folder of its own, and return its status."""
    place, temporary = folder / "place", folder / "temporary"
    shutil.rmtree(folder, ignore_errors=True)
    for one in (place, temporary):
        one.mkdir(parents=True)
    victim.prepare(place)
    environment = {**os.environ, "TMPDIR": str(temporary), "PYTHONDONTWRITEBYTECODE": "1"}
    words = ["strace", "-f", "-qq", "-o", str(folder / "log"), *tracing, *PROGRAM, *victim.words]
    return subprocess.run(words, cwd=place, env=environment, capture_output=True, check=False).returncode


def calls_of(victim: Victim, folder: Path) -> tuple[dict[str, int], bytes, bytes]:
    """Return how often a command makes each call, and the file before and after."""
    victim.prepare(_fresh(folder))
    old = (folder / victim.file).read_bytes()
    if status := run(victim, folder / "whole", "-e", f"trace={','.join(CALLS)}"):
        raise RuntimeError(f"{victim.name} ends with {status} when nothing is wrong")
    log = (folder / "whole" / "log").read_text(errors="replace")
    counts = collections.Counter(re.findall(r"^\d+\s+(\w+)\(", log, re.MULTILINE))
    return dict(counts), old, (folder / "whole" / "place" / victim.file).read_bytes()


def _fresh(folder: Path) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    return folder


def trials(victim: Victim, folder: Path, stride: int = 1) -> Iterator[tuple[str, str]]:
    """Perform every ``stride``-th trial; yield its name and what was wrong after it, "" for nothing."""
    counts, old, new = calls_of(victim, folder / victim.name)
    wanted = [
        (call, n, fault) for call in CALLS for n in range(1, counts.get(call, 0) + 1) for fault in FAULTS
    ]
    for call, number, fault in wanted[::stride]:
        inner = folder / "trial"
        run(victim, inner, "-e", f"trace={call}", "-e", f"inject={call}:{fault}:when={number}")
        yield f"{victim.name} {call} {number} {fault}", _wrong(victim, inner, (old, new), "KILL" in fault)


def _wrong(victim: Victim, folder: Path, states: tuple[bytes, bytes], is_killed: bool) -> str:
    place = folder / "place"
    file = place / victim.file
    if not file.is_file() or file.read_bytes() not in states:
        return f"{victim.file} is neither old nor new"
    environment = {**os.environ, "TMPDIR": str(folder / "temporary")}
    if is_killed:
        words = [*PROGRAM, "sweep", str(place), "--work-folders", "--force"]
        subprocess.run(words, env=environment, capture_output=True, check=True)
    known = {"source.img", "undo.b2dbackup", victim.file}
    left = sorted({path.name for path in place.iterdir()} - known)
    left += [path.name for path in (folder / "temporary").iterdir()]
    return f"left: {', '.join(left)}" if left else ""


def main(names: list[str]) -> int:
    """Run all trials of some commands, and print what was wrong, and how many there were."""
    done = bad = 0
    with tempfile.TemporaryDirectory(prefix="b2d-kill-") as folder:
        for victim in VICTIMS:
            for name, wrong in trials(victim, Path(folder)) if not names or victim.name in names else ():
                done += 1
                bad += bool(wrong)
                if wrong:
                    print(f"{name}: {wrong}", flush=True)  # noqa: T201
    print(f"{done} trials, {bad} bad")  # noqa: T201
    return int(bad > 0)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
