"""NAME.vbox, VirtualBox's settings of a machine: which disk is the live one, and which ones it stands on.

After a snapshot the machine writes to a child image below ``Snapshots/``; the disk that docker-machine made
still lies there, and is stale. Source: VirtualBox, src/VBox/Main/xml/Settings.cpp (MediaRegistry, HardDisk,
AttachedDevice, and Machine with its stateFile).
"""

from __future__ import annotations

from typing import Any

from b2dinspect.errors import SourceError
from b2dinspect.records import NamedTuple
from b2dinspect.source import ByteSource

MAX_SIZE = 4 << 20
LAYER = "VirtualBox settings"


class Medium(NamedTuple):
    """A disk image as the settings name it.

    Attributes:
        uuid: In braces, lower case.
        location: Path as written: relative to the settings, or absolute.
        parent: ``uuid`` of the image below; "" for none.
    """

    uuid: str
    location: str
    parent: str


class Settings(NamedTuple):
    """What the settings say.

    Attributes:
        media: All hard disks, parents first.
        attached: UUIDs of the hard disks that the machine has now.
        saved_state: File with the memory of a machine that was put to sleep; "" when it is off, or runs.
    """

    media: tuple[Medium, ...]
    attached: tuple[str, ...]
    saved_state: str = ""

    @property
    def live(self) -> Medium | None:
        """The image that the machine writes to now."""
        by_uuid = self._by_uuid()
        return next((by_uuid[uuid] for uuid in self.attached if uuid in by_uuid), None)

    @property
    def stale(self) -> tuple[Medium, ...]:
        """The images below the live one, which the machine no longer writes to."""
        by_uuid = self._by_uuid()
        found: dict[str, Medium] = {}
        medium = self.live
        while medium and (medium := by_uuid.get(medium.parent)) and medium.uuid not in found:
            found[medium.uuid] = medium
        return tuple(found.values())

    def _by_uuid(self) -> dict[str, Medium]:
        return {medium.uuid: medium for medium in reversed(self.media)}  # of two, the first counts


class _Reader:
    def __init__(self) -> None:
        self.media: list[Medium] = []
        self.attached: list[str] = []
        self._disks: list[str] = []
        self.saved_state = ""
        self._snapshots = 0
        self._device = ""

    def start(self, name: str, values: dict[str, Any]) -> None:
        """Take note of a disk or a device; snapshots keep copies of old settings, which do not count."""
        self._snapshots += name == "Snapshot"
        if name == "Machine":
            self.saved_state = values.get("stateFile", "")
        elif name == "HardDisk":
            uuid = values.get("uuid", "").lower()
            self.media.append(
                Medium(uuid, values.get("location", ""), self._disks[-1] if self._disks else "")
            )
            self._disks.append(uuid)
        elif name == "AttachedDevice":
            self._device = values.get("type", "")
        elif name == "Image" and self._device == "HardDisk" and not self._snapshots:
            self.attached.append(values.get("uuid", "").lower())

    def end(self, name: str) -> None:
        """Leave an element."""
        self._snapshots -= name == "Snapshot"
        if name == "HardDisk":
            self._disks.pop()


def read_settings(file: ByteSource) -> Settings:
    """Return what the settings say of hard disks.

    Raises:
        SourceError: No XML, too large, or with a document type, which could make it grow without end.
    """
    from xml.parsers import expat  # bounded: no document type, so no entities, and 4 MiB at most

    if file.size > MAX_SIZE:
        raise SourceError(f"{file.size} bytes; {MAX_SIZE} are the most", layer=LAYER)
    reader, parser = _Reader(), expat.ParserCreate()

    def refuse(*_: object) -> None:
        raise SourceError("has a document type declaration, which is not read", layer=LAYER)

    parser.StartElementHandler, parser.EndElementHandler = reader.start, reader.end
    parser.StartDoctypeDeclHandler = refuse
    try:
        parser.Parse(file.pread(0, file.size), True)
    except (expat.ExpatError, ValueError, LookupError) as error:
        raise SourceError(f"is no XML that can be read: {error}", layer=LAYER) from error
    return Settings(tuple(reader.media), tuple(reader.attached), reader.saved_state)
