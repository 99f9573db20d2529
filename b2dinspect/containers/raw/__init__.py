"""Raw images: the file is the disk, byte for byte.

Source: minikube's kvm2, hyperkit, vfkit and krunkit drivers write their disks so (``NAME.rawdisk``,
``disk.img``); a block device is one too.
"""

from __future__ import annotations

from b2dinspect.containers.formats import Format, Probe
from b2dinspect.source import ByteSource


def probe(file: ByteSource) -> Probe:
    """Tell whether the file can only be a raw disk: not empty, and of no other known format."""
    if not file.size:
        return Probe(False, "the file is empty")
    from b2dinspect.containers.unread import unread_format  # a file of another format has no need of it

    if other := unread_format(file):
        return Probe(False, f"this is {other.name}, which is not read; {other.way}, or read it as raw")
    return Probe(True, "no other format's signature at byte 0")


FORMAT = Format(
    "raw",
    __name__,
    "RawContainer",
    probe,
    suffixes=("img", "raw", "rawdisk"),
    qemu_names=("raw", "file"),
    is_written=True,
    is_last=True,
)
