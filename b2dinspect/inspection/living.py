"""Filesystems that live on a disk though no partition table names them: overwritten ones, and shifted ones.

A table tool writes a few sectors, mkfs some more; what lay there before lives on behind them. So before
anybody calls a disk empty, this looks for what begins anywhere: at every sector that the image stores, for
its first SCANNED bytes, and where table tools of all times put partitions, at every MiB, cylinder and track,
for the rest. A backup superblock counts as much as a primary one.

The work is bounded by SCANNED and LOOKS, whatever the size of the disk.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

from b2dinspect.containers import Container
from b2dinspect.filesystems import backups, superblock
from b2dinspect.filesystems.copies import Sight, sights_in, size_of
from b2dinspect.filesystems.signatures import strong_signature
from b2dinspect.guests import DATA_LABEL, PROFILES, SWAP_SECTORS, starts
from b2dinspect.inspection.volumes import SEARCHED, UNNAMED, Volume, ext_at, named_at
from b2dinspect.partitions import Partition
from b2dinspect.records import NamedTuple
from b2dinspect.source import SECTOR, read_lenient

STARTS = (
    0,  # no table at all
    32,  # a track of 64 heads x 32 sectors
    34,  # the first sector behind a GPT
    40,  # the same as Apple's tools have it
    48,  # the same with sectors of 4096 bytes
    56,  # a track of 56 sectors: flash cards
    *(8, 16, 64, 128, 256, 512, 1024),  # tools that align to pages and flash blocks
    63,  # a track of 255 heads x 63 sectors: every tool until 2010
    2048,  # 1 MiB: every tool since
    2048 + SWAP_SECTORS,  # behind the swap of the guests' util-linux fdisk
    1955840,  # behind the swap of busybox fdisk, 64 heads x 32 sectors
    1975995,  # the same with 255 heads x 63 sectors
    409640,  # behind the EFI partition of macOS
)
"""Sectors of 512 bytes at which partitions begin."""

CYLINDER, TRACK = 255 * 63, 63
STEPS = ((2048, 0, 8192), (CYLINDER, 0, 2048), (CYLINDER, TRACK, 2048), (2048, 32, 2048))
"""Sectors from one place to the next, sectors behind each, and how many of them are looked at."""
LOOKS = 1024 + sum(most for _, _, most in STEPS)
"""Reads of one page, at most."""
SCANNED, CHUNK = 256 << 20, 1 << 20
"""Stored bytes of nothing known, of which every sector is looked at, and bytes that are read at once."""
MAX_SIGHTS, MAX_TRIES = 1024, 128
"""Sectors that seem to say something, and places at which it is tried whether something begins there."""
MAX_EXTENTS = 1 << 17
"""Stored runs of the image that are walked through."""
PAGE = 4096
REACH = (128 << 10) + PAGE
"""Bytes within which a signature stands."""
MAX_FOUND = 16


class _Span(NamedTuple):
    """Bytes that belong to something that is known."""

    start: int
    end: int

    def holds(self, offset: int) -> bool:
        return self.start <= offset < self.end


def living_on(disk: Container, volumes: Sequence[Volume]) -> tuple[Volume, ...]:
    """Return the filesystems and swap areas that no volume is, in the order of the disk.

    Args:
        disk: The virtual disk.
        volumes: What the table names, or what fills the whole disk.
    """
    search = _Search(disk, volumes)
    search.at_starts([part.partition.start for part in volumes])
    search.beneath()
    search.at_sectors()
    for step, shift, most in STEPS:
        search.at_steps(step, shift, most)
    return tuple(sorted(search.found, key=lambda one: one.partition.start))


class _Search:
    """One search; remembers what it found, and looks nowhere inside of it."""

    def __init__(self, disk: Container, volumes: Sequence[Volume]) -> None:
        self.found: list[Volume] = []
        self._disk = disk
        self._volumes = volumes
        self._known = [_span(one) for one in volumes if one.filesystem not in SEARCHED and not one.obstacle]
        self._named = [_span(one) for one in volumes if one.filesystem not in UNNAMED]
        self._tried: set[tuple[int, bool]] = set()
        self._extents = _stored_extents(disk)
        self._scanned = 0

    def at_starts(self, table_starts: Sequence[int]) -> None:
        """Look for something that begins at one of these sectors, or where tools begin partitions."""
        for start in dict.fromkeys((*table_starts, *STARTS)):
            offset = start * SECTOR
            if offset < self._disk.size and not self._is_inside(offset) and self._has_anything(offset):
                self._try_start(offset)

    def beneath(self) -> None:
        """Look where our guests put their data, in what somebody else's filesystem was made over."""
        for start in sorted({start for profile in PROFILES for start in starts(profile)}):
            part = Partition("none", 0, start, self._disk.size // SECTOR - start)
            primary = read_lenient(self._disk, part.offset + superblock.OFFSET, superblock.SIZE)
            if self._is_inside(part.offset) and superblock.has_magic(primary):
                found = self._ext(part)
                if found is not None and found.label == DATA_LABEL:
                    self.found.append(found)

    def at_steps(self, step: int, shift: int, most: int) -> None:
        """Look at every ``step`` sectors of what is stored behind what was looked at whole."""
        places = self._stored(step * SECTOR, shift * SECTOR)
        for looked, offset in enumerate(places):
            if looked >= most or len(self.found) >= MAX_FOUND:
                return
            if offset >= self._scanned and not self._is_known(offset):
                self._look(offset)

    def at_sectors(self) -> None:
        """Look at every sector that is stored and belongs to nothing that is known."""
        sights: dict[int, list[Sight]] = {}
        for sight in islice(self._sights(), MAX_SIGHTS):
            if sight is not None:
                sights.setdefault(sight.start, []).append(sight)
        copies = _most_copies(sights.values())
        for start in sorted(sights)[:MAX_TRIES]:
            here = [one for one in sights[start] if one.kind != "ext" or _counts(one, sights[start], copies)]
            if here and len(self.found) < MAX_FOUND and not self._is_known(start):
                self._try_start(start, here[0])

    def _sights(self) -> Iterator[Sight | None]:
        left = SCANNED
        for begin, end in self._extents:
            for offset in range(begin - begin % SECTOR, end, CHUNK):
                if self._is_known(offset) and self._is_known(min(offset + CHUNK, end) - 1):
                    continue
                if left <= 0:
                    return
                self._scanned = min(offset + CHUNK, end)
                data = read_lenient(self._disk, offset, min(CHUNK, end - offset))
                left -= len(data)
                if data.strip(b"\0"):
                    yield from sights_in(self._disk, data, offset)

    def _stored(self, step: int, shift: int) -> Iterator[int]:
        """Yield the places that are stored, or whose first 1024 bytes alone are not: those may be zeros."""
        last = -1
        for begin, end in self._extents:
            first = max(last + 1, -(-(begin - superblock.OFFSET - shift) // step))
            for number in range(first, (end - shift - 1) // step + 1):
                last = number
                yield number * step + shift

    def _has_anything(self, offset: int) -> bool:
        """Tell whether a byte is stored where a filesystem that begins there has a signature or a copy."""
        areas = ((0, REACH), *((place, PAGE) for place in backups.places()))
        return any(self._is_stored(offset + place, length) for place, length in areas)

    def _is_stored(self, offset: int, length: int) -> bool:
        at = bisect_right(self._extents, (offset, self._disk.size)) - 1
        around = self._extents[max(at, 0) : at + 2]
        return any(begin < offset + length and offset < end for begin, end in around)

    def _look(self, offset: int) -> None:
        """Look for a superblock, primary or backup, or another signature, at one place."""
        page = read_lenient(self._disk, offset, PAGE)
        for within in (superblock.OFFSET, 0):
            copy = backups.copy_in(page[within : within + superblock.SIZE], offset + within)
            if copy and copy.start >= 0 and not copy.start % SECTOR and not self._is_known(copy.start):
                self._try_start(copy.start)
                return
        if strong_signature(page):
            self._try_start(offset)

    def _try_start(self, offset: int, sight: Sight | None = None) -> None:
        if (offset, sight is None) in self._tried or offset >= self._disk.size:
            return
        self._tried.add((offset, sight is None))
        part = Partition("none", 0, offset // SECTOR, (self._disk.size - offset) // SECTOR)
        found = self._ext(part) or self._other(part, sight)
        if found is not None:
            self.found.append(found)
            self._named.append(_span(found))
            is_told = found.is_ext or size_of(found.filesystem, found.source)
            if is_told and found.filesystem not in SEARCHED:
                self._known.append(_span(found))

    def _ext(self, part: Partition) -> Volume | None:
        """Return the ext filesystem at a place, if more than 1024 bytes speak for it, and no volume is it."""
        if not self._can_be_ext(part.offset):
            return None
        found = ext_at(self._disk, part)
        if found is None or any(one.is_ext and one.partition.start == part.start for one in self._volumes):
            return None
        where = found.headers[0].offset - part.offset
        copy = backups.Copy(where, found.superblock, found.headers[0].data)
        if not backups.has_descriptors(found.source, copy) and not found.is_incomplete:
            return None
        size = superblock.block_count(found.superblock) * superblock.block_size(found.superblock)
        sectors = min(part.sectors, -(-size // SECTOR))
        return ext_at(self._disk, part._replace(sectors=sectors))

    def _other(self, part: Partition, sight: Sight | None) -> Volume | None:
        if any(span.holds(part.offset) for span in self._named):
            return None
        copied = sight.kind if sight and sight.kind != "ext" else ""
        return named_at(self._disk, part, copied)

    def _can_be_ext(self, offset: int) -> bool:
        primary = read_lenient(self._disk, offset + superblock.OFFSET, superblock.SIZE)
        copies = (self._is_stored(offset + place, PAGE) for place in backups.places())
        return superblock.has_magic(primary) or any(copies) or self._has_narrow_copies(offset)

    def _has_narrow_copies(self, offset: int) -> bool:
        """Tell whether something is stored where narrow groups of what a table names have copies."""
        first, *_, last = sorted(backups.narrow_places())
        starts = (0, *(one.partition.offset for one in self._volumes))
        return offset in starts and self._is_stored(offset + first, last - first)

    def _is_known(self, offset: int) -> bool:
        return any(span.holds(offset) for span in self._known)

    def _is_inside(self, offset: int) -> bool:
        return any(span.holds(offset) and offset != span.start for span in self._known)


def _stored_extents(disk: Container) -> list[tuple[int, int]]:
    """Return where the bytes begin and end that the image stores, in order."""
    found: list[tuple[int, int]] = []
    for extent in islice(disk.extents(), MAX_EXTENTS):
        begin, end = extent.offset, extent.offset + extent.length
        if extent.kind == "data" and found and found[-1][1] == begin:
            found[-1] = (found[-1][0], end)
        elif extent.kind == "data":
            found.append((begin, end))
    return found


def _span(volume: Volume) -> _Span:
    begin, size = volume.partition.offset, volume.partition.size
    told = None if volume.is_ext else size_of(volume.filesystem, volume.source)
    return _Span(begin, begin + min(size, told or size))


def _most_copies(sights: Iterable[Sequence[Sight]]) -> dict[object, int]:
    """Return how many superblocks agree about where it begins, at best, for each ext filesystem."""
    most: dict[object, int] = {}
    for here in sights:
        for one in here:
            if one.kind == "ext":
                agree = sum(other.identity == one.identity for other in here)
                most[one.identity] = max(most.get(one.identity, 0), agree)
    return most


def _counts(one: Sight, here: Sequence[Sight], most: dict[object, int]) -> bool:
    """Tell a superblock from a copy of it in a journal, which has no company where it says to begin."""
    agree = sum(other.identity == one.identity for other in here)
    return agree > 1 or most[one.identity] == 1
