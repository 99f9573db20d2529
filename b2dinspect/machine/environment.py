"""What a Docker client must know to come to a machine: the variables that ``docker-machine env`` prints.

Source: docker-machine, commands/env.go.
"""

from __future__ import annotations

import re

from b2dinspect.errors import UsageError
from b2dinspect.machine.folder import Machine
from b2dinspect.userdata.daemon_profile import PORT

_HOST = re.compile(r"[A-Za-z0-9.:-]{1,253}")
_UNSAFE = re.compile(r"[\"'`$!%\0-\x1f\x7f]")
"""What a shell would not take as it stands, in one of the forms in which it is printed."""


def environment(machine: Machine) -> tuple[tuple[str, str], ...]:
    """Return the variables and their values.

    Raises:
        UsageError: The machine's address is not known, or a value is none that every shell takes as it is.
    """
    address = machine.config.ip
    if not address:
        raise UsageError(f"{machine.folder}: config.json knows no address of this machine")
    if not _HOST.fullmatch(address):
        raise UsageError(f"{machine.folder}: the address in config.json is none: {address[:80]!a}")
    host = f"[{address}]" if ":" in address else address
    folder = str(machine.folder.absolute())
    for text in (folder, machine.name):
        if _UNSAFE.search(text):
            raise UsageError(f"{text!a} holds a character that a shell does not take as it is")
    return (
        ("DOCKER_TLS_VERIFY", "1"),
        ("DOCKER_HOST", f"tcp://{host}:{PORT}"),
        ("DOCKER_CERT_PATH", folder),
        ("DOCKER_MACHINE_NAME", machine.name),
    )
