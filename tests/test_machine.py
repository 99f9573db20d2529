"""The folder in which docker-machine or minikube keeps one machine."""

from __future__ import annotations

from pathlib import Path

import pytest

from b2dinspect.machine import MachineFiles, find_machine_files


def make(folder: Path, *names: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).touch()
    return folder


def test_an_empty_folder_holds_nothing(tmp_path: Path) -> None:
    assert find_machine_files(tmp_path) == MachineFiles(tmp_path, None, None, None)


def test_a_folder_that_is_not_there_holds_nothing(tmp_path: Path) -> None:
    assert find_machine_files(tmp_path / "nothing").disk is None


def test_the_keys(tmp_path: Path) -> None:
    files = find_machine_files(make(tmp_path, "id_rsa", "id_rsa.pub"))
    assert (files.private_key, files.public_key) == (tmp_path / "id_rsa", tmp_path / "id_rsa.pub")


@pytest.mark.parametrize(
    "name",
    [
        "disk.vmdk",  # virtualbox
        "disk.vhd",  # hyperv
        "default.rawdisk",  # kvm2, hyperkit
        "disk.qcow2",  # qemu2
        "disk.img",  # vfkit, krunkit
        "default.vmdk",  # vmwarefusion
        "disk.vdi",
        "other.rawdisk",
        "other.vdi",
    ],
)
def test_the_disk_of_each_driver(tmp_path: Path, name: str) -> None:
    folder = make(tmp_path / "default", name, "boot2docker.iso", "config.json", "ca.pem")
    assert find_machine_files(folder).disk == folder / name


def test_the_folder_may_be_named_in_any_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = make(tmp_path / "default", "default.vmdk")
    monkeypatch.chdir(folder)
    assert find_machine_files(Path()).disk == Path("default.vmdk")


def test_a_name_of_a_driver_comes_before_any_other(tmp_path: Path) -> None:
    folder = make(tmp_path / "default", "aaa.vdi", "aaa.rawdisk", "default.rawdisk", "disk.vmdk")
    assert find_machine_files(folder).disk == folder / "disk.vmdk"
    (folder / "disk.vmdk").unlink()
    assert find_machine_files(folder).disk == folder / "default.rawdisk"


def test_a_folder_is_neither_a_key_nor_a_disk(tmp_path: Path) -> None:
    for name in ("id_rsa", "id_rsa.pub", "disk.vmdk"):
        (tmp_path / name).mkdir()
    assert find_machine_files(tmp_path) == MachineFiles(tmp_path, None, None, None)
