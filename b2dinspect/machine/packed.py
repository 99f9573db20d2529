"""A packed machine directory: a tar with one folder in it, also inside xz, gzip or bzip2.

What comes out of it is bounded, and is plain files and folders below that one folder or nothing at all.
"""

from __future__ import annotations

import contextlib
import io
import os
import tempfile
from pathlib import Path
from typing import BinaryIO

from b2dinspect.errors import SourceError

try:
    import fcntl
except ImportError:  # Windows: no such locks
    fcntl = None  # type: ignore[assignment]

PREFIX = "b2dinspect-"
"""Of a folder that a packed machine is unpacked into; ``b2dprovision sweep`` knows it by this."""
SUFFIXES = (".tar", ".tar.xz", ".tar.gz", ".tar.bz2", ".tgz", ".txz")
MAX_UNPACKED = 64 << 20
"""Bytes that may come out of one."""


class UnpackedFolder(tempfile.TemporaryDirectory[str]):
    """A folder among the temporary files that nobody else looks into, and that is locked while it is used.

    The system lets go of the lock when the process ends: what a killed one has left can be told by that.
    """

    def __init__(self) -> None:
        super().__init__(prefix=PREFIX)
        self._held = os.open(self.name, os.O_RDONLY) if fcntl is not None else -1
        if fcntl is not None:
            with contextlib.suppress(OSError):  # a filesystem without locks
                fcntl.flock(self._held, fcntl.LOCK_EX | fcntl.LOCK_NB)

    def cleanup(self) -> None:
        """Remove it with all in it; once more is harmless."""
        super().cleanup()
        if self._held >= 0:
            os.close(self._held)
            self._held = -1


def is_packed(path: Path) -> bool:
    """Tell by its name whether a file may be a packed machine directory."""
    return path.name.lower().endswith(SUFFIXES)


def unpack_into(packed: Path, folder: Path, name: str = "") -> str:
    """Write what the packed folder holds into ``folder``, and return its name; holes stay holes.

    Args:
        packed: The file.
        folder: Is there, and empty.
        name: That the packed folder must have; by default any.

    Raises:
        SourceError: It cannot be unpacked, holds anything else than files in one folder, or more than
            ``MAX_UNPACKED`` bytes.
    """
    import lzma  # slow to import, and seldom needed
    import tarfile
    import zlib

    modes: dict[Path, int] = {}
    try:
        with (
            packed.open("rb") as file,
            _plain(file) as stream,
            tarfile.open(fileobj=_Bounded(stream, packed), mode="r|") as tar,
        ):
            for member in tar:
                top, *inside = member.name.removeprefix("./").rstrip("/").split("/")
                name = name or top
                is_below = top == name and not {"", ".", ".."} & {top, *inside}
                if not is_below or not (member.isdir() or (member.isreg() and inside)):
                    raise SourceError(f"{packed} holds {member.name!r}, which is no file or folder in {name}")
                path = folder.joinpath(*inside)
                if member.isdir():
                    path.mkdir(mode=0o700, exist_ok=True)
                else:
                    path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                    tar.makefile(member, path)
                modes[path] = member.mode & 0o777
    except (OSError, EOFError, ValueError, lzma.LZMAError, zlib.error, tarfile.TarError) as error:
        raise SourceError(f"{packed} cannot be unpacked: {error}") from error
    for path, mode in reversed(modes.items()):  # a folder after what is in it
        if path != folder:
            path.chmod(mode)
    return name


def _plain(file: BinaryIO) -> BinaryIO:
    """Return the tar in a file, unpacked as its first bytes tell."""
    import bz2
    import gzip
    import lzma

    head = file.read(6)
    file.seek(0)
    if head == b"\xfd7zXZ\0":
        return lzma.open(file)  # type: ignore[return-value]
    if head.startswith(b"\x1f\x8b"):
        return gzip.open(file)  # type: ignore[return-value]
    return bz2.open(file) if head.startswith(b"BZh") else file  # type: ignore[return-value]


class _Bounded(io.RawIOBase):
    """A stream from which not more than ``MAX_UNPACKED`` bytes come."""

    def __init__(self, stream: BinaryIO, path: Path) -> None:
        self._stream = stream
        self._path = path
        self._left = MAX_UNPACKED

    def read(self, size: int = -1) -> bytes:
        """Return the next bytes, ``size`` at most."""
        data = self._stream.read(min(size, self._left + 1) if size >= 0 else self._left + 1)
        self._left -= len(data)
        if self._left < 0:
            raise SourceError(f"{self._path} unpacks to more than {MAX_UNPACKED >> 20} MiB")
        return data
