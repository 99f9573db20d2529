"""New container files of every format that can be written, and the disk in them as stages see it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple, Protocol
from uuid import UUID

from b2dinspect.containers import Container
from b2dinspect.errors import UsageError
from b2dinspect.identity import Identities
from b2dinspect.newfile import Sink
from b2dinspect.provisioning.events import Write
from b2dinspect.source import SECTOR, ByteSource, Extent, is_zeros

CHUNK = 1 << 20
HEAD = 32
HYPERV_FIRST_SIZE = 10 << 20
"""Bytes: the hyperv driver makes its disk so small, and then resizes it."""


class DiskWriter(Protocol):
    """What a container's writer offers. Offsets are virtual, in bytes."""

    size: int

    def pwrite(self, offset: int, data: bytes) -> None:
        """Write at an offset."""

    def pread(self, offset: int, length: int) -> bytes:
        """Return what has been written."""

    def locate(self, offset: int) -> int | None:
        """Return the file offset of a stored byte."""

    def flush(self) -> None:
        """Make the file whole; writing may go on."""


class Subformat(NamedTuple):
    """A kind of image within a format.

    Attributes:
        variant: The format's own word, one of SUBFORMATS.
        name: Of the file with the data, for formats that write it down.
    """

    variant: str
    name: str


Kind = Subformat | None


def _variant(kind: Kind) -> dict[str, Any]:
    return {"variant": kind.variant} if kind else {}


def _raw(sink: Sink, size: int, ids: Identities, like: Container | None, kind: Kind = None) -> DiskWriter:
    from b2dinspect.containers.raw.writer import RawWriter

    return RawWriter(sink, size)


def _vdi(sink: Sink, size: int, ids: Identities, like: Container | None, kind: Kind = None) -> DiskWriter:
    from b2dinspect.containers.vdi.reader import VdiContainer
    from b2dinspect.containers.vdi.writer import Identity, VdiWriter

    create = like.header.uuid_create if isinstance(like, VdiContainer) else ids.uuid("vdi create")
    identity = Identity(create, ids.uuid("vdi modify"))
    return VdiWriter(sink, size, identity=identity, **_variant(kind))


def _vhd(sink: Sink, size: int, ids: Identities, like: Container | None, kind: Kind = None) -> DiskWriter:
    from b2dinspect.containers.vhd.layout import EPOCH
    from b2dinspect.containers.vhd.reader import VhdContainer
    from b2dinspect.containers.vhd.writer import VhdWriter

    identity, first = ids.uuid("vhd"), HYPERV_FIRST_SIZE
    if isinstance(like, VhdContainer):
        identity, first = like.footer.values.uuid, like.footer.values.original_size
    first = min(first, size) // 512 * 512 or size
    made = max(0, ids.time - EPOCH)
    writer = VhdWriter(sink, first, identity=identity, timestamp=made, **_variant(kind))
    writer.resize(size)
    return writer


