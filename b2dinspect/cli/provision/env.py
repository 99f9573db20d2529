"""``b2dprovision env``: the variables with which a Docker client comes to a machine."""

from __future__ import annotations

from enum import StrEnum
from typing import Annotated

import typer

from b2dinspect.cli.common import command, complain
from b2dinspect.errors import UsageError
from b2dinspect.render.environment import SHELLS, lines, this_shell
from b2dinspect.render.shell import command_line

ShellName = StrEnum("ShellName", list(SHELLS))  # type: ignore[misc]


@command
def env(
    subject: Annotated[
        str, typer.Argument(metavar="NAME|DIR", help="A machine by its name, or its directory.")
    ] = "default",
    shell: Annotated[
        ShellName | None, typer.Option("--shell", help="Whose words to use; by default your shell's.")
    ] = None,
) -> None:
    """Print the variables that a Docker client needs for a machine, as docker-machine env does.

    Example: b2dprovision env machines/default --shell bash

    It asks nobody: whether the certificates are still good is told by b2dinspect doctor.
    """
    from b2dinspect.machine.environment import environment
    from b2dinspect.machine.folder import open_machine
    from b2dinspect.machine.naming import machine_named

    folder = machine_named(subject)
    if folder is None:
        raise UsageError(f"{subject} is no machine: name one, or its directory")
    machine = open_machine(folder)
    values = environment(machine)
    name = shell.value if shell else this_shell()
    again = ["b2dprovision", "env", subject, *(["--shell", name] if shell else [])]
    print("\n".join(lines(values, SHELLS[name], command_line(again))))  # noqa: T201 - a shell reads it
    missing = [one for one in ("ca.pem", "cert.pem", "key.pem") if not (machine.folder / one).is_file()]
    if missing:
        complain(f"not in {machine.folder}: {', '.join(missing)}; a client has nothing to show")
