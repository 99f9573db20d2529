"""Files inside ext2/3/4: against debugfs, behind the wall, and with any byte changed."""

from __future__ import annotations

import functools
import mmap
import os
import random
import signal
import stat
import struct
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from b2dinspect.errors import EvidenceError, FilesystemError, NotFoundError
from b2dinspect.filesystems import ext4, sleuthkit
from b2dinspect.filesystems.ext4 import DirectoryEntry, Ext4
from b2dinspect.filesystems.ext4.reader import device_of
from b2dinspect.filesystems.superblock import parse_superblock
from b2dinspect.source import ByteSource, MemorySource, PatchedSource, SliceSource
from tests.disks import MIB, change_ext, debugfs, make_ext, new_path, open_file
from tests.oracles import needs, run

pytestmark = needs("mke2fs", "debugfs", "e2fsck")

KINDS = {
    "1 KiB blocks": ("ext4", "-b", "1024"),
    "4 KiB blocks": ("ext4", "-b", "4096"),
    "no 64bit, no checksum": ("ext4", "-O", "^64bit,^metadata_csum"),
    "inline data": ("ext4", "-O", "inline_data", "-I", "1024"),
    "no journal": ("ext4", "-O", "^has_journal"),
    "no extents": ("ext4", "-O", "^extent,^64bit"),
    "small inodes": ("ext4", "-I", "128"),
    "ext3": ("ext3",),
    "ext2": ("ext2",),
}
OFFSET = 3 * MIB
"""Where the filesystem begins in the file: nothing may take it for 0."""

CONTENTS = {
    "empty": b"",
    "small": b"hello\n",
    "short": b"s" * 150,
    "blocks": random.Random(1).randbytes(70_001),
    "large": random.Random(2).randbytes(600_000),
    "dir/inner": b"inner",
}
ODD_NAMES = (b"not \xff\xfe utf-8", b"new\nline", b"\x1b[31m", b"n" * 255, "größe".encode())


@functools.cache
def image(kind: str, *options: str) -> Path:
    """Return a filesystem at OFFSET that holds every sort of file."""
    tree = new_path("tree")
    for name, content in CONTENTS.items():
        (tree / name).parent.mkdir(parents=True, exist_ok=True)
        (tree / name).write_bytes(content)
    with (tree / "sparse").open("wb") as file:
        for place in (0, 5 << 16, 1 << 20):
            file.seek(place)
            file.write(b"data")
        file.truncate(3 << 20)
    (tree / "fast").symlink_to("/short/target")
    (tree / "slow").symlink_to("/long/" + "t" * 300)
    (tree / "sixty").symlink_to("s" * 60)
    (tree / "many").mkdir()
    for number in range(700):
        (tree / "many" / f"file-{number:04}").touch()
    for name in ODD_NAMES:
        Path(os.fsdecode(os.fsencode(tree / "dir") + b"/" + name)).touch()
    path = new_path("fs.img")
    path.touch()
    run("mke2fs", "-q", "-F", "-t", kind, *options, "-d", tree, path, "32m")
    run("e2fsck", "-fyD", path) if kind == "ext4" else None  # makes the hash tree of ``many``
    fragment(path)
    return shifted(path)


def fragment(path: Path) -> None:
    """Add a file of which every second block is another's."""
    blocks = new_path("blocks")
    blocks.write_bytes(b"".join(bytes([65 + n]) * 4096 for n in range(40)))
    change_ext(path, f"write {blocks} filler", *(f"punch filler {n} {n}" for n in range(0, 160, 2)))
    change_ext(path, f"write {blocks} scattered")


def shifted(path: Path) -> Path:
    """Move the filesystem to OFFSET of a file."""
    other = path.with_suffix(".disk")
    other.write_bytes(b"\xaa" * OFFSET + path.read_bytes())
    path.unlink()
    return other


def partition(path: Path) -> ByteSource:
    return SliceSource(open_file(path), OFFSET, open_file(path).size - OFFSET)


