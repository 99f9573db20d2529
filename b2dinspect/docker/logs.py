"""The logs of containers: what they wrote on stdout and stderr, with the time of each line.

``json-file`` writes a JSON object a line, ``local`` frames of protobuf between two lengths, Kubernetes and
Podman (``k8s-file``) a time, a stream, F or P, and the text. Rotated files have a number, the highest is the
oldest, and may be packed with gzip.

Source: moby, daemon/logger/jsonfilelog, daemon/logger/local/{local,read}.go, and entry.proto in
api/types/plugins/logdriver; Kubernetes, design proposal kubelet-cri-logging.
"""

from __future__ import annotations

import re
import struct
import zlib
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from datetime import UTC, datetime
from typing import Literal

from b2dinspect.docker.facts import DataRoot, DockerContainer
from b2dinspect.docker.files import Files, parse_json
from b2dinspect.docker.protobuf import protobuf
from b2dinspect.errors import EvidenceError
from b2dinspect.filesystems.ext4 import show
from b2dinspect.findings import Finding
from b2dinspect.records import NamedTuple

Stream = Literal["stdout", "stderr"]
CHUNK = 1 << 18
MAX_LINE = 1 << 20
"""Bytes of one entry. Docker cuts what a container writes into pieces of 16 KiB."""
MAX_TAIL = 100_000
"""Entries that may be kept for ``tail``."""
MAX_KEPT = 64 << 20
"""Bytes that may be kept for it."""


class LogLine(NamedTuple):
    """What a container wrote, as the engine cut it.

    Attributes:
        stream: Where to.
        time: When, nanoseconds since 1970; None when the log does not say.
        text: What, with the end of the line if it had one.
    """

    stream: Stream
    time: int | None
    text: bytes


class LogFile(NamedTuple):
    """A file of a log: its path, its number (0: the current one), and how it is written."""

    path: bytes
    number: int
    is_packed: bool
    kind: str


def read_log(
    root: DataRoot,
    container: DockerContainer,
    *,
    since: int | None = None,
    until: int | None = None,
    tail: int | None = None,
) -> tuple[Iterable[LogLine], list[Finding]]:
    """Return the lines of a container's log, oldest first, and a list that fills with what cannot be read.

    Args:
        root: Where it is.
        container: Whose.
        since: Nanoseconds since 1970; nothing before it.
        until: Nothing after it.
        tail: How many of the last lines; None for all.
    """
    files = Files(root.files)
    found = log_files(files, container)
    if not found:
        why = f"no log of the driver {container.log_driver} in {show(container.path)}"
        files.problems.append(Finding("docker-no-log", "warning", why))
    lines = (line for file in found for line in _lines(files, file))
    if since is not None or until is not None:
        lines = (line for line in lines if _is_between(line, since, until))
    if tail is not None:
        return _last(lines, min(tail, MAX_TAIL)), files.problems
    return lines, files.problems


def log_files(files: Files, container: DockerContainer) -> list[LogFile]:
    """Return the files of a container's log, oldest first."""
    identity = re.escape(container.id.encode("ascii", "replace"))
    places = (
        (container.path, rb"%s-json\.log" % identity, "json-file"),
        (container.path + b"/local-logs", rb"container\.log", "local"),
        (container.path, rb"container-cached\.log", "local"),  # beside a driver that sends logs elsewhere
        (container.path + b"/userdata", rb"ctr\.log", "k8s-file"),
        *((place, rb"\d+\.log", "k8s-file") for place in container.log_places),
    )
    for folder, name, kind in places:
        pattern = re.compile(name + rb"(?:\.(\d{1,6}|\d{8}-\d{6}))?(\.gz)?")
        matches = [match for one in files.names(folder) if (match := pattern.fullmatch(one))]
        found = [
            LogFile(folder + b"/" + match[0], _number(match[1]), bool(match[2]), kind) for match in matches
        ]
        if found:
            return sorted(found, key=lambda file: file.number, reverse=kind != "k8s-file")
    return []


