"""Text that is not ours, made safe to show: every byte stays visible, none is obeyed.

Any ``str`` or ``bytes`` may come from the evidence, and is never printed. What is printed has a type of its
own, into which a ``str`` gets only escaped: ``terminal.Line`` for terminals and notebooks, ``markup.Html``
and ``markup.Markdown`` for documents, and JSON. So renderers join text as they please, and escape nothing.
"""

from __future__ import annotations

import sys
import unicodedata

from b2dinspect.units import moment, size

__all__ = ["as_text", "column", "moment", "offset", "size", "visible"]

_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp", "Zs"})
"""Unicode categories that draw nothing or steer the terminal: control, format (bidi), surrogate, space, …"""
_BLANK = frozenset("\u034f\u115f\u1160\u17b4\u17b5\u180b\u180c\u180d\u180f\u2800\u3164\uffa0")
"""What draws nothing though its category says letter, mark or symbol (Default_Ignorable_Code_Point; Braille's
blank)."""
_SELECTORS = (range(0xFE00, 0xFE10), range(0xE0100, 0xE01F0))
"""Variation selectors, which draw nothing themselves."""


def as_text(data: str | bytes) -> str:
    """Return bytes as text, still to be escaped: what is not UTF-8 becomes surrogates."""
    return data.decode("utf-8", "surrogateescape") if isinstance(data, bytes) else data


def visible(text: str | bytes) -> str:
    r"""Return ``text`` with everything that is not plainly printable written as an escape.

    Bytes are read as UTF-8; those that are not keep their value as ``\xNN``. A backslash is doubled, so an
    escape in the result is never confused with one in the evidence; on Windows it stays, as paths have them.

    >>> visible(b"\x1b[31mred\n\xff")
    '\\x1b[31mred\\n\\xff'
    """
    text = as_text(text)
    if text.isascii() and text.isprintable() and "\\" not in text:
        return text
    return "".join(_escaped(char) for char in text)


BACKSLASH = "\\" if sys.platform == "win32" else "\\\\"
"""What a backslash becomes."""
_SHORT = {" ": " ", "\n": "\\n", "\r": "\\r", "\t": "\\t", "\\": BACKSLASH}


def typed(command: str) -> str:
    r"""Return a command as it is printed to be typed: as ``visible``, but a backslash stays one.

    >>> typed("type C:\\new\x1b")
    'type C:\\new\\x1b'
    """
    return visible(command).replace(BACKSLASH, "\\")


def _escaped(char: str) -> str:
    if char in _SHORT:
        return _SHORT[char]
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    if not _is_hidden(char, code):
        return char
    return f"\\x{code:02x}" if code < 0x80 else f"\\u{{{code:x}}}"


def _is_hidden(char: str, code: int) -> bool:
    is_blank = char in _BLANK or any(code in selectors for selectors in _SELECTORS)
    return is_blank or unicodedata.category(char) in _HIDDEN


def column(data: bytes) -> str:
    """Return a character for each byte: itself if it is printable ASCII, else a full stop."""
    return "".join(chr(byte) if 32 <= byte < 127 else "." for byte in data)


def offset(value: int | None) -> str:
    """Return an offset as hexadecimal and decimal, or that no single place exists."""
    if value is None:
        return "not stored as such"
    return "0" if value == 0 else f"{value:#x} ({value})"