def _vmdk(sink: Sink, size: int, ids: Identities, like: Container | None, kind: Kind = None) -> DiskWriter:
    from b2dinspect.containers.vmdk.writer import Identity, VmdkWriter

    image = ids.uuid("vmdk image")
    known = getattr(like, "identity", "") if like and like.format == "vmdk" else ""
    if known:
        image = UUID(known)
    cid = ids.uuid("vmdk cid").fields[0] & 0xFFFFFFFE
    size = -(-size // SECTOR) * SECTOR
    identity = Identity(image, ids.uuid("vmdk modification"))
    name = kind.name if kind else _own_name(sink)
    return VmdkWriter(sink, size, identity=identity, cid=cid, name=name, **_variant(kind))


def _own_name(sink: Sink) -> str:
    """Return the name that the file will have: some readers look for the extent by it."""
    path = getattr(sink, "path", None)
    return path.name if path else "disk.vmdk"


def _qcow2(sink: Sink, size: int, ids: Identities, like: Container | None, kind: Kind = None) -> DiskWriter:
    from b2dinspect.containers.qcow2.writer import Qcow2Writer

    return Qcow2Writer(sink, -(-size // SECTOR) * SECTOR)


WRITERS: dict[str, Callable[..., DiskWriter]] = {
    "raw": _raw,
    "vdi": _vdi,
    "vhd": _vhd,
    "vmdk": _vmdk,
    "qcow2": _qcow2,
}
"""By format: makes a writer of a virtual size (bytes) on an empty sink.

Called with the sink, the size, identities, ``like`` and, if wanted, a Subformat. The image is the same one as
``like``, for everybody who knows it by its identity; else it is a new one.
"""

SUBFORMATS = {
    "vdi": ("dynamic", "fixed"),
    "vhd": ("dynamic", "fixed"),
    "vmdk": ("monolithicSparse", "streamOptimized", "monolithicFlat"),
}
"""The first one is made when nobody asks."""

SUFFIXES = {
    ".vdi": "vdi",
    ".vhd": "vhd",
    ".vmdk": "vmdk",
    ".qcow2": "qcow2",
    ".raw": "raw",
    ".img": "raw",
    ".rawdisk": "raw",
}


def format_for(path: str, format_name: str | None = None) -> str:
    """Return the format asked for, or else the one that the file's name ends in.

    Raises:
        UsageError: No such format, or no ending that tells one.
    """
    known = ", ".join(WRITERS)
    if format_name is not None:
        if format_name not in WRITERS:
            raise UsageError(f"cannot write the format {format_name!r}; there are {known}")
        return format_name
    for suffix, name in SUFFIXES.items():
        if path.lower().endswith(suffix):
            return name
    raise UsageError(f"{path}: the name tells no format; there are {known}").naming("format_name")


def subformat_for(format_name: str, variant: str | None) -> str | None:
    """Return the subformat asked for.

    Raises:
        UsageError: The format has none of that name.
    """
    known = SUBFORMATS.get(format_name, ())
    if variant is not None and variant not in known:
        raise UsageError(f"no subformat {variant!r} of {format_name}; there are {', '.join(known) or 'none'}")
    return variant


def stored_chunks(source: ByteSource) -> Iterator[tuple[int, bytes]]:
    """Yield what a source stores, as (offset, bytes), in pieces of at most 1 MiB that are not all zeros.

    Raises:
        MissingDataError: The source knows of content that it does not hold.
    """
    for extent in source.extents():
        if extent.kind != "zero":
            for offset in range(extent.offset, extent.offset + extent.length, CHUNK):
                data = source.pread(offset, min(CHUNK, extent.offset + extent.length - offset))
                if not is_zeros(data):
                    yield offset, data


def written(disk: ByteSource, start: int, length: int) -> Write:
    """Return what a disk now holds where somebody wrote ``length`` bytes at ``start``."""
    data = disk.pread(start, min(length, CHUNK))
    zeros = len(data) - len(data.lstrip(b"\0"))
    skipped = zeros if zeros < len(data) else 0
    return Write(start, disk.locate(start), length, start + skipped, data[skipped : skipped + HEAD])


class WorkDisk(ByteSource):
    """A disk in the making: it can be written, read like evidence, and tells what changed.

    Attributes:
        has_changed: Whether anything was written.

    Args:
        writer: The container's writer, empty.
    """

    def __init__(self, writer: DiskWriter) -> None:
        self.writer = writer
        self.size = writer.size
        self.has_changed = False
        self._touched: set[int] = set()
        self._changes: list[tuple[int, int]] = []

    def pwrite(self, offset: int, data: bytes) -> None:
        """Write ``data`` at ``offset`` and take note of it."""
        if data:
            self.writer.pwrite(offset, data)
            self._touched.update(range(offset // CHUNK, (offset + len(data) - 1) // CHUNK + 1))
            self._changes.append((offset, offset + len(data)))
            self.has_changed = True

    def load(self, source: ByteSource) -> None:
        """Copy everything that another disk stores; nothing of it is noted as a change."""
        for offset, data in stored_chunks(source):
            self.pwrite(offset, data)
        self._changes.clear()
        self.has_changed = False

    def changes(self) -> tuple[Write, ...]:
        """Return what was written since the last call, neighbours joined, by virtual offset."""
        runs: list[tuple[int, int]] = []
        for start, end in sorted(self._changes):
            if runs and start <= runs[-1][1]:
                runs[-1] = (runs[-1][0], max(end, runs[-1][1]))
            else:
                runs.append((start, end))
        self._changes.clear()
        return tuple(written(self, start, end - start) for start, end in runs)

    def _pread(self, offset: int, length: int) -> bytes:
        return self.writer.pread(offset, length)

    def extents(self, offset: int = 0, length: int | None = None) -> Iterator[Extent]:
        """Yield what has been written, in chunks of 1 MiB, and holes."""
        position, end = self._clamp(offset, length)
        for chunk in sorted(self._touched):
            start, stop = max(position, chunk * CHUNK), min(end, (chunk + 1) * CHUNK)
            if start >= stop:
                continue
            if start > position:
                yield Extent(position, start - position, "zero")
            yield Extent(start, stop - start, "data", self.writer.locate(start))
            position = stop
        if position < end:
            yield Extent(position, end - position, "zero")
