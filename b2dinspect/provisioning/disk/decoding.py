"""What the bytes that a stage wrote mean: the structures among them, and where on the disk they lie."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path

from b2dinspect.errors import EvidenceError
from b2dinspect.fields import Header
from b2dinspect.filesystems.ext4 import Ext4
from b2dinspect.guests import DATA_LABEL, USERDATA_PATHS
from b2dinspect.inspection.facts import Userdata
from b2dinspect.inspection.keys import userdata_at
from b2dinspect.inspection.volumes import Volume, volumes_of
from b2dinspect.partitions import read_table
from b2dinspect.provisioning.disk.rework import opened
from b2dinspect.provisioning.events import Decoded, Write
from b2dinspect.source import SECTOR, ByteSource, read_lenient
from b2dinspect.userdata.tarball import GUEST_KEEPS, MAGIC, is_header, read_tar
from b2dinspect.views.annotation import structure
from b2dinspect.views.diskmap import MapPart, layout


def decoded_at(disk: ByteSource | Path | None, writes: Sequence[Write]) -> Decoded:
    """Return ``decoded`` of a disk, or of the disk in an image."""
    if isinstance(disk, ByteSource):
        return decoded(disk, writes)
    if disk is None:
        return Decoded(0, (), (), ())
    with opened(disk) as container:
        return decoded(container, writes)


def decoded(disk: ByteSource, writes: Sequence[Write]) -> Decoded:
    """Return the picture of a disk, and the structures that lie where somebody wrote."""
    table = read_table(disk)
    volumes = volumes_of(disk, table)
    tars = [*_at_start(disk, is_free=table.kind == "none"), *_on_data(volumes)]
    headers = [*table.headers, *(header for volume in volumes for header in volume.headers)]
    headers += [header for _, found in tars for header in found]
    regions = [
        structure(one, disk)
        for one in sorted(headers, key=lambda one: one.offset)
        if any(one.offset < end and start < one.offset + len(one.data) for start, end in map(_run, writes))
    ]
    marks = tuple(mark for mark, _ in tars)
    return Decoded(disk.size, tuple(layout(disk.size, table, volumes)), marks, tuple(regions))


Tar = tuple[MapPart, list[Header]]
"""Where a tar with a key lies, and its headers at their places on the disk."""


def _run(write: Write) -> tuple[int, int]:
    return write.virtual_offset, write.virtual_offset + write.length


def _at_start(disk: ByteSource, *, is_free: bool) -> Iterator[Tar]:
    """Yield the tar of the host, as long as no table is in its place."""
    if is_free and read_lenient(disk, 0, len(MAGIC)) == MAGIC and is_header(read_lenient(disk, 0, SECTOR)):
        tar = read_tar(disk)
        yield MapPart("userdata", "the tar with the key", 0, max(tar.size, GUEST_KEEPS)), list(tar.headers)


def _on_data(volumes: Sequence[Volume]) -> Iterator[Tar]:
    """Yield the tar that a guest has kept, where its first block lies."""
    for volume in volumes:
        if volume.is_ext and volume.label == DATA_LABEL and not volume.obstacle:
            for item in _kept(volume):
                if item.virtual_offset is not None:
                    yield MapPart("userdata", item.path, item.virtual_offset, item.size), _placed(item)


def _kept(volume: Volume) -> list[Userdata]:
    try:
        with Ext4(volume.source) as files:
            found = [userdata_at(files, volume, path) for path in USERDATA_PATHS]
    except EvidenceError:
        return []
    return [item for item in found if isinstance(item, Userdata)]


def _placed(item: Userdata) -> list[Header]:
    placed = ((header, item.locate(header.offset)[0]) for header in item.tar.headers)
    return [
        header._replace(name=f"{item.path} {header.name}", space="virtual", offset=virtual)
        for header, virtual in placed
        if virtual is not None
    ]
