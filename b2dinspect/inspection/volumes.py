"""What is on a partition: ext2/3/4 and swap in full, others by their signature only."""

from __future__ import annotations

import uuid
from itertools import islice
from typing import Any, Literal

from b2dinspect.errors import EvidenceError, FilesystemError, MissingDataError
from b2dinspect.fields import Header
from b2dinspect.filesystems import backups, superblock, swap
from b2dinspect.filesystems.signatures import by_signature, name_of, rival_of_ext, sign_of
from b2dinspect.findings import Finding
from b2dinspect.partitions.base import Partition, PartitionTable
from b2dinspect.records import NamedTuple
from b2dinspect.source import SECTOR, ByteSource, SliceSource, read_lenient

__all__ = ["Obstacle", "Volume", "ext_at", "identify", "named_at", "volumes_of", "whole_disk"]

UNNAMED = ("none", "unknown", "unreadable", "missing", "extended")
"""What is on a partition of which no signature tells."""
SEARCHED = (*UNNAMED, "swap", "vfat", "iso9660", "LVM", "linux_raid")
"""What can have been written over something bigger, or can hold it; all else is taken for what it seems."""
MAX_EXTENTS = 1 << 16
HEAD = 128 << 10
"""Bytes that must be zeros for a partition to count as empty; every signature lies within."""


class Obstacle(NamedTuple):
    """What keeps a guest from a filesystem.

    Attributes:
        kind: ``unseen`` when blkid does not recognise it, ``unmountable`` when Linux refuses to mount it.
        reason: What is wrong, in one sentence.
    """

    kind: Literal["unseen", "unmountable"]
    reason: str


class Volume(NamedTuple):
    """A partition, or a whole disk without a table, and the filesystem on it.

    Attributes:
        partition: Where it is.
        source: Its bytes; a damaged ext superblock is replaced by its backup in this view.
        filesystem: ``ext2``, ``ext3``, ``ext4``, ``swap``, another name, ``extended`` for a container of
            logical partitions, ``"unreadable"``, ``"missing"`` when the evidence lacks its first bytes,
            ``"unknown"``, or ``"none"`` when there are only zeros.
        label: Volume label, any bytes, without trailing NULs.
        uuid: Identity of the filesystem, "" when it has none or it is not read.
        superblock: Parsed ext superblock, None for all else.
        headers: Decoded structures.
        findings: What is odd.
        obstacle: What keeps a guest from it; None when nothing does, or it is no ext filesystem.
    """

    partition: Partition
    source: ByteSource
    filesystem: str
    label: bytes = b""
    uuid: str = ""
    superblock: Any = None
    headers: tuple[Header, ...] = ()
    findings: tuple[Finding, ...] = ()
    obstacle: Obstacle | None = None

    @property
    def is_ext(self) -> bool:
        """Whether it is ext2, 3 or 4, with a superblock that makes sense."""
        return self.superblock is not None

    @property
    def is_incomplete(self) -> bool:
        """Whether the evidence lacks some of its bytes, as far as its first extents tell."""
        return any(extent.kind == "missing" for extent in islice(self.source.extents(), MAX_EXTENTS))

    @property
    def sign(self) -> int:
        """Virtual offset of the bytes that tell what it is: a signature, or its first."""
        if self.is_ext:
            return (self.headers[0].offset or 0) + superblock.MAGIC_OFFSET
        is_swap = self.filesystem == "swap"
        place = swap.signature_offset(self.source) if is_swap else sign_of(self.source, self.filesystem)
        return self.partition.offset + place

    @property
    def label_place(self) -> int:
        """Virtual offset of an ext filesystem's label; of what tells it, for another kind."""
        return self.sign + (superblock.LABEL_OFFSET - superblock.MAGIC_OFFSET if self.is_ext else 0)

    @property
    def file_kind(self) -> str:
        """By which its files are read, one of ``sleuthkit.KINDS``; "" when they are not."""
        return "ext" if self.is_ext else self.filesystem if self.filesystem in ("iso9660", "vfat") else ""


def volumes_of(disk: ByteSource, table: PartitionTable) -> tuple[Volume, ...]:
    """Return what is on each partition, or on the whole disk when there is no table but a filesystem."""
    if table.kind == "none" or (table.kind == "mbr" and not table.partitions):
        # A boot sector with a filesystem behind it can look like an MBR that lists nothing.
        return whole_disk(disk)
    return tuple(identify(disk, part) for part in table.partitions)


