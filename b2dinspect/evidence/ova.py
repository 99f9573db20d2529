"""OVA: a tar of an OVF description and the disks of a machine.

Source: DMTF DSP0243, Open Virtualization Format 2.1.1, section 6.4: the .ovf file comes first, then the
files in the order of its references. POSIX.1-1988 ustar for the headers.
"""

from __future__ import annotations

from b2dinspect.containers import FORMATS
from b2dinspect.errors import ContainerError
from b2dinspect.findings import Finding
from b2dinspect.records import NamedTuple
from b2dinspect.source import SECTOR, ByteSource, SliceSource

MAX_MEMBERS = 1000
PACKED = ".vmdk.gz"
"""What an OVF calls a disk that was packed for the way."""


class OvaMember(NamedTuple):
    """A file in the archive: ``size`` bytes at ``offset``."""

    name: str
    offset: int
    size: int


class InnerDisk(NamedTuple):
    """The disk that is looked at.

    Attributes:
        file: Its bytes; nothing is copied.
        findings: Which one it is, and what else there is.
    """

    file: ByteSource
    findings: tuple[Finding, ...]


def first_disk(file: ByteSource) -> InnerDisk | None:
    """Return the first disk of an OVA; None when the file is none.

    Raises:
        ContainerError: An OVA without a disk, or one that is cut short.
    """
    if file.pread(257, 5) != b"ustar" or not _name(file.pread(0, 100)).endswith(".ovf"):
        return None
    found = members(file)
    disks = [one for one in found if one.name.lower().endswith(_disk_endings())]
    if not disks:
        names = ", ".join(one.name for one in found)
        raise ContainerError(f"no disk among its members: {names}", layer="OVA", offset=0)
    first = disks[0]
    if first.offset + first.size > file.size:
        raise ContainerError(
            f"ends inside {first.name}",
            layer="OVA",
            offset=first.offset,
            expected=f"{first.size} bytes",
            found=f"{file.size - first.offset} bytes",
        )
    text = f"read from an OVA: {first.name}, {first.size} bytes at byte {first.offset} of the archive"
    if len(disks) > 1:
        text += "; not looked at: " + ", ".join(one.name for one in disks[1:])
    finding = Finding("ova-member", "info", text, first.offset, "file")
    return InnerDisk(SliceSource(file, first.offset, first.size), (finding,))


def members(file: ByteSource) -> list[OvaMember]:
    """Return the regular files of a tar, as far as it can be read."""
    import tarfile

    found: list[OvaMember] = []
    offset = 0
    for _ in range(MAX_MEMBERS):
        try:
            entry = tarfile.TarInfo.frombuf(file.pread(offset, SECTOR), "utf-8", "surrogateescape")
        except tarfile.HeaderError:
            break
        if entry.size < 0:
            break
        if entry.isreg():
            found.append(OvaMember(entry.name, offset + SECTOR, entry.size))
        offset += SECTOR + -(-entry.size // SECTOR) * SECTOR
        if offset >= file.size:
            break
    return found


def _disk_endings() -> tuple[str, ...]:
    return (*(f".{ending}" for known in FORMATS.values() for ending in known.suffixes), PACKED)


def _name(raw: bytes) -> str:
    return raw.split(b"\0", 1)[0].decode("utf-8", "surrogateescape").lower()
