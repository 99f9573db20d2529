"""Changes in an ext4, against e2fsck, debugfs and a model; and what is refused."""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from b2dinspect.errors import FilesystemError, NotFoundError
from b2dinspect.filesystems import superblock
from b2dinspect.filesystems.ext4.layout import ENCRYPTED, INDEX, INLINE_DATA
from b2dinspect.filesystems.ext4.writing.edits import Ext4Edits, OwnerIds
from b2dinspect.filesystems.ext4.writing.groups import Super
from tests.filesystems.ext4.writing.model import Changes, Item, Partition, check, made, tree
from tests.oracles import needs, run

KINDS = {
    "ext2 of revision 0, 1 KiB": ("1024", "none", "-r", "0"),
    "ext2, 1 KiB": ("1024", "none,ext_attr,resize_inode,dir_index,filetype,sparse_super,large_file"),
    "ext3": ("4096", "none,has_journal,ext_attr,resize_inode,dir_index,filetype,sparse_super"),
    "ext4 of old, uninit_bg": (
        "4096",
        "none,has_journal,ext_attr,resize_inode,dir_index,filetype,extent,flex_bg,sparse_super,large_file,"
        "huge_file,uninit_bg,dir_nlink,extra_isize",
    ),
    "ext4, small inodes, 32 bits": ("2048", "none,has_journal,filetype,extent,metadata_csum", "-I", "128"),
    "ext4 of today, 1 KiB": (
        "1024",
        "none,has_journal,filetype,extent,64bit,flex_bg,metadata_csum,metadata_csum_seed,extra_isize",
    ),
}


@needs("e2fsck")
@settings(max_examples=6)
@given(rng=st.randoms(use_true_random=False), steps=st.integers(1, 12))
@pytest.mark.slow
def test_random_changes_leave_what_e2fsck_calls_clean(rng: random.Random, steps: int) -> None:
    partition = made(9 << 20)
    model = tree(partition)
    for _ in range(2):
        Changes(partition, model, rng).run(steps)
    check(partition)
    assert tree(partition) == model


@needs("mke2fs", "e2fsck")
@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.no_cover
@pytest.mark.slow(but=1)
def test_so_they_do_on_every_kind_of_ext(kind: str, tmp_path: Path) -> None:
    partition = mke2fs(tmp_path / "fs", *KINDS[kind])
    model = tree(partition)
    rng = random.Random(kind)
    for _ in range(3):
        Changes(partition, model, rng).run(15)
    check(partition)
    assert tree(partition) == model


def mke2fs(path: Path, block: str, features: str, *words: str) -> Partition:
    with path.open("wb") as file:
        file.truncate(20 << 20)
    run("env", "MKE2FS_CONFIG=/dev/null", "mke2fs", "-q", "-F", "-b", block, "-O", features, *words, path)
    return Partition(path.read_bytes())


@needs("debugfs")
def test_debugfs_finds_the_same(tmp_path: Path) -> None:
    partition = made()
    edits = partition.edits()
    edits.make_directory(b"a", 0o1777, OwnerIds(1000, 50))
    edits.write(b"a/file", b"content" * 1000, 0o640, OwnerIds(70000, 1))
    edits.symlink(b"a/link", b"file")
    edits.link(b"a/twin", b"a/file")
    edits.flush()
    path = tmp_path / "fs"
    path.write_bytes(partition.bytes)
    (tmp_path / "out").mkdir()
    assert run("debugfs", "-R", "cat /a/file", path).stdout == b"content" * 1000
    stat = run("debugfs", "-R", "stat /a/file", path).stdout.decode()
    assert "Mode:  0640" in stat
    assert "User: 70000   Group:     1" in stat
    assert "Links: 2" in stat
    assert 'Fast link dest: "file"' in run("debugfs", "-R", "stat /a/link", path).stdout.decode()


@needs("e2fsck")
def test_a_file_keeps_its_blocks_when_it_gets_another_content() -> None:
    partition = made(16 << 20)
    edits = partition.edits()
    edits.write(b"file", b"1" * 9000)
    edits.flush()
    before = edits.find(b"file"), partition.bytes.find(b"1" * 9000)
    edits = partition.edits()
    edits.write(b"file", b"2" * 13000)
    edits.flush()
    assert (edits.find(b"file"), partition.bytes.find(b"2" * 13000)) == before
    check(partition)


