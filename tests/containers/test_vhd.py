"""VHD: footers and the header, both sizes, bitmaps, parents, faults in the BAT, and the writer."""

from __future__ import annotations

import struct
import subprocess
import time
import tracemalloc
import uuid
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from b2dinspect.containers import open_container
from b2dinspect.containers.vhd import probe
from b2dinspect.containers.vhd.layout import DYNAMIC_HEADER, FOOTER, MAX_SIZE, geometry
from b2dinspect.containers.vhd.reader import VhdContainer
from b2dinspect.containers.vhd.writer import VhdWriter
from b2dinspect.errors import B2dError, ContainerError, MissingDataError
from b2dinspect.evidence.file import open_evidence
from b2dinspect.findings import Finding
from b2dinspect.newfile import NewFile
from b2dinspect.source import ByteSource, Extent, MemorySource
from tests.containers.handmade import (
    FREE,
    VHD_UUID,
    Buffer,
    make_vhd,
    patch,
    sealed,
    vhd_footer,
    vhd_header,
)
from tests.oracles import needs, run

BLOCK = 4096
MIB = 1 << 20
A, B, C = (letter * BLOCK for letter in (b"a", b"b", b"c"))
PARENT = uuid.UUID("01234567-89ab-cdef-0123-456789abcdef")
TABLE = 1536
FIRST = 2048
"""Where a BAT of up to 128 entries and the first block's bitmap are."""


def vhd(data: bytes, parent: ByteSource | None = None) -> VhdContainer:
    disk = VhdContainer(MemorySource(data))
    disk.attach(parent=parent)
    return disk


def ids(disk: VhdContainer) -> list[str]:
    return [finding.id for finding in disk.findings]


def child(blocks: list[bytes | int], **options: object) -> bytes:
    return make_vhd(blocks, type=4, header={"parent_uuid": PARENT, **options.pop("header", {})}, **options)


def fixed(data: bytes, **footer: object) -> bytes:
    fields = {"type": 2, "data_offset": (1 << 64) - 1, "current_size": len(data), **footer}
    return data + vhd_footer(**fields)


# --- recognition, headers, description ---


def test_recognised_at_both_ends() -> None:
    image = make_vhd([A, B])
    assert probe(MemorySource(image)).matched
    assert probe(MemorySource(image[:-512])).matched
    assert probe(MemorySource(b"x" * 512 + image[512:])).matched
    assert probe(MemorySource(fixed(A))).reason == "signature conectix 512 bytes before the end"
    assert probe(MemorySource(fixed(A)[:-1])).reason == "signature conectix 511 bytes before the end"
    assert not probe(MemorySource(A)).matched
    assert not probe(MemorySource(b"")).matched
    assert not probe(MemorySource(b"conectiy" + bytes(504))).matched
    assert open_container(MemorySource(fixed(A))).format == "vhd"
    assert open_container(MemorySource(fixed(A)), "raw").size == BLOCK + 512


def test_fields_are_where_the_specification_has_them() -> None:
    image = make_vhd([A, FREE])
    disk = vhd(image)
    assert [(header.name, header.offset, len(header.data)) for header in disk.headers] == [
        ("VHD footer copy", 0, 512),
        ("VHD dynamic disk header", 512, 1024),
        ("VHD footer", len(image) - 512, 512),
    ]
    footer = {field.name: field for field in disk.headers[0].fields()}
    assert {name: footer[name].offset for name in ("data_offset", "timestamp", "current_size", "cylinders",
        "type", "checksum", "uuid", "saved_state", "reserved")} == {
        "data_offset": 16, "timestamp": 24, "current_size": 48, "cylinders": 56,
        "type": 60, "checksum": 64, "uuid": 68, "saved_state": 84, "reserved": 85,
    }  # fmt: skip
    assert (footer["type"].meaning, footer["features"].meaning) == ("dynamic", "reserved")
    header = {field.name: field for field in disk.headers[1].fields()}
    assert {name: header[name].offset for name in ("table_offset", "table_entries", "block_size", "checksum",
        "parent_uuid", "parent_name", "locator_1.platform", "locator_8.data_offset", "reserved_2")} == {
        "table_offset": 16, "table_entries": 28, "block_size": 32, "checksum": 36,
        "parent_uuid": 40, "parent_name": 64, "locator_1.platform": 576, "locator_8.data_offset": 760,
        "reserved_2": 768,
    }  # fmt: skip
    assert (FOOTER.sizeof(), DYNAMIC_HEADER.sizeof()) == (512, 1024)


def test_description() -> None:
    disk = vhd(make_vhd([A, FREE], timestamp=86400 * 366 + 3661, creator_application=b"vpc ", creator_major=5,
        creator_minor=3, creator_system=b"Mac ", cylinders=1, heads=2, sectors=8))  # fmt: skip
    assert disk.describe() == {
        "creator": "Virtual PC 5.3 on Macintosh",
        "created": "2001-01-01 01:01:01 UTC",
        "current size": "8192 bytes",
        "geometry": "1 * 2 * 8 = 8192 bytes",
        "uuid": str(VHD_UUID),
        "blocks": "2 of 4096 bytes",
    }
    assert (disk.variant, disk.allocated_size, disk.findings) == ("dynamic", BLOCK, ())


def test_an_unknown_creator_and_the_last_second() -> None:
    disk = vhd(fixed(A, creator_application=b"\x1b\xff'\0", timestamp=0xFFFFFFFF))
    assert disk.describe()["creator"] == "\\x1bÿ'\\x00 6.1 on Windows"
    assert disk.describe()["created"] == "2136-02-07 06:28:15 UTC"


def test_a_saved_state_is_told() -> None:
    disk = vhd(make_vhd([A], saved_state=1))
    assert [(finding.id, finding.severity) for finding in disk.findings] == [("vhd-saved-state", "info")]


# --- two sizes ---

