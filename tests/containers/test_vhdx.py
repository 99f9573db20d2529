"""VHDX: headers and their copies, block states, sector bitmaps, parents, faults, and qemu's images."""

from __future__ import annotations

import struct
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from b2dinspect.containers import open_container
from b2dinspect.containers.vhdx import probe
from b2dinspect.containers.vhdx.layout import crc32c
from b2dinspect.containers.vhdx.reader import VhdxContainer
from b2dinspect.errors import B2dError, ContainerError, MissingDataError
from b2dinspect.evidence.file import open_evidence
from b2dinspect.findings import Finding
from b2dinspect.source import ByteSource, Extent, MemorySource
from tests.containers.handmade import CREATE, MODIFY, crc_sealed, make_vhdx, patch
from tests.oracles import needs, run

MIB = 1 << 20
A, B, C = (letter * MIB for letter in (b"a", b"b", b"c"))
BAT, METADATA = 2 * MIB, 3 * MIB
NAMES = {"parent_linkage": f"{{{MODIFY}}}", "relative_path": ".\\Eltern.vhdx"}


def vhdx(data: bytes, parent: ByteSource | None = None) -> VhdxContainer:
    disk = VhdxContainer(MemorySource(data))
    disk.attach(parent=parent)
    return disk


def ids(disk: VhdxContainer) -> list[str]:
    return [finding.id for finding in disk.findings]


def test_crc32c_of_the_standard_check() -> None:
    assert crc32c(b"123456789") == 0xE3069283


def test_recognised() -> None:
    assert probe(MemorySource(make_vhdx([A]))).matched
    assert not probe(MemorySource(b"vhdxfilf")).matched
    assert isinstance(open_container(MemorySource(make_vhdx([A]))), VhdxContainer)


def test_description_and_headers() -> None:
    disk = vhdx(make_vhdx([A, 0, 2]))
    assert (disk.variant, disk.size, disk.allocated_size, disk.findings) == ("dynamic", 3 * MIB, MIB, ())
    assert disk.describe() == {
        "creator": "by hand",
        "blocks": "3 of 1048576 bytes",
        "sector size": "512 bytes",
        "disk id": str(CREATE),
        "data write guid": str(MODIFY),
    }
    assert [(header.name, header.offset) for header in disk.headers[:6]] == [
        ("VHDX file identifier", 0),
        ("VHDX header 1", 65536),
        ("VHDX header 2", 131072),
        ("VHDX region table", 196608),
        ("VHDX region BAT", 196624),
        ("VHDX region metadata", 196656),
    ]
    assert vhdx(make_vhdx([A], flags=1)).variant == "fixed"


# --- states ---


