"""The disk in the making, against a plain array of bytes; and changing images as a whole."""

from __future__ import annotations

import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from b2dinspect.containers import open_container
from b2dinspect.containers.writers import format_for, new_disk, written_formats
from b2dinspect.errors import UsageError
from b2dinspect.evidence.file import open_evidence
from b2dinspect.identity import Identities
from b2dinspect.newfile import NewFile
from b2dinspect.provisioning.disk.images import WorkDisk, stored_chunks
from b2dinspect.provisioning.disk.rework import rework
from b2dinspect.source import MemorySource
from tests.disks import make_disk

MIB = 1 << 20
SIZE = 3 * MIB + 512

writes = st.lists(
    st.tuples(st.integers(0, SIZE - 1), st.binary(min_size=1, max_size=64), st.integers(1, 3000)), max_size=12
)


@settings(max_examples=80)
@given(writes=writes, image_format=st.sampled_from(sorted(written_formats())))
@pytest.mark.slow
def test_a_work_disk_is_an_array_of_bytes(writes: list[tuple[int, bytes, int]], image_format: str) -> None:
    model = bytearray(SIZE)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "image"
        with NewFile(path) as file:
            disk = WorkDisk(new_disk(image_format, file, SIZE, Identities()))
            touched: set[int] = set()
            for offset, unit, times in writes:
                data = (unit * times)[: SIZE - offset]
                disk.pwrite(offset, data)
                model[offset : offset + len(data)] = data
                touched.update(range(offset, offset + len(data)))
                assert disk.pread(offset, len(data)) == data
            changes = disk.changes()
            ranges = [range(one.virtual_offset, one.virtual_offset + one.length) for one in changes]
            assert {at for covered in ranges for at in covered} == (touched)
            for one in changes:
                assert model[one.head_offset : one.head_offset + len(one.head)] == one.head
            assert disk.changes() == ()
            assert disk.has_changed == bool(writes)
            assert disk.pread(0, SIZE) == model
            assert sum(extent.length for extent in disk.extents()) == SIZE
            rebuilt = bytearray(SIZE)
            for offset, data in stored_chunks(disk):
                rebuilt[offset : offset + len(data)] = data
            assert rebuilt == model
            disk.writer.flush()
        source = open_evidence(str(path))
        try:
            image = open_container(source, image_format)
            assert image.pread(0, SIZE) == model
            stored = path.read_bytes()
            for one in changes:
                if one.file_offset is not None:
                    assert stored[one.file_offset] == model[one.virtual_offset]
        finally:
            source.close()


@pytest.mark.parametrize("image_format", sorted(written_formats()))
@pytest.mark.parametrize(("offset", "length"), [(-1, 1), (SIZE, 1), (SIZE - 1, 2), (1 << 60, 1)])
def test_nothing_is_written_outside(image_format: str, offset: int, length: int, tmp_path: Path) -> None:
    with NewFile(tmp_path / "image") as file:
        writer = new_disk(image_format, file, SIZE, Identities())
        with pytest.raises(ValueError, match="do not fit on a disk"):
            writer.pwrite(offset, b"x" * length)


@pytest.mark.parametrize(
    ("name", "asked", "found"),
    [("a.vdi", None, "vdi"), ("A.VDI", None, "vdi"), ("x.img", None, "raw"), ("x", "raw", "raw")],
)
def test_the_name_tells_the_format(name: str, asked: str | None, found: str) -> None:
    assert format_for(name, asked) == found


def test_chunks_hold_everything_but_zeros() -> None:
    data = bytes(2 * MIB) + b"x" + bytes(MIB)
    assert list(stored_chunks(MemorySource(data))) == [(2 * MIB, data[2 * MIB : 3 * MIB])]


def test_rework_replaces_the_image_only_when_something_was_written(tmp_path: Path) -> None:
    path = make_disk(SIZE, (0, b"old"))
    path.chmod(0o640)
    inode = path.stat().st_ino
    with rework(path, Identities()) as disk:
        assert disk.pread(0, 3) == b"old"
    assert path.stat().st_ino == inode
    with rework(path, Identities()) as disk:
        disk.pwrite(1, b"LD")
    assert path.stat().st_ino != inode
    assert (path.read_bytes()[:3], path.stat().st_size) == (b"oLD", SIZE)
    assert path.stat().st_mode & 0o777 == 0o640
    assert [one.name for one in path.parent.iterdir()] == [path.name]


def test_a_rework_that_fails_leaves_the_image(tmp_path: Path) -> None:
    path = make_disk(SIZE, (0, b"old"))
    with pytest.raises(ZeroDivisionError), rework(path, Identities()) as disk:
        disk.pwrite(0, b"new")
        raise ZeroDivisionError
    assert path.read_bytes()[:3] == b"old"
    assert [one.name for one in path.parent.iterdir()] == [path.name]


def test_unknown_formats_are_refused() -> None:
    with pytest.raises(UsageError, match="cannot write the format 'floppy'"):
        format_for("x.vdi", "floppy")


def test_identities_are_pinned_by_a_seed_only() -> None:
    one, two, random = Identities.from_seed("a"), Identities.from_seed("a"), Identities.from_seed(None)
    assert one.uuid("disk") == two.uuid("disk") != Identities.from_seed("b").uuid("disk")
    assert one.uuid("disk") != one.uuid("swap")
    assert random.uuid("disk") == random.uuid("disk") != Identities().uuid("disk")
    assert one.number("disk") == two.number("disk") < 1 << 32
    assert one.time == two.time == 1546300800
