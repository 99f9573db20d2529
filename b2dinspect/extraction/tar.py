"""A tar as a stream: POSIX.1-2001 (pax), with what a plain header has no room for in records before it.

Source: POSIX pax(1), "pax Header Block"; Go's archive/tar and star for ``SCHILY.xattr.`` records, which
Docker, GNU tar and bsdtar read; GNU tar's manual, "PAX Format, Versions 1.0", for sparse files.
"""

from __future__ import annotations

import stat
import struct
from collections.abc import Callable, Iterator

from b2dinspect.errors import EvidenceError, UsageError
from b2dinspect.extraction.members import Fault, Member, NotWholeError, absent, filled, missing
from b2dinspect.records import NamedTuple
from b2dinspect.source import ByteSource, Extent

BLOCK = 512
CHUNK = 1 << 20
SMALL = 64 << 10
"""Bytes of a file that is read at once."""
NANOSECONDS = 1_000_000_000
MAX_OCTAL = 0o7777777
"""The largest number that seven octal digits hold."""
MAX_SIZE = 0o77777777777
SPARSE_FROM = 1 << 20
"""Bytes of holes from which on a file is written as a sparse one, if they are half of it."""

_HEADER = struct.Struct("100s8s8s8s12s12s8sc100s6s2s32s32s8s8s155s12s")
_TYPES = {
    stat.S_IFREG: b"0",
    stat.S_IFLNK: b"2",
    stat.S_IFCHR: b"3",
    stat.S_IFBLK: b"4",
    stat.S_IFDIR: b"5",
    stat.S_IFIFO: b"6",
}

Emit = Callable[[bytes], object]


class Style(NamedTuple):
    """How members are written.

    Attributes:
        sparse: Whether large holes may be kept; else they are written as zeros.
        fill: Whether what the evidence does not hold of a file is written as zeros, and named; else the
            file is left out, and named.
        prefix: Goes before every path.
        dot: Whether the top directory itself is a member, ``./``.
    """

    sparse: bool = False
    fill: bool = False
    prefix: bytes = b""
    dot: bool = False


