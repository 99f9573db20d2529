"""What one would try first to get in without typing: each tried for real, with what comes of it.

A real ssh client asks a real ssh server (asyncssh, on loopback) that takes a password. What ssh does is in
OpenSSH's readpass.c: it asks on the terminal that controls it (/dev/tty), or through the program that
SSH_ASKPASS names, and never reads a password from its standard input.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path

from b2dinspect.errors import ToolError
from b2dinspect.newfile.hold import scratch
from b2dinspect.provisioning.programs import find_program, need_program
from b2dinspect.provisioning.tries.passwords import PASSWORD, USER, PasswordSshd
from b2dinspect.records import NamedTuple

PATIENCE = 30
"""Seconds for one try."""
TERMINAL = "b2dinspect.provisioning.tries.terminal"
HAS_TERMINALS = os.name == "posix"


class Try(NamedTuple):
    """One way, and what came of it.

    Attributes:
        id: Stable name.
        sentence: The way, in one sentence.
        command: What is typed for it.
        worked: Whether it got in; None when it cannot be tried on this machine.
        said: What ssh said, or what stood on its terminal.
        why: What that shows.
    """

    id: str
    sentence: str
    command: str
    worked: bool | None
    said: str
    why: str


class _Way(NamedTuple):
    """How a way is tried.

    Attributes:
        words: The program and its arguments before the host; the rest comes behind.
        has_terminal: Whether ssh has a terminal that it can ask on.
        answers: Whether somebody reads the question there, and answers.
        asks_program: Whether SSH_ASKPASS names a program that knows the password.
    """

    id: str
    sentence: str
    command: str
    why: str
    program: str = "ssh"
    has_terminal: bool = False
    answers: bool = False
    asks_program: bool = False


WAYS = (
    _Way(
        "pipe",
        "Send the password through a pipe.",
        f"echo PASSWORD | ssh {USER}@HOST whoami",
        "ssh asks on its terminal and waits there; what comes through the pipe, it leaves for whoami.",
        has_terminal=True,
    ),
    _Way(
        "script",
        "The same from a program that has no terminal, as docker-machine may have none.",
        f"echo PASSWORD | ssh {USER}@HOST whoami",
        "Without a terminal there is nobody to ask, so ssh gives up; it never looks into the pipe.",
    ),
    _Way(
        "copy",
        "Copy the key into the machine first, with scp.",
        f"echo PASSWORD | scp id_rsa.pub {USER}@HOST:.ssh/authorized_keys",
        "scp is ssh inside: the same door, and the same question. The key has to be there before.",
        program="scp",
    ),
    _Way(
        "askpass",
        "Name a program that ssh can ask.",
        f"SSH_ASKPASS=./password SSH_ASKPASS_REQUIRE=force ssh {USER}@HOST whoami",
        "It works. But there must be a password, in a file of the host, and the same one in every machine "
        "that starts from the same ISO: whoever has downloaded it, knows it.",
        asks_program=True,
    ),
    _Way(
        "expect",
        "Have a program play the person at the terminal, as expect does.",
        f"expect -c 'spawn ssh {USER}@HOST whoami; expect password:; send \"PASSWORD\\r\"; expect eof'",
        "It works: ssh cannot tell. But the password is the same problem, and the host would need expect, "
        "which Windows has not; docker-machine needs nothing but an ssh client, or its own.",
        has_terminal=True,
        answers=True,
    ),
)


def tries(names: Sequence[str] = ()) -> Iterator[Try]:
    """Try the ways, or those named, one by one.

    Raises:
        ToolError: There is no ssh client.
    """
    need_program("ssh")
    with scratch() as work:
        server = PasswordSshd()
        try:
            (work / "known_hosts").write_text(f"[127.0.0.1]:{server.port} {server.host_key}\n")
            for way in WAYS:
                if not names or way.id in names:
                    yield _tried(way, server.port, work)
        finally:
            server.stop()


def _tried(way: _Way, port: int, work: Path) -> Try:
    told = Try(way.id, way.sentence, way.command, None, "", way.why)
    if way.has_terminal and not HAS_TERMINALS:
        return told._replace(said="this system has no pseudo-terminals that a program could play")
    if find_program(way.program) is None:
        return told._replace(said=f"there is no {way.program} here")
    words = _words(way, port, work)
    if way.has_terminal:
        words = [sys.executable, "-m", TERMINAL, PASSWORD if way.answers else "", *words]
    environment = {
        name: text for name, text in os.environ.items() if not name.startswith(("SSH_", "DISPLAY"))
    }
    environment["PYTHONPATH"] = os.pathsep.join(filter(None, sys.path))
    if way.asks_program:
        environment |= {"SSH_ASKPASS": str(_askpass(work)), "SSH_ASKPASS_REQUIRE": "force"}
    try:
        done = subprocess.run(
            words,
            cwd=work,
            env=environment,
            input=b"" if way.asks_program else f"{PASSWORD}\n".encode(),
            capture_output=True,
            timeout=PATIENCE,
            check=False,
            start_new_session=True,
        )
    except subprocess.TimeoutExpired as error:
        raise ToolError(f"{way.program} did not come to an end in {PATIENCE} seconds") from error
    said = (done.stdout + done.stderr).decode("utf-8", "replace").replace("\r", "")
    lines = [line.strip() for line in said.splitlines() if line.strip()]
    return told._replace(worked=done.returncode == 0 and lines[-1:] == [USER], said=" / ".join(lines[-2:]))


def _words(way: _Way, port: int, work: Path) -> list[str]:
    options = {
        "StrictHostKeyChecking": "yes",
        "UserKnownHostsFile": "known_hosts",
        "GlobalKnownHostsFile": os.devnull,
        "PubkeyAuthentication": "no",
        "IdentityAgent": "none",
        "PreferredAuthentications": "password",
        "NumberOfPasswordPrompts": "1",
        "LogLevel": "ERROR",
    }
    told = [word for name, value in options.items() for word in ("-o", f"{name}={value}")]
    if way.program == "scp":
        (work / "id_rsa.pub").write_text("ssh-rsa AAAA me\n")
        port_words, last = ["-P", str(port)], ["id_rsa.pub", f"{USER}@127.0.0.1:authorized_keys"]
    else:
        port_words, last = ["-p", str(port)], [f"{USER}@127.0.0.1", "whoami"]
    return [need_program(way.program), "-F", os.devnull, *told, *port_words, *last]


def _askpass(work: Path) -> Path:
    """Write a program that knows the password."""
    is_windows = os.name == "nt"
    path = work / ("password.cmd" if is_windows else "password")
    path.write_text(f"@echo {PASSWORD}\n" if is_windows else f"#!/bin/sh\necho {shlex.quote(PASSWORD)}\n")
    path.chmod(0o700)
    return path
