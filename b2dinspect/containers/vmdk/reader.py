"""A whole VMDK disk: one sparse file, or a descriptor and the files that it names."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable, Iterator
from typing import Literal

from b2dinspect.containers.base import Container, ParentLink
from b2dinspect.containers.tables import MapTable
from b2dinspect.containers.vmdk import PROBED, is_descriptor, layout
from b2dinspect.containers.vmdk import descriptor as text
from b2dinspect.containers.vmdk.descriptor import Descriptor, ExtentLine
from b2dinspect.containers.vmdk.faults import absent_findings, descriptor_findings, parent_findings
from b2dinspect.containers.vmdk.parts import BlankPart, DiskPart, FlatPart, Slot
from b2dinspect.containers.vmdk.sparse import GrainRun, SparseExtent, Unreadable
from b2dinspect.errors import ContainerError, EvidenceError, MissingDataError
from b2dinspect.fields import Header
from b2dinspect.findings import Finding
from b2dinspect.source import SECTOR, ByteSource, Extent


class VmdkContainer(Container):
    """Reader of sparse and streamOptimized files, and of descriptors with the files they name.

    Names found inside are never opened here.

    Args:
        file: The sparse file, or the descriptor.
        open_extent: Given the name of an extent as the descriptor has it, returns that file, or raises an
            EvidenceError when it does not want to or cannot. Without it extents in other files are missing.
        prefer_redundant: Read through the redundant grain directory and tables.

    Attributes:
        descriptor: As read, or None for a sparse extent that has none.
        cid: Content identity, ``""`` when there is none.
        parent_cid: The parent's content identity; ``""`` without a parent.
        parent_hint: Where the parent was, as the writer of the file saw it; ``""`` for none.

    Raises:
        ContainerError: A header makes no sense, there is no extent at all, or there are no redundant tables
            to prefer. Tables, grains and extents that are not there are findings, and raise MissingDataError
            only when they are read.
    """

    format = "vmdk"

    def __init__(
        self,
        file: ByteSource,
        *,
        open_extent: Callable[[str], ByteSource] | None = None,
        prefer_redundant: bool = False,
    ) -> None:
        self.file = file
        self._prefer_redundant = prefer_redundant
        self._problems: list[Finding] = []
        self.headers, self.descriptor = _read_top(file)
        found = self.descriptor
        self.cid = found.cid if found else ""
        self.parent_cid = found.parent_cid if found else ""
        self.parent_hint = found.values.get("parentfilenamehint", "") if found and self.parent_cid else ""
        self.identity = _identity(found)
        if self.parent_cid:
            self.parent_link = _parent_link(found, self.parent_hint)
        if self.is_sparse:
            extent = self._open_sparse(file)
            self._slots = [Slot(extent, extent.size)]
            self.headers = (*self.headers, *extent.headers[1:])
        else:
            self._slots = self._open_extents(open_extent)
        self._starts = [0]
        for slot in self._slots:
            self._starts.append(self._starts[-1] + slot.size)
        self.size = self._starts[-1]
        if not 0 < self.size < 1 << 63:
            where = found.offset if found else 0
            raise ContainerError(
                "the extents make no disk",
                layer="VMDK descriptor",
                offset=where,
                expected="1 to 2^63 - 1 bytes",
                found=self.size,
            )
        self._check_redundant()
        self.variant = self._variant()
        self.is_packed = any(
            isinstance(slot.part, SparseExtent) and slot.part.is_packed for slot in self._slots
        )
        self.allocated_size = sum(min(slot.part.allocated, slot.size) for slot in self._slots)
        self.findings = tuple(self._judge())

    @classmethod
    def read_identity(cls, file: ByteSource) -> str:
        """Return the image's UUID, which only VirtualBox writes."""
        return _identity(_read_top(file)[1])

    def _judge(self) -> Iterator[Finding]:
        yield from descriptor_findings(self)
        yield from parent_findings(self)
        yield from self._problems

    @property
    def is_sparse(self) -> bool:
        """Tell whether the file is an extent, and does not only carry a descriptor, which qemu allows too."""
        if not self.headers or self.headers[0].layout is not layout.HEADER:
            return False
        header = layout.HEADER.parse(self.headers[0].data)
        return not (header.capacity == 0 and self.descriptor is not None and self.descriptor.extents)

    def _open_sparse(self, file: ByteSource) -> SparseExtent:
        header = layout.read_header(file, 0, "VMDK header")
        part = SparseExtent(file, header, prefer_redundant=self._prefer_redundant)
        self._problems += part.findings
        return part

    def _open_extents(self, open_extent: Callable[[str], ByteSource] | None) -> list[Slot]:
        """Open what the descriptor names, each file once."""
        opened: dict[tuple[bool, str], SparseExtent | ByteSource | str] = {}
        slots: list[Slot] = []
        absent: list[tuple[ExtentLine, str]] = []
        for line in self.descriptor.extents if self.descriptor else ():
            size = line.sectors * SECTOR
            if line.kind == "ZERO":
                slots.append(Slot(BlankPart(GrainRun("zero", 0)), size))
                continue
            key = (line.kind == "SPARSE", line.name)
            if key not in opened:
                opened[key] = self._open_extent(line, open_extent)
            file = opened[key]
            if isinstance(file, str):
                absent.append((line, file))
                slots.append(Slot(BlankPart(GrainRun("missing", 0, why=f"extent {line.name}: {file}")), size))
            else:
                slots += self._slots_of(line, file)
        self._problems += absent_findings(absent)
        return [slot for slot in slots if slot.size]

    def _open_extent(
        self, line: ExtentLine, open_extent: Callable[[str], ByteSource] | None
    ) -> SparseExtent | ByteSource | str:
        """Return the extent, or why it cannot be read."""
        if line.access == "NOACCESS":
            return "the descriptor allows no access to it"
        if line.kind not in ("SPARSE", "FLAT", "VMFS"):
            return f"extents of type {line.kind} are not read"
        if open_extent is None:
            return "it is in another file, which was not given"
        try:
            file = open_extent(line.name)
            if line.kind != "SPARSE":
                return file
            header = layout.read_header(file, 0, "VMDK header")
            extent = SparseExtent(file, header, prefer_redundant=self._prefer_redundant)
        except EvidenceError as error:
            return str(error)
        for found in extent.findings:
            where = "" if found.offset is None else f" (byte {found.offset} of that file)"
            message = f"extent {line.name}: {found.message}{where}"
            self._problems.append(found._replace(message=message, offset=None))
        return extent

    def _slots_of(self, line: ExtentLine, file: SparseExtent | ByteSource) -> Iterator[Slot]:
        """Yield the extent, and what it lacks of its length in the descriptor."""
        size = line.sectors * SECTOR
        part = file if isinstance(file, SparseExtent) else FlatPart(file, line.start * SECTOR, size)
        held = min(part.size, size)
        if part.size != size:
            message = f"extent {line.name}: the descriptor says {size} bytes, the file has {part.size}"
            severity: Literal["warning", "error"] = "error" if held < size else "warning"
            self._problems.append(Finding("vmdk-extent-size", severity, message, line.offset, "file"))
        yield Slot(part, held)
        why = f"extent {line.name}: the file ends before this"
        yield Slot(BlankPart(GrainRun("missing", 0, why=why)), size - held)

    def _check_redundant(self) -> None:
        extents = [slot.part for slot in self._slots if isinstance(slot.part, SparseExtent)]
        if self._prefer_redundant and not any(extent.has_redundant for extent in extents):
            raise ContainerError("there is no redundant grain directory to read through", layer="VMDK header")

    def _variant(self) -> str:
        if self.descriptor and (name := self.descriptor.values.get("createtype")):
            return name
        part = self._slots[0].part
        return "streamOptimized" if isinstance(part, SparseExtent) and part.is_packed else "sparse extent"

    def extents(self, offset: int = 0, length: int | None = None) -> Iterator[Extent]:
        """Yield what tables, extents and the parent say, neighbours joined.

        Data that is packed, the parent's, or in another file than ``file`` has no file offset.
        """
        pending: Extent | None = None
        for extent, _ in self._pieces(*self._clamp(offset, length)):
            if pending and (joined := _join(pending, extent)):
                pending = joined
                continue
            if pending:
                yield pending
            pending = extent
        if pending:
            yield pending

    def _pieces(self, position: int, end: int) -> Iterator[tuple[Extent, tuple[DiskPart, int, GrainRun]]]:
        """Yield pieces, each with its part, its offset there, and what the part said."""
        number = bisect_right(self._starts, position) - 1
        while position < end:
            if position >= self._starts[number + 1]:
                number += 1
                continue
            part, within = self._slots[number].part, position - self._starts[number]
            run = part.run(within, min(end, self._starts[number + 1]) - position)
            for extent in self._extents_of(part, position, run):
                yield extent, (part, within + extent.offset - position, run)
            position += run.length

    def _extents_of(self, part: DiskPart, position: int, run: GrainRun) -> Iterator[Extent]:
        if run.kind == "data":
            yield Extent(position, run.length, "data", run.place if part.file is self.file else None)
        elif run.kind == "packed":
            yield Extent(position, run.length, "data")
        elif run.kind != "free":
            yield Extent(position, run.length, run.kind)
        elif not self.parent_cid:
            yield Extent(position, run.length, "zero")
        elif self.parent is None:
            yield Extent(position, run.length, "missing")
        else:
            yield from _parent_extents(self.parent, position, run.length)

    def _pread(self, offset: int, length: int) -> bytes:
        pieces: list[bytes] = []
        pending: tuple[ByteSource, int, int] | None = None
        for extent, (part, within, run) in self._pieces(offset, offset + length):
            if run.kind == "data" and part.file is not None:
                if pending and pending[0] is part.file and pending[1] + pending[2] == run.place:
                    pending = (part.file, pending[1], pending[2] + run.length)
                    continue
                pieces += _fetch(pending)
                pending = (part.file, run.place, run.length)
                continue
            pieces += _fetch(pending)
            pending = None
            pieces.append(self._read_piece(extent, part, within, run))
        pieces += _fetch(pending)
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def _read_piece(self, extent: Extent, part: DiskPart, within: int, run: GrainRun) -> bytes:
        if extent.kind == "missing":
            why = run.why or "this grain is in the parent image, which was not given"
            raise MissingDataError(why, layer="VMDK", offset=extent.offset)
        if extent.kind == "zero":
            return bytes(extent.length)
        if run.kind == "free" and self.parent is not None:
            return self.parent.pread(extent.offset, extent.length)
        assert isinstance(part, SparseExtent)  # noqa: S101  nothing else has packed grains
        try:
            return part.unpack(within, extent.length)
        except Unreadable as error:
            raise MissingDataError(str(error), layer="VMDK", offset=extent.offset) from None

    def packed_at(self, offset: int) -> int | None:
        """Return where the compressed grain begins that holds a byte of the disk, if this file has it."""
        for _, (part, within, run) in self._pieces(*self._clamp(offset, 1)):
            if run.kind == "packed" and isinstance(part, SparseExtent) and part.file is self.file:
                return part.place(within)
        return None

    def tables(self) -> Iterator[MapTable]:
        """Yield directories and grain tables; of a descriptor in a file of its own, its extent lines."""
        if self.is_sparse:
            for slot in self._slots:
                if isinstance(slot.part, SparseExtent):
                    yield from slot.part.tables()
        elif self.descriptor and (lines := self.descriptor.extents):
            start = self.descriptor.text[lines[-1].offset - self.descriptor.offset :]
            end = lines[-1].offset + len(start.split(b"\n", 1)[0])
            yield MapTable("extent lines", lines[0].offset, end - lines[0].offset)

    def describe(self) -> dict[str, str]:
        """Return the version, grain size, identities, and the parent."""
        facts = {}
        extents = [slot.part for slot in self._slots if isinstance(slot.part, SparseExtent)]
        if extents:
            facts["version"] = str(extents[0].header.version)
            facts["grains"] = f"{sum(one.grains for one in extents)} of {extents[0].grain_bytes} bytes"
        if not self.is_sparse and self.descriptor:
            facts["extents"] = str(len(self.descriptor.extents))
        return {**facts, **(text.facts(self.descriptor) if self.descriptor else {})}


