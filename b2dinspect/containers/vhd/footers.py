"""The footer at the end or its copy at byte 0, whichever is to be believed, and the header it leads to."""

from __future__ import annotations

from typing import Any

from b2dinspect.containers.vhd import COOKIE
from b2dinspect.containers.vhd.layout import (
    DYNAMIC_HEADER,
    FIXED,
    FOOTER,
    HEADER_COOKIE,
    MAX_ENTRIES,
    TYPES,
    checksum,
    virtual_size,
)
from b2dinspect.errors import ContainerError
from b2dinspect.fields import Header
from b2dinspect.findings import Finding
from b2dinspect.records import NamedTuple
from b2dinspect.source import SECTOR, ByteSource, read_exactly


class Footer(NamedTuple):
    """A footer, or its copy at byte 0.

    Attributes:
        header: The bytes, and where they are.
        values: The decoded fields.
        expected: The checksum as it should be.
    """

    header: Header
    values: Any
    expected: int

    @property
    def is_sound(self) -> bool:
        """Whether cookie and checksum are right."""
        return self.has_cookie and self.values.checksum == self.expected

    @property
    def has_cookie(self) -> bool:
        """Whether this is a footer at all."""
        return bool(self.values.cookie == COOKIE)


def find_footers(file: ByteSource) -> list[Footer]:
    """Return the footer at the end, and the copy at byte 0; either may be damaged, both are not."""
    size = 511 if file.size >= 511 and file.pread(file.size - 511, 8) == COOKIE else SECTOR
    footers = []
    if file.size >= size:
        footers.append(_read_footer(file, file.size - size, size, "VHD footer"))
    # what is at byte 0 of a fixed disk belongs to the disk
    is_fixed = footers and footers[0].is_sound and footers[0].values.type == FIXED
    if not is_fixed and file.size >= 2 * SECTOR:
        footers.append(_read_footer(file, 0, SECTOR, "VHD footer copy"))
    if not any(footer.has_cookie for footer in footers):
        raise ContainerError(
            "no footer at the end, and no copy of it at byte 0",
            layer="VHD footer",
            offset=max(0, file.size - SECTOR),
            expected=COOKIE.decode(),
            found=footers[0].values.cookie.hex() if footers else f"{file.size} bytes",
        )
    return footers


def _read_footer(file: ByteSource, offset: int, size: int, name: str) -> Footer:
    data = read_exactly(file, offset, size, ContainerError, name)
    padded = data.ljust(SECTOR, b"\0")
    return Footer(Header(name, "file", offset, FOOTER, data), FOOTER.parse(padded), checksum(padded, 64))


def choose_footer(footers: list[Footer]) -> tuple[Footer, tuple[Finding, ...]]:
    """Return the footer to believe: a sound one before a damaged one, the one at the end before its copy."""
    sound = [footer for footer in footers if footer.is_sound]
    chosen = (sound or [footer for footer in footers if footer.has_cookie])[0]
    if chosen.values.type == FIXED and chosen is footers[0]:
        footers = footers[:1]
    findings = []
    for index, footer in enumerate(footers):
        if footer.is_sound:
            continue
        name, label = (
            ("vhd-footer-copy-damaged", "the copy of the footer at byte 0")
            if index
            else ("vhd-footer-damaged", "the footer at the end")
        )
        fault = (
            f"has a wrong checksum (expected {footer.expected:#x}, found {footer.values.checksum:#x})"
            if footer.has_cookie
            else f"is not there (expected {COOKIE.decode()}, found {footer.values.cookie.hex()})"
        )
        other = "read all the same" if footer is chosen else "the other one is used"
        findings.append(Finding(name, "error", f"{label} {fault}; {other}", footer.header.offset, "file"))
    if len(sound) == 2 and sound[0].header.data != sound[1].header.data[: len(sound[0].header.data)]:
        text = "the footer at the end and its copy at byte 0 are sound but differ; the one at the end is used"
        findings.append(Finding("vhd-footers-differ", "warning", text, sound[0].header.offset, "file"))
    return chosen, tuple(findings)


def check_footer(footer: Footer) -> None:
    """Refuse values that no reader could work with, before any of them is used."""
    values, start = footer.values, footer.header.offset
    size = virtual_size(values)
    is_misplaced = values.type == FIXED and not start and footer.header.name != "VHD footer"
    types = "3 or 4 in a copy at byte 0" if is_misplaced else "2 to 4"
    for offset, name, is_sound, expected, found in (
        (60, "type", values.type in TYPES and not is_misplaced, types, values.type),
        (48, "current_size", 0 < size < 1 << 63, "512 to 2^63 - 1 bytes", values.current_size),
    ):
        if not is_sound:
            raise ContainerError(
                f"{name} makes no sense",
                layer=footer.header.name,
                offset=start + offset,
                expected=expected,
                found=found,
            )


def read_dynamic_header(file: ByteSource, footer: Footer) -> Header:
    """Return the header of a dynamic or differencing disk.

    Raises:
        ContainerError: It is cut short, or makes no sense.
    """
    offset = footer.values.data_offset
    name = "VHD dynamic disk header"
    data = read_exactly(file, offset, DYNAMIC_HEADER.sizeof(), ContainerError, name)
    header = DYNAMIC_HEADER.parse(data)
    entries, size = header.table_entries, header.block_size
    for field, at, is_sound, expected, found in (
        ("cookie", 0, header.cookie == HEADER_COOKIE, HEADER_COOKIE.hex(), header.cookie.hex()),
        ("table_entries", 28, 0 < entries <= MAX_ENTRIES, f"1 to {MAX_ENTRIES}", entries),
        ("block_size", 32, size >= SECTOR and not size & (size - 1), "a power of two, >= 512", size),
    ):
        if not is_sound:
            raise ContainerError(
                f"{field} makes no sense", layer=name, offset=offset + at, expected=expected, found=found
            )
    return Header(name, "file", offset, DYNAMIC_HEADER, data)
