"""What is done to an input: a list of edits, which can be written down, done again and made fewer."""

from __future__ import annotations

import random
import struct
import zlib
from collections.abc import Callable, Iterator, Sequence
from typing import Any, NamedTuple

from b2dinspect.source import Extent

Edit = tuple[Any, ...]
"""("put", offset, bytes), ("cut", size), or, of short inputs only, ("splice", start, end, bytes, times)."""

EXTREMES = (0, 1, 2, 3, 0x7F, 0x80, 0xFF, 0x200, 0x1000, 0x7FFF, 0xFFFF, 0x10000)
MAX_TIMES = 1 << 16
MAX_GROWN = 4 << 20


class Place(NamedTuple):
    """Bytes of a file worth changing: a field of a structure, or a stretch that holds something."""

    offset: int
    size: int
    name: str


class Content:
    """A short input as a ByteSource."""

    def __init__(self, data: bytes) -> None:
        self.data = data
        self.size = len(data)

    def extents(self) -> Iterator[Extent]:
        yield Extent(0, self.size, "data", 0)

    def pread(self, offset: int, length: int) -> bytes:
        return self.data[offset : offset + length]


def to_json(edits: Sequence[Edit]) -> list[list[Any]]:
    return [[part.hex() if isinstance(part, bytes) else part for part in edit] for edit in edits]


def from_json(edits: Sequence[Sequence[Any]]) -> list[Edit]:
    position = {"put": 2, "splice": 3}
    return [
        tuple(bytes.fromhex(part) if at == position.get(edit[0]) else part for at, part in enumerate(edit))
        for edit in edits
    ]


# --- large inputs: fields and stretches --------------------------------------------------------------------


def mutate_image(
    dice: random.Random, fields: Sequence[Place], stretches: Sequence[Place], size: int, pread: Any
) -> list[Edit]:
    """Return some edits of an image: fields at extreme values, bits, runs of bytes, pieces of elsewhere."""
    edits: list[Edit] = []
    for _ in range(dice.choice((1, 1, 1, 2, 2, 3, 8))):
        if fields and dice.random() < 0.6:
            edits.append(_extreme(dice, dice.choice(fields), pread))
        elif stretches:
            edits.append(_smear(dice, dice.choice(stretches), stretches, pread))
    if dice.random() < 0.04:
        edits.append(("cut", dice.choice((0, 1, 511, 512, 513, 4096, dice.randrange(size + 1), size - 512))))
    return edits


def _extreme(dice: random.Random, place: Place, pread: Any) -> Edit:
    width = min(place.size, 8)
    order = dice.choice(("little", "big"))
    old = int.from_bytes(pread(place.offset, width), order)
    top = 1 << 8 * width
    value = dice.choice(
        (
            dice.choice(EXTREMES),
            top - dice.choice((1, 2, 512)),
            top // 2 - dice.choice((0, 1)),
            1 << dice.randrange(8 * width),
            old + dice.choice((-1, 1, 511, -512)),
            old * 2,
            old ^ 1 << dice.randrange(8 * width),
            dice.randrange(top),
        )
    )
    data = (value % top).to_bytes(width, order)
    if place.size > 8 and dice.random() < 0.5:
        data = dice.choice((b"\0", b"\xff", b"A", b"\x1b[2J\n\xe2\x80\xae")) * place.size
    return ("put", place.offset, data[: place.size])


def _smear(dice: random.Random, place: Place, all_places: Sequence[Place], pread: Any) -> Edit:
    start = place.offset + dice.randrange(place.size)
    length = min(dice.choice((1, 1, 2, 4, 8, 16, 64, 512)), place.offset + place.size - start)
    kind = dice.randrange(5)
    if kind == 0:
        old = pread(start, 1) or b"\0"
        return ("put", start, bytes([old[0] ^ 1 << dice.randrange(8)]))
    if kind == 1:
        other = dice.choice(all_places)
        return ("put", start, pread(other.offset + dice.randrange(other.size), length) or b"\0")
    return ("put", start, (b"\0" * length, b"\xff" * length, dice.randbytes(length))[kind - 2])


# --- short inputs: text, keys, archives --------------------------------------------------------------------

TOKENS = (
    *(b"\0", b"\n", b"\r\n", b'"', b"\\", b"\x1b[31m", b"\xff", b"\xe2\x80\xae", b"\xe3\x85\xa4", b"%s"),
    *(b"-1", b"0", b"1e999", b"18446744073709551616", b"null", b"true", b"[]", b"{}", b"../../", b"NaN"),
    *(b"<", b"</", b"/>", b"&#0;", b"[", b"]", b"{", b"}", b",", b":", b"=", b" ", b"/", b"\\u0000"),
    *(b"\\ud800", b"ssh-rsa", b"AAAA", b"-----BEGIN RSA PRIVATE KEY-----", b"<HardDisk uuid=", b"C:\\"),
)


