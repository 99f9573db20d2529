"""GPT tables: both copies, and one fault at a time."""

from __future__ import annotations

import struct
import uuid
import zlib

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from b2dinspect.errors import PartitionError
from b2dinspect.findings import Finding
from b2dinspect.partitions import gpt, read_table
from b2dinspect.partitions.base import PartitionTable
from b2dinspect.source import MemorySource

SECTOR = 512
SECTORS = 2048
LAST = SECTORS - 1
PRIMARY, BACKUP = SECTOR, LAST * SECTOR
ENTRIES, BACKUP_ENTRIES = 2 * SECTOR, (LAST - 32) * SECTOR
ROOT, SWAP = uuid.UUID(int=0xAAAA), uuid.UUID(int=0xBBBB)


def entry(kind: str, guid: uuid.UUID, first: int, last: int, name: str = "", attributes: int = 0) -> bytes:
    encoded = name.encode("utf-16-le", "surrogatepass").ljust(72, b"\0")
    return uuid.UUID(kind).bytes_le + guid.bytes_le + struct.pack("<QQQ", first, last, attributes) + encoded


TWO = (entry(gpt.LINUX, ROOT, 1000, 1999, "data"), entry(gpt.SWAP, SWAP, 64, 999, "Auslagerung ß"))


def header(entries: bytes, my_lba: int, other_lba: int, entries_lba: int, size: int = 128) -> bytes:
    def pack(crc: int) -> bytes:
        return struct.pack(
            "<8sIIIIQQQQ16sQIII", b"EFI PART", 0x10000, 92, crc, 0, my_lba, other_lba, 34, LAST - 33,
            uuid.UUID(int=1).bytes_le, entries_lba, len(entries) // size, size, zlib.crc32(entries),
        )  # fmt: skip

    return pack(zlib.crc32(pack(0)))


def make_disk(used: tuple[bytes, ...] = TWO) -> bytes:
    """Return a disk with a protective MBR and both copies of a table."""
    entries = b"".join(used).ljust(128 * 128, b"\0")
    disk = bytearray(SECTORS * SECTOR)
    disk[446:512] = (
        struct.pack("<B3sB3sII", 0, b"\0\2\0", 0xEE, b"\xff" * 3, 1, LAST).ljust(64, b"\0") + b"\x55\xaa"
    )
    disk[PRIMARY : PRIMARY + 92] = header(entries, 1, LAST, 2)
    disk[ENTRIES : ENTRIES + len(entries)] = entries
    disk[BACKUP : BACKUP + 92] = header(entries, LAST, 1, LAST - 32)
    disk[BACKUP_ENTRIES : BACKUP_ENTRIES + len(entries)] = entries
    return bytes(disk)


DISK = make_disk()


def patch(data: bytes, offset: int, value: bytes) -> bytes:
    return data[:offset] + value + data[offset + len(value) :]


def with_field(data: bytes, at: int, offset: int, kind: str, value: int) -> bytes:
    """Set a field of the header at byte ``at``, and make the header's checksum right again."""
    data = patch(data, at + offset, struct.pack(f"<{kind}", value))
    size = min(struct.unpack_from("<I", data, at + 12)[0], SECTOR)
    raw = data[at : at + size]
    return patch(data, at + 16, struct.pack("<I", zlib.crc32(raw[:16] + bytes(4) + raw[20:])))


def read(data: bytes) -> PartitionTable:
    return read_table(MemorySource(data))


SOUND = read(DISK)


# --- sound tables ---


def test_both_copies_sound() -> None:
    assert SOUND.kind == "gpt"
    assert SOUND.findings == ()
    one, two = SOUND.partitions
    assert one == ("gpt", 1, 1000, 1000, gpt.LINUX, "Linux filesystem", "data", str(ROOT))
    assert two == ("gpt", 2, 64, 936, gpt.SWAP, "Linux swap", "Auslagerung ß", str(SWAP))


