"""What reaches a terminal or a notebook: lines, tables and consoles into which text enters only escaped.

Nobody else imports ``rich.text`` or ``rich.table``.
"""

from __future__ import annotations

import os
from typing import Any, Self

from rich.console import Console, JustifyMethod, OverflowMethod
from rich.style import Style
from rich.table import Table as _Table
from rich.text import Text

from b2dinspect.render.text import column, typed, visible

__all__ = ["Line", "Screen", "Table", "Typed", "Verbatim", "console", "lines"]


class Line(Text):
    """One line, whatever is put into it: nothing in it steers the terminal, hides, or begins another line."""

    def __init__(
        self,
        text: str = "",
        style: str | Style = "",
        *,
        justify: JustifyMethod | None = None,
        overflow: OverflowMethod | None = None,
    ) -> None:
        super().__init__(visible(text), style, justify=justify, overflow=overflow)

    def append(self, text: Text | str, style: str | Style | None = None) -> Line:
        """Add text, escaped, or what is a line already."""
        super().append(visible(text) if isinstance(text, str) else text, style)
        return self

    def append_text(self, text: Text) -> Line:
        """Add a line to this one."""
        super().append_text(text)
        return self

    def append_column(self, data: bytes, style: str | Style | None = None) -> Line:
        """Add a character for each byte, as the last column of a dump has it."""
        super().append(column(data), style)
        return self

    @classmethod
    def of(cls, *parts: Line | str | tuple[str, str]) -> Line:
        """Return a line made of parts; a pair is a text and its style."""
        line = cls()
        for part in parts:
            line.append(*part) if isinstance(part, tuple) else line.append(part)
        return line


class Verbatim(Line):
    """A line that is there to be copied: no width folds it."""


class Typed(Verbatim):
    """A command that is there to be typed: as a line, but a backslash of a path stays one."""

    def __init__(self, command: str, style: str | Style = "", *, indent: int = 0) -> None:
        super().__init__("", style)
        Text.append(self, " " * indent + typed(command))


def lines(*parts: Line | str) -> Text:
    """Return lines, one below the other."""
    return Text("\n").join(part if isinstance(part, Line) else Line(part) for part in parts)


class Table(_Table):
    """A table whose cells, heads and title are lines."""

    def __init__(self, *heads: str, title: str | None = None, **options: Any) -> None:
        super().__init__(*heads, title=None if title is None else Line(title), **options)

    @classmethod
    def grid(cls, *heads: Any, **options: Any) -> Self:
        """Return a table without lines and heads."""
        look = {"box": None, "padding": 0, "collapse_padding": True, "pad_edge": False}
        look |= {"show_header": False, "show_edge": False}
        return cls(*heads, **{**look, **options})

    def add_column(self, header: Any = "", *rest: Any, **options: Any) -> None:
        """Add a column."""
        super().add_column(Line(header) if isinstance(header, str) else header, *rest, **options)

    def add_row(self, *cells: Any, **options: Any) -> None:
        """Add a row."""
        super().add_row(*(Line(cell) if isinstance(cell, str) else cell for cell in cells), **options)


ENDLESS = 100_000
"""Columns of a pipe or a file, where nothing is folded."""


class Screen(Console):
    """A console that prints a plain string as a line, too; into a pipe, without folding and padding."""

    def __init__(self, **options: Any) -> None:
        super().__init__(markup=False, highlight=False, emoji=False, soft_wrap=False, **options)
        if not (self.is_terminal or self.record or "width" in options or "COLUMNS" in os.environ):
            self.width = ENDLESS

    def print(self, *parts: Any, **options: Any) -> None:
        """Print."""
        typed = (Line(part) if isinstance(part, str) else part for part in parts)
        if self.is_terminal or self.record:
            super().print(*typed, **options)
            return
        with self.capture() as captured:
            super().print(*typed, **options)
        self.file.write("".join(line.rstrip(" ") for line in _lines_of(captured.get())))

    def get_style(self, name: str | Style, *, default: Style | str | None = None) -> Style:
        """Return a style, in colours that can be read where the terminal has them."""
        style = super().get_style(name, default=default)
        if self.color_system in ("256", "truecolor") and not self.record:
            from b2dinspect.render.colours import readable  # nobody else needs it

            return readable(style)
        return style

    def on_broken_pipe(self) -> None:
        """Leave a closed pipe to the command line, where rich would exit with status 1."""
        raise BrokenPipeError


def _lines_of(text: str) -> list[str]:
    """Return the lines of a text and their ends, each end alone behind its line."""
    return [piece for line in text.split("\n") for piece in (line, "\n")][:-1]


def console(is_error: bool = False) -> Screen:
    """Return a console for stdout or stderr: colour only on a terminal, NO_COLOR obeyed, no markup."""
    return Screen(stderr=is_error)
