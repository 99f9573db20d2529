"""VMDK: against qemu-img, and against one fault at a time."""

from __future__ import annotations

import json
import tempfile
import uuid
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from b2dinspect.containers.vmdk import layout
from b2dinspect.containers.vmdk.descriptor import parse_descriptor
from b2dinspect.containers.vmdk.reader import VmdkContainer
from b2dinspect.containers.vmdk.writer import Identity, VmdkWriter
from b2dinspect.errors import ContainerError, EvidenceError, MissingDataError, UsageError
from b2dinspect.evidence.chain import Rules, open_disk
from b2dinspect.newfile import NewFile
from b2dinspect.source import MemorySource
from tests.oracles import needs, run

MIB = 1 << 20
SIZE = 40 * MIB
GRAIN = 65536
IDENTITY = Identity(uuid.UUID(int=1), uuid.UUID(int=2))


def image(path: Path, variant: str = "monolithicSparse", *, size: int = SIZE) -> bytearray:
    with NewFile(path, force=True) as file:
        writer = VmdkWriter(file, size, variant=variant, identity=IDENTITY, cid=0x1234, name=path.name)
        for at in (0, 5 * GRAIN, size - 512):
            writer.pwrite(at, b"grain" * 100 + b"......" * 2)
        writer.flush()
    return bytearray(path.read_bytes())


def disk_of(data: bytes, **options: bool) -> VmdkContainer:
    return VmdkContainer(MemorySource(bytes(data)), **options)


def ids(data: bytes) -> list[str]:
    return [finding.id for finding in disk_of(data).findings]


def put(data: bytearray, offset: int, value: int, width: int = 4) -> None:
    data[offset : offset + width] = value.to_bytes(width, "little")


def get(data: bytearray, offset: int, width: int = 4) -> int:
    return int.from_bytes(data[offset : offset + width], "little")


def table(data: bytearray, copy: str) -> int:
    """Return where the first grain table of a copy is, bytes."""
    directory = get(data, layout.field_offset(copy), 8) * 512
    return get(data, directory) * 512


@needs("qemu-img")
@pytest.mark.parametrize("variant", ["monolithicSparse", "streamOptimized"])
@pytest.mark.parametrize("size", [MIB, SIZE, 20000 * MIB, 1 << 41])
@pytest.mark.slow
def test_qemu_finds_nothing_wrong(tmp_path: Path, variant: str, size: int) -> None:
    path = tmp_path / "disk.vmdk"
    with NewFile(path) as file:
        writer = VmdkWriter(file, size, variant=variant, name=path.name)
        for at in (0, size - 512):
            writer.pwrite(at, b"x" * 512)
        writer.flush()
    assert b"No errors were found" in run("qemu-img", "check", path).stdout
    with open_disk(str(path)) as opened:
        assert (opened.container.size, opened.container.findings) == (size, ())
        assert opened.container.pread(size - 512, 512) == b"x" * 512
    assert path.stat().st_blocks * 512 < 3 * MIB


@needs("qemu-img")
def test_a_flat_disk_is_two_files(tmp_path: Path) -> None:
    flat = tmp_path / "disk-flat.vmdk"
    with NewFile(flat) as file:
        writer = VmdkWriter(file, SIZE, variant="monolithicFlat", name=flat.name)
        writer.pwrite(MIB, b"flat")
        writer.flush()
    path = tmp_path / "disk.vmdk"
    path.write_bytes(writer.descriptor())
    run("qemu-img", "convert", "-f", "vmdk", "-O", "raw", path, tmp_path / "raw")
    with open_disk(str(path)) as opened:
        assert opened.container.pread(0, SIZE) == (tmp_path / "raw").read_bytes()
        assert [link.role for link in opened.links] == ["extent"]
    flat.unlink()
    with open_disk(str(path)) as opened:
        assert {one.id for one in opened.container.findings} == {"vmdk-extent-missing"}
        with pytest.raises(MissingDataError):
            opened.container.pread(0, 1)


def test_the_same_writes_give_the_same_bytes(tmp_path: Path) -> None:
    (tmp_path / "a").mkdir()
    (tmp_path / "b").mkdir()
    assert image(tmp_path / "a" / "x.vmdk") == image(tmp_path / "b" / "x.vmdk")


def test_facts_of_a_disk_as_virtualbox_makes_it(tmp_path: Path) -> None:
    disk = disk_of(image(tmp_path / "disk.vmdk"))
    assert disk.findings == ()
    assert disk.variant == "monolithicSparse"
    assert disk.identity == str(uuid.UUID(int=1))
    assert (disk.cid, disk.parent_cid) == ("00001234", "")
    assert disk.allocated_size == 3 * GRAIN
    assert [header.name for header in disk.headers] == ["VMDK header", "VMDK descriptor"]


