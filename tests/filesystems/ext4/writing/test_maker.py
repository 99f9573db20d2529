"""A new ext4, byte for byte against mke2fs."""

from __future__ import annotations

import os
import uuid
from pathlib import Path

import pytest

from b2dinspect.errors import FilesystemError
from b2dinspect.evidence.file import open_evidence
from b2dinspect.filesystems.ext4.writing.geometry import geometry_for
from b2dinspect.filesystems.ext4.writing.maker import Identity, _Maker, make
from tests.filesystems.ext4.writing.model import IDENTITY
from tests.oracles import needs, run

MIB, GIB, TIB = 1 << 20, 1 << 30, 1 << 40
FEATURES = (
    "none,has_journal,ext_attr,resize_inode,dir_index,filetype,extent,64bit,flex_bg,sparse_super,"
    "large_file,huge_file,dir_nlink,extra_isize,metadata_csum"
)
PAGE = 4096
KIBIBYTES, CHECKSUM = slice(376, 384), slice(1020, 1024)
"""Where a superblock counts the KiB that were written, and its checksum."""


def by_mke2fs(path: Path, size: int, ratio: int, features: str = FEATURES) -> Path:
    """Let mke2fs make what ``ours`` makes."""
    with path.open("wb") as file:
        file.truncate(size)
    pinned = {"E2FSPROGS_FAKE_TIME": str(IDENTITY.time), "MKE2FS_CONFIG": os.devnull}
    options = f"hash_seed={IDENTITY.hash_seed},lazy_itable_init=1,lazy_journal_init=1,nodiscard"
    words = ["mke2fs", "-q", "-F", "-b", "4096", "-I", "256", "-i", ratio, "-O", features]
    words += ["-L", IDENTITY.label.decode(), "-U", IDENTITY.uuid, "-E", options, path]
    run("env", *(f"{name}={value}" for name, value in pinned.items()), *words)
    return path


def ours(path: Path, size: int, ratio: int, identity: Identity = IDENTITY) -> Path:
    """Make a filesystem in a sparse file."""

    class Target:
        def pwrite(self, offset: int, data: bytes) -> None:
            file.seek(offset)
            file.write(data)

    with path.open("w+b") as file:
        file.truncate(size)
        make(Target(), size, ratio, identity)
    return path


def pages(path: Path) -> dict[int, bytes]:
    """Return what a sparse file stores, without the counts that superblocks have of the writing."""
    found = {}
    with open_evidence(str(path)) as source:
        for extent in source.extents():
            if extent.kind == "data":
                for at in range(extent.offset // PAGE * PAGE, extent.offset + extent.length, PAGE):
                    if any(data := source.pread(at, PAGE)):
                        found[at] = bytes(_without_counts(at, bytearray(data)))
    return found


def _without_counts(at: int, data: bytearray) -> bytearray:
    start = 0 if at else 1024
    if data[start + 56 : start + 58] == b"\x53\xef":
        for field in (KIBIBYTES, CHECKSUM):
            data[start + field.start : start + field.stop] = bytes(field.stop - field.start)
    return data


@needs("mke2fs", "e2fsck")
@pytest.mark.parametrize(
    ("size", "ratio"),
    [
        (9 * MIB, 8192),
        (64 * MIB, 2048),
        (128 * MIB + PAGE, 2048),
        (129 * MIB, 8192),
        (300 * MIB, 2048),
        (513 * MIB, 16384),
        (5000 * MIB, 2048),
        (18999 * MIB + 512, 8192),
        (20000 * MIB, 2048),
        (64 * GIB, 8192),
    ],
)
def test_a_new_filesystem_is_what_mke2fs_makes(size: int, ratio: int, tmp_path: Path) -> None:
    mine = ours(tmp_path / "ours", size, ratio)
    assert pages(mine) == pages(by_mke2fs(tmp_path / "theirs", size, ratio))
    run("e2fsck", "-fn", mine)


@pytest.mark.slow
@needs("mke2fs", "e2fsck", "debugfs")
@pytest.mark.parametrize(("size", "ratio"), [(130 * GIB, 2048), (2 * TIB, 8192)])
def test_a_large_one_differs_in_leftovers_of_its_journal_alone(size: int, ratio: int, tmp_path: Path) -> None:
    mine, theirs = ours(tmp_path / "ours", size, ratio), by_mke2fs(tmp_path / "theirs", size, ratio)
    run("e2fsck", "-fn", mine)
    # mke2fs leaves extents that no longer fit behind the journal's index, in inode and superblocks
    geometry = geometry_for(size, ratio)
    length = geometry.head_blocks * PAGE
    with open_evidence(str(mine)) as left, open_evidence(str(theirs)) as right:
        for start in (geometry.group_start(group) * PAGE for group in geometry.heads()[1:]):
            assert left.pread(start + PAGE, length - PAGE) == right.pread(start + PAGE, length - PAGE)
    assert run("debugfs", "-R", "ex <8>", mine).stdout == run("debugfs", "-R", "ex <8>", theirs).stdout


def test_identities_are_those_that_are_given(tmp_path: Path) -> None:
    other = Identity(b"other", uuid.UUID(int=3), uuid.UUID(int=4), 1)
    first, second = (ours(tmp_path / name, 64 * MIB, 8192, other).read_bytes() for name in ("one", "two"))
    assert first == second
    assert first[1024 + 104 : 1024 + 120] == other.uuid.bytes
    assert first[1024 + 120 : 1024 + 136] == b"other".ljust(16, b"\0")


@pytest.mark.parametrize("size", [0, 7 * MIB, 16 * TIB])
def test_a_size_that_cannot_be_made_is_refused(size: int) -> None:
    with pytest.raises(FilesystemError):
        geometry_for(size, 8192)


def test_a_group_behind_65535_has_a_number_of_sixteen_bits() -> None:
    """A disk of 8 TiB has as many: making it ended in a traceback."""
    block = _Maker(geometry_for(64 << 20, 8192), IDENTITY)._superblock(78125, 0)
    assert int.from_bytes(block[90:92], "little") == 78125 & 0xFFFF
