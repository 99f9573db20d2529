"""New images: which formats are written, and what a writer offers.

A format is written when its package says so and has a module ``writer`` with a function ``new_disk``; what is
found in ``FORMATS`` counts, so a format that joined there is written too. Nothing that reads imports this.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Protocol

from b2dinspect.containers import FORMATS, Container
from b2dinspect.errors import UsageError
from b2dinspect.identity import Identities

if TYPE_CHECKING:
    from b2dinspect.newfile import Sink
    from b2dinspect.source import FileSource


class DiskWriter(Protocol):
    """What a container's writer offers. Offsets are virtual, in bytes."""

    size: int

    def pwrite(self, offset: int, data: bytes) -> None:
        """Write at an offset."""

    def pcopy(self, offset: int, source: FileSource, begin: int, length: int) -> None:
        """Write bytes of an open file, from its byte ``begin`` on, at an offset; zeros are stored too."""

    def pread(self, offset: int, length: int) -> bytes:
        """Return what has been written."""

    def locate(self, offset: int) -> int | None:
        """Return the file offset of a stored byte."""

    def flush(self) -> None:
        """Make the file whole; writing may go on."""


def new_disk(
    format_name: str,
    sink: Sink,
    size: int,
    ids: Identities,
    *,
    like: Container | None = None,
    subformat: str | None = None,
) -> DiskWriter:
    """Return a writer of an empty disk.

    Args:
        format_name: One of ``written_formats()``.
        sink: An empty file.
        size: Virtual size in bytes.
        ids: Identities of the image.
        like: The new image is the same one as this, for everybody who knows that by its identity.
        subformat: One of the format's.
    """
    writer: DiskWriter = (
        FORMATS[format_name].load("writer").new_disk(sink, size, ids, like=like, subformat=subformat)
    )
    return writer


def written_formats() -> tuple[str, ...]:
    """Return the names of the formats that can be written."""
    return tuple(name for name, known in FORMATS.items() if known.is_written)


def kept_format(format_name: str) -> str:
    """Return the format for a copy of an image: its own, or raw where that cannot be written."""
    if FORMATS[format_name].is_written:
        return format_name
    return next(name for name, known in FORMATS.items() if known.is_last and known.is_written)


def suffix(format_name: str) -> str:
    """Return the ending of a new image's name, without the dot."""
    return FORMATS[format_name].suffixes[0]


def format_for(path: str, format_name: str | None = None) -> str:
    """Return the format asked for, or else the one that the file's name ends in.

    Raises:
        UsageError: No such format, or no ending that tells one.
    """
    written = written_formats()
    if format_name is not None:
        if format_name not in written:
            raise UsageError(f"cannot write the format {format_name!r}; there are {', '.join(written)}")
        return format_name
    for name in written:
        if path.lower().endswith(tuple(f".{ending}" for ending in FORMATS[name].suffixes)):
            return name
    names = ", ".join(written)
    raise UsageError(f"{path}: the name tells no format; there are {names}").naming("format_name")


def subformat_for(format_name: str, subformat: str | None) -> str | None:
    """Return the subformat asked for.

    Raises:
        UsageError: The format has none of that name.
    """
    known = FORMATS[format_name].subformats
    if subformat is not None and subformat not in known:
        names = ", ".join(known) or "none"
        raise UsageError(f"no subformat {subformat!r} of {format_name}; there are {names}")
    return subformat


def data_file(format_name: str, subformat: str | None, image: Path) -> Path | None:
    """Return the raw file that holds the disk beside the image; None when the image holds it itself.

    The writer of such a subformat writes that file, and its ``descriptor()`` is what the image holds.
    """
    endings: dict[str, str] = getattr(FORMATS[format_name].load("writer"), "DATA_FILES", {})
    ending = endings.get(subformat or "")
    return image.with_name(image.stem + ending) if ending else None
