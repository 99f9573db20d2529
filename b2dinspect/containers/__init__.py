"""Disk containers: each format is one package, whose ``reader`` has a ``probe`` and a class that reads it."""

from __future__ import annotations

import importlib
from typing import Any, NamedTuple

from b2dinspect.containers.base import Container, Probe
from b2dinspect.errors import ContainerError, UsageError
from b2dinspect.source import ByteSource

__all__ = ["FORMATS", "Container", "Format", "Probe", "format_of", "open_container"]


class Format(NamedTuple):
    """Where a format is read. Its module is imported when a file carries its sign, or somebody asks for it.

    Attributes:
        module: In this package; has ``probe``, which decides.
        reader: Name of the Container in it.
        signs: (offset, bytes) that a file of this format may carry; an offset below 0 counts from the end.
        takes: Keyword arguments of the reader.
    """

    module: str
    reader: str
    signs: tuple[tuple[int, bytes], ...]
    takes: tuple[str, ...] = ()

    def load(self) -> Any:
        """Return the module."""
        return importlib.import_module(f"b2dinspect.containers.{self.module}")

    def read(self, file: ByteSource, **given: Any) -> Container:
        """Return the file as a container of this format; it is given what its reader takes."""
        taken = {name: value for name, value in given.items() if name in self.takes and value is not None}
        container: Container = self._reader()(file, **taken)
        return container

    def identity(self, file: ByteSource) -> str:
        """Return the identity of an image of this format; only its headers are read."""
        identity: str = self._reader().read_identity(file)
        return identity

    def _reader(self) -> Any:
        return getattr(self.load(), self.reader)

    def probe(self, file: ByteSource) -> Probe:
        """Tell whether the file is of this format."""
        if self.signs and not any(_carries(file, offset, sign) for offset, sign in self.signs):
            offset, sign = self.signs[0]
            found = file.pread(offset, len(sign)).hex() or "the end of the file"
            return Probe(False, f"no signature {sign.hex()} at byte {offset}, but {found}")
        probe: Probe = self.load().probe(file)
        return probe


def _carries(file: ByteSource, offset: int, sign: bytes) -> bool:
    start = offset if offset >= 0 else file.size + offset
    return start >= 0 and file.pread(start, len(sign)) == sign


FORMATS = {
    "vdi": Format("vdi.reader", "VdiContainer", ((64, b"\x7f\x10\xda\xbe"),)),
    "vhd": Format("vhd.reader", "VhdContainer", ((0, b"conectix"), (-512, b"conectix"), (-511, b"conectix"))),
    "vhdx": Format("vhdx.reader", "VhdxContainer", ((0, b"vhdxfile"),)),
    "vmdk": Format(
        "vmdk.reader",
        "VmdkContainer",
        ((0, b"KDMV"), (0, b"# Disk DescriptorFile")),
        ("open_extent", "prefer_redundant"),
    ),
    "qcow2": Format("qcow2.reader", "Qcow2Container", ((0, b"QFI\xfb"),)),
    "raw": Format("raw.reader", "RawContainer", ()),
}
"""In the order of the trial: raw takes everything that no other format claims."""


def format_of(file: ByteSource, format_name: str | None = None) -> Format:
    """Return the format that the file's own bytes claim, or the one asked for.

    Raises:
        UsageError: No such format.
        ContainerError: The file is of a format that is not read.
    """
    if format_name is not None:
        if format_name not in FORMATS:
            raise UsageError(f"no container format {format_name!r}; there are {', '.join(FORMATS)}")
        return FORMATS[format_name]
    reasons = []
    for name, known in FORMATS.items():
        found = known.probe(file)
        if found.matched:
            return known
        reasons.append(f"{name}: {found.reason}")
    # raw was asked last, and tells best what this is
    raise ContainerError("no format matches; " + "; ".join(reversed(reasons)))


def open_container(file: ByteSource, format_name: str | None = None, **given: Any) -> Container:
    """Return the container that the file's own bytes claim to be, or the one asked for.

    What other files hold of it is missing: ``chain.open_disk`` looks for those.

    Args:
        file: The image.
        format_name: One of FORMATS.
        given: ``open_extent``, ``prefer_redundant``: see the readers.

    Raises:
        UsageError: No such format.
        ContainerError: The file is of a format that is not read, or its header is broken.
    """
    return format_of(file, format_name).read(file, **given)
