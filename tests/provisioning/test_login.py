"""Which key the login uses, how ssh is told, and the words in which each thing in its way is told."""

from __future__ import annotations

import json
import shlex
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from b2dinspect.provisioning.login import machine_key, plain_key, ssh_command
from b2dinspect.provisioning.stages import SkipStage, StageFailed, State
from tests.oracles import needs
from tests.provisioning.plans import key_pair, plan

GUEST: Any = SimpleNamespace(port=49152, host_key="ssh-ed25519 AAAA")


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    (tmp_path / "work").mkdir()
    (tmp_path / "dev").mkdir()
    with ExitStack() as cleanup:
        yield State(plan(tmp_path), tmp_path / "work", cleanup, folder=tmp_path / "dev", key=key_pair())


def configured(state: State, config: object) -> State:
    assert state.folder is not None
    (state.folder / "config.json").write_text(config if isinstance(config, str) else json.dumps(config))
    return state


def with_key(path: Path, mode: int = 0o600) -> Path:
    path.write_bytes(b"key")
    path.chmod(mode)
    return path


def test_a_lesson_may_name_the_key(state: State, tmp_path: Path) -> None:
    assert machine_key(state._replace(login_key=tmp_path / "new_id_rsa")) == tmp_path / "new_id_rsa"


def test_without_config_json_it_is_the_one_of_the_directory(state: State) -> None:
    assert state.folder is not None
    key = with_key(state.folder / "id_rsa")
    assert machine_key(state) == key


def test_config_json_may_name_another(state: State, tmp_path: Path) -> None:
    key = with_key(tmp_path / "elsewhere")
    assert machine_key(configured(state, {"Driver": {"SSHKeyPath": str(key)}})) == key


def test_an_empty_name_is_the_one_of_the_directory(state: State) -> None:
    assert state.folder is not None
    key = with_key(state.folder / "id_rsa")
    assert machine_key(configured(state, {"Driver": {"SSHKeyPath": ""}})) == key


@pytest.mark.parametrize("config", ["{", "[]", '{"Driver": {}}', '{"Driver": null}'])
def test_a_config_json_that_is_cut_is_told_as_go_tells_it(config: str, state: State) -> None:
    with pytest.raises(StageFailed, match=r"^unexpected end of JSON input"):
        machine_key(configured(state, config))


def test_a_key_that_is_gone_is_told_as_go_tells_it(state: State, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    with pytest.raises(StageFailed) as caught:
        machine_key(configured(state, {"Driver": {"SSHKeyPath": str(gone)}}))
    assert str(caught.value) == f"open {gone}: no such file or directory"


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o601])
def test_a_key_that_others_may_read_is_refused(mode: int, state: State) -> None:
    assert state.folder is not None
    path = with_key(state.folder / "id_rsa", mode)
    with pytest.raises(StageFailed) as caught:
        machine_key(state)
    assert str(caught.value) == f"permissions {mode:04o} for '{path}' are too open"


def test_a_disk_alone_has_the_key_that_was_given(state: State) -> None:
    path = machine_key(state._replace(folder=None))
    assert path.read_bytes() == key_pair().private
    assert path.stat().st_mode & 0o777 == 0o600
    (state.work / "id_rsa").unlink()
    with pytest.raises(SkipStage, match="no private key"):
        machine_key(state._replace(folder=None, key=key_pair()._replace(private=b"")))


@needs("ssh")
def test_ssh_takes_each_word_and_no_other_key_or_password(tmp_path: Path) -> None:
    """What ``ssh -G`` understands of the command is what was meant."""
    key, hosts = tmp_path / "a key, 100% ${HOME}", tmp_path / "known hosts"
    words = ssh_command(GUEST, "docker", plain_key(key, tmp_path), hosts)
    shown = subprocess.run([words[0], "-G", *words[1:]], capture_output=True, text=True, check=True).stdout
    meant = dict(line.partition(" ")[::2] for line in shown.splitlines())
    assert (meant["user"], meant["hostname"], meant["port"]) == ("docker", "127.0.0.1", "49152")
    assert (meant["batchmode"], meant["identitiesonly"], meant["passwordauthentication"]) == (
        "yes",
        "yes",
        "no",
    )
    assert meant["stricthostkeychecking"] in ("true", "yes")
    assert shlex.split(meant["userknownhostsfile"])[0] in (str(hosts), str(hosts).split()[0])


def test_a_guest_of_unknown_host_key_is_believed() -> None:
    guest: Any = SimpleNamespace(port=22, host_key="")
    words = ssh_command(guest, "docker", Path("/key"), Path("/hosts"))
    assert "StrictHostKeyChecking=no" in words
    assert "StrictHostKeyChecking=yes" in ssh_command(GUEST, "docker", Path("/key"), Path("/hosts"))


@needs("ssh")
def test_a_work_folder_that_ssh_cannot_be_told_does_not_stop_the_login(tmp_path: Path) -> None:
    """``${`` cannot be written in UserKnownHostsFile: ssh would end before it connects."""
    hosts = tmp_path / "${HOME" / "known_hosts"
    words = ssh_command(GUEST, "docker", tmp_path / "key", hosts)
    done = subprocess.run([words[0], "-G", *words[1:]], capture_output=True, text=True)
    assert not done.returncode, done.stderr
    assert "StrictHostKeyChecking=no" in words
    assert not any("${" in word for word in words)
