"""The Sleuth Kit behind a wall: a child process that may hang, crash or eat memory without harm.

A filesystem with a few bytes changed can keep any C library busy for ever (seen: an inode size of 2^63,
a crafted group descriptor), and nothing in Python can interrupt it. So the library runs in a forked child
that kills itself when one answer takes too much processor time (SIGPROF: a busy machine makes nothing
look endless) or waits too long (SIGALRM), and is held to a memory limit; the parent sees the pipe close and
reports which. Where fork does not exist (Windows) it runs in this process.
"""

from __future__ import annotations

import contextlib
import marshal
import os
import signal
import struct
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, BinaryIO

from b2dinspect.errors import EvidenceError, FilesystemError
from b2dinspect.filesystems.node import Node
from b2dinspect.source import ByteSource, Closing, Run

SECONDS_PER_ANSWER = 5
"""Of processor time."""
PATIENCE = 60
"""Seconds by the clock that one answer may take, working or waiting."""
MEMORY_LIMIT = 256 << 20
MAX_NAMES = 200_000
MAX_RUNS = 200_000
MAX_INLINE = 64 << 10
MAX_LINK = 4096

_SPARSE = 0x2 | 0x1  # TSK_FS_ATTR_RUN_FLAG_SPARSE and _FILLER
_LENGTH = struct.Struct("<I")

EXT = "ext"
KINDS = {EXT: "TSK_FS_TYPE_EXT_DETECT", "iso9660": "TSK_FS_TYPE_ISO9660", "vfat": "TSK_FS_TYPE_FAT_DETECT"}
"""What is read through the library, and how it is told what to expect."""


class SleuthKit(Closing):
    """Names, inodes and runs of one filesystem. A context manager; or call ``close()``.

    Every method raises FilesystemError when the library refuses the structures, works longer than
    SECONDS_PER_ANSWER or waits longer than PATIENCE, or crashes.
    """

    def __init__(self, fs: ByteSource, kind: str = EXT) -> None:
        self._ask = _Child(fs, kind) if hasattr(os, "fork") else _InProcess(fs, kind)
        self._names: dict[int, list[tuple[bytes, int]]] = {}
        try:
            self.root: int = self._ask("root")
        except BaseException:
            self.close()
            raise

    def names(self, inode: int) -> list[tuple[bytes, int]]:
        """Return the names in a directory and their inode numbers, without ``.`` and ``..``."""
        if inode not in self._names:
            self._names[inode] = self._ask("names", inode)
        return self._names[inode]

    def deleted(self, inode: int) -> list[tuple[bytes, int]]:
        """Return the deleted names that a directory still holds, and the inodes that they named."""
        return [*self._ask("deleted", inode)]

    def node(self, inode: int) -> Node:
        """Return the facts about an inode."""
        return Node(*self._ask("node", inode))

    def runs(self, inode: int) -> list[Run]:
        """Return where the file's bytes are, in order."""
        return [Run(length, offset) for length, offset in self._ask("runs", inode)]

    def inline_data(self, inode: int) -> bytes:
        """Return content that is stored in the inode itself; empty when it is not."""
        return bytes(self._ask("inline", inode))

    def close(self) -> None:
        """End the child."""
        self._ask.close()


