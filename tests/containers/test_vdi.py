"""VDI: headers of both versions, the four types, faults in the map, broken headers, and the writer."""

from __future__ import annotations

import struct
import subprocess
import tracemalloc
import uuid
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from b2dinspect.containers import open_container
from b2dinspect.containers.vdi.layout import HEADER_0_1, HEADER_1_1, HEADER_1_1_PLUS
from b2dinspect.containers.vdi.reader import VdiContainer
from b2dinspect.containers.vdi.writer import Identity, VdiWriter
from b2dinspect.errors import B2dError, ContainerError, MissingDataError
from b2dinspect.findings import Finding
from b2dinspect.newfile import NewFile
from b2dinspect.source import Extent, MemorySource
from tests.containers.handmade import CREATE, FREE, MODIFY, ZERO, Buffer, make_vdi, patch
from tests.oracles import needs, run

BLOCK = 4096
MIB = 1 << 20
A, B, C = (letter * BLOCK for letter in (b"a", b"b", b"c"))
LAYOUTS = {"0.1": HEADER_0_1, "1.1": HEADER_1_1, "1.1+": HEADER_1_1_PLUS}
PARENT = uuid.UUID("01234567-89ab-cdef-0123-456789abcdef")

OFFSETS = {
    "0.1": {"type": 72, "disk_size": 352, "block_size": 360, "block_count": 364, "blocks_allocated": 368},
    "1.1": {
        "header_size": 72, "type": 76, "blocks_offset": 340, "data_offset": 344, "disk_size": 368,
        "block_size": 376, "block_extra": 380, "block_count": 384, "blocks_allocated": 388,
    },
}  # fmt: skip
"""Counted from VDICore.h of VirtualBox."""


def vdi(data: bytes) -> VdiContainer:
    disk = open_container(MemorySource(data))
    assert isinstance(disk, VdiContainer)
    return disk


# --- headers ---


@pytest.mark.parametrize("name", LAYOUTS)
@pytest.mark.parametrize(
    ("kind", "variant"), [(1, "dynamic"), (2, "fixed"), (3, "undo"), (4, "differencing")]
)
def test_every_version_and_type(name: str, kind: int, variant: str) -> None:
    disk = vdi(make_vdi([A, B], layout=LAYOUTS[name], type=kind))
    assert disk.variant == variant
    assert disk.pread(0, 2 * BLOCK) == A + B
    assert disk.describe()["version"] == name.rstrip("+")
    assert disk.allocated_size == 2 * BLOCK


@pytest.mark.parametrize(("name", "size"), [("0.1", 348), ("1.1", 384), ("1.1+", 400)])
def test_header_fields_are_where_virtualbox_has_them(name: str, size: int) -> None:
    data = make_vdi([A, B], layout=LAYOUTS[name])
    disk = vdi(data)
    pre, header = disk.headers
    assert (pre.offset, len(pre.data), header.offset, len(header.data)) == (0, 72, 72, size)
    fields = {field.name: field for field in header.fields()}
    for field, offset in OFFSETS[name.rstrip("+")].items():
        assert header.offset + fields[field].offset == offset
        assert int.from_bytes(data[offset : offset + fields[field].size], "little") == fields[field].value
    assert sum(field.size for field in fields.values()) == size


def test_a_header_larger_than_known_is_read() -> None:
    disk = vdi(make_vdi([A], header_size=404))
    assert disk.headers[1].layout is HEADER_1_1_PLUS
    assert disk.pread(0, BLOCK) == A


def test_names_in_the_header() -> None:
    disk = vdi(make_vdi([A], type=2, flags=0x300))
    fields = {field.name: field for field in disk.headers[1].fields()}
    assert fields["type"].meaning == "fixed"
    assert fields["flags"].meaning == "zero_expand unknown:0x200"


def test_description() -> None:
    disk = vdi(make_vdi([A, FREE], comment=b"Gr\xc3\xbc\xc3\x9fe\0junk".ljust(256, b"x")))
    assert disk.describe() == {
        "version": "1.1",
        "blocks": "2 of 4096 bytes",
        "uuid": str(CREATE),
        "comment": "Grüße",
    }


def test_a_comment_without_end_and_not_utf8() -> None:
    comment = vdi(make_vdi([A], comment=b"\xff" * 256)).describe()["comment"]
    assert comment.encode("utf-8", "surrogateescape") == b"\xff" * 256


