"""Which file is a machine's disk. Source: the drivers of docker-machine and minikube, which name it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

from b2dinspect.machine.files import is_folder, is_there, real_file
from b2dinspect.records import NamedTuple

DISKS = {
    "virtualbox": "disk.vmdk",
    "hyperv": "disk.vhd",
    "kvm2": "NAME.rawdisk",
    "kvm": "NAME.img",
    "hyperkit": "NAME.rawdisk",
    "qemu2": "disk.qcow2",
    "qemu": "disk.qcow2",
    "vfkit": "disk.img",
    "krunkit": "disk.img",
    "vmwarefusion": "NAME.vmdk",
    "vmware": "NAME.vmdk",
    "parallels": "disk.hdd",
    "vmwarevsphere": "",
    "docker": "",
    "podman": "",
    "none": "",
    "generic": "",
    "ssh": "",
    "amazonec2": "",
    "azure": "",
    "digitalocean": "",
    "exoscale": "",
    "google": "",
    "openstack": "",
    "rackspace": "",
    "softlayer": "",
    "vmwarevcloudair": "",
}
"""By driver; NAME stands for the machine, "" for a driver without a disk on this host."""

WITHOUT_MARKER = ("vmwarefusion", "vmwarevsphere")
"""Drivers that write no marker: they copy the tar into the running guest. minikube's vmware writes one."""
VMWARE = (*WITHOUT_MARKER, "vmware")
"""Drivers whose guests see a VMware disk."""
COMMON = (
    "disk.vmdk",
    "disk.vhd",
    "disk.vdi",
    "disk.qcow2",
    "disk.img",
    "NAME.rawdisk",
    "NAME.vmdk",
    "NAME.qcow2",
    "NAME.img",
)
SUFFIXES = (".rawdisk", ".vdi", ".vhdx")
LEFTOVERS = ("fixed.vhd", "userdata.tar", "disk.qcow2.raw")
"""Of a create that did not come to its end (hyperv, qemu2), and VMware's way."""
PARALLELS_IMAGE = ".hds"
"""Ends the names of the images in a Parallels disk, which is a folder."""


class DiskFiles(NamedTuple):
    """The disks in a machine directory.

    Attributes:
        expected: Name that the driver gives it; "" for no disk, or an unknown driver.
        chosen: The file that is it, or is taken for it.
        others: More files that look like disks.
        refused: Names that cannot be opened, and why.
    """

    expected: str
    chosen: Path | None
    others: tuple[Path, ...]
    refused: tuple[tuple[Path, str], ...]


def find_disks(folder: Path, name: str, driver: str) -> DiskFiles:
    """Return the disks of a machine directory."""
    expected = DISKS.get(driver, "").replace("NAME", name)
    found: list[Path] = []
    refused: list[tuple[Path, str]] = []
    for path in dict.fromkeys(_candidates(folder, name, expected)):
        real, error = real_file(path, folder)
        if real is not None:
            found.append(path)
        elif is_there(path):
            refused.append((path, error))
    if driver in DISKS and not expected:
        return DiskFiles("", None, tuple(found), tuple(refused))
    return DiskFiles(expected, found[0] if found else None, tuple(found[1:]), tuple(refused))


def _candidates(folder: Path, name: str, expected: str) -> Iterator[Path]:
    if expected:
        yield from _images_in(folder / expected)
    for common in COMMON:
        yield folder / common.replace("NAME", name)
    try:
        yield from sorted(path for path in folder.iterdir() if path.suffix in SUFFIXES)
    except OSError:
        return


def _images_in(path: Path) -> Iterator[Path]:
    """Yield a disk that is a file, or the images in one that is a folder."""
    if not is_folder(path):
        yield path
        return
    try:
        yield from sorted(image for image in path.iterdir() if image.suffix == PARALLELS_IMAGE)
    except OSError:
        return
