"""Walk the stack once, from the file to the keys. Facts only: no judgement, no formatting, no output."""

from __future__ import annotations

from b2dinspect.containers import Container
from b2dinspect.errors import UsageError
from b2dinspect.evidence.chain import LinkedFile, Rules, open_disk
from b2dinspect.evidence.file import Progress, about
from b2dinspect.inspection.choice import choices_for, data_choice
from b2dinspect.inspection.facts import Inspection, Magic
from b2dinspect.inspection.generation import tell_guest
from b2dinspect.inspection.keys import at_start, on_data_partitions
from b2dinspect.inspection.login import judge
from b2dinspect.inspection.state import Layers, tell_state
from b2dinspect.inspection.volumes import Volume, remains_of, volumes_of
from b2dinspect.partitions import read_table
from b2dinspect.source import SECTOR, read_lenient
from b2dinspect.userdata.tarball import MAGIC


def inspect(
    path: str,
    *,
    format_name: str | None = None,
    rules: Rules | None = None,
    progress: Progress | None = None,
) -> Inspection:
    """Open ``path`` and return all facts about the disk in it. The caller closes them.

    Raises:
        UsageError: Not a file, or an unknown format name.
        SourceError: The file cannot be read.
        ContainerError: No disk can be made out of the file.
    """
    with about(path):
        opened = open_disk(path, format_name, rules=rules, progress=progress)
        try:
            facts = inspect_disk(opened.container, path, origin=opened.origin, links=tuple(opened.links))
            return facts._replace(opened=opened)
        except BaseException:
            opened.close()
            raise


def inspect_disk(
    disk: Container, path: str, *, origin: str = "file", links: tuple[LinkedFile, ...] = ()
) -> Inspection:
    """Return all facts about an opened disk, which whoever opened it closes."""
    magic = _test_magic(disk)
    table = read_table(disk)
    volumes = volumes_of(disk, table)
    remains = remains_of(disk) if table.kind == "none" and not volumes else ()
    choices = choices_for(disk, table, volumes)
    data = data_choice(volumes or remains, choices)
    files = on_data_partitions(data)
    userdata = (*files.userdata, *at_start(disk, magic, volumes or remains))
    guest = tell_guest(table, volumes, data.volume if data else None, files.names or ())
    layers = Layers(disk, magic, table, volumes, remains, choices, data, files.names, files.unreadable)
    state, reason = tell_state(layers)
    return Inspection(
        path=path,
        file_size=disk.file.size,
        origin=origin,
        links=links,
        container=disk,
        magic=magic,
        table=table,
        volumes=volumes,
        remains=remains,
        choices=choices,
        data=data,
        guest=guest,
        state=state,
        reason=reason,
        userdata=userdata,
        keys=judge(userdata, choices, guest.profile),
        problems=files.problems,
    )


def _test_magic(disk: Container) -> Magic:
    data = read_lenient(disk, 0, len(MAGIC))
    differing = tuple(i for i, pair in enumerate(zip(data, MAGIC, strict=False)) if pair[0] != pair[1])
    is_near = len(data) == len(MAGIC) and 0 < len(differing) <= len(MAGIC) // 3
    if data == MAGIC:
        return Magic(True, disk.locate(0), data)
    copy = SECTOR if read_lenient(disk, SECTOR, len(MAGIC)) == MAGIC else None
    return Magic(False, disk.locate(0), data, differing if is_near else (), copy)


def volume_for(inspection: Inspection, number: int | None) -> Volume:
    """Return the volume to browse: partition ``number``, or the data partition.

    A filesystem on the whole disk is taken without being asked for: there is no other.

    Raises:
        UsageError: There is no such partition, or no data partition.
    """
    if number is None:
        if inspection.data is not None:
            return inspection.data.volume
        if [volume.partition.number for volume in inspection.volumes] == [0]:
            return inspection.volumes[0]
        raise UsageError(f"no data partition on this disk ({inspection.reason})").naming("partition")
    for volume in inspection.volumes:
        if volume.partition.number == number:
            return volume
    numbers = ", ".join(str(volume.partition.number) for volume in inspection.volumes) or "none"
    raise UsageError(f"no partition {number}; this disk has {numbers}")
