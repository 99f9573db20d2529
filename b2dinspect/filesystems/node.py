"""What an inode says, whoever read it."""

from __future__ import annotations

from typing import NamedTuple


class Node(NamedTuple):
    """Facts about an inode.

    Attributes:
        inode: Its number.
        mode: Unix type and permission bits; no type when the inode is not in use.
        uid: Owner.
        gid: Group.
        size: Bytes.
        mtime: Last change of content, seconds since 1970.
        link: Target of a symbolic link, else empty.
        links: How many names it has.
        mtime_ns: ``mtime`` in nanoseconds.
        atime_ns: Last access, nanoseconds since 1970.
        ctime_ns: Last change of the inode, nanoseconds since 1970.
        device: Major and minor number of a device, else zeros.
    """

    inode: int
    mode: int
    uid: int
    gid: int
    size: int
    mtime: int
    link: bytes
    links: int
    mtime_ns: int = 0
    atime_ns: int = 0
    ctime_ns: int = 0
    device: tuple[int, int] = (0, 0)


class PlainFile(NamedTuple):
    """A file that is quickly copied: it has one name, and its content is in one piece.

    Attributes:
        name: As stored.
        inode: Its number.
        mode: Unix type and permission bits.
        uid: Owner.
        gid: Group.
        atime_ns: Last access, nanoseconds since 1970.
        mtime_ns: Last change of content, the same.
        start: Byte of the filesystem where its content begins; 0 for none.
        size: Bytes.
    """

    name: bytes
    inode: int
    mode: int
    uid: int
    gid: int
    atime_ns: int
    mtime_ns: int
    start: int
    size: int
