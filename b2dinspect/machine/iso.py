"""boot2docker.iso: what the machine boots from says its own version in its ISO 9660 volume identifier.

Source: ECMA-119, 8.4 (primary volume descriptor at sector 16, identifier at byte 40 of it); libmachine reads
the same 32 bytes at 0x8028.
"""

from __future__ import annotations

import re
from pathlib import Path

from b2dinspect.errors import B2dError
from b2dinspect.evidence.file import open_evidence
from b2dinspect.guests import GuestProfile, profile_named
from b2dinspect.machine.files import is_there, real_file
from b2dinspect.records import NamedTuple
from b2dinspect.source import read_lenient

NAME = "boot2docker.iso"
DESCRIPTOR = 0x8000
VOLUME_ID, LENGTH = 0x8028, 32


class Iso(NamedTuple):
    """The boot medium.

    Attributes:
        path: The file.
        size: Bytes.
        volume_id: Its volume identifier, "" when it has none.
        error: Why it could not be read.
    """

    path: Path
    size: int
    volume_id: str
    error: str = ""

    @property
    def version(self) -> str:
        """The version in a name like ``Boot2Docker-v18.09.1``; "" for another name."""
        found = re.search(r"v(\d+\.\d+(?:\.\d+)?[\w.-]*)", self.volume_id)
        return found[1] if found else ""

    @property
    def guest(self) -> GuestProfile | None:
        """The guest generation that it holds, when its name tells."""
        if "minikube" in self.volume_id.lower():
            return profile_named("minikube")
        if not self.version or not self.volume_id.lower().startswith("boot2docker"):
            return None
        numbers = tuple(int(part) for part in re.findall(r"\d+", self.version)[:2])
        return profile_named("autoformat" if numbers >= (18, 9) else "automount")


def read_iso(folder: Path) -> Iso | None:
    """Return what the boot medium says of itself; None when there is none. Never raises."""
    path = folder / NAME
    if not is_there(path):
        return None
    real, error = real_file(path)
    if real is None:
        return Iso(path, 0, "", error)
    try:
        file = open_evidence(str(real), is_resolved=True)
    except B2dError as failure:
        return Iso(path, 0, "", str(failure))
    with file:
        if read_lenient(file, DESCRIPTOR + 1, 5) != b"CD001":
            return Iso(path, file.size, "", "no ISO 9660: the download was cut, or is another file")
        name = read_lenient(file, VOLUME_ID, LENGTH).decode("latin-1").rstrip(" \0")
        return Iso(path, file.size, name)
