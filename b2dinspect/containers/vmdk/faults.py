"""What is wrong with a descriptor, its extents and the parent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from b2dinspect.containers.vmdk import descriptor as text
from b2dinspect.containers.vmdk.descriptor import ExtentLine
from b2dinspect.findings import Finding
from b2dinspect.source import SECTOR

if TYPE_CHECKING:
    from b2dinspect.containers.vmdk.reader import VmdkContainer


MAX_NAMED = 8
"""Extents that are not there and get a finding each."""


def absent_findings(absent: list[tuple[ExtentLine, str]]) -> Iterator[Finding]:
    """Yield the first extents that are not there and why, and how many more."""
    for line, why in absent[:MAX_NAMED]:
        yield Finding("vmdk-extent-missing", "error", f"extent {line.name}: {why}", line.offset, "file")
    for line, _ in absent[MAX_NAMED : MAX_NAMED + 1]:
        message = f"{len(absent) - MAX_NAMED} more extents are missing, from {line.name} on"
        yield Finding("vmdk-extent-missing", "error", message, line.offset, "file")


def descriptor_findings(disk: VmdkContainer) -> Iterator[Finding]:
    """Yield what is wrong with the descriptor."""
    found = disk.descriptor
    if found is None or not found.text:
        message = "there is no descriptor: this is one extent of a disk, or its identity is lost"
        yield Finding("vmdk-descriptor-missing", "warning", message, None, "file")
        return
    if found.is_cut:
        message = (
            f"the descriptor is longer than the {text.MAX_SIZE} bytes or {text.MAX_EXTENTS} extents looked at"
        )
        yield Finding("vmdk-descriptor-long", "warning", message, found.offset, "file")
    if found.strange:
        more = f" ({len(found.strange) - 1} more like it)" if len(found.strange) > 1 else ""
        message = f"a line of the descriptor is neither key=value, nor an extent, nor a comment{more}"
        yield Finding("vmdk-descriptor-line", "warning", message, found.strange[0], "file")
    if disk.is_sparse:
        said = sum(line.sectors for line in found.extents) * SECTOR
        if said != disk.size:
            message = f"the descriptor's extents have {said} bytes, the header says {disk.size}"
            yield Finding("vmdk-extent-size", "warning", message, found.offset, "file")


def parent_findings(disk: VmdkContainer) -> Iterator[Finding]:
    """Yield that the parent is missing, or another one."""
    parent = disk.parent
    if not disk.parent_cid:
        return
    if parent is None:
        hint = f" {disk.parent_hint}" if disk.parent_hint else ""
        message = f"this image holds only changes; the rest is in the parent{hint} (CID {disk.parent_cid})"
        yield Finding("vmdk-parent-missing", "warning", message, None, "file")
    elif isinstance(parent, type(disk)) and parent.cid != disk.parent_cid:
        message = (
            f"this image was made on a parent of CID {disk.parent_cid}, but the parent given has "
            f"{parent.cid or 'none'}: it is another, or was written to since"
        )
        yield Finding("vmdk-parent-changed", "error", message, None, "file")