def _number(text: bytes | None) -> int:
    """Return a rotated file's number; Kubernetes writes a date and a time."""
    return int(text.replace(b"-", b"")) if text else 0


def _is_between(line: LogLine, since: int | None, until: int | None) -> bool:
    if line.time is None:
        return True
    return (since is None or line.time >= since) and (until is None or line.time <= until)


def _last(lines: Iterable[LogLine], count: int) -> Iterable[LogLine]:
    kept: deque[LogLine] = deque(maxlen=count)
    size = 0
    for line in lines:
        if count and len(kept) == count:
            size -= len(kept[0].text)
        kept.append(line)
        size += len(line.text)
        while size > MAX_KEPT and kept:
            size -= len(kept.popleft().text)
    return kept


def _lines(files: Files, file: LogFile) -> Iterator[LogLine]:
    """Yield the lines of one file; what cannot be read of it is left out, and told."""
    entry = files.entry(file.path)
    if entry is None or entry.type != "file":
        files.complain(file.path, "no file")
        return
    try:
        stored = files.chunks(entry, CHUNK)
        chunks = _unpacked(stored) if file.is_packed else stored
        yield from DECODERS[file.kind](chunks, _Place(files, file.path))
    except (EvidenceError, zlib.error) as error:
        files.complain(file.path, str(error))


class _Place:
    """Where an entry is, for what is said of it; the first few are, then how many more."""

    def __init__(self, files: Files, path: bytes) -> None:
        self._files = files
        self._path = path
        self._said = 0

    def complain(self, reason: str) -> None:
        self._said += 1
        if self._said <= 3:
            self._files.complain(self._path, reason)
        elif self._said == 4:
            self._files.complain(self._path, "and more like that")


def _unpacked(chunks: Iterable[bytes]) -> Iterator[bytes]:
    """Yield what gzip packed, piece by piece, however much it is."""
    packed = zlib.decompressobj(wbits=31)
    for chunk in chunks:
        data = chunk
        while data:
            yield packed.decompress(data, CHUNK)
            data = packed.unconsumed_tail
            if packed.eof:
                data, packed = packed.unused_data, zlib.decompressobj(wbits=31)


def _split(chunks: Iterable[bytes], place: _Place) -> Iterator[bytes]:
    """Yield lines with their ends; those longer than MAX_LINE are left out."""
    rest, is_too_long = b"", False
    for chunk in chunks:
        *whole, rest = (rest + chunk).split(b"\n")
        for line in whole:
            if not is_too_long:
                yield line + b"\n"
            is_too_long = False
        if len(rest) > MAX_LINE:
            if not is_too_long:
                place.complain(f"a line of more than {MAX_LINE} bytes is left out")
            rest, is_too_long = b"", True
    if rest and not is_too_long:
        yield rest


def _json_lines(chunks: Iterable[bytes], place: _Place) -> Iterator[LogLine]:
    for line in _split(chunks, place):
        data = line.strip(b"\0\r\n \t")
        if not data:
            continue  # zeros are what a power cut leaves of the last block
        try:
            found = parse_json(data)
        except ValueError:
            found = None
        if not isinstance(found, dict) or not isinstance(found.get("log"), str):
            place.complain(f"no entry of a log: {show(data[:60])}")
            continue
        stream: Stream = "stderr" if found.get("stream") == "stderr" else "stdout"
        text = found["log"].encode("utf-8", "surrogatepass")
        yield LogLine(stream, nanoseconds(str(found.get("time", ""))), text)


def _cri_lines(chunks: Iterable[bytes], place: _Place) -> Iterator[LogLine]:
    for line in _split(chunks, place):
        time, _, rest = line.partition(b" ")
        stream, _, rest = rest.partition(b" ")
        tag, _, text = rest.partition(b" ")
        if stream not in (b"stdout", b"stderr"):
            place.complain(f"no entry of a log: {show(line[:60].strip())}")
            continue
        whole = text if tag.startswith(b"F") else text.removesuffix(b"\n")
        yield LogLine(
            "stderr" if stream == b"stderr" else "stdout", nanoseconds(time.decode("ascii", "replace")), whole
        )


