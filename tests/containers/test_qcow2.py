"""qcow2: against qemu-img in everything that it offers, and against one fault at a time."""

from __future__ import annotations

import random
import struct
import subprocess
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from b2dinspect.containers import open_container
from b2dinspect.containers.qcow2 import layout, probe
from b2dinspect.containers.qcow2.reader import Qcow2Container
from b2dinspect.containers.qcow2.writer import Qcow2Writer
from b2dinspect.errors import ContainerError, EvidenceError, MissingDataError
from b2dinspect.evidence.chain import open_disk
from b2dinspect.newfile import NewFile
from b2dinspect.source import MemorySource
from tests.oracles import needs, run

MIB = 1 << 20
SIZE = 4 * MIB
CLUSTER = 65536


def image(path: Path, *, size: int = SIZE, cluster_size: int = CLUSTER) -> bytearray:
    with NewFile(path, force=True) as file:
        writer = Qcow2Writer(file, size, cluster_size=cluster_size)
        writer.pwrite(3 * CLUSTER, b"three" * 10000)
        writer.pwrite(size - 512, b"end" * 100)
        writer.flush()
    return bytearray(path.read_bytes())


def disk_of(data: bytes) -> Qcow2Container:
    return Qcow2Container(MemorySource(bytes(data)))


def ids(data: bytes) -> list[str]:
    return [finding.id for finding in disk_of(data).findings]


def put(data: bytearray, offset: int, value: int, width: int = 8) -> None:
    data[offset : offset + width] = value.to_bytes(width, "big")


def get(data: bytearray, offset: int, width: int = 8) -> int:
    return int.from_bytes(data[offset : offset + width], "big")


def l1(data: bytearray) -> int:
    return get(data, layout.field_offset("l1_table_offset"))


def l2(data: bytearray) -> int:
    return get(data, l1(data)) & ~(1 << 63)


def block(data: bytearray) -> int:
    return get(data, get(data, layout.field_offset("refcount_table_offset")))


def qemu_finds_fault(data: bytes) -> bool:
    with tempfile.NamedTemporaryFile(suffix=".qcow2") as file:
        file.write(data)
        file.flush()
        done = subprocess.run(
            ["qemu-img", "check", "-f", "qcow2", file.name], capture_output=True, check=False
        )
    return done.returncode != 0


# --- sound images ---


