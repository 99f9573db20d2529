"""Copying what a disk stores into an empty image, front to back, and comparing two disks.

Bytes that the source's file holds as they are go from file to file within the system; of zeros among them
only the first ones are read. The rest is read, and unpacked, by threads while what came before is written.
"""

from __future__ import annotations

import os
from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from contextlib import closing
from functools import partial
from typing import TYPE_CHECKING, TypeVar

from b2dinspect.containers.base import Container
from b2dinspect.containers.writers import DiskWriter
from b2dinspect.records import NamedTuple
from b2dinspect.source import HEAD, ByteSource, Extent, FileSource, is_zeros

if TYPE_CHECKING:
    from concurrent.futures import Future, ThreadPoolExecutor

    from b2dinspect.evidence.file import Progress

CHUNK = 1 << 20
"""Bytes that are read at once."""
RUN = 1 << 24
"""Bytes that the system copies at once: an interrupt waits for them."""
GRANULE = 1 << 16
"""Zeros that fill one, counted from the start of the disk, are not copied."""
THREADS = max(2, min(4, os.cpu_count() or 1))
AHEAD = 3 * THREADS
"""Chunks that are read and not yet written, at most."""

Key = TypeVar("Key")
Done = TypeVar("Done")


class CopyRun(NamedTuple):
    """Bytes of a disk that are copied alike.

    Attributes:
        offset: Where on the disk.
        length: Bytes.
        place: Where the source's file holds them as they are; None when they are to be read.
    """

    offset: int
    length: int
    place: int | None


def copy(disk: ByteSource, writer: DiskWriter, progress: Progress | None = None) -> int:
    """Write what a disk stores, but for zeros, and return the bytes.

    Args:
        disk: What to copy.
        writer: Of a disk on which nothing was written where this one stores something.
        progress: Told of the bytes copied, and of the bytes that the source stores.

    Raises:
        MissingDataError: The source knows of content that it does not hold.
    """
    copied, total = 0, getattr(disk, "allocated_size", None)
    found = disk.file.in_file() if isinstance(disk, Container) else None
    jobs = (
        (part, partial(disk.pread, part.offset, part.length) if part.place is None else None)
        for part in _parts(disk.extents(), found is not None)
    )
    with closing(ahead(jobs)) as parts:
        for part, data in parts:
            if data is not None:
                for start, end in _runs(part, partial(_is_blank, memoryview(data))):
                    writer.pwrite(part.offset + start, data[start:end])
                    copied += end - start
            elif found is not None and part.place is not None:
                file, begin = found[0], found[1] + part.place
                for start, end in _runs(part, partial(_reads_blank, file, begin)):
                    writer.pcopy(part.offset + start, file, begin + start, end - start)
                    copied += end - start
            if progress:
                progress("copying", copied, total)
    return copied


def _parts(extents: Iterable[Extent], is_in_file: bool) -> Iterator[CopyRun]:
    """Yield what extents store, in parts to be copied at once; neighbours that are to be read are one."""
    pending: CopyRun | None = None
    for extent in extents:
        if extent.kind == "zero":
            continue
        part = CopyRun(extent.offset, extent.length, extent.file_offset if is_in_file else None)
        if pending and _are_one(pending, part):
            pending = pending._replace(length=pending.length + part.length)
            continue
        if pending:
            yield from _cut(pending)
        pending = part
    if pending:
        yield from _cut(pending)


def _are_one(first: CopyRun, second: CopyRun) -> bool:
    is_next = first.offset + first.length == second.offset
    return is_next and first.place is second.place is None and first.length < RUN


def _cut(part: CopyRun) -> Iterator[CopyRun]:
    most = CHUNK if part.place is None else RUN
    position, end = part.offset, part.offset + part.length
    while position < end:
        until = min(end, (position // most + 1) * most)
        place = None if part.place is None else part.place + position - part.offset
        yield CopyRun(position, until - position, place)
        position = until


def _runs(part: CopyRun, is_blank: Callable[[int, int], bool]) -> Iterator[tuple[int, int]]:
    """Yield start and end, counted from the part's own, of runs of granules that are not all zeros."""
    start = position = 0
    while position < part.length:
        end = min(part.length, position + GRANULE - (part.offset + position) % GRANULE)
        if is_blank(position, end):
            if start < position:
                yield start, position
            start = end
        position = end
    if start < position:
        yield start, position


def _is_blank(view: memoryview, start: int, end: int) -> bool:
    return is_zeros(view[start:end])


def _reads_blank(file: FileSource, begin: int, start: int, end: int) -> bool:
    """Read the first bytes, and more only when they are zeros."""
    head = file.pread(begin + start, min(HEAD, end - start))
    return is_zeros(head) and is_zeros(file.pread(begin + start, end - start))


def first_difference(one: ByteSource, other: ByteSource, progress: Progress | None = None) -> int | None:
    """Return the first offset at which two disks differ, or None; looks only at what either stores."""
    if one.size != other.size:
        return min(one.size, other.size)
    offsets = sorted({*_stored(one), *_stored(other)})
    with closing(ahead((offset, partial(_differs, one, other, offset)) for offset in offsets)) as compared:
        for done, (_, where) in enumerate(compared, 1):
            if where is not None:
                return where
            if progress:
                progress("comparing", done * CHUNK, None)
    return None


def _differs(one: ByteSource, other: ByteSource, offset: int) -> int | None:
    """Return the first offset of a chunk at which two disks differ."""
    mine, theirs = one.pread(offset, CHUNK), other.pread(offset, CHUNK)
    if mine == theirs:
        return None
    return offset + next(at for at, pair in enumerate(zip(mine, theirs, strict=True)) if pair[0] != pair[1])


def _stored(disk: ByteSource) -> Iterator[int]:
    """Yield the offsets of the chunks in which a disk stores anything."""
    for extent in disk.extents():
        if extent.kind != "zero":
            yield from range(extent.offset // CHUNK * CHUNK, extent.offset + extent.length, CHUNK)


def ahead(
    jobs: Iterable[tuple[Key, Callable[[], Done] | None]],
) -> Generator[tuple[Key, Done | None], None, None]:
    """Yield each key with what its job returns, in order, while threads are at work on the next ones."""
    pool: ThreadPoolExecutor | None = None
    waiting: deque[tuple[Key, Future[Done] | None]] = deque()
    try:
        for key, job in jobs:
            if job is not None and pool is None:
                from concurrent.futures import ThreadPoolExecutor  # slow to import

                pool = ThreadPoolExecutor(THREADS)
            waiting.append((key, pool.submit(job) if pool and job else None))
            while waiting and (waiting[0][1] is None or len(waiting) > AHEAD):
                key, future = waiting.popleft()
                yield key, _result(future)
        for key, future in waiting:
            yield key, _result(future)
    finally:
        if pool:
            pool.shutdown(cancel_futures=True)


def _result(future: Future[Done] | None) -> Done | None:
    return future.result() if future else None
