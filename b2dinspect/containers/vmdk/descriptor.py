"""The descriptor: text that says what a disk is made of.

Lines are ``key=value``, extent lines (``RW 40960000 SPARSE "disk.vmdk"``), comments, or empty. VMware and
VirtualBox differ in blanks around the ``=`` and in quotes, so both are optional here.

Source: VMware, Virtual Disk Format 5.0, "The Descriptor File"; VirtualBox, VMDK.cpp, for the
``ddb.uuid`` keys and their order.
"""

from __future__ import annotations

import re
import uuid
from collections.abc import Iterator, Sequence
from typing import Any

from construct import Adapter, Bytes, Struct

from b2dinspect.fields import Header
from b2dinspect.records import NamedTuple
from b2dinspect.source import SECTOR

NO_PARENT = "ffffffff"
MAX_SIZE = 1 << 20
"""Bytes that are looked at; VMware's longest, of a 2 TB disk in pieces of 2 GB, are some 100 KiB."""
MAX_EXTENTS = 4096
MAX_LINES_SHOWN = 64
NO_UUID = uuid.UUID(int=0)

_EXTENT = re.compile(
    rb'(RW|RDONLY|NOACCESS)\s+(\d{1,19})\s+(\w+)(?:\s+"([^"]*)"(?:\s+(\d{1,19}))?)?', re.IGNORECASE
)
_PAIR = re.compile(rb"([\w.:-]+)\s*=\s*(.*)", re.DOTALL)


class ExtentLine(NamedTuple):
    """One piece of the disk.

    Attributes:
        access: ``RW``, ``RDONLY`` or ``NOACCESS``.
        sectors: Length on the disk.
        kind: ``SPARSE``, ``FLAT``, ``ZERO``, ``VMFS``, ….
        name: Of the file that holds it, as written: possibly absolute, never to be trusted.
        start: Sector of a flat file at which the extent begins.
        offset: Byte of the file with the descriptor at which the line begins.
    """

    access: str
    sectors: int
    kind: str
    name: str
    start: int
    offset: int


class Descriptor(NamedTuple):
    """A descriptor, read.

    Attributes:
        offset: Byte of the file at which it begins.
        text: As stored, up to the first NUL.
        values: First value of every key, keys in lower case, without quotes.
        extents: In the order of the disk.
        strange: Offsets (bytes, in the file) of lines that are nothing known.
        is_cut: Whether it goes on behind what was looked at.
    """

    offset: int
    text: bytes
    values: dict[str, str]
    extents: tuple[ExtentLine, ...]
    strange: tuple[int, ...]
    is_cut: bool

    @property
    def cid(self) -> str:
        """The content identity, which changes with the content; ``""`` when there is none."""
        return _cid(self.values.get("cid", ""))

    @property
    def parent_cid(self) -> str:
        """The parent's content identity; ``""`` without a parent."""
        found = _cid(self.values.get("parentcid", ""))
        return "" if found == NO_PARENT else found

    def header(self) -> Header:
        """Return it line by line, for ``show --headers``; a field takes the comments behind it along."""
        starts = list(_pairs(self.text))[:MAX_LINES_SHOWN]
        if not starts or starts[0][0] > 0:
            starts.insert(0, (0, "descriptor"))
        ends = [start for start, _ in starts[1:]] + [len(self.text)]
        parts = [name / _Line(end - start) for (start, name), end in zip(starts, ends, strict=True)]
        return Header("VMDK descriptor", "file", self.offset, Struct(*parts), self.text)


def _cid(value: str) -> str:
    """Return a CID of eight digits: qemu leaves out leading zeros."""
    return value.lower().rjust(8, "0") if value else ""


class _Line(Adapter):  # type: ignore[misc]
    """A line of the descriptor, of which the value is shown."""

    def __init__(self, size: int) -> None:
        super().__init__(Bytes(size))

    def _decode(self, obj: bytes, context: object, path: str) -> bytes:
        line = obj.split(b"\n", 1)[0].strip()
        pair = None if _EXTENT.match(line) else _PAIR.match(line)
        return _unquoted(pair[2]) if pair else line

    def _encode(self, obj: bytes, context: object, path: str) -> bytes:
        return obj


def _lines(text: bytes) -> Iterator[tuple[int, bytes]]:
    """Yield every line that is no comment and not empty, and its offset in bytes."""
    offset = 0
    for line in text.split(b"\n"):
        if (content := line.strip()) and not content.startswith(b"#"):
            yield offset, content
        offset += len(line) + 1


def _pairs(text: bytes) -> Iterator[tuple[int, str]]:
    """Yield offset and name of every line; extent lines are counted."""
    count = 0
    for offset, line in _lines(text):
        if _EXTENT.match(line):
            yield offset, f"extent[{count}]"
            count += 1
        elif pair := _PAIR.match(line):
            yield offset, _text(pair[1])


