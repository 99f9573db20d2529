"""Small files of one folder, made together: read in few pieces, and named from their open folder.

That is half the work of the system for each of them. What goes wrong with a file is not told here: the one
that asked tries it again by itself.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Sequence

from b2dinspect.errors import EvidenceError
from b2dinspect.extraction.wholefile import CHUNK, Maker, temporary
from b2dinspect.filesystems.ext4 import Ext4
from b2dinspect.filesystems.node import PlainFile

GAP = 64 << 10
"""Bytes between two files that are read, too, rather than reading twice."""
IS_POSSIBLE = {os.open, os.rename, os.unlink} <= os.supports_dir_fd and os.utime in os.supports_fd
"""Whether this system names files from an open folder."""

Order = tuple[str, Sequence[PlainFile]]
"""A folder of the host, and what to make in it; from another process, plain tuples of the same."""

_FOLDER = os.O_RDONLY | getattr(os, "O_DIRECTORY", 0) | getattr(os, "O_NOFOLLOW", 0)


def make_all(files: Ext4, maker: Maker, orders: Sequence[Order]) -> int:
    """Make files; return which of them were made, a bit for each, the first one in the lowest."""
    made = first = 0
    for place, plain in orders:
        made |= _make(files, maker, place, plain) << first
        first += len(plain)
    return made


def _make(files: Ext4, maker: Maker, place: str, plain: Sequence[PlainFile]) -> int:
    made, new = 0, os.path.basename(temporary(place))  # noqa: PTH119
    try:
        folder = os.open(place, _FOLDER)
    except OSError:
        return 0
    try:
        for at, data in _contents(files, plain):
            name, _, mode, uid, gid, atime, mtime, _, _ = plain[at]
            try:
                maker.make_in(folder, new, name, (mode, uid, gid, atime, mtime), data)
            except Exception:  # noqa: S112 - whatever it is, it is met again, and told
                continue
            made |= 1 << at
    finally:
        os.close(folder)
    return made


def _contents(files: Ext4, plain: Sequence[PlainFile]) -> Iterator[tuple[int, memoryview]]:
    """Yield what can be read of the files' content, and which file it is of, in the order of the disk."""
    order = sorted((start, size, at) for at, (*_, start, size) in enumerate(plain))
    while order:
        start, size, _ = order[0]
        end, count = start + size, 1
        for begin, size, _ in order[1:]:
            if begin - end > GAP or begin + size - start > CHUNK:
                break
            end, count = max(end, begin + size), count + 1
        together, order = order[:count], order[count:]
        try:
            data = memoryview(files.read(start, end - start))
        except EvidenceError:
            continue
        for begin, size, at in together:
            yield at, data[begin - start : begin - start + size]
