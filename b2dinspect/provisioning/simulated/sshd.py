"""The simulated guest's sshd: loopback only, keys from the unpacked authorized_keys file only, no shell.

A thread runs asyncssh's event loop. Commands are a small fixed set that looks at the guest's home directory:
nothing that a client sends is ever run on this machine.
"""

from __future__ import annotations

import asyncio
import itertools
import shlex
import threading
import time
from binascii import b2a_base64
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import asyncssh

from b2dinspect.errors import ToolError
from b2dinspect.provisioning.simulated.home import KEY_FILES
from b2dinspect.provisioning.simulated.root import Root
from b2dinspect.userdata.admission import Owner, Visit, mode_fault, refusal, signs
from b2dinspect.userdata.authorized_keys import KeyLine, Option, parse
from b2dinspect.userdata.tarball import TarEntry

NOT_HERE = 127
MAX_KEY_FILE = 1 << 20
MAX_REQUEST = 4096
"""Characters of a command line: more is no command of this guest."""
MAX_OUTPUT = 1 << 20
"""Bytes that one command answers with."""
MAX_NAMES = 1000
"""Names that one ``ls`` tells."""
START_LIMIT = 20.0


class SimulatedSshd:
    """An ssh server for one home directory.

    Args:
        home: The guest's home directory; its key files are read anew at every login.
        user: The one user there is.
        group: Of the user.
        hostname: What ``hostname`` says.
        entries: What was unpacked there, with the modes that the guest gave it.
        owns: What of the home the guest gave to the user, as in ``GuestProfile``.
        visit: When and from where clients come; None for the clock at each login, and from the host.
        root: Performs the provisioner's commands; None where nobody does.

    Attributes:
        port: TCP port on 127.0.0.1.
        host_key: Its public host key, one line.

    Raises:
        ToolError: It does not come up.
    """

    def __init__(
        self,
        home: Path,
        user: tuple[str, str, int, int],
        hostname: str,
        *,
        entries: Sequence[TarEntry] = (),
        owns: bytes = b"",
        visit: Visit | None = None,
        root: Root | None = None,
    ) -> None:
        self.port = 0
        self.root = root
        self._home = home
        self._entries, self._owner, self._visit = entries, Owner(*user[2:], owns), visit
        self._user = user
        self._hostname = hostname
        self._loop = asyncio.new_event_loop()
        self._server: Any = None
        key = asyncssh.generate_private_key("ssh-ed25519")
        self.host_key = key.export_public_key("openssh").decode().strip()
        self._thread = threading.Thread(target=self._run, name="simulated-sshd", daemon=True)
        self._thread.start()
        starting = asyncio.run_coroutine_threadsafe(self._listen(key), self._loop)
        try:
            starting.result(START_LIMIT)
        except (OSError, TimeoutError) as error:
            self.stop()
            raise ToolError(f"the simulated sshd does not come up: {error}") from error

    @property
    def daemon_port(self) -> int:
        """TCP port of the played Docker daemon on 127.0.0.1; 0 when it is down."""
        return self.root.daemon_port if self.root else 0

    @property
    def daemon_words(self) -> str:
        """Why the daemon does not start."""
        return self.root.words if self.root else ""

    def stop(self) -> None:
        """Close the ports and all connections; stopping twice is harmless."""
        if self.root is not None:
            self.root.stop()
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
            server_factory=lambda: _Connection(self._user[0], self._lines),
            process_factory=self._serve,
            login_timeout=20,
            agent_forwarding=False,
            allow_scp=False,
            errors="surrogateescape",  # a name is any bytes
        )
        self.port = self._server.get_port()

    def _lines(self) -> tuple[list[KeyLine], Visit]:
        """Return the sound lines of the key files that sshd reads, and when and from where a client comes."""
        lines: list[KeyLine] = []
        for name in KEY_FILES:
            path = self._home / name
            if path.is_file() and not mode_fault(self._entries, name.encode(), self._owner):
                with path.open("rb") as file:
                    lines += parse(file.read(MAX_KEY_FILE))
        return [line for line in lines if line.valid], self._visit or Visit(int(time.time()))

    async def _close(self) -> None:
        if self._server is not None:
            self._server.close()
            await self._server.wait_closed()
        others = [task for task in asyncio.all_tasks() if task is not asyncio.current_task()]
        for task in others:
            task.cancel()
        await asyncio.gather(*others, return_exceptions=True)

    async def _serve(self, process: Any) -> None:
        commands = GuestCommands(self._home, self._user, self._hostname, self.root, self._entries)
        if process.command is not None:
            status, output = commands.run(process.command)
            (process.stderr if status == NOT_HERE else process.stdout).write(output)
            process.exit(status)
            return
        process.stdout.write(f"This is a simulated guest. It knows: {', '.join(commands.known)}, exit.\n$ ")
        status = 0
        async for line in process.stdin:
            if line.strip() in ("exit", "logout"):
                break
            status, output = commands.run(line)
            process.stdout.write(f"{output}$ ")
        process.exit(status)


