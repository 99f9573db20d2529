"""An ssh server that takes a password, and knows one command: loopback only, nothing is run."""

from __future__ import annotations

import asyncio
import hmac
import threading
from typing import Any

import asyncssh

from b2dinspect.errors import ToolError

USER, PASSWORD = "docker", "the-same-for-all"
START_LIMIT = 20.0


class PasswordSshd:
    """The server, in a thread of its own.

    Attributes:
        port: On 127.0.0.1.
        host_key: Its public host key, one line.

    Raises:
        ToolError: It does not come up.
    """

    def __init__(self) -> None:
        key = asyncssh.generate_private_key("ssh-ed25519")
        self.port = 0
        self.host_key = key.export_public_key("openssh").decode().strip()
        self._loop = asyncio.new_event_loop()
        self._server: Any = None
        self._thread = threading.Thread(target=self._run, name="password-sshd", daemon=True)
        self._thread.start()
        try:
            asyncio.run_coroutine_threadsafe(self._listen(key), self._loop).result(START_LIMIT)
        except (OSError, TimeoutError) as error:
            self.stop()
            raise ToolError(f"the ssh server does not come up: {error}") from error

    def stop(self) -> None:
        """Close the port and all connections."""
        if self._thread.is_alive():
            asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(START_LIMIT)
            self._loop.call_soon_threadsafe(self._loop.stop)
            self._thread.join(START_LIMIT)

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        try:
            self._loop.run_forever()
        finally:
            self._loop.close()

    async def _listen(self, key: Any) -> None:
        self._server = await asyncssh.listen(
            "127.0.0.1",
            0,
            server_host_keys=[key],
            server_factory=_Connection,
            process_factory=_answer,
            login_timeout=20,
            agent_forwarding=False,
        )
        self.port = self._server.get_port()

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
        others = asyncio.all_tasks() - {asyncio.current_task()}
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)


class _Connection(asyncssh.SSHServer):
    def begin_auth(self, username: str) -> bool:
        return True

    def password_auth_supported(self) -> bool:
        return True

    def kbdint_auth_supported(self) -> bool:
        return False

    def validate_password(self, username: str, password: str) -> bool:
        return username == USER and hmac.compare_digest(password.encode(), PASSWORD.encode())


async def _answer(process: Any) -> None:
    is_known = process.command == "whoami"
    process.stdout.write(f"{USER}\n" if is_known else "")
    process.exit(0 if is_known else 127)
