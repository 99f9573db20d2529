"""What every container format owes its reader. A new format is one row in ``ROWS``.

The disk under test is coded by position: every eight bytes tell where they are, except in the holes. Its
first block is a hole, and its last one is not whole.
"""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import NamedTuple

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from b2dinspect.containers.base import Container
from b2dinspect.containers.qcow2.writer import Qcow2Writer
from b2dinspect.containers.vdi import layout as vdi
from b2dinspect.containers.vdi.writer import VdiWriter
from b2dinspect.containers.vhd.writer import VhdWriter
from b2dinspect.containers.vmdk.writer import VmdkWriter
from b2dinspect.evidence.chain import open_disk
from b2dinspect.evidence.file import open_evidence
from b2dinspect.newfile import NewFile
from b2dinspect.source import FileSource
from tests.containers.handmade import FREE, ZERO, make_vdi, make_vhd
from tests.oracles import needs, run

MIB = 1 << 20
QEMU_NAMES = {"vhd": "vpc"}
SIZE = 6 * MIB + 3 * 512
DATA = ((MIB + 4096, 3 * MIB - 512), (4 * MIB, 4 * MIB + 1536), (5 * MIB + 8, SIZE))
"""Where the payload is: the first begins and ends inside a block, the last reaches into a cut block."""


