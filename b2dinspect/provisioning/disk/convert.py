"""A disk into an image of another format, holes kept."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path

from b2dinspect.containers import open_container, raw
from b2dinspect.containers.writers import data_file, new_disk
from b2dinspect.errors import B2dError, ContainerError
from b2dinspect.evidence.file import Progress, open_evidence
from b2dinspect.evidence.roots import RefusedError
from b2dinspect.identity import Identities
from b2dinspect.newfile import NewFile
from b2dinspect.newfile.behind import WriteBehind
from b2dinspect.provisioning.disk.copying import copy, first_difference
from b2dinspect.provisioning.disk.rework import opened
from b2dinspect.source import ByteSource, Extent


class Filled(ByteSource):
    """A disk whose bytes that are not in the evidence read as zeros.

    Args:
        base: The disk.

    Attributes:
        missing: The ranges that are filled, as (offset, end) in bytes; what touches is one.
    """

    def __init__(self, base: ByteSource) -> None:
        self._base = base
        self.size = base.size
        self.missing: list[tuple[int, int]] = []
        for one in base.extents():
            if one.kind == "missing":
                touches = self.missing and self.missing[-1][1] == one.offset
                start = self.missing.pop()[0] if touches else one.offset
                self.missing.append((start, one.offset + one.length))

    def _pread(self, offset: int, length: int) -> bytes:
        return b"".join(
            bytes(one.length) if one.kind == "missing" else self._base.pread(one.offset, one.length)
            for one in self._base.extents(offset, length)
        )

    def extents(self, offset: int = 0, length: int | None = None) -> Iterator[Extent]:
        """Yield those of the disk, with zeros for what is missing."""
        for one in self._base.extents(offset, length):
            yield one._replace(kind="zero") if one.kind == "missing" else one


def convert(
    disk: ByteSource,
    out: Path,
    format_name: str,
    ids: Identities,
    *,
    subformat: str | None = None,
    verify: bool = False,
    force: bool = False,
    mode: int = 0o644,
    progress: Progress | None = None,
) -> int:
    """Write a disk into a new image, which appears when it is whole, and return the bytes that were copied.

    Args:
        disk: What to copy.
        out: The new image.
        format_name: Its format, one that is written.
        ids: Identities of the new image.
        subformat: One of the format's; some keep the disk in another file beside ``out``.
        verify: Read it back and compare, before it gets its name.
        force: Replace an existing file. The data of an old image beside it go when the new one stands; until
            then the new data have another name.
        mode: Permission bits of the new files.
        progress: Told of the bytes copied, and of the bytes that the source stores.

    Raises:
        MissingDataError: The source does not hold all of its content.
        ContainerError: What was read back differs.
        UsageError: The file exists and ``force`` is not given.
    """
    apart = data_file(format_name, subformat, out)
    replaced = _data_files(out) if apart and force else []
    if replaced:
        apart = _unused(format_name, subformat, out)
    # the descriptor gets its name last: whoever sees it finds the data too, and the old one keeps its own
    with (
        NewFile(out, force=force, mode=mode) if apart else nullcontext() as beside,
        NewFile(apart or out, force=force, mode=mode, named_in=beside) as file,
    ):
        with WriteBehind(file) as sink:
            writer = new_disk(format_name, sink, disk.size, ids, subformat=subformat)
            copied = copy(disk, writer, progress)
            writer.flush()
        if verify:
            with opened(file.temporary, raw.FORMAT.name if apart else format_name) as made:
                where = first_difference(disk, made, progress)
            if where is not None:
                raise ContainerError("what was read back differs", layer="new image", offset=where)
        if beside is not None:
            beside.pwrite(0, writer.descriptor())  # type: ignore[attr-defined]
    for old in replaced:
        old.unlink(missing_ok=True)
    return copied


def _data_files(image: Path) -> list[Path]:
    """Return the files beside an old image that hold its disk, and are named after it."""
    names: list[str] = []

    def note(name: str) -> ByteSource:
        names.append(name)
        raise RefusedError("not looked for")

    try:
        with open_evidence(str(image)) as file:
            open_container(file, open_extent=note)
    except B2dError:
        return []
    paths = [image.with_name(name) for name in names if name == Path(name).name]
    return [path for path in paths if path.name.startswith(f"{image.stem}-") and path.is_file()]


def _unused(format_name: str, subformat: str | None, image: Path) -> Path | None:
    """Return a name for new data that nothing has: the old ones stay whole until they are replaced."""
    stems = itertools.chain((image.stem,), (f"{image.stem}-{number}" for number in itertools.count(1)))
    named = (data_file(format_name, subformat, image.with_stem(stem)) for stem in stems)
    return next(path for path in named if path is None or not os.path.lexists(path))
