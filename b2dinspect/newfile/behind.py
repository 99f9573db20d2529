"""Writing while the caller goes on: a sink before a new file, and a thread between them."""

from __future__ import annotations

import queue
import threading
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from b2dinspect.newfile import NewFile

if TYPE_CHECKING:
    from b2dinspect.source import FileSource

WAITING = 8
"""Calls that wait to be done, at most: each has a chunk of data, or none."""


class WriteBehind:
    """A sink whose writes are done in their order by a thread. What goes wrong is raised by a later call.

    Use it as a context manager: leaving it waits until all is done, leaving it by an exception gives up what
    is still waiting. It never syncs: the file does that when it is committed.

    Attributes:
        path: The file's.

    Args:
        file: Where it writes to. Nobody else may, until this is closed.
    """

    def __init__(self, file: NewFile) -> None:
        self.path: Path = file.path
        self._file = file
        self._calls: queue.Queue[tuple[Callable[..., None], tuple[Any, ...]] | None] = queue.Queue(WAITING)
        self._error: BaseException | None = None
        self._is_given_up = False
        self._thread = threading.Thread(target=self._work, daemon=True)
        self._thread.start()

    def _work(self) -> None:
        while (call := self._calls.get()) is not None:
            try:
                if self._error is None and not self._is_given_up:
                    call[0](*call[1])
            except BaseException as error:
                self._error = error
            finally:
                del call
                self._calls.task_done()

    def _do(self, call: Callable[..., None], *arguments: Any) -> None:
        self._raise()
        self._calls.put((call, arguments))

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    def _wait(self) -> None:
        self._calls.join()
        self._raise()

    def pwrite(self, offset: int, data: bytes | memoryview) -> None:
        """Write ``data``, which must not change any more, at ``offset`` (bytes)."""
        self._do(self._file.pwrite, offset, data)

    def pcopy(self, offset: int, source: FileSource, start: int, length: int) -> None:
        """Write ``length`` bytes of another file, from its byte ``start`` on, at ``offset``."""
        self._do(self._file.pcopy, offset, source, start, length)

    def truncate(self, size: int) -> None:
        """Set the size in bytes."""
        self._do(self._file.truncate, size)

    def pread(self, offset: int, length: int) -> bytes:
        """Return up to ``length`` bytes at ``offset`` of what has been written."""
        self._wait()
        return self._file.pread(offset, length)

    def flush(self) -> None:
        """Wait until all is written."""
        self._wait()

    def __enter__(self) -> WriteBehind:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        self._is_given_up = kind is not None
        self._calls.put(None)
        self._thread.join()
        if kind is None:
            self._raise()
