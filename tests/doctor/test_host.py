"""What is wrong with a machine directory: each check on a directory that has it, and on one that has not."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from b2dinspect.doctor import host
from b2dinspect.doctor.case import open_case
from b2dinspect.findings import Finding
from b2dinspect.machine.disks import DISKS
from b2dinspect.provisioning.samples.incidents import practice_key
from b2dinspect.userdata.tarball import build_userdata
from tests.disks import MIB
from tests.machine.helpers import config_of, machine
from tests.opened import keep

TAR = build_userdata(practice_key(1).public)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a machine of vfkit's with a fresh disk: nothing is wrong with it but that it was not started."""
    made = machine(tmp_path / "machines" / "dev", keys=True)
    configure(made)
    with (made / "disk.img").open("wb") as file:
        file.write(TAR)
        file.truncate(64 * MIB)
    return made


def configure(folder: Path, driver: str = "vfkit", **more: Any) -> None:
    machine(folder, config_of(folder, driver, **({"DiskSize": 64} | more)), keys=False)


def found(check: host.HostCheck, folder: Path) -> list[Finding]:
    return list(check(keep(open_case(str(folder)))))


def ids(check: host.HostCheck, folder: Path) -> list[str]:
    return [one.id for one in found(check, folder)]


def test_only_that_it_was_never_started_is_wrong(folder: Path) -> None:
    wrong = [one.id for check in host.CHECKS for one in found(check, folder)]
    assert wrong == ["certificates-missing", "disk-not-formatted"]


def test_every_check_is_done() -> None:
    checks = [
        value
        for name, value in vars(host).items()
        if callable(value) and getattr(value, "__module__", "") == host.__name__ and not name.startswith("_")
    ]
    assert {one for one in checks if one.__annotations__.get("return") == "Iterator[Finding]"} == set(
        host.CHECKS
    )


@pytest.mark.parametrize("driver", [name for name, disk in DISKS.items() if not disk])
def test_a_driver_without_a_disk(driver: str, folder: Path) -> None:
    configure(folder, driver)
    assert ids(host.driver, folder) == ["driver-without-disk"]
    assert ids(host.host_key, folder) == []


def test_a_driver_that_nobody_knows(folder: Path) -> None:
    configure(folder, "cloudy\x1b[31m")
    (one,) = found(host.driver, folder)
    assert (one.id, one.severity) == ("driver-unknown", "info")
    assert "'cloudy\\x1b[31m'" in one.message


KEYS: dict[str, tuple[Callable[[Path], object], list[tuple[str, str]]]] = {
    "no pair": (lambda key: (key.unlink(), key.with_suffix(".pub").unlink()), [("key-missing", "error")]),
    "no public half": (lambda key: key.with_suffix(".pub").unlink(), [("key-public-missing", "info")]),
    "no private half": (lambda key: key.unlink(), [("key-missing", "error")]),
    "empty": (lambda key: key.write_bytes(b""), [("key-empty", "error")]),
    "no key": (lambda key: key.write_bytes(b"none"), [("key-unreadable", "error")]),
    "open": (lambda key: key.chmod(0o644), [("key-permissions", "error")]),
    "open and empty": (
        lambda key: (key.write_bytes(b""), key.chmod(0o604)),
        [("key-empty", "error"), ("key-permissions", "error")],
    ),
    "another's public half": (
        lambda key: key.with_suffix(".pub").write_bytes(practice_key(2).public),
        [("key-pair-differs", "warning")],
    ),
    "a public half that is none": (
        lambda key: key.with_suffix(".pub").write_bytes(b"none\n"),
        [("key-pair-differs", "warning")],
    ),
}


@pytest.mark.parametrize("name", KEYS)
def test_the_key_files(name: str, folder: Path) -> None:
    change, expected = KEYS[name]
    change(folder / "id_rsa")
    assert [(one.id, one.severity) for one in found(host.host_key, folder)] == expected


def test_the_mode_is_told_in_octal(folder: Path) -> None:
    (folder / "id_rsa").chmod(0o640)
    (one,) = found(host.host_key, folder)
    assert one.message.startswith("id_rsa has mode 0640: ")


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/gone/id_rsa", "config-moved"),
        ("/gone\0/id_rsa", "config-moved"),
        ("C:\\Users\\me\\id_rsa", "config-other-system"),
        ("/etc/hostname", "config-elsewhere"),
    ],
)
def test_a_key_that_config_json_puts_elsewhere(path: str, expected: str, folder: Path) -> None:
    configure(folder, SSHKeyPath=path)
    assert ids(host.config, folder)[:-1] == [expected]


def test_certificates_are_missed_until_they_are_there(folder: Path) -> None:
    assert ids(host.config, folder) == ["certificates-missing"]
    for place in (folder.parents[1] / "certs" / "ca.pem", folder / "server.pem"):
        place.parent.mkdir(exist_ok=True)
        place.write_bytes(b"")
    assert ids(host.config, folder) == []


def test_a_machine_without_a_disk_says_which_one_should_be_there(folder: Path) -> None:
    (folder / "disk.img").unlink()
    (one,) = found(host.disk_file, folder)
    assert (one.id, one.message) == (
        "disk-none",
        "there is no disk in the machine directory: disk.img should be there",
    )


@pytest.mark.parametrize(("asked", "is_small"), [(64, False), (127, False), (128, False), (129, True)])
def test_a_disk_of_less_than_half_is_one_of_an_interrupted_create(
    asked: int, is_small: bool, folder: Path
) -> None:
    configure(folder, DiskSize=asked)
    assert ids(host.disk_file, folder) == ["disk-too-small"] * is_small


def test_what_the_drivers_leave_behind(folder: Path) -> None:
    for name in ("fixed.vhd", "disk.qcow2.raw"):
        (folder / name).write_bytes(b"")
    assert sorted(ids(host.disk_file, folder)) == ["leftover-fixed-vhd", "leftover-raw"]


def test_a_fresh_disk_of_a_machine_that_was_up(folder: Path) -> None:
    assert "never booted" in found(host.not_formatted, folder)[0].message
    (folder / "server.pem").write_bytes(b"")
    assert "was up once" in found(host.not_formatted, folder)[0].message


def test_vmware_begins_with_an_empty_disk_and_a_tar_beside_it(folder: Path) -> None:
    (folder / "disk.img").rename(folder / "dev.vmdk")
    with (folder / "dev.vmdk").open("r+b") as file:
        file.write(bytes(len(TAR)))
    configure(folder, "vmwarefusion")
    (folder / "userdata.tar").write_bytes(TAR)
    assert ids(host.without_marker, folder) == ["disk-blank-vmware"]
    assert ids(host.host_userdata, folder) == ["userdata-on-host"]
    configure(folder, "virtualbox")
    assert ids(host.without_marker, folder) == []


@pytest.mark.parametrize("check", host.CHECKS, ids=lambda check: check.__name__)
def test_a_disk_alone_has_no_host(check: host.HostCheck, folder: Path, tmp_path: Path) -> None:
    alone = (folder / "disk.img").rename(tmp_path / "alone.img")
    expected = ["disk-not-formatted"] if check is host.not_formatted else []
    assert ids(check, alone) == expected