class TarWriter:
    """Writes members as a tar.

    Args:
        write: Takes the bytes, in order.
        fault: Takes what a tar cannot hold, or what cannot be read.
        style: How.

    Attributes:
        members: How many were written.
        size: Bytes of content.
    """

    def __init__(self, write: Emit, fault: Fault, style: Style = Style()) -> None:  # noqa: B008 - it is a tuple
        self._write = write
        self._fault = fault
        self._style = style
        self._left: set[bytes] = set()
        self.members = self.size = 0

    def add(self, member: Member) -> None:
        """Write a member; what cannot be read is named and left out."""
        if not member.path and member.type == "directory" and not self._style.dot:
            return
        if member.twin and member.twin not in self._left:
            self._header(member, b"1", link=self._path(member.twin))
        elif member.type == "file":
            try:
                self._file(member)
            except EvidenceError as error:
                self._left.add(member.path)
                self._fault(member.path, error)
                return
        else:
            kind = _TYPES.get(stat.S_IFMT(member.node.mode))
            if kind is None:
                self._fault(member.path, UsageError("a socket, which no tar holds"))
                return
            self._header(member, kind, link=member.node.link)
        self.members += 1

    def file(self, path: bytes, content: bytes, mode: int = 0o644, mtime: int = 0) -> None:
        """Write a file that comes from nowhere but here."""
        self._write(header(path, b"0", mode=mode, size=len(content), mtime=mtime))
        self._write(content + bytes(-len(content) % BLOCK))

    def end(self) -> None:
        """Write what ends a tar: two blocks of zeros."""
        self._write(bytes(2 * BLOCK))

    def _path(self, path: bytes) -> bytes:
        return self._style.prefix + (path or b".")

    def _header(self, member: Member, kind: bytes, size: int = 0, link: bytes = b"", **more: bytes) -> None:
        node = member.node
        path = self._path(member.path) + (b"/" if kind == b"5" else b"")
        records = {f"SCHILY.xattr.{_name(name)}": value for name, value in self._xattrs(member).items()}
        self._write(
            header(
                path,
                kind,
                mode=node.mode & 0o7777,
                uid=node.uid,
                gid=node.gid,
                size=size,
                mtime=node.mtime_ns or node.mtime * NANOSECONDS,
                link=link,
                device=node.device,
                records={**more, **records},
            )
        )

    def _xattrs(self, member: Member) -> dict[bytes, bytes]:
        if member.twin:
            return {}
        try:
            found = member.xattrs()
        except EvidenceError as error:
            self._fault(member.path, NotWholeError(f"its extended attributes: {error}", layer="file"))
            return {}
        for name in [name for name in found if b"=" in name]:
            self._fault(
                member.path,
                NotWholeError("an attribute with = in its name, which no tar holds", layer="file"),
            )
            del found[name]
        return found

    def _file(self, member: Member) -> None:
        data = member.small(SMALL)
        if data is not None:
            self._header(member, b"0", len(data))
            self._write(data + bytes(-len(data) % BLOCK))
            self.size += len(data)
            return
        content = member.content()
        if gone := missing(content):
            if not self._style.fill:
                raise absent(gone)
            self._fault(member.path, filled(gone))
        if self._style.sparse and (islands := _islands(content)) is not None:
            self._sparse(member, content, islands)
        else:
            self._header(member, b"0", content.size)
            self._content(member, content, [Extent(0, content.size, "data")])
            self._write(bytes(-content.size % BLOCK))
        self.size += content.size

    def _sparse(self, member: Member, content: ByteSource, islands: list[Extent]) -> None:
        """Write a file with holes as GNU tar's format 1.0 has it: a map, and what is between the holes."""
        numbers = [len(islands), *(number for one in islands for number in (one.offset, one.length))]
        where = b"".join(b"%d\n" % number for number in numbers)
        where += bytes(-len(where) % BLOCK)
        stored = sum(one.length for one in islands)
        records = {
            "GNU.sparse.major": b"1",
            "GNU.sparse.minor": b"0",
            "GNU.sparse.name": self._path(member.path),
            "GNU.sparse.realsize": b"%d" % content.size,
        }
        self._header(member, b"0", len(where) + stored, **records)
        self._write(where)
        self._content(member, content, islands)
        self._write(bytes(-stored % BLOCK))

    def _content(self, member: Member, content: ByteSource, parts: list[Extent]) -> None:
        for part in parts:
            end = part.offset + part.length
            for at in range(part.offset, end, CHUNK):
                self._write(self._read(member, content, at, min(CHUNK, end - at)))

    def _read(self, member: Member, content: ByteSource, offset: int, length: int) -> bytes:
        """Return bytes of a file; zeros for what cannot be read, now that its header is written."""
        try:
            data = content.pread(offset, length)
        except EvidenceError as error:
            if not self._style.fill:
                self._fault(member.path, NotWholeError(f"{error}: zeros in their place", layer="file"))
            return b"".join(_patched(content, offset, length))
        return data.ljust(length, b"\0")


def _patched(content: ByteSource, offset: int, length: int) -> Iterator[bytes]:
    for extent in content.extents(offset, length):
        try:
            yield (
                content.pread(extent.offset, extent.length) if extent.kind == "data" else bytes(extent.length)
            )
        except EvidenceError:
            yield bytes(extent.length)


def _islands(content: ByteSource) -> list[Extent] | None:
    """Return the parts of a file that are no holes, in whole blocks; None when it is not worth while."""
    found: list[Extent] = []
    for extent in content.extents():
        if extent.kind == "zero":
            continue
        if found and found[-1].offset + found[-1].length == extent.offset:
            found[-1] = found[-1]._replace(length=found[-1].length + extent.length)
        else:
            found.append(Extent(extent.offset, extent.length, "data"))
    holes = content.size - sum(one.length for one in found)
    if holes < SPARSE_FROM or holes * 2 < content.size or len(found) > 10_000:
        return None
    if not found or found[-1].offset + found[-1].length < content.size:
        found.append(Extent(content.size, 0, "data"))  # as GNU tar ends the map of a file that ends in a hole
    return found


