"""Disk containers: each format is one module with a ``probe`` and a class that reads it."""

from __future__ import annotations

from collections.abc import Callable

from b2dinspect.containers import raw, vdi, vhd, vhdx
from b2dinspect.containers.base import Container, Probe
from b2dinspect.errors import ContainerError, UsageError
from b2dinspect.source import ByteSource

__all__ = ["FORMATS", "Container", "Probe", "open_container"]

FORMATS: dict[str, tuple[Callable[[ByteSource], Probe], Callable[[ByteSource], Container]]] = {
    "vdi": (vdi.probe, vdi.VdiContainer),
    "vhd": (vhd.probe, vhd.VhdContainer),
    "vhdx": (vhdx.probe, vhdx.VhdxContainer),
    "raw": (raw.probe, raw.RawContainer),
}
"""In the order of the trial: raw takes everything that no other format claims."""


def open_container(file: ByteSource, format_name: str | None = None) -> Container:
    """Return the container that the file's own bytes claim to be, or the one asked for.

    Raises:
        UsageError: No such format.
        ContainerError: The file is of a format that is not read, or its header is broken.
    """
    if format_name is not None:
        if format_name not in FORMATS:
            raise UsageError(f"no container format {format_name!r}; there are {', '.join(FORMATS)}")
        return FORMATS[format_name][1](file)
    reasons = []
    for name, (probe, reader) in FORMATS.items():
        found = probe(file)
        if found.matched:
            return reader(file)
        reasons.append(f"{name}: {found.reason}")
    # raw was asked last, and tells best what this is
    raise ContainerError("no format matches; " + "; ".join(reversed(reasons)))
