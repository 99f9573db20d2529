"""Text from the evidence, made safe to show: every byte stays visible, none is obeyed."""

from __future__ import annotations

import unicodedata

from b2dinspect.units import size

__all__ = ["offset", "size", "visible"]

_HIDDEN = frozenset({"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"})
"""Unicode categories that draw nothing or steer the terminal: control, format (bidi), surrogate, …"""


def visible(text: str | bytes) -> str:
    r"""Return ``text`` with everything that is not plainly printable written as an escape.

    Bytes are read as UTF-8; those that are not keep their value as ``\xNN``. A backslash is doubled, so an
    escape in the result is never confused with one in the evidence.

    >>> visible(b"\x1b[31mred\n\xff")
    '\\x1b[31mred\\n\\xff'
    >>> visible("C:\\x")
    'C:\\\\x'
    """
    if isinstance(text, bytes):
        text = text.decode("utf-8", "surrogateescape")
    if text.isascii() and text.isprintable() and "\\" not in text:
        return text
    return "".join(_escaped(char) for char in text)


_SHORT = {"\n": "\\n", "\r": "\\r", "\t": "\\t", "\\": "\\\\"}


def _escaped(char: str) -> str:
    if char in _SHORT:
        return _SHORT[char]
    code = ord(char)
    if 0xDC80 <= code <= 0xDCFF:
        return f"\\x{code - 0xDC00:02x}"
    if unicodedata.category(char) not in _HIDDEN:
        return char
    return f"\\x{code:02x}" if code < 0x80 else f"\\u{{{code:x}}}"


def offset(value: int | None) -> str:
    """Return an offset as hexadecimal and decimal, or that no single place exists."""
    if value is None:
        return "not stored as such"
    return "0" if value == 0 else f"{value:#x} ({value})"