@needs("qemu-img")
def test_qemu_agrees_on_the_header(tmp_path: Path) -> None:
    path = tmp_path / "disk.vdi"
    run("qemu-img", "create", "-q", "-f", "vdi", path, "20000M")
    disk = vdi(path.read_bytes())
    assert disk.size == 20000 * MIB
    assert (disk.variant, disk.allocated_size, disk.findings) == ("dynamic", 0, ())
    assert list(disk.extents()) == [Extent(0, 20000 * MIB, "zero")]


# --- free, zero, missing ---


@pytest.mark.parametrize("kind", [1, 2])
def test_free_and_zero_blocks_are_zeros(kind: int) -> None:
    disk = vdi(make_vdi([FREE, A, ZERO, B], type=kind))
    assert disk.pread(0, 4 * BLOCK) == bytes(BLOCK) + A + bytes(BLOCK) + B
    assert [extent.kind for extent in disk.extents()] == ["zero", "data", "zero", "data"]
    assert disk.allocated_size == 2 * BLOCK
    assert disk.findings == ()


@pytest.mark.parametrize(("kind", "variant"), [(3, "undo"), (4, "differencing")])
def test_a_child_without_its_parent(kind: int, variant: str) -> None:
    disk = vdi(make_vdi([FREE, A, ZERO, B, FREE, FREE], type=kind, uuid_linkage=PARENT))
    assert list(disk.extents()) == [
        Extent(0, BLOCK, "missing"),
        Extent(BLOCK, BLOCK, "data", 1536),
        Extent(2 * BLOCK, BLOCK, "zero"),
        Extent(3 * BLOCK, BLOCK, "data", 1536 + BLOCK),
        Extent(4 * BLOCK, 2 * BLOCK, "missing"),
    ]
    assert disk.pread(BLOCK, 3 * BLOCK) == A + bytes(BLOCK) + B
    for offset, length, where in (
        (0, 1, 0),
        (BLOCK - 1, 2, BLOCK - 1),
        (BLOCK, 4 * BLOCK, 4 * BLOCK),
        (6 * BLOCK - 1, 1, 6 * BLOCK - 1),
    ):
        with pytest.raises(MissingDataError, match="in the parent image, which was not given") as caught:
            disk.pread(offset, length)
        assert caught.value.offset == where
    text = f"this {variant} image holds only changes; the rest is in the parent {PARENT}"
    assert disk.findings == (Finding("vdi-parent-missing", "warning", text, None, "file"),)
    assert disk.describe()["parent uuid"] == str(PARENT)
    assert disk.locate(0) is None


