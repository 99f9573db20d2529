"""Copying what a disk stores: every source, every way, holes kept."""

from __future__ import annotations

import os
from functools import partial
from pathlib import Path

import pytest

from b2dinspect.containers import open_container
from b2dinspect.containers.writers import new_disk, written_formats
from b2dinspect.errors import MissingDataError
from b2dinspect.evidence.chain import open_disk
from b2dinspect.evidence.file import open_evidence
from b2dinspect.identity import Identities
from b2dinspect.newfile import NewFile
from b2dinspect.newfile.behind import WriteBehind
from b2dinspect.provisioning.disk.convert import Filled
from b2dinspect.provisioning.disk.copying import GRANULE, RUN, ahead, copy, first_difference
from b2dinspect.source import ByteSource, Extent, MemorySource, SliceSource
from tests.oracles import needs, run

MIB = 1 << 20
SIZE = 40 * MIB + 512


@pytest.fixture(scope="module")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A raw disk with every kind of edge: zeros that are stored, single bytes, runs longer than a call."""
    path = tmp_path_factory.mktemp("copying") / "disk.raw"
    with path.open("wb") as file:
        file.write(b"a" * 1000 + bytes(3 * MIB) + b"b" * 70000)  # zeros are stored here
        file.seek(RUN - 100)
        file.write(os.urandom(MIB) * 3)
        file.seek(39 * MIB + GRANULE - 1)
        file.write(b"x")
        file.seek(SIZE - 1)
        file.write(b"z")
    return path


def content(path: Path) -> bytes:
    with open_disk(str(path)) as opened:
        return opened.container.pread(0, SIZE)


def copied(source: ByteSource, target: Path, format_name: str) -> int:
    with NewFile(target) as file, WriteBehind(file) as sink:
        writer = new_disk(format_name, sink, source.size, Identities())
        count = copy(source, writer)
        writer.flush()
    return count


@pytest.mark.parametrize("format_name", written_formats())
def test_a_file_is_copied_into_every_format_and_back(disk: Path, tmp_path: Path, format_name: str) -> None:
    there, back = tmp_path / f"disk.{format_name}", tmp_path / "back.raw"
    with open_disk(str(disk)) as opened:
        assert copied(opened.container, there, format_name) < 5 * MIB  # 3 MiB of zeros are not
        with open_disk(str(there)) as made:
            assert first_difference(opened.container, made.container) is None
            assert copied(made.container, back, "raw") < 5 * MIB
    assert content(back) == content(disk)
    assert back.stat().st_blocks * 512 < 5 * MIB


@needs("qemu-img")
@pytest.mark.parametrize("options", [("qcow2", "-c"), ("vmdk", "-o", "subformat=streamOptimized")])
def test_packed_blocks_are_unpacked(disk: Path, tmp_path: Path, options: tuple[str, ...]) -> None:
    packed, out = tmp_path / "packed", tmp_path / "out.raw"
    run("qemu-img", "convert", "-f", "raw", "-O", *options, disk, packed)
    with open_disk(str(packed)) as opened:
        assert opened.container.is_packed
        copied(opened.container, out, "raw")
    assert out.read_bytes() == disk.read_bytes()
    assert out.stat().st_blocks * 512 < 5 * MIB


def test_a_disk_that_no_file_holds_is_read(disk: Path, tmp_path: Path) -> None:
    memory = MemorySource(disk.read_bytes())
    copied(memory, tmp_path / "out.vdi", "vdi")
    assert content(tmp_path / "out.vdi") == disk.read_bytes()


def test_an_image_inside_another_file(disk: Path, tmp_path: Path) -> None:
    image = tmp_path / "disk.vdi"
    with open_disk(str(disk)) as opened:
        copied(opened.container, image, "vdi")
    (tmp_path / "archive").write_bytes(b"#" * 777 + image.read_bytes() + b"#" * 99)
    with open_evidence(str(tmp_path / "archive")) as file:
        inner = SliceSource(file, 777, image.stat().st_size)
        assert inner.in_file() == (file, 777)
        copied(open_container(inner), tmp_path / "out.raw", "raw")
    assert (tmp_path / "out.raw").read_bytes() == disk.read_bytes()


class Torn(MemorySource):
    def _pread(self, offset: int, length: int) -> bytes:
        if offset <= 3 * MIB < offset + length:
            raise MissingDataError("not here", offset=3 * MIB)
        return super()._pread(offset, length)

    def extents(self, offset: int = 0, length: int | None = None) -> list[Extent]:  # type: ignore[override]
        end = self.size if length is None else offset + length
        cuts = sorted({offset, end, *(at for at in (3 * MIB, 3 * MIB + 512) if offset < at < end)})
        kinds = ["missing" if start == 3 * MIB else "data" for start in cuts]
        return [
            Extent(start, stop - start, kind)  # type: ignore[arg-type]
            for start, stop, kind in zip(cuts, cuts[1:], kinds, strict=False)
        ]


def test_what_is_missing_is_told_or_filled(tmp_path: Path) -> None:
    torn = Torn(b"d" * (8 * MIB))
    with pytest.raises(MissingDataError, match="not here"):
        copied(torn, tmp_path / "out.raw", "raw")
    assert list(tmp_path.iterdir()) == []
    copied(Filled(torn), tmp_path / "out.raw", "raw")
    expected = b"d" * (3 * MIB) + bytes(512) + b"d" * (5 * MIB - 512)
    assert (tmp_path / "out.raw").read_bytes() == expected


def test_jobs_come_back_in_order_and_only_what_is_needed_is_begun() -> None:
    begun: list[int] = []

    def job(number: int) -> int:
        begun.append(number)
        return number * 2

    done = ahead((number, partial(job, number) if number % 3 else None) for number in range(1000))
    assert [next(done) for _ in range(5)] == [(0, None), (1, 2), (2, 4), (3, None), (4, 8)]
    done.close()
    assert len(begun) < 100
