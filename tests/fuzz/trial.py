"""One input through some commands, in this process: what went wrong, and how much it took."""

from __future__ import annotations

import contextlib
import gc
import io
import os
import signal
import sys
import traceback
import unicodedata
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

MAX_SECONDS = 2.0
MAX_MEMORY = 300
"""MiB, of the whole process."""
ABORT_AFTER = 12.0
HIDDEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
EMPTY_LOOKING = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2800\u3164\uffa0")


class Find(NamedTuple):
    """Something that must not happen.

    Attributes:
        what: ``exception``, ``time``, ``memory``, ``descriptors``, ``text``, ``hang`` or ``died``.
        command: Which one.
        where: The function at fault, as far as that can be told: finds at one place are one find.
        detail: For people.
    """

    what: str
    command: str
    where: str
    detail: str

    @property
    def signature(self) -> str:
        """What makes two finds the same one."""
        command = self.command if self.what in ("memory", "text", "hang", "died") else ""
        return f"{self.what} {command} {self.where}".strip()


class TooSlowError(BaseException):
    """Not an Exception: nothing may take it for an answer."""


class Probe(NamedTuple):
    """A command, by name, and how to run it in a folder that holds the input.

    Attributes:
        is_raw: Whether it prints evidence as it is.
        weight: How many inputs it gets, beside the others of its kind.
    """

    name: str
    run: Callable[[Path], object]
    is_raw: bool = False
    weight: float = 1.0


def attempt(probe: Probe, folder: Path) -> list[Find]:
    """Run one command; return what must not have happened."""
    finds: list[Find] = []
    before, began = len(os.listdir("/proc/self/fd")), _spent()
    Path("/proc/self/clear_refs").write_text("5")  # the peak of memory counts from here
    held = _peak()  # what a process that runs other tests too already had
    with _captured() as printed, _watched() as slow:
        finds += _run(probe, folder)
    spent, peak = _spent() - began, _peak() - held
    if spent > MAX_SECONDS:
        finds.append(Find("time", probe.name, slow[0] if slow else probe.name, f"{spent:.1f} s"))
    if peak > MAX_MEMORY:
        finds.append(Find("memory", probe.name, "", f"{peak} MiB"))
    left = len(os.listdir("/proc/self/fd")) - before
    if left > 0:
        gc.collect()
        finds.append(Find("descriptors", probe.name, "", f"{left} left open"))
    strange = {char for char in ("" if probe.is_raw else printed()) if char != "\n" and _is_hidden(char)}
    if strange:
        finds.append(Find("text", probe.name, "", ascii("".join(sorted(strange)[:8]))))
    return finds


def _run(probe: Probe, folder: Path) -> Iterator[Find]:
    from b2dinspect.errors import B2dError

    try:
        probe.run(folder)
    except (B2dError, SystemExit, TooSlowError):
        return
    except KeyboardInterrupt:
        raise
    except BaseException as error:
        where = _ours(traceback.extract_tb(error.__traceback__))
        kind = type(error).__name__
        yield Find("exception", probe.name, f"{kind} {where}", f"{kind}: {str(error)[:300]}")


@contextlib.contextmanager
def _watched() -> Iterator[list[str]]:
    """Note where the program is whenever it has worked for MAX_SECONDS, and stop it in the end."""
    slow: list[str] = []

    def tick(number: int, frame: Any) -> None:
        slow.append(_ours(traceback.extract_stack(frame)))
        if len(slow) * MAX_SECONDS >= ABORT_AFTER:
            raise TooSlowError

    before = signal.signal(signal.SIGPROF, tick)
    signal.setitimer(signal.ITIMER_PROF, MAX_SECONDS, MAX_SECONDS)
    try:
        yield slow
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


def _is_hidden(char: str) -> bool:
    if char < "\x7f":
        return char < " "
    return unicodedata.category(char) in HIDDEN or char in EMPTY_LOOKING or "\ufe00" <= char <= "\ufe0f"


def _ours(stack: traceback.StackSummary) -> str:
    """Return the innermost function of this package."""
    for frame in reversed(stack):
        if f"b2dinspect{os.sep}" in frame.filename and f"{os.sep}tests{os.sep}" not in frame.filename:
            return f"{frame.filename.rsplit('b2dinspect' + os.sep, 1)[1]}:{frame.name}"
    return "outside"


def _spent() -> float:
    times = os.times()
    return times.user + times.system + times.children_user + times.children_system


def _peak() -> int:
    with open("/proc/self/status") as status:
        return next(int(line.split()[1]) // 1024 for line in status if line.startswith("VmHWM"))


@contextlib.contextmanager
def _captured() -> Iterator[Callable[[], str]]:
    """Catch both streams in a file without a name, which has a descriptor as the real ones have."""
    kept = sys.stdout, sys.stderr
    fd = _memory()
    os.ftruncate(fd, 0)
    os.lseek(fd, 0, os.SEEK_SET)
    stream = io.TextIOWrapper(os.fdopen(os.dup(fd), "wb"), "utf-8", "surrogateescape", write_through=True)
    sys.stdout = sys.stderr = stream
    text = ""
    try:
        yield lambda: text
    finally:
        sys.stdout, sys.stderr = kept
        with contextlib.suppress(ValueError, OSError):
            stream.close()
        text = os.pread(fd, 4 << 20, 0).decode("utf-8", "surrogateescape")


_MEMORY: list[int] = []


def _memory() -> int:
    if not _MEMORY:
        _MEMORY.append(os.memfd_create("printed"))
    return _MEMORY[0]


def prepare() -> None:
    """Make this process one that only tries: no memory without end, no warnings, no terminal."""
    import resource  # not on Windows, where nobody fuzzes

    resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    warnings.simplefilter("ignore")
    gc.collect()
    gc.freeze()  # what is loaded is nobody's garbage, and a fork need not copy its pages
    os.environ.update({"COLUMNS": "80", "TERM": "dumb", "NO_COLOR": "1"})
    _memory()
