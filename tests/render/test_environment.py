"""The variables of a machine, as shells take them."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path

import pytest

from b2dinspect.errors import UsageError
from b2dinspect.machine.environment import environment
from b2dinspect.machine.folder import open_machine
from b2dinspect.render.environment import SHELLS, lines


def machine(folder: Path, ip: str = "192.168.99.100") -> Path:
    folder.mkdir(parents=True)
    driver = {"IPAddress": ip, "MachineName": "default"}
    (folder / "config.json").write_text(json.dumps({"ConfigVersion": 3, "Driver": driver}))
    return folder


def test_it_is_what_docker_machine_prints(tmp_path: Path) -> None:
    folder = machine(tmp_path / "default")
    values = environment(open_machine(folder))
    assert "\n".join(lines(values, SHELLS["bash"], "docker-machine env default")) + "\n" == (
        'export DOCKER_TLS_VERIFY="1"\n'
        'export DOCKER_HOST="tcp://192.168.99.100:2376"\n'
        f'export DOCKER_CERT_PATH="{folder}"\n'
        'export DOCKER_MACHINE_NAME="default"\n'
        "# Run this command to configure your shell: \n"
        "# eval $(docker-machine env default)\n"
    )


def test_a_shell_takes_it(tmp_path: Path) -> None:
    folder = machine(tmp_path / "my machine")
    text = "\n".join(lines(environment(open_machine(folder)), SHELLS["bash"], "x"))
    said = subprocess.run(
        ["sh", "-c", f'{text}\nprintf %s "$DOCKER_CERT_PATH"'], capture_output=True, check=True
    )
    assert said.stdout.decode() == str(folder)


@pytest.mark.parametrize("ip", ["", "$(reboot)", "1.2.3.4; reboot", 'a"b'])
def test_an_address_that_is_none_is_never_printed(ip: str, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="address"):
        environment(open_machine(machine(tmp_path / "default", ip)))


def test_a_path_that_a_shell_would_read_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="does not take"):
        environment(open_machine(machine(tmp_path / "a$(reboot)")))


def test_an_address_of_six_has_brackets(tmp_path: Path) -> None:
    values = dict(environment(open_machine(machine(tmp_path / "default", "fe80::1"))))
    assert values["DOCKER_HOST"] == "tcp://[fe80::1]:2376"
