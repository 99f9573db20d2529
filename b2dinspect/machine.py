"""A machine directory: the folder in which docker-machine or minikube keeps one machine.

Source: libmachine/persist and the drivers of docker-machine and minikube, which name the files.
"""

from __future__ import annotations

from pathlib import Path
from typing import NamedTuple

DISK_NAMES = ("disk.vmdk", "disk.vhd", "disk.vdi", "disk.qcow2", "disk.img")


class MachineFiles(NamedTuple):
    """What is in a machine directory.

    Attributes:
        folder: The directory.
        private_key: ``id_rsa``, if there is one.
        public_key: ``id_rsa.pub``, if there is one.
        disk: The disk image, if there is one that this version can name.
    """

    folder: Path
    private_key: Path | None
    public_key: Path | None
    disk: Path | None


def find_machine_files(folder: Path) -> MachineFiles:
    """Return the files of a machine directory that are there."""
    names = (*DISK_NAMES, f"{folder.resolve().name}.rawdisk", f"{folder.resolve().name}.vmdk")
    candidates = (
        [folder / name for name in names] + sorted(folder.glob("*.rawdisk")) + sorted(folder.glob("*.vdi"))
    )
    disk = next((path for path in candidates if path.is_file()), None)

    def present(name: str) -> Path | None:
        return folder / name if (folder / name).is_file() else None

    return MachineFiles(folder, present("id_rsa"), present("id_rsa.pub"), disk)
