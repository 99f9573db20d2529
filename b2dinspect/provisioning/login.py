"""The login: a real ssh client with the machine's key, and a wrong key as proof that it means something.

libmachine reads config.json, refuses a key that others can read, and then runs ssh: each has its own way to
fail, told in its own words. Source: libmachine/persist/filestore.go, libmachine/ssh/client.go.
"""

from __future__ import annotations

import json
import os
import subprocess
from contextlib import suppress
from pathlib import Path

from b2dinspect.errors import ToolError
from b2dinspect.machine.ssh import identity_words, is_tellable, quoted
from b2dinspect.provisioning.events import Gave, Took
from b2dinspect.provisioning.host.host import write_new
from b2dinspect.provisioning.keypair import make_key
from b2dinspect.provisioning.programs import find_program
from b2dinspect.provisioning.stages import RunningGuest, SkipStage, Stage, StageFailed, State, Step
from b2dinspect.records import NamedTuple

TIME_LIMIT = 60
"""Seconds for one login; a guest in an emulator is slow."""
MAX_CONFIG = 10 << 20
WRONG_KEY = "wrong_key"
"""Name of the private key in the work folder that must be refused."""


class Attempt(NamedTuple):
    """What came of one login.

    Attributes:
        works: Whether the command ran and ended with status 0.
        output: What it printed.
        reason: Why the login failed, as the client says.
    """

    works: bool
    output: str
    reason: str


