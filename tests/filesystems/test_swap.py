"""The swap header, against mkswap and blkid."""

from __future__ import annotations

import pytest

from b2dinspect.filesystems.swap import HEADER_OFFSET, PAGE_SIZES, read_swap
from b2dinspect.source import FileSource, MemorySource
from tests.disks import MIB, make_disk, open_file
from tests.oracles import needs, run


def swap(*options: str) -> FileSource:
    path = make_disk(4 * MIB)
    run("mkswap", *options, path)
    return open_file(path)


@needs("mkswap")
@pytest.mark.parametrize("page", PAGE_SIZES)
def test_every_page_size_of_mkswap(page: int) -> None:
    header, structure = read_swap(swap("--pagesize", str(page), "-L", "boot2dockerswap"), MIB)
    assert header.label.rstrip(b"\0") == b"boot2dockerswap"
    assert header.version == 1
    assert header.last_page == 4 * MIB // page - 1
    assert structure.offset == MIB + HEADER_OFFSET


@needs("mkswap", "blkid")
def test_says_what_blkid_says() -> None:
    path = make_disk(4 * MIB)
    run("mkswap", "-L", "a label", path)
    told = dict(
        line.split("=", 1) for line in run("blkid", "-p", "-o", "export", path).stdout.decode().splitlines()
    )
    header, _ = read_swap(open_file(path), 0)
    assert str(header.uuid) == told["UUID"]
    assert header.label.rstrip(b"\0").decode() == told["LABEL"].replace("\\ ", " ")


@needs("mkswap")
def test_no_label_is_an_empty_one() -> None:
    header, _ = read_swap(swap(), 0)
    assert header.label == bytes(16)


@pytest.mark.parametrize("data", [b"", bytes(65536), b"SWAPSPACE2", bytes(4086) + b"SWAPSPACE1"])
def test_without_the_signature_there_is_no_swap(data: bytes) -> None:
    assert read_swap(MemorySource(data), 0) is None


def test_the_signature_counts_only_at_the_end_of_a_page() -> None:
    assert read_swap(MemorySource(bytes(4085) + b"SWAPSPACE2" + bytes(70000)), 0) is None
    assert read_swap(MemorySource(bytes(4086) + b"SWAPSPACE2"), 0) is not None