class _Library:
    """The calls into pytsk3. Runs in the child."""

    def __init__(self, fs: ByteSource, kind: str) -> None:
        import pytsk3

        class Image(pytsk3.Img_Info):  # type: ignore[misc]
            failure: EvidenceError | None = None

            def __init__(self) -> None:
                super().__init__(url="", type=pytsk3.TSK_IMG_TYPE_EXTERNAL)

            def read(self, offset: int, length: int) -> bytes:
                try:
                    return fs.pread(offset, length) if offset >= 0 else b""
                except EvidenceError as error:
                    Image.failure = error
                    raise OSError(str(error)) from error

            def get_size(self) -> int:
                return fs.size

        self._image = Image()
        self._tsk = pytsk3
        self._kind = kind
        self._fs: Any = None

    def answer(self, call: str, *arguments: Any) -> Any:
        """Return the result of a call; every failure becomes a FilesystemError."""
        try:
            if self._fs is None:
                self._fs = self._tsk.FS_Info(
                    self._image, offset=0, type=getattr(self._tsk, KINDS[self._kind])
                )
            return getattr(self, f"_{call}")(*arguments)
        except (OSError, RuntimeError, AttributeError, ValueError, MemoryError, TypeError) as error:
            reason = self._image.failure or " ".join(str(error).split()) or type(error).__name__
            raise FilesystemError(f"cannot be read: {reason}") from error

    def _root(self) -> int:
        return int(self._fs.info.root_inum)

    def _names(self, inode: int) -> list[tuple[bytes, int]]:
        return self._names_that(inode, int(self._tsk.TSK_FS_NAME_FLAG_ALLOC))

    def _deleted(self, inode: int) -> list[tuple[bytes, int]]:
        return self._names_that(inode, int(self._tsk.TSK_FS_NAME_FLAG_UNALLOC))

    def _names_that(self, inode: int, flag: int) -> list[tuple[bytes, int]]:
        found = []
        virtual = (int(self._tsk.TSK_FS_NAME_TYPE_VIRT), int(self._tsk.TSK_FS_NAME_TYPE_VIRT_DIR))
        for item in self._fs.open_dir(inode=inode):
            name = item.info.name  # the kit adds names of its own: $OrphanFiles; $MBR and $FAT1 on FAT
            is_own = int(name.type) not in virtual and name.name not in (b"", b".", b"..")
            if int(name.flags) & flag and is_own:
                found.append((bytes(name.name), int(name.meta_addr)))
            if len(found) > MAX_NAMES:
                raise ValueError(f"a directory with more than {MAX_NAMES} names")
        return found

    def _node(self, inode: int) -> tuple[Any, ...]:
        file = self._fs.open_meta(inode=inode)
        meta = file.info.meta
        kinds = {
            self._tsk.TSK_FS_META_TYPE_REG: 0o100000,
            self._tsk.TSK_FS_META_TYPE_DIR: 0o040000,
            self._tsk.TSK_FS_META_TYPE_LNK: 0o120000,
            self._tsk.TSK_FS_META_TYPE_CHR: 0o020000,
            self._tsk.TSK_FS_META_TYPE_BLK: 0o060000,
            self._tsk.TSK_FS_META_TYPE_FIFO: 0o010000,
            self._tsk.TSK_FS_META_TYPE_SOCK: 0o140000,
        }
        mode = kinds.get(meta.type, 0) | int(meta.mode) & 0o7777
        size = max(0, int(meta.size))
        link = b""
        if mode & 0o170000 == 0o120000 and size <= MAX_LINK:
            # The library gives no target that lies in an extent or an extended attribute.
            link = meta.link or (file.read_random(0, size) if size else b"")
        times = (
            int(seconds) * 1_000_000_000 + int(nanoseconds)
            for seconds, nanoseconds in (
                (meta.mtime, meta.mtime_nano),
                (meta.atime, meta.atime_nano),
                (meta.ctime, meta.ctime_nano),
            )
        )
        facts = (inode, mode, int(meta.uid), int(meta.gid), size, int(meta.mtime), bytes(link))
        return *facts, int(meta.nlink), *times

    def _runs(self, inode: int) -> list[tuple[int, int | None]]:
        block = int(self._fs.info.block_size)
        found: list[tuple[int, int | None]] = []
        for attribute in self._fs.open_meta(inode=inode):
            if attribute.info.type != self._tsk.TSK_FS_ATTR_TYPE_DEFAULT:
                continue
            for run in attribute:
                is_hole = int(run.flags) & _SPARSE
                found.append((int(run.len) * block, None if is_hole else int(run.addr) * block))
                if len(found) > MAX_RUNS:
                    raise ValueError(f"a file in more than {MAX_RUNS} pieces")
        return found

    def _inline(self, inode: int) -> bytes:
        file = self._fs.open_meta(inode=inode)
        size = int(file.info.meta.size)
        return bytes(file.read_random(0, size)) if size <= MAX_INLINE else b""


class _InProcess:
    """The library without the wall."""

    def __init__(self, fs: ByteSource, kind: str) -> None:
        self._library = _Library(fs, kind)

    def __call__(self, call: str, *arguments: Any) -> Any:
        return self._library.answer(call, *arguments)

    def close(self) -> None:
        """Nothing to end."""


