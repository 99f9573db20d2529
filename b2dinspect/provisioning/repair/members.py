"""A tar taken apart and put together again without losing a byte of what it holds.

A header with a wrong checksum is mended when it is plainly one. What is no entry, or lies behind the end of
the tar, is kept behind the new end, where no tar looks.
"""

from __future__ import annotations

from b2dinspect.errors import UsageError
from b2dinspect.records import NamedTuple
from b2dinspect.source import SECTOR, MemorySource
from b2dinspect.userdata.tarball import HEADER, Tarball, is_header, read_tar, resized

MAX_FAULTS = 100
END = bytes(2 * SECTOR)


class TarMember(NamedTuple):
    """One entry.

    Attributes:
        name: Path as stored.
        type: As ``tarball.TarEntry`` tells it.
        header: Its header block, and the blocks before it that give it a long name.
        content: As far as it is there.
        is_cut: Whether some of the content is missing.
        is_mended: Whether the header had a wrong checksum.
    """

    name: bytes
    type: str
    header: bytes
    content: bytes
    is_cut: bool
    is_mended: bool

    @property
    def plain_name(self) -> bytes:
        """The path without dots and needless slashes."""
        return b"/".join(part for part in self.name.split(b"/") if part not in (b"", b"."))


class Taken(NamedTuple):
    """A tar taken apart: its entries, and the bytes that are none."""

    members: tuple[TarMember, ...]
    rest: bytes


def take_apart(data: bytes) -> Taken:
    """Return the entries of a tar, also those behind a damaged header.

    Raises:
        UsageError: There are too many damaged headers to tell what it holds.
    """
    sound, strays, mended = _mend(data)
    tar = read_tar(MemorySource(sound))
    members, end = [], 0
    for entry in tar.entries:
        content = sound[entry.offset : entry.offset + entry.available]
        is_mended = entry.header_offset in mended
        header = sound[end : entry.offset]
        members.append(TarMember(entry.name, entry.type, header, content, bool(entry.missing), is_mended))
        end = entry.offset + _padded(entry.size)
    return Taken(tuple(members), strays + _without_zero_blocks(sound[end:]))


def _mend(data: bytes) -> tuple[bytes, bytes, set[int]]:
    """Return a tar without damaged headers, what was taken out, and where headers were mended."""
    strays, mended = b"", set[int]()
    for _ in range(MAX_FAULTS):
        tar = read_tar(MemorySource(data))
        at = tar.size
        block = data[at : at + SECTOR]
        if not _is_stuck(tar, block):
            return data, strays, mended
        if len(block) == SECTOR and block[257:262] == b"ustar" and (header := _mended(block)) is not None:
            mended.add(at)
            data = data[:at] + header + data[at + SECTOR :]
        else:
            places = range(at + SECTOR, len(data), SECTOR)
            after = next((place for place in places if is_header(data[place : place + SECTOR])), len(data))
            strays += data[at:after]
            data = data[:at] + data[after:]
    raise UsageError("userdata.tar has too many damaged headers to tell what it holds")


def _is_stuck(tar: Tarball, block: bytes) -> bool:
    """Tell whether reading ended at a block that is neither a header nor an end."""
    return tar.trailer == "none" and any(block)


def _mended(block: bytes) -> bytes | None:
    digits = HEADER.parse(block).size.strip(b"\0 ")
    if digits.strip(b"01234567"):
        return None
    return resized(block, int(digits or b"0", 8))


def _without_zero_blocks(data: bytes) -> bytes:
    """Return what follows the zero blocks at the start, whole blocks of it; nothing when all is zeros."""
    first = len(data) - len(data.lstrip(b"\0"))
    return data[first // SECTOR * SECTOR :] if first < len(data) else b""


def put_together(taken: Taken) -> bytes:
    """Return the tar of these entries; a header changes only where its content got another size."""
    pieces = []
    for member in taken.members:
        header = member.header
        if member.type == "file":
            last = header[-SECTOR:]
            told = read_tar(MemorySource(last)).entries
            if not told or told[0].size != len(member.content):
                header = header[:-SECTOR] + resized(last, len(member.content))
        pieces += [header, member.content.ljust(_padded(len(member.content)), b"\0")]
    return b"".join((*pieces, END, taken.rest))


def _padded(size: int) -> int:
    return -(-size // SECTOR) * SECTOR
