"""WriteBehind: a thread writes in order, and what goes wrong is told."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from b2dinspect.errors import SourceError
from b2dinspect.evidence.file import open_evidence
from b2dinspect.newfile import NewFile
from b2dinspect.newfile.behind import WAITING, WriteBehind


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "disk.raw"


@pytest.fixture(autouse=True)
def no_thread_stays() -> Iterator[None]:
    """Others may have begun before: fsspec's never ends."""
    before = threading.active_count()
    yield
    assert threading.active_count() == before


def refuse(*_: object) -> None:
    raise OSError(28, "No space left on device")


def test_everything_is_written_in_its_order(target: Path) -> None:
    with NewFile(target) as file:
        with WriteBehind(file) as sink:
            for number in range(5 * WAITING):
                sink.pwrite(number, bytes([number]) * 2)
            sink.truncate(5 * WAITING)
            assert sink.pread(0, 100) == bytes(range(5 * WAITING))
            sink.pwrite(0, b"x")
            sink.flush()
            assert file.pread(0, 2) == b"x\1"
        assert (sink.path, file.size) == (target, 5 * WAITING)


@pytest.mark.parametrize("last", ["flush", "nothing", "more"])
def test_what_went_wrong_is_raised(target: Path, monkeypatch: pytest.MonkeyPatch, last: str) -> None:
    monkeypatch.setattr(os, "pwrite", refuse)
    with pytest.raises(OSError, match="No space left"), NewFile(target) as file, WriteBehind(file) as sink:
        sink.pwrite(0, b"data")
        if last == "flush":
            sink.flush()
        for _ in range(100 * WAITING if last == "more" else 0):
            sink.pwrite(0, b"data")
    assert list(target.parent.iterdir()) == []


def test_an_error_of_the_caller_gives_up_what_waits(target: Path) -> None:
    with pytest.raises(KeyboardInterrupt), NewFile(target) as file, WriteBehind(file) as sink:
        sink.pwrite(0, b"data")
        raise KeyboardInterrupt
    assert list(target.parent.iterdir()) == []


@pytest.mark.parametrize("has_call", [True, False])
def test_another_files_bytes_are_copied(
    target: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, has_call: bool
) -> None:
    if not has_call:
        monkeypatch.delattr(os, "copy_file_range", raising=False)
        monkeypatch.delattr(os, "posix_fadvise", raising=False)
    content = os.urandom(3 << 20)
    (tmp_path / "source").write_bytes(content)
    with open_evidence(str(tmp_path / "source")) as source, NewFile(target) as file:
        with WriteBehind(file) as sink:
            sink.pcopy(100, source, 7, len(content) - 7)
        assert file.size == 100 + len(content) - 7
    assert target.read_bytes() == bytes(100) + content[7:]


def test_a_file_that_became_shorter_is_told(target: Path, tmp_path: Path) -> None:
    path = tmp_path / "source"
    path.write_bytes(bytes(100))
    with open_evidence(str(path)) as source:
        os.truncate(path, 50)
        with pytest.raises(SourceError, match="the file ends here"), NewFile(target) as file:
            file.pcopy(0, source, 0, 100)
    assert not target.exists()


def test_one_sync_is_enough(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[int] = []
    with NewFile(target) as file:
        monkeypatch.setattr(os, "fsync", synced.append)
        file.pwrite(0, b"data")
        file.flush()
        file.flush()
        assert synced == [file._fd]
        file.truncate(2)
        file.flush()
        assert len(synced) == 2
        shared = file.fileno()  # whoever has it may write unseen
        file.flush()
        file.flush()
        assert synced[2:] == [shared, shared]