@pytest.fixture(params=KINDS.values(), ids=KINDS)
def path(request: pytest.FixtureRequest) -> Path:
    return image(*request.param)


@pytest.fixture
def files(path: Path) -> Iterator[Ext4]:
    with closing(Ext4(partition(path))) as opened:
        yield opened


@pytest.fixture
def one() -> Iterator[Ext4]:
    with closing(Ext4(partition(image("ext4", "-b", "1024")))) as opened:
        yield opened


def content(files: Ext4, name: bytes) -> bytes:
    source = files.content(files.find(name))
    return source.pread(0, source.size)


def dump(path: Path, name: str) -> bytes:
    copy = new_path("copy")
    debugfs(path, f"dump {name} {copy}", OFFSET)
    return copy.read_bytes()


@pytest.mark.parametrize("name", [*CONTENTS, "sparse", "scattered"])
@pytest.mark.slow
@pytest.mark.no_cover
def test_content_is_what_debugfs_dumps(path: Path, files: Ext4, name: str) -> None:
    found = content(files, name.encode())
    assert found == CONTENTS.get(name, found)
    # debugfs 1.47 dumps an inline file with the unused bytes behind it.
    assert found == dump(path, name)[: files.find(name.encode()).node.size]


@pytest.mark.slow(but=3)
def test_the_scattered_file_is_scattered(files: Ext4) -> None:
    assert len([*files.content(files.find(b"scattered")).extents()]) > 5


@pytest.mark.parametrize("name", ["blocks", "large", "sparse", "scattered"])
@pytest.mark.slow
@pytest.mark.no_cover
def test_file_offsets_point_to_the_very_bytes(path: Path, files: Ext4, name: str) -> None:
    source = files.content(files.find(name.encode()))
    expected = source.pread(0, source.size)
    whole = path.read_bytes()
    position = 0
    for extent in source.extents():
        assert extent.offset == position
        position += extent.length
        piece = expected[extent.offset : position]
        if extent.kind == "zero":
            assert extent.file_offset is None
            assert not piece.strip(b"\0")
        else:
            assert extent.file_offset is not None
            assert whole[extent.file_offset : extent.file_offset + extent.length] == piece
    assert position == source.size


def test_a_hole_takes_no_place(files: Ext4) -> None:
    source = files.content(files.find(b"sparse"))
    assert [extent.offset for extent in source.extents() if extent.kind == "data"] == [0, 5 << 16, 1 << 20]


@pytest.mark.parametrize("size", [1, 60, 61, 100, 500])
def test_inline_data_in_the_inode_and_in_its_attributes(size: int) -> None:
    path = new_path("fs.img")
    make_ext(path, 16 * MIB, "-O", "inline_data", "-I", "1024", files={"f": bytes(range(1, 252)) * 2})
    data = new_path("data")
    data.write_bytes(bytes(range(1, 1 + min(size, 250))) * 2)
    change_ext(path, f"write {data} inline")
    assert b"EXTENTS" not in debugfs(path, "stat inline")
    with closing(Ext4(open_file(path))) as files:
        source = files.content(files.find(b"inline"))
        assert source.pread(0, source.size) == data.read_bytes()
        assert [extent.file_offset for extent in source.extents()] == [None]


def test_unwritten_blocks_read_as_zeros() -> None:
    path, data = new_path("fs.img"), new_path("data")
    make_ext(path, 16 * MIB, "-b", "1024")
    data.write_bytes(b"\xee" * 30_000)
    change_ext(path, f"write {data} first", "rm first", f"write {data} file", "punch file 2 100")
    change_ext(path, "fallocate file 2 10", "set_inode_field file size 11000")
    copy = new_path("copy")
    debugfs(path, f"dump file {copy}")
    with closing(Ext4(open_file(path))) as files:
        assert content(files, b"file") == copy.read_bytes() == (b"\xee" * 2048).ljust(11000, b"\0")


