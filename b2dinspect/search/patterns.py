r"""What a user searches for: bytes, a regular expression between slashes, or a key's fingerprint.

=====================  ==============================================================================
``0x53ef``, ``53 ef``  bytes, as hexadecimal digits
``/ssh-[a-z]+ AAAA/``  a regular expression of Python's, on bytes; a match of at most 4096 is found
``SHA256:…, MD5:…``    keys of that fingerprint, public and private
anything else          the text itself, as UTF-8
=====================  ==============================================================================
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator

from b2dinspect.errors import UsageError
from b2dinspect.records import NamedTuple
from b2dinspect.search.facts import Find
from b2dinspect.search.stored import Window
from b2dinspect.views.search import MAX_PATTERN, parse_pattern

_FINGERPRINT = re.compile(r"SHA256:[A-Za-z0-9+/]{43}|MD5:(?:[0-9a-f]{2}:){15}[0-9a-f]{2}")


class Pattern(NamedTuple):
    """What is asked for; one of the three.

    Attributes:
        text: As the user typed it.
        literal: Bytes.
        regex: A regular expression.
        fingerprint: Of a key.
    """

    text: str
    literal: bytes = b""
    regex: re.Pattern[bytes] | None = None
    fingerprint: str = ""


def parse(text: str) -> Pattern:
    r"""Return what a user asks for.

    Raises:
        UsageError: Nothing, too much, or no regular expression.

    >>> parse("0x53ef").literal, parse("cidata").literal, bool(parse("/a+b/").regex)
    (b'S\xef', b'cidata', True)
    """
    if text.startswith(("SHA256:", "MD5:")):
        found = text.rstrip("=")
        if not _FINGERPRINT.fullmatch(found):
            raise UsageError(f"{text} is no fingerprint as ssh-keygen -l prints it")
        return Pattern(text, fingerprint=found)
    if len(text) > 2 and text.startswith("/") and text.endswith("/"):
        try:
            regex = re.compile(text[1:-1].encode("utf-8", "surrogateescape"))
        except (re.error, RecursionError, OverflowError) as error:
            raise UsageError(f"{text} is no regular expression: {error}") from error
        if regex.match(b""):
            raise UsageError(f"{text} is found everywhere: it takes nothing for a match")
        return Pattern(text, regex=regex)
    literal = parse_pattern(text)
    if not literal.strip(b"\0"):
        raise UsageError("zeros are everywhere on a disk: ask for something else beside them")
    return Pattern(text, literal)


def found(pattern: Pattern, offset: int, data: bytes) -> Find:
    """Return the find of a pattern at a byte of the disk."""
    what = f"{pattern.text}: {data[:64]!r}" if pattern.regex else pattern.text
    identity = hashlib.sha256(pattern.text.encode("utf-8", "surrogateescape") + b"\0" + data).digest()
    return Find("pattern", offset, len(data), "parsed", what, identity)


class Matches:
    """The matches of one regular expression in windows that follow each other, wherever these are cut."""

    def __init__(self, pattern: Pattern) -> None:
        self._pattern = pattern
        self._data = b""
        self._start = 0
        self._done = 0
        """Byte of the disk up to which all matches were told."""

    def of(self, window: Window) -> Iterator[Find]:
        """Yield the matches that are whole in what is known with this window."""
        if window.start != self._start + len(self._data):
            yield from self.rest()
            self._start, self._data, self._done = window.start, b"", window.start
        self._data += window.data
        yield from self._search(len(self._data) - MAX_PATTERN)
        kept = max(0, min(len(self._data) - 2 * MAX_PATTERN, self._done - self._start - MAX_PATTERN))
        self._start, self._data = self._start + kept, self._data[kept:]

    def rest(self) -> Iterator[Find]:
        """Yield the matches at the end of what is known."""
        yield from self._search(len(self._data))
        self._data = b""

    def _search(self, limit: int) -> Iterator[Find]:
        """Yield the matches that begin before a byte of what is known, and behind the last one."""
        regex = self._pattern.regex
        at = self._done - self._start
        while regex is not None and at < limit:
            match = regex.search(self._data, at)
            if match is None or match.start() >= limit:
                at = max(at, limit)
                break
            text = match[0][:MAX_PATTERN]
            yield found(self._pattern, self._start + match.start(), text)
            at = max(match.end(), match.start() + 1)
        self._done = self._start + max(at, 0)
