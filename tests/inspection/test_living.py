"""The search for what no table names: any sector, copies and journals, and an end of the work."""

from __future__ import annotations

import time

from b2dinspect.containers.raw.reader import RawContainer
from b2dinspect.inspection.living import living_on
from b2dinspect.source import ByteSource, MemorySource
from tests.disks import MIB, make_disk, make_ext, open_file
from tests.oracles import needs

PATIENCE = 60


def found(disk: ByteSource) -> list[tuple[str, int]]:
    return [(one.filesystem, one.partition.start) for one in living_on(RawContainer(disk), ())]


@needs("mke2fs")
def test_an_ext4_at_any_sector_and_only_once() -> None:
    path = make_disk(70 * MIB)
    make_ext(path, 30 * MIB, offset=4711 * 512, label="one")
    make_ext(path, 30 * MIB, offset=77777 * 512, label="two")
    assert found(open_file(path)) == [("ext4", 4711), ("ext4", 77777)]


@needs("mke2fs")
def test_the_copies_in_a_journal_begin_nothing() -> None:
    path = make_disk(40 * MIB)
    make_ext(path, 38 * MIB, offset=333 * 512)
    with path.open("r+b") as file:
        file.seek(333 * 512)
        first_block = file.read(4096)
        file.seek(39 * MIB)
        file.write(first_block)
    assert found(open_file(path)) == [("ext4", 333)]


@needs("mke2fs")
def test_luks_hides_nothing_behind_it() -> None:
    path = make_disk(40 * MIB, (40 * 512, b"LUKS\xba\xbe\0\1"))
    make_ext(path, 30 * MIB, offset=4711 * 512)
    assert found(open_file(path)) == [("LUKS", 40), ("ext4", 4711)]


def test_a_disk_of_what_only_seems_to_be_superblocks_comes_to_an_end() -> None:
    sector = (bytes(56) + b"\x53\xef").ljust(512, b"\1")
    start = time.perf_counter()
    assert found(MemorySource(sector * (16 * MIB // 512))) == []
    assert time.perf_counter() - start < PATIENCE
