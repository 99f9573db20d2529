"""The drivers' data against what else is known of them."""

from __future__ import annotations

import pytest

from b2dinspect.containers import FORMATS
from b2dinspect.containers.writers import written_formats
from b2dinspect.guests import PROFILES
from b2dinspect.machine.disks import DISKS
from b2dinspect.provisioning.host.drivers import DRIVERS

HANDMADE = {
    "virtualbox": ("docker-machine", "disk.vmdk", "vmdk"),
    "hyperv": ("docker-machine", "disk.vhd", "vhd"),
    "kvm2": ("minikube", "NAME.rawdisk", "raw"),
    "qemu2": ("minikube", "disk.qcow2", "qcow2"),
    "vfkit": ("minikube", "disk.img", "raw"),
}
"""By hand, from the drivers' own sources."""


def test_each_makes_the_disk_that_the_original_makes() -> None:
    made = {name: (one.product, one.disk, one.format) for name, one in DRIVERS.items()}
    assert made == HANDMADE


@pytest.mark.parametrize("driver", DRIVERS.values(), ids=lambda driver: driver.name)
def test_what_is_made_is_found_again(driver: object) -> None:
    one = DRIVERS[driver.name]  # type: ignore[attr-defined]
    assert DISKS[one.name] == one.disk
    assert one.format in FORMATS
    assert one.format in written_formats()
    assert one.guest in {profile.name for profile in PROFILES}