SIZES = [
    (b"qemu", "geometry"), (b"qem2", "footer"), (b"vpc ", "geometry"), (b"vs  ", "geometry"),
    (b"win ", "footer"), (b"tap\0", "footer"), (b"tapx", "geometry"), (b"d2v ", "footer"),
    (b"CTXS", "footer"), (b"vbox", "geometry"), (b"xxxx", "geometry"), (bytes(4), "geometry"),
]  # fmt: skip
GEOMETRY = {"cylinders": 302, "heads": 4, "sectors": 17}
CHS_SIZE = 302 * 4 * 17 * 512


def sized(kind: int, **fields: object) -> bytes:
    if kind == 2:
        return fixed(bytes(CHS_SIZE), **fields)
    return make_vhd([FREE] * 6, block_size=2 * MIB, **fields)


@needs("qemu-img")
@pytest.mark.parametrize("kind", [2, 3])
@pytest.mark.parametrize(("creator", "rule"), SIZES)
def test_the_size_that_counts_is_the_one_of_qemu(
    tmp_path: Path, kind: int, creator: bytes, rule: str
) -> None:
    image = sized(kind, creator_application=creator, current_size=9 * MIB + 512, **GEOMETRY)
    disk = vhd(image)
    assert disk.size == {"geometry": CHS_SIZE, "footer": 9 * MIB + 512}[rule]
    assert ids(disk) == (["vhd-two-sizes"] if rule == "geometry" else [])
    assert qemu_size(tmp_path, image) == disk.size


@needs("qemu-img")
@pytest.mark.parametrize(
    ("fields", "size"),
    [
        ({"cylinders": 65535, "heads": 16, "sectors": 255, "current_size": 9 * MIB}, 9 * MIB),
        ({"creator_application": b"win ", "current_size": 9 * MIB + 700}, 9 * MIB + 512),
    ],
)
def test_odd_sizes_are_those_of_qemu(tmp_path: Path, fields: dict[str, object], size: int) -> None:
    image = sized(3, **{"creator_application": b"qemu", **GEOMETRY, **fields})
    assert vhd(image).size == qemu_size(tmp_path, image) == size


def qemu_size(folder: Path, image: bytes) -> int:
    (folder / "image").write_bytes(image)
    text = run("qemu-img", "info", "-f", "vpc", folder / "image").stdout.decode()
    return int(text.split("virtual size:")[1].split("(")[1].split()[0])


def test_no_geometry_leaves_the_footer() -> None:
    disk = vhd(sized(3, creator_application=b"vpc ", current_size=9 * MIB, cylinders=0))
    assert disk.size == 9 * MIB


def test_the_finding_tells_both_sizes() -> None:
    image = sized(2, creator_application=b"vbox", current_size=9 * MIB, **GEOMETRY)
    text = (
        f"the footer says {9 * MIB} bytes, its geometry {CHS_SIZE}; for an image of this creator "
        "the geometry counts, as in qemu"
    )
    assert vhd(image).findings == (Finding("vhd-two-sizes", "info", text, CHS_SIZE + 48, "file"),)


# --- footers ---


def test_a_damaged_footer_at_the_end() -> None:
    image = make_vhd([A, B])
    at = len(image) - 512
    disk = vhd(patch(image, at + 100, b"\x01"))
    right = struct.unpack_from(">I", image, 64)[0]
    text = (
        f"the footer at the end has a wrong checksum (expected {right - 1:#x}, found {right:#x}); "
        "the other one is used"
    )
    assert disk.findings == (Finding("vhd-footer-damaged", "error", text, at, "file"),)
    assert disk.pread(0, 2 * BLOCK) == A + B
    assert disk.footer.header.offset == 0


def test_a_footer_that_is_not_there() -> None:
    image = make_vhd([A, B])
    cut = vhd(image[:-512] + bytes(512))
    fault = "is not there (expected conectix, found 0000000000000000)"
    text = f"the footer at the end {fault}; the other one is used"
    assert cut.findings == (Finding("vhd-footer-damaged", "error", text, len(image) - 512, "file"),)
    assert cut.pread(0, 2 * BLOCK) == A + B
    assert [header.offset for header in cut.headers] == [0, 512]


@pytest.mark.parametrize("damage", [b"\x01", b"\xff"])
def test_a_damaged_copy(damage: bytes) -> None:
    disk = vhd(patch(make_vhd([A, B]), 40, damage))
    assert [(finding.id, finding.offset) for finding in disk.findings] == [("vhd-footer-copy-damaged", 0)]
    assert "wrong checksum" in disk.findings[0].message
    assert disk.pread(0, 2 * BLOCK) == A + B
    gone = vhd(patch(make_vhd([A, B]), 0, bytes(8)))
    assert "is not there (expected conectix" in gone.findings[0].message
    assert gone.pread(0, 2 * BLOCK) == A + B


def test_both_footers_with_wrong_checksums_are_read_all_the_same() -> None:
    disk = vhd(make_vhd([A, B], checksum=7))
    assert ids(disk) == ["vhd-footer-damaged", "vhd-footer-copy-damaged"]
    assert "found 0x7); read all the same" in disk.findings[0].message
    assert disk.pread(0, 2 * BLOCK) == A + B


def test_footers_that_differ() -> None:
    image = make_vhd([A, B])
    disk = vhd(vhd_footer(current_size=BLOCK) + image[512:])
    assert [(finding.id, finding.offset) for finding in disk.findings] == [
        ("vhd-footers-differ", len(image) - 512)
    ]
    assert disk.size == 2 * BLOCK


def test_a_damaged_footer_of_a_fixed_disk() -> None:
    disk = vhd(fixed(A + B, checksum=7))
    assert ids(disk) == ["vhd-footer-damaged"]
    assert "read all the same" in disk.findings[0].message
    assert disk.pread(0, 2 * BLOCK) == A + B


def test_a_fixed_disk_may_begin_with_anything() -> None:
    inner = make_vhd([A])
    disk = vhd(fixed(inner))
    assert disk.variant == "fixed"
    assert disk.findings == ()
    assert disk.pread(0, len(inner)) == inner


