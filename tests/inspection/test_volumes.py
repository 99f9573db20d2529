"""What is on a partition: ext through its backup, swap, and other filesystems by their signature."""

from __future__ import annotations

import functools
import random
from pathlib import Path

import pytest

from b2dinspect.errors import MissingDataError
from b2dinspect.filesystems.ext4 import Ext4
from b2dinspect.inspection.volumes import Volume, identify
from b2dinspect.partitions.base import Partition
from b2dinspect.source import ByteSource, MemorySource, PatchedSource
from tests.disks import LABEL, MIB, make_disk, make_ext, new_path, open_file, patched
from tests.oracles import needs, run

START = 2048
UUID = "12345678-9abc-def0-1234-56789abcdef0"


def whole(source: ByteSource) -> Volume:
    return identify(source, Partition("none", 0, 0, source.size // 512))


def ids(volume: Volume) -> list[str]:
    return [finding.id for finding in volume.findings]


@functools.cache
def ext(block_size: int = 1024, *options: str, kind: str = "ext4") -> Path:
    """Return a disk with a filesystem of at least two groups behind the first MiB."""
    path = new_path("disk.img")
    size = {1024: 20, 2048: 40, 4096: 160}[block_size] * MIB
    path.touch()
    make_ext(
        path, size, "-b", str(block_size), "-U", UUID, *options, offset=MIB, kind=kind, files={"f": b"hello"}
    )
    with path.open("r+b") as file:
        file.truncate(size + MIB)
    return path


def partition(path: Path, *patches: tuple[int, bytes]) -> Volume:
    """Identify the partition, with patches at offsets within it."""
    disk = patched(path, *((MIB + offset, data) for offset, data in patches))
    return identify(disk, Partition("mbr", 1, START, disk.size // 512 - START))


def first_file(volume: Volume) -> bytes:
    files = Ext4(volume.source)
    try:
        content = files.content(files.find(b"f"))
        return content.pread(0, content.size)
    finally:
        files.close()


@needs("mke2fs")
@pytest.mark.parametrize("kind", ["ext2", "ext3", "ext4"])
def test_a_sound_filesystem_has_nothing_odd(kind: str) -> None:
    volume = partition(ext(kind=kind))
    assert (volume.filesystem, volume.label, volume.uuid) == (kind, LABEL.encode(), UUID)
    assert volume.findings == ()
    assert volume.is_ext
    assert [header.offset for header in volume.headers] == [MIB + 1024]
    assert volume.headers[0].data == open_file(ext(kind=kind)).pread(MIB + 1024, 1024)


@needs("mke2fs")
@pytest.mark.parametrize("block_size", [1024, 2048, 4096])
def test_a_lost_superblock_is_read_through_its_backup(block_size: int) -> None:
    volume = partition(ext(block_size), (0, bytes(2048)))
    assert (volume.filesystem, volume.label, volume.uuid) == ("ext4", LABEL.encode(), UUID)
    (fault,) = volume.findings
    number = {1024: 8193, 2048: 16384, 4096: 32768}[block_size]
    assert (fault.id, fault.offset) == ("ext4-superblock-damaged", MIB + 1024)
    assert f"e2fsck -b {number} -B {block_size} on a copy" in fault.message
    (header,) = volume.headers
    assert open_file(ext(block_size)).pread(header.offset, 1024) == header.data
    assert first_file(volume) == b"hello"


@needs("mke2fs", "e2fsck")
def test_the_advice_works(tmp_path: Path) -> None:
    copy = tmp_path / "fs.img"
    copy.write_bytes(bytes(2048) + ext().read_bytes()[MIB + 2048 :])
    run("sh", "-c", f"e2fsck -y -b 8193 -B 1024 {copy}; test $? -le 1")
    assert whole(open_file(copy)).findings == ()


@needs("mke2fs")
def test_one_senseless_value_is_read_through_the_backup_too() -> None:
    volume = partition(ext(), (1024 + 88, bytes(2)))
    assert "inode_size makes no sense" in volume.findings[0].message
    assert first_file(volume) == b"hello"


@needs("mke2fs")
def test_no_sound_copy_is_unreadable_with_the_reason() -> None:
    volume = partition(ext(), (1024 + 88, bytes(2)), (8193 * 1024, bytes(1024)))
    assert volume.filesystem == "unreadable"
    (fault,) = volume.findings
    assert (fault.id, fault.offset) == ("ext4-superblock-damaged", MIB + 1024 + 88)
    assert "inode_size makes no sense" in fault.message


@needs("mke2fs")
def test_a_backup_of_another_group_is_not_believed() -> None:
    backup = open_file(ext()).pread(MIB + 8193 * 1024, 1024)
    assert backup[90:92] == b"\1\0"
    volume = partition(ext(), (1024, bytes(1024)), (8193 * 1024 + 90, b"\3\0"))
    assert volume.filesystem == "unknown"


@needs("mke2fs")
@pytest.mark.parametrize(
    ("offset", "data", "expected"),
    [
        (58, b"\3\0", "ext4-errors"),
        (58, b"\0\0", "ext4-unclean"),
        (0x194, b"\1\0\0\0", "ext4-errors"),
        (96, None, "ext4-unclean"),
        (1020, b"\0\0\0\0", "ext4-checksum"),
    ],
)
def test_each_oddity_of_a_superblock(offset: int, data: bytes | None, expected: str) -> None:
    path = ext(1024, "-O", "metadata_csum" if expected == "ext4-checksum" else "^metadata_csum")
    if data is None:  # needs_recovery
        features = int.from_bytes(open_file(path).pread(MIB + 1024 + 96, 4), "little")
        data = (features | 4).to_bytes(4, "little")
    volume = partition(path, (1024 + offset, data))
    assert ids(volume) == [expected]
    assert partition(path).findings == ()


@needs("mke2fs")
def test_the_checksum_fault_is_where_the_checksum_is() -> None:
    volume = partition(ext(1024, "-O", "metadata_csum"), (1024 + 120, b"X"))
    assert [(finding.id, finding.offset) for finding in volume.findings] == [
        ("ext4-checksum", MIB + 1024 + 1020)
    ]


@needs("mke2fs")
def test_a_filesystem_larger_than_its_partition() -> None:
    disk = open_file(ext())
    volume = identify(disk, Partition("mbr", 1, START, 15 * 2048))
    assert ids(volume) == ["ext4-larger-than-partition"]
    assert f"{20 * MIB} bytes, but only {15 * MIB}" in volume.findings[0].message


@needs("mke2fs")
def test_a_filesystem_that_was_not_grown() -> None:
    path = make_disk(200 * MIB)
    make_ext(path, 20 * MIB)
    assert ids(whole(open_file(path))) == ["ext4-smaller-than-partition"]


@needs("mke2fs", "mkswap")
def test_a_page_of_a_file_that_ends_like_swap_does_not_hide_the_filesystem() -> None:
    assert partition(ext(), (65526, b"SWAPSPACE2")).filesystem == "ext4"


@needs("mke2fs", "mkswap")
def test_swap_made_over_a_filesystem_is_swap() -> None:
    path = make_disk(20 * MIB)
    make_ext(path, 20 * MIB, "-b", "1024")
    run("mkswap", "-L", "swap", path)
    volume = whole(open_file(path))
    assert (volume.filesystem, volume.label) == ("swap", b"swap")


@needs("mkswap")
def test_what_follows_the_nul_of_a_label_is_not_the_label() -> None:
    path = make_disk(MIB)
    run("mkswap", "-L", "swap", path)
    assert whole(patched(path, (1024 + 28 + 6, b"x"))).label == b"swap"


def other_filesystem(name: str) -> Path:
    path = make_disk(400 * MIB if name == "xfs" else 128 * MIB)
    commands = {
        "btrfs": ["mkfs.btrfs", "-q", "-L", LABEL, "-U", UUID],
        "xfs": ["mkfs.xfs", "-q"],
        "vfat 32": ["mkfs.vfat", "-F", "32"],
        "vfat 16": ["mkfs.vfat", "-F", "16"],
    }
    run(*commands[name], path)
    return path


@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=needs(f"mkfs.{name.split()[0]}"))
        for name in ("btrfs", "xfs", "vfat 16", "vfat 32")
    ],
)
def test_others_are_recognised_by_their_signature(name: str) -> None:
    volume = whole(open_file(other_filesystem(name)))
    assert volume.filesystem == name.split()[0]
    assert not volume.is_ext
    assert volume.findings == ()
    if name == "btrfs":
        assert (volume.label, volume.uuid) == (LABEL.encode(), UUID)


@pytest.mark.parametrize(
    ("name", "offset", "signature"),
    [
        ("ntfs", 3, b"NTFS    "),
        ("exfat", 3, b"EXFAT   "),
        ("iso9660", 0x8001, b"CD001"),
        ("squashfs", 0, b"hsqs"),
        ("LUKS", 0, b"LUKS\xba\xbe"),
        ("LVM", 512, b"LABELONE"),
    ],
)
def test_others_that_no_program_here_makes(name: str, offset: int, signature: bytes) -> None:
    data = bytearray(64 << 10)
    data[offset : offset + len(signature)] = signature
    assert whole(MemorySource(bytes(data))).filesystem == name


@pytest.mark.parametrize("size", [0, 1, 511, 1024, 2047, 4096, MIB])
def test_zeros_are_nothing(size: int) -> None:
    volume = whole(MemorySource(bytes(size)))
    assert (volume.filesystem, volume.findings) == ("none", ())


def test_a_partition_behind_the_end_of_the_disk_cannot_be_read() -> None:
    volume = identify(MemorySource(bytes(4096)), Partition("mbr", 1, 1 << 40, 1 << 40))
    assert volume.filesystem == "unreadable"


class Missing(MemorySource):
    def _pread(self, offset: int, length: int) -> bytes:
        raise MissingDataError("in the parent image")


def test_bytes_that_are_missing_are_no_damage() -> None:
    volume = identify(Missing(bytes(MIB)), Partition("mbr", 3, 8, 16))
    assert volume.filesystem == "missing"
    assert [(finding.id, finding.offset) for finding in volume.findings] == [("filesystem-missing", 4096)]
    assert "partition 3" in volume.findings[0].message


@needs("mke2fs")
def test_any_bytes_are_something() -> None:
    dice = random.Random(5)
    found = set()
    for _ in range(300):
        disk: ByteSource = open_file(ext())
        for _ in range(dice.randrange(1, 5)):
            place = dice.choice((MIB, MIB + 1024, MIB + 1024, MIB + 8193 * 1024)) + dice.randrange(1024)
            disk = PatchedSource(disk, place, dice.choice((b"\0", b"\xff" * 4, dice.randbytes(2))))
        volume = identify(disk, Partition("mbr", 1, START, disk.size // 512 - START))
        found |= {finding.id for finding in volume.findings}
        assert volume.is_ext == volume.filesystem.startswith("ext")
    assert {"ext4-checksum", "ext4-superblock-damaged"} <= found
