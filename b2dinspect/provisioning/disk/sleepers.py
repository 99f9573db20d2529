"""Who has a disk in use by the files that lie beside it: where no lock of the system tells.

VMware keeps a folder ``NAME.vmdk.lck`` beside a disk, and ``NAME.vmx.lck`` beside a machine, with files in it
as long as they are used; ``NAME.vmss`` is the memory of a suspended machine. VirtualBox says in NAME.vbox
where the memory of a saved machine is. A machine that wakes up goes on with what it knew of the disk: what
was changed meanwhile is lost, and the filesystem with it.
Sources: VMware, Virtual Machine Files (.lck, .vmss); VirtualBox, Settings.cpp (Machine, stateFile).
"""

from __future__ import annotations

import itertools
from collections.abc import Iterator
from pathlib import Path

from b2dinspect.errors import B2dError
from b2dinspect.evidence.file import open_evidence
from b2dinspect.evidence.vbox import read_settings

MOST = 64
"""Files of each sort that are looked at."""


def sleepers(image: Path) -> Iterator[str]:
    """Yield why an image is in use, of what the files beside it tell, and what to do."""
    folder = image.parent
    for lock in (image.with_name(f"{image.name}.lck"), *itertools.islice(folder.glob("*.vmx.lck"), MOST)):
        if lock.is_dir() and next(lock.iterdir(), None) is not None:
            yield f"{lock.name} beside it says that VMware uses it: remove that folder only if nothing runs"
    for state in itertools.islice(folder.glob("*.vmss"), MOST):
        yield f"{state.name} beside it is the memory of a suspended machine: resume it and shut it down"
    places = (folder.glob("*.vbox"), folder.glob("*/*.vbox"), folder.parent.glob("*.vbox"))
    for settings in itertools.islice(itertools.chain(*places), MOST):
        if _sleeps_with(settings, image):
            yield f"{settings.name} says that the machine's state was saved: start it and shut it down"


def _sleeps_with(settings: Path, image: Path) -> bool:
    """Tell whether a machine of VirtualBox was put to sleep that has an image of this name."""
    try:
        with open_evidence(str(settings)) as file:
            found = read_settings(file)
    except B2dError:
        return False
    names = (medium.location.replace("\\", "/").rpartition("/")[2] for medium in found.media)
    return bool(found.saved_state) and image.name in names