def test_headers_lie_where_they_say() -> None:
    assert [(header.name, header.offset) for header in SOUND.headers] == [
        ("GPT header (primary)", PRIMARY),
        ("GPT entry 1 (primary)", ENTRIES),
        ("GPT entry 2 (primary)", ENTRIES + 128),
    ]
    for item in SOUND.headers:
        assert DISK[item.offset : item.offset + len(item.data)] == item.data
        assert sum(field.size for field in item.fields()) == len(item.data)


def test_an_unused_entry_keeps_the_numbers_of_the_others() -> None:
    table = read(make_disk((TWO[0], bytes(128), TWO[1])))
    assert [part.number for part in table.partitions] == [1, 3]
    assert table.headers[2].offset == ENTRIES + 256


def test_an_empty_table() -> None:
    table = read(make_disk(()))
    assert (table.kind, table.partitions, table.findings) == ("gpt", (), ())


def test_attributes_and_unknown_types() -> None:
    kind = "12345678-1234-1234-1234-123456789ABC"
    table = read(make_disk((entry(kind, ROOT, 64, 64, attributes=5 | 1 << 60),)))
    (part,) = table.partitions
    assert (part.type, part.type_name, part.sectors) == (kind, "", 1)
    fields = {field.name: field for field in table.headers[1].fields()}
    assert fields["attributes"].meaning == "required legacy_boot unknown:0x1000000000000000"


@pytest.mark.parametrize(
    ("name", "shown"),
    [("x" * 36, "x" * 36), ("a\0b", "a"), ("😀", "😀"), ("\ud800", "\ud800"), ("\udc00x", "\udc00x")],
)
def test_names(name: str, shown: str) -> None:
    assert read(make_disk((entry(gpt.LINUX, ROOT, 64, 64, name),))).partitions[0].name == shown


@pytest.mark.parametrize("size", [136, 256, 4096])
def test_larger_entries(size: int) -> None:
    entries = b"".join(item.ljust(size, b"\xee") for item in TWO)
    data = patch(DISK, 100 * SECTOR, entries)
    data = patch(data, PRIMARY, header(entries, 1, LAST, 100, size))
    table = read(data)
    assert table.partitions == SOUND.partitions
    assert table.headers[2].offset == 100 * SECTOR + size


def test_as_many_entries_as_are_allowed() -> None:
    entries = b"".join(TWO).ljust(4095 * 128, b"\0") + entry(gpt.LINUX, ROOT, 40, 41)
    data = bytearray(SECTORS * SECTOR)
    data[PRIMARY : PRIMARY + 92] = header(entries, 1, LAST, 2)
    data[ENTRIES : ENTRIES + len(entries)] = entries
    assert [part.number for part in read(bytes(data)).partitions] == [1, 2, 4096]


def test_a_header_of_a_whole_sector() -> None:
    data = with_field(patch(DISK, PRIMARY + 92, b"\xee" * 420), PRIMARY, 12, "I", 512)
    assert read(data).kind == "gpt"
    assert read(data).findings == ()
    assert [finding.id for finding in read(patch(data, PRIMARY + 511, b"\0")).findings] == [
        "gpt-primary-damaged"
    ]


# --- the primary is damaged: one fault each ---

HEADER_FAULTS = [
    (0, "Q", 0, 0, "no signature EFI PART"),
    (12, "I", 91, 12, "header size is out of range (expected 92 to 512, found 91)"),
    (12, "I", 513, 12, "header size is out of range (expected 92 to 512, found 513)"),
    (12, "I", 0, 12, "header size is out of range (expected 92 to 512, found 0)"),
    (12, "I", 0xFFFFFFFF, 12, "header size is out of range (expected 92 to 512, found 4294967295)"),
    (24, "Q", 0, 24, "the header belongs to another sector (expected 1, found 0)"),
    (24, "Q", LAST, 24, "the header belongs to another sector (expected 1, found 2047)"),
    (84, "I", 0, 84, "entry size is out of range (expected 128 to 4096, found 0)"),
    (84, "I", 127, 84, "entry size is out of range (expected 128 to 4096, found 127)"),
    (84, "I", 129, 84, "entry size is out of range (expected 128 to 4096, found 129)"),
    (84, "I", 4104, 84, "entry size is out of range (expected 128 to 4096, found 4104)"),
    (84, "I", 0xFFFFFFF8, 84, "entry size is out of range (expected 128 to 4096, found 4294967288)"),
    (80, "I", 4097, 80, "too many entries (expected at most 4096, found 4097)"),
    (80, "I", 0xFFFFFFFF, 80, "too many entries (expected at most 4096, found 4294967295)"),
]