@pytest.mark.parametrize("directory", ["", "dir", "many", "lost+found"])
@pytest.mark.slow(but=11)
def test_names_are_those_of_debugfs(path: Path, files: Ext4, directory: str) -> None:
    entries = files.list(files.find(directory.encode()))
    lines = debugfs(path, f"ls -p /{directory}", OFFSET).splitlines()
    if directory == "dir":  # debugfs prints a name with a line feed as two lines
        assert {entry.name for entry in entries} == {*ODD_NAMES, b"inner"}
        return
    told = {tuple(line.split(b"/")[1:6:4]) for line in lines if line.count(b"/") == 7}
    told = {(inode, name) for inode, name in told if name not in (b".", b"..") and inode != b"0"}
    assert {(str(entry.node.inode).encode(), entry.name) for entry in entries} == told
    assert [entry.name for entry in entries] == sorted(entry.name for entry in entries)


def test_mode_owner_and_size_are_those_of_debugfs(path: Path, files: Ext4) -> None:
    told = {}
    for line in debugfs(path, "ls -l /", OFFSET).splitlines():
        if fields := line.split():
            inode, mode, _, uid, gid, size = fields[:6]
            told[fields[-1]] = (int(inode), int(mode, 8), int(uid), int(gid), int(size))
    for entry in files.list(files.find(b"/")):
        node = entry.node
        assert (node.inode, node.mode, node.uid, node.gid, node.size) == told[entry.name]


def test_the_time_is_in_seconds() -> None:
    path, empty = new_path("fs.img"), new_path("empty")
    empty.touch()
    make_ext(path, 8 * MIB)
    change_ext(path, f"write {empty} file", "set_inode_field file mtime @1234567890")
    with closing(Ext4(open_file(path))) as files:
        assert files.find(b"file").node.mtime == 1234567890


@pytest.mark.parametrize("name", [b"fast", b"sixty", b"slow"])
@pytest.mark.slow(but=14)
def test_symlinks_show_their_target(path: Path, files: Ext4, name: bytes) -> None:
    entry = files.find(name)
    target = {b"fast": b"/short/target", b"sixty": b"s" * 60, b"slow": b"/long/" + b"t" * 300}[name]
    assert (entry.type, entry.node.link) == ("symlink", target)


def test_symlinks_are_never_followed(one: Ext4) -> None:
    with pytest.raises(NotFoundError, match="links are not followed"):
        one.find(b"/fast/passwd")
    with pytest.raises(FilesystemError, match="not a file but a symlink"):
        one.content(one.find(b"/fast"))


def test_special_files_are_named_so() -> None:
    path = new_path("fs.img")
    make_ext(path, 8 * MIB)
    change_ext(path, "mknod pipe p", "mknod disk b 8 0")
    with closing(Ext4(open_file(path))) as files:
        pipe, disk = (files.find(name) for name in (b"pipe", b"disk"))
        assert (pipe.type, disk.type) == ("special", "special")
        assert stat.S_ISFIFO(pipe.node.mode)
        assert stat.S_ISBLK(disk.node.mode)


def test_a_name_whose_inode_was_wiped_is_damage_not_absence() -> None:
    path, data = new_path("fs.img"), new_path("data")
    make_ext(path, 8 * MIB)
    data.write_bytes(b"content")
    change_ext(path, f"write {data} file", "clri file")
    with closing(Ext4(open_file(path))) as files:
        assert [entry.name for entry in files.list(files.find(b"/"))] == [b"file", b"lost+found"]
        with pytest.raises(FilesystemError, match="file is inode 12, which is not in use") as caught:
            files.find(b"file")
        assert not isinstance(caught.value, NotFoundError)


def test_deleted_names_are_not_listed() -> None:
    path, data = new_path("fs.img"), new_path("data")
    make_ext(path, 8 * MIB)
    data.write_bytes(b"secret")
    change_ext(path, f"write {data} kept", f"write {data} gone", "rm gone")
    with closing(Ext4(open_file(path))) as files:
        assert [entry.name for entry in files.list(files.find(b"/"))] == [b"kept", b"lost+found"]


