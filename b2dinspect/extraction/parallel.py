"""A second process that makes a part of many small files: what they cost is the system's work, not ours.

It is forked, reads the evidence through the descriptors that are open anyway, and gets batches of orders
over a pipe. What it cannot make it leaves to the first process, which tells why. Where there is no fork, or
only one processor, there is no second process.
"""

from __future__ import annotations

import contextlib
import gc
import marshal
import os
import signal
import struct
import threading
from collections import deque
from collections.abc import Iterator
from typing import NoReturn

from b2dinspect.extraction.members import AT_ONCE, PlainFiles
from b2dinspect.extraction.together import make_all
from b2dinspect.extraction.wholefile import Maker
from b2dinspect.filesystems.ext4 import Ext4
from b2dinspect.records import NamedTuple

AHEAD = 3
"""Batches that may wait for the second process."""

_LENGTH = struct.Struct("<I")
_ANSWER = 2 * AT_ONCE // 8
"""Bytes of an answer, with a bit for each file: a batch is closed when it has AT_ONCE or more."""


Batch = list[tuple[str, PlainFiles]]
"""Folders of the host, and what to make in them."""


class _Sent(NamedTuple):
    number: int
    batch: Batch


class SecondProcess:
    """A child that makes files. Close it.

    Args:
        files: The filesystem that all of them are on.
        maker: What makes them.

    Attributes:
        files: The same.
        batches: What it has been given and has not answered, by number.
    """

    def __init__(self, files: Ext4, maker: Maker) -> None:
        orders_read, orders_write = os.pipe()
        answers_read, answers_write = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:  # pragma: no cover - measured in the parent only
            os.close(orders_write)
            os.close(answers_read)
            _work(files, maker, orders_read, answers_write)
        os.close(orders_read)
        os.close(answers_write)
        self._orders, self._answers = orders_write, answers_read
        self.files = files
        self.batches: deque[_Sent] = deque()

    def take(self, number: int, batch: Batch) -> bool:
        """Take a batch, unless enough of them wait."""
        if len(self.batches) >= AHEAD or self._orders < 0:
            return False
        data = marshal.dumps([(place, [*map(tuple, one.plain)]) for place, one in batch])
        try:
            _write(self._orders, _LENGTH.pack(len(data)) + data)
        except OSError:  # it is dead
            return False
        self.batches.append(_Sent(number, batch))
        return True

    def made(self, *, wait: bool) -> Iterator[tuple[Batch, int]]:
        """Yield the batches that it has answered, and what ``make_all`` says; with ``wait``, all of them."""
        os.set_blocking(self._answers, wait)
        while self.batches:
            try:
                answer = os.read(self._answers, _ANSWER)
            except BlockingIOError:
                return
            yield self.batches.popleft().batch, int.from_bytes(answer, "little")  # no answer: it is dead

    def close(self) -> None:
        """Let it end, with the batch that it is at; closing twice is harmless."""
        if self._orders < 0:
            return
        os.close(self._orders)
        os.close(self._answers)
        self._orders = -1
        with contextlib.suppress(ChildProcessError):  # this process ignores SIGCHLD
            os.waitpid(self._pid, 0)


def second_process(files: Ext4, maker: Maker) -> SecondProcess | None:
    """Start one; None where it cannot be, or would not help."""
    if not hasattr(os, "fork") or threading.active_count() > 1 or _processors() < 2:
        return None
    try:
        return SecondProcess(files, maker)
    except OSError:  # no more processes, or descriptors
        return None


def _processors() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _work(files: Ext4, maker: Maker, orders: int, answers: int) -> NoReturn:  # pragma: no cover - forked
    """Make what comes until nothing does. An interrupt ends the first process, and that ends this one."""
    try:
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        gc.disable()  # nothing here makes cycles
        with os.fdopen(orders, "rb") as incoming:
            while len(head := incoming.read(_LENGTH.size)) == _LENGTH.size:
                data = incoming.read(_LENGTH.unpack(head)[0])
                batch = marshal.loads(data)  # noqa: S302 - from our own parent
                _write(answers, make_all(files, maker, batch).to_bytes(_ANSWER, "little"))
    except BaseException:  # noqa: S110 - the first process sees the pipe close
        pass
    finally:
        os._exit(0)


def _write(fd: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]
