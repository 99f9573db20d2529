"""Bytes and the fields that they belong to."""

from __future__ import annotations

import pytest

from b2dinspect.containers.raw.reader import RawContainer
from b2dinspect.errors import UsageError
from b2dinspect.fields import Field
from b2dinspect.inspection.facts import Inspection
from b2dinspect.inspection.walk import inspect, inspect_disk
from b2dinspect.source import MemorySource
from b2dinspect.views.annotation import MAX_LENGTH, PLACES, Span, map_table, overview, place, region
from tests.cli.helpers import MANIFEST, unpacked
from tests.incidents import incident
from tests.opened import keep


def facts(name: str) -> Inspection:
    return keep(inspect(str(unpacked(name))))


@pytest.mark.parametrize("name", MANIFEST)
@pytest.mark.slow
def test_every_byte_has_at_most_one_owner_and_every_field_its_own_bytes(name: str) -> None:
    disk = facts(name)
    for found in overview(disk):
        source = disk.container if found.space == "virtual" else disk.container.file
        assert found.data == source.pread(found.offset, len(found.data))
        owners = found.owners()
        assert len(owners) == len(found.data)
        for span in found.spans:
            assert span.offset < found.offset + len(found.data)
            assert span.end > found.offset


def test_the_magic_is_the_name_of_a_tar_entry() -> None:
    found = place(facts("fresh.vdi"), "magic")
    assert found is not None
    span = found.spans[found.owners()[0] or 0]
    assert span.field.name == "name"
    assert span.field.value.rstrip(b"\0") == b"boot2docker, please format-me"
    assert found.file_offset is not None


def test_places_of_a_provisioned_disk() -> None:
    disk = facts("provisioned-autoformat.vdi")
    found = {name: place(disk, name) for name in PLACES}
    assert all(found.values())
    assert found["superblock"].data[56:58] == b"\x53\xef"  # type: ignore[union-attr]
    assert found["gpt"].data[:8] == b"EFI PART"  # type: ignore[union-attr]
    assert found["userdata"].data[:11] == b"boot2docker"  # type: ignore[union-attr]


@pytest.mark.slow
def test_places_that_a_disk_has_not() -> None:
    disk = facts("fresh.raw")
    for name in ("header", "map", "mbr", "gpt", "superblock"):
        assert place(disk, name) is None  # type: ignore[arg-type]
    assert [one.title for one in overview(disk)] == ["the marker, which is a tar header", "userdata (fresh)"]


@pytest.mark.parametrize(
    ("name", "table", "entries"),
    [
        ("healthy-virtualbox", "grain directory", 625),
        ("healthy-hyperv", "block allocation table", 10000),
        ("healthy-minikube", "L1 table", 40),
    ],
)
def test_the_map_of_each_format(name: str, table: str, entries: int) -> None:
    machine = incident(name)
    disk = keep(inspect(str(next(path for path in machine.iterdir() if path.name.startswith("disk.")))))
    found = map_table(disk)
    assert found is not None
    assert (found.name, found.entries) == (table, entries)
    shown = place(disk, "map")
    assert shown is not None
    named = [span for span in shown.spans if span.structure == table]
    assert len(named) == entries
    assert any(not span.field.meaning for span in named)
    assert any(span.field.meaning == "not stored" for span in named) == (table != "grain directory")


@pytest.mark.parametrize(
    ("offset", "length", "said"),
    [
        (-1, 1, "outside"),
        (1 << 60, 1, "outside"),
        (0, 0, "cannot be shown"),
        (0, MAX_LENGTH + 1, "cannot be shown"),
    ],
)
def test_what_cannot_be_shown(offset: int, length: int, said: str) -> None:
    with pytest.raises(UsageError, match=said):
        region(facts("fresh.vdi"), "virtual", offset, length)


def test_unknown_bits_and_bytes_where_none_should_be_stand_out() -> None:
    data = bytearray(unpacked("fresh.vdi").read_bytes())
    from b2dinspect.containers import open_container

    sound = place(inspect_disk(open_container(MemorySource(bytes(data))), "x"), "header")
    assert sound is not None
    assert not any(span.is_odd for span in sound.spans)
    data[0x50] = 0x80  # an image flag that nobody knows
    odd = place(inspect_disk(open_container(MemorySource(bytes(data))), "x"), "header")
    assert odd is not None
    assert [span.field.name for span in odd.spans if span.is_odd] == ["flags"]


def test_missing_bytes_are_told() -> None:
    image = unpacked("fresh.vdi").read_bytes()
    from b2dinspect.containers import open_container

    cut = inspect_disk(open_container(MemorySource(image[: (2 << 20) + 1024])), "x")
    found = region(cut, "virtual", 0, 4096)
    assert found.missing
    assert found.data[found.missing[0][0] :] == bytes(4096 - found.missing[0][0])


def test_a_disk_of_nothing() -> None:
    disk = inspect_disk(RawContainer(MemorySource(bytes(512))), "x")
    assert [len(one.data) for one in overview(disk)] == [512]


@pytest.mark.parametrize(
    ("name", "value", "odd"),
    [
        ("reserved_blocks_lo", 243174, False),
        ("reserved_gdt_blocks", 1024, False),
        ("unused_inodes_lo", 7, False),
        ("partitions[0].reserved", 1, True),
        ("reserved_2", b"\0\1", True),
        ("reserved_pad", 3, True),
        ("padding", b"\0\0", False),
        ("unused", 0, False),
    ],
)
def test_what_counts_reserved_blocks_is_not_odd(name: str, value: object, odd: bool) -> None:
    assert Span(0, "x", Field(0, 4, name, value, "", "")).is_odd is odd