def test_an_old_footer_of_511_bytes() -> None:
    disk = vhd(fixed(A + B)[:-1])
    assert disk.findings == ()
    assert (disk.size, disk.headers[0].offset, len(disk.headers[0].data)) == (2 * BLOCK, 2 * BLOCK, 511)
    assert disk.pread(0, 3 * BLOCK) == A + B
    dynamic = vhd(make_vhd([A, B])[:-1])
    assert dynamic.findings == ()
    assert dynamic.headers[-1].offset == len(make_vhd([A, B])) - 512


# --- fixed ---


def test_a_fixed_disk_cut_short() -> None:
    disk = vhd(fixed(A, current_size=3 * BLOCK))
    text = f"the file holds {BLOCK} bytes of a disk of {3 * BLOCK}: the rest is missing"
    assert disk.findings == (Finding("vhd-fixed-cut", "error", text, BLOCK, "file"),)
    assert list(disk.extents()) == [
        Extent(0, BLOCK, "data", 0),
        Extent(BLOCK, 2 * BLOCK, "missing"),
    ]
    assert disk.pread(0, BLOCK) == A
    with pytest.raises(MissingDataError, match="past the end of the file") as caught:
        disk.pread(BLOCK - 1, 2)
    assert caught.value.offset == BLOCK
    assert disk.allocated_size == BLOCK


def test_a_fixed_disk_smaller_than_its_file() -> None:
    disk = vhd(fixed(A + B, current_size=BLOCK))
    assert disk.pread(0, 2 * BLOCK) == A


@needs("qemu-img")
def test_holes_of_a_fixed_disk(tmp_path: Path) -> None:
    path = tmp_path / "disk"
    with NewFile(path) as file:
        writer = VhdWriter(file, 8 * MIB, variant="fixed")
        writer.pwrite(4 * MIB, A)
        writer.flush()
    file = open_evidence(str(path))
    disk = VhdContainer(file)
    if path.stat().st_blocks * 512 >= 8 * MIB:
        pytest.skip("this file system stores no holes")
    assert [extent.kind for extent in disk.extents()] == ["zero", "data", "zero"]
    assert disk.locate(4 * MIB) == 4 * MIB
    file.close()


# --- bitmaps ---


def bits(text: str) -> bytes:
    return bytes([int(text, 2)])


def test_clear_bits_of_a_dynamic_disk_are_zeros() -> None:
    block = b"".join(bytes([65 + number]) * 512 for number in range(8))
    disk = vhd(make_vhd([A, block], bitmaps={1: bits("01100001")}))
    at = FIRST + 512 + BLOCK + 512
    assert list(disk.extents(BLOCK)) == [
        Extent(BLOCK, 512, "zero"),
        Extent(BLOCK + 512, 1024, "data", at + 512),
        Extent(BLOCK + 1536, 2048, "zero"),
        Extent(BLOCK + 3584, 512, "data", at + 3584),
    ]
    expected = bytes(512) + block[512:1536] + bytes(2048) + block[3584:]
    assert disk.pread(BLOCK, BLOCK) == expected
    for offset in range(0, BLOCK, 100):
        assert disk.pread(BLOCK + offset, 700) == expected[offset : offset + 700]
    text = (
        "sectors of block 1 hold data, but its sector bitmap says they were never written: "
        "shown as zeros, as never written; qemu shows the data"
    )
    assert disk.findings == (Finding("vhd-bitmap-hides", "warning", text, at, "file"),)


@needs("qemu-img")
def test_qemu_ignores_the_bitmap(tmp_path: Path) -> None:
    (tmp_path / "image").write_bytes(make_vhd([A, B], bitmaps={1: bits("00000000")}))
    run("qemu-img", "convert", "-f", "vpc", "-O", "raw", tmp_path / "image", tmp_path / "raw")
    assert (tmp_path / "raw").read_bytes() == A + B
    assert vhd((tmp_path / "image").read_bytes()).pread(0, 2 * BLOCK) == A + bytes(BLOCK)


def test_clear_bits_over_zeros_are_no_finding() -> None:
    disk = vhd(make_vhd([b"x" * 512 + bytes(BLOCK - 512)], bitmaps={0: bits("10000000")}))
    assert disk.findings == ()
    assert [extent.kind for extent in disk.extents()] == ["data", "zero"]


