"""The leash: its program ends with its owner."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time

import pytest

from b2dinspect.provisioning.real import leash
from tests.oracles import PATIENCE


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def wait_until_gone(pid: int) -> bool:
    deadline = time.monotonic() + PATIENCE
    while is_alive(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not is_alive(pid)


SHELL = "echo $$; read line; echo got $line; while true; do sleep 0.1; done"


@pytest.mark.parametrize("end", ["closed", "killed"])
def test_a_leash_ends_the_program_with_its_owner(end: str) -> None:
    script = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE)\n"
        "child.stdin.write(b'hello\\n'); child.stdin.flush()\n"
        "sys.stdin.read(); child.stdin.close(); child.wait()\n"
    )
    command = [sys.executable, "-c", script, sys.executable, leash.__file__, "sh", "-c", SHELL]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as owner:
        assert owner.stdout is not None
        pid = int(owner.stdout.readline())
        assert owner.stdout.readline() == b"got hello\n"
        assert is_alive(pid)
        if end == "killed":
            owner.send_signal(signal.SIGKILL)
        assert owner.stdin is not None
        owner.stdin.close()
        assert wait_until_gone(pid)


def test_a_leash_gives_back_the_exit_status() -> None:
    command = [sys.executable, leash.__file__, "sh", "-c", "exit 7"]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        assert process.wait(PATIENCE) == 7  # its standard input is still open: a closed one would end it