_LENGTH = struct.Struct(">I")


def _frames(chunks: Iterable[bytes], place: _Place) -> Iterator[LogLine]:
    """Yield the entries of the driver ``local``: a length, an entry, the same length again."""
    waiting = b""
    for chunk in chunks:
        waiting += chunk
        at = 0
        while len(waiting) - at >= _LENGTH.size:
            (length,) = _LENGTH.unpack_from(waiting, at)
            end = at + _LENGTH.size + length
            if length > MAX_LINE:
                place.complain(f"an entry of {length} bytes; the rest is left out")
                return
            if len(waiting) < end + _LENGTH.size:
                break
            if _LENGTH.unpack_from(waiting, end)[0] != length:
                place.complain("an entry with another length at its end; the rest is left out")
                return
            yield _entry(waiting[at + _LENGTH.size : end], place)
            at = end + _LENGTH.size
        waiting = waiting[at:]
    if waiting.strip(b"\0"):
        place.complain("its last entry is cut short")


def _entry(data: bytes, place: _Place) -> LogLine:
    """Return an entry: 1 source, 2 time, 3 line, 4 whether it is part of one, 5 which part (1: the last)."""
    fields: dict[int, bytes | int] = {}
    try:
        fields = dict(protobuf(data))
        part = fields.get(5)
        is_last = not fields.get(4) or (isinstance(part, bytes) and bool(dict(protobuf(part)).get(1)))
    except ValueError as error:
        place.complain(f"an entry that is no protobuf: {error}")
        is_last = True
    source, time, line = fields.get(1), fields.get(2), fields.get(3, b"")
    text = (line if isinstance(line, bytes) else b"") + (b"\n" if is_last else b"")
    stream: Stream = "stderr" if source == b"stderr" else "stdout"
    return LogLine(stream, time if isinstance(time, int) else None, text)


DECODERS: dict[str, Callable[[Iterable[bytes], _Place], Iterator[LogLine]]] = {
    "json-file": _json_lines,
    "local": _frames,
    "k8s-file": _cri_lines,
}

_TIME = re.compile(
    r"(\d{4})-(\d\d)-(\d\d)(?:[T ](\d\d):(\d\d)(?::(\d\d)(?:\.(\d{1,9})\d*)?)?)?\s?(Z|([+-])(\d\d):?(\d\d))?"
)


def nanoseconds(text: str) -> int | None:
    """Return a time in RFC 3339, or the beginning of one, as nanoseconds since 1970; None when it is none.

    >>> nanoseconds("1970-01-01T00:00:01.5Z"), nanoseconds("1970-01-01T01:00:00+01:00"), nanoseconds("today")
    (1500000000, 0, None)
    """
    found = _TIME.fullmatch(text)
    if found is None:
        return None
    year, month, day, hour, minute, second = (int(found[group] or 0) for group in range(1, 7))
    try:
        when = datetime(year, month, day, hour, minute, second, tzinfo=UTC)
    except ValueError:
        return None
    whole = int(when.timestamp())
    if found[9]:
        shift = int(found[10]) * 3600 + int(found[11]) * 60
        whole -= shift if found[9] == "+" else -shift
    return whole * 10**9 + int((found[7] or "").ljust(9, "0"))


def timestamp(time: int | None) -> str:
    """Return nanoseconds since 1970 as ``docker logs --timestamps`` writes them.

    >>> timestamp(1_500_000_000)
    '1970-01-01T00:00:01.500000000Z'
    """
    if time is None:
        return "-"
    try:
        when = datetime.fromtimestamp(time // 10**9, UTC)
    except (ValueError, OverflowError, OSError):
        return f"@{time}"
    return f"{when:%Y-%m-%dT%H:%M:%S}.{time % 10**9:09d}Z"
