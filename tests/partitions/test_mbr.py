"""MBR tables: against sfdisk, and chains of logical partitions that no tool would write."""

from __future__ import annotations

import struct
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from b2dinspect.findings import Finding
from b2dinspect.partitions import mbr, read_table
from b2dinspect.partitions.base import PartitionTable
from b2dinspect.source import MemorySource
from tests.oracles import needs, run

SECTOR = 512
DISK_SECTORS = 4096


def entry(kind: int, start: int, sectors: int, status: int = 0) -> bytes:
    return struct.pack("<B3sB3sII", status, b"\xfe\xff\xff", kind, b"\xfe\xff\xff", start, sectors)


def record(*entries: bytes, signature: bytes = b"\x55\xaa") -> bytes:
    return bytes(446) + b"".join(entries).ljust(64, b"\0") + signature


def disk(records: dict[int, bytes], sectors: int = DISK_SECTORS) -> MemorySource:
    data = bytearray(sectors * SECTOR)
    for sector, content in records.items():
        data[sector * SECTOR : sector * SECTOR + len(content)] = content
    return MemorySource(bytes(data))


def chain(links: int, first: int = 100) -> dict[int, bytes]:
    """Extended boot records in sectors ``first``, ``first + 2``, …, each with a partition of one sector."""
    records = {}
    for index in range(links):
        following = entry(0x05, 2 * (index + 1), 2) if index + 1 < links else b""
        records[first + 2 * index] = record(entry(0x83, 1, 1), following)
    return records


def places(table: PartitionTable) -> list[tuple[int, int, int, str]]:
    return [(part.number, part.start, part.sectors, part.type) for part in table.partitions]


# --- sound tables ---


def test_four_primaries_and_an_unused_entry() -> None:
    table = read_table(
        disk({0: record(entry(0x83, 64, 100), b"\0" * 16, entry(0x82, 200, 50), entry(0xB, 1, 9))})
    )
    assert table.kind == "mbr"
    assert places(table) == [(1, 64, 100, "83"), (3, 200, 50, "82"), (4, 1, 9, "b")]
    assert [part.type_name for part in table.partitions] == ["Linux", "Linux swap / Solaris", "W95 FAT32"]
    assert table.findings == ()
    first = table.partitions[0]
    assert (first.table, first.offset, first.size, first.end) == ("mbr", 64 * SECTOR, 100 * SECTOR, 164)


def test_an_unknown_type_keeps_its_number() -> None:
    (part,) = read_table(disk({0: record(entry(0x42, 64, 100))})).partitions
    assert (part.type, part.type_name) == ("42", "")


def test_entries_without_a_type_or_without_a_length_are_unused() -> None:
    table = read_table(disk({0: record(entry(0, 64, 100), entry(0x83, 64, 0), entry(0x05, 64, 0))}))
    assert (table.kind, table.partitions, table.findings) == ("mbr", (), ())


def test_logical_entries_without_a_type_or_without_a_length_are_unused() -> None:
    records = {
        100: record(entry(0, 1, 1), entry(0x05, 2, 2)),
        102: record(entry(0x83, 1, 0), entry(0x05, 4, 2)),
        104: record(entry(0x83, 1, 1), entry(0x83, 6, 2)),
    }
    table = read_table(disk({0: record(entry(0x05, 100, 50)), **records}))
    assert places(table)[1:] == [(5, 105, 1, "83")]
    assert table.findings == ()


def test_a_link_without_a_length_ends_the_chain() -> None:
    records = {100: record(entry(0x83, 1, 1), entry(0x05, 2, 0))}
    assert read_table(disk({0: record(entry(0x05, 100, 50)), **records})).findings == ()


def test_an_empty_table_is_a_table() -> None:
    table = read_table(disk({0: record()}))
    assert (table.kind, table.partitions, table.findings) == ("mbr", (), ())


def test_the_header_explains_every_byte_of_sector_0() -> None:
    data = record(entry(0x83, 64, 100, status=0x80))
    (header,) = read_table(disk({0: data})).headers
    assert (header.name, header.space, header.offset, header.data) == ("MBR", "virtual", 0, data)
    fields = {field.name: field for field in header.fields()}
    assert sum(field.size for field in fields.values()) == SECTOR
    assert (fields["partitions[0].start"].offset, fields["partitions[0].start"].value) == (454, 64)
    assert fields["partitions[0].status"].meaning == "active"
    assert fields["partitions[0].type"].meaning == "Linux"


def test_both_reasons_are_kept() -> None:
    table = read_table(disk({0: record(entry(0x83, 64, 100))}))
    assert [reason.split(":")[0] for reason in table.reasons] == ["gpt", "mbr"]
    assert "no signature EFI PART" in table.reasons[0]


