"""What lives on a disk, in one line: so that nobody deletes a machine without knowing what is on it."""

from __future__ import annotations

from typing import TYPE_CHECKING

from b2dinspect.docker.places import PLACES
from b2dinspect.errors import EvidenceError
from b2dinspect.filesystems import superblock
from b2dinspect.filesystems.ext4 import Ext4
from b2dinspect.inspection.facts import Inspection
from b2dinspect.inspection.volumes import Volume
from b2dinspect.records import NamedTuple
from b2dinspect.units import size

if TYPE_CHECKING:
    from b2dinspect.docker.facts import DataRoot

TITLES = {"docker": "Docker", "containerd": "containerd", "podman": "Podman"}
SIGNS = frozenset((b"containers", b"home", b"root"))
"""Names in a root directory that can stand for a data-root, or for users who have one."""


class Summary(NamedTuple):
    """What is in one data-root, as far as the names of its directories tell.

    Attributes:
        engine: Whose.
        version: Of the engine; "" when it is not told.
        path: The data-root.
        partition: Number of the partition; 0 without a table.
        drivers: Storage drivers that left something.
        meant: The driver that the daemon uses, as far as it is told; "" when it is not.
        containers: How many.
        images: How many that have a name.
        volumes: How many.
        used: Bytes in use on its filesystem, by all files on it, as ``df`` counts them.
    """

    engine: str
    version: str
    path: bytes
    partition: int
    drivers: tuple[str, ...]
    meant: str
    containers: int
    images: int
    volumes: int
    used: int

    @property
    def text(self) -> str:
        """All of it in one line."""
        name = TITLES[self.engine]
        if self.version:
            name += f" {'.'.join(self.version.split('.')[:2])}"
        counts = (
            _counted(self.containers, "container"),
            _counted(self.images, "image"),
            _counted(self.volumes, "volume"),
        )
        aside = f"; {self.hidden}" if self.hidden else ""
        return f"{name}: {', '.join(counts)}; {size(self.used)} in use on the filesystem{aside}"

    @property
    def hidden(self) -> str:
        """Why some of it is not seen by the daemon that is meant to run; "" when it sees all."""
        others = [driver for driver in self.drivers if self.meant and driver != self.meant]
        return f"a daemon with {self.meant} does not show what {' and '.join(others)} holds" if others else ""


def _counted(count: int, what: str) -> str:
    return f"{count} {what}{'s' * (count != 1)}"


def summaries(facts: Inspection) -> tuple[Summary, ...]:
    """Return what engines left on a disk; nothing of an engine that left no container, image or volume.

    Never raises. A disk without a data-root costs a look at two directories of each filesystem.
    """
    if not any(_may_have(volume) for volume in (*facts.volumes, *facts.living) if volume.is_ext):
        return ()
    from b2dinspect.docker.roots import open_roots  # no other disk needs it

    with open_roots(facts, is_searching=False) as roots:
        found = [_summary(root) for root in roots]
    return tuple(one for one in found if one.containers or one.images or one.volumes)


def _may_have(volume: Volume) -> bool:
    """Tell whether something is where engines keep their data."""
    try:
        with Ext4(volume.source) as files:
            if SIGNS & frozenset(files.names(files.find(b"/"))):
                return True
            return any(_holds(files, place) for place in PLACES if place)
    except EvidenceError:
        return False


def _holds(files: Ext4, path: bytes) -> bool:
    try:
        return bool(files.names(files.find(path)))
    except EvidenceError:
        return False


def _summary(root: DataRoot) -> Summary:
    from b2dinspect.docker.contents import count

    containers, images, volumes = count(root)
    block = root.volume.superblock
    used = superblock.used_blocks(block) * superblock.block_size(block)
    return Summary(
        root.engine,
        root.version,
        root.path,
        root.volume.partition.number,
        root.drivers,
        root.meant,
        containers,
        images,
        volumes,
        used,
    )
