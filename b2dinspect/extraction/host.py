"""Members, made into files of the host: whole or not at all, in their place, and nothing anywhere else.

A file is made whole or not at all (``wholefile``). Of many, the small ones are made some at a time
(``together``), a part of them by a second process (``parallel``).
All of them reach stable storage together, at the end.
"""

from __future__ import annotations

import contextlib
import errno
import os
import sys
from collections import deque
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from b2dinspect.errors import EvidenceError, SourceError, UsageError
from b2dinspect.extraction.members import AT_ONCE, Fault, Member, PlainFiles, absent, filled, join, missing
from b2dinspect.extraction.names import windows_obstacle
from b2dinspect.extraction.together import IS_POSSIBLE, make_all
from b2dinspect.extraction.wholefile import CHUNK, Look, Maker, temporary
from b2dinspect.filesystems.node import PlainFile
from b2dinspect.newfile import sync_filesystem, sync_folder
from b2dinspect.records import NamedTuple
from b2dinspect.source import ByteSource

if TYPE_CHECKING:
    from b2dinspect.extraction.parallel import Batch, SecondProcess

FEW = 32
"""Files that are synced one by one; when there are more, the system is told to sync all, once."""
MANY = 500
"""Files after which a second process is worth its start."""
NO_USE_GOING_ON = (errno.ENOSPC, errno.EDQUOT, errno.EROFS, errno.EIO)
_IS_WINDOWS = sys.platform == "win32"


class ExtractionRules(NamedTuple):
    """How files are made.

    Attributes:
        force: Replace what exists.
        owners: Give files their owners and all bits of their mode, as root may.
        fill: Write zeros, named, for what the evidence does not hold of a file; else leave the file out.
    """

    force: bool = False
    owners: bool = False
    fill: bool = False


class _Folder(NamedTuple):
    """A directory that is being filled.

    Attributes:
        path: Below the top.
        place: On the host.
        member: What it is made after; None when it was there before.
        names: Those in it, without their case, where the host does not tell them apart; else None.
    """

    path: bytes
    place: str
    member: Member | None
    names: dict[str, bytes] | None