@pytest.mark.parametrize("extended", [0x05, 0x0F, 0x85])
def test_logical_partitions(extended: int) -> None:
    records = chain(3)
    table = read_table(disk({0: record(entry(0x83, 1, 50), entry(extended, 100, 100)), **records}))
    assert places(table) == [
        (1, 1, 50, "83"),
        (2, 100, 100, f"{extended:x}"),
        (5, 101, 1, "83"),
        (6, 103, 1, "83"),
        (7, 105, 1, "83"),
    ]
    assert table.findings == ()


def test_a_deleted_first_logical_partition() -> None:
    records = chain(2)
    records[100] = record(b"\0" * 16, entry(0x05, 2, 2))
    table = read_table(disk({0: record(entry(0x05, 100, 100)), **records}))
    assert places(table)[1:] == [(5, 103, 1, "83")]
    assert table.findings == ()


def test_numbers_go_on_in_a_second_extended_partition() -> None:
    records = chain(2, 100) | chain(2, 200)
    table = read_table(disk({0: record(entry(0x05, 100, 50), entry(0x05, 200, 50)), **records}))
    assert [(part.number, part.start) for part in table.partitions] == [
        (1, 100), (2, 200), (5, 101), (6, 103), (7, 201), (8, 203),
    ]  # fmt: skip


# --- no table ---


@pytest.mark.parametrize("signature", [b"\0\0", b"\xaa\x55", b"\x55\0"])
def test_without_the_signature_there_is_no_table(signature: bytes) -> None:
    table = read_table(disk({0: record(entry(0x83, 64, 100), signature=signature)}))
    assert (table.kind, table.partitions, table.findings) == ("none", (), ())
    assert f"mbr: no signature 55 aa at byte 510, but {signature.hex(' ')}" in table.reasons


@pytest.mark.parametrize("status", [0x01, 0x7F, 0x81, 0xFF])
@pytest.mark.parametrize("index", range(4))
def test_a_status_that_no_table_has(index: int, status: int) -> None:
    entries = [entry(0x83, 64, 100)] * 4
    entries[index] = entry(0x83, 64, 100, status)
    table = read_table(disk({0: record(*entries)}))
    assert (table.kind, table.partitions) == ("none", ())
    assert "a boot sector" in table.reasons[-1]