def payload() -> bytes:
    coded = struct.pack(f"<{SIZE // 8}Q", *range(1, SIZE // 8 + 1))
    disk = bytearray(SIZE)
    for start, end in DATA:
        disk[start:end] = coded[start:end]
    return bytes(disk)


PAYLOAD = payload()


# --- the ways to make the disk ---


def raw_flat(path: Path) -> None:
    path.write_bytes(PAYLOAD)


def raw_sparse(path: Path) -> None:
    with path.open("wb") as stream:
        for start, end in DATA:
            stream.seek(start)
            stream.write(PAYLOAD[start:end])


def our_writer(block_size: int = MIB, *, variant: str = "dynamic") -> Callable[[Path], None]:
    def make(path: Path) -> None:
        with NewFile(path) as file:
            writer = VdiWriter(file, SIZE, variant=variant, block_size=block_size)
            for start, end in reversed(DATA):
                writer.pwrite(start, PAYLOAD[start:end])
            writer.flush()

    return make


def by_hand(
    block_size: int, *, hole: int = FREE, stride: int = 1, **options: object
) -> Callable[[Path], None]:
    """A VDI whose blocks are stored in steps of ``stride``, going round; -1 is last block first."""

    def make(path: Path) -> None:
        padded = PAYLOAD.ljust(-(-SIZE // block_size) * block_size, b"\0")
        pieces = [padded[start : start + block_size] for start in range(0, SIZE, block_size)]
        blocks = [piece if piece.strip(b"\0") else hole for piece in pieces]
        stored = [number for number, block in enumerate(blocks) if block != hole]
        order = [number for first in range(abs(stride)) for number in stored[first :: abs(stride)]]
        if stride < 0:
            order.reverse()
        path.write_bytes(make_vdi(blocks, stored_order=order, disk_size=SIZE, **options))

    return make


def by_our_vhd_writer(variant: str = "dynamic", *, first_size: int = SIZE) -> Callable[[Path], None]:
    """Written from the end, or, when it has another size first, grown after the first half."""

    def make(path: Path) -> None:
        with NewFile(path) as file:
            writer = VhdWriter(file, first_size, variant=variant)
            for start, end in sorted(DATA, reverse=first_size == SIZE):
                if end > writer.size:
                    writer.flush()
                    writer.resize(SIZE)
                writer.pwrite(start, PAYLOAD[start:end])
            writer.flush()

    return make


def by_hand_vhd(block_size: int, *, sector_bits: bool = False, stride: int = 1) -> Callable[[Path], None]:
    """A VHD whose blocks are stored in steps of ``stride``; its bitmaps may tell each sector of zeros."""

    def make(path: Path) -> None:
        padded = PAYLOAD.ljust(-(-SIZE // block_size) * block_size, b"\0")
        pieces = [padded[start : start + block_size] for start in range(0, SIZE, block_size)]
        blocks = [piece if piece.strip(b"\0") else FREE for piece in pieces]
        stored = [number for number, block in enumerate(blocks) if block != FREE]
        order = [number for first in range(stride) for number in stored[first::stride]][::-1]
        bitmaps = {number: sector_bitmap(pieces[number]) for number in order} if sector_bits else None
        path.write_bytes(make_vhd(blocks, stored_order=order, bitmaps=bitmaps, current_size=SIZE))

    return make


def sector_bitmap(piece: bytes) -> bytes:
    bits = "".join("01"[bool(piece[at : at + 512].strip(b"\0"))] for at in range(0, len(piece), 512))
    return bytes(int(bits[at : at + 8].ljust(8, "0"), 2) for at in range(0, len(bits), 8))


def by_qemu(*options: str, name: str = "vdi") -> Callable[[Path], None]:
    def make(path: Path) -> None:
        source = path.with_name("source.raw")
        source.write_bytes(PAYLOAD)
        run("qemu-img", "convert", "-f", "raw", "-O", name, *options, source, path)

    return make


def by_qemu_in_pieces(
    *options: str, name: str = "vdi", step: int = MIB, multiplier: int = -1
) -> Callable[[Path], None]:
    """Pieces written in reverse, or in another order that a multiplier gives."""

    def make(path: Path) -> None:
        run("qemu-img", "create", "-q", "-f", name, *options, path, SIZE)
        commands = []
        starts = range(0, SIZE, step)
        for start in sorted(starts, key=lambda start: start // step * multiplier % len(starts)):
            piece = path.with_name(f"{start}.piece")
            piece.write_bytes(PAYLOAD[start : start + step])
            if PAYLOAD[start : start + step].strip(b"\0"):
                commands += ["-c", f"write -s {piece} {start} {min(step, SIZE - start)}"]
        run("qemu-io", "-f", name, *commands, path)

    return make


class Row(NamedTuple):
    """One way to make the disk.

    Attributes:
        name: For people.
        format: What ``open_container`` must recognise.
        make: Writes the file.
        unit: Bytes that the format stores together.
        has_holes: Whether what is not stored is known not to be.
        qemu_reads: Whether qemu reads this kind: of VDI only 1.1, in blocks of 1 MiB with nothing extra.
        has_places: Whether one file holds all stored bytes as they are: neither packed, nor in other files.
        programs: What ``make`` runs.
    """

    name: str
    format: str
    make: Callable[[Path], None]
    unit: int = MIB
    has_holes: bool = True
    qemu_reads: bool = True
    has_places: bool = True
    programs: tuple[str, ...] = ()


def by_our_vmdk_writer(variant: str) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        flat = path.with_name("disk-flat.vmdk")
        with NewFile(flat if variant == "monolithicFlat" else path) as file:
            writer = VmdkWriter(file, SIZE, variant=variant, name=flat.name)
            for start, end in DATA if variant == "streamOptimized" else reversed(DATA):
                writer.pwrite(start, PAYLOAD[start:end])
            writer.flush()
        if variant == "monolithicFlat":
            path.write_bytes(writer.descriptor())

    return make


def by_our_qcow2_writer(cluster_size: int) -> Callable[[Path], None]:
    def make(path: Path) -> None:
        with NewFile(path) as file:
            writer = Qcow2Writer(file, SIZE, cluster_size=cluster_size)
            for start, end in reversed(DATA):
                writer.pwrite(start, PAYLOAD[start:end])
                writer.flush()

    return make


def by_qemu_with_data_file(path: Path) -> None:
    by_qemu("-o", f"data_file={path.with_name('data')},data_file_raw=off", name="qcow2")(path)


def by_qemu_vmdk(subformat: str, *more: str) -> Callable[[Path], None]:
    """qemu names the extents after the image, which needs an ending for that."""

    def make(path: Path) -> None:
        named = path.with_suffix(".vmdk")
        by_qemu("-o", ",".join((f"subformat={subformat}", *more)), name="vmdk")(named)
        named.rename(path)

    return make


GRAIN = 65536
KINDS = (
    "monolithicSparse",
    "streamOptimized",
    "monolithicFlat",
    "twoGbMaxExtentSparse",
    "twoGbMaxExtentFlat",
)
ONE_FILE = ("monolithicSparse",)

ROWS = (
    Row("raw", "raw", raw_flat, has_holes=False),
    Row("raw-sparse", "raw", raw_sparse),
    Row("vdi-dynamic", "vdi", our_writer()),
    Row("vdi-fixed", "vdi", our_writer(variant="fixed"), has_holes=False),
    Row("vdi-small-blocks", "vdi", our_writer(4096), unit=4096, qemu_reads=False),
    Row("vdi-0.1", "vdi", by_hand(MIB, layout=vdi.HEADER_0_1), qemu_reads=False),
    Row("vdi-short-header", "vdi", by_hand(MIB, layout=vdi.HEADER_1_1)),
    Row("vdi-tight", "vdi", by_hand(MIB, layout=vdi.HEADER_1_1, tight=True), qemu_reads=False),
    Row("vdi-extra", "vdi", by_hand(65536, extra=512), unit=65536, qemu_reads=False),
    Row("vdi-odd-extra", "vdi", by_hand(65536, extra=520, stride=-1), unit=65536, qemu_reads=False),
    Row("vdi-zero-blocks", "vdi", by_hand(MIB, hole=ZERO)),
    Row("vdi-reversed", "vdi", by_hand(65536, stride=-1), unit=65536, qemu_reads=False),
    Row("vdi-shuffled", "vdi", by_hand(65536, stride=7), unit=65536, qemu_reads=False),
    Row("vdi-512", "vdi", by_hand(512, stride=2), unit=512, qemu_reads=False),
    Row("vdi-qemu", "vdi", by_qemu(), programs=("qemu-img",)),
    Row("vdi-qemu-static", "vdi", by_qemu("-o", "static=on"), has_holes=False, programs=("qemu-img",)),
    Row("vdi-qemu-reversed", "vdi", by_qemu_in_pieces(), programs=("qemu-img", "qemu-io")),
    Row("vhd-dynamic", "vhd", by_our_vhd_writer(), unit=2 * MIB, has_holes=False),
    Row("vhd-fixed", "vhd", by_our_vhd_writer("fixed")),
    Row("vhd-grown", "vhd", by_our_vhd_writer(first_size=3 * MIB), unit=2 * MIB, has_holes=False),
    Row("vhd-fixed-grown", "vhd", by_our_vhd_writer("fixed", first_size=3 * MIB)),
    Row("vhd-small-blocks", "vhd", by_hand_vhd(4096, stride=7), unit=4096),
    # qemu 7.2 takes the bitmap of a block smaller than 4096 to be empty
    Row("vhd-512", "vhd", by_hand_vhd(512, stride=2), unit=512, qemu_reads=False),
    Row("vhd-bitmaps", "vhd", by_hand_vhd(65536, sector_bits=True), unit=65536),
    Row(
        "vhd-qemu-fixed",
        "vhd",
        by_qemu("-S", "0", "-o", "force_size=on,subformat=fixed", name="vpc"),
        has_holes=False,
        programs=("qemu-img",),
    ),
    *(
        Row(f"vhd-qemu-{name}", "vhd", make, 2 * MIB, has_holes=False, programs=("qemu-img", "qemu-io"))
        for name, make in {
            "dynamic": by_qemu("-o", "force_size=on", name="vpc"),
            "reversed": by_qemu_in_pieces("-o", "force_size=on", name="vpc"),
            "shuffled": by_qemu_in_pieces("-o", "force_size=on", name="vpc", step=65536, multiplier=37),
        }.items()
    ),
    *(
        Row(f"vhdx-qemu-{name}", "vhdx", make, has_holes=has_holes, programs=("qemu-img", "qemu-io"))
        for name, has_holes, make in (
            ("default", False, by_qemu(name="vhdx")),
            ("1M", True, by_qemu("-o", "block_size=1M", name="vhdx")),
            ("2M", False, by_qemu("-o", "block_size=2M,log_size=2M", name="vhdx")),
            ("256M", False, by_qemu("-o", "block_size=256M", name="vhdx")),
            ("free", True, by_qemu("-o", "block_size=1M,block_state_zero=off", name="vhdx")),
            ("reversed", True, by_qemu_in_pieces("-o", "block_size=1M", name="vhdx")),
            (
                "shuffled",
                True,
                by_qemu_in_pieces("-o", "block_size=1M", name="vhdx", step=65536, multiplier=37),
            ),
        )
    ),
    *(
        Row(
            f"vmdk-{kind}",
            "vmdk",
            by_our_vmdk_writer(kind),
            unit=GRAIN,
            has_places=kind in ONE_FILE,
            qemu_reads=kind != "monolithicFlat",  # qemu-img is told by the name's ending that it is no raw
        )
        for kind in KINDS[:3]
    ),
    *(
        Row(
            f"vmdk-qemu-{kind}",
            "vmdk",
            by_qemu_vmdk(kind),
            unit=GRAIN,
            has_places=kind in ONE_FILE,
            programs=("qemu-img",),
        )
        for kind in KINDS
    ),
    *(
        Row(f"vmdk-qemu-{name}", "vmdk", make, GRAIN, programs=("qemu-img", "qemu-io"))
        for name, make in {
            "zeroed": by_qemu_vmdk("monolithicSparse", "zeroed_grain=on"),
            "reversed": by_qemu_in_pieces(name="vmdk", step=GRAIN),
            "shuffled": by_qemu_in_pieces(name="vmdk", step=GRAIN, multiplier=37),
        }.items()
    ),
    *(
        Row(f"qcow2-{size}", "qcow2", by_our_qcow2_writer(size), unit=size)
        for size in (512, 4096, 65536, MIB)
    ),
    *(
        Row(
            f"qcow2-qemu-{name}",
            "qcow2",
            make,
            unit=65536,
            has_holes=name != "metadata",
            has_places=name not in ("compressed", "zstd", "data-file"),
            programs=("qemu-img", "qemu-io"),
        )
        for name, make in {
            "default": by_qemu(name="qcow2"),
            "0.10": by_qemu("-o", "compat=0.10", name="qcow2"),
            "lazy": by_qemu("-o", "lazy_refcounts=on", name="qcow2"),
            "512": by_qemu("-o", "cluster_size=512", name="qcow2"),
            "4096": by_qemu("-o", "cluster_size=4096", name="qcow2"),
            "refcounts-1": by_qemu("-o", "refcount_bits=1", name="qcow2"),
            "refcounts-64": by_qemu("-o", "refcount_bits=64", name="qcow2"),
            "metadata": by_qemu("-o", "preallocation=metadata", name="qcow2"),
            "subclusters": by_qemu("-o", "extended_l2=on,cluster_size=65536", name="qcow2"),
            "subclusters-shuffled": by_qemu_in_pieces(
                "-o", "extended_l2=on,cluster_size=65536", name="qcow2", step=4096, multiplier=37
            ),
            "compressed": by_qemu("-c", name="qcow2"),
            "zstd": by_qemu("-c", "-o", "compression_type=zstd", name="qcow2"),
            "data-file": by_qemu_with_data_file,
            "reversed": by_qemu_in_pieces(name="qcow2", step=65536),
            "shuffled": by_qemu_in_pieces("-o", "cluster_size=4096", name="qcow2", step=65536, multiplier=37),
        }.items()
    ),
    *(
        Row(f"qcow2-qemu-{size}M", "qcow2", make, size * MIB, size == 1, programs=("qemu-img",))
        for size in (1, 2)
        for make in (by_qemu("-o", f"cluster_size={size}M", name="qcow2"),)
    ),
    Row(
        "vhdx-qemu-fixed",
        "vhdx",
        by_qemu("-o", "subformat=fixed,block_size=1M,block_state_zero=off", name="vhdx"),
        has_holes=False,
        programs=("qemu-img",),
    ),
)
"""A block of a VHD by a program is 2 MiB: every one of this disk holds data."""


@pytest.fixture(
    scope="module", params=[pytest.param(row, id=row.name, marks=needs(*row.programs)) for row in ROWS]
)
def row(request: pytest.FixtureRequest) -> Row:
    return request.param


@pytest.fixture(scope="module")
def path(row: Row, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("container") / "disk"
    row.make(path)
    return path


@pytest.fixture(scope="module")
def file(path: Path) -> Iterator[FileSource]:
    source = open_evidence(str(path))
    yield source
    source.close()


@pytest.fixture(scope="module")
def disk(path: Path) -> Iterator[Container]:
    with open_disk(str(path)) as opened:
        yield opened.container


# --- the contract ---


def test_the_payload_has_what_the_contract_needs() -> None:
    assert not PAYLOAD[:MIB].strip(b"\0")
    assert SIZE % MIB
    assert len({PAYLOAD[at : at + 8] for start, end in DATA for at in range(start, end, 8)}) == sum(
        (end - start) // 8 for start, end in DATA
    )


@pytest.mark.slow
def test_recognised_without_being_told(disk: Container, row: Row) -> None:
    assert disk.format == row.format
    assert disk.findings == ()


@pytest.mark.slow(but=11)
def test_size_is_the_virtual_size(disk: Container) -> None:
    assert disk.size == SIZE
    assert 0 < disk.allocated_size <= SIZE


def test_everything_in_one_read(disk: Container) -> None:
    assert disk.pread(0, SIZE) == PAYLOAD


@pytest.mark.parametrize("unit_share", ["511", "512", "unit-1", "unit", "unit+1", "2 units", "3 units"])
@pytest.mark.slow
@pytest.mark.no_cover
def test_everything_in_strides(disk: Container, row: Row, unit_share: str) -> None:
    unit = row.unit
    strides = {"unit-1": unit - 1, "unit": unit, "unit+1": unit + 1, "2 units": 2 * unit, "3 units": 3 * unit}
    stride = strides.get(unit_share) or int(unit_share)
    pieces = [disk.pread(offset, stride) for offset in range(0, SIZE, stride)]
    assert {len(piece) for piece in pieces[:-1]} == {stride}
    assert b"".join(pieces) == PAYLOAD


def edges(unit: int) -> list[int]:
    """Places where something ends: some units, and all data."""
    units = [number * unit for number in range(1, SIZE // unit + 1)]
    return sorted({0, SIZE, *units[:: max(1, len(units) // 40)], *(place for pair in DATA for place in pair)})


@pytest.mark.no_cover
def test_single_bytes_around_every_edge(disk: Container, row: Row) -> None:
    for edge in edges(row.unit):
        start = max(0, edge - 20)
        assert (
            b"".join(disk.pread(offset, 1) for offset in range(start, edge + 20))
            == PAYLOAD[start : edge + 20]
        )


@pytest.mark.no_cover
def test_reads_across_every_edge(disk: Container, row: Row) -> None:
    for edge in edges(row.unit):
        for length in (2, 513, row.unit + 2, 2 * row.unit + 2):
            start = max(0, edge - 1)
            assert disk.pread(start, length) == PAYLOAD[start : start + length]


@settings(max_examples=60)
@given(offset=st.integers(0, SIZE + 10), length=st.integers(0, 3 * MIB))
@pytest.mark.slow
@pytest.mark.no_cover
def test_any_range(disk: Container, offset: int, length: int) -> None:
    assert disk.pread(offset, length) == PAYLOAD[offset : offset + length]


@pytest.mark.parametrize(
    ("offset", "length"), [(SIZE - 1, 2), (SIZE, 1), (SIZE + 1, 1), (10**20, 1), (SIZE - 1024, MIB), (0, 0)]
)
@pytest.mark.no_cover
def test_reads_past_the_end_are_clamped(disk: Container, offset: int, length: int) -> None:
    assert disk.pread(offset, length) == PAYLOAD[offset : offset + length]


@pytest.mark.parametrize(
    ("offset", "length"),
    [
        (0, None),
        (0, 1),
        (MIB - 1, 2),
        (MIB + 4095, 2 * MIB),
        (3 * MIB - 513, 2),
        (SIZE - 1, 100),
        (7, 5 * MIB),
    ],
)
@pytest.mark.no_cover
def test_extents_cover_the_range(disk: Container, offset: int, length: int | None) -> None:
    position = offset
    for extent in disk.extents(offset, length):
        assert extent.offset == position
        assert extent.length > 0
        assert extent.kind in ("data", "zero")
        position += extent.length
    assert position == (SIZE if length is None else min(SIZE, offset + length))


def test_no_extents_past_the_end(disk: Container) -> None:
    assert list(disk.extents(SIZE)) == []
    assert list(disk.extents(SIZE + 1, 5)) == []
    assert list(disk.extents(0, 0)) == []


@pytest.mark.no_cover
def test_extents_point_to_the_very_bytes(disk: Container, path: Path, row: Row) -> None:
    stored = path.read_bytes()
    for offset, length, kind, file_offset in disk.extents():
        expected = PAYLOAD[offset : offset + length]
        if kind == "data" and not row.has_places:
            assert file_offset is None
        elif kind == "data":
            assert stored[file_offset : file_offset + length] == expected
        else:
            assert file_offset is None
            assert not expected.strip(b"\0")


@pytest.mark.no_cover
def test_locate_points_to_the_very_byte(disk: Container, path: Path, row: Row) -> None:
    stored = path.read_bytes()
    for edge in edges(row.unit):
        for offset in range(max(0, edge - 9), min(SIZE, edge + 9)):
            place = disk.locate(offset)
            assert place is not None or PAYLOAD[offset] == 0 or not row.has_places
            assert place is None or stored[place] == PAYLOAD[offset]
    assert disk.locate(SIZE) is None


def test_holes_are_known(disk: Container, path: Path, row: Row) -> None:
    if disk.variant in ("flat", "fixed") and row.has_holes and path.stat().st_blocks * 512 >= SIZE:
        pytest.skip("this file system stores no holes")
    assert (disk.locate(0) is None) == row.has_holes or not row.has_places
    assert (disk.allocated_size < SIZE) == row.has_holes


def test_headers_lie_where_they_say(disk: Container, path: Path) -> None:
    stored = path.read_bytes()
    for header in disk.headers:
        assert stored[header.offset : header.offset + len(header.data)] == header.data
        assert header.fields()[0].offset == 0


def test_two_readers_do_not_disturb_each_other(disk: Container, path: Path) -> None:
    with open_disk(str(path)) as opened:
        compare_readers(disk, opened.container)


def compare_readers(disk: Container, other: Container) -> None:
    first = MIB + 4096
    assert disk.pread(first, 100) == PAYLOAD[first : first + 100]
    assert other.pread(SIZE - 100, 100) == PAYLOAD[-100:]
    assert disk.pread(first + 100, 100) == PAYLOAD[first + 100 : first + 200]


@needs("qemu-img")
@pytest.mark.parametrize("readable", [pytest.param(row, id=row.name) for row in ROWS if row.qemu_reads])
@pytest.mark.slow
@pytest.mark.no_cover
def test_qemu_reads_the_same(readable: Row, tmp_path: Path) -> None:
    readable.make(tmp_path / "image")
    name = QEMU_NAMES.get(readable.format, readable.format)
    run("qemu-img", "convert", "-f", name, "-O", "raw", tmp_path / "image", tmp_path / "raw")
    assert (tmp_path / "raw").read_bytes() == PAYLOAD
