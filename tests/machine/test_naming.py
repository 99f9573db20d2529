"""Which file a name means, and what is said of a name that means nothing."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from b2dinspect.errors import UsageError
from b2dinspect.machine.folder import disk_of, open_machine
from b2dinspect.machine.naming import NamedDisk, disk_named, machine_named
from tests.disks import TAR
from tests.machine.helpers import machine


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return the only store of this host, with the machine ``default``."""
    monkeypatch.setenv("MACHINE_STORAGE_PATH", str(tmp_path))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("MINIKUBE_HOME", raising=False)
    folder = tmp_path / "machines" / "default"
    folder.mkdir(parents=True)
    (folder / "config.json").write_text(json.dumps({"DriverName": "kvm2"}))
    (folder / "default.rawdisk").write_bytes(TAR)
    return tmp_path


def test_a_file_is_itself(store: Path) -> None:
    image = store / "machines" / "default" / "default.rawdisk"
    assert disk_named(str(image)) == NamedDisk(str(image))
    assert disk_named("-") == NamedDisk("-")


def test_a_machine_is_its_disk_by_name_or_directory(store: Path) -> None:
    folder = store / "machines" / "default"
    for argument in ("default", str(folder)):
        assert disk_named(argument) == NamedDisk(str(folder / "default.rawdisk"), folder)
        assert machine_named(argument) == folder
    assert disk_of(folder) == open_machine(folder).disk


@pytest.mark.parametrize(
    ("wrong", "nearest"),
    [("defualt", "default"), ("machines/default/default.rawdsk", "machines/default/default.rawdisk")],
)
def test_a_wrong_name_gets_the_nearest_right_one(
    store: Path, monkeypatch: pytest.MonkeyPatch, wrong: str, nearest: str
) -> None:
    monkeypatch.chdir(store)
    with pytest.raises(UsageError) as caught:
        disk_named(wrong)
    expected = f"{wrong}: no such file, directory, or machine on this host; did you mean {nearest}?"
    assert str(caught.value) == expected


@pytest.mark.parametrize("wrong", ["zzzzzz", "/nowhere/at/all", "a\nb", "x" * 5000])
def test_nothing_near_is_not_guessed(store: Path, wrong: str) -> None:
    with pytest.raises(UsageError, match=r"on this host$"):
        machine_named(wrong)


def test_what_is_no_machine(store: Path) -> None:
    (store / "empty").mkdir()
    with pytest.raises(UsageError, match="is no machine directory"):
        disk_named(str(store / "empty"))
    (store / "machines" / "default" / "default.rawdisk").unlink()
    with pytest.raises(UsageError, match="no disk in this machine directory"):
        disk_named("default")


def test_key_files_alone_are_no_machine(tmp_path: Path) -> None:
    folder = machine(tmp_path / ".ssh")
    with pytest.raises(UsageError, match=r"is no machine directory: no config\.json and no disk in it"):
        machine_named(str(folder))


def test_all_commands_say_the_same_of_a_wrong_name(store: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from typer.testing import CliRunner

    from b2dinspect.cli.main import app
    from b2dinspect.cli.provision.main import app as companion

    said = set()
    for program, arguments in (
        *((app, [name, "defualt"]) for name in ("show", "keys", "verify", "doctor", "choice", "diff")),
        (app, ["ls", "defualt", "/"]),
        (app, ["diff", "defualt", "default"]),
        (companion, ["boot", "defualt"]),
    ):
        done = CliRunner().invoke(program, arguments)
        assert done.exit_code == 2, arguments
        said.add(done.stderr.replace("b2dprovision: ", "b2dinspect: "))
    expected = (
        "b2dinspect: defualt: no such file, directory, or machine on this host; did you mean default?\n"
    )
    assert said == {expected}