@pytest.mark.parametrize(("offset", "kind", "value", "where", "message"), HEADER_FAULTS)
def test_a_bad_field_in_the_primary_header(
    offset: int, kind: str, value: int, where: int, message: str
) -> None:
    table = read(with_field(DISK, PRIMARY, offset, kind, value))
    text = f"primary GPT header: {message} at byte {PRIMARY + where:#x}"
    assert table.findings == (Finding("gpt-primary-damaged", "error", text, PRIMARY + where),)
    assert (table.kind, table.partitions) == ("gpt", SOUND.partitions)
    assert table.headers[0].offset == BACKUP
    assert table.headers[1].offset == BACKUP_ENTRIES


@pytest.mark.parametrize(("offset", "kind", "value", "where", "message"), HEADER_FAULTS)
def test_a_bad_field_in_the_backup_header(
    offset: int, kind: str, value: int, where: int, message: str
) -> None:
    if value == LAST:
        value, message = 1, "the header belongs to another sector (expected 2047, found 1)"
    table = read(with_field(DISK, BACKUP, offset, kind, value))
    text = f"backup GPT header: {message} at byte {BACKUP + where:#x}".replace(
        "expected 1,", f"expected {LAST},"
    )
    assert table.findings == (Finding("gpt-backup-damaged", "warning", text, BACKUP),)
    assert (table.kind, table.partitions, table.headers) == ("gpt", SOUND.partitions, SOUND.headers)


@pytest.mark.parametrize("place", [8, 20, 32, 40, 56, 91])
def test_the_header_checksum_guards_every_field(place: int) -> None:
    table = read(patch(DISK, PRIMARY + place, bytes([DISK[PRIMARY + place] ^ 1])))
    (finding,) = table.findings
    assert (finding.id, finding.severity, finding.offset) == ("gpt-primary-damaged", "error", PRIMARY + 16)
    stored = struct.unpack_from("<I", DISK, PRIMARY + 16)[0]
    assert "wrong header checksum" in finding.message
    assert f"found {stored:#010x}" in finding.message
    assert table.partitions == SOUND.partitions


@pytest.mark.parametrize("place", [0, 16, 127, 128 * 128 - 1])
def test_the_entries_checksum_guards_every_entry(place: int) -> None:
    table = read(patch(DISK, ENTRIES + place, bytes([DISK[ENTRIES + place] ^ 1])))
    (finding,) = table.findings
    assert (finding.id, finding.severity, finding.offset) == ("gpt-primary-damaged", "error", ENTRIES)
    assert finding.message.startswith("primary GPT entries: wrong checksum of the entries (expected 0x")
    assert table.partitions == SOUND.partitions


@pytest.mark.parametrize("lba", [SECTORS - 31, SECTORS, 1 << 63, (1 << 64) - 1])
def test_entries_outside_the_disk(lba: int) -> None:
    table = read(with_field(DISK, PRIMARY, 72, "Q", lba))
    held = max(0, SECTORS - lba) * SECTOR
    text = (
        f"primary GPT entries: cut short (expected 16384 bytes, found {held} bytes) at byte {lba * SECTOR:#x}"
    )
    assert table.findings == (Finding("gpt-primary-damaged", "error", text, lba * SECTOR),)
    assert table.partitions == SOUND.partitions


