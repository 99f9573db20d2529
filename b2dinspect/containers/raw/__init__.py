"""Raw images: the file is the disk, byte for byte.

Source: minikube's kvm2, hyperkit, vfkit and krunkit drivers write their disks so (``NAME.rawdisk``,
``disk.img``); a block device is one too.
"""

from __future__ import annotations

from b2dinspect.containers.formats import Format, Probe
from b2dinspect.source import ByteSource

OTHER_FORMATS = (
    (b"QFI\xfb\0\0\0\1", "qcow of version 1", "qcow"),
    (b"COWD", "VMDK of an old ESX server (COWD)", "vmdk"),
    (b"\xfd7zXZ\0", "xz-compressed file in another one", ""),
    (b"\x28\xb5\x2f\xfd", "zstd-compressed file in another one", ""),
    (b"PK\x03\x04", "zip archive", ""),
)
"""Signature at byte 0, what it is, and qemu-img's name for it."""


def probe(file: ByteSource) -> Probe:
    """Tell whether the file can only be a raw disk: not empty, and of no other known format."""
    if not file.size:
        return Probe(False, "the file is empty")
    head = file.pread(0, 32)
    for signature, name, qemu_name in OTHER_FORMATS:
        if head.startswith(signature):
            advice = (
                f"convert it first (qemu-img convert -f {qemu_name} -O raw)"
                if qemu_name
                else "unpack it first"
            )
            return Probe(False, f"this is a {name}, which is not read yet; {advice}, or read it as raw")
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
