"""New files and folders that appear whole or not at all."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Protocol, Self

from b2dinspect.errors import SourceError, UsageError
from b2dinspect.newfile.hold import (
    data_name,
    hold,
    hold_folder,
    old_name,
    remove_folder,
    temporary_name,
)
from b2dinspect.sparse import make_sparse

if TYPE_CHECKING:
    from b2dinspect.source import FileSource

CHUNK = 1 << 20
WRITTEN_OUT = 64 << 20
"""Bytes after which the system is told to begin with writing: there is less to wait for at the end."""


class Sink(Protocol):
    """What a writer of disk images needs: a NewFile is one."""

    def pwrite(self, offset: int, data: bytes | memoryview) -> None:
        """Write ``data`` at ``offset`` (bytes)."""

    def pcopy(self, offset: int, source: FileSource, start: int, length: int) -> None:
        """Write ``length`` bytes of another file, from its byte ``start`` on, at ``offset``."""

    def pread(self, offset: int, length: int) -> bytes:
        """Return up to ``length`` bytes at ``offset`` of what has been written."""

    def truncate(self, size: int) -> None:
        """Set the size in bytes."""

    def flush(self) -> None:
        """Reach stable storage."""


def narrow(mode: int) -> int:
    """Return the permission bits of a copy: the owner's, and what others could read before, they may read."""
    return 0o600 | mode & 0o044


def _version(status: os.stat_result) -> tuple[int, ...]:
    """Return what is another when a file was changed, or exchanged."""
    return status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns


