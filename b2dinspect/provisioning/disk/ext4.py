"""The data partition's filesystem on a disk: made as a guest makes it, and changed where it lies."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from b2dinspect.filesystems.ext4.writing.edits import Ext4Edits
from b2dinspect.filesystems.ext4.writing.groups import Storage
from b2dinspect.filesystems.ext4.writing.maker import Identity, make
from b2dinspect.guests import DATA_LABEL, GuestProfile
from b2dinspect.identity import Identities
from b2dinspect.provisioning.disk.overlay import Writable
from b2dinspect.records import NamedTuple


class Placed(NamedTuple):
    """A file to put into a filesystem: its path there, and its content."""

    path: str
    content: bytes


class PartitionSpan(NamedTuple):
    """A partition of a disk: where it begins, and how long it is, in bytes."""

    disk: Writable
    offset: int
    size: int

    def storage(self) -> Storage:
        """Return it as something to write a filesystem on."""
        return Storage(self.disk, self.offset, self.size, self.disk.pwrite)


def make_ext4(
    place: PartitionSpan, profile: GuestProfile, name: str, ids: Identities, label: bytes = DATA_LABEL
) -> None:
    """Make a new ext4 as the profile's guest does.

    Args:
        place: The partition.
        profile: The guest.
        name: What the filesystem's UUIDs belong to.
        ids: Where they and its times come from.
        label: Its label.

    Raises:
        FilesystemError: The partition is too small or too large.
    """
    identity = Identity(label, ids.uuid(name), ids.uuid(f"{name} hash"), ids.time)
    make(place.storage(), place.size, profile.inode_ratio, identity)


@contextmanager
def editing(place: PartitionSpan, ids: Identities, *, mounts_unclean: bool = False) -> Iterator[Ext4Edits]:
    """Give the filesystem to change; what was changed is whole when the block ends without an error.

    Args:
        place: The partition.
        ids: The time of what changes.
        mounts_unclean: Whether a filesystem that was not cleanly unmounted is changed, too, as Linux does.

    Raises:
        FilesystemError: It cannot be changed; says why.
    """
    edits = Ext4Edits(place.storage(), ids.time, mounts_unclean=mounts_unclean)
    yield edits
    edits.flush()


def fill(edits: Ext4Edits, profile: GuestProfile, files: Sequence[Placed] = ()) -> None:
    """Make the directories that a guest makes at its first boot, and put files of root's into them."""
    for path in profile.makes:
        edits.make_directory(path.encode(), 0o1777 if path in profile.open_to_all else 0o755)
    put(edits, files)


def put(edits: Ext4Edits, files: Sequence[Placed], folders: Sequence[str] = ()) -> None:
    """Put files of root's with mode 0644 in the place of others, or of none.

    Args:
        edits: The filesystem.
        files: The files.
        folders: Directories that are made for them where they are missing, parents first.
    """
    for folder in folders:
        if not edits.exists(folder.encode()):
            edits.make_directory(folder.encode())
    for file in files:
        edits.write(file.path.encode(), file.content)
