"""What the guest left on its data partition: log files, and the names of files that were deleted.

Source: boot2docker's docker init script (``/var/lib/boot2docker/docker.log``, later ``log/docker.log``), and
minikube-automount, which binds ``/var/log`` to the data partition.
"""

from __future__ import annotations

from collections.abc import Iterator

from b2dinspect.errors import EvidenceError, NotFoundError, UsageError
from b2dinspect.filesystems.ext4 import DirectoryEntry, Ext4
from b2dinspect.findings import Finding
from b2dinspect.inspection.facts import Inspection
from b2dinspect.inspection.walk import volume_for
from b2dinspect.records import NamedTuple
from b2dinspect.source import read_lenient

HOME = b"/var/lib/boot2docker"
FOLDERS = (b"/var/lib/boot2docker/log", b"/var/log")
MAX_DEPTH = 6
MAX_FILES = 2000
MAX_TAIL = 256 << 10
"""Bytes of a log's end that are read for its last lines."""


class Log(NamedTuple):
    """A log file.

    Attributes:
        path: On the data partition.
        entry: Its facts.
        tail: Its last lines, as asked for.
    """

    path: bytes
    entry: DirectoryEntry
    tail: tuple[bytes, ...]


class Deleted(NamedTuple):
    """A name that was deleted, and that the directory's block still holds.

    Attributes:
        path: What it was.
        inode: The inode it named; 0 when that is gone. It may belong to another file by now.
    """

    path: bytes
    inode: int


class Logs(NamedTuple):
    """What was found; ``problems`` are what could not be read."""

    logs: tuple[Log, ...]
    deleted: tuple[Deleted, ...]
    problems: tuple[Finding, ...]


def read_logs(facts: Inspection, lines: int, partition: int | None = None) -> Logs:
    """Return the logs of a guest with their last lines, oldest change first, and deleted names.

    Args:
        facts: The disk.
        lines: How many lines of each; 0 for none.
        partition: Another partition than the data partition.

    Raises:
        UsageError: There is no such partition, or no data partition.
        FilesystemError: It cannot be read.
    """
    volume = volume_for(facts, partition)
    if not volume.is_ext:
        raise UsageError(f"no ext filesystem on {volume.partition.place}")
    problems: list[Finding] = []
    with Ext4(volume.source) as files:
        found = [Log(path, entry, _tail(files, entry, lines)) for path, entry in _log_files(files, problems)]
        deleted = tuple(_deleted(files, problems))
    found.sort(key=lambda log: (log.entry.node.mtime, log.path))
    return Logs(tuple(found), deleted, tuple(problems))


def _log_files(files: Ext4, problems: list[Finding]) -> Iterator[tuple[bytes, DirectoryEntry]]:
    for count, (path, entry) in enumerate(_all_files(files, problems)):
        if count == MAX_FILES:
            text = f"more than {MAX_FILES} log files; the rest is not shown"
            problems.append(Finding("logs-many", "warning", text))
            return
        yield path, entry


def _all_files(files: Ext4, problems: list[Finding]) -> Iterator[tuple[bytes, DirectoryEntry]]:
    for path, entry in _walk(files, HOME, 0, problems, set()):
        if entry.name.endswith(b".log"):
            yield path, entry
    seen: set[int] = set()
    for folder in FOLDERS:
        yield from _walk(files, folder, MAX_DEPTH, problems, seen)


def _walk(
    files: Ext4, folder: bytes, depth: int, problems: list[Finding], seen: set[int]
) -> Iterator[tuple[bytes, DirectoryEntry]]:
    """Yield the plain files in a folder, and below it as deep as ``depth``; links are not followed.

    A directory has one place: one that was ``seen`` is not entered again.
    """
    try:
        entries = files.list(files.find(folder))
    except NotFoundError:
        return
    except EvidenceError as error:
        problems.append(Finding("logs-unreadable", "warning", f"{folder.decode('latin-1')}: {error}"))
        return
    for entry in entries:
        path = folder + b"/" + entry.name
        if entry.type == "file":
            yield path, entry
        elif entry.type == "directory" and depth and entry.node.inode not in seen:
            seen.add(entry.node.inode)
            yield from _walk(files, path, depth - 1, problems, seen)


def _tail(files: Ext4, entry: DirectoryEntry, lines: int) -> tuple[bytes, ...]:
    if not lines:
        return ()
    try:
        content = files.content(entry)
        start = max(0, content.size - MAX_TAIL)
        data = read_lenient(content, start, MAX_TAIL)
    except EvidenceError:
        return ()
    return tuple(data.rstrip(b"\n").split(b"\n")[-lines:]) if data else ()


def _deleted(files: Ext4, problems: list[Finding]) -> Iterator[Deleted]:
    for folder in (HOME, *FOLDERS):
        try:
            names = files.deleted(files.find(folder))
        except NotFoundError:
            continue
        except EvidenceError as error:
            problems.append(Finding("logs-unreadable", "warning", f"{folder.decode('latin-1')}: {error}"))
            continue
        yield from (Deleted(folder + b"/" + name, inode) for name, inode in names)
