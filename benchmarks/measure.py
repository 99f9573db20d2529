"""Commands timed in turns, and ratios that are kept and compared."""

from __future__ import annotations

import json
import os
import re
import statistics
import subprocess
import time
from collections.abc import Iterable, Iterator
from pathlib import Path

ROUNDS = 15
GROWN = 1.2
Row = tuple[str, str, str]
"""What was measured, beside what, and the result, which begins with a number."""


def seconds(*command: str) -> float:
    """Return the wall time of a command, with compiled modules as an installed program has them."""
    environment = {name: value for name, value in os.environ.items() if name != "PYTHONDONTWRITEBYTECODE"}
    start = time.perf_counter()
    subprocess.run(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, check=False, env=environment
    )
    return time.perf_counter() - start


def side_by_side(*commands: tuple[str, ...], rounds: int = ROUNDS) -> list[float]:
    """Return the median wall time of each command, run in turns."""
    times: list[list[float]] = [[] for _ in commands]
    for round_number in range(rounds + 1):
        for command, found in zip(commands, times, strict=True):
            taken = seconds(*command)
            if round_number:  # the first round warms caches
                found.append(taken)
    return [statistics.median(found) for found in times]


def save(rows: Iterable[Row], path: Path) -> None:
    """Write rows as JSON."""
    found = [{"measured": what, "beside": beside, "result": text} for what, beside, text in rows]
    path.write_text(json.dumps({"rows": found}, indent=2) + "\n")


def grown(rows: Iterable[Row], before: Path) -> Iterator[str]:
    """Yield what takes a fifth more than in the rows that were saved, beside the same thing."""
    known = {
        _key(one["measured"], one["beside"]): one["result"] for one in json.loads(before.read_text())["rows"]
    }
    for what, beside, text in rows:
        old = known.get(_key(what, beside))
        if old is None:
            continue
        now, then = (float(one.split()[0]) for one in (text, old))
        if text.endswith("as fast"):
            now, then = then, now
        if now > then * GROWN:
            yield f"{what}, beside {beside}: {text}, was {old}"


def _key(what: str, beside: str) -> tuple[str, str]:
    """Return what stays the same from run to run: times of the neighbour stand in brackets."""
    return what, re.sub(r" \([\d.]+ m?s\)", "", beside)
