"""One walk through the BAT when an image is opened, and what is wrong with it."""

from __future__ import annotations

from array import array
from bisect import bisect_right
from collections.abc import Iterator
from itertools import islice
from typing import TYPE_CHECKING

from b2dinspect.containers.blocks import overlapping
from b2dinspect.containers.tables import PagedTable
from b2dinspect.containers.vhd.layout import ENTRY_SIZE, FREE, LOCATORS, checksum, whole_sectors
from b2dinspect.containers.vhd.locators import code_text
from b2dinspect.findings import Finding
from b2dinspect.records import NamedTuple
from b2dinspect.source import SECTOR

if TYPE_CHECKING:
    from b2dinspect.containers.vhd.reader import VhdContainer


MAX_SURVEYED = 1 << 21
"""Stored blocks that are compared with each other; a disk of Windows has at most 2^20."""
MAX_FALSE_ENTRIES = 1 << 16
"""Entries beyond what the file can hold, after which a BAT is known to be false and not looked at further."""
SAMPLED_BLOCKS = 16
SAMPLED_BYTES = 1 << 16


class Survey(NamedTuple):
    """What the BAT says; faults are the first block that has one, and how many have it."""

    allocated: int
    outside: tuple[int, int]
    overlapping: tuple[int, int]
    is_whole: bool


