"""Reading a file as the disk that it is."""

from __future__ import annotations

from collections.abc import Iterator

from b2dinspect.containers.base import Container, Probe, stored_size
from b2dinspect.source import ByteSource, Extent, FileSource

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


class RawContainer(Container):
    """The file as a disk."""

    format = "raw"

    def __init__(self, file: ByteSource) -> None:
        self.file = file
        self.size = file.size
        self.allocated_size = stored_size(file)
        self.variant = "sparse" if self.allocated_size < self.size else "flat"
        self.headers = ()
        self.findings = ()

    def _pread(self, offset: int, length: int) -> bytes:
        return self.file.pread(offset, length)

    def extents(self, offset: int = 0, length: int | None = None) -> Iterator[Extent]:
        """Yield the file's data and holes; virtual and file offsets are the same."""
        for extent in self.file.extents(offset, length):
            is_data = extent.kind == "data"
            yield extent._replace(file_offset=extent.offset) if is_data else extent

    def describe(self) -> dict[str, str]:
        """Return what the file was read from, when it is not a plain file."""
        origin = self.file.origin if isinstance(self.file, FileSource) else "memory"
        return {} if origin == "file" else {"read from": origin}