def test_the_start_of_the_disk_overwritten() -> None:
    table = read(bytes(ENTRIES + 128 * 128) + DISK[ENTRIES + 128 * 128 :])
    assert (table.kind, table.partitions) == ("gpt", SOUND.partitions)
    assert [(finding.id, finding.severity, finding.offset) for finding in table.findings] == [
        ("gpt-only-backup", "error", BACKUP)
    ]


def test_both_ends_of_the_disk_overwritten() -> None:
    start = ENTRIES + 128 * 128
    table = read(bytes(start) + DISK[start:BACKUP] + bytes(SECTOR))
    assert (table.kind, table.partitions, table.findings) == ("none", (), ())
    assert any("no signature EFI PART" in reason for reason in table.reasons)


# --- the backup ---


@pytest.mark.parametrize("place", [BACKUP, BACKUP + 40, BACKUP_ENTRIES])
def test_a_damaged_backup_is_a_warning(place: int) -> None:
    table = read(patch(DISK, place, b"\xff"))
    (finding,) = table.findings
    assert (finding.id, finding.severity, finding.offset) == ("gpt-backup-damaged", "warning", BACKUP)
    assert finding.message.startswith("backup GPT ")
    assert table.partitions == SOUND.partitions


def test_no_backup_at_all() -> None:
    table = read(patch(DISK, BACKUP, bytes(SECTOR)))
    text = f"backup GPT header: no signature EFI PART at byte {BACKUP:#x}"
    assert table.findings == (Finding("gpt-backup-damaged", "warning", text, BACKUP),)


def test_a_backup_that_lists_something_else() -> None:
    other = make_disk((TWO[0],))
    table = read(DISK[: 1024 * SECTOR] + other[1024 * SECTOR :])
    text = "the backup GPT lists other partitions than the primary"
    assert table.findings == (Finding("gpt-backup-differs", "warning", text, BACKUP),)
    assert table.partitions == SOUND.partitions


def test_a_disk_that_grew() -> None:
    table = read(DISK + bytes(10 * SECTOR))
    text = (
        f"the backup GPT is in sector {LAST}, the disk ends at {LAST + 10}: the disk grew after partitioning"
    )
    assert table.findings == (Finding("gpt-backup-not-last", "info", text, BACKUP),)
    assert table.partitions == SOUND.partitions


@pytest.mark.parametrize("end", [LAST, 2000, 1024])
def test_a_disk_that_was_cut(end: int) -> None:
    table = read(DISK[: end * SECTOR])
    text = f"the backup GPT belongs to sector {LAST}, but the disk ends at {end - 1}: it was cut"
    assert table.findings[0] == Finding("gpt-backup-outside", "error", text, BACKUP)
    assert [finding.id for finding in table.findings[1:]] == ["partition-outside"] * (end < 2000)
    assert table.partitions == SOUND.partitions


@pytest.mark.parametrize(
    "size", [ENTRIES + 128 * 128 - 1, ENTRIES, PRIMARY + SECTOR - 1, PRIMARY + 1, PRIMARY]
)
def test_a_disk_cut_inside_the_primary(size: int) -> None:
    table = read(DISK[:size])
    assert (table.kind, table.partitions) == ("damaged", ())
    (finding,) = table.findings
    assert finding.id == "gpt-primary-damaged"
    assert "cut short" in finding.message
    assert finding.offset == (ENTRIES if size >= ENTRIES else PRIMARY)


def test_both_copies_damaged() -> None:
    table = read(patch(patch(DISK, PRIMARY + 56, b"\xff"), BACKUP + 56, b"\xff"))
    assert (table.kind, table.partitions) == ("damaged", ())
    assert [finding.id for finding in table.findings] == ["gpt-primary-damaged"]
    assert [reason.split(":")[1] for reason in table.reasons[:2]] == [
        " primary GPT header",
        " backup GPT header",
    ]
    assert table.reasons[2].startswith("mbr: only a protective entry")


# --- sector 0 ---


def test_a_table_without_its_protective_mbr_is_still_read() -> None:
    table = read(bytes(SECTOR) + DISK[SECTOR:])
    assert (table.kind, table.partitions) == ("gpt", SOUND.partitions)
    assert [(finding.id, finding.severity, finding.offset) for finding in table.findings] == [
        ("gpt-mbr-missing", "error", 0)
    ]