@pytest.mark.parametrize(
    "name", [b"nothing", b"/dir/nothing", b"nothing/inner", b"small/inner", b"dir/../small"]
)
def test_what_is_not_there_is_not_found(one: Ext4, name: bytes) -> None:
    with pytest.raises(NotFoundError):
        one.find(name)


def test_paths_may_be_sloppy(one: Ext4) -> None:
    assert one.find(b"dir//./inner/") == one.find(b"/dir/inner")
    assert one.find(b"/").type == "directory"


def test_a_file_is_no_directory_and_a_directory_no_file(one: Ext4) -> None:
    with pytest.raises(FilesystemError, match="small is not a directory"):
        one.list(one.find(b"small"))
    with pytest.raises(FilesystemError, match="dir is not a file but a directory"):
        one.content(one.find(b"dir"))


def test_blocks_past_the_end_of_the_disk_are_an_error_not_zeros() -> None:
    path = image("ext4", "-b", "4096")
    with closing(Ext4(partition(path))) as files:
        source = files.content(files.find(b"large"))
        start = source.locate(0)
        assert start is not None
    cut = SliceSource(partition(path), 0, start - OFFSET + 5000)
    with closing(Ext4(cut)) as files:
        source = files.content(files.find(b"large"))
        assert source.pread(0, 5000) == CONTENTS["large"][:5000]
        assert [extent.kind for extent in source.extents()] == ["data", "missing"]
        with pytest.raises(EvidenceError, match="past the end of the disk"):
            source.pread(0, 5001)


# --- what The Sleuth Kit does not tell -----------------------------------------------------------------


def everything(files: Ext4, directory: DirectoryEntry) -> Iterator[DirectoryEntry]:
    for entry in files.list(directory):
        yield entry
        if entry.type == "directory":
            yield from everything(files, entry)


@pytest.mark.slow(but=3)
def test_both_readers_say_the_same_of_every_file(path: Path, files: Ext4) -> None:
    with closing(walled(partition(path))) as theirs:
        for ours, other in zip(
            everything(files, files.find(b"/")), everything(theirs, theirs.find(b"/")), strict=True
        ):
            assert ours == other
            if ours.type == "file":
                here, there = files.content(ours), theirs.content(other)
                assert here.pread(0, here.size) == there.pread(0, there.size)


def test_attributes_are_those_of_debugfs() -> None:
    path, empty, long = new_path("fs.img"), new_path("empty"), new_path("long")
    empty.touch()
    long.write_bytes(b"v" * 2000)
    make_ext(path, 16 * MIB, "-I", "256", "-b", "4096")
    change_ext(
        path, f"write {empty} f", "ea_set f user.short value", f"ea_set -f {long} f user.long",
        "ea_set f trusted.overlay.opaque y", "ea_set f security.capability 123", f"write {empty} plain",
    )  # fmt: skip
    with closing(Ext4(open_file(path))) as files:
        assert files.xattrs(files.find(b"f")) == {
            b"user.short": b"value",
            b"user.long": b"v" * 2000,
            b"trusted.overlay.opaque": b"y",
            b"security.capability": b"123",
        }
        assert files.xattrs(files.find(b"plain")) == {}


def test_a_large_value_lies_in_an_inode_of_its_own() -> None:
    path, empty, large = new_path("fs.img"), new_path("empty"), new_path("large")
    empty.touch()
    large.write_bytes(random.Random(3).randbytes(20_000))
    make_ext(path, 16 * MIB, "-b", "1024", "-O", "ea_inode")
    change_ext(path, f"write {empty} f", f"ea_set -f {large} f user.large")
    with closing(Ext4(open_file(path))) as files:
        # debugfs takes no more of a file than a block
        assert files.xattrs(files.find(b"f")) == {b"user.large": large.read_bytes()[:1024]}