class _Connection(asyncssh.SSHServer):
    """Tells who may log in.

    Args:
        user: The one user there is.
        lines: Gives the sound lines of the key files, and for when and where they are to be judged.
    """

    def __init__(self, user: str, lines: Callable[[], tuple[list[KeyLine], Visit]]) -> None:
        self._user = user
        self._lines = lines
        self._connection: Any = None

    def connection_made(self, conn: Any) -> None:
        """Keep the connection: it is told which authorities may sign certificates."""
        self._connection = conn

    def begin_auth(self, username: str) -> bool:
        """Everybody must show a key."""
        if username == self._user and (text := self._authorities()):
            self._connection.set_authorized_keys(asyncssh.import_authorized_keys(text))
        return True

    def public_key_auth_supported(self) -> bool:
        """Keys are the only way in."""
        return True

    def validate_public_key(self, username: str, key: Any) -> bool:
        """Tell whether a line of the home's key files lets this key in, now and from where clients come."""
        if username != self._user:
            return False
        lines, visit = self._lines()
        identity = key.public_data
        return any(
            line.key is not None and line.key.identity == identity and not refusal(line, visit)
            for line in lines
        )

    def _authorities(self) -> str:
        """Return the lines whose key may sign certificates, as asyncssh reads them."""
        lines, visit = self._lines()
        return "".join(
            " ".join((",".join(map(str, kept)), key.type, b2a_base64(key.identity).decode()))
            for line in lines
            if (key := line.key) and signs(line, visit) and (kept := _of_authority(line))
        )


def _of_authority(line: KeyLine) -> list[Option]:
    """Return the options that asyncssh judges."""
    return [option for option in line.options if option.name in ("cert-authority", "principals")]


class GuestCommands:
    """What one can do in the simulated guest.

    Args:
        home: The home directory; paths are resolved within it.
        user: Name, group, and their numbers.
        hostname: Of the machine, unless root knows it.
        root: Performs the provisioner's commands; None where nobody does.
        entries: What was unpacked there, with the modes that the guest gave it: this machine may keep others.
    """

    def __init__(
        self,
        home: Path,
        user: tuple[str, str, int, int],
        hostname: str,
        root: Root | None = None,
        entries: Sequence[TarEntry] = (),
    ) -> None:
        self._root = root
        self._modes = {
            one.name.strip(b"/").decode("utf-8", "surrogateescape"): 0o600
            if one.missing
            else one.mode & 0o777
            for one in entries
        }
        hostname = root.hostname if root else hostname
        self._home = home.resolve()
        self._user = user
        self._hostname = hostname
        self._table: dict[str, Callable[[list[str]], str]] = {
            "whoami": lambda arguments: f"{user[0]}\n",
            "hostname": lambda arguments: f"{hostname}\n",
            "id": lambda arguments: f"uid={user[2]}({user[0]}) gid={user[3]}({user[1]})\n",
            "ls": self._ls,
            "cat": self._cat,
            "true": lambda arguments: "",
        }
        self.known = tuple(self._table)

    def run(self, line: str) -> tuple[int, str]:
        """Return exit status and output of one command line; shell syntax means nothing here."""
        if self._root is not None and (answer := self._root.run(line)) is not None:
            return answer
        if len(line) > MAX_REQUEST:
            return 2, f"{len(line)} characters; {MAX_REQUEST} are the most\n"
        try:
            words = shlex.split(line)
        except ValueError as error:
            return 2, f"{error}\n"
        if not words:
            return 0, ""
        if words[0] not in self._table:
            return NOT_HERE, f"{words[0]}: not in the simulated guest\n"
        try:
            return 0, self._table[words[0]](words[1:])
        except OSError as error:
            return 1, f"{words[0]}: {error.strerror}\n"
        except ValueError as error:  # a NUL in a name
            return 1, f"{words[0]}: {error}\n"

    def _resolve(self, name: str) -> Path:
        home = f"/home/{self._user[0]}"
        within = (
            name.removeprefix("~").removeprefix(home).lstrip("/") if name.startswith(("~", home)) else name
        )
        path = (self._home / within).resolve()
        if not path.is_relative_to(self._home):
            raise FileNotFoundError(2, "not in the simulated guest")
        return path

    def _ls(self, arguments: list[str]) -> str:
        flags = {letter for word in arguments if word.startswith("-") for letter in word[1:]}
        names = [word for word in arguments if not word.startswith("-")]
        path = self._resolve(names[0] if names else "")
        path.stat()  # or the name of what is not there would be told
        found = itertools.islice(path.iterdir(), MAX_NAMES) if path.is_dir() else [path]
        entries = sorted(found)
        shown = [entry for entry in entries if flags & set("aA") or not entry.name.startswith(".")]
        if "l" not in flags:
            return "".join(f"{entry.name}\n" for entry in shown)
        return "".join(
            f"{'d' if entry.is_dir() else '-'} {self._mode(entry):04o} "
            f"{self._user[0]} {self._user[1]} {entry.stat().st_size:6} {entry.name}\n"
            for entry in shown
        )

    def _mode(self, path: Path) -> int:
        known = self._modes.get(path.relative_to(self._home).as_posix())
        return path.stat().st_mode & 0o777 if known is None else known

    def _cat(self, arguments: list[str]) -> str:
        contents = b""
        for name in arguments:
            with self._resolve(name).open("rb") as file:
                contents += file.read(MAX_OUTPUT - len(contents))
        return contents.decode("utf-8", "surrogateescape")
