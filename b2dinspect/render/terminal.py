"""Consoles for stdout and stderr."""

from __future__ import annotations

from rich.console import Console
from rich.text import Text


def console(is_error: bool = False) -> Console:
    """Return a console for stdout or stderr: colour only on a terminal, NO_COLOR obeyed, no markup."""
    return _Console(stderr=is_error, markup=False, highlight=False, emoji=False, soft_wrap=False)


class Verbatim(Text):
    """A line that is there to be copied: no width folds it."""


class _Console(Console):
    def on_broken_pipe(self) -> None:
        """Leave a closed pipe to the command line, where rich would exit with status 1."""
        raise BrokenPipeError
