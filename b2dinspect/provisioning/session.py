"""The provisioner's ssh session: one connection with the key from the disk, one command after the other.

libmachine keeps no connection; it logs in for each command. What the guest runs is the same.
"""

from __future__ import annotations

import asyncio
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

from b2dinspect.errors import ToolError
from b2dinspect.provisioning.login import TIME_LIMIT
from b2dinspect.provisioning.stages import RunningGuest


class Ran(NamedTuple):
    """What came of a command: its exit status, and what it printed."""

    status: int
    output: str


class Session:
    """A connection to a guest's sshd.

    Args:
        guest: The guest.
        user: Who logs in.
        key: The private key; no other, and no password, can be used.

    Raises:
        ToolError: It does not come about.
    """

    def __init__(self, guest: RunningGuest, user: str, key: Path) -> None:
        import asyncssh  # slow to import

        self._loop = asyncio.new_event_loop()
        self._error = asyncssh.Error
        known = asyncssh.import_known_hosts(f"[127.0.0.1]:{guest.port} {guest.host_key}\n")
        try:
            self._connection: Any = self._loop.run_until_complete(
                asyncssh.connect(
                    "127.0.0.1",
                    guest.port,
                    username=user,
                    client_keys=[str(key)],
                    known_hosts=known if guest.host_key else None,
                    agent_path=None,
                    config=None,
                    password_auth=False,
                    kbdint_auth=False,
                    login_timeout=TIME_LIMIT,
                )
            )
        except (OSError, asyncssh.Error) as error:
            self._loop.close()
            raise ToolError(f"no ssh session: {error}") from error

    def run(self, command: str, seconds: float = TIME_LIMIT) -> Ran:
        """Run a command to its end.

        Args:
            command: For the shell of the guest.
            seconds: The most that it may take.

        Raises:
            ToolError: It does not come to an end, or the connection is lost.
        """
        running = self._connection.run(command, check=False)
        try:
            done = self._loop.run_until_complete(asyncio.wait_for(running, seconds))
        except TimeoutError as error:
            raise ToolError(f"{command[:60]!r} did not come to an end in {seconds:.0f} seconds") from error
        except (OSError, self._error) as error:
            raise ToolError(f"the ssh session is lost: {error}") from error
        output = f"{done.stdout}{done.stderr}"
        return Ran(-1 if done.exit_status is None else done.exit_status, output.strip())

    def close(self) -> None:
        """End it; closing twice is harmless."""
        if self._loop.is_closed():
            return
        self._connection.close()
        with suppress(OSError, self._error, TimeoutError):
            self._loop.run_until_complete(asyncio.wait_for(self._connection.wait_closed(), TIME_LIMIT))
        self._loop.close()