def mutate_text(dice: random.Random, data: bytes) -> list[Edit]:
    """Return some edits of a short input: bytes, tokens, and pieces said again and again."""
    edits: list[Edit] = []
    size = len(data)
    for _ in range(dice.choice((1, 1, 2, 3, 6))):
        start = dice.randrange(size + 1)
        end = min(size, start + dice.choice((0, 0, 1, 1, 4, 16, 64, 1024)))
        piece = dice.choice((dice.choice(TOKENS), dice.randbytes(dice.choice((1, 2, 8))), _piece(dice, data)))
        times = (
            dice.choice((1, 1, 1, 1, 1, 2, 8, 100)) if dice.random() < 0.99 else 1 << dice.randrange(8, 17)
        )
        edits.append(("splice", start, end, piece, min(times, MAX_TIMES)))
        size += len(piece) * times - (end - start)
        size = max(0, min(size, MAX_GROWN))
    if dice.random() < 0.08:
        edits.append(("cut", dice.randrange(size + 1)))
    return edits


def _piece(dice: random.Random, data: bytes) -> bytes:
    start = dice.randrange(max(1, len(data)))
    return data[start : start + dice.choice((1, 4, 16, 64, 256))]


def applied(data: bytes, edits: Sequence[Edit]) -> bytes:
    """Return a short input with its edits made."""
    for edit in edits:
        if edit[0] == "put":
            _, offset, piece = edit
            data = data[:offset].ljust(offset, b"\0") + piece + data[offset + len(piece) :]
        elif edit[0] == "cut":
            data = data[: edit[1]]
        else:
            _, start, end, piece, times = edit
            data = (data[:start] + piece * times + data[max(start, end) :])[:MAX_GROWN]
    return data


# --- checksums: a change that only breaks one is refused at the door ----------------------------------------


def fixed_checksums(
    pread: Callable[[int, int], bytes], size: int, gpts: Sequence[int], edits: Sequence[Edit]
) -> Iterator[Edit]:
    """Yield edits that make the checksums of VHD, VHDX and GPT fit again. Sources: see their readers."""
    puts = [(edit[1], edit[1] + len(edit[2])) for edit in edits if edit[0] == "put"]

    def is_changed(offset: int, length: int) -> bool:
        return any(start < offset + length and offset < end for start, end in puts)

    for offset, length, at in ((0, 512, 64), (max(0, size - 512), 512, 64), (512, 1024, 36)):
        if is_changed(offset, length):
            yield from _of_vhd(pread(offset, length), offset, at)
    if pread(0, 8) == b"vhdxfile":
        for offset, length in ((0x10000, 4096), (0x20000, 4096), (0x30000, 65536), (0x40000, 65536)):
            if is_changed(offset, length):
                block = pread(offset, length)
                yield ("put", offset + 4, struct.pack("<I", crc32c(block[:4] + bytes(4) + block[8:])))
    for offset in gpts:
        if is_changed(offset, 512 + ENTRIES):
            yield from _of_gpt(pread(offset, 512), pread(offset + 512, ENTRIES), offset)


ENTRIES = 16384
"""Bytes of a GPT's entries, which in ours follow the header; one that says otherwise is left at that."""


def _of_vhd(block: bytes, offset: int, at: int) -> Iterator[Edit]:
    if block[:8] in (b"conectix", b"cxsparse"):
        rest = sum(block) - sum(block[at : at + 4])
        yield ("put", offset + at, struct.pack(">I", ~rest & 0xFFFFFFFF))


def _of_gpt(block: bytes, entries: bytes, offset: int) -> Iterator[Edit]:
    header = bytearray(block)
    length = int.from_bytes(header[12:16], "little")
    if header[:8] == b"EFI PART" and 92 <= length <= 512:
        header[88:92] = struct.pack("<I", zlib.crc32(entries))
        header[16:20] = bytes(4)
        yield ("put", offset + 88, bytes(header[88:92]))
        yield ("put", offset + 16, struct.pack("<I", zlib.crc32(header[:length])))


def _table() -> list[int]:
    table = []
    for value in range(256):
        for _ in range(8):
            value = value >> 1 ^ (0x82F63B78 if value & 1 else 0)
        table.append(value)
    return table


_CRC32C = _table()


def crc32c(data: bytes | bytearray) -> int:
    """Return the CRC that VHDX uses (Castagnoli)."""
    crc = 0xFFFFFFFF
    for byte in data:
        crc = crc >> 8 ^ _CRC32C[(crc ^ byte) & 0xFF]
    return crc ^ 0xFFFFFFFF


# --- fewer -------------------------------------------------------------------------------------------------


def fewer(edits: list[Edit], still_fails: Callable[[list[Edit]], bool], tries: int = 60) -> list[Edit]:
    """Return as few and as short edits as still fail alike."""
    left = tries

    def fails(candidate: list[Edit]) -> bool:
        nonlocal left
        left -= 1
        return left >= 0 and still_fails(candidate)

    index = 0
    while index < len(edits):
        without = edits[:index] + edits[index + 1 :]
        if fails(without):
            edits = without
        else:
            index += 1
    for index, edit in enumerate(edits):
        for shorter in _shorter(edit):
            candidate = [*edits[:index], shorter, *edits[index + 1 :]]
            if fails(candidate):
                edits = candidate
    return edits


def _shorter(edit: Edit) -> Iterator[Edit]:
    if edit[0] == "put" and len(edit[2]) > 1:
        half = len(edit[2]) // 2
        yield ("put", edit[1], edit[2][:half])
        yield ("put", edit[1] + half, edit[2][half:])
    elif edit[0] == "splice" and edit[4] > 1:
        times = edit[4]
        while times > 1:
            times //= 2
            yield (*edit[:4], times)