def test_missing_blocks_of_a_page_of_the_map_and_more() -> None:
    blocks: list[bytes | int] = [FREE] * 40000
    blocks[20000] = b"x" * 512
    disk = vdi(make_vdi(blocks, type=4, block_size=512))
    assert [(extent.offset // 512, extent.length // 512, extent.kind) for extent in disk.extents()] == [
        (0, 20000, "missing"),
        (20000, 1, "data"),
        (20001, 19999, "missing"),
    ]
    assert list(disk.extents(10000 * 512, 11000 * 512)) == [
        Extent(10000 * 512, 10000 * 512, "missing"),
        Extent(20000 * 512, 512, "data", disk.locate(20000 * 512)),
        Extent(20001 * 512, 999 * 512, "missing"),
    ]


# --- faults in the map ---


def test_count_of_allocated_blocks() -> None:
    disk = vdi(make_vdi([A, FREE, B], blocks_allocated=7))
    text = "the header counts 7 allocated blocks, the map has 2"
    assert disk.findings == (Finding("vdi-allocated-count", "warning", text, None, "file"),)
    assert disk.pread(0, 3 * BLOCK) == A + bytes(BLOCK) + B


def test_shared_blocks() -> None:
    disk = vdi(make_vdi([A, 0, B, 1, 0], blocks_allocated=5))
    text = "block 1 of the map points to a block of the file that another entry uses too (2 more like it)"
    assert disk.findings == (Finding("vdi-block-shared", "error", text, 512 + 4, "file"),)
    assert disk.pread(0, 5 * BLOCK) == A + A + B + B + A


@pytest.mark.parametrize("entry", [2, 3, 1000, 0x7FFFFFFF, 0xFFFFFFFD])
def test_entries_outside_the_file(entry: int) -> None:
    disk = vdi(make_vdi([A, entry, B], blocks_allocated=3))
    text = "block 1 of the map points past the end of the file: its content is missing"
    assert disk.findings == (Finding("vdi-block-outside", "error", text, 512 + 4, "file"),)
    assert [extent.kind for extent in disk.extents()] == ["data", "missing", "data"]
    assert disk.pread(2 * BLOCK, BLOCK) == B
    with pytest.raises(MissingDataError, match="past the end of the file") as caught:
        disk.pread(0, 3 * BLOCK)
    assert caught.value.offset == BLOCK


@pytest.mark.parametrize("block", [0, 63, 64, 100, 16383, 16384, 20000, 20100, 39999])
def test_a_fault_anywhere_in_a_long_map(block: int) -> None:
    blocks: list[bytes | int] = [ZERO if number % 3000 else FREE for number in range(40000)]
    blocks[block] = 7
    disk = vdi(make_vdi(blocks, block_size=512, blocks_allocated=1))
    assert [(finding.id, finding.offset) for finding in disk.findings] == [
        ("vdi-block-outside", 512 + 4 * block)
    ]
    assert disk.findings[0].message.startswith(f"block {block} of the map")
    assert [extent for extent in disk.extents() if extent.kind != "zero"] == [
        Extent(block * 512, 512, "missing")
    ]


def test_an_entry_larger_than_the_map_but_inside_the_file_is_read() -> None:
    data = make_vdi([A, 3], blocks_allocated=2) + B + C + A.upper()
    disk = vdi(data)
    assert disk.pread(0, 2 * BLOCK) == A + A.upper()
    assert disk.findings == ()
    shared = vdi(make_vdi([A, 3, 3], blocks_allocated=3) + B + C + A)
    assert [finding.id for finding in shared.findings] == ["vdi-block-shared"]


def test_a_file_cut_inside_a_block() -> None:
    data = make_vdi([B, A], stored_order=[1, 0])[:-1000]
    disk = vdi(data)
    assert [finding.id for finding in disk.findings] == ["vdi-block-outside"]
    assert disk.findings[0].offset == 512
    assert [(extent.length, extent.kind) for extent in disk.extents()] == [
        (BLOCK - 1000, "data"),
        (1000, "missing"),
        (BLOCK, "data"),
    ]
    assert disk.pread(0, BLOCK - 1000) == B[1000:]
    assert disk.pread(BLOCK, BLOCK) == A
    with pytest.raises(MissingDataError) as caught:
        disk.pread(0, BLOCK)
    assert caught.value.offset == BLOCK - 1000


def test_the_last_block_need_not_be_stored_whole() -> None:
    data = make_vdi([A, B], disk_size=BLOCK + 512)
    disk = vdi(data[: 512 - BLOCK])
    assert disk.findings == ()
    assert disk.pread(0, 3 * BLOCK) == A + B[:512]
    assert [finding.id for finding in vdi(data[: 511 - BLOCK]).findings] == ["vdi-block-outside"]


@pytest.mark.parametrize("held", [0, 1, 2])
def test_a_map_cut_short(held: int) -> None:
    size = 512 + 4 * held + 3
    disk = vdi(make_vdi([A, ZERO, FREE])[:size])
    text = f"the file ends inside the block map: {held} of 3 entries are there"
    assert Finding("vdi-map-cut", "error", text, size, "file") in disk.findings
    assert disk.size == 3 * BLOCK
    with pytest.raises(MissingDataError, match="no entry for this block") as caught:
        disk.pread(held * BLOCK, BLOCK)
    assert caught.value.offset == held * BLOCK
    if held == 2:
        assert disk.pread(BLOCK, BLOCK) == bytes(BLOCK)


def test_a_map_with_too_few_entries() -> None:
    disk = vdi(make_vdi([A, FREE], disk_size=5 * BLOCK))
    text = f"the block map has room for {2 * BLOCK} bytes of {5 * BLOCK}"
    assert disk.findings == (Finding("vdi-map-short", "error", text, None, "file"),)
    assert disk.pread(0, 2 * BLOCK) == A + bytes(BLOCK)
    assert list(disk.extents(BLOCK)) == [
        Extent(BLOCK, BLOCK, "zero"),
        Extent(2 * BLOCK, 3 * BLOCK, "missing"),
    ]
    with pytest.raises(MissingDataError, match="no entry for this block"):
        disk.pread(2 * BLOCK, 1)


def test_a_map_with_more_entries_than_the_disk() -> None:
    disk = vdi(make_vdi([A, B, C], disk_size=2 * BLOCK))
    assert disk.size == 2 * BLOCK
    assert disk.pread(0, 5 * BLOCK) == A + B
    assert disk.allocated_size == 2 * BLOCK


# --- one fault in the header ---

CORRUPTIONS = [
    ("1.1", 64, "I", 0xBEDA107E, "wrong signature", "0xbeda107f", "0xbeda107e"),
    ("1.1", 68, "H", 2, "unknown version", "0.1 or 1.1", "1.2"),
    ("1.1", 70, "H", 0xFFFF, "unknown version", "0.1 or 1.1", "65535.1"),
    ("1.1", 72, "I", 383, "header size is too small", ">= 384", 383),
    ("1.1", 72, "I", 0, "header size is too small", ">= 384", 0),
    ("1.1", 76, "I", 0, "type makes no sense", "1 to 4", 0),
    ("1.1", 76, "I", 5, "type makes no sense", "1 to 4", 5),
    ("1.1", 76, "I", 0xFFFFFFFF, "type makes no sense", "1 to 4", 0xFFFFFFFF),
    ("1.1", 340, "I", 0, "blocks_offset makes no sense", "past the header, >= 472", 0),
    ("1.1", 340, "I", 471, "blocks_offset makes no sense", "past the header, >= 472", 471),
    ("1.1", 344, "I", 0, "data_offset makes no sense", "past the block map, >= 520", 0),
    ("1.1", 344, "I", 519, "data_offset makes no sense", "past the block map, >= 520", 519),
    ("1.1", 340, "I", 0xFFFFFFFF, "data_offset makes no sense", "past the block map, >= 4294967303", 1536),
    ("1.1", 368, "Q", 0, "disk_size makes no sense", "1 to 2^63 - 1 bytes", 0),
    ("1.1", 368, "Q", 1 << 63, "disk_size makes no sense", "1 to 2^63 - 1 bytes", 1 << 63),
    ("1.1", 368, "Q", (1 << 64) - 1, "disk_size makes no sense", "1 to 2^63 - 1 bytes", (1 << 64) - 1),
    ("1.1", 376, "I", 0, "block_size makes no sense", "a multiple of 512", 0),
    ("1.1", 376, "I", 256, "block_size makes no sense", "a multiple of 512", 256),
    ("1.1", 376, "I", 4097, "block_size makes no sense", "a multiple of 512", 4097),
    ("1.1", 376, "I", (1 << 30) + 512, "block_size makes no sense", "at most 1 GiB", (1 << 30) + 512),
    ("1.1", 376, "I", 0xFFFFFE00, "block_size makes no sense", "at most 1 GiB", 0xFFFFFE00),
    ("1.1", 380, "I", 4097, "block_extra makes no sense", "no larger than a block", 4097),
    ("1.1", 380, "I", 0xFFFFFFFF, "block_extra makes no sense", "no larger than a block", 0xFFFFFFFF),
    ("1.1", 384, "I", 0, "block_count makes no sense", "1 to 67108864", 0),
    ("1.1", 384, "I", 0xFFFFFFFF, "block_count makes no sense", "1 to 67108864", 0xFFFFFFFF),
    ("0.1", 72, "I", 5, "type makes no sense", "1 to 4", 5),
    ("0.1", 352, "Q", 1 << 63, "disk_size makes no sense", "1 to 2^63 - 1 bytes", 1 << 63),
    ("0.1", 360, "I", 0, "block_size makes no sense", "a multiple of 512", 0),
    ("0.1", 364, "I", 0xFFFFFFFF, "block_count makes no sense", "1 to 67108864", 0xFFFFFFFF),
]


@pytest.mark.parametrize(("name", "offset", "kind", "value", "message", "expected", "found"), CORRUPTIONS)
def test_one_bad_field(
    name: str, offset: int, kind: str, value: int, message: str, expected: str, found: object
) -> None:
    sound = make_vdi([A, B], layout=HEADER_0_1 if name == "0.1" else HEADER_1_1_PLUS)
    assert vdi(sound).findings == ()
    data = patch(sound, offset, struct.pack(f"<{kind}", value))
    with pytest.raises(ContainerError) as caught:
        open_container(MemorySource(data), "vdi")
    error = caught.value
    assert (error.message, error.expected, error.found) == (message, expected, found)
    # a map at the far end is only noticed by the blocks that should follow it
    assert error.offset == (
        344 if message.startswith("data_offset") else 68 if "version" in message else offset
    )
    assert type(error) is ContainerError


@pytest.mark.parametrize(
    "header",
    [
        {"disk_size": (1 << 63) - 1},
        {"disk_size": (1 << 63) - 1, "block_count": 1 << 26, "data_offset": 0xFFFFFFFF},
        {"block_count": 1 << 26, "data_offset": 0xFFFFFFFF},
        {"block_size": 1 << 30, "disk_size": 1 << 56},
        {"block_extra": 4096},
        {"data_offset": 0xFFFFFFFF},
        {"blocks_offset": 0xFFFFF000, "data_offset": 0xFFFFFFFF},
        {"blocks_allocated": 0xFFFFFFFF},
        {"header_size": 0xFFFFFFFF},
    ],
)
def test_huge_values_cost_no_memory(header: dict[str, int]) -> None:
    data = make_vdi([A, FREE, ZERO, B], **header)
    tracemalloc.start()
    try:
        disk = vdi(data)
        extents = list(disk.extents())
        for offset in (0, BLOCK, disk.size // 2, disk.size - 1):
            try:
                assert len(disk.pread(offset, 512)) == min(512, disk.size - offset)
            except MissingDataError as error:
                assert error.offset == offset
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert sum(extent.length for extent in extents) == disk.size
    assert len(disk.findings) > 0 or "header_size" in header
    assert peak < 4 << 20


@pytest.mark.parametrize("name", LAYOUTS)
def test_cut_at_every_field(name: str) -> None:
    data = make_vdi([A, FREE, B], layout=LAYOUTS[name])
    headers = vdi(data).headers
    ends = {header.offset + field.offset + field.size for header in headers for field in header.fields()}
    whole = max(ends)
    for end in sorted({0, *ends, *(end - 1 for end in ends), *(end + 1 for end in ends)}):
        if end >= whole:
            disk = open_container(MemorySource(data[:end]), "vdi")
            assert "vdi-map-cut" in [finding.id for finding in disk.findings]
            continue
        with pytest.raises(ContainerError, match="cut short") as caught:
            open_container(MemorySource(data[:end]), "vdi")
        header_start = 0 if end < 72 else 72
        assert caught.value.offset == header_start
        assert caught.value.found in (f"{end - header_start} bytes", "0 bytes")


def test_cut_anywhere_behind_the_header() -> None:
    data = make_vdi([A, FREE, B], stored_order=[2, 0])
    for end in (*range(472, 540), *range(540, len(data), 97), len(data) - 1):
        disk = vdi(data[:end])
        assert disk.findings
        assert sum(extent.length for extent in disk.extents()) == 3 * BLOCK
        for offset, expected in ((0, A), (BLOCK, bytes(BLOCK)), (2 * BLOCK, B)):
            for at in (0, BLOCK - 512):
                try:
                    piece = disk.pread(offset + at, 512)
                except MissingDataError:
                    continue
                assert piece == expected[:512]


@settings(max_examples=300)
@given(data=st.data())
@pytest.mark.slow
def test_any_damage_is_an_error_or_a_finding_but_nothing_else(data: st.DataObject) -> None:
    image = make_vdi([A, FREE, B, ZERO], type=data.draw(st.integers(1, 4)))
    for _ in range(data.draw(st.integers(1, 3))):
        offset = data.draw(st.integers(60, 530))
        image = patch(image, offset, data.draw(st.binary(min_size=1, max_size=8)))
    try:
        disk = open_container(MemorySource(image), "vdi")
        covered = 0
        for extent in disk.extents(0, 64 * BLOCK):
            assert extent.offset == covered
            covered += extent.length
        assert covered == min(disk.size, 64 * BLOCK)
        disk.describe()
        assert len(disk.pread(0, 4 * BLOCK)) == min(disk.size, 4 * BLOCK)
    except B2dError as error:
        assert str(error)


# --- the writer ---

IDENTITY = Identity(CREATE, MODIFY)


def written(writes: list[tuple[int, bytes]], size: int = 10 * BLOCK, **options: object) -> bytes:
    sink = Buffer()
    writer = VdiWriter(sink, size, **{"block_size": BLOCK, "identity": IDENTITY, **options})
    for offset, data in writes:
        writer.pwrite(offset, data)
    writer.flush()
    assert sink.flushed == 1
    return bytes(sink.data)


def test_a_pinned_identity_gives_the_same_bytes() -> None:
    writes = [(5 * BLOCK, A), (7, b"seven")]
    assert written(writes) == written(writes)
    assert written(writes) != written(writes, identity=None)
    assert written(writes, identity=None) != written(writes, identity=None)


def test_the_identity_is_in_the_header() -> None:
    header = vdi(written([], identity=Identity(CREATE, MODIFY, PARENT), comment=b"comment")).header
    assert (header.uuid_create, header.uuid_modify, header.uuid_linkage) == (CREATE, MODIFY, PARENT)
    assert header.comment == b"comment".ljust(256, b"\0")


def test_the_longest_comment() -> None:
    assert vdi(written([], comment=b"c" * 255)).describe()["comment"] == "c" * 255


@pytest.mark.parametrize(("mib", "cylinders"), [(63, 128), (504, 1024), (20000, 1024)])
def test_geometry(mib: int, cylinders: int) -> None:
    header = vdi(written([], mib * MIB, block_size=MIB)).header
    assert (header.lchs_cylinders, header.lchs_heads, header.lchs_sectors) == (cylinders, 16, 63)
    assert header.lchs_sector_size == header.sector_size == 512


def test_blocks_behind_a_long_map_begin_at_a_whole_mib() -> None:
    data = written([(299_999 * BLOCK, A)], 300_000 * BLOCK)
    disk = vdi(data)
    assert disk.locate(299_999 * BLOCK) == 3 * MIB
    assert disk.pread(299_999 * BLOCK, BLOCK) == A
    assert disk.findings == ()


def test_blocks_are_stored_in_the_order_of_writing() -> None:
    data = written([(5 * BLOCK, A), (2 * BLOCK + 10, b"two")])
    assert struct.unpack_from("<10I", data, MIB) == (FREE, FREE, 1, FREE, FREE, 0, *[FREE] * 4)
    assert data[2 * MIB :] == A + b"\0" * 10 + b"two" + bytes(BLOCK - 13)
    disk = vdi(data)
    assert (disk.variant, disk.allocated_size, disk.findings) == ("dynamic", 2 * BLOCK, ())


def test_zeros_allocate_nothing() -> None:
    data = written([(0, bytes(10 * BLOCK))])
    assert len(data) == 2 * MIB
    assert list(vdi(data).extents()) == [Extent(0, 10 * BLOCK, "zero")]


def test_zeros_erase_what_is_stored() -> None:
    disk = vdi(written([(0, A), (100, bytes(100))]))
    assert disk.pread(0, BLOCK) == A[:100] + bytes(100) + A[200:]


def test_the_fixed_variant_stores_everything_in_order() -> None:
    data = written([(5 * BLOCK, A)], variant="fixed")
    assert len(data) == 2 * MIB + 10 * BLOCK
    assert struct.unpack_from("<10I", data, MIB) == tuple(range(10))
    disk = vdi(data)
    assert (disk.variant, disk.allocated_size, disk.findings) == ("fixed", 10 * BLOCK, ())
    assert list(disk.extents()) == [Extent(0, 10 * BLOCK, "data", 2 * MIB)]
    assert disk.pread(5 * BLOCK, BLOCK) == A


@pytest.mark.parametrize(("offset", "length"), [(-1, 1), (10 * BLOCK, 1), (10 * BLOCK - 1, 2), (1 << 40, 1)])
def test_writes_outside_the_disk_are_refused(offset: int, length: int) -> None:
    sink = Buffer()
    writer = VdiWriter(sink, 10 * BLOCK, block_size=BLOCK)
    with pytest.raises(ValueError, match="do not fit on a disk"):
        writer.pwrite(offset, b"x" * length)
    assert not sink.data


@pytest.mark.parametrize(
    ("size", "options", "message"),
    [
        (0, {}, "virtual size"),
        (-512, {}, "virtual size"),
        (513, {}, "virtual size"),
        (512, {"block_size": 2048}, "block size"),
        (512, {"block_size": 5000}, "block size"),
        (512, {"comment": bytes(256)}, "comment"),
        (1 << 40, {"block_size": 4096}, "use larger blocks"),
    ],
)
def test_arguments_that_make_no_vdi(size: int, options: dict[str, object], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        VdiWriter(Buffer(), size, **options)


def test_a_disk_that_is_no_whole_number_of_blocks() -> None:
    disk = vdi(written([(BLOCK, b"x" * 512)], size=BLOCK + 512))
    assert disk.size == BLOCK + 512
    assert disk.findings == ()
    assert disk.pread(0, 2 * BLOCK) == bytes(BLOCK) + b"x" * 512


def test_writing_on_after_a_flush() -> None:
    sink = Buffer()
    writer = VdiWriter(sink, 10 * BLOCK, block_size=BLOCK)
    writer.pwrite(0, A)
    writer.flush()
    writer.pwrite(9 * BLOCK, B)
    writer.flush()
    disk = vdi(bytes(sink.data))
    assert disk.findings == ()
    assert disk.pread(0, 10 * BLOCK) == A + bytes(8 * BLOCK) + B


SIZE = 3 * MIB + 1024
WRITES = st.lists(
    st.tuples(
        st.integers(0, SIZE - 1),
        st.one_of(st.binary(min_size=1, max_size=40), st.just(b"\0" * 5000), st.just(b"long " * 300_000)),
    ),
    max_size=8,
)


def model(writes: list[tuple[int, bytes]]) -> bytes:
    disk = bytearray(SIZE)
    for offset, data in writes:
        disk[offset : offset + len(data)] = data[: SIZE - offset]
    return bytes(disk)


def fitting(writes: list[tuple[int, bytes]]) -> list[tuple[int, bytes]]:
    return [(offset, data[: SIZE - offset]) for offset, data in writes]


@settings(max_examples=40)
@given(
    writes=WRITES,
    block_size=st.sampled_from([4096, 65536, MIB]),
    variant=st.sampled_from(["dynamic", "fixed"]),
)
@pytest.mark.slow
def test_any_writes_are_read_back(writes: list[tuple[int, bytes]], block_size: int, variant: str) -> None:
    disk = vdi(written(fitting(writes), SIZE, block_size=block_size, variant=variant))
    assert disk.findings == ()
    assert disk.pread(0, SIZE) == model(writes)


@needs("qemu-img")
@settings(max_examples=12)
@given(writes=WRITES, variant=st.sampled_from(["dynamic", "fixed"]))
def test_qemu_finds_no_fault_in_our_images(
    tmp_path_factory: pytest.TempPathFactory, writes: list[tuple[int, bytes]], variant: str
) -> None:
    folder = tmp_path_factory.mktemp("qemu")
    (folder / "raw").write_bytes(model(writes))
    with NewFile(folder / "vdi") as file:
        writer = VdiWriter(file, SIZE, variant=variant, identity=IDENTITY)
        for offset, data in fitting(writes):
            writer.pwrite(offset, data)
        writer.flush()
    assert b"No errors were found" in run("qemu-img", "check", "-f", "vdi", folder / "vdi").stdout
    compared = run("qemu-img", "compare", "-f", "raw", "-F", "vdi", folder / "raw", folder / "vdi")
    assert b"Images are identical" in compared.stdout


@needs("qemu-img")
def test_qemu_sees_a_shared_block_too(tmp_path: Path) -> None:
    path = tmp_path / "disk"
    path.write_bytes(make_vdi([b"x" * MIB, 0], blocks_allocated=2))
    assert [finding.id for finding in vdi(path.read_bytes()).findings] == ["vdi-block-shared"]
    with pytest.raises(subprocess.CalledProcessError) as caught:
        run("qemu-img", "check", "-f", "vdi", path)
    assert b"block index 0 also used" in caught.value.stderr
