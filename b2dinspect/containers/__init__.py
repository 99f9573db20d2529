"""Disk containers: each format is one package, of one shape.

``__init__`` has the specification and the signature, ``layout`` the declarations and checks of headers,
``reader`` the disk, ``survey`` what is wrong with the tables, ``writer`` new images.
"""

from __future__ import annotations

from typing import Any

from b2dinspect.containers import qcow2, raw, vdi, vhd, vhdx, vmdk
from b2dinspect.containers.base import Container
from b2dinspect.containers.formats import Format, Probe
from b2dinspect.errors import ContainerError, MissingDataError, UsageError
from b2dinspect.source import ByteSource

__all__ = ["FORMATS", "Container", "Format", "Probe", "format_of", "open_container"]

FORMATS: dict[str, Format] = {
    package.FORMAT.name: package.FORMAT for package in (vdi, vhd, vhdx, vmdk, qcow2, raw)
}
"""Every format by its name, in the order of the trial. A further one joins by being put here."""


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
    for known in sorted(FORMATS.values(), key=lambda known: known.is_last):
        found = known.probe(file)
        if found.matched:
            if known.is_last:
                _refuse_what_lost_its_signature(file)
            return known
        reasons.append(f"{known.name}: {found.reason}")
    # raw was asked last, and tells best what this is
    raise ContainerError("no format matches; " + "; ".join(reversed(reasons)))


def _refuse_what_lost_its_signature(file: ByteSource) -> None:
    """Refuse to take for the disk itself what is a container with its first bytes gone."""
    for known in FORMATS.values():
        try:
            trace = known.trace(file)
        except MissingDataError:
            continue  # a piece of the file is not there: what stood in it cannot tell
        if trace:
            raise ContainerError(
                f"this seems to be {known.name} whose first bytes are gone: {trace}. What lies in it is not "
                "where a disk would have it: do not let a tool for disks (testdisk, gdisk) write to it"
            )


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