def survey_table(disk: VhdContainer) -> Survey:
    """Go once through the BAT: count, and look for blocks on top of something or outside the file."""
    stride = disk.bitmap_size + disk.block_size
    limit = min(MAX_SURVEYED, disk.file.size // stride + MAX_FALSE_ENTRIES)
    starts = sorted(_entries(disk.table, limit))
    is_whole = len(starts) <= limit
    inside = bisect_right(starts, (disk.file.size - stride) // SECTOR)
    outside = len(starts) - inside
    if outside and _fits_as_last(disk):
        outside -= 1
    places = (*_header_regions(disk), _table_region(disk))
    regions = [(start // SECTOR, -(-end // SECTOR)) for start, end in places]
    on_top = overlapping(starts[:inside], stride // SECTOR, regions)
    return Survey(
        len(starts),
        (_first_block(disk, set(starts[inside:])), outside) if outside else (-1, 0),
        (_first_block(disk, on_top), sum(entry in on_top for entry in starts)) if on_top else (-1, 0),
        is_whole,
    )


def _entries(table: PagedTable, limit: int) -> array[int]:
    """Return all entries but the free ones, or the first of them when there are more than ``limit``."""
    found = array("I")
    for _, run in table.used_runs(FREE):
        found.extend(entry for entry in run if entry != FREE)
        if len(found) > limit:
            break
    return found


def _fits_as_last(disk: VhdContainer) -> bool:
    """Tell whether the file holds what the disk needs of its last block, though not the whole block."""
    block = disk.table.count - 1
    entry = disk.table.get(block)
    if entry is None or entry == FREE:
        return False
    room = disk.file.size - entry * SECTOR - disk.bitmap_size
    return _last_bytes(disk, block) <= room < disk.block_size


def _first_block(disk: VhdContainer, entries: set[int]) -> int:
    return next((block for block, entry in disk.table.used(FREE) if entry in entries), -1)


def _header_regions(disk: VhdContainer) -> list[tuple[int, int]]:
    return [(header.offset, header.offset + len(header.data)) for header in disk.headers]


def _table_region(disk: VhdContainer) -> tuple[int, int]:
    return disk.table.offset, disk.table.offset + disk.dynamic_header.table_entries * ENTRY_SIZE


def _last_bytes(disk: VhdContainer, block: int) -> int:
    """Return how many bytes of this block belong to the disk: the last block may stick out."""
    return min(disk.block_size, disk.size - block * disk.block_size)


def survey_findings(survey: Survey, disk: VhdContainer) -> Iterator[Finding]:
    """Yield what is wrong with the entries of the BAT."""
    for (first, count), name, text in (
        (survey.overlapping, "vhd-block-overlap", "lies on another block, a header or the BAT"),
        (survey.outside, "vhd-block-outside", "points past the end of the file: its content is missing"),
    ):
        if count:
            least = "" if survey.is_whole else "at least "
            more = f" ({least}{count - 1} more like it)" if count > 1 else ""
            where = disk.table.offset + first * ENTRY_SIZE
            yield Finding(name, "error", f"block {first} of the BAT {text}{more}", where, "file")
    if not survey.is_whole:
        text = f"the BAT has more than {survey.allocated - 1} entries in use; the rest was not looked at"
        yield Finding("vhd-bat-long", "warning", text, disk.table.offset, "file")


def header_findings(disk: VhdContainer) -> Iterator[Finding]:
    """Yield what is wrong with the dynamic disk header and the extent of the BAT."""
    header, table, offset = disk.dynamic_header, disk.table, disk.header.offset
    if (expected := checksum(disk.header.data, 36)) != header.checksum:
        fault = f"(expected {expected:#x}, found {header.checksum:#x})"
        text = f"the dynamic disk header has a wrong checksum {fault}; read all the same"
        yield Finding("vhd-header-checksum", "error", text, offset + 36, "file")
    start, end = _table_region(disk)
    if any(start < region_end and end > region_start for region_start, region_end in _header_regions(disk)):
        text = "the BAT lies on a footer or on the dynamic disk header"
        yield Finding("vhd-bat-overlap", "error", text, start, "file")
    if table.held < table.count:
        text = f"the file ends inside the BAT: {table.held} of {table.count} entries are there"
        yield Finding("vhd-bat-cut", "error", text, disk.file.size, "file")
    if header.table_entries * disk.block_size < disk.size:
        text = f"the BAT has room for {header.table_entries * disk.block_size} bytes of {disk.size}"
        yield Finding("vhd-bat-short", "error", text, offset + 28, "file")


def parent_findings(disk: VhdContainer) -> Iterator[Finding]:
    """Yield what is wrong with the parent and its names."""
    header = disk.dynamic_header
    if not disk.is_child:
        return
    if disk.parent is None:
        text = f"this differencing image holds only changes; the rest is in the parent {header.parent_uuid}"
        yield Finding("vhd-parent-missing", "warning", text, None, "file")
    elif isinstance(disk.parent, type(disk)) and disk.parent.footer.values.uuid != header.parent_uuid:
        found = disk.parent.footer.values.uuid
        text = f"the parent given is another image (expected {header.parent_uuid}, found {found})"
        yield Finding("vhd-parent-mismatch", "error", text, None, "file")
    for name in LOCATORS:
        locator = header[name]
        if locator.data_length and locator.data_offset + locator.data_length > disk.file.size:
            text = f"the parent's {name} ({code_text(locator.platform)}) points past the end of the file"
            yield Finding("vhd-locator-outside", "warning", text, None, "file")


def bitmap_findings(disk: VhdContainer) -> Iterator[Finding]:
    """Tell of data behind clear bits, from the first blocks: every block's bitmap would take a seek each."""
    if disk.is_child:
        return
    for block, entry in islice(disk.table.used(FREE), SAMPLED_BLOCKS):
        start = block * disk.block_size
        pieces = disk._pieces(start, start + _last_bytes(disk, block))
        first = next((piece for piece in pieces if piece.kind == "zero"), None)
        if not first:
            continue
        where = entry * SECTOR + disk.bitmap_size + first.offset - start
        if disk.file.pread(where, min(first.length, SAMPLED_BYTES)).strip(b"\0"):
            text = (
                f"sectors of block {block} hold data, but its sector bitmap says they were never written: "
                "shown as zeros, as never written; qemu shows the data"
            )
            yield Finding("vhd-bitmap-hides", "warning", text, where, "file")
            return


def size_findings(disk: VhdContainer) -> Iterator[Finding]:
    """Yield what footer, geometry and file say differently of the size, and that a machine was saved."""
    footer, offset = disk.footer.values, disk.footer.header.offset
    if disk.size != whole_sectors(footer.current_size):
        text = (
            f"the footer says {footer.current_size} bytes, its geometry {disk.size}; for an image of this "
            "creator the geometry counts, as in qemu"
        )
        yield Finding("vhd-two-sizes", "info", text, offset + 48, "file")
    if disk.variant == "fixed" and disk.held < disk.size:
        text = f"the file holds {disk.held} bytes of a disk of {disk.size}: the rest is missing"
        yield Finding("vhd-fixed-cut", "error", text, disk.held, "file")
    if footer.saved_state:
        text = "the machine was saved while it ran: what it held in memory may not be on this disk"
        yield Finding("vhd-saved-state", "info", text, offset + 84, "file")
