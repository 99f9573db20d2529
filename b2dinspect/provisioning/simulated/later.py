"""What a later boot makes of the data partition's directories, by the same commands as the first.

``mkdir -p`` makes those that are missing; ``rm -rf tmp`` and ``mv /tmp`` put the guest's own /tmp, empty, in
the place of the disk's. automount knows an older layout too: where the disk has a directory ``vm``, that is
its /var/lib/boot2docker, and nothing is made in ``var``.

Source: the three programs named in ``guests``.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator

from b2dinspect.errors import EvidenceError, FilesystemError
from b2dinspect.filesystems.ext4 import Ext4
from b2dinspect.filesystems.ext4.writing.edits import Ext4Edits
from b2dinspect.guests import DATA_DIRECTORY, OLD_DIRECTORY, GuestProfile
from b2dinspect.identity import Identities
from b2dinspect.partitions import Partition
from b2dinspect.provisioning.disk.ext4 import PartitionSpan
from b2dinspect.provisioning.disk.overlay import Overlay, Writable
from b2dinspect.source import SliceSource

OPEN_TO_ALL = 0o1777


def data_directory(disk: Writable, part: Partition, profile: GuestProfile) -> str:
    """Return the directory of a data partition that is the guest's /var/lib/boot2docker."""
    if not profile.knows_old_layout:
        return DATA_DIRECTORY
    try:
        with Ext4(SliceSource(disk, part.offset, part.size)) as files:
            return profile.data_directory(files.is_directory(OLD_DIRECTORY.encode()))
    except EvidenceError:
        return DATA_DIRECTORY


def settle(disk: Writable, part: Partition, profile: GuestProfile, ids: Identities) -> tuple[str, ...]:
    """Bring the directories of a data partition to what a boot leaves, if that is another state than theirs.

    Args:
        disk: The virtual disk. All is written, or nothing.
        part: The data partition.
        profile: The guest.
        ids: The time of what changes.

    Returns:
        What was done, as the shell says it.

    Raises:
        FilesystemError: The filesystem cannot be changed; says why.
    """
    home = data_directory(disk, part, profile)
    draft = Overlay(disk)
    edits = Ext4Edits(PartitionSpan(draft, part.offset, part.size).storage(), ids.time, mounts_unclean=True)
    done = (*_make_missing(edits, _wanted(profile, home)), *_renew(edits, profile))
    if done:
        edits.flush()
        for change in draft.differences():
            disk.pwrite(change.offset, change.new)
    return done


def _wanted(profile: GuestProfile, home: str) -> tuple[str, ...]:
    """Return the directories that ``mkdir -p`` asks for, parents first."""
    if home == OLD_DIRECTORY:
        etc = f"{DATA_DIRECTORY}/etc"
        return (f"{OLD_DIRECTORY}/etc",) if etc in profile.makes else ()
    return tuple(path for path in profile.makes if path not in profile.open_to_all)


def _make_missing(edits: Ext4Edits, paths: tuple[str, ...]) -> Iterator[str]:
    for path in paths:
        if not _is_taken(edits, path):
            edits.make_directory(path.encode())
            yield f"mkdir -p {path}"


def _is_taken(edits: Ext4Edits, path: str) -> bool:
    """Tell whether something is there, or above it something that is no directory: mkdir makes nothing."""
    try:
        return edits.exists(path.encode())
    except FilesystemError:
        return True


def _renew(edits: Ext4Edits, profile: GuestProfile) -> Iterator[str]:
    """Put empty directories in the place of those that the guest moves onto the disk."""
    for path in profile.open_to_all:
        name = path.encode()
        if edits.exists(name):
            if edits.mode(name) == stat.S_IFDIR | OPEN_TO_ALL and edits.is_empty(name):
                continue
            edits.remove_tree(name)
        edits.make_directory(name, OPEN_TO_ALL)
        yield f"rm -rf {path}; mv /{path} {path}"
