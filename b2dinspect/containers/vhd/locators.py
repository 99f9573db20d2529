"""What a differencing VHD calls its parent."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from b2dinspect.containers.vhd.layout import LOCATORS
from b2dinspect.records import NamedTuple
from b2dinspect.source import ByteSource

MAX_LOCATOR = 1 << 16
"""Bytes of a parent's name that are read."""


class ParentLocator(NamedTuple):
    """A name of the parent, as written inside the image. Nothing here opens it.

    Attributes:
        platform: The code: ``b"W2ku"`` is an absolute, ``b"W2ru"`` a relative Windows path in UTF-16,
            ``b"MacX"`` a file URL, ``b"Wi2k"`` and ``b"Wi2r"`` are deprecated.
        data: The name as stored.
        name: The name as text; what cannot be decoded is replaced.
        offset: Where ``data`` is in the file, bytes.
    """

    platform: bytes
    data: bytes
    name: str
    offset: int


def read_locators(file: ByteSource, header: Any) -> Iterator[ParentLocator]:
    """Yield the locators in use, in the order of the header."""
    for name in LOCATORS:
        locator: Any = header[name]
        if locator.data_length:
            at = locator.data_offset
            data = file.pread(at, min(locator.data_length, MAX_LOCATOR)) if at < file.size else b""
            coding = "utf-16-le" if locator.platform.startswith(b"W2") else "utf-8"
            yield ParentLocator(locator.platform, data, decoded(data, coding), at)


def code_text(code: bytes) -> str:
    """Return a code of four letters, for people."""
    return repr(code.decode("latin-1"))[1:-1]


def decoded(data: bytes, coding: str) -> str:
    """Return text up to its first NUL; what cannot be decoded is replaced."""
    return data.decode(coding, "replace").split("\0")[0]