def test_states_that_store_nothing_are_zeros() -> None:
    disk = vhdx(make_vhdx([0, 1, 2, 3, 5, A, (9 << 20) | 2]))
    assert disk.pread(0, 7 * MIB) == bytes(5 * MIB) + A + bytes(MIB)
    assert [(extent.kind, extent.length // MIB) for extent in disk.extents()] == [
        ("zero", 5),
        ("data", 1),
        ("zero", 1),
    ]
    assert disk.findings == ()


@pytest.mark.parametrize("entry", [4, 7, (4 << 20) | 7])
@pytest.mark.slow
def test_states_that_mean_nothing(entry: int) -> None:
    disk = vhdx(make_vhdx([A, entry, B]))
    text = "block 1 of the BAT has a state that means nothing in this disk"
    assert disk.findings == (Finding("vhdx-block-state", "error", text, BAT + 8, "file"),)
    assert disk.pread(2 * MIB, MIB) == B
    with pytest.raises(MissingDataError) as caught:
        disk.pread(0, 3 * MIB)
    assert caught.value.offset == MIB


@pytest.mark.slow
def test_entries_of_sector_bitmaps_are_no_blocks() -> None:
    size = 256 * MIB  # 16 blocks to a chunk
    disk = vhdx(make_vhdx([2] * 16 + [0, 2], block_size=size))
    image = make_vhdx([2] * 16 + [0, 2], block_size=size)
    assert struct.unpack_from("<19Q", image, BAT)[15:] == (2, 0, 0, 2)
    assert list(disk.extents()) == [Extent(0, 18 * size, "zero")]
    filled = patch(image, BAT + 17 * 8, struct.pack("<Q", (4 << 20) | 6)) + A + bytes(255 * MIB)
    assert vhdx(filled).locate(16 * size) == 4 * MIB
    assert vhdx(patch(filled, BAT + 16 * 8, b"\x07")).findings == ()


def test_sectors_of_4096_bytes() -> None:
    image = make_vhdx([A, 0], sector_size=4096, bitmaps={0: b"\x01" * 32}, flags=2)
    disk = vhdx(image, MemorySource(C))
    assert disk.pread(0, 40960) == A[:4096] + C[: 7 * 4096] + A[:4096] + C[:4096]
    assert disk.describe()["sector size"] == "4096 bytes"


# --- differencing ---


def test_a_child_without_its_parent() -> None:
    disk = vhdx(make_vhdx([0, A, 2, B], bitmaps={3: b"\x0f" * 256}, flags=2, parent_names=NAMES))
    assert [(extent.offset, extent.kind) for extent in disk.extents(0, 3 * MIB + 8192)] == [
        (0, "missing"),
        (MIB, "data"),
        (2 * MIB, "zero"),
        (3 * MIB, "data"),
        (3 * MIB + 2048, "missing"),
        (3 * MIB + 4096, "data"),
        (3 * MIB + 6144, "missing"),
    ]
    assert disk.pread(MIB, 2 * MIB + 2048) == A + bytes(MIB) + B[:2048]
    with pytest.raises(MissingDataError, match="in the parent image, which was not given") as caught:
        disk.pread(3 * MIB, 4096)
    assert caught.value.offset == 3 * MIB + 2048
    text = f"this differencing image holds only changes; the rest is in the parent {{{MODIFY}}}"
    assert disk.findings == (Finding("vhdx-parent-missing", "warning", text, None, "file"),)
    assert disk.parent_names == NAMES
    assert disk.describe()["parent relative_path"] == ".\\Eltern.vhdx"


def test_a_child_with_its_parent() -> None:
    parent = vhdx(make_vhdx([C, C, C, 0]))
    image = make_vhdx([0, A, 2, B, 0], bitmaps={3: b"\x0f" * 256}, flags=2, parent_names=NAMES)
    disk = vhdx(image, parent)
    assert disk.findings == ()
    mixed = (B[:2048] + bytes(2048)) * 256
    assert disk.pread(0, 5 * MIB) == C + A + bytes(MIB) + mixed + bytes(MIB)
    assert disk.locate(0) is None
    assert next(disk.extents()).kind == "data"


def test_another_parent_is_told() -> None:
    image = make_vhdx([0], flags=2, parent_names={"parent_linkage": f"{{{CREATE}}}"})
    disk = vhdx(image, vhdx(make_vhdx([A])))
    text = f"the parent given is another image, or was changed (expected {{{CREATE}}}, found {{{MODIFY}}})"
    assert disk.findings == (Finding("vhdx-parent-mismatch", "error", text, None, "file"),)


def test_a_sector_bitmap_that_is_not_there() -> None:
    image = patch(make_vhdx([A], bitmaps={0: b"\xff"}, flags=2), BAT + 4096 * 8, bytes(8))
    disk = vhdx(image, MemorySource(C))
    with pytest.raises(MissingDataError, match="its sector bitmap is not") as caught:
        disk.pread(512, 1)
    assert caught.value.offset == 512


# --- headers, regions and their copies ---


def damaged(image: bytes, *offsets: int) -> bytes:
    for offset in offsets:
        image = patch(image, offset, bytes([image[offset] ^ 1]))
    return image


@pytest.mark.parametrize(("number", "offset"), [(1, 65536), (2, 131072)])
@pytest.mark.slow
def test_a_damaged_header(number: int, offset: int) -> None:
    disk = vhdx(damaged(make_vhdx([A]), offset + 3000))
    assert [(finding.id, finding.offset) for finding in disk.findings] == [
        ("vhdx-header-damaged", offset + 4)
    ]
    assert f"header {number} has a wrong checksum (expected 0x" in disk.findings[0].message
    assert disk.header.values.sequence_number == (8 if number == 1 else 7)
    assert disk.pread(0, MIB) == A
    gone = vhdx(patch(make_vhdx([A]), offset, b"xxxx"))
    assert f"header {number} is not there (expected head, found 78787878)" == gone.findings[0].message


def test_both_headers_damaged_are_read_all_the_same() -> None:
    disk = vhdx(damaged(make_vhdx([A]), 65536 + 3000, 131072 + 3000))
    assert ids(disk) == ["vhdx-header-damaged"] * 2
    assert disk.header.values.sequence_number == 8
    assert disk.pread(0, MIB) == A


@pytest.mark.parametrize("number", [1, 2])
def test_a_damaged_region_table(number: int) -> None:
    offset = 131072 + 65536 * number
    disk = vhdx(damaged(make_vhdx([A]), offset + 16))
    assert [(finding.id, finding.offset) for finding in disk.findings] == [
        ("vhdx-region-table-damaged", offset + 4)
    ]
    assert disk.pread(0, MIB) == A


def test_an_unknown_required_region() -> None:
    image = make_vhdx([A])
    table = patch(image[196608:262144], 8, struct.pack("<I", 3))
    table = crc_sealed(patch(table, 80, struct.pack("<16sQII", CREATE.bytes_le, MIB, MIB, 1)))
    disk = vhdx(patch(patch(image, 196608, table), 262144, table))
    assert ids(disk) == ["vhdx-region-unknown"]
    assert str(CREATE) in disk.findings[0].message


def log_entry() -> bytes:
    return struct.pack("<4sIIIQII16s", b"loge", 0, 4096, 0, 1, 0, 0, MODIFY.bytes_le).ljust(4096, b"\0")


@pytest.mark.slow
def test_a_log_to_replay() -> None:
    disk = vhdx(make_vhdx([A], log=log_entry() * 2, header={"log_guid": MODIFY}))
    text = "the log holds 2 entries to replay: the disk was not closed; shown as it is without them"
    assert disk.findings == (Finding("vhdx-log-dirty", "warning", text, MIB, "file"),)
    assert vhdx(make_vhdx([A], log=log_entry())).findings == ()
    assert vhdx(make_vhdx([A], log=log_entry(), header={"log_guid": CREATE})).findings == ()


# --- faults in the BAT ---


@pytest.mark.parametrize(("mib", "first"), [(0, 1), (1, 1), (2, 1), (3, 1), (4, 0)])
@pytest.mark.slow(but=3)
def test_blocks_on_top_of_something(mib: int, first: int) -> None:
    disk = vhdx(make_vhdx([A, (mib << 20) | 6, B]))
    assert [(finding.id, finding.offset) for finding in disk.findings] == [
        ("vhdx-block-overlap", BAT + 8 * first)
    ]
    assert disk.pread(0, MIB) == A


@pytest.mark.parametrize("mib", [6, 1000, (1 << 44) - 1])
@pytest.mark.slow
def test_entries_outside_the_file(mib: int) -> None:
    disk = vhdx(make_vhdx([A, (mib << 20) | 6, B]))
    text = "block 1 of the BAT points past the end of the file: its content is missing"
    assert disk.findings == (Finding("vhdx-block-outside", "error", text, BAT + 8, "file"),)
    with pytest.raises(MissingDataError, match="past the end of the file") as caught:
        disk.pread(0, 3 * MIB)
    assert caught.value.offset == MIB


def test_a_file_cut_inside_a_block() -> None:
    disk = vhdx(make_vhdx([A, B])[:-1000])
    assert ids(disk) == ["vhdx-block-outside"]
    assert disk.pread(0, 2 * MIB - 1000) == A + B[:-1000]
    with pytest.raises(MissingDataError) as caught:
        disk.pread(MIB, MIB)
    assert caught.value.offset == 2 * MIB - 1000


def test_a_bat_with_too_few_entries() -> None:
    disk = vhdx(make_vhdx([A], size=300_000 * MIB))
    assert ids(disk) == ["vhdx-bat-short"]
    assert disk.pread(0, MIB) == A
    with pytest.raises(MissingDataError, match="no entry for this block"):
        disk.pread(299_999 * MIB, 1)


# --- one fault in the header ---

PARAMETERS = METADATA + 65536
CORRUPTIONS = [
    (0, b"vhdxfilx", "VHDX file identifier", "wrong signature", 0),
    (METADATA, b"metadatb", "VHDX metadata table", "wrong signature", METADATA),
    (METADATA + 10, b"\x00\x08", "VHDX metadata table", "entry_count makes no sense", METADATA + 10),
    (METADATA + 10, b"\x00\x00", "VHDX file parameters", "there are none", METADATA + 32),
    (METADATA + 10, b"\x01\x00", "VHDX logical sector size", "there is none", METADATA + 32),
    (PARAMETERS, bytes(4), "VHDX file parameters", "block_size makes no sense", PARAMETERS),
    (PARAMETERS, b"\0\0\x30\0", "VHDX file parameters", "block_size makes no sense", PARAMETERS),
    (PARAMETERS, b"\0\0\0\x20", "VHDX file parameters", "block_size makes no sense", PARAMETERS),
    (PARAMETERS + 8, bytes(8), "VHDX virtual size", "makes no sense", PARAMETERS + 8),
    (PARAMETERS + 8, b"\xff" * 8, "VHDX virtual size", "makes no sense", PARAMETERS + 8),
    (PARAMETERS + 32, b"\x01\x02", "VHDX logical sector size", "makes no sense", PARAMETERS + 32),
]


@pytest.mark.parametrize(("offset", "value", "layer", "message", "where"), CORRUPTIONS)
@pytest.mark.slow(but=3)
def test_one_bad_field(offset: int, value: bytes, layer: str, message: str, where: int) -> None:
    with pytest.raises(ContainerError) as caught:
        open_container(MemorySource(patch(make_vhdx([A]), offset, value)), "vhdx")
    error = caught.value
    assert (error.layer, error.message, error.offset) == (layer, message, where)


def test_both_copies_gone() -> None:
    image = make_vhdx([A])
    with pytest.raises(ContainerError, match="neither header is there"):
        vhdx(patch(patch(image, 65536, bytes(4)), 131072, bytes(4)))
    with pytest.raises(ContainerError, match="neither region table is there"):
        vhdx(patch(patch(image, 196608, bytes(4)), 262144, bytes(4)))
    version = make_vhdx([A], header={"version": 2})
    with pytest.raises(ContainerError, match="unknown version"):
        vhdx(version)


@pytest.mark.parametrize("size", [0, 8, 520, 65536, 70000, 135168, 196608, 262144, 2 * MIB, METADATA + 100])
@pytest.mark.slow(but=4)
def test_cut_in_the_headers(size: int) -> None:
    with pytest.raises(ContainerError):
        open_container(MemorySource(make_vhdx([A])[:size]), "vhdx")


@pytest.mark.parametrize(
    "changes",
    [
        {"size": 64 << 40},
        {"size": 64 << 40, "block_size": 256 * MIB},
        {"size": 64 << 40, "flags": 2, "sector_size": 4096},
        {"header": {"log_guid": MODIFY, "log_offset": (1 << 64) - 1, "log_length": 0xFFFFFFFF}},
        {"header": {"log_guid": MODIFY, "log_offset": 0, "log_length": 0xFFFFFFFF}},
    ],
)
@pytest.mark.slow
def test_huge_values_cost_no_memory(changes: dict[str, object]) -> None:
    image = make_vhdx([0, 2, (4 << 20) | 6, 6], **changes) + A
    tracemalloc.start()
    try:
        disk = vhdx(image)
        extents = list(disk.extents())
        for offset in (0, disk.size // 2, disk.size - 1):
            try:
                assert len(disk.pread(offset, 512)) == min(512, disk.size - offset)
            except MissingDataError as error:
                assert error.offset == offset
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert sum(extent.length for extent in extents) == disk.size
    assert peak < 16 << 20


SMALL = make_vhdx([A, 0, 2, B], bitmaps={3: b"\x0f" * 256}, flags=2, parent_names=NAMES)


@settings(max_examples=150, deadline=None)
@given(data=st.data())
@pytest.mark.slow
def test_any_damage_is_an_error_or_a_finding_but_nothing_else(data: st.DataObject) -> None:
    image = bytearray(SMALL)
    places = st.sampled_from([0, 65536, 131072, 196608, BAT, BAT + 32768, METADATA, METADATA + 65536])
    for _ in range(data.draw(st.integers(1, 4))):
        offset = data.draw(places) + data.draw(st.integers(0, 130))
        value = data.draw(st.binary(min_size=1, max_size=8))
        image[offset : offset + len(value)] = value
        if 196608 <= offset < 262144:
            image[196608:262144] = image[262144:327680] = crc_sealed(bytes(image[196608:262144]))
    cut = data.draw(st.one_of(st.just(len(image)), st.integers(0, len(image))))
    read_anything(bytes(image[:cut]), data.draw(st.sampled_from([None, A])))


@settings(max_examples=100)
@given(image=st.binary(max_size=3000))
def test_any_bytes_are_an_error(image: bytes) -> None:
    read_anything(b"vhdxfile" + image, None)


def read_anything(image: bytes, parent: bytes | None) -> None:
    try:
        disk = vhdx(image, None if parent is None else MemorySource(parent))
        covered = 0
        for extent in disk.extents(0, 64 * MIB):
            assert extent.offset == covered
            covered += extent.length
        assert covered == min(disk.size, 64 * MIB)
        disk.describe()
        assert len(disk.pread(0, 4 * MIB)) == min(disk.size, 4 * MIB)
    except B2dError as error:
        assert str(error)


# --- qemu ---


@needs("qemu-img")
def test_qemu_reads_what_we_made_by_hand(tmp_path: Path) -> None:
    (tmp_path / "image").write_bytes(make_vhdx([A, 0, 2, B, 3]))
    run("qemu-img", "convert", "-f", "vhdx", "-O", "raw", tmp_path / "image", tmp_path / "raw")
    assert (tmp_path / "raw").read_bytes() == A + bytes(2 * MIB) + B + bytes(MIB)


@needs("qemu-img", "qemu-io")
@pytest.mark.parametrize("block", ["1M", "8M", "64M", "256M"])
@pytest.mark.parametrize("kind", ["dynamic", "fixed"])
def test_large_images_of_qemu(tmp_path: Path, block: str, kind: str) -> None:
    path = tmp_path / "image"
    size = (20000 if kind == "dynamic" else 300) * MIB
    run("qemu-img", "create", "-q", "-f", "vhdx", "-o", f"block_size={block},subformat={kind}", path, size)
    places = [size - 65536, 5 * MIB, 200 * MIB]
    for number, place in enumerate(places, 65):
        run("qemu-io", "-f", "vhdx", "-c", f"write -P {number} {place} 64k", path)
    file = open_evidence(str(path))
    disk = VhdxContainer(file)
    assert disk.findings == ()
    assert (disk.size, disk.variant) == (size, kind)
    assert disk.creator.startswith("QEMU")
    for number, place in enumerate(places, 65):
        assert disk.pread(place, 65536) == bytes([number]) * 65536
        assert not disk.pread(place - 512, 512).strip(b"\0")
    file.close()
