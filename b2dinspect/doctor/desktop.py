"""Docker Desktop's disks, each opened for what lives on it."""

from __future__ import annotations

from b2dinspect.docker.summary import Summary, summaries
from b2dinspect.errors import B2dError
from b2dinspect.inspection.walk import inspect
from b2dinspect.machine.desktop import DesktopDisk, desktop_disks
from b2dinspect.records import NamedTuple


class Desktop(NamedTuple):
    """A disk of Docker Desktop, and what is on it.

    Attributes:
        disk: Which.
        size: Bytes of the virtual disk; 0 when it cannot be opened.
        engines: What container engines left on it.
        trouble: Why it cannot be opened; "" when it can.
    """

    disk: DesktopDisk
    size: int
    engines: tuple[Summary, ...] = ()
    trouble: str = ""


def look_at_desktop() -> tuple[Desktop, ...]:
    """Return the disks of Docker Desktop on this host. Never raises for what they hold."""
    return tuple(map(_look, desktop_disks()))


def _look(disk: DesktopDisk) -> Desktop:
    try:
        with inspect(str(disk.path)) as facts:
            return Desktop(disk, facts.container.size, summaries(facts))
    except B2dError as error:
        return Desktop(disk, 0, trouble=str(error))