def parse_descriptor(data: bytes, offset: int, is_cut: bool = False) -> Descriptor:
    """Return what the descriptor says; lines that say nothing are noted, and never an error.

    Args:
        data: Bytes of the descriptor, of which the first MAX_SIZE are looked at.
        offset: Byte of the file at which they begin.
        is_cut: Whether the file has more of it.
    """
    text = data[:MAX_SIZE].split(b"\0", 1)[0]
    values: dict[str, str] = {}
    extents: list[ExtentLine] = []
    strange: list[int] = []
    for where, line in _lines(text):
        if found := _EXTENT.match(line):
            access, sectors, kind, name, start = found.groups(b"")
            extents.append(
                ExtentLine(
                    _text(access).upper(),
                    int(sectors),
                    _text(kind).upper(),
                    _text(name),
                    int(start or 0),
                    offset + where,
                )
            )
        elif pair := _PAIR.match(line):
            values.setdefault(_text(pair[1]).lower(), _text(_unquoted(pair[2])))
        else:
            strange.append(offset + where)
    is_cut |= len(data) > MAX_SIZE or len(extents) > MAX_EXTENTS
    return Descriptor(offset, text, values, tuple(extents[:MAX_EXTENTS]), tuple(strange), is_cut)


def _unquoted(value: bytes) -> bytes:
    return value[1:].split(b'"', 1)[0] if value.startswith(b'"') else value


def _text(raw: bytes) -> str:
    return raw.decode("utf-8", "surrogateescape")


def build_descriptor(
    create_type: str,
    extents: Sequence[str],
    virtual_size: int,
    *,
    cid: int,
    uuids: Sequence[uuid.UUID],
    adapter: str = "ide",
) -> bytes:
    """Return the text as VirtualBox writes it.

    Args:
        create_type: ``"monolithicSparse"``, ….
        extents: Extent lines.
        virtual_size: Bytes.
        cid: Content identity, 0 to 0xfffffffe.
        uuids: Of the image, of its last modification, of the parent, and of the parent's modification.
        adapter: ``"ide"``, ``"lsilogic"``, ….
    """
    image, modification, parent, parent_modification = uuids
    cylinders = min(16383, virtual_size // (SECTOR * 63 * 16))
    bios_cylinders = min(1024, virtual_size // (SECTOR * 63 * 255))
    lines = [
        "# Disk DescriptorFile",
        "version=1",
        f"CID={cid:08x}",
        f"parentCID={NO_PARENT}",
        f'createType="{create_type}"',
        "",
        "# Extent description",
        *extents,
        "",
        "# The disk Data Base ",
        "#DDB",
        "",
        'ddb.virtualHWVersion = "4"',
        f'ddb.adapterType="{adapter}"',
        f'ddb.geometry.cylinders="{cylinders}"',
        'ddb.geometry.heads="16"',
        'ddb.geometry.sectors="63"',
        f'ddb.geometry.biosCylinders="{bios_cylinders}"',
        'ddb.geometry.biosHeads="255"',
        'ddb.geometry.biosSectors="63"',
        f'ddb.uuid.image="{image}"',
        f'ddb.uuid.parent="{parent}"',
        f'ddb.uuid.modification="{modification}"',
        f'ddb.uuid.parentmodification="{parent_modification}"',
        'ddb.comment=""',
    ]
    return "".join(f"{line}\n" for line in lines).encode("utf-8", "surrogateescape")


def flat_descriptor(
    virtual_size: int,
    flat_name: str,
    *,
    cid: int,
    image: uuid.UUID,
    modification: uuid.UUID,
) -> bytes:
    """Return the descriptor of a monolithicFlat disk: ``NAME.vmdk``, beside the raw ``NAME-flat.vmdk``.

    Args:
        virtual_size: Bytes, a multiple of 512: the size of the raw file.
        flat_name: Of the raw file, in the same folder.
        cid: Content identity, 0 to 0xfffffffe.
        image: UUID of the image.
        modification: UUID of its last modification.

    Raises:
        ValueError: The name cannot be written in a descriptor, or the size is no multiple of 512.
    """
    check_name(flat_name)
    if virtual_size <= 0 or virtual_size % SECTOR:
        raise ValueError(f"virtual size {virtual_size} is not a positive multiple of 512")
    line = f'RW {virtual_size // SECTOR} FLAT "{flat_name}" 0'
    uuids = (image, modification, NO_UUID, NO_UUID)
    return build_descriptor("monolithicFlat", [line], virtual_size, cid=cid, uuids=uuids)


def check_name(name: str) -> None:
    """Refuse names that would break a line of the descriptor.

    Raises:
        ValueError: It is empty, or has a quote or control character in it.
    """
    if not name or any(letter == '"' or letter < " " for letter in name):
        raise ValueError(f"{name!r} cannot be named in a descriptor")


def facts(descriptor: Descriptor) -> dict[str, Any]:
    """Return what a person wants to see first: identities, and the parent."""
    values = descriptor.values
    named = {
        "cid": descriptor.cid,
        "uuid": values.get("ddb.uuid.image", ""),
        "adapter": values.get("ddb.adaptertype", ""),
        "comment": values.get("ddb.comment", ""),
        "parent cid": descriptor.parent_cid,
        "parent file": values.get("parentfilenamehint", "") if descriptor.parent_cid else "",
    }
    return {name: value for name, value in named.items() if value}
