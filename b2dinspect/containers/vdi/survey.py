"""One walk through the block map when an image is opened, and what is wrong with it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from b2dinspect.containers.blocks import Fault
from b2dinspect.containers.vdi.layout import ENTRY_SIZE, FREE, MAX_BLOCKS, ZERO
from b2dinspect.findings import Finding
from b2dinspect.records import NamedTuple

if TYPE_CHECKING:
    from b2dinspect.containers.vdi.reader import VdiContainer


MAX_FALSE_ENTRIES = 1 << 16
"""Entries beyond what the file can hold, after which a map is known to be false and not looked at further."""


class Survey(NamedTuple):
    """What the map says: stored blocks, faults, and whether all of it was looked at."""

    allocated: int
    shared: Fault
    outside: Fault
    is_whole: bool


def survey_map(disk: VdiContainer) -> Survey:
    """Go once through the map: count, and collect entries that share a block or point outside the file."""
    allocated, shared, outside = 0, Fault(), Fault()
    blocks_in_file = max(0, disk.file.size - disk.block_offset(0)) // (disk.block_size + disk.extra) + 1
    seen = bytearray(min(blocks_in_file, MAX_BLOCKS))
    for block, entry in disk.map.used(FREE, ZERO):
        allocated += 1
        if allocated > blocks_in_file + MAX_FALSE_ENTRIES:
            return Survey(allocated, shared, outside, is_whole=False)
        if entry >= len(seen) or disk.block_offset(entry) + _last_bytes(disk, block) > disk.file.size:
            outside.add(block)
        elif seen[entry]:
            shared.add(block)
        else:
            seen[entry] = 1
    return Survey(allocated, shared, outside, is_whole=True)


def _last_bytes(disk: VdiContainer, block: int) -> int:
    """Return how many bytes of this block belong to the disk: the last block may stick out."""
    return max(1, min(disk.block_size, disk.size - block * disk.block_size))


def survey_findings(survey: Survey, disk: VdiContainer) -> Iterator[Finding]:
    """Yield what is wrong with the entries of the map."""
    header = disk.header
    for fault, name, text in (
        (survey.shared, "vdi-block-shared", "points to a block of the file that another entry uses too"),
        (survey.outside, "vdi-block-outside", "points past the end of the file: its content is missing"),
    ):
        if fault.count:
            least = "" if survey.is_whole else "at least "
            more = f" ({least}{fault.count - 1} more like it)" if fault.count > 1 else ""
            where = disk.map_offset + fault.number * ENTRY_SIZE
            yield Finding(name, "error", f"block {fault.number} of the map {text}{more}", where, "file")
    if survey.is_whole and survey.allocated != header.blocks_allocated:
        text = f"the header counts {header.blocks_allocated} allocated blocks, the map has {survey.allocated}"
        yield Finding("vdi-allocated-count", "warning", text, None, "file")


def _parent_findings(disk: VdiContainer) -> Iterator[Finding]:
    header, parent = disk.header, disk.parent
    if parent is None:
        text = (
            f"this {disk.variant} image holds only changes; the rest is in the parent {header.uuid_linkage}"
        )
        yield Finding("vdi-parent-missing", "warning", text, None, "file")
    elif isinstance(parent, type(disk)):
        expected, found = header.get("uuid_parent_modify"), parent.header.uuid_modify
        if parent.header.uuid_create != header.uuid_linkage:
            text = (
                "the parent given is another image "
                f"(expected {header.uuid_linkage}, found {parent.header.uuid_create})"
            )
            yield Finding("vdi-parent-mismatch", "error", text, None, "file")
        elif expected and expected.int and expected != found:
            text = (
                "the parent was written to since this image was made on it "
                f"(expected {expected}, found {found})"
            )
            yield Finding("vdi-parent-changed", "error", text, None, "file")


def header_findings(disk: VdiContainer) -> Iterator[Finding]:
    """Yield what is wrong with the parent, and with the size of the map."""
    header, block_map = disk.header, disk.map
    if disk.is_child:
        yield from _parent_findings(disk)
    if block_map.held < block_map.count:
        text = f"the file ends inside the block map: {block_map.held} of {block_map.count} entries are there"
        yield Finding("vdi-map-cut", "error", text, disk.file.size, "file")
    if header.block_count * disk.block_size < disk.size:
        text = f"the block map has room for {header.block_count * disk.block_size} bytes of {disk.size}"
        yield Finding("vdi-map-short", "error", text, None, "file")