def test_devices_have_their_numbers() -> None:
    path = new_path("fs.img")
    make_ext(path, 8 * MIB)
    change_ext(path, "mknod whiteout c 0 0", "mknod disk b 8 17")
    with closing(Ext4(open_file(path))) as files:
        found = {name: files.find(name).node.device for name in (b"whiteout", b"disk")}
    assert found == {b"whiteout": (0, 0), b"disk": (8, 17)}
    new = os.makedev(300, 70000)
    assert (
        device_of(struct.pack("<II", 0, new & 0xFFFFFFFF)) == (os.major(new), os.minor(new)) == (300, 70000)
    )


def test_times_have_nanoseconds_and_go_on_behind_2038() -> None:
    path, empty = new_path("fs.img"), new_path("empty")
    empty.touch()
    make_ext(path, 8 * MIB)
    change_ext(
        path, f"write {empty} f", "set_inode_field f mtime @4000000000",
        "set_inode_field f atime @1234567890", "set_inode_field f atime_extra 493827156",
    )  # fmt: skip
    with closing(Ext4(open_file(path))) as files:
        node = files.find(b"f").node
    assert (node.mtime, node.atime_ns) == (4_000_000_000, 1_234_567_890_123_456_789)


@pytest.mark.parametrize("options", [("-O", "meta_bg,^resize_inode"), ("-O", "bigalloc", "-C", "16384")])
def test_more_layouts_are_read(options: tuple[str, ...]) -> None:
    path, tree = new_path("fs.img"), new_path("tree")
    (tree / "deep").mkdir(parents=True)
    (tree / "deep" / "file").write_bytes(CONTENTS["large"])
    path.touch()
    run("mke2fs", "-q", "-F", "-t", "ext4", "-b", "1024", "-N", "8192", *options, "-d", tree, path, "96m")
    with closing(Ext4(open_file(path))) as files:
        assert content(files, b"deep/file") == CONTENTS["large"]


def test_what_is_damaged_costs_only_itself() -> None:
    path, data = new_path("fs.img"), new_path("data")
    make_ext(path, 16 * MIB, "-b", "1024", "-O", "^metadata_csum")
    data.write_bytes(b"content")
    names = [f"file-{number:02}-{'n' * 80}" for number in range(30)]
    change_ext(path, "mkdir d", *(f"write {data} d/{name}" for name in names), f"clri d/{names[20]}")
    second = int(debugfs(path, "bmap d 1").split()[-1]) * 1024
    fs = PatchedSource(open_file(path), second + 4, b"\3\0")
    told: list[tuple[bytes, str]] = []
    with closing(Ext4(fs)) as files:
        found = [
            entry.name.decode()
            for entry in files.scan(files.find(b"d"), lambda *one: told.append((one[0], str(one[1]))))
        ]
    assert set(found) < set(names) and len(found) > 15
    assert [name for name, _ in told] == [b"", names[20].encode()]
    assert "a name that does not fit" in told[0][1]
    assert "not in use" in told[1][1]


@pytest.mark.parametrize(
    ("depth", "said"), [(1, "with 1 levels"), (6, "with 6 levels"), (2, "twice in its tree")]
)
def test_a_tree_that_leads_into_itself_has_an_end(depth: int, said: str) -> None:
    path, data = new_path("fs.img"), new_path("data")
    make_ext(path, 16 * MIB, "-b", "1024", "-O", "^metadata_csum")
    data.write_bytes(bytes(range(1, 251)))
    change_ext(path, f"write {data} f")
    block = int(debugfs(path, "bmap f 0").split()[-1])
    where = debugfs(path, "imap f").decode().replace(",", "").split()
    start = int(where[where.index("at") + 2]) * 1024 + int(where[-1], 16)
    index = struct.pack("<IIHH", 0, block, 0, 0)
    fs: ByteSource = PatchedSource(
        open_file(path), start + 40, struct.pack("<HHHHI", 0xF30A, 1, 4, depth, 0) + index
    )
    below = struct.pack("<HHHHI", 0xF30A, 2 if depth == 2 else 1, 4, 1, 0) + index * 2
    leaf = 9000  # an empty node: the tree comes back to it
    if depth == 2:
        below = below[:12] + struct.pack("<IIHH", 0, leaf, 0, 0) * 2
        fs = PatchedSource(fs, leaf * 1024, struct.pack("<HHHHI", 0xF30A, 0, 4, 0, 0))
    fs = PatchedSource(fs, block * 1024, below)
    with closing(Ext4(fs)) as files, pytest.raises(FilesystemError, match=said):
        content(files, b"f")