class _Child:
    """The library in a forked child: one request and one answer at a time, marshalled over two pipes."""

    def __init__(self, fs: ByteSource, kind: str) -> None:
        request_read, request_write = os.pipe()
        answer_read, answer_write = os.pipe()
        self._pid = os.fork()
        if self._pid == 0:  # pragma: no cover - measured in the parent only
            os.close(request_write)
            os.close(answer_read)
            _serve(fs, kind, request_read, answer_write)
        os.close(request_read)
        os.close(answer_write)
        self._requests = os.fdopen(request_write, "wb")
        self._answers = os.fdopen(answer_read, "rb")

    def __call__(self, call: str, *arguments: Any) -> Any:
        if self._pid:
            try:
                _send(self._requests, (call, *arguments))
                is_fault, answer = _receive(self._answers)
            except (OSError, EOFError):
                raise FilesystemError(self._epitaph()) from None
            if is_fault:
                raise FilesystemError(answer)
            return answer
        raise FilesystemError("cannot be read any further: The Sleuth Kit gave up on it before")

    def _epitaph(self) -> str:
        """Reap the child and say what it died of."""
        status = self._reap()
        self.close()
        killed_by = os.WTERMSIG(status) if os.WIFSIGNALED(status) else 0
        if killed_by == signal.SIGPROF:
            return f"The Sleuth Kit found no end in it within {SECONDS_PER_ANSWER} seconds"
        if killed_by == signal.SIGALRM:
            return f"The Sleuth Kit did not answer within {PATIENCE} seconds"
        return f"The Sleuth Kit crashed on it (wait status {status})"

    def close(self) -> None:
        """End the child; closing twice is harmless.

        It is killed, not left to see its pipe close: a child forked after it may hold that pipe open.
        """
        for pipe in (self._requests, self._answers):
            with contextlib.suppress(OSError):  # a request that a dead child never took
                pipe.close()
        if self._pid:
            with contextlib.suppress(ProcessLookupError):
                os.kill(self._pid, signal.SIGKILL)
            self._reap()

    def _reap(self) -> int:
        """Wait for the child and return its wait status, 0 when the system keeps none."""
        pid, self._pid = self._pid, 0
        try:
            return os.waitpid(pid, 0)[1]
        except ChildProcessError:
            return 0  # this process ignores SIGCHLD

    def __del__(self) -> None:
        if getattr(self, "_pid", 0):
            self.close()


def _serve(
    fs: ByteSource, kind: str, requests: int, answers: int
) -> None:  # pragma: no cover - runs in the child
    """Answer requests until the parent closes the pipe; never returns."""
    try:
        for limit in (signal.SIGPROF, signal.SIGALRM):
            signal.signal(limit, signal.SIG_DFL)
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        _limit_memory()
        _silence()
        library = _Library(fs, kind)
        with os.fdopen(requests, "rb") as incoming, os.fdopen(answers, "wb") as outgoing:
            while True:
                call, *arguments = _receive(incoming)
                _limit_time(SECONDS_PER_ANSWER, PATIENCE)
                _send(outgoing, _attempt(library.answer, call, *arguments))
                _limit_time(0, 0)
    except BaseException:  # noqa: S110 - whatever it is, the parent sees the pipe close
        pass
    finally:
        os._exit(0)


def _attempt(function: Callable[..., Any], *arguments: Any) -> tuple[bool, Any]:
    try:
        return False, function(*arguments)
    except FilesystemError as error:
        return True, error.message


def _limit_time(processor: int, clock: int) -> None:
    """Let this process die after so many seconds of either; 0 is no limit."""
    signal.setitimer(signal.ITIMER_PROF, processor)
    signal.alarm(clock)


def _limit_memory() -> None:
    """Allow MEMORY_LIMIT more bytes than were mapped at the fork, touched or not."""
    import resource

    try:
        used = int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()
    except OSError:  # no Linux
        unit = 1 if sys.platform == "darwin" else 1024  # getrusage(2): bytes there, KiB elsewhere
        used = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * unit
    try:
        resource.setrlimit(resource.RLIMIT_DATA, (used + MEMORY_LIMIT, used + MEMORY_LIMIT))
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    except (OSError, ValueError):
        pass  # a system without this limit still has those of time


def _silence() -> None:
    """Keep what the library might print, and the trace of a crash, off the examiner's screen."""
    import faulthandler

    faulthandler.disable()
    null = os.open(os.devnull, os.O_RDWR)
    for descriptor in (0, 1, 2):
        os.dup2(null, descriptor)


def _send(pipe: BinaryIO, message: Any) -> None:
    data = marshal.dumps(message)
    pipe.write(_LENGTH.pack(len(data)) + data)
    pipe.flush()


def _receive(pipe: BinaryIO) -> Any:
    head = pipe.read(_LENGTH.size)
    if len(head) < _LENGTH.size:
        raise EOFError
    (length,) = _LENGTH.unpack(head)
    data = pipe.read(length)
    if len(data) < length:
        raise EOFError
    return marshal.loads(data)  # noqa: S302 - from our own child, never from the evidence