class HostTree:
    """Takes members in the order of ``members.walk`` and makes them below a folder.

    Use as a context manager: leaving it normally gives the last directories their times, and syncs.

    Args:
        top: What the member of path b"" becomes. Made if it is a directory and not there.
        fault: Takes what is left out, and what comes out not as it was.
        rules: How.
        evidence: The file that is read, which is never written; None when it has no name.
        progress: Told the bytes written so far.

    Raises:
        UsageError: Owners are to be kept, and this system has none.

    Attributes:
        copied: Files.
        size: Their bytes.
    """

    def __init__(
        self,
        top: Path,
        fault: Fault,
        rules: ExtractionRules = ExtractionRules(),  # noqa: B008 - it is a tuple
        evidence: os.stat_result | None = None,
        progress: Callable[[int], None] | None = None,
    ) -> None:
        if rules.owners and not hasattr(os, "chown"):
            raise UsageError("this system gives files no owners of that kind; a tar keeps them")
        self._top = top
        self._fault = fault
        self._rules = rules
        self._evidence = evidence
        self._progress = progress or (lambda _: None)
        self._stack: list[_Folder] = []
        self._left: deque[tuple[int, _Folder]] = deque()
        self._caseless: bool | None = None
        self._maker = Maker(rules.owners)
        self._links: set[bytes] = set()
        self._second: SecondProcess | None = None
        self._is_alone = False
        self._batch: Batch = []
        self._batches = self._told = 0
        self.copied = self.size = 0

    def take(self, member: Member | PlainFiles) -> None:
        """Make a file, directory or link, or small files of a directory; those of one filesystem only.

        Raises:
            SourceError: The folder cannot be written at all, or is full.
        """
        if isinstance(member, PlainFiles):
            self._take_plain(member)
            return
        place = self._enter(member) if member.path else str(self._top)
        if place is not None:
            self._attempt(member, self._make, place)

    def _take_plain(self, member: PlainFiles) -> None:
        folder = self._folder(member.directory)
        if folder is None:
            return
        is_free = folder.member is not None and folder.names is None  # nothing can be in the way there
        if self.copied < MANY or not is_free or not IS_POSSIBLE:
            for file in member.plain:
                if (one := self._one(member, file)) is not None:
                    self.take(one)
            return
        self._batches += not self._batch
        self._batch.append((folder.place, member))
        if sum(len(one.plain) for _, one in self._batch) >= AT_ONCE:
            self._pass_on()

    def _attempt(self, member: Member, make: Callable[[Member, str], None], place: str) -> None:
        """Make something, or tell why not."""
        try:
            make(member, place)
        except (EvidenceError, UsageError) as error:
            if not member.path and member.type == "directory":
                raise
            self._fault(member.path, error)
        except (OSError, OverflowError, ValueError) as error:
            self._refused(member, place, error)

    def _refused(self, member: Member, place: str, error: OSError | OverflowError | ValueError) -> None:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        if isinstance(error, OSError) and error.errno in NO_USE_GOING_ON:
            raise SourceError(f"cannot write {place}: {reason}") from error
        if not member.path:
            raise SourceError(f"cannot create {self._top}: {reason}") from error
        self._fault(member.path, UsageError(reason or type(error).__name__))

    def _folder(self, path: bytes) -> _Folder | None:
        """Go to a directory; return it, None when it was left out."""
        while self._stack and self._stack[-1].path != path:
            if not path.startswith(self._stack[-1].path + b"/") and self._stack[-1].path:
                self._leave(self._stack.pop())
            else:
                return None  # the directory between was left out, and said so
        return self._stack[-1] if self._stack else None

    def _enter(self, member: Member) -> str | None:
        """Go to the directory that a member belongs into; return its place, None when it can have none."""
        parent, _, name = member.path.rpartition(b"/")
        folder = self._folder(parent)
        if folder is None:
            return None
        try:
            text = os.fsdecode(name)
            reason = self._obstacle(name, text, folder)
        except UnicodeDecodeError:
            reason = "its name is no text, as this system wants one"
        if reason:
            self._fault(member.path, UsageError(reason))
            return None
        return f"{folder.place}{os.sep}{text}"

    def _obstacle(self, name: bytes, text: str, folder: _Folder) -> str:
        """Return why the host cannot take a name here; "" when it can."""
        if _IS_WINDOWS and (reason := windows_obstacle(text)):
            return reason
        if folder.names is None:
            return ""
        first = folder.names.setdefault(text.casefold(), name)
        return "" if first == name else f"this folder does not tell it from {os.fsdecode(first)}"

    def _make(self, member: Member, place: str) -> None:
        kind = member.type
        if kind == "file":
            self._file(member, place)
        elif kind == "directory":
            self._directory(member, place)
        elif kind == "symlink":
            self._symlink(member, place)
        else:
            raise UsageError("a special file: a device, FIFO or socket, which only a tar keeps")

    def _directory(self, member: Member, place: str) -> None:
        made = False
        if os.path.islink(place):  # noqa: PTH114
            if not member.path:
                raise SourceError(f"{place} is a symbolic link; nothing is copied through it")
            raise UsageError("a symbolic link is there; nothing is copied through it")
        try:
            if member.path:
                os.mkdir(place, 0o700)  # noqa: PTH102
            else:
                os.makedirs(place, 0o777)  # noqa: PTH103
            made = True
        except FileExistsError:
            if not os.path.isdir(place):  # noqa: PTH112
                raise
        if self._caseless is None:
            self._caseless = _is_caseless(place)
        names: dict[str, bytes] | None = {} if self._caseless else None
        self._stack.append(_Folder(member.path, place, member if made else None, names))

    def _leave(self, folder: _Folder) -> None:
        """Remember a directory that is complete but for what the second process makes."""
        self._left.append((self._batches, folder))
        self._finish()

    def _finish(self) -> None:
        """Complete the directories of which no file is on its way any more."""
        on_its_way = self._batches + (not self._batch)
        if self._second is not None and self._second.batches:
            on_its_way = self._second.batches[0].number
        while self._left and self._left[0][0] < on_its_way:
            self._complete(self._left.popleft()[1])

    def _complete(self, folder: _Folder) -> None:
        """Give a directory its mode and times, now that nothing is made in it any more."""
        if folder.member is None:
            return
        with contextlib.suppress(OSError):  # a filesystem without
            self._keep(folder.place, folder.member, 0o700)

    def _keep(self, place: str, member: Member, least: int) -> None:
        """Give something its owner, its mode with the bits that its new owner needs, and its times."""
        node = member.node
        if self._rules.owners:
            os.chown(place, node.uid, node.gid)
            os.chmod(place, node.mode & 0o7777)  # noqa: PTH101
        else:
            os.chmod(place, node.mode & 0o777 | least)  # noqa: PTH101
        os.utime(place, ns=_times(member))

    def _symlink(self, member: Member, place: str) -> None:
        self._refuse_existing(place)
        new = temporary(place)
        os.symlink(os.fsdecode(member.node.link), new)  # noqa: PTH211
        try:
            if self._rules.owners:
                os.chown(new, member.node.uid, member.node.gid, follow_symlinks=False)
            with contextlib.suppress(NotImplementedError):
                os.utime(new, ns=_times(member), follow_symlinks=False)
            os.replace(new, place)  # noqa: PTH105
        except BaseException:
            os.unlink(new)  # noqa: PTH108
            raise
        self.copied += 1

    def _file(self, member: Member, place: str) -> None:
        self._refuse_existing(place)
        if member.node.links < 2:
            self._whole(member, place)
            return
        if not self._hard_link(member, place):
            self._whole(member, place)
        self._links.add(member.path)

    def _hard_link(self, member: Member, place: str) -> bool:
        """Make a file another name of one that this run made; False where it has to be copied."""
        if member.twin not in self._links:
            return False
        first = os.path.join(self._top, *os.fsdecode(member.twin).split("/"))  # noqa: PTH118
        new = temporary(place)
        try:
            os.link(first, new, follow_symlinks=False)
        except (OSError, NotImplementedError):  # a filesystem without, or no more names for this file
            return False
        try:
            os.replace(new, place)  # noqa: PTH105
        except BaseException:
            os.unlink(new)  # noqa: PTH108
            raise
        self.copied += 1
        return True

    def _whole(self, member: Member, place: str) -> None:
        data = member.small(CHUNK)
        content = self._readable(member) if data is None else None

        def pour(fd: int) -> None:
            if content is not None:
                self._pour(content, fd)

        self._maker.make(place, _look(member), data, pour, sync=self.copied < FEW)
        self._count(1, member.node.size)

    def _count(self, files: int, size: int) -> None:
        self.copied += files
        self.size += size
        if self.size - self._told > CHUNK:
            self._told = self.size
            self._progress(self.size)

    def _readable(self, member: Member) -> ByteSource:
        """Return a file's content, if all of it is there or zeros may stand for what is not.

        Raises:
            EvidenceError: It is not, or cannot be read.
        """
        content = member.content()
        if gone := missing(content):
            if not self._rules.fill:
                raise absent(gone)
            self._fault(member.path, filled(gone))
        return content

    def _pour(self, content: ByteSource, fd: int) -> None:
        for extent in content.extents():
            if extent.kind != "data":
                continue
            end = extent.offset + extent.length
            for offset in range(extent.offset, end, CHUNK):
                view = memoryview(content.pread(offset, min(CHUNK, end - offset)))
                os.lseek(fd, offset, os.SEEK_SET)
                while view:
                    view = view[os.write(fd, view) :]
                self._progress(self.size + offset)
        os.ftruncate(fd, content.size)

    def _pass_on(self) -> None:
        """Have small files made, by the second process if that has time."""
        from b2dinspect.extraction.parallel import second_process

        batch, self._batch = self._batch, []
        files = batch[0][1].files
        if self._second is None and not self._is_alone:
            self._second = second_process(files, self._maker)
            self._is_alone = self._second is None
        if self._second is not None:
            self._take_in(self._second, wait=False)
        if self._second is None or not self._second.take(self._batches, batch):
            orders = [(place, one.plain) for place, one in batch]
            self._settle(batch, make_all(files, self._maker, orders))
        self._finish()

    def _take_in(self, second: SecondProcess, *, wait: bool) -> None:
        for batch, made in second.made(wait=wait):
            self._settle(batch, made)

    def _settle(self, batch: Batch, made: int) -> None:
        """Count the files of a batch that were made, and make the others by themselves."""
        for place, member in batch:
            for file in member.plain:
                if made & 1:
                    self._count(1, file.size)
                elif (one := self._one(member, file)) is not None:
                    self._attempt(one, self._whole, f"{place}{os.sep}{os.fsdecode(file.name)}")
                made >>= 1

    def _one(self, member: PlainFiles, file: PlainFile) -> Member | None:
        """Return one of some files as a member, or tell why it is none."""
        try:
            return member.member(file)
        except EvidenceError as error:
            self._fault(join(member.directory, file.name), error)
            return None

    def _refuse_existing(self, place: str) -> None:
        """Refuse to replace what is there: always the evidence, and with no leave to, anything.

        Raises:
            UsageError: Something is there that stays.
        """
        if self._stack and self._stack[-1].member is not None:
            return  # this run made the directory, and no name is twice in one
        try:
            there = os.lstat(place)
        except FileNotFoundError:
            return
        if self._evidence is not None and os.path.samestat(there, self._evidence):
            raise UsageError(f"{place} is the disk image itself")
        if os.path.isdir(place):  # noqa: PTH112
            raise UsageError(f"{place} is a directory; name a file in it")
        if not self._rules.force:
            raise UsageError(f"{place} exists").naming("force")

    def __enter__(self) -> HostTree:
        return self

    def __exit__(self, kind: type[BaseException] | None, *_: object) -> None:
        try:
            if kind is None and self._batch:
                self._pass_on()
            if kind is None and self._second is not None:
                self._take_in(self._second, wait=True)
        finally:
            self._batch = []
            if self._second is not None:
                self._second.close()
            while self._stack:
                self._leave(self._stack.pop())
        if kind is None:
            sync_folder(self._top if self._top.is_dir() else self._top.parent)
            if self.copied >= FEW:
                sync_filesystem(self._top)


def _times(member: Member) -> tuple[int, int]:
    node = member.node
    mtime = node.mtime_ns or node.mtime * 1_000_000_000
    return node.atime_ns or mtime, mtime


def _look(member: Member) -> Look:
    node = member.node
    return node.mode, node.uid, node.gid, *_times(member)


def _is_caseless(folder: str) -> bool:
    """Tell whether a folder takes names that differ in case for one."""
    probe = os.path.join(folder, f".{os.urandom(6).hex()}.part")  # noqa: PTH118
    try:
        os.close(os.open(probe, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600))
    except OSError:
        return sys.platform in ("win32", "darwin")
    try:
        return os.path.lexists(os.path.join(folder, os.path.basename(probe).upper()))  # noqa: PTH118, PTH119
    finally:
        os.unlink(probe)  # noqa: PTH108