def header(
    path: bytes,
    kind: bytes,
    *,
    mode: int = 0o644,
    uid: int = 0,
    gid: int = 0,
    size: int = 0,
    mtime: int = 0,
    link: bytes = b"",
    device: tuple[int, int] = (0, 0),
    records: dict[str, bytes] | None = None,
) -> bytes:
    """Return the header of a member, with the pax records that it needs before it.

    Args:
        path: Any bytes but NUL.
        kind: One byte: ``0`` file, ``1`` hard link, ``2`` symbolic link, ``3`` and ``4`` devices,
            ``5`` directory, ``6`` FIFO.
        mode: Permission bits.
        uid: Owner.
        gid: Group.
        size: Bytes of content.
        mtime: Nanoseconds since 1970.
        link: Target of a link.
        device: Major and minor number.
        records: More pax records.
    """
    more = dict(records or {})
    seconds, fraction = divmod(mtime, NANOSECONDS)
    if fraction or not 0 <= seconds <= MAX_SIZE:
        more["mtime"] = _decimal(mtime)
    prefix, name = _split(path)
    if name is None:
        more.setdefault("path", path)
        prefix, name = b"", path[:100]
    if len(link) > 100 or not link.isascii():
        more["linkpath"] = link
    for key, value, most in (("uid", uid, MAX_OCTAL), ("gid", gid, MAX_OCTAL), ("size", size, MAX_SIZE)):
        if value > most:
            more[key] = b"%d" % value
    fields = (
        name, _octal(mode, 8), _octal(uid, 8), _octal(gid, 8), _octal(size, 12), _octal(seconds, 12), kind,
        link[:100], _octal(device[0], 8), _octal(device[1], 8), prefix,
    )  # fmt: skip
    plain = _block(*fields)
    if not more:
        return plain
    body = b"".join(record(key, value) for key, value in sorted(more.items()))
    octal = _octal(0, 12)
    before = _block(
        b"PaxHeaders.0/" + name[-87:], _octal(0o644, 8), _octal(0, 8), _octal(0, 8), _octal(len(body), 12),
        octal, b"x", b"", _octal(0, 8), _octal(0, 8), b"",
    )  # fmt: skip
    return before + body + bytes(-len(body) % BLOCK) + plain


def record(key: str, value: bytes) -> bytes:
    r"""Return a pax record: its own length in decimal, a blank, key, ``=``, value, and a line feed.

    >>> record("path", b"x" * 91)[:10], len(record("path", b"x" * 91))
    (b'101 path=x', 101)
    """
    rest = b" " + key.encode("utf-8", "surrogateescape") + b"=" + value + b"\n"
    digits = len(str(len(rest)))
    digits += len(str(len(rest) + digits)) > digits
    return b"%d" % (len(rest) + digits) + rest


def _split(path: bytes) -> tuple[bytes, bytes | None]:
    """Return a path as prefix and name; None for the name when it does not fit."""
    if not path.isascii():
        return b"", None
    if len(path) <= 100:
        return b"", path
    cut = path[:156].rstrip(b"/").rfind(b"/") if len(path) <= 256 else -1
    if cut <= 0 or not 0 < len(path) - cut - 1 <= 100:
        return b"", None
    return path[:cut], path[cut + 1 :]


def _octal(value: int, width: int) -> bytes:
    """Return a number in a field; 0 when it does not fit, and a record has it."""
    text = b"%0*o" % (width - 1, max(0, value))
    return text if len(text) < width else b"0" * (width - 1)


def _decimal(nanoseconds: int) -> bytes:
    """Return a time as pax writes it: seconds, and what is behind the point.

    >>> _decimal(1_500_000_000), _decimal(-1_500_000_000)
    (b'1.5', b'-1.5')
    """
    seconds, fraction = divmod(abs(nanoseconds), NANOSECONDS)
    text = f"{'-' * (nanoseconds < 0)}{seconds}.{fraction:09}".rstrip("0").rstrip(".")
    return text.encode()


def _name(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")


def _block(
    name: bytes, mode: bytes, uid: bytes, gid: bytes, size: bytes, mtime: bytes, kind: bytes, link: bytes,
    major: bytes, minor: bytes, prefix: bytes,
) -> bytes:  # fmt: skip
    fields = [
        name,
        mode,
        uid,
        gid,
        size,
        mtime,
        b" " * 8,
        kind,
        link,
        b"ustar",
        b"00",
        b"",
        b"",
        major,
        minor,
    ]
    block = _HEADER.pack(*fields, prefix, b"")
    return b"%b%06o\0 %b" % (block[:148], sum(block), block[156:])
