"""Evidence on another machine, read by ranges through fsspec: HTTP, S3, Google's store, SFTP, SMB, Azure.

Credentials are looked for where each library has its own places, and never printed. What is read twice is
kept; what is read in order is read ahead. A server that does not answer, ends too soon or is overloaded is
asked again, a few times; one that gives another file than before, or not what was asked for, is believed in
nothing any more.

Source: RFC 9110, sections 13 (If-Match), 14 (ranges) and 15.3.7 (206).
"""

from __future__ import annotations

import re
import threading
import time
from collections.abc import Callable
from typing import Any, NoReturn, Protocol

from b2dinspect.errors import SourceError, UsageError
from b2dinspect.evidence.urls import scheme_of, shown
from b2dinspect.source import Extent, FileSource

BLOCK = 32 << 10
"""Bytes that are asked for at least, and kept together."""
KEPT = 512
"""Blocks that are kept: 16 MiB."""
MOST_AHEAD = 4 << 20
"""Bytes that are asked for at once, at most, where reading goes on in order."""
TRIES, PAUSE = 4, 0.25
"""How often a range is asked for, and seconds before the second time; twice as many before each further."""
CONNECT, SILENCE, PATIENCE = 10.0, 20.0, 60.0
"""Seconds for a connection, for the next byte, and for a whole range."""
LOOKED_AGAIN = 5.0
"""Seconds after which a store that sends no tag with a range is asked whether the file is still the same."""
LARGEST = 1 << 50
_CONTENT_RANGE = re.compile(r"bytes (\d+)-(\d+)/(\d+)")


class _TransientError(Exception):
    """What may go better the next time."""


class _Ranges(Protocol):
    """A file that is read by ranges.

    Attributes:
        size: Bytes.
    """

    size: int

    def get(self, start: int, end: int) -> bytes:
        """Return these bytes, all of them; raises _TransientError or SourceError."""


def open_remote(url: str) -> RemoteSource:
    """Return a file on another machine, opened; nothing but its first bytes is read.

    Raises:
        UsageError: No such scheme, or the library for it is not installed.
        SourceError: The file is not there, or cannot be read by ranges.
    """
    scheme = scheme_of(url)
    try:
        import fsspec
    except ImportError:
        raise UsageError("URLs are read with fsspec (pip install 'b2dinspect[remote]')") from None
    try:
        fs, path = fsspec.core.url_to_fs(url)
    except ImportError as error:
        raise UsageError(f"{scheme}:// needs a further library: {error}") from None
    except Exception as error:
        _refuse("cannot be opened", error, url)
    make = _Http if scheme in ("http", "https") else _Store
    return RemoteSource(make(fs, path, url))