def ssh_command(guest: RunningGuest, user: str, key: Path, known_hosts: Path) -> tuple[str, ...]:
    """Return the ssh command that a person can type; no password and no other key can be used by it.

    Where there is no way to write the path of the known hosts, the guest, on this machine, is not proven.
    """
    is_known = bool(guest.host_key) and is_tellable(str(known_hosts))
    options = {
        "BatchMode": "yes",
        "IdentitiesOnly": "yes",
        "IdentityAgent": "none",
        "StrictHostKeyChecking": "yes" if is_known else "no",
        "UserKnownHostsFile": quoted(str(known_hosts)) if is_known else os.devnull,
        "GlobalKnownHostsFile": os.devnull,
        "PasswordAuthentication": "no",
        "ConnectTimeout": str(TIME_LIMIT // 2),
        "LogLevel": "ERROR",
    }
    words = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    identity = identity_words(str(key)) or ("-i", str(key))
    return ("ssh", "-F", os.devnull, *words, *identity, "-p", str(guest.port), f"{user}@127.0.0.1")


def plain_key(key: Path, work: Path) -> Path:
    """Return a path of a key that ssh can be told: where it would read the key's own otherwise, a link's."""
    if is_tellable(str(key)):
        return key
    link = work / "link-to-key"
    with suppress(OSError):  # Windows lets few make a link: ssh will say what it looked for
        link.unlink(missing_ok=True)
        link.symlink_to(key)
        return link
    return key


def know_host(guest: RunningGuest, work: Path) -> Path:
    """Write the guest's host key down for ssh, and return the file."""
    path = work / "known_hosts"
    line = f"[127.0.0.1]:{guest.port} {guest.host_key}\n" if guest.host_key else ""
    path.write_bytes(line.encode())
    return path


def log_in(guest: RunningGuest, user: str, key: Path, work: Path, command: str = "whoami") -> Attempt:
    """Log in with the system's ssh, or with asyncssh where there is none, and run a command.

    Raises:
        ToolError: The client does not come to an end.
    """
    known_hosts = know_host(guest, work)
    key = key.absolute()
    program = find_program("ssh")
    if program is None:
        import asyncio  # slow to import, and seldom needed

        return asyncio.run(_with_asyncssh(guest, user, key, known_hosts, command))
    # what lies in the work folder is named from there: ssh need not read the path of that
    told = plain_key(key, work)
    told = Path(told.name) if told.parent == work else told
    arguments = ssh_command(guest, user, told, Path(known_hosts.name))[1:]
    try:
        result = subprocess.run(
            [program, *arguments, command],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=TIME_LIMIT,
            check=False,
            cwd=work,
        )
    except subprocess.TimeoutExpired as error:
        raise ToolError(f"ssh did not come to an end in {TIME_LIMIT} seconds") from error
    output, complaint = (text.decode("utf-8", "replace").strip() for text in (result.stdout, result.stderr))
    return Attempt(result.returncode == 0, output, "" if result.returncode == 0 else _last(complaint))


async def _with_asyncssh(
    guest: RunningGuest, user: str, key: Path, known_hosts: Path, command: str
) -> Attempt:
    import asyncssh

    try:
        async with asyncssh.connect(
            "127.0.0.1",
            guest.port,
            username=user,
            client_keys=[asyncssh.read_private_key(str(key))],  # without the .pub beside it, as ssh -i does
            known_hosts=str(known_hosts) if guest.host_key else None,
            agent_path=None,
            config=None,
            password_auth=False,
            kbdint_auth=False,
            login_timeout=TIME_LIMIT,
        ) as connection:
            result = await connection.run(command)
    except (OSError, asyncssh.Error, asyncssh.KeyImportError) as error:
        return Attempt(False, "", str(error) or type(error).__name__)
    works = result.exit_status == 0
    return Attempt(works, str(result.stdout).strip(), "" if works else str(result.stderr).strip())


def _last(text: str) -> str:
    return text.splitlines()[-1] if text else "ssh says nothing"


def machine_key(state: State) -> Path:
    """Return the private key that libmachine would use.

    Raises:
        StageFailed: config.json or the key stands in its way.
        SkipStage: There is no private key to log in with.
    """
    if state.login_key is not None:
        return state.login_key
    if state.folder is None:
        if not state.key.private:
            raise SkipStage("no private key was given to log in with")
        path = state.work / "id_rsa"
        if not path.exists():
            write_new(path, state.key.private, 0o600)
        return path
    path = _configured_key(state.folder)
    if not path.exists():
        raise StageFailed(f"open {path}: no such file or directory")
    if os.name == "posix" and path.stat().st_mode & 0o077:
        raise StageFailed(f"permissions {path.stat().st_mode & 0o777:04o} for '{path}' are too open")
    return path


def _configured_key(folder: Path) -> Path:
    config = folder / "config.json"
    if not config.exists():
        return folder / "id_rsa"
    with config.open("rb") as file:
        text = file.read(MAX_CONFIG)
    try:
        named = json.loads(text)["Driver"]["SSHKeyPath"]
    except (ValueError, KeyError, TypeError) as error:
        raise StageFailed("unexpected end of JSON input (config.json)") from error
    return folder / "id_rsa" if not named else Path(str(named))


def _log_in(state: State) -> Step:
    if state.guest is None:
        raise SkipStage("the guest is off" if state.is_off else "no sshd is up")
    key = machine_key(state)
    user = state.plan.profile.owner[0]
    yield Took(f"{key.name}, port {state.guest.port} on 127.0.0.1")
    attempt = log_in(state.guest, user, key, state.work)
    if not attempt.works:
        raise StageFailed(attempt.reason, state._replace(logged_in=False))
    yield Gave(f"logged in without a password; whoami says: {attempt.output}")
    stranger = state.work / WRONG_KEY
    if not stranger.exists():
        write_new(stranger, make_key("ed25519").private, 0o600)
    refusal = log_in(state.guest, user, stranger, state.work)
    if refusal.works:
        raise StageFailed("a key that nobody knows was let in too", state._replace(logged_in=False))
    yield Gave(f"a wrong key is refused: {refusal.reason}")
    return state._replace(logged_in=True)


LOGIN = Stage(
    "login",
    "host",
    "Log in with the machine's key; no password is possible.",
    lambda state: f"ssh -o BatchMode=yes -i id_rsa {state.plan.profile.owner[0]}@HOST whoami",
    _log_in,
)