@needs("qemu-img", "qemu-io")
@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(
    "options", ["cluster_size=512", "cluster_size=65536", "cluster_size=2M", "extended_l2=on"]
)
@pytest.mark.slow
def test_random_writes_read_as_qemu_reads_them(tmp_path: Path, seed: int, options: str) -> None:
    path, dice = tmp_path / "disk.qcow2", random.Random(seed)
    run("qemu-img", "create", "-q", "-f", "qcow2", "-o", options, path, SIZE)
    commands = []
    for _ in range(30):
        start = dice.randrange(SIZE // 512) * 512
        length = min(SIZE - start, dice.choice((512, 4096, 70000 // 512 * 512, MIB)))
        commands += [
            "-c",
            f"{dice.choice(('write -P 7', 'write -P 9', 'write -z', 'discard'))} {start} {length}",
        ]
    run("qemu-io", "-f", "qcow2", *commands, path)
    run("qemu-img", "convert", "-f", "qcow2", "-O", "raw", path, tmp_path / "raw")
    with open_disk(str(path)) as opened:
        assert opened.container.pread(0, SIZE) == (tmp_path / "raw").read_bytes()
        assert opened.container.findings == ()


@needs("qemu-img", "qemu-io")
def test_internal_snapshots_are_listed_and_counted(tmp_path: Path) -> None:
    path = tmp_path / "disk.qcow2"
    run("qemu-img", "create", "-q", "-f", "qcow2", path, SIZE)
    run("qemu-io", "-c", "write -P 1 0 1M", path)
    run("qemu-img", "snapshot", "-c", "before", path)
    run("qemu-io", "-c", "write -P 2 0 512k", path)
    disk = disk_of(path.read_bytes())
    assert [one.name for one in disk.snapshots] == ["before"]
    assert disk.describe()["snapshots"] == "before"
    assert disk.findings == ()
    assert disk.pread(0, MIB) == b"\2" * (MIB // 2) + b"\1" * (MIB // 2)


@pytest.mark.parametrize(("method", "name"), [(1, "AES"), (2, "LUKS")])
def test_an_encrypted_image_says_so(tmp_path: Path, method: int, name: str) -> None:
    data = image(tmp_path / "x")
    put(data, layout.field_offset("crypt_method"), method, 4)
    assert ids(data) == ["qcow2-encrypted"]
    assert disk_of(data).describe()["encryption"] == name
    with pytest.raises(MissingDataError, match=f"encrypted .{name}"):
        disk_of(data).pread(3 * CLUSTER, 1)


def test_the_writers_image_has_no_findings(tmp_path: Path) -> None:
    disk = disk_of(image(tmp_path / "x"))
    assert disk.findings == ()
    assert disk.variant == "version 3"
    assert disk.allocated_size == 2 * CLUSTER


def test_the_same_writes_give_the_same_bytes(tmp_path: Path) -> None:
    assert image(tmp_path / "a") == image(tmp_path / "b")


@needs("qemu-img")
@pytest.mark.parametrize("size", [512, SIZE, 20000 * MIB, 2 << 40, 40 << 40])
@pytest.mark.parametrize("cluster_size", [4096, CLUSTER, 2 * MIB])
def test_qemu_finds_nothing_wrong(tmp_path: Path, size: int, cluster_size: int) -> None:
    path = tmp_path / "disk.qcow2"
    try:
        with NewFile(path) as file:
            writer = Qcow2Writer(file, size, cluster_size=cluster_size)
            for at in (size - 512, 0, size // 2 // 512 * 512):
                writer.pwrite(at, b"x" * 512)
                writer.flush()
    except ValueError:
        assert size // cluster_size // (cluster_size // 8) * 8 > layout.MAX_L1_BYTES - 8
        return
    assert b"No errors were found" in run("qemu-img", "check", path).stdout
    disk = disk_of(path.read_bytes()) if path.stat().st_size < 64 * MIB else None
    assert disk is None or (disk.size, disk.findings, disk.pread(size - 512, 512)) == (size, (), b"x" * 512)


@settings(max_examples=40)
@given(
    writes=st.lists(
        st.tuples(st.integers(0, 200_000), st.binary(min_size=1, max_size=40), st.integers(1, 900)),
        max_size=9,
    ),
    cluster_size=st.sampled_from([512, 4096, 65536]),
)
def test_what_is_written_is_read(writes: list[tuple[int, bytes, int]], cluster_size: int) -> None:
    size = 256 * 1024
    model = bytearray(size)
    with tempfile.TemporaryDirectory() as folder:
        with NewFile(Path(folder) / "x") as file:
            writer = Qcow2Writer(file, size, cluster_size=cluster_size)
            for offset, unit, times in writes:
                data = (unit * times)[: size - offset]
                writer.pwrite(offset, data)
                model[offset : offset + len(data)] = data
            assert writer.pread(0, size) == model
            writer.flush()
        disk = disk_of((Path(folder) / "x").read_bytes())
    assert disk.pread(0, size) == model
    assert disk.findings == ()


@pytest.mark.parametrize(
    ("size", "cluster_size"), [(0, CLUSTER), (513, CLUSTER), (SIZE, 1000), (SIZE, 4 * MIB), (1 << 60, 512)]
)
def test_what_makes_no_qcow2_is_refused(tmp_path: Path, size: int, cluster_size: int) -> None:
    with NewFile(tmp_path / "x") as file, pytest.raises(ValueError, match="size"):
        Qcow2Writer(file, size, cluster_size=cluster_size)


# --- one fault each ---


@pytest.mark.parametrize(
    ("field", "width", "value", "message"),
    [
        ("version", 4, 4, "version makes no sense"),
        ("cluster_bits", 4, 8, "cluster_bits makes no sense"),
        ("cluster_bits", 4, 22, "cluster_bits makes no sense"),
        ("size", 8, 0, "size makes no sense"),
        ("size", 8, 1 << 62, "size makes no sense for clusters"),
        ("crypt_method", 4, 3, "crypt_method makes no sense"),
        ("l1_size", 4, 1 << 31, "l1_size makes no sense"),
        ("incompatible_features", 8, 1 << 5, "incompatible feature bit 5 is not known"),
        ("refcount_order", 4, 7, "refcount_order makes no sense"),
        ("header_length", 4, 72, "header_length makes no sense"),
    ],
)
def test_a_header_that_makes_no_sense(
    tmp_path: Path, field: str, width: int, value: int, message: str
) -> None:
    data = image(tmp_path / "x")
    put(data, layout.field_offset(field), value, width)
    with pytest.raises(ContainerError, match=message) as caught:
        disk_of(data)
    assert caught.value.offset == layout.field_offset(field)
    assert caught.value.layer == "qcow2 header"


@pytest.mark.parametrize("length", [4, 40, 71, 100])
def test_a_header_that_is_cut(tmp_path: Path, length: int) -> None:
    with pytest.raises(ContainerError, match="cut short"):
        disk_of(image(tmp_path / "x")[:length])


@needs("qemu-img")
@pytest.mark.parametrize(
    ("name", "finding"),
    [
        ("shared", "qcow2-cluster-shared"),
        ("outside", "qcow2-cluster-outside"),
        ("crooked", "qcow2-cluster-crooked"),
        ("table", "qcow2-table-outside"),
        ("low", "qcow2-refcount-low"),
        ("leak", "qcow2-leak"),
    ],
)
def test_a_fault_that_qemu_finds_too(tmp_path: Path, name: str, finding: str) -> None:
    data = image(tmp_path / "x")
    third = l2(data) + 3 * 8
    if name == "shared":
        put(data, third + 8, get(data, third))
    elif name == "outside":
        put(data, third, (1 << 40) | 1 << 63)
    elif name == "crooked":
        put(data, third, get(data, third) + 512)
    elif name == "table":
        put(data, l1(data), (1 << 40) | 1 << 63)
    elif name == "low":
        put(data, block(data) + 2 * (len(data) // CLUSTER - 1), 0, 2)
    else:
        put(data, third, 0)
    assert finding in ids(data)
    assert qemu_finds_fault(bytes(data))
    where = next(one.offset for one in disk_of(data).findings if one.id == finding)
    assert where is not None


def test_what_lies_outside_is_missing_only_when_read(tmp_path: Path) -> None:
    data = image(tmp_path / "x")
    put(data, l2(data) + 3 * 8, (1 << 40) | 1 << 63)
    disk = disk_of(data)
    assert disk.pread(0, CLUSTER) == bytes(CLUSTER)
    with pytest.raises(MissingDataError, match="past the end of the file"):
        disk.pread(3 * CLUSTER, 1)


@pytest.mark.parametrize(("bit", "finding"), [(1, "qcow2-dirty"), (2, "qcow2-corrupt")])
def test_flags_of_an_image_that_was_not_closed(tmp_path: Path, bit: int, finding: str) -> None:
    data = image(tmp_path / "x")
    put(data, layout.field_offset("incompatible_features"), bit)
    assert ids(data) == [finding]


@needs("qemu-img")
def test_a_compressed_cluster_that_is_damaged(tmp_path: Path) -> None:
    (tmp_path / "raw").write_bytes(b"compress me" * 30000)
    run("qemu-img", "convert", "-c", "-f", "raw", "-O", "qcow2", tmp_path / "raw", tmp_path / "x")
    data = bytearray((tmp_path / "x").read_bytes())
    entry = get(data, l2(data))
    where = entry & ((1 << 54) - 1)
    data[where : where + 64] = b"\xff" * 64
    with pytest.raises(MissingDataError, match="cannot be unpacked"):
        disk_of(data).pread(0, 1)


def test_a_bomb_unpacks_to_one_cluster(tmp_path: Path) -> None:
    import zlib

    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    packed = packer.compress(bytes(64 * MIB)) + packer.flush()
    data = image(tmp_path / "x")
    where = len(data)
    put(data, l2(data), 1 << 62 | (len(packed) // 512 + 1) << 54 | where)
    assert disk_of(data + packed).pread(0, CLUSTER) == bytes(CLUSTER)


def test_version_1_is_refused_with_the_way_out() -> None:
    assert "version 1" in probe(MemorySource(b"QFI\xfb\0\0\0\1" + bytes(100))).reason
    with pytest.raises(ContainerError, match="qcow of version 1"):
        open_container(MemorySource(b"QFI\xfb\0\0\0\1" + bytes(100)))


# --- any bytes ---


def read_all(data: bytes) -> None:
    disk = disk_of(data)
    for extent in disk.extents(0, 64 * MIB):
        if extent.kind != "missing":
            disk.pread(extent.offset, min(extent.length, CLUSTER))


@settings(max_examples=200)
@given(st.binary(max_size=400))
def test_any_bytes_behind_the_signature(rest: bytes) -> None:
    for version in (2, 3):
        try:
            read_all(b"QFI\xfb" + struct.pack(">I", version) + rest)
        except EvidenceError:
            continue


SOUND: dict[int, bytes] = {}


@settings(max_examples=300)
@given(at=st.integers(4, 111), value=st.binary(min_size=1, max_size=8))
@pytest.mark.slow
def test_any_change_of_the_header(at: int, value: bytes) -> None:
    if not SOUND:
        with tempfile.TemporaryDirectory() as folder:
            SOUND[0] = bytes(image(Path(folder) / "x", cluster_size=4096))
    data = bytearray(SOUND[0])
    data[at : at + len(value)] = value
    try:
        read_all(data)
    except EvidenceError:
        return


@settings(max_examples=200)
@given(
    entry=st.integers(0, (1 << 64) - 1),
    slot=st.integers(0, 600),
    table=st.sampled_from(["l1", "l2", "block"]),
)
@pytest.mark.slow
def test_any_entry_of_a_table(entry: int, slot: int, table: str) -> None:
    if not SOUND:
        with tempfile.TemporaryDirectory() as folder:
            SOUND[0] = bytes(image(Path(folder) / "x", cluster_size=4096))
    data = bytearray(SOUND[0])
    start = {"l1": l1, "l2": l2, "block": block}[table](data)
    put(data, start + slot % (2 if table == "l1" else 512) * 8, entry)
    try:
        read_all(data)
    except EvidenceError:
        return
