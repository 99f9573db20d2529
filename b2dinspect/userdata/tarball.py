"""The userdata tar: a tolerant reader, and a writer that repeats Go's archive/tar byte for byte.

The tar that docker-machine writes at byte 0 of a new disk holds, in this order, the marker file (its name
is the magic string), the directory ``.ssh``, and the public key twice. The guest keeps the first 4096 bytes.

Source: libmachine/mcnutils/b2d.go and the USTAR layout of POSIX.1-1988; long names as GNU tar and pax write
them. The reader never extracts; it says what is there, where, and how much of it.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any, Literal

from construct import Bytes, Struct

from b2dinspect.errors import UserdataError
from b2dinspect.fields import Header
from b2dinspect.findings import Finding
from b2dinspect.records import NamedTuple
from b2dinspect.source import SECTOR, ByteSource, read_lenient

MAGIC = b"boot2docker, please format-me"
GUEST_KEEPS = 4096
"""Bytes of the disk that all guests save as userdata.tar (dd bs=4096 count=1)."""

AUTHORIZED_KEYS = b".ssh/authorized_keys"
AUTHORIZED_KEYS2 = b".ssh/authorized_keys2"
MAX_ENTRIES = 1000
MAX_LONG_NAME = 64 << 10

HEADER = Struct(
    "name" / Bytes(100) * "path; in the first header this is the magic string",
    "mode" / Bytes(8) * "octal permission bits",
    "uid" / Bytes(8) * "octal owner",
    "gid" / Bytes(8) * "octal group",
    "size" / Bytes(12) * "octal bytes of content, or base 256 when the top bit is set",
    "mtime" / Bytes(12) * "octal seconds since 1970",
    "checksum" / Bytes(8) * "octal sum of all header bytes, these eight as blanks",
    "typeflag" / Bytes(1) * "0 file, 2 symbolic link, 5 directory, …",
    "linkname" / Bytes(100) * "target of a link",
    "magic" / Bytes(6) * "ustar",
    "version" / Bytes(2) * "00",
    "uname" / Bytes(32) * "owner's name",
    "gname" / Bytes(32) * "group's name",
    "devmajor" / Bytes(8) * "octal, for devices",
    "devminor" / Bytes(8) * "octal, for devices",
    "prefix" / Bytes(155) * "leading part of a long path",
    "padding" / Bytes(12) * "zero",
)

TYPES = {
    b"0": "file",
    b"\0": "file",
    b"1": "hardlink",
    b"2": "symlink",
    b"3": "character device",
    b"4": "block device",
    b"5": "directory",
    b"6": "fifo",
    b"7": "file",
}

_PAX_LENGTH = re.compile(rb"(\d{1,6}) ")

Trailer = Literal["two zero blocks", "a lone zero block", "none"]


class TarEntry(NamedTuple):
    """One entry. Offsets in bytes from the start of the source that was read.

    Attributes:
        name: Path as stored, any bytes.
        type: ``file``, ``directory``, ``symlink``, …, or ``type X`` for an unknown flag.
        mode: Permission bits.
        uid: Owner.
        gid: Group.
        mtime: Seconds since 1970.
        size: Bytes of content that the header promises.
        available: Bytes of content that are there.
        header_offset: Where the header begins.
        offset: Where the content begins.
        linkname: Target of a link.
    """

    name: bytes
    type: str
    mode: int
    uid: int
    gid: int
    mtime: int
    size: int
    available: int
    header_offset: int
    offset: int
    linkname: bytes

    @property
    def missing(self) -> int:
        """Bytes of content that the tar promises but does not hold."""
        return self.size - self.available


class Tarball(NamedTuple):
    """What a tar holds.

    Attributes:
        entries: In order.
        size: Bytes from the first header to the end of the trailer, as far as they are there.
        trailer: How it ends; POSIX wants two zero blocks.
        findings: What is odd, with offsets in the source that was read.
        headers: The header blocks, with offsets in the source that was read.
    """

    entries: tuple[TarEntry, ...]
    size: int
    trailer: Trailer
    findings: tuple[Finding, ...]
    headers: tuple[Header, ...]

    @property
    def truncated(self) -> bool:
        """Whether it was cut: content is missing, or it ends without a single zero block."""
        return self.trailer == "none" or any(entry.missing for entry in self.entries)

    def find(self, name: bytes) -> TarEntry | None:
        """Return the last file of that name: extracting the tar would leave this one."""
        wanted = plain_name(name)
        found = [entry for entry in self.entries if entry.type == "file" and plain_name(entry.name) == wanted]
        return found[-1] if found else None


def plain_name(name: bytes) -> bytes:
    """Return a path without what means nothing in it: b"" for ``./``."""
    return b"/".join(part for part in name.split(b"/") if part not in (b"", b"."))


def is_header(block: bytes) -> bool:
    """Tell whether a block of 512 bytes is a tar header: its checksum is right."""
    return len(block) == SECTOR and any(block) and _checksum_fault(HEADER.parse(block), block) is None


def read_tar(source: ByteSource) -> Tarball:
    """Read a tar as far as it goes. Never raises for what the bytes say.

    Args:
        source: Begins with the first header. What follows the tar is not looked at.
    """
    reader = _Reader(source)
    return Tarball(
        tuple(reader), reader.position, reader.trailer, tuple(reader.findings), tuple(reader.headers)
    )


class _Reader:
    """Walks the blocks once, yielding entries and keeping what else it learns."""

    def __init__(self, source: ByteSource) -> None:
        self._source = source
        self.position = 0
        self.trailer: Trailer = "none"
        self.findings: list[Finding] = []
        self.headers: list[Header] = []
        self._long: dict[str, bytes] = {}

    def __iter__(self) -> Iterator[TarEntry]:
        for _ in range(MAX_ENTRIES):
            block = read_lenient(self._source, self.position, SECTOR)
            if not any(block) or (header := self._header(block)) is None:
                self._end(block)
                return
            self.headers.append(Header("tar header", "virtual", self.position, HEADER, block))
            entry = self._entry(header)
            self.position = min(self._source.size, entry.offset + _padded(entry.size))
            if not self._is_long_name(header, entry):
                yield self._renamed(entry)
        self._odd("tar-long", "warning", f"more than {MAX_ENTRIES} entries; the rest is not shown")

    def _header(self, block: bytes) -> Any:
        if len(block) < SECTOR:
            self._odd(
                "tar-header-cut", "warning", f"the tar ends inside a header, after {len(block)} bytes of 512"
            )
            return None
        header = HEADER.parse(block)
        if fault := _checksum_fault(header, block):
            self._odd("tar-checksum", "error", f"no tar header here: {fault}")
            return None
        return header

    def _entry(self, header: Any) -> TarEntry:
        size = self._number(header.size, "size")
        kind = TYPES.get(header.typeflag, f"type {ascii(header.typeflag.decode('latin-1'))[1:-1]}")
        if kind in ("directory", "symlink", "hardlink"):
            size = 0
        offset = self.position + SECTOR
        name = header.name.split(b"\0")[0]
        if header.magic == b"ustar\0" and (prefix := header.prefix.split(b"\0")[0]):
            name = prefix + b"/" + name
        return TarEntry(
            name=name,
            type=kind,
            mode=self._number(header.mode, "mode") & 0o7777,
            uid=self._number(header.uid, "uid"),
            gid=self._number(header.gid, "gid"),
            mtime=self._number(header.mtime, "mtime"),
            size=size,
            available=max(0, min(size, self._source.size - offset)),
            header_offset=self.position,
            offset=offset,
            linkname=header.linkname.split(b"\0")[0],
        )

    def _number(self, field: bytes, name: str) -> int:
        if field[0] & 0x80:
            value = int.from_bytes(field, "big") & ~(0x80 << 8 * (len(field) - 1))
            return min(value, 1 << 63)
        digits = field.strip(b"\0 ")
        if digits and digits.strip(b"01234567"):
            self._odd("tar-number", "warning", f"the {name} is no octal number; read as 0")
            return 0
        return int(digits or b"0", 8)

    def _is_long_name(self, header: Any, entry: TarEntry) -> bool:
        """Take in a GNU or pax header that describes the entry after it."""
        if header.typeflag not in b"LKxg":
            return False
        content = read_lenient(self._source, entry.offset, min(entry.available, MAX_LONG_NAME))
        if header.typeflag == b"L":
            self._long["path"] = content.split(b"\0")[0]
        elif header.typeflag == b"K":
            self._long["linkpath"] = content.split(b"\0")[0]
        elif header.typeflag == b"x":
            self._long |= _pax_records(content)
        return True

    def _renamed(self, entry: TarEntry) -> TarEntry:
        long, self._long = self._long, {}
        if not long:
            return entry
        return entry._replace(
            name=long.get("path", entry.name), linkname=long.get("linkpath", entry.linkname)
        )

    def _end(self, block: bytes) -> None:
        if len(block) == SECTOR and not any(block):
            second = read_lenient(self._source, self.position + SECTOR, SECTOR)
            is_pair = len(second) == SECTOR and not any(second)
            self.trailer = "two zero blocks" if is_pair else "a lone zero block"
            self.position += 2 * SECTOR if is_pair else SECTOR

    def _odd(self, name: str, severity: Literal["warning", "error"], message: str) -> None:
        self.findings.append(Finding(name, severity, message, self.position))


def _checksum_fault(header: Any, block: bytes) -> str | None:
    digits = header.checksum.strip(b"\0 ")
    if not digits or digits.strip(b"01234567"):
        return "the checksum field holds no octal number"
    stored, computed = int(digits, 8), _checksum(block)
    return None if stored == computed else f"checksum {stored:o} stored, {computed:o} computed"


def _checksum(block: bytes) -> int:
    return sum(block) - sum(block[148:156]) + 8 * 0x20


def _pax_records(content: bytes) -> dict[str, bytes]:
    r"""Return the records that rename an entry. Each is ``LENGTH KEY=VALUE\n``."""
    found = {}
    at = 0
    while head := _PAX_LENGTH.match(content, at):
        end = at + int(head[1])
        if not head.end() < end <= len(content):
            break
        key, _, value = content[head.end() : end - 1].partition(b"=")
        if key in (b"path", b"linkpath"):
            found[key.decode()] = value
        at = end
    return found


def _padded(size: int) -> int:
    return -(-size // SECTOR) * SECTOR


def resized(header: bytes, size: int) -> bytes:
    """Return a header block of 512 bytes that tells another size of its content, with its checksum made anew.

    Raises:
        UserdataError: The size is larger than a tar header can say.
    """
    if size >= 8**11:
        raise UserdataError("the file is too large for a tar", found=f"{size} bytes")
    fields = HEADER.parse(header)
    fields.size = b"%011o\0" % size
    return _with_checksum(fields)


def closed(header: bytes, needs: int) -> bytes:
    """Return a header block of 512 bytes whose mode lets nobody but the owner write.

    Args:
        header: As it is; it is returned as it is when its mode is right.
        needs: Bits of the mode that must be set.
    """
    fields = HEADER.parse(header)
    digits = fields.mode.strip(b"\0 ") or b"0"
    if digits.strip(b"01234567"):
        return header
    mode = int(digits, 8)
    wanted = mode & ~0o022 | needs
    if wanted == mode:
        return header
    fields.mode = b"%07o\0" % wanted
    return _with_checksum(fields)


def build_userdata(public_key: bytes) -> bytes:
    """Return the tar that docker-machine and minikube write for this public key file, byte for byte.

    Args:
        public_key: The content of id_rsa.pub, verbatim.

    Raises:
        UserdataError: The file is larger than a tar header can say.
    """
    if len(public_key) >= 8**11:
        raise UserdataError("the public key file is too large for a tar", found=f"{len(public_key)} bytes")
    return b"".join(
        (
            _member(MAGIC, 0o000, MAGIC),
            _member(b".ssh", 0o700, b"", b"5"),
            _member(AUTHORIZED_KEYS, 0o644, public_key),
            _member(AUTHORIZED_KEYS2, 0o644, public_key),
            bytes(2 * SECTOR),
        )
    )


def _member(name: bytes, mode: int, content: bytes, typeflag: bytes = b"0") -> bytes:
    fields = {
        "name": name.ljust(100, b"\0"),
        "mode": b"%07o\0" % mode,
        "uid": b"0000000\0",
        "gid": b"0000000\0",
        "size": b"%011o\0" % len(content),
        "mtime": b"00000000000\0",
        "checksum": b" " * 8,
        "typeflag": typeflag,
        "linkname": bytes(100),
        "magic": b"ustar\0",
        "version": b"00",
        "uname": bytes(32),
        "gname": bytes(32),
        "devmajor": b"0000000\0",
        "devminor": b"0000000\0",
        "prefix": bytes(155),
        "padding": bytes(12),
    }
    return _with_checksum(fields) + content.ljust(_padded(len(content)), b"\0")


def _with_checksum(fields: Any) -> bytes:
    fields["checksum"] = b"%06o\0 " % _checksum(HEADER.build(fields))
    return bytes(HEADER.build(fields))