def whole_disk(disk: ByteSource) -> tuple[Volume, ...]:
    """Return what fills the whole disk without a table: one volume, or none."""
    whole = identify(disk, Partition("none", 0, 0, disk.size // SECTOR))
    return () if whole.filesystem in ("none", "unknown") else (whole,)


def identify(disk: ByteSource, partition: Partition) -> Volume:
    """Return what is on ``partition`` of ``disk``. Never raises for what the disk holds."""
    source = SliceSource(disk, partition.offset, partition.size)
    if partition.is_extended:
        return Volume(partition, source, "extended")
    if not source.size and partition.number:
        return Volume(partition, source, "unreadable")  # the table's findings say that it lies outside
    try:
        source.pread(0, 4096)
    except MissingDataError as error:
        fault = Finding("filesystem-missing", "error", f"{partition.place}: {error}", partition.offset)
        return Volume(partition, source, "missing", findings=(fault,))
    try:
        block, raw = superblock.parse_superblock(source)
    except FilesystemError as error:
        return (
            _swap(partition, source)
            or _by_signature(partition, source)
            or _journal(partition, source)
            or _from_backup(partition, source, error)
            or _unrecognised(partition, source, error)
        )
    return _with_rival(_from_primary(partition, source, block, raw))


def ext_at(disk: ByteSource, partition: Partition) -> Volume | None:
    """Return the ext filesystem that begins with ``partition``, whatever was written over its beginning."""
    source = SliceSource(disk, partition.offset, partition.size)
    try:
        block, raw = superblock.parse_superblock(source)
    except (FilesystemError, MissingDataError) as error:
        return _from_backup(partition, source, error)
    return _from_primary(partition, source, block, raw)


def named_at(disk: ByteSource, partition: Partition, copied: str = "") -> Volume | None:
    """Return what begins with ``partition`` by its signature: swap, or what is named and not read.

    Args:
        disk: The virtual disk.
        partition: Where it begins.
        copied: The kind that a copy of its header names, should the header itself be gone.
    """
    source = SliceSource(disk, partition.offset, partition.size)
    found = _swap(partition, source) or _by_signature(partition, source)
    return Volume(partition, source, copied) if found is None and copied else found


def _swap(part: Partition, source: ByteSource) -> Volume | None:
    found = swap.read_swap(source, part.offset)
    if found is None:
        return None
    header, structure = found
    label = header.label.split(b"\0")[0]
    return Volume(part, source, "swap", label, str(header.uuid), headers=(structure,))


def _ext(
    part: Partition,
    source: ByteSource,
    block: Any,
    raw: bytes,
    offset: int = superblock.OFFSET,
    damage: Finding | None = None,
) -> Volume:
    where = part.offset + offset
    hidden = [one for one in (damage, _checksum_fault(block, raw, where)) if one]
    refused = [one for one in (_size_fault(part, source, block, where),) if one]
    obstacle = Obstacle("unmountable", refused[0].message) if refused else None
    structure = Header("ext4 superblock", "virtual", where, superblock.SUPERBLOCK, raw)
    return Volume(
        part,
        source,
        superblock.kind(block),
        block.label.split(b"\0")[0],
        str(block.uuid),
        block,
        (structure,),
        (*hidden, *refused, *_ext_findings(part, source, block, where)),
        Obstacle("unseen", hidden[0].message) if hidden else obstacle,
    )


def _checksum_fault(block: Any, raw: bytes, where: int) -> Finding | None:
    """Return what makes blkid pass the superblock over."""
    if fault := superblock.checksum_fault(block, raw):
        return Finding("ext4-checksum", "error", f"wrong superblock checksum: {fault}", where + 1020)
    return None


def _size_fault(part: Partition, source: ByteSource, block: Any, where: int) -> Finding | None:
    """Return what makes Linux refuse to mount it."""
    size = _ext_size(block)
    if size <= source.size:
        return None
    text = f"{_name(part)} says {size} bytes, but only {source.size} are there"
    return Finding("ext4-larger-than-partition", "error", text, where + 4)


def _name(part: Partition) -> str:
    return f"the filesystem on partition {part.number}" if part.number else "the filesystem"


def _ext_size(block: Any) -> int:
    return int(superblock.block_count(block) * superblock.block_size(block))


def _ext_findings(part: Partition, source: ByteSource, block: Any, where: int) -> list[Finding]:
    name, size = _name(part), _ext_size(block)
    findings = []
    if source.size - size > max(64 << 20, source.size // 10):
        text = f"{name} uses {size} of {source.size} bytes: it was not grown with its partition"
        findings.append(Finding("ext4-smaller-than-partition", "info", text, where + 4))
    if block.state & superblock.STATE_ERRORS or block.error_count:
        text = f"the kernel marked {name} as having errors; run e2fsck on a copy"
        findings.append(Finding("ext4-errors", "error", text, where + 58))
    is_clean = block.state & superblock.STATE_CLEAN and not block.feature_incompat & superblock.NEEDS_RECOVERY
    if not is_clean and block.block_group == 0:  # no backup is ever marked clean
        text = f"{name} was not cleanly unmounted: what is shown may lack what its journal still holds"
        findings.append(Finding("ext4-unclean", "warning", text, where + 58))
    return findings


def _with_rival(found: Volume) -> Volume:
    """Return an ext filesystem with what blkid makes of it where another signature stands beside its own."""
    rival = rival_of_ext(found.source)
    if rival is None:
        return found
    text = (
        f"{found.partition.place} has the signature of {name_of(rival.kind)}, too, at its byte "
        f"{rival.offset:#x}: blkid then does not tell that it is {found.filesystem}, nor its label"
    )
    fault = Finding("ext4-ambivalent", "error", text, found.partition.offset + rival.offset)
    return found._replace(findings=(fault, *found.findings), obstacle=Obstacle("unseen", text))


def _from_primary(part: Partition, source: ByteSource, block: Any, raw: bytes) -> Volume:
    """Return the filesystem as its superblock has it, with a copy's descriptors when its own are gone."""
    primary = backups.Copy(superblock.OFFSET, block, raw)
    if not backups.has_descriptors(source, primary) and (copy := backups.find_backup(source, block.uuid)):
        text = (
            f"the group descriptors of {part.place} are damaged; read through their copy in block "
            f"{copy.number + 1}: {_restore(copy)}"
        )
        fault = Finding("ext4-descriptors-damaged", "error", text, part.offset + superblock.OFFSET)
        found = _ext(part, backups.view(source, copy), block, raw)
        return found._replace(findings=(fault, *found.findings), obstacle=Obstacle("unmountable", text))
    return _ext(part, source, block, raw)


def _from_backup(part: Partition, source: ByteSource, error: EvidenceError) -> Volume | None:
    """Return the filesystem as a backup superblock describes it, when the primary is broken."""
    copy = backups.find_backup(source)
    if copy is None:
        return None
    if isinstance(error, MissingDataError):
        text = f"the primary superblock of {part.place} is not in this evidence; read through its backup"
        fault = Finding("filesystem-missing", "error", text, part.offset + superblock.OFFSET)
    else:
        text = (
            f"the primary superblock of {part.place} is damaged ({error}); "
            f"read through its backup in block {copy.number}: {_restore(copy)}"
        )
        fault = Finding("ext4-superblock-damaged", "error", text, part.offset + superblock.OFFSET)
    return _ext(part, backups.view(source, copy), copy.block, copy.raw, copy.offset, fault)


def _restore(copy: backups.Copy) -> str:
    size = superblock.block_size(copy.block)
    return f"e2fsck -b {copy.number} -B {size} on a copy would restore it"


def _journal(part: Partition, source: ByteSource) -> Volume | None:
    raw = read_lenient(source, superblock.OFFSET, superblock.SIZE)
    return Volume(part, source, "jbd") if len(raw) == superblock.SIZE and superblock.is_journal(raw) else None


def _by_signature(part: Partition, source: ByteSource) -> Volume | None:
    kind = by_signature(source)
    if kind is None:
        return None
    label, identity = _btrfs_names(source) if kind == "btrfs" else (_label(source, kind), "")
    return Volume(part, source, kind, label, identity)


def _label(source: ByteSource, kind: str) -> bytes:
    """Return the label of a filesystem that is told by its signature, where that is one read away."""
    where = {"iso9660": (0x8028, 32), "xfs": (108, 12)}.get(kind)
    if kind == "vfat":
        where = (71, 11) if read_lenient(source, 82, 3) == b"FAT" else (43, 11)
    return read_lenient(source, *where).rstrip(b" \0") if where else b""


def _unrecognised(part: Partition, source: ByteSource, error: FilesystemError) -> Volume:
    if error.offset == superblock.OFFSET + 56 or error.message == "cut short":
        is_empty = not read_lenient(source, 0, HEAD).strip(b"\0")
        return Volume(part, source, "none" if is_empty else "unknown")
    text = f"{part.place}: {error}"
    fault = Finding("ext4-superblock-damaged", "error", text, part.offset + (error.offset or 0))
    return Volume(part, source, "unreadable", findings=(fault,))


def _btrfs_names(source: ByteSource) -> tuple[bytes, str]:
    head = read_lenient(source, 0x10000, 0x22B).ljust(0x22B, b"\0")
    return head[0x12B:0x22B].split(b"\0")[0], str(uuid.UUID(bytes=head[0x20:0x30]))
