"""The disks of Docker Desktop on this host. They are no machines of docker-machine: no key is put on them.

Docker Desktop's virtual machine is entered over a socket of its own, never by ssh with a key from the disk.
What users miss lies in the data-root on it.

Source: Docker's documentation (where images are stored, and how the disk image is moved) and Docker
Desktop's release notes: 4.30 moved ``wsl/data/ext4.vhdx`` to ``wsl/disk/docker_data.vhdx``.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

from b2dinspect.machine.files import real_file
from b2dinspect.records import NamedTuple

HOME_PLACES = (
    ("Library/Containers/com.docker.docker/Data/vms/0/data/Docker.raw", "Docker Desktop for Mac"),
    ("Library/Containers/com.docker.docker/Data/vms/0/Docker.raw", "Docker Desktop for Mac, of 2019"),
    ("Library/Containers/com.docker.docker/Data/vms/0/Docker.qcow2", "Docker for Mac"),
    (
        "Library/Containers/com.docker.docker/Data/com.docker.driver.amd64-linux/Docker.qcow2",
        "Docker for Mac before 2018",
    ),
    (".docker/desktop/vms/0/data/Docker.raw", "Docker Desktop for Linux"),
)
"""Below the home directory, newest first."""
LOCAL_PLACES = (
    ("Docker/wsl/disk/docker_data.vhdx", "Docker Desktop for Windows with WSL 2, from 4.30"),
    ("Docker/wsl/data/ext4.vhdx", "Docker Desktop for Windows with WSL 2, before 4.30"),
)
"""Below %LOCALAPPDATA%."""
SHARED_PLACES = (("DockerDesktop/vm-data/DockerDesktop.vhdx", "Docker Desktop for Windows with Hyper-V"),)
"""Below %ProgramData%."""
PUBLIC_PLACES = (
    ("Documents/Hyper-V/Virtual hard disks/MobyLinuxVM.vhdx", "Docker for Windows before 2020"),
    ("Documents/Hyper-V/Virtual hard disks/DockerDesktop.vhdx", "Docker Desktop for Windows of 2019"),
)
"""Below %PUBLIC%."""


class DesktopDisk(NamedTuple):
    """A disk of Docker Desktop.

    Attributes:
        path: The image.
        what: Whose.
    """

    path: Path
    what: str


def desktop_disks() -> tuple[DesktopDisk, ...]:
    """Return the disks of Docker Desktop that are on this host."""
    return tuple(disk for disk in _places() if real_file(disk.path)[0] is not None)


def _places() -> Iterator[DesktopDisk]:
    try:
        home = Path.home()
        yield from (DesktopDisk(home / place, what) for place, what in HOME_PLACES)
    except RuntimeError:
        pass  # nobody's home
    for variable, places in (
        ("LOCALAPPDATA", LOCAL_PLACES),
        ("ProgramData", SHARED_PLACES),
        ("PUBLIC", PUBLIC_PLACES),
    ):
        if value := os.environ.get(variable):
            yield from (DesktopDisk(Path(value) / place, what) for place, what in places)