# --- the wall -----------------------------------------------------------------------------------------------


def walled(fs: ByteSource) -> Ext4:
    """Return the files as The Sleuth Kit reads them."""
    return Ext4(fs, kit=sleuthkit.SleuthKit(fs))


def walk_walled(fs: ByteSource) -> int:
    with closing(walled(fs)) as files:
        return walk_files(files)


def has_children() -> bool:
    try:
        return os.waitpid(-1, os.WNOHANG) == (0, 0)
    except ChildProcessError:
        return False


def spin(*_: object) -> None:
    while True:
        pass


def wait(*_: object) -> None:
    while True:
        time.sleep(60)


def crash(*_: object) -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def devour(*_: object) -> None:
    hoard = []
    while True:
        hoard.append(bytearray(16 << 20))


@pytest.mark.parametrize(
    ("method", "fault", "message"),
    [
        ("_names", spin, "no end in it within 1 seconds"),
        ("_names", wait, "did not answer within 1 seconds"),
        ("_names", devour, "cannot be read"),
        *((method, crash, "crashed on it") for method in ("_root", "_names", "_node", "_runs")),
    ],
)
@pytest.mark.slow(but=3)
def test_a_fault_of_the_library_is_an_error_and_leaves_no_process(
    monkeypatch: pytest.MonkeyPatch, method: str, fault: object, message: str
) -> None:
    monkeypatch.setattr(sleuthkit, "SECONDS_PER_ANSWER", 1)
    monkeypatch.setattr(sleuthkit, "PATIENCE", 1 if fault is wait else 60)
    monkeypatch.setattr(sleuthkit, "MEMORY_LIMIT", 64 << 20)
    monkeypatch.setattr(sleuthkit._Library, method, fault)
    with pytest.raises(FilesystemError, match=message):
        walk_walled(partition(image("ext4")))
    assert not has_children()


def test_after_a_crash_every_question_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sleuthkit._Library, "_names", crash)
    with closing(walled(partition(image("ext4")))) as files:
        for _ in range(2):
            with pytest.raises(FilesystemError):
                files.list(files.find(b"/"))


def test_an_error_of_the_evidence_keeps_its_reason() -> None:
    class Bad(MemorySource):
        def _pread(self, offset: int, length: int) -> bytes:
            raise EvidenceError("this sector is gone")

    with pytest.raises(FilesystemError, match="this sector is gone"):
        walled(Bad(bytes(1 << 20)))
    assert not has_children()


def test_closing_leaves_no_process() -> None:
    files = walled(partition(image("ext4")))
    assert has_children()
    files.close()
    files.close()
    assert not has_children()


def test_two_can_be_open_at_once_and_be_closed_in_any_order() -> None:
    first, second, third = (walled(partition(image("ext4"))) for _ in range(3))
    first.close()
    third.close()
    assert second.find(b"small").node.size == 6
    second.close()
    assert not has_children()


def test_one_that_is_forgotten_ends_its_process() -> None:
    files = walled(partition(image("ext4")))
    del files
    assert not has_children()


