"""Where machine directories are, by name and by folder."""

from __future__ import annotations

from pathlib import Path

import pytest

from b2dinspect.errors import UsageError
from b2dinspect.machine.places import find_machines, machine_folder, store_of, stores
from tests.machine.helpers import machine


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("MACHINE_STORAGE_PATH", raising=False)
    monkeypatch.delenv("MINIKUBE_HOME", raising=False)
    monkeypatch.delenv("MINISHIFT_HOME", raising=False)
    (tmp_path / "home").mkdir()
    return tmp_path / "home"


@pytest.mark.parametrize(
    ("variable", "below"),
    [
        ("", ".docker/machine/machines"),
        ("", ".minikube/machines"),
        ("MACHINE_STORAGE_PATH", "machines"),
        ("MINIKUBE_HOME", "machines"),
        ("MINIKUBE_HOME", ".minikube/machines"),
        ("", ".minishift/machines"),
        ("MINISHIFT_HOME", "machines"),
    ],
)
def test_names_are_looked_up(
    variable: str, below: str, home: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    base = tmp_path / "elsewhere" if variable else home
    if variable:
        monkeypatch.setenv(variable, str(base))
    folder = machine(base / below / "dev", {"Driver": {"a": 1}})
    assert stores() == (folder.parent,)
    assert machine_folder("dev") == folder
    assert machine_folder(str(folder)) == folder
    assert machine_folder("other") is None
    assert find_machines() == (folder,)


@pytest.mark.parametrize("name", ["", ".", "..", "../dev", "/", "a/b"])
def test_a_path_is_no_name(name: str, home: Path) -> None:
    machine(home / ".docker" / "machine" / "machines" / "dev", {})
    found = machine_folder(name)
    assert found is None or found == Path(name)


def test_folders_of_machines(tmp_path: Path) -> None:
    one = machine(tmp_path / "store" / "machines" / "one", {})
    two = machine(tmp_path / "store" / "machines" / "two", {})
    (tmp_path / "store" / "machines" / "server-one").mkdir()
    for given in (str(tmp_path / "store"), str(tmp_path / "store" / "machines")):
        assert find_machines((given,)) == (one, two)
    assert find_machines((str(two),)) == (two,)
    with pytest.raises(UsageError):
        find_machines((str(tmp_path / "nothing"),))


def test_the_only_machine_of_boot2docker_cli(home: Path) -> None:
    folder = home / "VirtualBox VMs" / "boot2docker-vm"
    folder.mkdir(parents=True)
    (folder.parent / "somebody else's").mkdir()
    assert find_machines() == ()
    (folder / "boot2docker-vm.vmdk").write_bytes(bytes(512))
    assert find_machines() == (folder,)
    assert machine_folder("boot2docker-vm") == folder
    assert store_of(folder) == (None, False)


def test_a_store_of_minishift(home: Path) -> None:
    folder = machine(home / ".minishift" / "machines" / "minishift", {})
    assert store_of(folder) == (home / ".minishift", True)
