"""Pieces of documents: types of their own, to which no ``str`` can be joined; text enters only quoted."""

from __future__ import annotations

import re
from base64 import b64encode
from collections.abc import Iterable
from hashlib import sha256
from html import escape
from typing import Self

from b2dinspect.render.text import column, visible


class Markup:
    """A piece of a document.

    Args:
        text: Ours, and so a literal or a constant: never anything that was read.
    """

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    @classmethod
    def of(cls, template: str, *values: object) -> Self:
        """Return a template with a value for each ``{}``: pieces as they are, all else quoted."""
        return cls(
            template.format(*(value if isinstance(value, cls) else cls.quoted(value) for value in values))
        )

    @classmethod
    def join(cls, pieces: Iterable[Self], between: str = "") -> Self:
        """Return pieces one behind the other."""
        return cls(between.join(str(piece) for piece in pieces))

    @classmethod
    def quoted(cls, value: object) -> Self:
        """Return any value as text that is shown and never obeyed; a number is nothing but digits."""
        if isinstance(value, int):
            return cls(str(int(value)))
        return cls(cls._quote(visible(value if isinstance(value, str | bytes) else str(value))))

    @staticmethod
    def _quote(shown: str) -> str:
        raise NotImplementedError

    def __str__(self) -> str:
        return self._text

    def __add__(self, other: Self) -> Self:
        return type(self)(self._text + other._text)


class Html(Markup):
    """A piece of HTML or SVG; a value may stand between tags, or between the quotes of an attribute."""

    __slots__ = ()

    @classmethod
    def column(cls, data: bytes) -> Self:
        """Return a character for each byte, as the last column of a dump has it."""
        return cls(escape(column(data)))

    @classmethod
    def policy(cls, script: str = "") -> Self:
        """Return what keeps a page from loading and running anything but its own script."""
        told = b64encode(sha256(script.encode()).digest()).decode()
        allowed = f"; script-src 'sha256-{told}'" if script else ""
        return cls(
            '<meta http-equiv="Content-Security-Policy" '
            f"content=\"default-src 'none'; style-src 'unsafe-inline'; img-src data:{allowed}\">"
        )

    @classmethod
    def page(cls, text: str) -> Self:
        """Return a whole document, as the value of an attribute that holds one."""
        return cls(escape(text))

    @staticmethod
    def _quote(shown: str) -> str:
        return escape(shown)


class Markdown(Markup):
    """A piece of Markdown; a value becomes a code span, which nothing in it can end, nor a table's cell."""

    __slots__ = ()

    @classmethod
    def prose(cls, text: str) -> Self:
        """Return a text of ours, in which code and emphasis are meant, without links, tags and cells."""
        shown = re.sub(r"([\[\]|])", r"\\\1", escape(visible(text), quote=False))
        spans = re.findall("`+", shown)
        if len(spans) % 2 or any(len(span) > 1 for span in spans):  # it would take in what follows
            shown = shown.replace("`", "\\`")
        return cls(shown)

    @staticmethod
    def _quote(shown: str) -> str:
        if not shown:
            return ""
        shown = shown.replace("|", "\\|")
        fence = "`" * (max((len(run) for run in re.findall("`+", shown)), default=0) + 1)
        pad = " " if shown.startswith("`") or shown.endswith("`") else ""
        return f"{fence}{pad}{shown}{pad}{fence}"
