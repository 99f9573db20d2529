"""Processes of this machine that make records. One that takes too long, or dies, costs its own record."""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import time
from collections.abc import Iterable, Iterator
from multiprocessing.connection import Connection, wait
from typing import Any

from b2dinspect.audit.record import failed, line_of

AHEAD = 256
"""Subjects that may be begun before one that is still being worked on."""
CLOSING = 1.0
"""Seconds that a process gets to end by itself."""


def lines(subjects: Iterable[str], at: int, hashes: bool, jobs: int, patience: float) -> Iterator[str]:
    """Yield a line of JSON for each subject, in their order.

    Args:
        subjects: Paths or URLs.
        at: See ``record.line_of``.
        hashes: The same.
        jobs: Processes.
        patience: Seconds for one subject, after which its process is killed and replaced.
    """
    crew = [_Worker(at, hashes, patience) for _ in range(jobs)]
    given = enumerate(subjects)
    done: dict[int, str] = {}
    due = 0
    is_over = False
    try:
        while True:
            for worker in crew:
                if not worker.is_busy and not is_over and len(done) + len(crew) < AHEAD + jobs:
                    one = next(given, None)
                    is_over = one is None
                    if one is not None:
                        worker.begin(*one)
            while due in done:
                yield done.pop(due)
                due += 1
            busy = [worker for worker in crew if worker.is_busy]
            if not busy and is_over:
                return
            ready = wait([worker.pipe for worker in busy], timeout=_soonest(busy))
            for worker in busy:
                if worker.pipe in ready or worker.is_late:
                    number, line = worker.end(worker.pipe in ready)
                    done[number] = line
    finally:
        for worker in crew:
            worker.stop()


def _soonest(busy: Iterable[_Worker]) -> float:
    return max(0.0, min((worker.deadline for worker in busy), default=0.0) - time.monotonic())


class _Worker:
    """A process, and what it works on."""

    def __init__(self, at: int, hashes: bool, patience: float) -> None:
        self._given = (at, hashes)
        self._patience = patience
        self._subject = ""
        self._number = -1
        self.deadline = 0.0
        self._start()

    def _start(self) -> None:
        ways = multiprocessing.get_all_start_methods()
        context: Any = multiprocessing.get_context("fork" if "fork" in ways else "spawn")
        self.pipe, theirs = context.Pipe()
        self._process = context.Process(target=_work, args=(theirs, *self._given), daemon=True)
        self._process.start()
        theirs.close()

    @property
    def is_busy(self) -> bool:
        return self._number >= 0

    @property
    def is_late(self) -> bool:
        return time.monotonic() >= self.deadline

    def begin(self, number: int, subject: str) -> None:
        self._number, self._subject = number, subject
        self.deadline = time.monotonic() + self._patience
        try:
            self.pipe.send(subject)
        except OSError:  # it died while it had nothing to do
            self.stop()
            self._start()
            self.pipe.send(subject)

    def end(self, is_ready: bool) -> tuple[int, str]:
        """Return what came of the subject; without an answer the process is another one afterwards."""
        number, self._number = self._number, -1
        why = f"not inspected within {self._patience:g} seconds"
        if is_ready:
            try:
                return number, str(self.pipe.recv())
            except (EOFError, OSError):
                self._process.join(CLOSING)
                why = f"the process that inspected it ended with status {self._process.exitcode}"
        self.stop()
        self._start()
        return number, json.dumps(failed(self._subject, why))

    def stop(self) -> None:
        """End the process."""
        self._process.kill()
        self._process.join()
        self._process.close()
        self.pipe.close()


def _work(pipe: Connection, at: int, hashes: bool) -> None:
    """Make records until nobody asks any more."""
    import signal

    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent ends this
    parent = os.getppid()
    with contextlib.suppress(EOFError, OSError):
        while os.getppid() == parent:  # a killed one closes no pipe that other processes have too
            if pipe.poll(CLOSING):
                pipe.send(line_of(pipe.recv(), at, hashes))