class NewFile:
    """A file that is written under a temporary name and renamed when it is complete.

    Use as a context manager: leaving it normally syncs and renames, leaving it by an exception (an
    interrupt too) removes the temporary file. Holes are kept: only what is written takes space.

    Attributes:
        path: The final name.
        temporary: The name until then, in the same folder.
        size: Bytes, so far.

    Args:
        path: The final name.
        force: Replace an existing file.
        mode: Permission bits from the first byte on.
        named_in: The new file that names this one, and gets its own name after it. Until that stands this one
            keeps the temporary name too: by that a killed run is known to have left it.

    Raises:
        UsageError: The file exists and ``force`` is not given, or it is a directory.
        SourceError: The file cannot be made.
    """

    def __init__(
        self,
        path: str | Path,
        *,
        force: bool = False,
        mode: int = 0o644,
        named_in: NewFile | None = None,
    ) -> None:
        self.path = Path(path)
        self._force = force
        self._data: NewFile | None = None
        if self.path.is_dir():
            raise UsageError(f"{self.path} is a directory; name a file in it")
        if not force and os.path.lexists(self.path):
            raise UsageError(f"{self.path} exists").naming("force")
        self.temporary: Path = data_name(named_in.temporary) if named_in else temporary_name(self.path)
        self._is_named = named_in is not None
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | getattr(os, "O_BINARY", 0)
        try:
            self._fd = os.open(self.temporary, flags, mode)
        except OSError as error:
            raise SourceError(f"cannot create {self.path}: {error.strerror}") from error
        if named_in is not None:
            named_in._data = self
        hold(self._fd)
        make_sparse(self._fd)
        self.size = 0
        self._replaced: os.stat_result | None = None
        self._is_synced = self._is_shared = False
        self._fresh = self._first = self._last = 0  # bytes written since the last write-out, and where

    @classmethod
    def replacing(cls, path: str | Path) -> Self:
        """Return the new content of a file that is there: its owner, mode and attributes stay as they are.

        Where the path is a link it stays one, and what it names gets the new content.

        Raises:
            UsageError: The owner cannot be kept.
            SourceError: The file is not there, or none can be made beside it.
        """
        real = Path(os.path.realpath(path))
        try:
            status = real.stat()
        except OSError as error:
            raise SourceError(f"{path}: {error.strerror}") from error
        file = cls(real, force=True, mode=0o600)
        file._replaced = status
        try:
            file.take_after(real, status)
        except OSError as error:
            file.discard()
            text = f"{path} cannot be replaced by a file of the same owner and mode: {error.strerror}"
            raise UsageError(text) from error
        return file

    def take_after(self, path: Path, status: os.stat_result) -> None:
        """Take owner, mode and extended attributes of another file.

        Raises:
            OSError: The system does not let us.
        """
        if hasattr(os, "fchown"):
            mine = os.fstat(self._fd)
            if (mine.st_uid, mine.st_gid) != (status.st_uid, status.st_gid):
                os.fchown(self._fd, status.st_uid, status.st_gid)
            os.fchmod(self._fd, status.st_mode & 0o7777)
        for name in os.listxattr(path) if hasattr(os, "listxattr") else ():
            with contextlib.suppress(OSError):  # some are the system's own business
                os.setxattr(self._fd, name, os.getxattr(path, name))

    def pwrite(self, offset: int, data: bytes | memoryview) -> None:
        """Write ``data`` at ``offset`` (bytes), growing the file as needed."""
        view = memoryview(data)
        position = offset
        with self._named():
            while view:
                count = self._write_some(position, view)
                view, position = view[count:], position + count
        self._grown(offset, position)

    def _write_some(self, offset: int, view: memoryview) -> int:
        if hasattr(os, "pwrite"):
            return os.pwrite(self._fd, view, offset)
        os.lseek(self._fd, offset, os.SEEK_SET)  # Windows has no pwrite
        return os.write(self._fd, view)

    def pcopy(self, offset: int, source: FileSource, start: int, length: int) -> None:
        """Write ``length`` bytes of another file, from its byte ``start`` on, at ``offset``.

        Where it can, the system copies them without showing them to us.

        Raises:
            SourceError: The other file cannot be read, or ends before that.
        """
        done = self._copy_within_system(offset, source, start, length)
        self._grown(offset, offset + done)
        while done < length:
            data = source.pread(start + done, min(CHUNK, length - done))
            if not data:
                raise SourceError("the file ends here", offset=start + done)
            self.pwrite(offset + done, data)
            done += len(data)

    def _copy_within_system(self, offset: int, source: FileSource, start: int, length: int) -> int:
        """Return how many bytes the system copied; why not all, reading and writing the rest will tell."""
        done = 0
        with contextlib.suppress(OSError, AttributeError):  # another filesystem, an old Linux, no Linux
            while done < length:
                count = os.copy_file_range(
                    source.fileno(), self._fd, length - done, start + done, offset + done
                )
                if not count:
                    break
                done += count
        return done

    def _grown(self, start: int, end: int) -> None:
        """Take note of what was written, and have the system begin to put it on the disk when it is much."""
        self.size = max(self.size, end)
        self._is_synced = False
        self._first = min(self._first, start) if self._fresh else start
        self._last = max(self._last, end) if self._fresh else end
        self._fresh += end - start
        if self._fresh >= WRITTEN_OUT and hasattr(os, "posix_fadvise"):
            with contextlib.suppress(OSError):
                os.posix_fadvise(self._fd, self._first, self._last - self._first, os.POSIX_FADV_DONTNEED)
            self._fresh = 0

    def pread(self, offset: int, length: int) -> bytes:
        """Return up to ``length`` bytes at ``offset`` of what has been written."""
        os.lseek(self._fd, offset, os.SEEK_SET)
        data = os.read(self._fd, length)
        while len(data) < length and (more := os.read(self._fd, length - len(data))):
            data += more
        return data

    def truncate(self, size: int) -> None:
        """Set the size in bytes; a longer file gets a hole."""
        with self._named():
            os.ftruncate(self._fd, size)
        self.size = size
        self._is_synced = False

    def flush(self) -> None:
        """Put everything written so far on stable storage; what is there already costs nothing."""
        if not self._is_synced:
            with self._named():
                os.fsync(self._fd)
            self._is_synced = not self._is_shared

    @contextlib.contextmanager
    def _named(self) -> Iterator[None]:
        """Let an error say which file it is about: a descriptor does not know its name."""
        try:
            yield
        except OSError as error:
            error.filename = error.filename or str(self.path)
            raise

    def fileno(self) -> int:
        """Return the descriptor, for a program that is to write the file; it stays ours."""
        self._is_shared, self._is_synced = True, False
        return self._fd

    def commit(self) -> None:
        """Give the file its final name.

        Raises:
            UsageError: Somebody else made a file of that name, or changed the one to be replaced, meanwhile.
            OSError: The disk is full or broken. Whatever is raised, the temporary file is gone.
        """
        try:
            self.flush()
            os.close(self._fd)
            self._fd = -1
            if not self._force and os.path.lexists(self.path):
                raise UsageError(f"{self.path} exists").naming("force")
            if self._replaced is not None and _version(self.path.stat()) != _version(self._replaced):
                raise UsageError(f"{self.path} was changed by another program meanwhile: it stays as it is")
            self._take_name()
        except BaseException:
            self.discard()
            raise
        try:
            self._sync_folder()
        finally:
            if self._data is not None:
                self._data.let_go(keep=True)

    def _take_name(self) -> None:
        if self._is_named and not os.path.lexists(self.path):
            with contextlib.suppress(OSError):  # a filesystem that gives a file one name only
                os.link(self.temporary, self.path)
                return
        self.temporary.replace(self.path)

    def discard(self) -> None:
        """Remove the temporary file, and the one that it would have named."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
        if self._data is not None:
            self._data.let_go(keep=not self.temporary.exists())  # an interrupt may come when it has its name
        if self._is_named:
            self.let_go(keep=False)
        self.temporary.unlink(missing_ok=True)

    def let_go(self, keep: bool) -> None:
        """Give the temporary name up, and unless ``keep`` is given the final one that ``commit`` gave."""
        with contextlib.suppress(OSError):
            if not keep and self.temporary.samefile(self.path):
                self.path.unlink()
        self.temporary.unlink(missing_ok=True)

    def _sync_folder(self) -> None:
        sync_folder(self.path.parent)

    def __enter__(self) -> NewFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if kind is None:
            self.commit()
        else:
            self.discard()


class NewFolder:
    """A folder that is filled under a temporary name and renamed when it is complete.

    Use it as NewFile is used. Only the owner can look into it while it is being filled.

    Args:
        path: The final name.
        force: Replace an existing folder, whose content is then gone.

    Raises:
        UsageError: The path exists, and ``force`` is not given or it is no folder.
        SourceError: The folder cannot be made.
    """

    def __init__(self, path: str | Path, *, force: bool = False) -> None:
        self.path = Path(path)
        if os.path.lexists(self.path) and not (force and self.path.is_dir() and not self.path.is_symlink()):
            error = UsageError(f"{self.path} exists")
            raise error if force else error.naming("force")
        self._force, self._stands = force, False
        self._old: Path | None = None
        self.temporary = temporary_name(self.path)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.temporary.mkdir(mode=0o700)
        except OSError as error:
            raise SourceError(f"cannot create {self.path}: {error.strerror}") from error
        self._held = hold_folder(self.temporary)

    def commit(self) -> None:
        """Give the folder its final name; what had it before is kept until ``discard``. Once is enough.

        Raises:
            UsageError: Somebody else made a folder of that name meanwhile.
            OSError: The disk is full or broken. The old folder is where it was.
        """
        if self._stands:
            return
        sync_tree(self.temporary)
        if self._force and self.path.is_dir():
            self._replace()
        else:
            try:
                self.temporary.rename(self.path)
            except OSError as error:
                raise UsageError(f"{self.path} exists").naming("force") from error
        self._stands = True
        sync_folder(self.path.parent)

    def _replace(self) -> None:
        from b2dinspect.newfile.exchange import exchange  # slow to import

        if exchange(self.temporary, self.path):
            return
        old = old_name(self.path)
        self.path.rename(old)
        try:
            self.temporary.rename(self.path)
        except BaseException:
            old.rename(self.path)
            raise
        self._old = old

    def revert(self) -> None:
        """Take the name away again, after ``commit``: what had it before has it as before.

        Raises:
            OSError: The disk is broken. The new folder is where it was.
        """
        from b2dinspect.newfile.exchange import exchange

        if not self._stands:
            return
        if self._old is None and self.temporary.is_dir():
            exchange(self.temporary, self.path)
        else:
            self.path.rename(self.temporary)
            if self._old is not None:
                self._old.rename(self.path)
                self._old = None
        self._stands = False
        sync_folder(self.path.parent)

    def discard(self) -> None:
        """Remove what is under the temporary name, with all in it: the unfinished folder, or the old one."""
        remove_folder(self.temporary)
        if self._old is not None:
            remove_folder(self._old)
            self._old = None
        if self._held is not None:
            os.close(self._held)
            self._held = None

    def __enter__(self) -> NewFolder:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                self.commit()
        finally:
            self.discard()


def sync_folder(path: Path) -> None:
    """Put the names in a folder on stable storage, where the system can do that."""
    with contextlib.suppress(OSError):  # Windows cannot open a folder; the rename is done all the same
        folder = os.open(path, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def sync_filesystem(path: Path) -> None:
    """Put all that was written on the filesystem of a folder on stable storage, at once, where a system can.

    Source: syncfs(2), which Linux alone has; sync(2) does it for all filesystems.
    """
    import ctypes  # slow to import

    folder = os.open(path, os.O_RDONLY) if hasattr(os, "sync") else -1
    if folder < 0:
        return  # Windows does it by itself, within seconds
    try:
        syncfs = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
        if syncfs is None or syncfs(folder):
            os.sync()
    finally:
        os.close(folder)


def sync_tree(path: Path) -> None:
    """Put the regular files in a folder and all names in it on stable storage."""
    for place, _, names in os.walk(path, topdown=False):
        for name in names:
            access = os.O_RDWR if os.name == "nt" else os.O_RDONLY  # Windows flushes what it may write
            file = os.open(os.path.join(place, name), access | getattr(os, "O_NOFOLLOW", 0))  # noqa: PTH118
            try:
                os.fsync(file)
            finally:
                os.close(file)
        sync_folder(Path(place))
