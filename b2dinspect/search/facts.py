"""What a search finds. Facts only: nothing here reads or formats."""

from __future__ import annotations

from typing import Literal, get_args

from b2dinspect.records import NamedTuple

Kind = Literal[
    "marker",
    "tar-entry",
    "public-key",
    "private-key",
    "host-key",
    "superblock",
    "swap",
    "table",
    "config",
    "pattern",
]
KINDS: tuple[Kind, ...] = get_args(Kind)

Sure = Literal["parsed", "likely", "looks-like"]
"""``parsed``: read to its end, with its checks; ``likely``: part of it, or without a check of its own;
``looks-like``: no more than a few bytes say so."""

Area = Literal["file", "slack", "unallocated", "filesystem", "journal", "swap", "gap", "unknown"]
"""``filesystem`` is what a filesystem keeps for itself, ``gap`` is in no partition, ``unknown`` in one whose
filesystem is not read."""


class Place(NamedTuple):
    """Whose a byte of the disk is.

    Attributes:
        partition: Its number, 0 for a filesystem that no table names; None in no partition.
        area: What part of it.
        path: Of the file, for ``file`` and ``slack``; None when no directory names it, or there is none.
        inode: Of the file.
    """

    partition: int | None
    area: Area
    path: bytes | None = None
    inode: int | None = None


class Find(NamedTuple):
    """What stands at a place of the disk, by its own bytes.

    Attributes:
        kind: What it is.
        offset: Of its first byte on the disk.
        length: Bytes.
        sure: How sure that is.
        what: The same for people, in a few words.
        identity: What is equal when two finds are the same thing.
        fingerprint: Of a key, as ssh-keygen prints it (SHA256); "" for none.
        md5: The same as MD5.
        comment: Of a key, a label, or a name.
    """

    kind: Kind
    offset: int
    length: int
    sure: Sure
    what: str
    identity: bytes
    fingerprint: str = ""
    md5: str = ""
    comment: str = ""


class Hit(NamedTuple):
    """A find with where it is.

    Attributes:
        find: What it is.
        file_offset: Of its first byte in the container file; None when that does not hold it as it is.
        cluster_offset: Where the packed block begins in the container file that holds it; None for no such.
        place: Whose it is.
        in_force: For a key, whether it lets somebody in at the guest's next login; None for what is no key.
        same_as: Where the same thing was found first; None when this is the first.
    """

    find: Find
    file_offset: int | None
    cluster_offset: int | None
    place: Place
    in_force: bool | None = None
    same_as: int | None = None


class Totals(NamedTuple):
    """What was searched.

    Attributes:
        searched: Bytes of the disk.
        missing: Bytes that the evidence does not hold, or that cannot be read.
        left_out: Places of a kind that were not looked at any more, by kind: there were too many.
        is_complete: Whether the search came to its end.
    """

    searched: int = 0
    missing: int = 0
    left_out: tuple[tuple[Kind, int], ...] = ()
    is_complete: bool = False
