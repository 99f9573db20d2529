"""Variables as a shell takes them, letter for letter as ``docker-machine env`` prints them.

Source: docker-machine, commands/env.go.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Iterator, Sequence
from pathlib import PurePath

from b2dinspect.records import NamedTuple


class Shell(NamedTuple):
    """How a shell is told a variable, and a command whose output it is to obey.

    Attributes:
        before: In front of the name.
        between: Between the name and the value.
        after: Behind the value.
        comment: Begins a comment.
        obeys: What runs COMMAND's output.
    """

    before: str
    between: str
    after: str
    comment: str
    obeys: str


SHELLS = {
    "bash": Shell("export ", '="', '"', "#", "eval $(COMMAND)"),
    "fish": Shell("set -gx ", ' "', '";', "#", "eval (COMMAND)"),
    "powershell": Shell("$Env:", ' = "', '"', "#", "& COMMAND | Invoke-Expression"),
    "cmd": Shell("SET ", "=", "", "REM", "\t@FOR /f \"tokens=*\" %i IN ('COMMAND') DO @%i"),
    "tcsh": Shell("setenv ", ' "', '";', ":", "eval `COMMAND`"),
    "emacs": Shell(
        '(setenv "',
        '" "',
        '")',
        ";;",
        '(with-temp-buffer (shell-command "COMMAND" (current-buffer)) (eval-buffer))',
    ),
}
"""By the name that ``--shell`` takes; every other shell is told like bash."""


def this_shell() -> str:
    """Return the shell that somebody works in, as far as the environment tells."""
    if sys.platform == "win32" and not os.environ.get("SHELL"):
        return "powershell" if os.environ.get("PSMODULEPATH") else "cmd"
    name = PurePath(os.environ.get("SHELL", "")).name.removesuffix(".exe")
    return name if name in SHELLS else "bash"


def lines(values: Sequence[tuple[str, str]], shell: Shell, command: str) -> Iterator[str]:
    """Yield what ``docker-machine env`` prints.

    Args:
        values: The variables.
        shell: How they are told.
        command: What printed this, to be shown how a shell is made to obey it.
    """
    for name, value in values:
        yield f"{shell.before}{name}{shell.between}{value}{shell.after}"
    yield f"{shell.comment} Run this command to configure your shell: "
    yield f"{shell.comment} {shell.obeys.replace('COMMAND', command)}"
