"""How a key's path is told to ssh: it says itself which file it takes."""

from __future__ import annotations

import re
import socket
import subprocess
import threading
from pathlib import Path

import pytest

from b2dinspect.doctor.case import open_case
from b2dinspect.doctor.explanations import explain, explanations
from b2dinspect.doctor.remedies import remedy
from b2dinspect.machine.ssh import identity_words
from tests.machine.helpers import machine
from tests.oracles import needs

NAMES = ["plain", "a b", "100%", "%d %h %%", "it's", 'a"b', "back\\slash %", "caf\u00e9 %u"]


def key_that_ssh_takes(words: tuple[str, ...], place: Path) -> str:
    """Return the path that ssh makes of its arguments, which it tells when somebody listens."""
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        threading.Thread(target=lambda: server.accept()[0].close(), daemon=True).start()
        command = ["ssh", "-v", "-F", "none", "-o", "BatchMode=yes", *words, "-p", port, "127.0.0.1", "true"]
        said = subprocess.run(command, capture_output=True, cwd=place, check=False).stderr
    found = re.search(rb"identity file (.+) type ", said)
    # its messages are escaped as vis(3) does
    return found[1].decode("unicode_escape").encode("latin-1").decode() if found else said.decode()


@needs("ssh")
@pytest.mark.parametrize("name", NAMES)
def test_ssh_takes_the_key_that_is_meant(name: str, tmp_path: Path) -> None:
    key = machine(tmp_path / name) / "id_rsa"
    assert key_that_ssh_takes(identity_words(str(key)), tmp_path) == str(key)


@needs("ssh")
def test_values_of_the_environment_are_not_put_into_a_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = machine(tmp_path / "${HOME}" / "inner")
    monkeypatch.chdir(tmp_path)
    assert identity_words(str(folder / "id_rsa")) == ()
    monkeypatch.chdir(folder)
    words = identity_words(str(folder / "id_rsa"))
    assert words == ("-i", "id_rsa")
    assert key_that_ssh_takes(words, folder) == "id_rsa"


@pytest.mark.parametrize(("name", "shown"), [("100%", "IdentityFile="), ("${HOME}", "")])
def test_what_the_doctor_tells_to_type(name: str, shown: str, tmp_path: Path) -> None:
    folder = machine(tmp_path / name, {"ConfigVersion": 3, "Driver": {"IPAddress": "10.0.0.1"}})
    with open_case(str(folder)) as case:
        commands = remedy(case, explain("config-broken"), "linux").commands
    told = [command for command in commands if command[0] == "ssh"]
    assert (shown in " ".join(told[0])) if shown else told == []


@pytest.mark.parametrize(
    ("user", "address", "login"),
    [
        ("docker", "192.168.99.100", "docker@192.168.99.100"),
        ("", "fe80::1%eth0", "docker@fe80::1%eth0"),
        ("-oProxyCommand=touch x", "10.0.0.1", ""),
        ("docker", "10.0.0.1 -oProxyCommand=x", ""),
        ("a b", "10.0.0.1", ""),
        ("docker", "`id`", ""),
    ],
)
def test_no_word_of_config_json_becomes_an_option(
    user: str, address: str, login: str, tmp_path: Path
) -> None:
    """ssh runs what a ProxyCommand says: a forged config.json may not put one into what is printed."""
    config = {"ConfigVersion": 3, "Driver": {"IPAddress": address, "SSHUser": user}}
    with open_case(str(machine(tmp_path / "m", config))) as case:
        commands = remedy(case, explain("config-broken"), "linux").commands
    assert [command[-1] for command in commands if command[0] == "ssh"] == ([login] if login else [])


def test_no_name_of_a_machine_becomes_an_option(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    machine(Path("-rf"), {"ConfigVersion": 3, "Name": "--force", "Driver": {}})
    with open_case("-rf") as case:
        for item in explanations():
            for command in remedy(case, item, "linux").commands:
                assert not {"-rf", "-rf/id_rsa", "--force"} & set(command), command
