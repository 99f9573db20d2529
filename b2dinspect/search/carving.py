"""What of a find can be a file of its own: tars, keys, configurations."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Iterator

from b2dinspect.records import NamedTuple
from b2dinspect.search.facts import Find, Hit, Kind
from b2dinspect.source import ByteSource, SliceSource, read_lenient
from b2dinspect.userdata.tarball import read_tar

SUFFIXES: dict[Kind, str] = {"private-key": "", "public-key": ".pub", "host-key": "", "config": ".json"}
MAX_TAR, MAX_FILE = 16 << 20, 64 << 10
MAX_FILES = 10_000


class Carved(NamedTuple):
    """A file that can be written.

    Attributes:
        name: Of the file; told by what it is and where it was.
        content: Its bytes.
        hit: What it was found as.
    """

    name: str
    content: bytes
    hit: Hit


class Carver:
    """Takes hits in the order of the disk, and gives files: each thing once, a tar with all its entries."""

    def __init__(self, disk: ByteSource) -> None:
        self._disk = disk
        self._tar_end = 0
        self._tars: set[bytes] = set()
        self.given = 0

    def take(self, hit: Hit) -> Iterator[Carved]:
        """Yield the file that a hit begins, if it begins one that was not given before."""
        find = hit.find
        if self.given >= MAX_FILES:
            return
        if find.kind == "tar-entry":
            found = self._tar(find)
        elif hit.same_as is None and find.kind in SUFFIXES and find.sure != "looks-like":
            content = read_lenient(self._disk, find.offset, min(find.length, MAX_FILE))
            newline = b"" if content.endswith(b"\n") or find.kind == "config" else b"\n"
            found = [(f"{_base(find)}{_suffix(find)}", content + newline)]
        else:
            found = []
        for name, content in found:
            self.given += 1
            yield Carved(name, content, hit)

    def _tar(self, find: Find) -> Iterable[tuple[str, bytes]]:
        """Return the tar that begins with an entry, unless the entry belongs to one that was given."""
        if find.offset < self._tar_end:
            return []
        size = min(MAX_TAR, self._disk.size - find.offset)
        tar = read_tar(SliceSource(self._disk, find.offset, size))
        if not tar.entries:
            return []
        self._tar_end = find.offset + tar.size
        content = read_lenient(self._disk, find.offset, tar.size)
        digest = hashlib.sha256(content).digest()
        is_known = digest in self._tars
        self._tars.add(digest)
        return [] if is_known else [(f"userdata-{find.offset:#x}.tar", content)]


def _base(find: Find) -> str:
    return f"{find.kind}-{find.offset:#x}"


def _suffix(find: Find) -> str:
    is_public = find.kind == "host-key" and "PRIVATE" not in find.what and "OpenSSH" not in find.what
    return ".pub" if is_public else SUFFIXES[find.kind]