def test_a_bitmap_of_more_than_one_sector() -> None:
    size = 4 * MIB
    block = struct.pack(f">{size // 8}Q", *range(1, size // 8 + 1))
    bitmap = b"\xf0" * 1024
    disk = vhd(make_vhd([block, block], bitmaps={1: bitmap}))
    assert disk.locate(0) == FIRST + 1024
    for at in (0, 511 * 4096, 1023 * 4096):
        assert disk.pread(size + at, 4096) == block[at : at + 2048] + bytes(2048)
    assert sum(extent.length for extent in disk.extents(size) if extent.kind == "data") == size // 2


# --- differencing ---


def test_a_child_without_its_parent() -> None:
    disk = vhd(child([FREE, A, B, FREE], bitmaps={2: bits("11110000")}))
    at = FIRST + 512
    assert list(disk.extents()) == [
        Extent(0, BLOCK, "missing"),
        Extent(BLOCK, BLOCK, "data", at),
        Extent(2 * BLOCK, 2048, "data", at + BLOCK + 512),
        Extent(2 * BLOCK + 2048, BLOCK + 2048, "missing"),
    ]
    assert disk.pread(BLOCK, BLOCK + 2048) == A + B[:2048]
    for offset, length, where in ((0, 1, 0), (BLOCK, 2 * BLOCK, 2 * BLOCK + 2048), (BLOCK - 1, 2, BLOCK - 1)):
        with pytest.raises(MissingDataError, match="in the parent image, which was not given") as caught:
            disk.pread(offset, length)
        assert caught.value.offset == where
    text = f"this differencing image holds only changes; the rest is in the parent {PARENT}"
    assert disk.findings == (Finding("vhd-parent-missing", "warning", text, None, "file"),)
    assert (disk.variant, disk.describe()["parent uuid"]) == ("differencing", str(PARENT))


def test_a_child_with_its_parent() -> None:
    parent = vhd(make_vhd([C, FREE, C, b"p" * BLOCK], uuid=PARENT))
    disk = vhd(child([FREE, A, B, FREE], bitmaps={2: bits("11110000")}), parent)
    assert disk.findings == ()
    assert disk.pread(0, 4 * BLOCK) == C + A + B[:2048] + C[2048:] + b"p" * BLOCK
    assert [(extent.offset, extent.kind) for extent in disk.extents() if extent.file_offset is None] == [
        (0, "data"),
        (2 * BLOCK + 2048, "data"),
        (3 * BLOCK, "data"),
    ]
    assert disk.locate(0) is None


def test_a_parent_that_is_smaller_or_itself_a_child() -> None:
    disk = vhd(child([FREE, FREE, A]), MemorySource(C[:1000]))
    assert disk.pread(0, 3 * BLOCK) == C[:1000] + bytes(2 * BLOCK - 1000) + A
    assert list(disk.extents()) == [
        Extent(0, 1000, "data"),
        Extent(1000, 2 * BLOCK - 1000, "zero"),
        Extent(2 * BLOCK, BLOCK, "data", FIRST + 512),
    ]
    grandchild = vhd(child([FREE, A]), vhd(child([FREE, B])))
    assert [extent.kind for extent in grandchild.extents()] == ["missing", "data"]
    with pytest.raises(MissingDataError):
        grandchild.pread(0, 1)


def test_another_parent_is_told() -> None:
    disk = vhd(child([FREE, B]), vhd(make_vhd([A, A])))
    text = f"the parent given is another image (expected {PARENT}, found {VHD_UUID})"
    assert disk.findings == (Finding("vhd-parent-mismatch", "error", text, None, "file"),)


def test_a_parent_of_a_dynamic_disk_is_not_asked() -> None:
    assert vhd(make_vhd([FREE, A]), MemorySource(C * 2)).pread(0, BLOCK) == bytes(BLOCK)


def test_names_of_the_parent() -> None:
    absolute, relative = "C:\\Grüße\\disk.vhd".encode("utf-16-le"), ".\\disk.vhd".encode("utf-16-le")
    url = b"file:///disk.vhd"
    names = b"".join(name.ljust(512, b"\0") for name in (absolute, relative, url))
    locators = [
        (b"W2ku", len(absolute), FIRST),
        (b"W2ru", len(relative), FIRST + 512),
        (b"MacX", len(url), FIRST + 1024),
        (b"Wi2k", 100, 1 << 63),
    ]
    header = {"parent_name": "disk.vhd".encode("utf-16-be").ljust(512, b"\0"), "locators": locators}
    disk = vhd(child([A, FREE], behind_table=names, header=header))
    assert disk.parent_name == "disk.vhd"
    assert [(locator.platform, locator.name) for locator in disk.parent_locators] == [
        (b"W2ku", "C:\\Grüße\\disk.vhd"),
        (b"W2ru", ".\\disk.vhd"),
        (b"MacX", "file:///disk.vhd"),
        (b"Wi2k", ""),
    ]
    assert disk.parent_locators[0].data == absolute
    assert disk.parent_locators[1].offset == FIRST + 512
    assert ids(disk) == ["vhd-parent-missing", "vhd-locator-outside"]
    assert disk.findings[1].message == "the parent's locator_4 (Wi2k) points past the end of the file"
    assert disk.describe()["parent W2ru"] == ".\\disk.vhd"
    assert disk.describe()["parent name"] == "disk.vhd"


def test_a_name_inside_the_image_is_never_opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "parent.vhd").write_bytes(fixed(A))
    monkeypatch.chdir(tmp_path)
    name = b"file:parent.vhd"
    header = {
        "parent_name": "parent.vhd".encode("utf-16-be").ljust(512, b"\0"),
        "locators": [(b"MacX", len(name), FIRST)],
    }
    disk = vhd(child([FREE, B], behind_table=name, header=header))
    with pytest.raises(MissingDataError):
        disk.pread(0, 1)


# --- faults in the BAT ---


@pytest.mark.parametrize(("sector", "first"), [(0, 0), (1, 0), (3, 0), (4, 0), (5, 1), (12, 1), (23, 1)])
def test_blocks_on_top_of_something(sector: int, first: int) -> None:
    disk = vhd(make_vhd([A, sector, B, C]))  # the blocks begin at sectors 4, 13 and 22, the footer at 31
    assert ids(disk)[0] == "vhd-block-overlap"  # what stands for its bitmap may be a finding too
    assert disk.findings[0].message.startswith(f"block {first} of the BAT lies on another block, a header or")
    assert disk.findings[0].offset == TABLE + 4 * first
    assert disk.pread(0, BLOCK) == A


def test_a_block_used_twice_and_more() -> None:
    disk = vhd(make_vhd([FREE, A, 4, B, 14, C]))
    text = "block 1 of the BAT lies on another block, a header or the BAT (3 more like it)"
    assert disk.findings[0] == Finding("vhd-block-overlap", "error", text, TABLE + 4, "file")
    assert disk.pread(BLOCK, 2 * BLOCK) == A + A


@pytest.mark.parametrize("entry", [23, 1000, 0x7FFFFFFF, 0xFFFFFFFE])
def test_entries_outside_the_file(entry: int) -> None:
    disk = vhd(make_vhd([A, entry, B]))
    text = "block 1 of the BAT points past the end of the file: its content is missing"
    assert disk.findings == (Finding("vhd-block-outside", "error", text, TABLE + 4, "file"),)
    assert [extent.kind for extent in disk.extents()] == ["data", "missing", "data"]
    with pytest.raises(MissingDataError, match="past the end of the file") as caught:
        disk.pread(0, 3 * BLOCK)
    assert caught.value.offset == BLOCK
    assert disk.pread(2 * BLOCK, BLOCK) == B


def test_the_last_block_need_not_be_stored_whole() -> None:
    image = make_vhd([A, B], current_size=BLOCK + 512)
    cut = image[: -512 - BLOCK + 512] + image[-512:]
    assert vhd(cut).findings == ()
    assert vhd(cut).pread(0, 3 * BLOCK) == A + B[:512]


@pytest.mark.parametrize("block", [0, 63, 64, 100, 16383, 16384, 20000, 39999])
def test_a_fault_anywhere_in_a_long_bat(block: int) -> None:
    blocks: list[bytes | int] = [FREE] * 40000
    blocks[block] = 0xFFFFFF
    disk = vhd(make_vhd(blocks, block_size=512))
    assert [(finding.id, finding.offset) for finding in disk.findings] == [
        ("vhd-block-outside", TABLE + 4 * block)
    ]
    assert [extent for extent in disk.extents() if extent.kind != "zero"] == [
        Extent(block * 512, 512, "missing")
    ]


def test_a_file_cut_inside_a_block() -> None:
    image = make_vhd([B, A], stored_order=[1, 0])[:-1512]
    disk = vhd(image)
    assert ids(disk) == ["vhd-footer-damaged", "vhd-block-outside"]
    assert [(extent.length, extent.kind) for extent in disk.extents()] == [
        (BLOCK - 1000, "data"),
        (1000, "missing"),
        (BLOCK, "data"),
    ]
    assert disk.pread(0, BLOCK - 1000) == B[1000:]
    with pytest.raises(MissingDataError, match="past the end of the file") as caught:
        disk.pread(0, BLOCK)
    assert caught.value.offset == BLOCK - 1000


@pytest.mark.parametrize("held", [0, 1, 2])
def test_a_bat_cut_short(held: int) -> None:
    size = TABLE + 4 * held + 3
    disk = vhd(make_vhd([FREE, FREE, FREE], block_size=BLOCK)[:size])
    text = f"the file ends inside the BAT: {held} of 3 entries are there"
    assert Finding("vhd-bat-cut", "error", text, size, "file") in disk.findings
    assert disk.size == 3 * BLOCK
    with pytest.raises(MissingDataError, match="no entry for this block") as caught:
        disk.pread(held * BLOCK, BLOCK)
    assert caught.value.offset == held * BLOCK


def test_a_bat_with_too_few_entries() -> None:
    disk = vhd(make_vhd([A, FREE], current_size=5 * BLOCK))
    text = f"the BAT has room for {2 * BLOCK} bytes of {5 * BLOCK}"
    assert disk.findings == (Finding("vhd-bat-short", "error", text, 512 + 28, "file"),)
    assert list(disk.extents(BLOCK)) == [
        Extent(BLOCK, BLOCK, "zero"),
        Extent(2 * BLOCK, 3 * BLOCK, "missing"),
    ]


def test_a_bat_with_more_entries_than_the_disk() -> None:
    disk = vhd(make_vhd([A, B, 0xFFFFFF], current_size=2 * BLOCK))
    assert disk.findings == ()
    assert disk.pread(0, 5 * BLOCK) == A + B


def test_a_bat_on_the_header() -> None:
    disk = vhd(make_vhd([A, B], header={"table_offset": 1024}))
    assert "vhd-bat-overlap" in ids(disk)


def test_a_wrong_header_checksum() -> None:
    image = patch(make_vhd([A, B]), 512 + 800, b"\x05")
    right = struct.unpack_from(">I", image, 548)[0]
    text = f"the dynamic disk header has a wrong checksum (expected {right - 5:#x}, found {right:#x}); "
    found = Finding("vhd-header-checksum", "error", text + "read all the same", 548, "file")
    assert vhd(image).findings == (found,)


# --- one fault in footer or header ---

CORRUPTIONS = [
    (60, "I", 0, "type makes no sense", "2 to 4", 0),
    (60, "I", 1, "type makes no sense", "2 to 4", 1),
    (60, "I", 5, "type makes no sense", "2 to 4", 5),
    (60, "I", 0xFFFFFFFF, "type makes no sense", "2 to 4", 0xFFFFFFFF),
    (48, "Q", 0, "current_size makes no sense", "512 to 2^63 - 1 bytes", 0),
    (48, "Q", 511, "current_size makes no sense", "512 to 2^63 - 1 bytes", 511),
    (48, "Q", 1 << 63, "current_size makes no sense", "512 to 2^63 - 1 bytes", 1 << 63),
    (16, "Q", 1 << 40, "cut short", "1024 bytes", "0 bytes"),
    (16, "Q", (1 << 64) - 1, "cut short", "1024 bytes", "0 bytes"),
    (16, "Q", 0, "cookie makes no sense", b"cxsparse".hex(), b"conectix".hex()),
    (512, "Q", 0, "cookie makes no sense", b"cxsparse".hex(), "0" * 16),
    (540, "I", 0, "table_entries makes no sense", "1 to 67108864", 0),
    (540, "I", 0xFFFFFFFF, "table_entries makes no sense", "1 to 67108864", 0xFFFFFFFF),
    (544, "I", 0, "block_size makes no sense", "a power of two, >= 512", 0),
    (544, "I", 256, "block_size makes no sense", "a power of two, >= 512", 256),
    (544, "I", 3 << 20, "block_size makes no sense", "a power of two, >= 512", 3 << 20),
    (544, "I", 0xFFFFFE00, "block_size makes no sense", "a power of two, >= 512", 0xFFFFFE00),
]


@pytest.mark.parametrize(("offset", "kind", "value", "message", "expected", "found"), CORRUPTIONS)
def test_one_bad_field(
    offset: int, kind: str, value: int, message: str, expected: object, found: object
) -> None:
    image = patch(make_vhd([A, B]), offset, struct.pack(f">{kind}", value))
    if offset < 512:
        foot = sealed(image[:512], 64)
        image = foot + image[512:-512] + foot
    with pytest.raises(ContainerError) as caught:
        open_container(MemorySource(image))
    error = caught.value
    assert (error.message, error.expected, error.found) == (message, expected, found)
    place = {16: value if message == "cut short" else 0}
    expected_offset = place.get(offset, offset + (len(image) - 512 if offset < 512 else 0))
    assert error.offset == expected_offset
    assert type(error) is ContainerError


@pytest.mark.parametrize("size", [0, 1, 7, 511, 512, 1000])
def test_no_footer(size: int) -> None:
    with pytest.raises(ContainerError, match="no footer at the end, and no copy of it at byte 0") as caught:
        open_container(MemorySource(bytes(size)), "vhd")
    assert caught.value.offset == max(0, size - 512)


def test_a_fixed_disk_has_no_copy() -> None:
    with pytest.raises(ContainerError, match="type makes no sense") as caught:
        vhd(vhd_footer(type=2) + bytes(2048))
    assert caught.value.expected == "3 or 4 in a copy at byte 0"


@pytest.mark.parametrize(
    ("footer", "header"),
    [
        ({"current_size": (1 << 63) - 1}, {}),
        ({"current_size": (1 << 63) - 1}, {"table_entries": 1 << 26}),
        ({"current_size": (1 << 63) - 1}, {"table_entries": 1 << 26, "block_size": 1 << 31}),
        ({}, {"table_offset": (1 << 64) - 1}),
        ({}, {"table_offset": 0, "table_entries": 1 << 26}),
        ({"current_size": 1 << 40}, {"block_size": 512}),
        ({"type": 4, "current_size": 1 << 50}, {"locators": [(b"W2ku", 0xFFFFFFFF, 100)] * 8}),
        ({"type": 4}, {"locators": [(b"W2ku", 100, (1 << 64) - 1)] * 8, "block_size": 1 << 31}),
    ],
)
def test_huge_values_cost_no_memory(footer: dict[str, int], header: dict[str, object]) -> None:
    image = make_vhd([A, FREE, B, FREE], header=header, **footer)
    tracemalloc.start()
    try:
        disk = vhd(image)
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
    assert disk.findings
    assert peak < 12 << 20


class Endless(ByteSource):
    """A file of 2^42 bytes: a sound start, then the same byte over and over."""

    size = 1 << 42

    def __init__(self, start: bytes, filler: bytes) -> None:
        self._start = start
        self._filler = filler

    def _pread(self, offset: int, length: int) -> bytes:
        return (self._start[offset:] + self._filler * length)[:length]

    def extents(self, offset: int = 0, length: int | None = None) -> object:  # type: ignore[override]
        raise NotImplementedError


@pytest.mark.parametrize("filler", [b"\0", b"\xff", b"\x01", b"\x7f"])
@pytest.mark.slow
@pytest.mark.no_cover
def test_a_huge_file_with_a_huge_bat_is_no_hang(filler: bytes) -> None:
    start = vhd_footer(current_size=1 << 40) + vhd_header(1 << 26, 16384)
    begin = time.process_time()
    tracemalloc.start()
    disk = VhdContainer(Endless(start, filler))
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert disk.findings
    assert time.process_time() - begin < 30  # 2 without tracemalloc
    assert peak < 200 << 20


def test_a_large_sparse_disk_opens_fast() -> None:
    sink = Buffer()
    writer = VhdWriter(sink, MAX_SIZE)
    writer.pwrite(1 << 40, A)
    writer.flush()
    source = MemorySource(bytes(sink.data))
    times = []
    for _ in range(3):
        start = time.process_time()
        disk = VhdContainer(source)
        times.append(time.process_time() - start)
    assert disk.findings == ()
    assert min(times) < 0.2  # some 5 ms
    assert [extent.kind for extent in disk.extents()] == ["zero", "data", "zero"]
    assert disk.pread(1 << 40, BLOCK) == A


@settings(max_examples=300)
@given(data=st.data())
@pytest.mark.slow
def test_any_damage_is_an_error_or_a_finding_but_nothing_else(data: st.DataObject) -> None:
    image = make_vhd([A, FREE, B], type=data.draw(st.integers(2, 5)), bitmaps={2: b"\xaa"})
    reseal = data.draw(st.booleans())
    for _ in range(data.draw(st.integers(1, 3))):
        offset = data.draw(st.one_of(st.integers(0, 560), st.integers(1536, 1560), st.integers(1088, 1300)))
        image = patch(image, offset, data.draw(st.binary(min_size=1, max_size=8)))
    if reseal:
        foot = sealed(image[:512], 64)
        image = foot + sealed(image[512:1536], 36) + image[1536:-512] + foot
    image = image[: data.draw(st.one_of(st.just(len(image)), st.integers(0, len(image))))]
    read_anything(image, data.draw(st.sampled_from([None, A, A * 9])))


@settings(max_examples=200)
@given(image=st.binary(max_size=3000), at=st.sampled_from(["start", "end", "none"]))
def test_any_bytes_are_an_error_or_a_disk(image: bytes, at: str) -> None:
    start = b"conectix" if at == "start" else b""
    read_anything(start + image + (b"conectix" + image[:504].ljust(504) if at == "end" else b""), None)


def read_anything(image: bytes, parent: bytes | None) -> None:
    try:
        disk = vhd(image, None if parent is None else MemorySource(parent))
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

PINNED = {"identity": VHD_UUID, "timestamp": 800_000_000}


def written(writes: list[tuple[int, bytes]], size: int = 10 * MIB, **options: object) -> bytes:
    sink = Buffer()
    writer = VhdWriter(sink, size, **{**PINNED, **options})
    for offset, data in writes:
        writer.pwrite(offset, data)
    writer.flush()
    assert sink.flushed == 1
    return bytes(sink.data)


def test_pinned_arguments_give_the_same_bytes() -> None:
    writes = [(5 * MIB, A), (7, b"seven")]
    assert written(writes) == written(writes)
    assert written(writes) != written(writes, identity=None)
    assert written(writes) != written(writes, timestamp=None)


def test_the_footer_of_the_writer() -> None:
    disk = vhd(written([]))
    values = disk.footer.values
    assert (values.uuid, values.timestamp, values.current_size) == (VHD_UUID, 800_000_000, 10 * MIB)
    assert (values.creator_application, values.features, values.data_offset) == (b"win ", 2, 512)
    assert disk.findings == ()
    assert vhd(written([], variant="fixed")).footer.values.data_offset == (1 << 64) - 1
    assert abs(vhd(written([], timestamp=None)).footer.values.timestamp + 946684800 - time.time()) < 60


@pytest.mark.parametrize(
    ("sectors", "expected"),
    [
        (20480, (301, 4, 17)),  # 10 MiB
        (1024 * 16 * 17 - 1, (1023, 16, 17)),
        (1024 * 16 * 17, (561, 16, 31)),
        (1024 * 16 * 63, (1024, 16, 63)),
        (20000 * 2048, (40634, 16, 63)),
        (65535 * 16 * 63, (16191, 16, 255)),
        (MAX_SIZE // 512, (65535, 16, 255)),
    ],
)
def test_geometry(sectors: int, expected: tuple[int, int, int]) -> None:
    assert geometry(sectors) == expected


@needs("qemu-img")
@pytest.mark.parametrize("mib", [1, 10, 137, 260, 505, 4000, 32256, 130_000, 1_000_000])
def test_the_geometry_is_the_one_of_qemu(tmp_path: Path, mib: int) -> None:
    run("qemu-img", "create", "-q", "-f", "vpc", tmp_path / "vhd", f"{mib}M")
    disk = vhd((tmp_path / "vhd").read_bytes())
    values = disk.footer.values
    assert geometry(disk.size // 512) == (values.cylinders, values.heads, values.sectors)


def test_blocks_are_stored_in_the_order_of_writing() -> None:
    image = written([(5 * MIB, A), (2 * MIB + 10, b"two")])
    step = (512 + 2 * MIB) // 512
    assert struct.unpack_from(">5I", image, TABLE) == (FREE, 4 + step, 4, FREE, FREE)
    assert image[FIRST : FIRST + 512] == b"\xff" * 512
    assert len(image) == FIRST + 2 * (512 + 2 * MIB) + 512
    disk = vhd(image)
    assert (disk.variant, disk.allocated_size, disk.findings) == ("dynamic", 4 * MIB, ())


def test_zeros_allocate_nothing() -> None:
    for variant in ("dynamic", "fixed"):
        sink = Buffer()
        writer = VhdWriter(sink, 10 * MIB, variant=variant)
        writer.pwrite(0, bytes(10 * MIB))
        assert not sink.data
        assert writer.pread(0, 11 * MIB) == bytes(10 * MIB)
    assert len(written([(0, bytes(10 * MIB))])) == 2560


def test_zeros_erase_what_is_stored() -> None:
    for variant in ("dynamic", "fixed"):
        disk = vhd(written([(0, A), (100, bytes(100)), (BLOCK - 10, bytes(100))], variant=variant))
        assert disk.pread(0, BLOCK) == A[:100] + bytes(100) + A[200:-10] + bytes(10)


@pytest.mark.parametrize(("offset", "length"), [(-1, 1), (10 * MIB, 1), (10 * MIB - 1, 2), (1 << 45, 1)])
def test_writes_outside_the_disk_are_refused(offset: int, length: int) -> None:
    sink = Buffer()
    with pytest.raises(ValueError, match="do not fit on a disk"):
        VhdWriter(sink, 10 * MIB).pwrite(offset, b"x" * length)
    assert not sink.data


@pytest.mark.parametrize("size", [0, -512, 513, MAX_SIZE + 512])
def test_sizes_that_make_no_vhd(size: int) -> None:
    with pytest.raises(ValueError, match="virtual size"):
        VhdWriter(Buffer(), size)


@pytest.mark.parametrize("variant", ["dynamic", "fixed"])
def test_locate_and_pread_of_the_writer(variant: str) -> None:
    sink = Buffer()
    writer = VhdWriter(sink, 10 * MIB, variant=variant)
    writer.pwrite(2 * MIB - 3, b"across")
    for flushed in (False, True):
        if flushed:
            writer.flush()
        assert writer.pread(2 * MIB - 5, 10) == b"\0\0across\0\0"
        assert writer.pread(10 * MIB - 5, 10) == bytes(5)
        place = writer.locate(2 * MIB)
        assert place is not None
        assert sink.data[place : place + 3] == b"oss"
        assert (writer.locate(5 * MIB) is None) == (variant == "dynamic")
        assert writer.locate(-1) is None
        assert writer.locate(10 * MIB) is None


@pytest.mark.parametrize("variant", ["dynamic", "fixed"])
def test_writing_on_after_a_flush(variant: str) -> None:
    sink = Buffer()
    writer = VhdWriter(sink, 10 * MIB, variant=variant)
    writer.pwrite(0, A)
    writer.flush()
    writer.pwrite(9 * MIB, B)
    writer.flush()
    disk = vhd(bytes(sink.data))
    assert disk.findings == ()
    assert disk.pread(0, 10 * MIB) == A + bytes(9 * MIB - BLOCK) + B + bytes(MIB - BLOCK)


# --- growing ---


@needs("qemu-img")
@pytest.mark.parametrize("flushed", [False, True])
@pytest.mark.parametrize("variant", ["dynamic", "fixed"])
def test_growing_as_docker_machine_does(tmp_path: Path, variant: str, flushed: bool) -> None:
    size, large = 10 * MIB, (20000 if variant == "dynamic" else 30) * MIB
    with NewFile(tmp_path / "vhd") as file:
        writer = VhdWriter(file, size, variant=variant, **PINNED)
        writer.pwrite(0, A)
        writer.pwrite(size - 3, b"end")
        if flushed:
            writer.flush()
        writer.resize(large)
        assert (writer.size, writer.pread(size - 3, 600)) == (large, b"end" + bytes(597))
        writer.pwrite(large - 3, b"END")
        writer.flush()
        assert writer.pread(0, BLOCK) == A
    with (tmp_path / "raw").open("wb") as stream:
        stream.write(A)
        stream.seek(size - 3)
        stream.write(b"end")
        stream.seek(large - 3)
        stream.write(b"END")
    compared = run("qemu-img", "compare", "-f", "raw", "-F", "vpc", tmp_path / "raw", tmp_path / "vhd")
    assert b"Images are identical" in compared.stdout
    file = open_evidence(str(tmp_path / "vhd"))
    disk = VhdContainer(file)
    assert disk.findings == ()
    assert (disk.size, disk.footer.values.original_size) == (large, size)
    assert disk.pread(size - 3, 600) == b"end" + bytes(597)
    file.close()


def test_a_moved_block_leaves_nothing_behind() -> None:
    sink = Buffer()
    writer = VhdWriter(sink, 10 * MIB)
    writer.pwrite(0, A)
    writer.pwrite(4 * MIB, B)
    second = writer.locate(4 * MIB)
    writer.resize(20000 * MIB)
    assert writer.locate(4 * MIB) == second
    writer.flush()
    assert bytes(sink.data).count(A) == 1
    assert writer.locate(0) == second + 2 * MIB + 512
    assert vhd(bytes(sink.data)).findings == ()


def test_a_table_longer_than_all_blocks() -> None:
    sink = Buffer()
    writer = VhdWriter(sink, 4 * MIB)
    writer.pwrite(0, A + B)
    writer.flush()
    writer.resize(MAX_SIZE)
    writer.flush()
    assert writer.locate(0) == 1536 + 1044480 * 4 + 512  # a BAT of 1044480 entries from 1536 on
    disk = vhd(bytes(sink.data))
    assert disk.findings == ()
    assert disk.pread(0, 4 * MIB) == A + B + bytes(4 * MIB - 2 * BLOCK)


@pytest.mark.parametrize("size", [MIB, 10 * MIB + 1, MAX_SIZE + 512])
def test_sizes_that_are_no_growth(size: int) -> None:
    with pytest.raises(ValueError, match=r"size|shrink"):
        VhdWriter(Buffer(), 10 * MIB).resize(size)


SIZE = 7 * MIB + 1536
STEPS = st.lists(
    st.tuples(
        st.sampled_from(["write", "write", "write", "flush", "grow"]),
        st.integers(0, SIZE - 1),
        st.one_of(st.binary(min_size=1, max_size=40), st.just(b"\0" * 5000), st.just(b"long " * 500_000)),
    ),
    max_size=9,
)


def play(steps: list[tuple[str, int, bytes]], writer: VhdWriter) -> bytes:
    """Do the steps, comparing with a model of the disk, which is returned."""
    disk = bytearray(writer.size)
    for step, offset, data in steps:
        if step == "flush":
            writer.flush()
        elif step == "grow":
            size = max(writer.size, offset // 512 * 512 * 300 % (4 << 30))
            writer.resize(min(size, 40 * MIB) if writer.size < 40 * MIB else writer.size)
            disk.extend(bytes(writer.size - len(disk)))
        else:
            disk[offset : offset + len(data)] = data[: len(disk) - offset]
            writer.pwrite(offset, data[: writer.size - offset])
    assert writer.pread(0, len(disk) + 5) == disk
    writer.flush()
    assert writer.pread(0, len(disk) + 5) == disk
    return bytes(disk)


@settings(max_examples=40, deadline=None)
@given(steps=STEPS, variant=st.sampled_from(["dynamic", "fixed"]))
@pytest.mark.slow
def test_any_writes_are_read_back(steps: list[tuple[str, int, bytes]], variant: str) -> None:
    sink = Buffer()
    model = play(steps, VhdWriter(sink, SIZE, variant=variant))
    disk = vhd(bytes(sink.data))
    assert disk.findings == ()
    assert disk.pread(0, len(model)) == model


@needs("qemu-img")
@settings(max_examples=12, deadline=None)
@given(steps=STEPS, variant=st.sampled_from(["dynamic", "fixed"]))
@pytest.mark.slow
def test_qemu_finds_the_same_in_our_images(
    tmp_path_factory: pytest.TempPathFactory, steps: list[tuple[str, int, bytes]], variant: str
) -> None:
    folder = tmp_path_factory.mktemp("qemu")
    with NewFile(folder / "vhd") as file:
        model = play(steps, VhdWriter(file, SIZE, variant=variant, **PINNED))
    (folder / "raw").write_bytes(model)
    compared = run("qemu-img", "compare", "-f", "raw", "-F", "vpc", folder / "raw", folder / "vhd")
    assert b"Images are identical" in compared.stdout


@needs("qemu-img", "qemu-io")
def test_qemu_writes_on_in_our_image(tmp_path: Path) -> None:
    path = tmp_path / "vhd"
    with NewFile(path) as file:
        writer = VhdWriter(file, 10 * MIB)
        writer.pwrite(3 * MIB, A)
        writer.flush()
    run("qemu-io", "-f", "vpc", "-c", "write -P 66 8M 4k", path)
    disk = vhd(path.read_bytes())
    assert disk.findings == ()
    assert (disk.pread(3 * MIB, BLOCK), disk.pread(8 * MIB, BLOCK)) == (A, b"B" * BLOCK)


@needs("qemu-img")
@pytest.mark.parametrize("options", ["subformat=dynamic", "subformat=fixed", "force_size=on"])
def test_images_of_qemu_with_any_options(tmp_path: Path, options: str) -> None:
    path = tmp_path / "vhd"
    source = bytes(MIB) + A * 300 + bytes(3 * MIB) + B
    (tmp_path / "raw").write_bytes(source)
    run("qemu-img", "convert", "-f", "raw", "-O", "vpc", "-o", options, tmp_path / "raw", path)
    disk = vhd(path.read_bytes())
    assert disk.findings == ()
    assert disk.describe()["creator"] == f"qemu{', size forced' if 'force' in options else ''} 5.3 on Windows"
    # qemu rounds up to whole cylinders
    assert disk.size == len(source) if "force" in options else disk.size >= len(source)
    assert disk.pread(0, disk.size) == source.ljust(disk.size, b"\0")


@needs("qemu-img")
def test_qemu_refuses_what_we_report(tmp_path: Path) -> None:
    (tmp_path / "image").write_bytes(make_vhd([A, B], checksum=7))
    with pytest.raises(subprocess.CalledProcessError) as caught:
        run("qemu-img", "info", "-f", "vpc", tmp_path / "image")
    assert b"checksum" in caught.value.stderr