# --- redundant tables ---


def test_tables_that_differ_are_told_and_both_can_be_read(tmp_path: Path) -> None:
    path = tmp_path / "disk.vmdk"
    data = image(path)
    put(data, table(data, "gd_offset") + 5 * 4, 0)
    path.write_bytes(data)
    found = next(one for one in disk_of(data).findings if one.id == "vmdk-grain-tables-differ")
    assert "grain 5 " in found.message
    assert found.offset == table(data, "gd_offset") + 5 * 4
    assert disk_of(data).pread(5 * GRAIN, 5) == bytes(5)
    assert disk_of(data, prefer_redundant=True).pread(5 * GRAIN, 5) == b"grain"
    with open_disk(str(path), rules=Rules(prefer_redundant=True)) as opened:
        assert opened.container.pread(5 * GRAIN, 5) == b"grain"


def test_there_must_be_redundant_tables_to_prefer(tmp_path: Path) -> None:
    data = image(tmp_path / "disk.vmdk", "streamOptimized")
    with pytest.raises(ContainerError, match="no redundant grain directory"):
        disk_of(data, prefer_redundant=True)
    (tmp_path / "raw").write_bytes(bytes(MIB))
    with pytest.raises(UsageError, match="only a VMDK"):
        open_disk(str(tmp_path / "raw"), rules=Rules(prefer_redundant=True))


# --- one fault each ---


@pytest.mark.parametrize(
    ("field", "width", "value", "message"),
    [
        ("version", 4, 4, "version makes no sense"),
        ("grain_size", 8, 0, "grain_size makes no sense"),
        ("grain_size", 8, 1 << 60, "grain_size makes no sense"),
        ("gtes_per_gt", 4, 0, "gtes_per_gt makes no sense"),
        ("capacity", 8, 1 << 60, "capacity makes no sense"),
        ("gd_offset", 8, 0, "gd_offset makes no sense"),
    ],
)
def test_a_header_that_makes_no_sense(
    tmp_path: Path, field: str, width: int, value: int, message: str
) -> None:
    data = image(tmp_path / "disk.vmdk")
    put(data, layout.field_offset(field), value, width)
    with pytest.raises(ContainerError, match=message) as caught:
        disk_of(data)
    assert caught.value.offset == layout.field_offset(field)


def test_a_file_transferred_as_text(tmp_path: Path) -> None:
    data = image(tmp_path / "disk.vmdk")
    at = layout.field_offset("newlines")
    data[at : at + 4] = b"\n \n\n"
    assert ids(data) == ["vmdk-newlines-changed"]


def test_a_disk_that_was_not_closed(tmp_path: Path) -> None:
    data = image(tmp_path / "disk.vmdk")
    data[layout.field_offset("unclean_shutdown")] = 1
    assert ids(data) == ["vmdk-unclean-shutdown"]


@pytest.mark.parametrize(
    ("sector", "finding"), [(1 << 30, "vmdk-grain-outside"), (2, "vmdk-grain-in-metadata")]
)
def test_a_grain_where_none_can_be(tmp_path: Path, sector: int, finding: str) -> None:
    data = image(tmp_path / "disk.vmdk")
    for copy in ("gd_offset", "rgd_offset"):
        put(data, table(data, copy) + 5 * 4, sector)
    assert ids(data) == [finding]


def test_a_grain_used_twice(tmp_path: Path) -> None:
    data = image(tmp_path / "disk.vmdk")
    for copy in ("gd_offset", "rgd_offset"):
        put(data, table(data, copy) + 4, get(data, table(data, copy)))
    assert ids(data) == ["vmdk-grain-shared"]


def test_a_stream_that_is_cut(tmp_path: Path) -> None:
    data = image(tmp_path / "disk.vmdk", "streamOptimized")
    with pytest.raises(ContainerError, match="no footer before the end"):
        disk_of(data[:-1024])


def test_a_packed_grain_that_is_damaged(tmp_path: Path) -> None:
    data = image(tmp_path / "disk.vmdk", "streamOptimized")
    data[GRAIN + 12 : GRAIN + 20] = b"\xff" * 8
    with pytest.raises(MissingDataError, match="does not unpack"):
        disk_of(data).pread(0, 1)