class RemoteSource(FileSource):
    """A file on another machine. Threads may read it at the same time.

    Attributes:
        requests: Ranges that were asked for.
        received: Bytes of them.
    """

    def __init__(self, ranges: _Ranges) -> None:
        super().__init__(-1, ranges.size, "remote")
        self._ranges: _Ranges | None = ranges
        self._blocks: dict[int, bytes] = {}
        self._next, self._ahead = -1, BLOCK
        self._asking = threading.Lock()
        self.requests = self.received = 0

    def _pread(self, offset: int, length: int) -> bytes:
        first, last = offset // BLOCK, (offset + length - 1) // BLOCK
        with self._asking:
            found = [self._block(number, last) for number in range(first, last + 1)]
        within = offset - first * BLOCK
        return b"".join(found)[within : within + length]

    def _block(self, number: int, last: int) -> bytes:
        """Return a block; with it, those up to ``last`` and perhaps more are fetched."""
        if number in self._blocks:
            block = self._blocks[number] = self._blocks.pop(number)
            return block
        start, end = number * BLOCK, min(self._end_of_gap(number, last) * BLOCK, self.size)
        if start == self._next:  # reading goes on in order
            self._ahead = min(2 * self._ahead, MOST_AHEAD)
            end = min(max(end, start + self._ahead), self.size)
        else:
            self._ahead = BLOCK
        end = min(end, start + MOST_AHEAD)
        data = self._fetch(start, end)
        self._next = end
        for at in range(0, len(data), BLOCK):
            self._blocks[(start + at) // BLOCK] = data[at : at + BLOCK]
        while len(self._blocks) > KEPT:
            del self._blocks[next(iter(self._blocks))]
        return data[:BLOCK]

    def _end_of_gap(self, number: int, last: int) -> int:
        end = number + 1
        while end <= last and end not in self._blocks:
            end += 1
        return end

    def _fetch(self, start: int, end: int) -> bytes:
        if self._ranges is None:
            raise SourceError("cannot read: it is closed", offset=start)
        for again in range(TRIES):
            try:
                data = self._ranges.get(start, end)
            except _TransientError as error:
                why = error
                time.sleep(PAUSE * 2**again if again + 1 < TRIES else 0)
            else:
                self.requests += 1
                self.received += len(data)
                return data
        raise SourceError(f"cannot be read, {TRIES} times over: {why}", offset=start)

    def extents(self, offset: int = 0, length: int | None = None) -> Any:
        """Yield one extent: no server tells of holes."""
        start, end = self._clamp(offset, length)
        if start < end:
            yield Extent(start, end - start, "data", start)

    def in_file(self) -> None:
        """Return None: no file of this machine holds it."""

    def close(self) -> None:
        """Let go of it; closing twice is harmless."""
        self._ranges = None
        self._blocks.clear()


class _Http:
    """A file of a web server; every answer is held to what was asked for."""

    def __init__(self, fs: Any, path: str, url: str) -> None:
        self._fs, self._path, self._url = fs, path, url
        self._tag, self.size = "", -1
        self._first = b""
        for again in range(TRIES):
            try:
                self._first = self.get(0, BLOCK)
                return
            except _TransientError as error:
                why = error
                time.sleep(PAUSE * 2**again if again + 1 < TRIES else 0)
        raise SourceError(f"cannot be read, {TRIES} times over: {why}")

    def get(self, start: int, end: int) -> bytes:
        """Return these bytes; the first time, as many as there are."""
        import aiohttp
        from fsspec.asyn import sync

        if not start and self.size >= 0 and len(self._first) >= end:
            return self._first[:end]
        try:
            data: bytes = sync(self._fs.loop, self._get, start, end)
        except (SourceError, _TransientError):
            raise
        except TimeoutError:
            limits = f"{PATIENCE:.0f} seconds for {end - start} bytes, {SILENCE:.0f} for the next one"
            text = f"the server is too slow: it has {limits}"
            raise SourceError(text, offset=start) from None
        except (aiohttp.ClientError, OSError) as error:
            raise _TransientError(_plain(error)) from None
        except Exception as error:
            _refuse("cannot be read", error, self._url)
        return data

    async def _get(self, start: int, end: int) -> bytes:
        import asyncio

        import aiohttp

        session = await self._fs.set_session()
        headers = {"Range": f"bytes={start}-{end - 1}", "Accept-Encoding": "identity"}
        if self._tag and not self._tag.startswith("W/"):
            headers["If-Match"] = self._tag
        limits = aiohttp.ClientTimeout(total=PATIENCE, sock_connect=CONNECT, sock_read=SILENCE)
        async with session.get(self._fs.encode_url(self._path), headers=headers, timeout=limits) as answer:
            length = self._judge(answer, start, end)
            try:
                data: bytes = await answer.content.readexactly(length)
            except asyncio.IncompleteReadError as error:
                got = len(error.partial)
                raise _TransientError(f"the answer ended after {got} of {length} bytes") from None
            return data

    def _judge(self, answer: Any, start: int, end: int) -> int:
        """Return how many bytes follow; refuse an answer that is not what was asked for."""
        self._judge_status(answer, start)
        told = _CONTENT_RANGE.fullmatch(answer.headers.get("Content-Range", ""))
        first, last, size = map(int, told.groups()) if told else (-1, -1, -1)
        if not 0 < size <= LARGEST:
            raise SourceError("the server does not say which bytes of how many it gives", offset=start)
        if self.size < 0:
            self.size, self._tag = size, answer.headers.get("ETag", "")
        if size != self.size:
            raise _changed(f"it has {size} bytes, and had {self.size}", start)
        if answer.headers.get("ETag", self._tag) != self._tag:
            raise _changed("its tag is another", start)
        if (first, last) != (start, min(end, size) - 1):
            text = f"the server gives bytes {first} to {last} where others were asked for"
            raise SourceError(text, offset=start)
        return last - first + 1

    def _judge_status(self, answer: Any, start: int) -> None:
        """Refuse all but a part of the file."""
        status = answer.status
        if status in (408, 425, 429) or status >= 500:
            raise _TransientError(f"the server answers {status} {answer.reason or ''}".rstrip())
        if status == 412:
            raise _changed("its tag is another", start)
        if status == 416:
            raise _changed("it is shorter", start) if self.size >= 0 else SourceError("is empty")
        if status == 200:
            text = "the server gives the whole file where a part of it was asked for: download it first"
            raise SourceError(text, offset=start)
        if status != 206:
            raise SourceError(f"the server answers {status} {answer.reason or ''}".rstrip(), offset=start)


class _Store:
    """A file of any other store that fsspec knows."""

    def __init__(self, fs: Any, path: str, url: str) -> None:
        self._fs, self._path, self._url = fs, path, url
        self.size, self._tag = self._look()
        self._looked = time.monotonic()

    def _look(self) -> tuple[int, object]:
        about = self._ask(lambda: self._fs.info(self._path))
        size = about.get("size")
        if about.get("type") != "file" or not isinstance(size, int) or not 0 < size <= LARGEST:
            raise SourceError("is no file, or empty")
        names = ("ETag", "etag", "generation", "LastModified", "mtime", "last_modified", "updated")
        return size, next((about[name] for name in names if about.get(name)), None)

    def get(self, start: int, end: int) -> bytes:
        """Return these bytes, if the file is still the same."""
        if time.monotonic() - self._looked > LOOKED_AGAIN:
            self._check(start)
        data: bytes = self._ask(lambda: self._fs.cat_file(self._path, start=start, end=end))
        if len(data) != end - start:
            self._check(start)
            raise _TransientError(f"the answer has {len(data)} of {end - start} bytes")
        return data

    def _check(self, start: int) -> None:
        self._fs.invalidate_cache()
        size, tag = self._look()
        if (size, tag) != (self.size, self._tag):
            raise _changed(
                f"it has {size} bytes, and had {self.size}" if size != self.size else "its tag is another",
                start,
            )
        self._looked = time.monotonic()

    def _ask(self, question: Callable[[], Any]) -> Any:
        """Return an answer that comes within a time; a library of any kind may hang."""
        answer: list[Any] = []

        def ask() -> None:
            try:
                answer.extend((question(), None))
            except BaseException as error:
                answer.extend((None, error))

        thread = threading.Thread(target=ask, daemon=True)
        thread.start()
        thread.join(PATIENCE)
        if len(answer) < 2:
            raise SourceError(f"the server does not answer within {PATIENCE:.0f} seconds")
        error = answer[1]
        if error is None:
            return answer[0]
        if isinstance(error, FileNotFoundError | PermissionError):
            raise SourceError("is not there" if isinstance(error, FileNotFoundError) else "may not be read")
        if isinstance(error, OSError | TimeoutError):
            raise _TransientError(_plain(error)) from None
        return _refuse("cannot be read", error, self._url)


def _changed(how: str, start: int) -> SourceError:
    return SourceError(f"the file was changed while it was read: {how}", offset=start)


def _refuse(what: str, error: Exception, url: str) -> NoReturn:
    raise SourceError(f"{what}: {_plain(error)}".replace(url, shown(url))) from None


def _plain(error: BaseException) -> str:
    """Return an error of a library as one line, without what a URL in it may hold."""
    text = " ".join(str(error).split()) or type(error).__name__
    return re.sub(r"[a-z0-9+.-]+://\S+", lambda found: shown(found[0]), text)[:300]
