"""The second process makes the same files as the first, and leaves to it what it cannot make."""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import NamedTuple

import pytest

from b2dinspect.errors import B2dError, MissingDataError, SourceError
from b2dinspect.extraction import host, parallel
from b2dinspect.extraction.host import ExtractionRules, HostTree
from b2dinspect.extraction.members import walk_quickly
from b2dinspect.extraction.parallel import SecondProcess, second_process
from b2dinspect.extraction.together import make_all
from b2dinspect.extraction.wholefile import Maker
from b2dinspect.filesystems.ext4 import Ext4
from b2dinspect.filesystems.node import PlainFile
from b2dinspect.source import FileSource
from tests.oracles import needs, run

FILES = 700
TIME = 1_234_567_890
pytestmark = [
    needs("mke2fs"),
    pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork"),
]


class Small(NamedTuple):
    """A filesystem of many small files, and the folder that it is made of."""

    image: Path
    tree: Path


@pytest.fixture(scope="module")
def small(tmp_path_factory: pytest.TempPathFactory) -> Small:
    folder = tmp_path_factory.mktemp("small")
    tree = folder / "tree"
    for number in range(FILES):
        file = tree / f"d{number % 7}" / f"f{number}"
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_bytes(b"%d" % number * (number * 7 % 900))
        file.chmod(0o600 if number % 3 else 0o640)
        os.utime(file, (TIME + number, TIME + number))
    for directory in tree.iterdir():
        directory.chmod(0o750)
        os.utime(directory, (TIME, TIME))
    run("mke2fs", "-q", "-F", "-t", "ext4", "-b", "1024", "-d", tree, folder / "image", "4096k")
    return Small(folder / "image", tree)


@pytest.fixture(autouse=True)
def early(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(host, "MANY", 10)
    monkeypatch.setattr(parallel, "_processors", lambda: 2)
    monkeypatch.setattr(parallel.threading, "active_count", lambda: 1)  # those of pytest's plugins do no harm


class Gap(FileSource):
    """A file of which a block is not there."""

    at = 0

    def _pread(self, offset: int, length: int) -> bytes:
        if self.at and offset <= self.at < offset + length:
            raise MissingDataError("not there", layer="file", offset=self.at)
        return super()._pread(offset, length)


def opened(path: Path) -> Gap:
    return Gap(os.open(path, os.O_RDONLY), path.stat().st_size)


def copied(image: Path, target: Path, missing: bytes = b"") -> tuple[HostTree, list[tuple[bytes, str]]]:
    """Copy all of it; return what did it, and what it left out."""
    faults: list[tuple[bytes, str]] = []

    def fault(path: bytes, error: B2dError) -> None:
        faults.append((path, str(error)))

    with opened(image) as source, HostTree(target, fault, ExtractionRules()) as tree:
        files = Ext4(source)
        if missing:
            source.at = files.content(files.find(missing)).locate(0) or 0
        for member in walk_quickly(files, files.find(b"/"), fault):
            tree.take(member)
    return tree, faults


def look(path: Path) -> tuple[bytes, int, int]:
    status = path.stat()
    return (b"" if path.is_dir() else path.read_bytes(), status.st_mode, status.st_mtime_ns)


def test_the_same_files_with_the_same_modes_and_times(small: Small, tmp_path: Path) -> None:
    tree, faults = copied(small.image, tmp_path / "copy")
    assert (tree.copied, faults) == (FILES, [])
    assert isinstance(tree._second, SecondProcess)
    for path in small.tree.rglob("*"):
        assert look(tmp_path / "copy" / path.relative_to(small.tree)) == look(path)
    assert not [*tmp_path.rglob(".*")]
    with pytest.raises(ChildProcessError):
        os.waitpid(tree._second._pid, os.WNOHANG)


def test_one_that_dies_costs_nothing(small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def dies(*_: object) -> int:
        os.kill(os.getpid(), signal.SIGKILL)
        return 0

    monkeypatch.setattr(parallel, "make_all", dies)
    tree, faults = copied(small.image, tmp_path / "copy")
    assert (tree.copied, faults) == (FILES, [])


def test_what_it_cannot_make_the_first_process_tells(small: Small, tmp_path: Path) -> None:
    tree, faults = copied(small.image, tmp_path / "copy", b"d3/f500")
    assert [path for path, _ in faults] == [b"d3/f500"]
    assert "not there" in faults[0][1]
    assert tree.copied == FILES - 1
    for path in small.tree.rglob("*"):
        made = tmp_path / "copy" / path.relative_to(small.tree)
        assert made.exists() is (path.name != "f500")
        assert path.name == "f500" or look(made) == look(path)


def test_a_full_disk_ends_it(small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    write = os.write

    def full(fd: int, data: bytes) -> int:
        if data == b"600" * (600 * 7 % 900):
            raise OSError(28, "No space left on device")
        return write(fd, data)

    monkeypatch.setattr(os, "write", full)
    with pytest.raises(SourceError, match=r"f600: No space left"):
        copied(small.image, tmp_path / "copy")
    assert not [*tmp_path.rglob(".*")]


def test_a_bit_for_each_file(small: Small, tmp_path: Path) -> None:
    def plain(name: bytes, start: int) -> PlainFile:
        return PlainFile(name, 12, 0o100640, 0, 0, 1, 1, start, 4)

    (tmp_path / "d").mkdir()
    behind = small.image.stat().st_size
    orders = [
        (str(tmp_path), [plain(b"a", 1024), plain(b"b", behind), plain(b"d", 0), plain(b"e", 0)]),
        (str(tmp_path / "no"), [plain(b"c", 0)]),
        (str(tmp_path / "d"), [plain(b"f", 2048)]),
    ]
    with opened(small.image) as source:
        assert make_all(Ext4(source), Maker(owners=False), orders) == 0b101001
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["a", "d", "e", "f"]
    assert (tmp_path / "a").read_bytes() == small.image.read_bytes()[1024:1028]


def test_small_files_are_read_together(small: Small, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    read = Ext4.read
    reads = []

    def counted(self: Ext4, start: int, length: int) -> bytes:
        reads.append(length)
        return read(self, start, length)

    monkeypatch.setattr(parallel, "_processors", lambda: 1)
    monkeypatch.setattr(Ext4, "read", counted)
    tree, faults = copied(small.image, tmp_path / "copy")
    assert (tree.copied, tree._second, faults) == (FILES, None, [])
    assert len(reads) < FILES // 10


def test_it_takes_no_more_than_it_can_do(small: Small) -> None:
    with opened(small.image) as source:
        second = second_process(Ext4(source), Maker(owners=False))
        assert second is not None
        try:
            os.kill(second._pid, signal.SIGSTOP)
            assert [second.take(number, []) for number in range(5)] == [True] * 3 + [False] * 2
            os.kill(second._pid, signal.SIGCONT)
            assert [*second.made(wait=True)] == [([], 0)] * 3
            assert not second.batches
        finally:
            second.close()
            second.close()


@pytest.mark.parametrize(("processors", "threads"), [(1, 1), (2, 2)])
def test_where_it_would_not_help_there_is_none(
    small: Small, monkeypatch: pytest.MonkeyPatch, processors: int, threads: int
) -> None:
    monkeypatch.setattr(parallel, "_processors", lambda: processors)
    monkeypatch.setattr(parallel.threading, "active_count", lambda: threads)
    with opened(small.image) as source:
        assert second_process(Ext4(source), Maker(owners=False)) is None
