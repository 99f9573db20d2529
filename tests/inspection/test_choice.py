"""What each guest generation does with a disk: facts.md, rows 1 to 4 of the guests' table."""

from __future__ import annotations

import pytest

from b2dinspect.guests import profile_named
from b2dinspect.inspection.choice import Choice, choose
from b2dinspect.inspection.volumes import volumes_of
from b2dinspect.partitions import read_table
from b2dinspect.source import ByteSource, MemorySource
from b2dinspect.userdata.tarball import MAGIC
from tests.disks import TAR, needs_disks, open_file, patched, provisioned

GUESTS = ("automount", "autoformat", "minikube")
SIZE = 1 << 20


def decide(guest: str, disk: ByteSource, *, is_vmware: bool = False) -> Choice:
    table = read_table(disk)
    return choose(profile_named(guest), disk, table, volumes_of(disk, table), is_vmware=is_vmware)


@pytest.mark.parametrize("guest", GUESTS)
def test_the_marker_makes_all_of_them_format_and_save(guest: str) -> None:
    choice = decide(guest, MemorySource(TAR.ljust(SIZE, b"\0")))
    assert (choice.action, choice.keeps_userdata) == ("format", True)


@pytest.mark.parametrize(
    ("guest", "action"), [("automount", "leave"), ("autoformat", "format"), ("minikube", "leave")]
)
def test_an_empty_disk_is_formatted_by_autoformat_only(guest: str, action: str) -> None:
    choice = decide(guest, MemorySource(bytes(SIZE)))
    assert (choice.action, choice.keeps_userdata) == (action, False)


@pytest.mark.parametrize("guest", GUESTS)
def test_an_empty_vmware_disk_is_formatted_by_all(guest: str) -> None:
    assert decide(guest, MemorySource(bytes(SIZE)), is_vmware=True).action == "format"


@pytest.mark.parametrize("guest", ["automount", "minikube"])
def test_a_vmware_disk_with_anything_at_its_start_is_left(guest: str) -> None:
    disk = MemorySource(bytes(200_000) + b"x" + bytes(SIZE))
    assert decide(guest, disk, is_vmware=True).action == "leave"


@needs_disks
@pytest.mark.parametrize("guest", GUESTS)
def test_the_label_comes_before_everything(guest: str) -> None:
    disk = patched(provisioned("automount"), (0, MAGIC))
    for source in (open_file(provisioned("automount")), disk):
        choice = decide(guest, source)
        assert choice.action == "mount"
        assert choice.volume is not None
        assert choice.volume.partition.number == 1


@needs_disks
@pytest.mark.parametrize(
    ("guest", "action"), [("automount", "mount"), ("autoformat", "leave"), ("minikube", "mount")]
)
def test_without_the_label_two_of_them_fall_back_to_the_first_ext4(guest: str, action: str) -> None:
    choice = decide(guest, open_file(provisioned("autoformat", label="data")))
    assert choice.action == action
    assert "FORMATS" not in choice.reason


@needs_disks
def test_autoformat_formats_a_used_disk_that_has_the_marker_but_not_the_label() -> None:
    disk = patched(provisioned("automount", label="data"), (0, MAGIC))
    assert decide("autoformat", disk).action == "format"
    assert decide("automount", disk).action == "mount"
