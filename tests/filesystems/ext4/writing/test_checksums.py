"""Checksums and records of ext4."""

from __future__ import annotations

import pytest

from b2dinspect.errors import FilesystemError
from b2dinspect.filesystems.ext4.layout import INODE, INODE_EXTRA
from b2dinspect.filesystems.ext4.writing import linear
from b2dinspect.filesystems.ext4.writing.record import Record


def test_a_number_of_two_halves_has_one_name() -> None:
    record = Record(bytes(160), INODE, INODE_EXTRA)
    record.set(size=0x123456789A, uid=70000)
    assert record.get("size") == 0x123456789A
    assert (record.get("uid_lo"), record.get("uid_hi")) == (70000 & 0xFFFF, 1)


def test_what_the_bytes_do_not_reach_is_zero_and_stays_so() -> None:
    record = Record(bytes(128), INODE, INODE_EXTRA)
    assert record.get("crtime") == 0
    record.set(crtime=0)
    with pytest.raises(OverflowError):
        record.set(crtime=1)


def test_a_removed_name_gives_its_room_to_the_one_before() -> None:
    block = linear.first(12, 2, 1024, 2)
    full = linear.with_name(block, 13, 1, b"file")
    assert full is not None
    assert [one.name for one in linear.names(full)] == [b".", b"..", b"file"]
    emptied = linear.without_name(full, b"file")
    assert emptied is not None
    assert [(one.name, one.length) for one in linear.names(emptied)] == [(b".", 12), (b"..", 1012)]
    assert linear.without_name(emptied, b"file") is None
    assert linear.with_name(linear.first(12, 2, 24, 2), 13, 1, b"file") is None


@pytest.mark.parametrize("block", [b"\1\0\0\0\6\0\0\0", b"\1\0\0\0\x40\0\1\1a\0\0\0", b"\1\0\0\0\x0c"])
def test_a_block_that_is_no_directory_is_refused(block: bytes) -> None:
    with pytest.raises(FilesystemError):
        [*linear.names(block)]
