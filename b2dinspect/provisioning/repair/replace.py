"""Putting a key on a used disk: into /var/lib/boot2docker/userdata.tar of its data partition, nowhere else.

A disk that a guest has formatted must never get a tar at byte 0 again: the next guest would format it.
"""

from __future__ import annotations

from b2dinspect.errors import EvidenceError, FilesystemError, NotFoundError, UsageError
from b2dinspect.filesystems import superblock
from b2dinspect.filesystems.ext4 import DirectoryEntry, Ext4
from b2dinspect.filesystems.ext4.claims import other_claims
from b2dinspect.filesystems.ext4.writing.edits import Ext4Edits
from b2dinspect.filesystems.ext4.writing.groups import Storage
from b2dinspect.guests import DATA_LABEL
from b2dinspect.identity import Identities
from b2dinspect.inspection.volumes import Volume
from b2dinspect.provisioning.disk.ext4 import PartitionSpan, Placed, put
from b2dinspect.provisioning.disk.overlay import Overlay
from b2dinspect.source import SECTOR, RunsSource

LABEL_SIZE = 16

HAS_CHECKSUM = 0x400


def check_writable(volume: Volume) -> None:
    """Refuse a filesystem that only its own tools may change.

    Raises:
        UsageError: Not ext4, damaged, or with a journal that waits to be replayed; says what to run.
    """
    where = volume.partition.place
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


def put_userdata(overlay: Overlay, volume: Volume, tar: Placed, ids: Identities) -> str:
    """Put a tar into the data partition, and return how.

    The old file's own blocks are rewritten when the tar fits, but for zeros at its end that only fill it up;
    nothing but these bytes changes then. Else the file gets the blocks that it needs, and an inode of its own
    where it has a second name.

    Raises:
        UsageError: Another file claims the same blocks, or the filesystem cannot be changed; says why.
        EvidenceError: The filesystem cannot be read.
    """
    part = volume.partition
    storage = PartitionSpan(overlay, part.offset, part.size).storage()
    with Ext4(storage) as files:
        entry = _find(files, tar.path)
        missing = _missing_folders(files, tar.path)
        edits, refusal = _edits(storage, ids)
        if entry is not None:
            _check_alone(storage, tar.path, entry, edits)
        if entry is not None and _rewrite(overlay, files, entry, part.offset, tar.content):
            return f"its own blocks rewritten, {entry.node.size} bytes as before"
    if edits is None:
        raise UsageError(f"{part.place}: {refusal}")
    try:
        put(edits, [tar], missing)
    except FilesystemError as error:
        raise UsageError(f"{part.place}: {error.message}") from error
    edits.flush()
    return f"a file of {len(tar.content)} bytes, with new blocks where it needs them"


def _edits(storage: Storage, ids: Identities) -> tuple[Ext4Edits | None, str]:
    """Return a way to change the filesystem, or the reason why there is none."""
    try:
        return Ext4Edits(storage, ids.time), ""
    except FilesystemError as error:
        return None, error.message


def _check_alone(storage: Storage, path: str, entry: DirectoryEntry, edits: Ext4Edits | None) -> None:
    """Refuse to write to blocks that are another file's too, the filesystem's own, or nobody's."""
    try:
        if edits is not None:
            edits.check_marked(path.encode())
        other = next(other_claims(storage, entry.node.inode), "")
    except EvidenceError as error:
        advice = "" if error.message.endswith("not changed here") else "; run e2fsck on a copy"
        raise UsageError(f"/{path} is not written: {error.message}{advice}") from error
    if other:
        raise UsageError(f"/{path} is not written: {other} claims blocks of it too; run e2fsck on a copy")


def _find(files: Ext4, path: str) -> DirectoryEntry | None:
    try:
        return files.find(path.encode())
    except NotFoundError:
        return None


def _rewrite(overlay: Overlay, files: Ext4, entry: DirectoryEntry, start: int, tar: bytes) -> bool:
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


def _missing_folders(files: Ext4, file: str) -> list[str]:
    missing, path = [], ""
    for name in file.split("/")[:-1]:
        path = f"{path}/{name}".lstrip("/")
        try:
            if files.find(path.encode()).type != "directory":
                raise UsageError(f"/{path} is no directory: it is not replaced")
        except NotFoundError:
            missing.append(path)
    return missing
