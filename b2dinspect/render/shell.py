"""Commands as they are typed: the one place that quotes.

Windows has two shells. What both read alike is written so; a word that they would read differently is quoted
for PowerShell.
"""

from __future__ import annotations

import re
import shlex
import sys
from collections.abc import Sequence
from typing import Literal

System = Literal["linux", "macos", "windows"]
SYSTEM_NAMES: dict[System, str] = {"linux": "Linux", "macos": "macOS", "windows": "Windows"}
_PLAIN_ON_WINDOWS = re.compile(r"(?!@)[\w.:\\/+=@~-]+", re.ASCII)  # PowerShell looks for a variable behind @
_SAFE_IN_DOUBLE_QUOTES = re.compile(r"[^\"$`%!^“”„]+")


def this_system() -> System:
    """Return the system that this program runs on."""
    if sys.platform == "win32":
        return "windows"
    return "macos" if sys.platform == "darwin" else "linux"


def command_line(words: Sequence[str], system: System | None = None) -> str:
    """Return a command as it is typed, by default on this system; ``terminal.Typed`` makes it harmless."""
    quote = _for_windows if (system or this_system()) == "windows" else shlex.quote
    return " ".join(quote(word) for word in words)


def _for_windows(word: str) -> str:
    r"""Quote a word for cmd and PowerShell.

    >>> _for_windows(r"C:\Users\Ann Lee\disk.vmdk")
    '"C:\\Users\\Ann Lee\\disk.vmdk"'
    >>> _for_windows("it costs $5")
    "'it costs $5'"
    """
    if _PLAIN_ON_WINDOWS.fullmatch(word):
        return word
    if _SAFE_IN_DOUBLE_QUOTES.fullmatch(word):
        end = "\\" * (len(word) - len(word.rstrip("\\")))  # a program would take \" for a quote of the word
        return f'"{word}{end}"'
    return "'" + word.replace("'", "''") + "'"