def test_memory_that_is_only_mapped_does_not_count() -> None:
    untouched = mmap.mmap(-1, 2 * sleuthkit.MEMORY_LIMIT, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    with closing(untouched), closing(walled(partition(image("ext4")))) as files:
        assert files.find(b"small").type == "file"


def test_without_fork_the_answers_are_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    with closing(walled(partition(image("ext4")))) as files:
        expected = [(entry, entry.node) for entry in files.list(files.find(b"dir"))]
    monkeypatch.delattr(os, "fork")
    with closing(walled(partition(image("ext4")))) as files:
        assert [(entry, entry.node) for entry in files.list(files.find(b"dir"))] == expected
        assert content(files, b"blocks") == CONTENTS["blocks"]
    assert not has_children()


@pytest.mark.parametrize(
    ("name", "limit", "message"),
    [("many", "MAX_NAMES", "more than 10 names"), ("scattered", "MAX_RUNS", "pieces")],
)
def test_limits(monkeypatch: pytest.MonkeyPatch, name: str, limit: str, message: str) -> None:
    with closing(walled(partition(image("ext4")))) as files:
        inode = files.find(name.encode()).node.inode
    monkeypatch.setattr(sleuthkit, limit, 10)
    with (
        closing(sleuthkit.SleuthKit(partition(image("ext4")))) as kit,
        pytest.raises(FilesystemError, match=message),
    ):
        kit.names(inode) if name == "many" else kit.runs(inode)


# --- any byte changed ---------------------------------------------------------------------------------------


def walk(fs: ByteSource) -> int:
    """Look at everything as the inspection and the commands do; return how many entries there were."""
    with closing(Ext4(fs)) as files:
        return walk_files(files)


def walk_files(files: Ext4) -> int:
    return sum(visit(files, entry, 0) for entry in files.list(files.find(b"/")))


def visit(files: Ext4, entry: DirectoryEntry, depth: int) -> int:
    if entry.type == "file":
        source = files.content(entry)
        source.pread(0, 1 << 16)
        source.locate(0)
    elif entry.type == "directory" and depth < 3:
        return 1 + sum(visit(files, inner, depth + 1) for inner in files.list(entry)[:20])
    return 1


@functools.cache
def small_image(kind: str) -> Path:
    path = new_path("fs.img")
    size = 12 * MIB
    make_ext(
        path, size, "-b", "1024", "-I", "128", "-N", "64", kind=kind,
        files={"var/lib/boot2docker/userdata.tar": b"u" * 4096, "a/b": b"b" * 99, "c": bytes(20_000)},
    )  # fmt: skip
    return path


def targets(path: Path) -> dict[str, tuple[int, int]]:
    """Return offset and length of each structure that is read."""
    descriptor = open_file(path).pread(2048, 32)
    inodes = struct.unpack_from("<I", descriptor, 8)[0] * 1024
    root = int(debugfs(path, "bmap / 0").split()[-1]) * 1024
    return {
        "superblock": (1024, 264),  # behind that, nothing that a reader needs
        "descriptors": (2048, 64),
        "inodes": (inodes, 128 * 24),
        "root": (root, 64),
        "userdata": (int(debugfs(path, "bmap /var/lib/boot2docker 0").split()[-1]) * 1024, 64),
    }


@pytest.mark.parametrize("kind", ["ext4", "ext2"])
@pytest.mark.parametrize("what", ["superblock", "descriptors", "inodes", "root", "userdata"])
@pytest.mark.slow
@pytest.mark.no_cover
def test_changed_bytes_raise_nothing_but_evidence_errors(
    monkeypatch: pytest.MonkeyPatch, kind: str, what: str
) -> None:
    monkeypatch.setattr(sleuthkit, "SECONDS_PER_ANSWER", 1)
    path = small_image(kind)
    assert walk(open_file(path)) == 8
    offset, length = targets(path)[what]
    dice = random.Random(f"{kind} {what}")
    outcomes = set()
    for _ in range(40):
        fs: ByteSource = open_file(path)
        for _ in range(dice.choice((1, 1, 4))):
            width = dice.choice((1, 2, 4, 8))
            patch = dice.choice((bytes(width), b"\xff" * width, dice.randbytes(width)))
            fs = PatchedSource(fs, offset + dice.randrange(length), patch)
        try:
            parse_superblock(fs)
            outcomes.add(walk(fs))
        except EvidenceError as error:
            outcomes.add(type(error))
    assert len(outcomes) > 1, "no change had any effect"
    assert not has_children()


def test_show_is_plain_ascii() -> None:
    assert ext4.show(b"\x1b[31m\xff") == "\\x1b[31m\\udcff"
    assert ext4.show(b"") == "/"
