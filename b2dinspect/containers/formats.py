"""What a format's package tells before one of its files is read, and where the rest of it is."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from b2dinspect.records import NamedTuple
from b2dinspect.source import ByteSource

if TYPE_CHECKING:
    from b2dinspect.containers.base import Container


class Probe(NamedTuple):
    """Whether a format was recognised, and why or why not."""

    matched: bool
    reason: str


def _no_trace(file: ByteSource) -> str:
    return ""


class Format(NamedTuple):
    """A container format, as its package declares it in ``FORMAT``.

    The package itself is light; what reads, surveys and writes is imported when it is needed.

    Attributes:
        name: ``"vdi"``, ….
        package: Its full name. It has a module ``reader``, and ``writer`` if the format is written.
        reader: Name of the Container in ``reader``.
        probe: Tells from a few bytes whether a file is of this format.
        suffixes: Endings of files, without the dot; new files get the first.
        qemu_names: What qemu calls the format; it is told the first. Empty when it does not know it.
        qemu_backs: Whether qemu looks for the name of a backing file in it, unless it is told not to.
        takes: Keyword arguments of the reader.
        is_written: Whether there is a writer.
        subformats: Kinds that the writer makes; the first one when nobody asks.
        is_last: Whether it is asked when every other format said no.
        trace: Tells what else of the format is in a file that has lost its signature; "" for nothing.
    """

    name: str
    package: str
    reader: str
    probe: Callable[[ByteSource], Probe]
    suffixes: tuple[str, ...]
    qemu_names: tuple[str, ...] = ()
    qemu_backs: bool = False
    takes: tuple[str, ...] = ()
    is_written: bool = False
    subformats: tuple[str, ...] = ()
    is_last: bool = False
    trace: Callable[[ByteSource], str] = _no_trace

    def load(self, module: str) -> Any:
        """Return a module of the package."""
        return importlib.import_module(f"{self.package}.{module}")

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
        return getattr(self.load("reader"), self.reader)


def probe_signature(file: ByteSource, offset: int, signature: bytes, name: str = "") -> Probe:
    """Tell whether a file carries a signature.

    Args:
        file: The file.
        offset: Where; below 0 it counts from the end. Bytes.
        signature: What must be there.
        name: How people write it; by default as hexadecimal digits.
    """
    start = offset if offset >= 0 else file.size + offset
    found = file.pread(start, len(signature)) if start >= 0 else b""
    where = f"at byte {offset}" if offset >= 0 else f"{-offset} bytes before the end"
    what = f"signature {name or signature.hex()} {where}"
    if found == signature:
        return Probe(True, what)
    return Probe(False, f"no {what}, but {found.hex() or 'the end of the file'}")
