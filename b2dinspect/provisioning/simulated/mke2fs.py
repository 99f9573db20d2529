"""Making an ext4 with this machine's mke2fs, in a sparse file of which only the data reaches the disk."""

from __future__ import annotations

import os
from pathlib import Path

from b2dinspect.evidence.file import open_evidence
from b2dinspect.guests import DATA_LABEL, GuestProfile
from b2dinspect.identity import Identities
from b2dinspect.provisioning.disk.ext4 import PartitionSpan
from b2dinspect.provisioning.disk.images import stored_chunks
from b2dinspect.provisioning.programs import run_program

FEATURES = (
    "none,has_journal,ext_attr,resize_inode,dir_index,filetype,extent,64bit,flex_bg,sparse_super,"
    "large_file,huge_file,dir_nlink,extra_isize,metadata_csum"
)
"""Pinned: what mkfs.ext4 turns on by itself differs between releases."""


def make_by_mke2fs(
    place: PartitionSpan,
    profile: GuestProfile,
    name: str,
    ids: Identities,
    work: Path,
    label: bytes = DATA_LABEL,
) -> None:
    """Make what ``disk.ext4.make_ext4`` makes, with mke2fs.

    Args:
        place: The partition. What is on it beside the new filesystem stays.
        profile: The guest.
        name: What the filesystem's UUIDs belong to.
        ids: Where they and its times come from.
        work: A private folder.
        label: Its label.

    Raises:
        ToolError: mke2fs is missing or failed.
    """
    path = work / "ext4"
    with path.open("wb") as file:
        file.truncate(place.size)
    options = f"hash_seed={ids.uuid(f'{name} hash')},lazy_itable_init=1,lazy_journal_init=1,nodiscard"
    geometry = ["-b", "4096", "-I", "256", "-i", str(profile.inode_ratio), "-O", FEATURES]
    identity = ["-L", label.decode(), "-U", str(ids.uuid(name)), "-E", options]
    pinned = {"E2FSPROGS_FAKE_TIME": str(ids.time), "MKE2FS_CONFIG": os.devnull, "TZ": "UTC"}
    run_program(
        "mke2fs", "-q", "-F", "-t", "ext4", *geometry, *identity, str(path), environment=pinned, folder=work
    )
    with open_evidence(str(path)) as source:
        for start, data in stored_chunks(source):
            place.disk.pwrite(place.offset + start, data)
    path.unlink()
