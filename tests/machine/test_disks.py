"""Which file of a machine directory is its disk."""

from __future__ import annotations

from pathlib import Path

import pytest

from b2dinspect.machine.disks import DISKS, find_disks
from b2dinspect.machine.folder import looks_like_machine


def make(folder: Path, *names: str) -> Path:
    folder.mkdir(exist_ok=True)
    for name in names:
        (folder / name).touch()
    return folder


def test_an_empty_folder_holds_nothing(tmp_path: Path) -> None:
    assert find_disks(tmp_path, "default", "").chosen is None
    assert not looks_like_machine(tmp_path)


def test_a_folder_that_is_not_there_holds_nothing(tmp_path: Path) -> None:
    assert find_disks(tmp_path / "nothing", "default", "virtualbox").chosen is None


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
@pytest.mark.parametrize("driver", ["", "virtualbox", "kvm2", "a plugin"])
def test_a_disk_is_found_whatever_the_driver(tmp_path: Path, name: str, driver: str) -> None:
    folder = make(tmp_path / "default", name, "boot2docker.iso", "config.json", "ca.pem")
    assert find_disks(folder, "default", driver).chosen == folder / name


@pytest.mark.parametrize(("driver", "name"), [(driver, name) for driver, name in DISKS.items() if name])
def test_the_drivers_own_disk_comes_first(tmp_path: Path, driver: str, name: str) -> None:
    own = name.replace("NAME", "default")
    folder = make(tmp_path / "default", "disk.vmdk", "disk.vhd", "disk.img", "aaa.vdi", own)
    found = find_disks(folder, "default", driver)
    assert (found.expected, found.chosen) == (own, folder / own)
    assert set(found.others) == {path for path in folder.iterdir() if path != folder / own}


@pytest.mark.parametrize("driver", [driver for driver, name in DISKS.items() if not name])
def test_a_driver_without_a_disk_has_none(tmp_path: Path, driver: str) -> None:
    folder = make(tmp_path / "default", "disk.img")
    found = find_disks(folder, "default", driver)
    assert (found.chosen, found.others) == (None, (folder / "disk.img",))


def test_a_link_out_of_the_directory_is_refused(tmp_path: Path) -> None:
    folder = make(tmp_path / "default")
    outside = tmp_path / "secret.vmdk"
    outside.touch()
    (folder / "disk.vmdk").symlink_to(outside)
    found = find_disks(folder, "default", "virtualbox")
    assert found.chosen is None
    assert "outside of the machine's folder" in found.refused[0][1]


def test_a_folder_is_no_disk(tmp_path: Path) -> None:
    (tmp_path / "disk.vmdk").mkdir()
    found = find_disks(tmp_path, "default", "virtualbox")
    assert found.chosen is None
    assert "not a regular file" in found.refused[0][1]


def test_the_image_in_a_parallels_disk(tmp_path: Path) -> None:
    (tmp_path / "disk.hdd").mkdir()
    image = tmp_path / "disk.hdd" / "disk.hdd.0.{5fbaabe3-6958-40ff-92a7-860e329aab41}.hds"
    image.write_bytes(b"WithoutFreeSpace")
    (tmp_path / "disk.hdd" / "DiskDescriptor.xml").write_bytes(b"<Parallels_disk_image/>")
    assert find_disks(tmp_path, "m", "parallels").chosen == image


def test_a_kvm_disk_is_an_img(tmp_path: Path) -> None:
    (tmp_path / "m.img").write_bytes(b"x")
    assert find_disks(tmp_path, "m", "kvm").chosen == tmp_path / "m.img"
