"""What MBR and GPT have in common."""

from __future__ import annotations

from typing import Literal

from b2dinspect.fields import Header
from b2dinspect.findings import Finding
from b2dinspect.records import NamedTuple
from b2dinspect.source import SECTOR


class Partition(NamedTuple):
    """One entry of a table, or the whole disk when there is no table.

    Attributes:
        table: Which kind of table names it; ``"none"`` for the whole disk.
        number: As Linux counts: MBR 1-4, logical ones from 5; GPT the entry's place; 0 the whole disk.
        start: First sector of 512 bytes.
        sectors: Length in sectors of 512 bytes.
        type: As sfdisk spells it: MBR two hexadecimal digits, GPT the GUID in capitals.
        type_name: What the type is for, or "" when unknown.
        name: GPT partition name.
        uuid: GPT partition GUID.
    """

    table: Literal["mbr", "gpt", "none"]
    number: int
    start: int
    sectors: int
    type: str = ""
    type_name: str = ""
    name: str = ""
    uuid: str = ""

    @property
    def is_extended(self) -> bool:
        """Whether this is an MBR's container for logical partitions."""
        return self.table == "mbr" and self.type in ("5", "f", "85")

    @property
    def end(self) -> int:
        """The first sector after the partition."""
        return self.start + self.sectors

    @property
    def place(self) -> str:
        """What a person calls it: ``partition 1``, ``the whole disk``, or by the sector where it begins."""
        if self.number:
            return f"partition {self.number}"
        return f"what begins at sector {self.start}" if self.start else "the whole disk"

    @property
    def offset(self) -> int:
        """Virtual offset of the first byte."""
        return self.start * SECTOR

    @property
    def size(self) -> int:
        """Bytes."""
        return self.sectors * SECTOR


class PartitionTable(NamedTuple):
    """What was found where a table belongs.

    Attributes:
        kind: ``"damaged"`` when something says that there was a table which cannot be read, ``"missing"``
            when the evidence does not hold the sectors in which one would be.
        partitions: By number.
        headers: Decoded structures.
        findings: What is odd about them.
        reasons: Why each kind of table was accepted or not, in the order of the trial.
        unseen: Why no guest sees this table, although we read it, or something of it; "" when they do.
    """

    kind: Literal["mbr", "gpt", "none", "damaged", "missing"]
    partitions: tuple[Partition, ...] = ()
    headers: tuple[Header, ...] = ()
    findings: tuple[Finding, ...] = ()
    reasons: tuple[str, ...] = ()
    unseen: str = ""


def layout_findings(partitions: tuple[Partition, ...], disk_sectors: int) -> tuple[Finding, ...]:
    """Return findings about partitions that are empty, overlap or stick out of the disk."""
    findings = []
    for part in partitions:
        if not part.sectors:
            text = f"partition {part.number} ends before it begins at sector {part.start}"
            findings.append(Finding("partition-empty", "error", text, part.offset))
        elif part.end > disk_sectors:
            text = f"partition {part.number} ends at sector {part.end}, the disk at {disk_sectors}"
            findings.append(Finding("partition-outside", "error", text, part.offset))
    reaching: Partition | None = None  # furthest of those that begin earlier
    for part in sorted((part for part in partitions if part.sectors), key=lambda part: part.start):
        if reaching and part.start < reaching.end:
            text = f"partitions {reaching.number} and {part.number} overlap from sector {part.start} on"
            findings.append(Finding("partition-overlap", "error", text, part.offset))
        if not reaching or part.end > reaching.end:
            reaching = part
    return tuple(findings)
