"""What one would try first, tried with the real ssh."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from typing import Any

import pytest
from typer.testing import CliRunner

import b2dinspect as b2d
from b2dinspect.cli.provision.main import app
from b2dinspect.errors import ToolError
from b2dinspect.provisioning import tries as room
from b2dinspect.provisioning.tries import Try, tries
from b2dinspect.provisioning.tries.terminal import main
from tests.cli.helpers import validator
from tests.oracles import needs


@pytest.fixture(scope="module")
def tried() -> dict[str, Try]:
    return {one.id: one for one in tries()}


@needs("ssh", "scp")
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "works", "said"),
    [
        ("pipe", False, "password:"),
        ("script", False, "Permission denied (password)"),
        ("copy", False, "Permission denied (password)"),
        ("askpass", True, "docker"),
        ("expect", True, "docker"),
    ],
)
def test_each_way(tried: dict[str, Try], name: str, works: bool, said: str) -> None:
    assert tried[name].worked is works, tried[name]
    assert said in tried[name].said


@needs("ssh")
def test_as_json_and_on_the_screen() -> None:
    done = CliRunner().invoke(app, ["tries", "script", "--json"])
    found = json.loads(done.stdout)
    validator("provision").validate(found)
    assert (found["id"], found["worked"]) == ("script", False)
    shown = CliRunner().invoke(app, ["tries", "script"]).stdout
    assert "refused" in shown
    assert "it never looks into the pipe" in " ".join(shown.split())
    assert not [one for one in threading.enumerate() if one.name == "password-sshd"]


def test_an_unknown_way_is_answered_with_those_there_are() -> None:
    done = CliRunner().invoke(app, ["tries", "telepathy"])
    assert done.exit_code == 2
    assert "pipe, script, copy, askpass, expect" in " ".join(done.stderr.split())


@needs("ssh")
def test_in_a_notebook() -> None:
    found = b2d.tries("script")
    assert [one.worked for one in found] == [False]
    assert "refused" in found._repr_html_()


def test_without_an_ssh_client(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("b2dinspect.provisioning.programs.PLACES", ())
    with pytest.raises(ToolError, match="ssh is needed"):
        list(tries())


@needs("ssh")
def test_what_this_system_cannot_play_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(room, "HAS_TERMINALS", False)
    found = {one.id: one for one in tries(("pipe", "expect"))}
    assert [one.worked for one in found.values()] == [None, None]
    assert "no pseudo-terminals" in found["pipe"].said


def played(answer: str, script: str, stdin: bytes = b"") -> Any:
    code = f"import sys; sys.argv = {['x', answer, sys.executable, '-c', script]!r}; "
    code += f"from {main.__module__} import main; sys.exit(main(*sys.argv[1:]))"
    return subprocess.run(
        [sys.executable, "-c", code], input=stdin, capture_output=True, timeout=60, check=False
    )


@pytest.mark.skipif(os.name != "posix", reason="there are no pseudo-terminals")
def test_a_program_has_a_terminal_beside_its_standard_input() -> None:
    script = "t = open('/dev/tty', 'r+b', 0); t.write(b'password: '); print(t.readline(), input())"
    done = played("secret", script, b"from the pipe\n")
    assert done.returncode == 0
    assert b"b'secret\\n' from the pipe" in done.stdout


@pytest.mark.skipif(os.name != "posix", reason="there are no pseudo-terminals")
def test_a_question_that_nobody_answers_is_hung_up() -> None:
    done = played("", "open('/dev/tty', 'r+b', 0).write(b'password: '); import time; time.sleep(60)")
    assert (done.returncode, done.stdout) == (255, b"password: ")