def test_a_hybrid_mbr_is_a_gpt() -> None:
    linux = struct.pack("<B3sB3sII", 0, b"\0\2\0", 0x83, b"\xff" * 3, 64, 10)
    assert read(patch(DISK, 462, linux)).kind == "gpt"


@pytest.mark.parametrize("damage", [None, PRIMARY + 56, PRIMARY])
def test_a_plain_mbr_over_an_old_gpt_is_an_mbr(damage: int | None) -> None:
    """Linux, sfdisk and parted heed a GPT only behind a protective entry."""
    data = patch(DISK, 446, struct.pack("<B3sB3sII", 0, b"\0\2\0", 0x83, b"\xff" * 3, 64, 10))
    table = read(data if damage is None else patch(data, damage, b"\xff"))
    assert table.kind == "mbr"
    assert [(part.start, part.sectors) for part in table.partitions] == [(64, 10)]
    assert table.findings == ()
    assert table.reasons[0].startswith("gpt: ")


# --- partitions that cannot be ---


def test_a_partition_outside_the_disk() -> None:
    table = read(make_disk((entry(gpt.LINUX, ROOT, 100, SECTORS),)))
    text = f"partition 1 ends at sector {SECTORS + 1}, the disk at {SECTORS}"
    assert table.findings == (Finding("partition-outside", "error", text, 100 * SECTOR),)


def test_a_partition_at_the_end_of_all_sectors() -> None:
    most = (1 << 64) - 1
    table = read(make_disk((entry(gpt.LINUX, ROOT, most, most),)))
    assert [finding.id for finding in table.findings] == ["partition-outside"]
    assert table.partitions[0].offset == most * SECTOR


def test_overlapping_partitions() -> None:
    used = (entry(gpt.LINUX, ROOT, 100, 199), entry(gpt.SWAP, SWAP, 199, 300))
    text = "partitions 1 and 2 overlap from sector 199 on"
    assert read(make_disk(used)).findings == (Finding("partition-overlap", "error", text, 199 * SECTOR),)


def test_a_partition_that_ends_before_it_begins() -> None:
    table = read(make_disk((entry(gpt.LINUX, ROOT, 100, 98), entry(gpt.SWAP, SWAP, 64, 200))))
    assert table.partitions[0].sectors == 0
    text = "partition 1 ends before it begins at sector 100"
    assert table.findings == (Finding("partition-empty", "error", text, 100 * SECTOR),)


# --- anything ---


def test_read_gpt_names_the_copy() -> None:
    with pytest.raises(PartitionError, match="other GPT header: no signature") as caught:
        gpt.read_gpt(MemorySource(DISK), 3, "other")
    assert caught.value.offset == 3 * SECTOR


@settings(max_examples=200)
@given(data=st.data())
@pytest.mark.slow
def test_any_damage_is_read_without_an_exception(data: st.DataObject) -> None:
    disk = DISK
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.sampled_from([0, PRIMARY, BACKUP, ENTRIES, BACKUP_ENTRIES]))
        disk = patch(disk, at + data.draw(st.integers(0, 300)), data.draw(st.binary(max_size=16)))
    for at in (PRIMARY, BACKUP):
        if data.draw(st.booleans()):
            entries_at = struct.unpack_from("<Q", disk, at + 72)[0] * SECTOR
            size = 128 * 128
            disk = patch(disk, at + 88, struct.pack("<I", zlib.crc32(disk[entries_at : entries_at + size])))
            disk = with_field(disk, at, 20, "I", 0)
    disk = disk[: data.draw(st.sampled_from([len(disk), len(disk) - 1, ENTRIES, 700, 100]))]
    table = read(disk[: SECTORS * SECTOR])
    assert table.kind in ("gpt", "mbr", "none", "damaged")
    assert table.kind != "damaged" or table.findings
    for part in table.partitions:
        assert part.sectors >= 0