def _identity(found: Descriptor | None) -> str:
    return found.values.get("ddb.uuid.image", "").lower() if found else ""


def _parent_link(found: Descriptor | None, hint: str) -> ParentLink:
    """Return the parent's name, and its UUID, which only VirtualBox keeps."""
    identity = found.values.get("ddb.uuid.parent", "").lower() if found else ""
    is_known = identity.strip("0-") != ""
    return ParentLink((hint,) if hint else (), identity if is_known else "")


def _join(first: Extent, second: Extent) -> Extent | None:
    """Return both as one extent when the second continues the first."""
    if first.kind != second.kind:
        return None
    if first.file_offset is not None:
        if first.file_offset + first.length != second.file_offset:
            return None
    elif second.file_offset is not None:
        return None
    return first._replace(length=first.length + second.length)


def _fetch(where: tuple[ByteSource, int, int] | None) -> list[bytes]:
    return [where[0].pread(where[1], where[2])] if where else []


def _parent_extents(parent: ByteSource, offset: int, length: int) -> Iterator[Extent]:
    """Yield what the parent has there, without file offsets: they would be of another file."""
    end = offset + length
    for extent in parent.extents(offset, length):
        yield extent._replace(file_offset=None)
        offset = extent.offset + extent.length
    if offset < end:
        yield Extent(offset, end - offset, "zero")


def _read_top(file: ByteSource) -> tuple[tuple[Header, ...], Descriptor | None]:
    """Return the header if the file has one, and the descriptor if it has one."""
    if is_descriptor(file.pread(0, PROBED)):
        found = text.parse_descriptor(file.pread(0, text.MAX_SIZE), 0, file.size > text.MAX_SIZE)
        return (found.header(),), found
    shown, header = layout.read_header(file, 0, "VMDK header")
    if not 0 < header.descriptor_offset < 1 << 54 or not header.descriptor_size:
        return (shown,), None
    where, size = header.descriptor_offset * SECTOR, header.descriptor_size * SECTOR
    data = file.pread(where, min(size, text.MAX_SIZE)) if where < file.size else b""
    found = text.parse_descriptor(data, where, size > text.MAX_SIZE)
    return ((shown, found.header()) if found.text else (shown,)), found
