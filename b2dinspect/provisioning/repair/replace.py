"""Putting a key on a used disk: into /var/lib/boot2docker/userdata.tar of its data partition, nowhere else.

A disk that a guest has formatted must never get a tar at byte 0 again: the next guest would format it.
"""

from __future__ import annotations

from pathlib import Path

from b2dinspect.errors import NotFoundError, UsageError
from b2dinspect.filesystems import superblock
from b2dinspect.filesystems.ext4 import Entry, Ext4
from b2dinspect.guests import DATA_LABEL
from b2dinspect.identity import Identities
from b2dinspect.inspection.volumes import Volume
from b2dinspect.provisioning.disk.overlay import Overlay
from b2dinspect.provisioning.programs import find_program
from b2dinspect.provisioning.simulated.ext4 import Ext4Workbench, Placed
from b2dinspect.provisioning.simulated.simulate import USERDATA
from b2dinspect.source import SECTOR, RunsSource, SliceSource

LABEL_SIZE = 16

HAS_CHECKSUM = 0x400


def check_writable(volume: Volume) -> None:
    """Refuse a filesystem that only its own tools may change.

    Raises:
        UsageError: Not ext4, damaged, or with a journal that waits to be replayed; says what to run.
    """
    where = f"partition {volume.partition.number}"
    if not volume.is_ext:
        raise UsageError(f"{where} is {volume.filesystem}: only ext4 can be repaired")
    broken = [finding for finding in volume.findings if finding.is_fault]
    if broken:
        text = f"{where} is not changed: {broken[0].message}. Take a raw copy and run"
        offset = volume.partition.offset
        raise UsageError(f"{text} e2fsck -f 'COPY?offset={offset}', then repair again")


def relabel(overlay: Overlay, volume: Volume) -> None:
    """Write the data label into the primary superblock, with its checksum."""
    start = volume.partition.offset
    raw = bytearray(overlay.pread(start + superblock.OFFSET, superblock.SUPERBLOCK.sizeof()))
    raw[120 : 120 + LABEL_SIZE] = DATA_LABEL.ljust(LABEL_SIZE, b"\0")
    if volume.superblock.feature_ro_compat & HAS_CHECKSUM:
        raw[1020:1024] = superblock.crc32c(bytes(raw[:1020])).to_bytes(4, "little")
    overlay.pwrite(start + superblock.OFFSET, bytes(raw))


def put_userdata(overlay: Overlay, volume: Volume, tar: bytes, work: Path, ids: Identities) -> str:
    """Put a tar into the data partition, and return how.

    The old file's own blocks are rewritten when the tar fits, but for zeros at its end that only fill it up;
    nothing but these bytes changes then. Else, or where the file has a second name, debugfs makes a new file,
    in a copy whose changes come back.

    Raises:
        ToolError: debugfs is needed and missing, or e2fsck finds the outcome unsound, such as a block that
            belongs to two files.
        EvidenceError: The filesystem cannot be read.
    """
    part = volume.partition
    with Ext4(SliceSource(overlay, part.offset, part.size)) as files:
        entry = _find(files)
        is_rewritten = entry is not None and _rewrite(overlay, files, entry, part.offset, tar)
        missing = _missing_folders(files)
    bench = Ext4Workbench(work / "ext4", part.size, ids)
    if entry is not None and is_rewritten:
        how = f"its own blocks rewritten, {entry.node.size} bytes as before"
        if find_program("e2fsck") is None:
            return f"{how}; whether another file claims them too, e2fsck could tell, which is not installed"
        bench.check_out(overlay, part.offset)
        bench.check()  # it finds a block that two files claim
        return how
    bench.check_out(overlay, part.offset)
    bench.put(Placed(USERDATA, tar), missing)
    if find_program("e2fsck") is not None:
        bench.check()
    bench.check_in(overlay, part.offset)
    return f"a file of {len(tar)} bytes, made by debugfs"


def _find(files: Ext4) -> Entry | None:
    try:
        return files.find(USERDATA.encode())
    except NotFoundError:
        return None


def _rewrite(overlay: Overlay, files: Ext4, entry: Entry, start: int, tar: bytes) -> bool:
    """Write a tar over a file of the same size; False when it does not fit, has holes, or a second name."""
    if entry.type != "file" or entry.node.links != 1:
        return False
    content, size = files.content(entry), entry.node.size
    # one zero block is enough of an end for tar; what is longer must be zeros
    if not isinstance(content, RunsSource) or len(tar.rstrip(b"\0")) + SECTOR > size:
        return False
    places = [content.parent_offset(at) for at in range(0, size, SECTOR)]
    if any(place is None for place in places):
        return False
    data = tar[:size].ljust(size, b"\0")
    for at, place in zip(range(0, size, SECTOR), places, strict=True):
        overlay.pwrite(start + (place or 0), data[at : at + SECTOR])
    return True


def _missing_folders(files: Ext4) -> list[str]:
    missing, path = [], ""
    for name in USERDATA.split("/")[:-1]:
        path = f"{path}/{name}".lstrip("/")
        try:
            if files.find(path.encode()).type != "directory":
                raise UsageError(f"/{path} is no directory: it is not replaced")
        except NotFoundError:
            missing.append(path)
    return missing
