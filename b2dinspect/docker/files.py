"""Small files and directories of a data-root, read with bounds: what a disk says is believed by nobody."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterator, Mapping
from typing import Any

from b2dinspect.errors import EvidenceError, FilesystemError, NotFoundError
from b2dinspect.filesystems.ext4 import DirectoryEntry, Ext4, show
from b2dinspect.findings import Finding
from b2dinspect.source import read_lenient

MAX_SMALL = 64 << 10
"""Bytes of a file that holds one value: an id, a link, a number."""
MAX_JSON = 8 << 20
"""Bytes of a JSON document; a container's configuration has some 4 KiB."""
MAX_VALUES = 1_000_000
"""Values in all JSON documents that one reading keeps: each takes some 70 bytes, whatever it says."""
MAX_ALL_JSON = 64 << 20
"""Bytes of all of them: to take one to pieces takes a second for eight MiB."""
MAX_DEPTH = 64
"""Brackets within brackets in JSON; the deepest that Docker writes has a dozen."""
MAX_NAMES = 20_000
"""Containers, images, layers or volumes of one data-root."""

ID = re.compile(r"[0-9a-f]{64}")
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,254}")
"""What Docker allows as the name of a container, a volume, or a driver."""


class Files:
    """The files of one filesystem, by path. Remembers directories, follows no link.

    Attributes:
        problems: What could not be read, in the order in which it was asked for.
    """

    def __init__(self, files: Ext4) -> None:
        self._files = files
        self._known: dict[bytes, DirectoryEntry | None] = {}
        self._values, self._json = MAX_VALUES, MAX_ALL_JSON  # that may still be read
        self.problems: list[Finding] = []

    def entry(self, path: bytes) -> DirectoryEntry | None:
        """Return what is at a path; None when nothing is, or it cannot be read, which ``problems`` tells."""
        if path not in self._known:
            self._known[path] = self._find(path)
        return self._known[path]

    def _find(self, path: bytes) -> DirectoryEntry | None:
        above, _, name = path.rpartition(b"/")
        try:
            if not name:
                return self._files.find(b"/")
            parent = self.entry(above)
            if parent is None or parent.type != "directory":
                return None
            return self._files.find(name, parent)
        except NotFoundError:
            return None
        except EvidenceError as error:
            self.complain(path, str(error))
            return None

    def is_directory(self, path: bytes) -> bool:
        """Tell whether there is a directory, and no link to one."""
        found = self.entry(path)
        return found is not None and found.type == "directory"

    def names(self, path: bytes) -> tuple[bytes, ...]:
        """Return the names in a directory, sorted; none when there is no such directory."""
        if not self.is_directory(path):
            return ()
        found = self.entry(path)
        try:
            names: list[bytes] = sorted(self._files.names(found)) if found else []
        except EvidenceError as error:
            self.complain(path, str(error))
            return ()
        if len(names) > MAX_NAMES:
            self.complain(path, f"{len(names)} names; only the first {MAX_NAMES} are looked at")
        return tuple(names[:MAX_NAMES])

    def read(self, path: bytes, most: int = MAX_SMALL) -> bytes | None:
        """Return a file's content; None when there is no such file, it is larger, or it cannot be read."""
        found = self.entry(path)
        if found is None:
            return None
        try:
            if found.type != "file":
                raise FilesystemError(f"a {found.type}, where a file belongs")
            if found.node.size > most:
                raise FilesystemError(f"{found.node.size} bytes, where at most {most} are read")
            return self._files.content(found).pread(0, found.node.size)
        except EvidenceError as error:
            self.complain(path, str(error))
            return None

    def tail(self, path: bytes, most: int) -> bytes:
        """Return the last bytes of a file, as far as they can be read; b"" when there is no such file."""
        found = self.entry(path)
        if found is None or found.type != "file":
            return b""
        try:
            content = self._files.content(found)
            return read_lenient(content, max(0, content.size - most), most)
        except EvidenceError as error:
            self.complain(path, str(error))
            return b""

    def chunks(self, file: DirectoryEntry, size: int) -> Iterator[bytes]:
        """Yield a file's content piece by piece.

        Raises:
            EvidenceError: It cannot be read.
        """
        content = self._files.content(file)
        for offset in range(0, content.size, size):
            yield content.pread(offset, size)

    def text(self, path: bytes) -> str | None:
        """Return the one value in a file, without the space around it."""
        data = self.read(path)
        return None if data is None else data.decode("utf-8", "surrogateescape").strip()

    def json(self, path: bytes) -> Mapping[str, Any] | None:
        """Return the object in a JSON file; None when there is none."""
        data = self.read(path, MAX_JSON)
        if data is None:
            return None
        found = self.parse(path, data)
        if found is not None and not isinstance(found, dict):
            self.complain(path, "JSON, but no object")
            return None
        return found

    def parse(self, path: bytes, data: bytes) -> Any:
        """Return what a JSON document says; None when it is none, or all that may be read has been."""
        try:
            self._json -= len(data)
            if self._json < 0:
                raise ValueError(f"the others have {MAX_ALL_JSON} bytes already")
            found, count = _counted(data, self._values)
            self._values -= count
            return found
        except ValueError as error:
            self.complain(path, f"no JSON that can be read: {error}")
            return None

    def take_problems(self) -> tuple[Finding, ...]:
        """Return the problems since the last call, and forget them."""
        taken, self.problems = tuple(self.problems), []
        return taken

    def complain(self, path: bytes, reason: str) -> None:
        """Note that something cannot be read."""
        self.problems.append(Finding("docker-unreadable", "warning", f"{show(path)}: {reason}"))


def parse_json(data: bytes) -> Any:
    """Return what a JSON document says.

    Raises:
        ValueError: It is none, has more than MAX_VALUES values, or is nested deeper than MAX_DEPTH.
    """
    return _counted(data, MAX_VALUES)[0]


def _counted(data: bytes, most: int) -> tuple[Any, int]:
    """Return what a JSON document says, and how many values it has."""
    try:
        found = json.loads(data.decode("utf-8", "surrogateescape"), parse_constant=_refuse)
    except RecursionError:
        found = _TOO_DEEP
    level, count = [found], 0
    for _ in range(MAX_DEPTH):
        count += len(level)
        if count > most:
            raise ValueError(f"more than {most} values, which is all that is read")
        level = [child for item in level for child in _children(item)]
        if not level:
            return found, count
    raise ValueError(f"more than {MAX_DEPTH} brackets within brackets")


_TOO_DEEP: list[Any] = []
_TOO_DEEP.append(_TOO_DEEP)


def _refuse(constant: str) -> Any:
    raise ValueError(f"{constant} is no JSON")


def _children(item: Any) -> Collection[Any]:
    if isinstance(item, dict):
        return item.values()
    return item if isinstance(item, list) else ()


def is_id(text: object) -> bool:
    """Tell whether something is the id of a container, an image or a layer."""
    return isinstance(text, str) and ID.fullmatch(text) is not None


def is_name(text: object) -> bool:
    """Tell whether something can be a single name in a directory, whatever else is in it."""
    return (
        isinstance(text, str)
        and 0 < len(text) < 256
        and text not in (".", "..")
        and not set("/\0") & set(text)
    )


def bare(digest: object) -> str:
    """Return the digits of a SHA-256 as Docker writes it, with or without ``sha256:``; "" for all else."""
    text = digest.removeprefix("sha256:") if isinstance(digest, str) else ""
    return text if is_id(text) else ""
