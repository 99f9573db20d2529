"""Which header counts, and where BAT and metadata are."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from typing import Any

from b2dinspect.containers.vhdx.layout import (
    BAT_REGION,
    HEADER,
    HEADER_OFFSETS,
    HEADER_SIZE,
    METADATA_REGION,
    MIB,
    REGION_ENTRY,
    REGION_OFFSETS,
    REGION_SIZE,
    REGION_TABLE,
    REQUIRED_REGION,
    check_count,
    seal,
)
from b2dinspect.errors import ContainerError
from b2dinspect.fields import Header
from b2dinspect.findings import Finding
from b2dinspect.records import NamedTuple
from b2dinspect.source import ByteSource, read_exactly


class ActiveHeader(NamedTuple):
    """The header that counts, parsed, and both as found."""

    values: Any
    found: tuple[Header, ...]


def choose_header(file: ByteSource) -> tuple[ActiveHeader, list[Finding]]:
    """Return the header that counts, and what is wrong with the other one."""
    found, findings, sound, readable = [], [], [], []
    for number, offset in enumerate(HEADER_OFFSETS, 1):
        name = f"VHDX header {number}"
        raw = read_exactly(file, offset, HEADER_SIZE, ContainerError, name)
        header = Header(name, "file", offset, HEADER, raw[: HEADER.sizeof()])
        values = HEADER.parse(raw)
        if values.signature != b"head":
            text = f"header {number} is not there (expected head, found {values.signature.hex()})"
            findings.append(Finding("vhdx-header-damaged", "error", text, offset, "file"))
            continue
        found.append(header)
        readable.append(values)
        if (expected := seal(raw)) == values.checksum:
            sound.append(values)
        else:
            fault = f"(expected {expected:#x}, found {values.checksum:#x})"
            text = f"header {number} has a wrong checksum {fault}"
            findings.append(Finding("vhdx-header-damaged", "error", text, offset + 4, "file"))
    if not readable:
        raise ContainerError(
            "neither header is there", layer="VHDX header", offset=HEADER_OFFSETS[0], expected="head"
        )
    chosen = max(sound or readable, key=lambda values: values.sequence_number)
    if chosen.version != 1:
        raise ContainerError(
            "unknown version", layer="VHDX header", offset=66, expected=1, found=chosen.version
        )
    return ActiveHeader(chosen, tuple(found)), findings


class Region(NamedTuple):
    """A place in the file, in bytes."""

    offset: int
    length: int


class Regions(NamedTuple):
    """Where BAT and metadata are, the structures that say so, and what is wrong with these."""

    bat: Region
    metadata: Region
    headers: tuple[Header, ...]
    findings: tuple[Finding, ...]

    def in_mib(self, header: Any) -> Iterator[tuple[int, int]]:
        """Yield start and end of all that is no block, in MiB."""
        log = Region(header.log_offset, header.log_length)
        for region in (Region(0, MIB), self.bat, self.metadata, log):
            yield region.offset // MIB, -(-(region.offset + region.length) // MIB)


def read_regions(file: ByteSource) -> Regions:
    """Return the regions of the first sound table, or of a damaged one when both are.

    Raises:
        ContainerError: Neither table is there, or it has no BAT or metadata.
    """
    findings = []
    chosen: tuple[int, bytes] | None = None
    for number, offset in enumerate(REGION_OFFSETS, 1):
        raw = file.pread(offset, REGION_SIZE) if offset < file.size else b""
        if raw[:4] != b"regi" or len(raw) < REGION_SIZE:
            text = f"region table {number} is not there (expected regi, found {raw[:4].hex()})"
            findings.append(Finding("vhdx-region-table-damaged", "error", text, offset, "file"))
            continue
        if chosen and raw == chosen[1]:
            break  # the same bytes have the same checksum
        stored = int.from_bytes(raw[4:8], "little")
        if (expected := seal(raw)) != stored:
            text = f"region table {number} has a wrong checksum (expected {expected:#x}, found {stored:#x})"
            findings.append(Finding("vhdx-region-table-damaged", "error", text, offset + 4, "file"))
            chosen = chosen or (offset, raw)
        elif not chosen or findings:
            chosen = (offset, raw)
    if not chosen:
        raise ContainerError(
            "neither region table is there",
            layer="VHDX region table",
            offset=REGION_OFFSETS[0],
            expected="regi",
        )
    return _parse_regions(*chosen, findings)


def _parse_regions(offset: int, raw: bytes, findings: list[Finding]) -> Regions:
    table = REGION_TABLE.parse(raw)
    layer = "VHDX region table"
    check_count(layer, table.entry_count, offset + 8)
    headers = [Header(layer, "file", offset, REGION_TABLE, raw[: REGION_TABLE.sizeof()])]
    places: dict[uuid.UUID, Region] = {}
    for number in range(table.entry_count):
        at = REGION_TABLE.sizeof() + number * REGION_ENTRY.sizeof()
        entry = REGION_ENTRY.parse(raw[at : at + REGION_ENTRY.sizeof()])
        if entry.guid in (BAT_REGION, METADATA_REGION):
            name = "BAT" if entry.guid == BAT_REGION else "metadata"
            data = raw[at : at + REGION_ENTRY.sizeof()]
            headers.append(Header(f"VHDX region {name}", "file", offset + at, REGION_ENTRY, data))
            places.setdefault(entry.guid, Region(entry.offset, entry.length))
        elif entry.flags & REQUIRED_REGION:
            text = (
                f"a region of unknown kind {entry.guid} is called required: the disk may be more than shown"
            )
            findings.append(Finding("vhdx-region-unknown", "error", text, offset + at, "file"))
    for guid, name in ((BAT_REGION, "BAT"), (METADATA_REGION, "metadata")):
        if guid not in places:
            raise ContainerError(f"the {name} has no region", layer=layer, offset=offset, expected=guid)
    return Regions(places[BAT_REGION], places[METADATA_REGION], tuple(headers[:8]), tuple(findings))
