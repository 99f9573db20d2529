"""The provisioner's ssh session: one connection with the key from the disk, one command after the other.

libmachine keeps no connection; it logs in for each command. What the guest runs is the same. The connection
lives in a thread of its own: whoever calls, a notebook for instance, may have an event loop already.
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Coroutine
from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from b2dinspect.errors import ToolError
from b2dinspect.provisioning.login import TIME_LIMIT
from b2dinspect.provisioning.stages import RunningGuest
from b2dinspect.records import NamedTuple

T = TypeVar("T")


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

        self._error = asyncssh.Error
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="provisioner", daemon=True)
        self._thread.start()
        known = asyncssh.import_known_hosts(f"[127.0.0.1]:{guest.port} {guest.host_key}\n")

        async def connect() -> Any:
            return await asyncssh.connect(
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

        try:
            self._connection: Any = self._await(connect(), TIME_LIMIT)
        except (OSError, TimeoutError, asyncssh.Error) as error:
            self._end()
            raise ToolError(f"no ssh session: {error or type(error).__name__}") from error

    def run(self, command: str, seconds: float = TIME_LIMIT) -> Ran:
        """Run a command to its end.

        Args:
            command: For the shell of the guest.
            seconds: The most that it may take.

        Raises:
            ToolError: It does not come to an end, or the connection is lost.
        """
        try:
            done = self._await(self._connection.run(command, check=False), seconds)
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
        with suppress(OSError, self._error, TimeoutError):
            self._await(self._leave(), TIME_LIMIT)
        self._end()

    def _await(self, work: Coroutine[Any, Any, T], seconds: float) -> T:
        """Let the thread do something, and wait for it; what takes too long is given up."""
        return asyncio.run_coroutine_threadsafe(asyncio.wait_for(work, seconds), self._loop).result()

    async def _leave(self) -> None:
        self._connection.close()
        await self._connection.wait_closed()

    def _end(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(TIME_LIMIT)
        self._loop.close()
