"""What an exhibit is: how the disk is made, and a line by hand: what it is, what must not be said."""

from __future__ import annotations

import functools
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Literal, NamedTuple

import pytest

from tests.oracles import needs, run
from tests.shared import new_path, once

Make = Callable[[], Path]


class Exhibit(NamedTuple):
    """One disk of the museum.

    Attributes:
        name: Short.
        line: What it is, and what must not be advised, in a person's words.
        owner: ``ours``, ``other`` for somebody else's, ``unknown``, ``nobody`` for a blank one.
        seems: Words that the description of a disk of somebody else must have; "" when nobody can tell.
        sure: How sure that description is.
        lives: Bytes at which a filesystem begins that lives, whether a table names it or not.
        readable: Whether its files can be listed there.
        refused: Words that the refusal has, for a file that is recognised but not read as a disk.
        make: Makes it, once a run.
    """

    name: str
    line: str
    owner: Literal["ours", "other", "unknown", "nobody"]
    seems: str
    sure: str
    lives: tuple[int, ...]
    readable: bool
    refused: str
    make: Make


MUSEUM: dict[str, Exhibit] = {}
MARKS: dict[str, tuple[pytest.MarkDecorator, ...]] = {}


def exhibit(
    line: str,
    owner: Literal["ours", "other", "unknown", "nobody"] = "other",
    *,
    seems: str = "",
    sure: str = "certain",
    lives: tuple[int, ...] = (),
    readable: bool = True,
    refused: str = "",
    programs: tuple[str, ...] = (),
    slow: bool = False,
) -> Callable[[Make], Make]:
    """Put the disk that a function makes into the museum, under the function's name."""

    def enter(make: Make) -> Make:
        name = make.__name__.replace("_", "-")
        made = functools.cache(lambda: once(f"exhibit-{name}", make))
        MUSEUM[name] = Exhibit(name, line, owner, seems, sure, lives, readable, refused, made)
        MARKS[name] = (needs(*programs), *((pytest.mark.slow,) if slow else ()))
        return made

    return enter


def copied(path: Path) -> Path:
    """Return a sparse copy of a disk, to be damaged."""
    copy = new_path(path.name)
    if shutil.which("cp"):
        run("cp", "--sparse=always", path, copy)
    else:
        shutil.copy2(path, copy)
    return copy


def written(path: Path, *pieces: tuple[int, bytes]) -> Path:
    """Write bytes over a disk, and return it."""
    with path.open("r+b") as file:
        for offset, data in pieces:
            file.seek(offset)
            file.write(data)
    return path
