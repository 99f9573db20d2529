"""A disk cut into files of one size, ``disk.001``, ``disk.002`` …, and which files those are.

Source: coreutils' ``split -b SIZE -d -a 3`` counts from 000; FTK Imager and EnCase name raw segments from
001. Only the last piece may be shorter. One that is not there is a gap of that size: the rest stays in place.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator

from b2dinspect.containers import format_of
from b2dinspect.errors import B2dError
from b2dinspect.records import NamedTuple
from b2dinspect.source import SECTOR, ByteSource

NAME = re.compile(r"(.*[^/\\.]\.)([0-9]{2,5})", re.DOTALL)
FIRST = (0, 1)
"""Numbers that a first piece can have."""


class PieceName(NamedTuple):
    """The name of a piece.

    Attributes:
        stem: All before the number.
        number: Its number.
        width: Digits.
    """

    stem: str
    number: int
    width: int

    def other(self, number: int) -> str:
        """Return the path of another piece."""
        return f"{self.stem}{number:0{self.width}}"


def named(path: str) -> PieceName | None:
    """Return what the name of a piece says; None for a name that no piece has.

    >>> named("/evidence/disk.img.001")
    PieceName(stem='/evidence/disk.img.', number=1, width=3)
    """
    found = NAME.fullmatch(os.path.abspath(path))
    return PieceName(found[1], int(found[2]), len(found[2])) if found else None


def first_of(piece: PieceName) -> str:
    """Return the path of the first piece, if it is there and is another one; "" otherwise."""
    there = (piece.other(number) for number in FIRST if number < piece.number)
    return next((path for path in there if os.path.isfile(path)), "")


def behind(first: PieceName, most: int) -> Iterator[tuple[str, bool]]:
    """Yield the paths of the pieces behind the first, up to the last that is there, and which are there."""
    numbers = range(first.number + 1, min(first.number + most, 10**first.width))
    there = {number for number in numbers if os.path.lexists(first.other(number))}
    for number in range(first.number + 1, max(there, default=first.number) + 1):
        yield first.other(number), number in there


def is_whole_image(first: ByteSource, other: ByteSource) -> bool:
    """Tell whether a file is another image like the first, as a copy that is numbered, and no piece of it."""
    head = first.pread(0, SECTOR)
    return (any(head) and head == other.pread(0, SECTOR)) or _sign(first) == _sign(other) != "raw"


def _sign(file: ByteSource) -> str:
    try:
        return format_of(file).name
    except B2dError:
        return "raw"
