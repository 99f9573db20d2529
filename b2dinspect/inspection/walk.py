"""Walk the stack once, from the file to the keys. Facts only: no judgement, no formatting, no output."""

from __future__ import annotations

import time
from collections.abc import Sequence

from b2dinspect.containers import Container
from b2dinspect.errors import UsageError
from b2dinspect.evidence.chain import LinkedFile, Rules, open_disk
from b2dinspect.evidence.file import Progress, about
from b2dinspect.evidence.urls import shown
from b2dinspect.guests import DATA_LABEL
from b2dinspect.inspection.choice import choices_for, data_choice
from b2dinspect.inspection.facts import DiskState, Inspection, Magic, Ownership
from b2dinspect.inspection.generation import tell_guest
from b2dinspect.inspection.keys import at_start, on_data_partitions
from b2dinspect.inspection.login import judge
from b2dinspect.inspection.ownership import BLANK, tell_owner
from b2dinspect.inspection.state import ALL_ZEROS, Layers, tell_state
from b2dinspect.inspection.volumes import Volume, ext_at, identify, volumes_of
from b2dinspect.partitions import Partition, read_table
from b2dinspect.source import SECTOR, read_lenient
from b2dinspect.userdata.admission import Visit
from b2dinspect.userdata.tarball import MAGIC


def inspect(
    path: str,
    *,
    format_name: str | None = None,
    rules: Rules | None = None,
    progress: Progress | None = None,
    visit: Visit | None = None,
) -> Inspection:
    """Open ``path`` and return all facts about the disk in it. The caller closes them.

    Args:
        path: The image, or its URL.
        format_name: Its format, None to tell by its sign.
        rules: What else may be opened.
        progress: Told how far opening is.
        visit: When and from where somebody logs in; None for now, from the host.

    Raises:
        UsageError: Not a file, or an unknown format name.
        SourceError: The file cannot be read.
        ContainerError: No disk can be made out of the file.
    """
    name = shown(path)
    with about(name):
        opened = open_disk(path, format_name, rules=rules, progress=progress)
        try:
            facts = inspect_disk(
                opened.container, name, origin=opened.origin, links=tuple(opened.links), visit=visit
            )
            return facts._replace(opened=opened)
        except BaseException:
            opened.close()
            raise


def inspect_disk(
    disk: Container,
    path: str,
    *,
    origin: str = "file",
    links: tuple[LinkedFile, ...] = (),
    visit: Visit | None = None,
) -> Inspection:
    """Return all facts about an opened disk, which whoever opened it closes; ``visit`` as in ``inspect``."""
    visit = visit or Visit(int(time.time()))
    magic = _test_magic(disk)
    table = read_table(disk)
    volumes = volumes_of(disk, table)
    magic = magic._replace(in_partitions=_marked(volumes))
    living = () if _is_settled(volumes) else _living(disk, volumes)
    choices = choices_for(disk, table, volumes)
    data = data_choice((*volumes, *living), choices)
    files = on_data_partitions(data)
    userdata = (*files.userdata, *at_start(disk, magic, table, (*volumes, *living)))
    guest = tell_guest(table, volumes, data.volume if data else None, files.names or ())
    is_seen = table.kind != "missing" and not any(one.filesystem == "missing" for one in volumes)
    ownership = tell_owner(disk, magic, (*volumes, *living), userdata)._replace(is_seen=is_seen)
    tar_end = max((item.size for item in userdata if item.source == "fresh"), default=0)
    names, unreadable = files.names, files.unreadable
    layers = Layers(disk, magic, table, volumes, living, ownership, choices, data, names, unreadable, tar_end)
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
        living=living,
        choices=choices,
        data=data,
        ownership=_as_seen(ownership, state, reason, is_told=bool(volumes or living)),
        guest=guest,
        state=state,
        reason=reason,
        userdata=userdata,
        keys=judge(userdata, choices, guest.profile, visit, files.has_old_layout),
        problems=files.problems,
        visit=visit,
        has_old_layout=files.has_old_layout,
    )


def _as_seen(ownership: Ownership, state: DiskState, reason: str, *, is_told: bool) -> Ownership:
    """Return whose disk it is, no surer than what of it was seen, or lies on it beside its sign."""
    if state == "blank":
        return BLANK if reason == ALL_ZEROS else BLANK._replace(sure="likely")
    is_over_data = state == "damaged" and ownership.is_ours and not is_told
    if is_over_data or (state == "incomplete" and ownership.owner == "unknown"):
        return ownership._replace(sure="likely")
    return ownership


def _living(disk: Container, volumes: Sequence[Volume]) -> tuple[Volume, ...]:
    from b2dinspect.inspection.living import living_on  # most disks are settled

    return living_on(disk, volumes)


def _is_settled(volumes: Sequence[Volume]) -> bool:
    """Tell whether a guest finds its data, so that nobody needs to search for it."""
    return any(one.label == DATA_LABEL and one.filesystem != "swap" and not one.obstacle for one in volumes)


def _test_magic(disk: Container) -> Magic:
    data = read_lenient(disk, 0, len(MAGIC))
    differing = tuple(i for i, pair in enumerate(zip(data, MAGIC, strict=False)) if pair[0] != pair[1])
    is_near = len(data) == len(MAGIC) and 0 < len(differing) <= len(MAGIC) // 3
    if data == MAGIC:
        rest = read_lenient(disk, len(MAGIC), SECTOR - len(MAGIC))
        return Magic(True, disk.locate(0), data, is_alone=not rest.strip(b"\r\n\0"))
    copy = SECTOR if read_lenient(disk, SECTOR, len(MAGIC)) == MAGIC else None
    return Magic(False, disk.locate(0), data, differing if is_near else (), copy)


def _marked(volumes: Sequence[Volume]) -> tuple[int, ...]:
    """Return the partitions that begin with the marker: somebody wrote a whole disk into one."""
    unnamed = [one for one in volumes if one.filesystem == "unknown" and one.partition.number]
    return tuple(one.partition.number for one in unnamed if read_lenient(one.source, 0, len(MAGIC)) == MAGIC)


def volume_for(inspection: Inspection, number: int | None, offset: int | None = None) -> Volume:
    """Return the volume to browse: partition ``number``, what begins at a byte, or the data partition.

    Without either, a disk with but one filesystem means that one.

    Raises:
        UsageError: There is no such partition, or no data partition, or no filesystem begins there.
    """
    if offset is not None:
        return _volume_at(inspection, offset)
    if number is None:
        return _only_volume(inspection)
    for volume in inspection.volumes:
        if volume.partition.number == number:
            return volume
    numbers = ", ".join(str(volume.partition.number) for volume in inspection.volumes) or "none"
    raise UsageError(f"no partition {number}; this disk has {numbers}")


def _volume_at(inspection: Inspection, offset: int) -> Volume:
    disk = inspection.container
    if offset % SECTOR or not 0 <= offset < disk.size:
        raise UsageError(f"byte {offset} is no beginning of a sector of {SECTOR} bytes on this disk")
    for volume in (*inspection.living, *inspection.volumes):
        if volume.partition.offset == offset and volume.file_kind:
            return volume
    part = Partition("none", 0, offset // SECTOR, (disk.size - offset) // SECTOR)
    return ext_at(disk, part) or identify(disk, part)


def _only_volume(inspection: Inspection) -> Volume:
    if inspection.data is not None:
        return inspection.data.volume
    there = [one for one in (*inspection.volumes, *inspection.living) if one.file_kind]
    if len(there) == 1:
        return there[0]
    raise UsageError(f"no data partition on this disk ({inspection.reason})").naming("partition")
