"""Whole machine directories: found by name, read, and survived."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from b2dinspect.errors import UsageError
from b2dinspect.machine.folder import looks_like_machine, open_machine
from tests.incidents import answer, bare_copy, copy_of, ids, incident
from tests.machine.helpers import config_of, machine


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
