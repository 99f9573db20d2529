"""Markers of all kin, and headers of the entries that a userdata tar has, wherever they stand."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterator

from b2dinspect.guests import KIN_MARKERS
from b2dinspect.partitions.mbr import TABLE
from b2dinspect.search.facts import Find, Sure
from b2dinspect.search.scene import Scene
from b2dinspect.source import SECTOR
from b2dinspect.userdata.tarball import AUTHORIZED_KEYS, MAGIC, TYPES, is_header

MARKERS = (MAGIC, *(one for one, _ in KIN_MARKERS))
DIRECTORY = b".ssh\0\0\0\0"
DIRECTORY_SLASH = b".ssh/\0\0\0"
MAX_CONTENT = 64 << 10
"""Bytes of an entry that tell it from others of the same header."""
USTAR = 257
_FRONT = re.compile(rb"[!-~]{1,80}$")


def marker(scene: Scene, at: int) -> Iterator[Find]:
    """Yield the marker at a byte of the disk."""
    sector = scene.read(at, SECTOR)
    text = next((one for one in MARKERS if sector.startswith(one)), b"")
    if not text:
        return
    front = scene.before(at, SECTOR)
    rest = sector[len(text) :]
    sure: Sure = "looks-like"
    where = "in other text"
    if _whole(sector) is not None:
        sure, where = "parsed", "the name of a tar's entry"
    elif front.startswith(text) and _whole(front) is not None:
        sure, where = "parsed", "the content of a tar's entry"
    elif not rest.strip(b"\0\n\r"):
        sure, where = "likely", "alone"
    name = text.decode()
    yield Find("marker", at, len(text), sure, f'"{name}", {where}', text + where.encode(), comment=name)


def entry(scene: Scene, at: int) -> Iterator[Find]:
    """Yield the tar entry whose name begins at a byte of the disk, or has before it what leads there."""
    front = _FRONT.search(scene.before(at, 80))
    for start in (at, at - len(front[0])) if front else (at,):
        header = _whole(scene.read(start, SECTOR))
        if header is not None:
            yield _entry(scene, start, *header)
            return


def _whole(block: bytes) -> tuple[bytes, Sure] | None:
    """Return a tar header and how sure it is one; None when it is none.

    busybox's fdisk writes a partition table over the end of the first one: with the zeros that were there its
    checksum is right.
    """
    if len(block) < SECTOR or not block[148:156].strip(b"\0 "):
        return None
    if is_header(block):
        return block, "parsed"
    first, last = TABLE
    mended = block[:first] + bytes(last - first) + block[last:]
    return (mended, "likely") if is_header(mended) else None


def _entry(scene: Scene, start: int, header: bytes, sure: Sure) -> Find:
    name = header[:100].split(b"\0")[0]
    if header[USTAR : USTAR + 6] == b"ustar\0" and (prefix := header[345:500].split(b"\0")[0]):
        name = prefix + b"/" + name
    digits = header[124:136].strip(b"\0 ")
    size = int(digits, 8) if digits and not digits.strip(b"01234567") else 0
    kind = TYPES.get(header[156:157], "entry")
    content = scene.read(start + SECTOR, min(size, MAX_CONTENT))
    available = max(0, min(size, scene.disk.size - start - SECTOR))
    text = name.decode("utf-8", "surrogateescape")
    what = f"tar: {kind} {text}, {size} bytes" if kind == "file" else f"tar: {kind} {text}"
    identity = hashlib.sha256(header + content).digest()
    return Find("tar-entry", start, SECTOR + available, sure, what, identity, comment=text)


NAMES = (AUTHORIZED_KEYS, DIRECTORY, DIRECTORY_SLASH)
"""Literals; the marker is the name of the first entry."""
