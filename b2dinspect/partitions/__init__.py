"""Partition tables: GPT, its backup, MBR; every refusal keeps its reason.

As in Linux and sfdisk, an MBR with partitions of its own and no protective entry outranks a GPT behind it.
A table that no guest would see (no protective MBR, only the backup left) is read all the same, with an error
among its findings.
"""

from __future__ import annotations

from typing import Any

from b2dinspect.errors import EvidenceError, MissingDataError
from b2dinspect.fields import Header
from b2dinspect.findings import Finding
from b2dinspect.partitions import gpt, mbr
from b2dinspect.partitions.base import Partition, PartitionTable, layout_findings
from b2dinspect.source import SECTOR, ByteSource

__all__ = ["Partition", "PartitionTable", "read_table"]

WIDE_SECTOR = 4096


def read_table(disk: ByteSource) -> PartitionTable:
    """Return the partition table of a virtual disk. Never raises for what the disk holds."""
    try:
        head = disk.pread(0, 2 * SECTOR)
    except MissingDataError as error:
        return _missing(error, 0)
    found = mbr.read_mbr(head[:SECTOR])
    is_protective = not isinstance(found, str) and any(
        entry.type == mbr.TYPE_PROTECTIVE for entry in found[0].partitions
    )
    primary = _try_gpt(disk, 1, "primary")
    if is_protective and isinstance(primary, MissingDataError):
        return _missing(primary, SECTOR)
    if not isinstance(found, str) and mbr.is_plain(found[0]):
        old = "sound, but the MBR has no protective entry: a leftover"
        return _from_mbr(disk, *found, (f"gpt: {old if isinstance(primary, gpt.Gpt) else primary}",))
    if isinstance(primary, gpt.Gpt):
        naked = None if is_protective else _naked()
        return _from_gpt(disk, primary, _backup_findings(disk, primary), naked)
    if is_protective and (wide := _with_wide_sectors(disk)):
        return wide
    if is_protective or head[SECTOR:].startswith(gpt.SIGNATURE):
        return _without_primary(disk, primary, is_protective)
    if isinstance(found, str):
        return _leftover(disk, (f"gpt: {primary}", f"mbr: {found}"))
    return _from_mbr(disk, *found, (f"gpt: {primary}",))


def _missing(error: MissingDataError, offset: int) -> PartitionTable:
    text = f"the sectors of a partition table are not in this evidence: {error}"
    fault = Finding("table-missing", "error", text, offset)
    return PartitionTable("missing", findings=(fault,), unseen=text)


def _with_wide_sectors(disk: ByteSource) -> PartitionTable | None:
    """Return the table of a disk whose sectors have 4096 bytes; None for none."""
    try:
        table = gpt.read_gpt(disk, 1, "primary", WIDE_SECTOR)
    except EvidenceError:
        return None
    text = "the GPT counts sectors of 4096 bytes: a guest sees it only where the disk has such sectors"
    return _from_gpt(disk, table, (Finding("gpt-wide-sectors", "info", text, WIDE_SECTOR),), None)


def _naked() -> Finding:
    text = "the GPT has no protective MBR in front of it: no guest sees this table"
    return Finding("gpt-mbr-missing", "error", text, 0)


def _leftover(disk: ByteSource, reasons: tuple[str, ...]) -> PartitionTable:
    """Return the table whose backup alone is left at the end of the disk, or none."""
    last = disk.size // SECTOR - 1
    backup = _try_gpt(disk, last, "backup") if last > 1 else None
    if not isinstance(backup, gpt.Gpt):
        return PartitionTable("none", reasons=reasons)
    text = "the partition table was overwritten: only the backup GPT at the end is left, which no guest uses"
    return _from_gpt(disk, backup, (), Finding("gpt-only-backup", "error", text, last * SECTOR))


def _try_gpt(disk: ByteSource, lba: int, name: str) -> gpt.Gpt | EvidenceError:
    try:
        return gpt.read_gpt(disk, lba, name)
    except EvidenceError as error:
        return error


def _from_gpt(
    disk: ByteSource, table: gpt.Gpt, findings: tuple[Finding, ...], hidden: Finding | None
) -> PartitionTable:
    """Return the table; ``hidden`` is the finding that keeps guests from seeing it."""
    layout = layout_findings(table.partitions, disk.size // SECTOR)
    return PartitionTable(
        "gpt",
        table.partitions,
        table.headers,
        (*((hidden,) if hidden else ()), *findings, *layout),
        ("gpt: both checksums agree",),
        hidden.message if hidden else "",
    )


def _backup_findings(disk: ByteSource, primary: gpt.Gpt) -> tuple[Finding, ...]:
    lba, last = primary.header.alternate_lba, disk.size // SECTOR - 1
    if lba > last:
        text = f"the backup GPT belongs to sector {lba}, but the disk ends at {last}: it was cut"
        return (Finding("gpt-backup-outside", "error", text, lba * SECTOR),)
    backup = _try_gpt(disk, lba, "backup")
    if isinstance(backup, MissingDataError):
        return (Finding("gpt-backup-missing", "info", f"the backup GPT: {backup}", lba * SECTOR),)
    if isinstance(backup, EvidenceError):
        return (Finding("gpt-backup-damaged", "warning", str(backup), lba * SECTOR),)
    if backup.entries != primary.entries:
        text = "the backup GPT lists other partitions than the primary"
        return (Finding("gpt-backup-differs", "warning", text, lba * SECTOR),)
    if lba < last:
        text = f"the backup GPT is in sector {lba}, the disk ends at {last}: the disk grew after partitioning"
        return (Finding("gpt-backup-not-last", "info", text, lba * SECTOR),)
    return ()


def _without_primary(disk: ByteSource, primary: EvidenceError, is_protective: bool) -> PartitionTable:
    fault = Finding("gpt-primary-damaged", "error", str(primary), primary.offset)
    backup = _try_gpt(disk, disk.size // SECTOR - 1, "backup") if disk.size >= 2 * SECTOR else primary
    if isinstance(backup, gpt.Gpt):
        return _from_gpt(disk, backup, (), fault)
    reasons = [f"gpt: {primary}", f"gpt: {backup}"]
    if is_protective:
        reasons.append("mbr: only a protective entry, which says that a GPT should be here")
    return PartitionTable("damaged", findings=(fault,), reasons=tuple(reasons), unseen=fault.message)


def _from_mbr(disk: ByteSource, table: Any, header: Header, reasons: tuple[str, ...]) -> PartitionTable:
    partitions, chain = mbr.partitions_of(disk, table)
    primary = tuple(part for part in partitions if part.number <= 4)
    logical = tuple(part for part in partitions if part.number > 4)
    sectors = disk.size // SECTOR
    findings = (*chain, *layout_findings(primary, sectors), *layout_findings(logical, sectors))
    return PartitionTable(
        "mbr", partitions, (header,), findings, (*reasons, "mbr: signature 55 aa at byte 510")
    )
