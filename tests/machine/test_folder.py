"""Whole machine directories: found by name, read, and survived."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from b2dinspect.errors import UsageError
from b2dinspect.machine.folder import looks_like_machine, open_machine
from b2dinspect.machine.iso import read_iso
from b2dinspect.machine.keys import read_keys
from b2dinspect.machine.places import find_machines, machine_folder, stores
from b2dinspect.provisioning.samples.incidents import practice_key
from tests.incidents import answer, bare_copy, copy_of, ids, incident
from tests.machine.helpers import config_of, machine
from tests.oracles import needs, run


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.delenv("MACHINE_STORAGE_PATH", raising=False)
    monkeypatch.delenv("MINIKUBE_HOME", raising=False)
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


def test_facts_of_a_whole_machine() -> None:
    found = open_machine(incident("snapshot"))
    assert (found.name, found.driver) == ("snapshot", "virtualbox")
    assert found.keys.is_pair
    assert found.keys.private is not None
    assert found.keys.private.identity == found.keys.identity != b""
    assert found.disks.chosen == found.folder / "disk.vmdk"
    assert found.disk == found.folder / "snapshot" / "snapshot.vbox"
    assert found.settings is not None
    assert [medium.location for medium in found.settings.stale] == ["../disk.vmdk"]


def test_not_a_directory(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="not a directory"):
        open_machine(tmp_path / "nothing")
    assert not looks_like_machine(tmp_path)


def test_a_directory_of_somebody_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = machine(tmp_path / "dev", {})

    def refuse(path: Path) -> list[str]:
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(path))

    monkeypatch.setattr(os, "listdir", refuse)  # root, as whom the tests may run, may read everything
    with pytest.raises(UsageError, match="Permission denied"):
        open_machine(folder)


# --- keys --------------------------------------------------------------------------------------------------


def test_keys_that_are_none(tmp_path: Path) -> None:
    assert read_keys(tmp_path) == (None, None)
    cases = {b"": "is empty", b"hello": "is no private key", practice_key(1).private[:200]: "cut short"}
    for data, said in cases.items():
        (tmp_path / "id_rsa").write_bytes(data)
        found = read_keys(tmp_path).private
        assert found is not None
        assert said in found.error
    (tmp_path / "id_rsa").write_bytes(bytes(1 << 20))
    found = read_keys(tmp_path).private
    assert found is not None
    assert "too large" in found.error


def test_a_pair_that_does_not_belong_together(tmp_path: Path) -> None:
    machine(tmp_path)
    assert read_keys(tmp_path).is_pair
    (tmp_path / "id_rsa.pub").write_bytes(practice_key(2).public)
    assert not read_keys(tmp_path).is_pair
    folder = copy_of("healthy-virtualbox", tmp_path)
    (folder / "id_rsa.pub").write_bytes(practice_key(2).public)
    assert ids(folder) == ["key-pair-differs"]


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660, 0o601])
def test_modes_that_ssh_refuses(mode: int, tmp_path: Path) -> None:
    folder = copy_of("healthy-virtualbox", tmp_path)
    (folder / "id_rsa").chmod(mode)
    assert ids(folder) == ["key-permissions"]
    assert f"{mode:04o}" in answer(folder).findings[0].finding.message


def test_modes_that_ssh_takes(tmp_path: Path) -> None:
    folder = copy_of("healthy-virtualbox", tmp_path)
    for mode in (0o600, 0o400, 0o700):
        (folder / "id_rsa").chmod(mode)
        assert ids(folder) == []


# --- the boot medium ---------------------------------------------------------------------------------------


@needs("xorriso")
@pytest.mark.parametrize(
    ("volume", "version", "guest"),
    [
        ("Boot2Docker-v18.09.1", "18.09.1", "autoformat"),
        ("Boot2Docker-v19.03.12", "19.03.12", "autoformat"),
        ("Boot2Docker-v18.06.1-ce", "18.06.1-ce", "automount"),
        ("Boot2Docker-v1.6.2", "1.6.2", "automount"),
        ("minikube", "", "minikube"),
        ("Debian 12.0", "", None),
    ],
)
def test_what_an_iso_says(volume: str, version: str, guest: str | None, tmp_path: Path) -> None:
    (tmp_path / "content").mkdir()
    run("xorriso", "-as", "mkisofs", "-V", volume, "-o", tmp_path / "boot2docker.iso", tmp_path / "content")
    found = read_iso(tmp_path)
    assert found is not None
    assert (found.volume_id, found.version) == (volume, version)
    assert (found.guest.name if found.guest else None) == guest


def test_an_iso_that_is_none(tmp_path: Path) -> None:
    assert read_iso(tmp_path) is None
    for data in (b"", b"x", bytes(1 << 16)):
        (tmp_path / "boot2docker.iso").write_bytes(data)
        found = read_iso(tmp_path)
        assert found is not None
        assert (found.volume_id, found.guest) == ("", None)
        assert "no ISO 9660" in found.error


# --- what people do to directories -------------------------------------------------------------------------


def test_a_moved_directory_with_windows_paths(tmp_path: Path) -> None:
    folder = copy_of("healthy-virtualbox", tmp_path)
    config = config_of(folder, SSHKeyPath="C:\\Users\\me\\.docker\\machine\\machines\\dev\\id_rsa")
    machine(folder, config, keys=False)
    (found,) = [one for one in answer(folder).findings if one.finding.id != "certificates-missing"]
    assert found.finding.id == "config-other-system"
    assert not found.finding.is_fault


def test_certificates_that_are_gone_keep_nobody_out(tmp_path: Path) -> None:
    folder = copy_of("healthy-virtualbox", tmp_path)
    machine(folder, config_of(folder), keys=False)
    assert ids(folder) == ["certificates-missing"]
    assert answer(folder).findings[0].finding.severity == "warning"


def test_a_copy_of_a_machine_is_told(tmp_path: Path) -> None:
    folder = bare_copy("healthy-virtualbox", tmp_path)
    assert ids(folder) == ["config-elsewhere"]
    assert answer(folder).is_healthy


def test_half_copied(tmp_path: Path) -> None:
    folder = copy_of("healthy-virtualbox", tmp_path)
    disk = folder / "disk.vmdk"
    with disk.open("r+b") as file:
        file.truncate(disk.stat().st_size // 2)
    assert any(name.startswith(("vmdk-", "ext4-", "filesystem-", "userdata-")) for name in ids(folder))
    with disk.open("r+b") as file:
        file.truncate(100)
    assert ids(folder)[0] == "disk-unreadable" or not answer(folder).is_healthy
    disk.unlink()
    assert ids(folder) == ["disk-none"]


def test_links_that_lead_out_are_not_followed(tmp_path: Path) -> None:
    folder = copy_of("healthy-virtualbox", tmp_path)
    for name in ("disk.vmdk", "id_rsa"):
        (folder / name).rename(tmp_path / name)
        (folder / name).symlink_to(tmp_path / name)
    found = ids(folder)
    assert "machine-file-refused" in found
    assert "key-unreadable" in found
    assert answer(folder).case.disk is None


@pytest.mark.parametrize(
    "name", ["/etc/x", "../../secret", "..", ".", "a/b", "a\\b", "C:x", "n" * 5000, "\x00", "\ud800"]
)
def test_a_name_in_config_json_leads_nowhere(name: str, tmp_path: Path) -> None:
    (tmp_path / "secret.rawdisk").write_bytes(b"x")
    folder = copy_of("healthy-virtualbox", tmp_path / "a")
    (folder / "disk.vmdk").unlink()
    machine(folder, config_of(folder, "kvm2", MachineName=name, SSHKeyPath=name), keys=False)
    found = open_machine(folder)
    assert found.disks.chosen is None
    assert found.vbox is None
    assert "disk-none" in ids(folder)


def test_a_folder_of_virtualbox_that_is_a_link(tmp_path: Path) -> None:
    folder = copy_of("snapshot", tmp_path)
    (folder / "snapshot").rename(tmp_path / "elsewhere")
    (folder / "snapshot").symlink_to(tmp_path / "elsewhere")
    found = open_machine(folder)
    assert found.settings is None
    assert [one.id for one in found.findings] == ["vbox-unreadable"]
