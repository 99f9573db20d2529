"""Sizes, identity and the parent's names: the items of the metadata region."""

from __future__ import annotations

import uuid

from b2dinspect.containers.vhdx.layout import (
    DISK_ID,
    FILE_PARAMETERS,
    HAS_PARENT,
    ITEMS,
    LOCATOR_ENTRY,
    LOCATOR_HEADER,
    LOGICAL_SECTOR,
    MAX_ITEM,
    MAX_SIZE,
    METADATA_ENTRY,
    METADATA_TABLE,
    MIB,
    PARAMETERS,
    PARENT_LOCATOR,
    VIRTUAL_SIZE,
    check_count,
    decoded,
    expect,
    read_structure,
)
from b2dinspect.containers.vhdx.regions import Region
from b2dinspect.errors import ContainerError
from b2dinspect.fields import Header
from b2dinspect.records import NamedTuple
from b2dinspect.source import ByteSource, read_exactly


class Metadata(NamedTuple):
    """What the items say. Sizes in bytes."""

    size: int
    block_size: int
    sector_size: int
    flags: int
    disk_id: uuid.UUID | None
    parent_names: dict[str, str]
    headers: tuple[Header, ...]


def read_metadata(file: ByteSource, region: Region) -> Metadata:
    """Return the items of the metadata region.

    Raises:
        ContainerError: The table, or an item without which nothing can be read, makes no sense.
    """
    layer = "VHDX metadata table"
    table = read_structure(file, METADATA_TABLE, region.offset, layer)
    expect(table, "signature", b"metadata")
    count = METADATA_TABLE.parse(table.data).entry_count
    check_count(layer, count, region.offset + 10)
    start = region.offset + METADATA_TABLE.sizeof()
    size = METADATA_ENTRY.sizeof()
    raw = read_exactly(file, start, count * size, ContainerError, layer)
    items: dict[uuid.UUID, tuple[int, int]] = {}
    headers = [table]
    for at in range(0, count * size, size):
        entry = METADATA_ENTRY.parse(raw[at : at + size])
        if entry.guid in ITEMS and entry.guid not in items:
            name = f"VHDX metadata entry: {ITEMS[entry.guid]}"
            headers.append(Header(name, "file", start + at, METADATA_ENTRY, raw[at : at + size]))
            items[entry.guid] = (region.offset + entry.offset, entry.length)
    block_size, flags, header = _read_parameters(file, items, start)
    sector_size = _read_number(file, items, LOGICAL_SECTOR, 4, start, (512, 4096))
    disk_size = _read_number(file, items, VIRTUAL_SIZE, 8, start, range(1, MAX_SIZE + 1))
    disk_id = _item(file, items, DISK_ID)
    names = _parent_names(_item(file, items, PARENT_LOCATOR)) if flags & HAS_PARENT else {}
    identity = uuid.UUID(bytes_le=disk_id[:16]) if len(disk_id) >= 16 else None
    return Metadata(disk_size, block_size, sector_size, flags, identity, names, (*headers, header))


def _item(file: ByteSource, items: dict[uuid.UUID, tuple[int, int]], guid: uuid.UUID) -> bytes:
    offset, length = items.get(guid, (0, 0))
    return file.pread(offset, min(length, MAX_ITEM)) if offset < file.size else b""


def _read_parameters(
    file: ByteSource, items: dict[uuid.UUID, tuple[int, int]], table: int
) -> tuple[int, int, Header]:
    name = "VHDX file parameters"
    offset, _ = items.get(FILE_PARAMETERS, (table, 0))
    if FILE_PARAMETERS not in items:
        raise ContainerError("there are none", layer=name, offset=table, expected=FILE_PARAMETERS)
    header = read_structure(file, PARAMETERS, offset, name)
    values = PARAMETERS.parse(header.data)
    size = values.block_size
    if not MIB <= size <= 256 * MIB or size & (size - 1):
        expected = "a power of two, 1 to 256 MiB"
        raise ContainerError(
            "block_size makes no sense", layer=name, offset=offset, expected=expected, found=size
        )
    return size, values.flags, header


def _read_number(
    file: ByteSource,
    items: dict[uuid.UUID, tuple[int, int]],
    guid: uuid.UUID,
    length: int,
    table: int,
    allowed: tuple[int, ...] | range,
) -> int:
    name = f"VHDX {ITEMS[guid]}"
    if guid not in items:
        raise ContainerError("there is none", layer=name, offset=table, expected=guid)
    offset, _ = items[guid]
    value = int.from_bytes(read_exactly(file, offset, length, ContainerError, name), "little")
    if value not in allowed:
        expected = f"{allowed[0]} to {allowed[-1]}" if isinstance(allowed, range) else "512 or 4096"
        raise ContainerError("makes no sense", layer=name, offset=offset, expected=expected, found=value)
    return value


def _parent_names(raw: bytes) -> dict[str, str]:
    if len(raw) < LOCATOR_HEADER.sizeof():
        return {}
    names = {}
    size = LOCATOR_ENTRY.sizeof()
    for number in range(min(LOCATOR_HEADER.parse(raw).count, 64)):
        at = LOCATOR_HEADER.sizeof() + number * size
        if at + size > len(raw):
            break
        entry = LOCATOR_ENTRY.parse(raw[at : at + size])
        key = decoded(raw[entry.key_offset : entry.key_offset + entry.key_length])
        names[key] = decoded(raw[entry.value_offset : entry.value_offset + entry.value_length])
    return names
