"""A folder in which a repair changes files: nobody else does meanwhile, and no write follows a link."""

from __future__ import annotations

import errno
import os
from contextlib import suppress
from pathlib import Path, PurePath

from b2dinspect.errors import SourceError, UsageError
from b2dinspect.newfile.hold import hold
from b2dinspect.newfile.private import keep_private

HAS_FOLDERS = os.open in os.supports_dir_fd
"""Whether names can be looked up from an open folder: it stays the same one, whoever renames what."""
PLAIN = getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0) | getattr(os, "O_CLOEXEC", 0)


class HostFolder:
    """Files by their names below a folder. A context manager.

    Args:
        base: The folder.
        is_ours: Whether nobody else can be at work there anyway.
    """

    def __init__(self, base: Path, *, is_ours: bool = False) -> None:
        self.base = base
        self._is_ours = is_ours
        self._folders: dict[str, int] = {}

    def __enter__(self) -> HostFolder:
        return self

    def __exit__(self, *_: object) -> None:
        while self._folders:
            os.close(self._folders.popitem()[1])

    def open(self, name: str, flags: int = os.O_RDONLY, mode: int = 0o600) -> int:
        """Return a descriptor of a file, to be closed by the caller.

        Raises:
            UsageError: The name, or that of a folder above it, is a link; or somebody else repairs there.
            OSError: It cannot be opened.
        """
        where, folder = self._find(name)
        try:
            return os.open(where, flags | PLAIN, mode, dir_fd=folder)
        except OSError as error:
            raise self._told(name, error) from error

    def exists(self, name: str) -> bool:
        """Tell whether something has that name, be it a link that leads nowhere."""
        where, folder = self._find(name)
        with suppress(FileNotFoundError):
            os.stat(where, dir_fd=folder, follow_symlinks=False)
            return True
        return False

    def write(self, name: str, data: bytes, mode: int, owner: os.stat_result | None) -> None:
        """Give a small file a new content, all at once.

        Args:
            name: The file.
            data: All of it.
            mode: Its permission bits.
            owner: Of the file that it replaces; None for a new one, which nothing may stand in the way of.
        """
        where, folder = self._find(name)
        part = os.path.join(os.path.dirname(where), f".{os.urandom(6).hex()}.part")  # noqa: PTH118, PTH120
        fd = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | PLAIN, 0o600, dir_fd=folder)
        try:
            try:
                hold(fd)
                if owner is not None and hasattr(os, "fchown"):
                    mine = os.fstat(fd)
                    if (mine.st_uid, mine.st_gid) != (owner.st_uid, owner.st_gid):
                        os.fchown(fd, owner.st_uid, owner.st_gid)
                if hasattr(os, "fchmod"):
                    os.fchmod(fd, mode)
                elif not mode & 0o077:
                    keep_private(Path(part))
                write_at(fd, 0, data)
                os.fsync(fd)
            finally:
                os.close(fd)
            if owner is None and self.exists(name):
                raise UsageError(f"{self.base / name} exists")
            os.replace(part, where, src_dir_fd=folder, dst_dir_fd=folder)
        except BaseException:
            with suppress(OSError):
                os.unlink(part, dir_fd=folder)
            raise
        self.sync(name)

    def chmod(self, fd: int, name: str, mode: int) -> None:
        """Set the permission bits of a file that is open."""
        if hasattr(os, "fchmod"):
            os.fchmod(fd, mode)
        else:
            (self.base / name).chmod(mode)
            if not mode & 0o077:
                keep_private(self.base / name)

    def rename(self, old: str, new: str) -> None:
        """Give a file another name, and replace what had that."""
        (here, folder), (there, other) = self._find(old), self._find(new)
        os.replace(here, there, src_dir_fd=folder, dst_dir_fd=other)
        self.sync(new)

    def remove(self, name: str) -> None:
        """Remove a file that may be gone already."""
        where, folder = self._find(name)
        with suppress(FileNotFoundError):
            os.unlink(where, dir_fd=folder)
        self.sync(name)

    def sync(self, name: str) -> None:
        """Put the names in the folder of a file on stable storage."""
        folder = self._find(name)[1]
        if folder is not None:
            os.fsync(folder)

    def _find(self, name: str) -> tuple[str, int | None]:
        """Return what to look up for a name, and in which open folder; that is held from now on."""
        parts = PurePath(name).parts
        if not HAS_FOLDERS:
            path = self.base
            for part in parts:
                path = path / part
                if path.is_symlink():
                    raise _link(path)
            return str(path), None
        above = str(PurePath(*parts[:-1]))
        if above not in self._folders:
            self._folders[above] = self._enter(parts[:-1])
        return parts[-1], self._folders[above]

    def _enter(self, parts: tuple[str, ...]) -> int:
        try:
            fd = os.open(self.base, os.O_RDONLY)
            for part in parts:
                try:
                    inner = os.open(part, os.O_RDONLY | os.O_DIRECTORY | PLAIN, dir_fd=fd)
                finally:
                    os.close(fd)
                fd = inner
        except OSError as error:
            raise self._told(str(PurePath(*parts)), error) from error
        if not self._is_ours and not hold(fd):
            os.close(fd)
            path = self.base.joinpath(*parts)
            raise UsageError(f"{path}: somebody else repairs there now; nothing is written")
        return fd

    def _told(self, name: str, error: OSError) -> Exception:
        """Return an error as the user is told it."""
        path = self.base / name
        if error.errno in (errno.ELOOP, errno.ENOTDIR) and path.is_symlink():
            return _link(path)
        return error if isinstance(error, FileNotFoundError) else SourceError(f"{path}: {error.strerror}")


def _link(path: Path) -> UsageError:
    return UsageError(f"{path} is a link to {os.readlink(path)}: nothing is written through a link")  # noqa: PTH115


def write_at(fd: int, offset: int, data: bytes) -> None:
    """Write all of some bytes at an offset of a file."""
    os.lseek(fd, offset, os.SEEK_SET)
    view = memoryview(data)
    while view:
        view = view[os.write(fd, view) :]


def read_at(fd: int, offset: int, length: int) -> bytes:
    """Return up to that many bytes at an offset of a file."""
    os.lseek(fd, offset, os.SEEK_SET)
    data = b""
    while len(data) < length and (piece := os.read(fd, length - len(data))):
        data += piece
    return data
