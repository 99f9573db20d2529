"""One walk through the BAT when an image is opened, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from b2dinspect.containers.blocks import overlapping
from b2dinspect.containers.vhdx.layout import KIB, MIB, PARTIAL, PRESENT, block_offset
from b2dinspect.containers.vhdx.regions import Regions
from b2dinspect.findings import Finding
from b2dinspect.records import NamedTuple

if TYPE_CHECKING:
    from b2dinspect.containers.vhdx.reader import VhdxContainer


MAX_LOG = 16 * MIB
"""Bytes of the log that are searched for entries."""
MAX_SURVEYED = 1 << 21
MAX_FALSE_ENTRIES = 1 << 16
"""Entries beyond what the file can hold, after which a BAT is known to be false and not looked at further."""


class Survey(NamedTuple):
    """What the BAT says; faults are the first block that has one, and how many have it."""

    allocated: int
    faults: dict[str, tuple[int, int]]
    is_whole: bool


def survey_table(disk: VhdxContainer, regions: Regions) -> Survey:
    """Go once through the BAT: count, and look for blocks on top of something or outside the file."""
    limit = min(MAX_SURVEYED, disk.file.size // disk.block_size + MAX_FALSE_ENTRIES)
    faults: dict[str, tuple[int, int]] = {}
    starts: list[int] = []
    allocated = 0

    def add(name: str, block: int, count: int = 1) -> None:
        first, seen = faults.get(name, (block, 0))
        faults[name] = (first, seen + count)

    for block, entry in disk.table.used():
        if allocated > limit:
            break
        allocated += 1
        needed = min(disk.block_size, disk.size - block * disk.block_size)
        if entry & 7 < PRESENT or (entry & 7 == PARTIAL and not disk.is_child):
            add("vhdx-block-state", block)
        elif block_offset(entry) + needed > disk.file.size:
            add("vhdx-block-outside", block)
        else:
            starts.append(entry >> 20)
    starts.sort()
    bad = overlapping(starts, disk.block_size // MIB, regions.in_mib(disk.header.values))
    if bad:
        first = next((block for block, entry in disk.table.used() if entry >> 20 in bad), -1)
        add("vhdx-block-overlap", first, sum(start in bad for start in starts))
    return Survey(allocated, faults, allocated <= limit)


def survey_findings(survey: Survey, disk: VhdxContainer) -> Iterator[Finding]:
    """Yield what is wrong with the entries of the BAT."""
    for name, text in (
        ("vhdx-block-state", "has a state that means nothing in this disk"),
        ("vhdx-block-overlap", "lies on another block or on the file's tables"),
        ("vhdx-block-outside", "points past the end of the file: its content is missing"),
    ):
        if name in survey.faults:
            first, count = survey.faults[name]
            least = "" if survey.is_whole else "at least "
            more = f" ({least}{count - 1} more like it)" if count > 1 else ""
            where = disk.table.place(first)
            yield Finding(name, "error", f"block {first} of the BAT {text}{more}", where, "file")
    if not survey.is_whole:
        text = f"the BAT has more than {survey.allocated - 1} entries in use; the rest was not looked at"
        yield Finding("vhdx-bat-long", "warning", text, disk.table.offset, "file")
    last = disk.table.place(disk.table.count - 1) - disk.table.offset
    if last // 8 >= disk.table.held:
        text = f"the BAT holds {disk.table.held} entries of {last // 8 + 1}"
        yield Finding("vhdx-bat-short", "error", text, disk.table.offset, "file")


def log_findings(disk: VhdxContainer) -> Iterator[Finding]:
    """Yield that the log would have to be replayed."""
    header = disk.header.values
    if not header.log_guid.int:
        return
    count = 0
    end = min(disk.file.size, header.log_offset + min(header.log_length, MAX_LOG))
    for offset in range(header.log_offset, end, 4 * KIB):
        entry = disk.file.pread(offset, 48)
        count += entry[:4] == b"loge" and entry[32:] == header.log_guid.bytes_le
    if count:
        text = (
            f"the log holds {count} entries to replay: the disk was not closed; shown as it is without them"
        )
        yield Finding("vhdx-log-dirty", "warning", text, header.log_offset, "file")


def parent_findings(disk: VhdxContainer) -> Iterator[Finding]:
    """Yield what is wrong with the parent."""
    if not disk.is_child:
        return
    linkage = [disk.parent_names.get(key, "") for key in ("parent_linkage", "parent_linkage2")]
    if disk.parent is None:
        text = f"this differencing image holds only changes; the rest is in the parent {linkage[0]}"
        yield Finding("vhdx-parent-missing", "warning", text, None, "file")
    elif isinstance(disk.parent, type(disk)):
        found = f"{{{disk.parent.header.values.data_write_guid}}}"
        if found.lower() not in [name.lower() for name in linkage]:
            text = f"the parent given is another image, or was changed (expected {linkage[0]}, found {found})"
            yield Finding("vhdx-parent-mismatch", "error", text, None, "file")
