"""A layer's tar, put together again byte for byte: what tar-split kept of it, and the files in the layer.

When the daemon unpacks a layer it notes all of the tar but the files' content in ``tar-split.json.gz``
(before Docker 1.10 ``tar-data.json.gz``): a JSON object a line, either raw bytes, or the name and size of a
file whose content comes next. So the tar can be made again, of which the layer's diff id is the SHA-256.

Source: github.com/vbatts/tar-split, tar/storage and tar/asm.
"""

from __future__ import annotations

import base64
import binascii
import json
import zlib
from collections.abc import Iterator

from b2dinspect.docker.facts import Layer
from b2dinspect.errors import EvidenceError, NotFoundError
from b2dinspect.extraction.members import Fault, NotWholeError
from b2dinspect.extraction.tar import CHUNK, Emit
from b2dinspect.filesystems.ext4 import DirectoryEntry, Ext4
from b2dinspect.records import NamedTuple
from b2dinspect.source import ByteSource

NAMES = (b"tar-split.json.gz", b"tar-data.json.gz")
FILE, SEGMENT = 1, 2
MAX_LINE = 16 << 20
"""Bytes of one JSON object."""
MAX_LINES = 4_000_000
MAX_SIZE = 1 << 44
KEPT_FOLDERS = 64


class TarPart(NamedTuple):
    """A part of a tar.

    Attributes:
        raw: Its bytes; b"" for a file's content.
        path: Of the file in the layer; None for raw bytes.
        size: Bytes.
    """

    raw: bytes
    path: bytes | None
    size: int


class TarSplit:
    """What was kept of a layer's tar.

    Args:
        files: The filesystem.
        layer: The layer.
        notes: The file with what was kept.
    """

    def __init__(self, files: Ext4, layer: Layer, notes: DirectoryEntry) -> None:
        self._files = files
        self._notes = notes
        self._lookup = _Lookup(files, layer.path)

    def size(self) -> int:
        """Return the bytes of the tar.

        Raises:
            EvidenceError: The notes cannot be read.
        """
        total = sum(part.size for part in self._parts())
        if total > MAX_SIZE:
            raise EvidenceError(f"a tar of {total} bytes", layer="tar-split")
        return total

    def write(self, write: Emit, fault: Fault) -> None:
        """Write the tar; zeros, named, for content that is not there as it was.

        Raises:
            EvidenceError: The notes cannot be read.
        """
        for part in self._parts():
            if part.path is None:
                write(part.raw)
            elif part.size:
                self._content(part.path, part.size, write, fault)

    def _content(self, path: bytes, size: int, write: Emit, fault: Fault) -> None:
        done = 0
        try:
            entry = self._lookup.find(path)
            if entry.type != "file" or entry.node.size < size:
                raise EvidenceError(f"it is no file of {size} bytes any more", layer="file")
            content: ByteSource = self._files.content(entry)
            while done < size:
                data = content.pread(done, min(CHUNK, size - done))
                write(data)
                done += len(data)
        except EvidenceError as error:
            fault(path, NotWholeError(f"{error}: zeros in its place", layer="file"))
            while done < size:
                write(bytes(min(CHUNK, size - done)))
                done += min(CHUNK, size - done)

    def _parts(self) -> Iterator[TarPart]:
        for number, line in enumerate(self._lines()):
            if number > MAX_LINES:
                raise EvidenceError("more notes than a tar has members", layer="tar-split")
            try:
                yield _part(line)
            except (ValueError, TypeError, KeyError, RecursionError, binascii.Error) as error:
                raise EvidenceError(f"line {number + 1} makes no sense", layer="tar-split") from error

    def _lines(self) -> Iterator[bytes]:
        content = self._files.content(self._notes)
        unpacker = zlib.decompressobj(wbits=31)
        rest = b""
        offset = 0
        while not unpacker.eof:
            data = unpacker.unconsumed_tail or content.pread(offset, CHUNK)
            offset += 0 if unpacker.unconsumed_tail else len(data)
            try:
                rest += unpacker.decompress(data, CHUNK)
            except zlib.error as error:
                raise EvidenceError(f"its gzip is damaged: {error}", layer="tar-split") from error
            if not data and not unpacker.eof:
                raise EvidenceError("its gzip ends too soon", layer="tar-split")
            *lines, rest = rest.split(b"\n")
            yield from (line for line in lines if line)
            if len(rest) > MAX_LINE:
                raise EvidenceError("a line without an end", layer="tar-split")
        if rest.strip():
            yield rest


def _part(line: bytes) -> TarPart:
    found = json.loads(line)
    if found["type"] == SEGMENT:
        raw = base64.b64decode(found.get("payload") or "", validate=True)
        return TarPart(raw, None, len(raw))
    if found["type"] != FILE:
        raise ValueError("neither a file nor a segment")
    size = int(found.get("size") or 0)
    if not 0 <= size <= MAX_SIZE:
        raise ValueError("no size")
    name = found.get("name_raw")
    path = (
        base64.b64decode(name, validate=True)
        if name
        else str(found["name"]).encode("utf-8", "surrogateescape")
    )
    return TarPart(b"", path, size)


class _Lookup:
    """Files of a layer by path; what was looked at last is remembered."""

    def __init__(self, files: Ext4, top: bytes) -> None:
        self._files = files
        self._top = files.find(top)
        self._folders: dict[bytes, dict[bytes, DirectoryEntry]] = {}

    def find(self, path: bytes) -> DirectoryEntry:
        """Return the entry at a path.

        Raises:
            NotFoundError: There is none.
        """
        here, walked = self._top, b""
        for name in [part for part in path.split(b"/") if part and part != b"."]:
            found = (
                self._names(here, walked).get(name) if here.type == "directory" and name != b".." else None
            )
            if found is None:
                raise NotFoundError("it is not in the layer any more")
            walked += b"/" + name
            here = found
        return here

    def _names(self, directory: DirectoryEntry, path: bytes) -> dict[bytes, DirectoryEntry]:
        found = self._folders.pop(path, None)
        if found is None:
            found = {entry.name: entry for entry in self._files.scan(directory, lambda *_: None)}
            while len(self._folders) >= KEPT_FOLDERS:
                del self._folders[next(iter(self._folders))]
        self._folders[path] = found
        return found


def tar_split(files: Ext4, layer: Layer) -> TarSplit | None:
    """Return what was kept of a layer's tar; None when nothing was."""
    for name in NAMES if layer.metadata else ():
        try:
            return TarSplit(files, layer, files.find(layer.metadata + b"/" + name))
        except EvidenceError:
            continue
    return None