@needs("e2fsck")
@pytest.mark.slow
def test_a_scattered_file_gets_a_tree_of_extents() -> None:
    partition = made(16 << 20)
    edits = partition.edits()
    for number in range(60):
        edits.write(b"f%d" % number, b"x" * 5000)
    for number in range(0, 60, 2):
        edits.remove(b"f%d" % number)
    free = Super(partition.pread(1024, 1024)).get("free_blocks")
    edits.write(b"large", b"y" * 4096 * 250)
    edits.flush()
    check(partition)
    assert tree(partition)[b"/large"].content == b"y" * 4096 * 250
    assert free > Super(partition.pread(1024, 1024)).get("free_blocks")


def test_a_full_filesystem_says_so() -> None:
    edits = made(16 << 20).edits()
    with pytest.raises(FilesystemError, match="blocks are needed"):
        edits.write(b"file", bytes(16 << 20))


def flagged(flags: int) -> Callable[[Partition], None]:
    def change(partition: Partition) -> None:
        edits = partition.edits()
        number = edits.find(b"folder")
        inode = edits._inode(number)
        inode.set(flags=inode.get("flags") | flags)
        edits._put(number, inode)
        edits.flush()

    return change


def super_value(**values: int) -> Callable[[Partition], None]:
    def change(partition: Partition) -> None:
        block = Super(partition.pread(superblock.OFFSET, superblock.SIZE))
        block.set(**{name: block.get(name) ^ value for name, value in values.items()})
        partition.pwrite(superblock.OFFSET, block.sealed())

    return change


def broken(offset: int) -> Callable[[Partition], None]:
    def change(partition: Partition) -> None:
        partition.bytes[offset] ^= 1

    return change


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (super_value(state=1), "not cleanly unmounted"),
        (super_value(state=2), "it has errors"),
        (super_value(feature_incompat=4), "journal waits to be replayed"),
        (super_value(feature_incompat=0x10), "not known here: meta_bg"),
        (super_value(feature_ro_compat=0x200), "not written here: bigalloc"),
        (super_value(last_orphan=12), "being deleted"),
        (broken(1024 + 200), "superblock has a wrong checksum"),
        (broken(4096 + 12), "descriptor of group 0 has a wrong checksum"),
        (flagged(INDEX), "hash tree"),
        (flagged(INLINE_DATA), "in its inode"),
        (flagged(ENCRYPTED), "encrypted"),
    ],
)
def test_what_is_not_understood_is_refused(change: Callable[[Partition], None], reason: str) -> None:
    partition = made(16 << 20)
    edits = partition.edits()
    edits.make_directory(b"folder")
    edits.flush()
    change(partition)
    before = bytes(partition.bytes)
    with pytest.raises(FilesystemError, match=reason):
        partition.edits().write(b"folder/file", b"content")
    assert bytes(partition.bytes) == before


def test_wrong_names_are_refused() -> None:
    edits = made(16 << 20).edits()
    edits.make_directory(b"folder")
    edits.write(b"folder/file", b"")
    for act, reason in (
        (lambda: edits.make_directory(b"folder"), "there already"),
        (lambda: edits.remove(b"folder"), "not empty"),
        (lambda: edits.write(b"folder", b""), "is no file"),
        (lambda: edits.write(b"folder/../x", b""), "no plain path"),
        (lambda: edits.link(b"x", b"folder"), "gets no other name"),
        (lambda: edits.link(b"folder", b"folder/file"), "there already"),
        (lambda: edits.write(b"x" * 256, b""), "no name for a file"),
        (lambda: edits.symlink(b"link", b""), "cannot be made"),
    ):
        with pytest.raises(FilesystemError, match=reason):
            act()
    for act in (lambda: edits.remove(b"none"), lambda: edits.write(b"none/x", b"")):
        with pytest.raises(NotFoundError):
            act()


@needs("e2fsck")
def test_label_and_state() -> None:
    partition = made(16 << 20)
    edits = partition.edits()
    edits.set_label(b"other")
    edits.flush()
    check(partition)
    edits.mark_unclean()
    edits.flush()
    block, _ = superblock.parse_superblock(partition)
    assert (block.label.rstrip(b"\0"), block.state) == (b"other", 0)
    with pytest.raises(FilesystemError, match="cleanly"):
        Ext4Edits(edits._fs, 0)


def test_the_model_sees_a_difference() -> None:
    partition = made(16 << 20)
    edits = partition.edits()
    edits.write(b"file", b"content", 0o600, OwnerIds(1, 2))
    edits.flush()
    assert tree(partition)[b"/file"] == Item(0o100600, 1, 2, b"content")