def test_a_bomb_unpacks_to_one_grain(tmp_path: Path) -> None:
    import zlib

    data = image(tmp_path / "disk.vmdk", "streamOptimized")
    packed = zlib.compress(bytes(64 * MIB), 9)
    stuffed = data[: GRAIN + 8] + len(packed).to_bytes(4, "little") + packed
    assert len(packed) < 2 * GRAIN
    try:
        assert len(disk_of(stuffed + data[-1536:]).pread(0, GRAIN)) <= GRAIN
    except EvidenceError:
        return


# --- any bytes ---


def read_all(data: bytes) -> None:
    disk = disk_of(data)
    for extent in disk.extents(0, 64 * MIB):
        if extent.kind != "missing":
            try:
                disk.pread(extent.offset, min(extent.length, GRAIN))
            except MissingDataError:
                continue


@pytest.fixture(scope="module")
def sound() -> dict[str, bytes]:
    with tempfile.TemporaryDirectory() as folder:
        return {
            name: bytes(image(Path(folder) / f"{name}.vmdk", name))
            for name in ("monolithicSparse", "streamOptimized")
        }


@settings(max_examples=300)
@given(at=st.integers(4, 90), value=st.binary(min_size=1, max_size=8), kind=st.booleans())
@pytest.mark.slow
def test_any_change_of_the_header(sound: dict[str, bytes], at: int, value: bytes, kind: bool) -> None:
    data = bytearray(sound["streamOptimized" if kind else "monolithicSparse"])
    data[at : at + len(value)] = value
    try:
        read_all(data)
    except EvidenceError:
        return


@settings(max_examples=200)
@given(entry=st.integers(0, (1 << 32) - 1), slot=st.integers(0, 700), where=st.sampled_from(["gd", "gt"]))
@pytest.mark.slow
def test_any_entry_of_a_table(sound: dict[str, bytes], entry: int, slot: int, where: str) -> None:
    data = bytearray(sound["monolithicSparse"])
    start = (
        get(data, layout.field_offset("gd_offset"), 8) * 512 if where == "gd" else table(data, "gd_offset")
    )
    put(data, start + slot % (2 if where == "gd" else 512) * 4, entry)
    read_all(data)


@settings(max_examples=200)
@given(st.binary(max_size=600))
def test_any_bytes_behind_a_signature(rest: bytes) -> None:
    for start in (b"KDMV", b"# Disk DescriptorFile\n"):
        try:
            read_all(start + rest)
        except EvidenceError:
            continue


@settings(max_examples=200)
@given(st.binary(max_size=400))
def test_a_descriptor_is_read_whatever_is_in_it(data: bytes) -> None:
    found = parse_descriptor(data, 0)
    assert all(line.sectors >= 0 for line in found.extents)
    assert len(found.header().fields()) >= 1


# --- where a descriptor begins ---

BODY = """version=1
CID=12345678
parentCID=ffffffff
createType="monolithicFlat"

# Extent description
RW 16 FLAT "flat.img" 0
"""


@needs("qemu-img")
@pytest.mark.parametrize(
    "text",
    [
        "# Disk DescriptorFile\n" + BODY,
        "# disk descriptorfile\n" + BODY,
        "# DISK DESCRIPTORFILE\n" + BODY,
        "  \n \n# Disk DescriptorFile\n" + BODY,
        "# Disk DescriptorFile\n    \n# more\n" + BODY,
        ("  \n# any comment\n" + BODY).replace("\n", "\r\n"),
        "#\n" + BODY.replace("version=1", "version=3"),
        BODY,
        "#\n" + BODY.replace("version=1", "version=4"),
        "\t\n#\n" + BODY,
        "CID=1\n" + BODY,
        "  #\n" + BODY,
    ],
)
def test_a_descriptor_begins_as_qemu_finds_it(tmp_path: Path, text: str) -> None:
    (tmp_path / "flat.img").write_bytes(b"disk" * 2048)
    (tmp_path / "disk").write_bytes(text.encode())
    told = json.loads(run("qemu-img", "info", "--output=json", tmp_path / "disk").stdout)
    with open_disk(str(tmp_path / "disk")) as opened:
        assert opened.container.format == told["format"]
        if told["format"] == "vmdk":
            assert opened.container.size == told["virtual-size"]
            assert opened.container.pread(0, 8192) == b"disk" * 2048


def test_a_descriptor_may_begin_with_empty_lines(tmp_path: Path) -> None:
    """qemu takes such a file for a raw disk; its own first line leaves no doubt."""
    (tmp_path / "flat.img").write_bytes(b"disk" * 2048)
    (tmp_path / "disk").write_text("\n\n# disk DescriptorFile\n" + BODY)
    with open_disk(str(tmp_path / "disk")) as opened:
        assert opened.container.pread(0, 8) == b"diskdisk"
