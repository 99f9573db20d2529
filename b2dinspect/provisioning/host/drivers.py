"""How each driver of docker-machine and minikube makes the disk, as data.

Source: docker-machine drivers/virtualbox and drivers/hyperv; minikube's kvm2, qemu2 and vfkit drivers.
"""

from __future__ import annotations

from b2dinspect.guests import SATA, VIRTIO, VIRTIO_QEMU, Geometry
from b2dinspect.records import NamedTuple


class Driver(NamedTuple):
    """One driver.

    Attributes:
        name: As ``--driver`` takes it.
        product: Whose machine directory it writes.
        disk: Name of the disk in the machine directory; NAME stands for the machine.
        format: Container format of it.
        commands: What the original runs.
        guest: The guest generation that it usually meets.
        geometry: What the guest's kernel says of such a disk.
    """

    name: str
    product: str
    disk: str
    format: str
    commands: str
    guest: str
    geometry: Geometry = SATA


DRIVERS = {
    driver.name: driver
    for driver in (
        Driver(
            "virtualbox",
            "docker-machine",
            "disk.vmdk",
            "vmdk",
            "VBoxManage convertfromraw stdin disk.vmdk SIZE --format VMDK  (tar and zeros through the pipe)",
            "autoformat",
        ),
        Driver(
            "hyperv",
            "docker-machine",
            "disk.vhd",
            "vhd",
            "New-VHD fixed.vhd -Fixed 10MB; tar to byte 0; Convert-VHD disk.vhd -VHDType Dynamic; Resize-VHD",
            "autoformat",
        ),
        Driver(
            "kvm2",
            "minikube",
            "NAME.rawdisk",
            "raw",
            "write the tar, truncate to SIZE",
            "minikube",
            VIRTIO_QEMU,
        ),
        Driver(
            "qemu2",
            "minikube",
            "disk.qcow2",
            "qcow2",
            "qemu-img convert -f raw -O qcow2 TAR disk.qcow2; qemu-img resize disk.qcow2 +SIZE",
            "minikube",
            VIRTIO_QEMU,
        ),
        Driver("vfkit", "minikube", "disk.img", "raw", "write the tar, truncate to SIZE", "minikube", VIRTIO),
    )
}