@pytest.mark.parametrize("size", [0, 1, 511])
def test_a_disk_shorter_than_a_sector(size: int) -> None:
    table = read_table(MemorySource(b"\x55\xaa" * (size // 2)))
    assert (table.kind, table.findings) == ("none", ())
    assert "mbr: the disk is shorter than a sector" in table.reasons


@needs("mkfs.fat")
@pytest.mark.parametrize("width", [12, 16, 32])
def test_a_fat_filesystem_is_no_table(tmp_path: Path, width: int) -> None:
    path = tmp_path / "fat"
    with path.open("wb") as stream:
        stream.truncate(64 << 20)
    run("mkfs.fat", "-F", width, path)
    data = path.read_bytes()
    assert data[510:512] == b"\x55\xaa"
    table = read_table(MemorySource(data))
    assert (table.kind, table.partitions) == ("none", ())
    assert "FAT" in table.reasons[-1]


def test_a_fat_boot_sector_with_a_partition_table_is_one() -> None:
    sector = record(entry(0x83, 64, 100))
    sector = b"\xeb\x3c\x90mkfs.fat" + sector[11:54] + b"FAT16   " + sector[62:]
    assert read_table(disk({0: sector})).kind == "mbr"


# --- one fault each ---


def test_a_partition_that_ends_at_the_end_of_the_disk_is_sound() -> None:
    assert read_table(disk({0: record(entry(0x83, 1, DISK_SECTORS - 1))})).findings == ()


@pytest.mark.parametrize(
    ("start", "sectors"), [(1, DISK_SECTORS), (DISK_SECTORS, 1), (0xFFFFFFFF, 0xFFFFFFFF), (4000, 97)]
)
def test_a_partition_outside_the_disk(start: int, sectors: int) -> None:
    table = read_table(disk({0: record(entry(0x82, 1, 1), entry(0x83, start, sectors))}))
    text = f"partition 2 ends at sector {start + sectors}, the disk at {DISK_SECTORS}"
    assert Finding("partition-outside", "error", text, start * SECTOR) in table.findings
    assert places(table)[1] == (2, start, sectors, "83")


def test_neighbours_do_not_overlap() -> None:
    assert read_table(disk({0: record(entry(0x83, 100, 100), entry(0x83, 50, 50))})).findings == ()


def test_overlapping_partitions() -> None:
    table = read_table(disk({0: record(entry(0x83, 100, 100), entry(0x82, 50, 51))}))
    text = "partitions 2 and 1 overlap from sector 100 on"
    assert table.findings == (Finding("partition-overlap", "error", text, 100 * SECTOR),)


def test_a_partition_over_all_others_overlaps_each() -> None:
    table = read_table(disk({0: record(entry(0x83, 10, 1000), entry(0x82, 20, 5), entry(0x83, 30, 5))}))
    assert [finding.message for finding in table.findings] == [
        "partitions 1 and 2 overlap from sector 20 on",
        "partitions 1 and 3 overlap from sector 30 on",
    ]


def test_logical_partitions_are_measured_too() -> None:
    records = {
        100: record(entry(0x83, 1, 10), entry(0x05, 5, 10)),
        105: record(entry(0x83, 1, 5), entry(0x05, 50, 10)),
        150: record(entry(0x83, 1, DISK_SECTORS)),
    }
    table = read_table(disk({0: record(entry(0x05, 100, 100)), **records}))
    assert [(finding.id, finding.offset) for finding in table.findings] == [
        ("partition-outside", 151 * SECTOR),
        ("partition-overlap", 106 * SECTOR),
    ]
    assert "partitions 5 and 6 overlap" in table.findings[1].message


@pytest.mark.parametrize(
    ("content", "sector"),
    [(b"", 102), (record(entry(0x83, 1, 1), signature=b"\0\0"), 102)],
)
def test_a_broken_chain(content: bytes, sector: int) -> None:
    records = chain(3) | {sector: content.ljust(SECTOR, b"\0")}
    table = read_table(disk({0: record(entry(0x05, 100, 100)), **records}))
    text = f"the chain of logical partitions breaks off: no extended boot record in sector {sector}"
    assert table.findings == (Finding("mbr-chain-broken", "error", text, sector * SECTOR),)
    assert [part.number for part in table.partitions] == [1, 5]


def test_a_chain_that_leaves_the_disk() -> None:
    records = {100: record(entry(0x83, 1, 1), entry(0x05, 0xFFFFFFFF, 2))}
    table = read_table(disk({0: record(entry(0x05, 100, 100)), **records}))
    assert [(finding.id, finding.offset) for finding in table.findings] == [
        ("mbr-chain-broken", (100 + 0xFFFFFFFF) * SECTOR)
    ]


@pytest.mark.parametrize("target", [0, 2, 4])
def test_a_cyclic_chain(target: int) -> None:
    records = chain(3) | {104: record(entry(0x83, 1, 1), entry(0x05, target, 2))}
    table = read_table(disk({0: record(entry(0x05, 100, 100)), **records}))
    text = f"the chain of extended boot records comes back to sector {100 + target}"
    assert table.findings == (Finding("mbr-chain-cyclic", "error", text, (100 + target) * SECTOR),)
    assert [part.number for part in table.partitions] == [1, 5, 6, 7]


@pytest.mark.parametrize(("links", "shown"), [(127, 127), (128, 128), (129, 128), (1000, 128)])
def test_a_long_chain_is_cut(links: int, shown: int) -> None:
    table = read_table(disk({0: record(entry(0x05, 100, 3000)), **chain(links)}))
    assert len(table.partitions) == 1 + shown
    text = "more than 128 logical partitions; the rest is not shown"
    long = Finding("mbr-chain-long", "warning", text, (100 + 2 * 128) * SECTOR)
    assert table.findings == ((long,) if links > shown else ())


# --- anything ---


@given(data=st.binary(min_size=512, max_size=512), chained=st.binary(min_size=1024, max_size=1024))
def test_any_sector_is_read_without_an_exception(data: bytes, chained: bytes) -> None:
    sector = (
        data[:446]
        + b"\0"
        + data[447:462]
        + b"\x80"
        + data[463:478]
        + b"\0"
        + data[479:494]
        + b"\0"
        + data[495:]
    )
    for content in (data, data[:510] + b"\x55\xaa", sector[:510] + b"\x55\xaa"):
        table = read_table(MemorySource(content + chained))
        assert table.kind in ("mbr", "gpt", "none", "damaged")
        assert all(part.sectors >= 0 for part in table.partitions)


ENTRIES = st.builds(
    entry,
    st.sampled_from([0, 5, 0xF, 0x83, 0x82]),
    st.integers(0, 12) | st.integers(0, 0xFFFFFFFF),
    st.integers(0, 12) | st.integers(0, 0xFFFFFFFF),
    st.sampled_from([0, 0x80]),
)


@given(st.lists(st.builds(record, ENTRIES, ENTRIES, ENTRIES, ENTRIES), min_size=1, max_size=12))
@pytest.mark.slow
def test_any_web_of_records_ends(records: list[bytes]) -> None:
    table = read_table(MemorySource(b"".join(records)))
    assert table.kind == "mbr"
    numbers = [part.number for part in table.partitions]
    assert len(set(numbers)) == len(numbers)
    assert len(numbers) <= 4 + 4 * mbr.MAX_LOGICAL
