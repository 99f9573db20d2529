"""NewFile: a file appears whole under its name, or not at all."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator
from pathlib import Path

import pytest

from b2dinspect.errors import SourceError, UsageError
from b2dinspect.newfile import NewFile, NewFolder, narrow


@pytest.fixture
def target(tmp_path: Path) -> Path:
    return tmp_path / "disk.vdi"


@pytest.fixture
def narrow_umask() -> Iterator[None]:
    old = os.umask(0)
    yield
    os.umask(old)


def names(target: Path) -> list[str]:
    return sorted(path.name for path in target.parent.iterdir())


def test_file_has_its_name_only_when_complete(target: Path) -> None:
    with NewFile(target) as file:
        file.pwrite(0, b"whole")
        assert not target.exists()
    assert target.read_bytes() == b"whole"
    assert names(target) == ["disk.vdi"]


def test_writes_anywhere_in_any_order(target: Path) -> None:
    with NewFile(target) as file:
        file.pwrite(6, b"world")
        file.pwrite(0, b"hello")
        file.pwrite(0, b"H")
        assert file.size == 11
        assert file.pread(0, 100) == b"Hello\0world"
        assert file.pread(4, 3) == b"o\0w"
    assert target.read_bytes() == b"Hello\0world"


def test_truncate_makes_a_hole_and_cuts(target: Path) -> None:
    with NewFile(target) as file:
        file.pwrite(0, b"data")
        file.truncate(64 << 20)
        file.truncate(32 << 20)
        assert file.size == 32 << 20
    assert target.stat().st_size == 32 << 20
    assert target.stat().st_blocks * 512 < 1 << 20


def test_an_existing_file_is_kept(target: Path) -> None:
    target.write_bytes(b"evidence")
    with pytest.raises(UsageError, match="exists"):
        NewFile(target)
    assert target.read_bytes() == b"evidence"
    assert names(target) == ["disk.vdi"]


def test_a_dangling_link_is_kept(target: Path) -> None:
    target.symlink_to("nowhere")
    with pytest.raises(UsageError, match="exists"):
        NewFile(target)
    assert target.is_symlink()


def test_force_replaces(target: Path) -> None:
    target.write_bytes(b"old, and longer")
    with NewFile(target, force=True) as file:
        file.pwrite(0, b"new")
        assert target.read_bytes() == b"old, and longer"
    assert target.read_bytes() == b"new"
    assert names(target) == ["disk.vdi"]


def test_force_replaces_a_link_and_not_what_it_names(target: Path) -> None:
    evidence = target.with_name("evidence")
    evidence.write_bytes(b"evidence")
    target.symlink_to(evidence)
    with NewFile(target, force=True) as file:
        file.pwrite(0, b"new")
    assert evidence.read_bytes() == b"evidence"
    assert not target.is_symlink()
    assert target.read_bytes() == b"new"


def test_a_file_that_appears_meanwhile_is_kept(target: Path) -> None:
    with pytest.raises(UsageError, match="exists"), NewFile(target) as file:
        file.pwrite(0, b"ours")
        target.write_bytes(b"theirs")
    assert target.read_bytes() == b"theirs"
    assert names(target) == ["disk.vdi"]


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, SystemExit])
def test_an_exception_leaves_nothing(target: Path, error: type[BaseException]) -> None:
    with pytest.raises(error), NewFile(target) as file:
        file.pwrite(0, b"half")
        raise error
    assert names(target) == []


def test_an_exception_leaves_the_old_file(target: Path) -> None:
    target.write_bytes(b"old")
    with pytest.raises(ZeroDivisionError), NewFile(target, force=True) as file:
        file.pwrite(0, b"half")
        raise ZeroDivisionError
    assert target.read_bytes() == b"old"
    assert names(target) == ["disk.vdi"]


@pytest.mark.usefixtures("narrow_umask")
def test_mode_holds_from_the_first_byte_on(target: Path) -> None:
    with NewFile(target, mode=0o600) as file:
        file.pwrite(0, b"secret")
        (temporary,) = target.parent.iterdir()
        assert stat.S_IMODE(temporary.stat().st_mode) == 0o600
    assert stat.S_IMODE(target.stat().st_mode) == 0o600


@pytest.mark.usefixtures("narrow_umask")
def test_force_does_not_inherit_a_wider_mode(target: Path) -> None:
    target.write_bytes(b"old")
    target.chmod(0o666)
    with NewFile(target, force=True, mode=0o600) as file:
        file.pwrite(0, b"secret")
    assert stat.S_IMODE(target.stat().st_mode) == 0o600


@pytest.mark.parametrize("force", [False, True])
def test_a_directory_is_never_replaced(target: Path, force: bool) -> None:
    target.mkdir()
    with pytest.raises(UsageError, match="is a directory"):
        NewFile(target, force=force)
    with pytest.raises(UsageError, match="is a directory"):
        NewFile("/", force=force)
    assert target.is_dir()
    assert names(target) == ["disk.vdi"]


def test_a_missing_folder_is_named(target: Path) -> None:
    path = target / "no" / "disk.vdi"
    with pytest.raises(SourceError, match=r"cannot create .*disk\.vdi: No such file"):
        NewFile(path)


def refuse(*_: object) -> None:
    raise OSError(28, "No space left on device")


@pytest.mark.parametrize("call", ["pwrite", "fsync", "ftruncate"])
def test_a_full_disk_leaves_nothing(target: Path, monkeypatch: pytest.MonkeyPatch, call: str) -> None:
    file = NewFile(target)
    monkeypatch.setattr(os, call, refuse)
    with pytest.raises(OSError, match="No space left"), file:
        file.pwrite(0, b"data")
        file.truncate(100)
    assert names(target) == []


def test_a_failing_rename_leaves_nothing(target: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "replace", refuse)
    with pytest.raises(OSError, match="No space left"), NewFile(target) as file:
        file.pwrite(0, b"data")
    assert names(target) == []


def test_discarding_twice_is_harmless(target: Path) -> None:
    file = NewFile(target)
    file.discard()
    file.discard()
    assert names(target) == []


# --- folders ---


def test_a_new_folder_appears_whole(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "machine"
    with NewFolder(path) as folder:
        assert not path.exists()
        assert folder.temporary.stat().st_mode & 0o777 == 0o700
        (folder.temporary / "file").write_text("x")
    assert [one.name for one in path.iterdir()] == ["file"]
    assert [one.name for one in path.parent.iterdir()] == ["machine"]


def test_a_folder_that_fails_is_gone(tmp_path: Path) -> None:
    with pytest.raises(ZeroDivisionError), NewFolder(tmp_path / "machine") as folder:
        (folder.temporary / "file").write_text("x")
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_an_existing_folder_needs_force(tmp_path: Path) -> None:
    path = tmp_path / "machine"
    path.mkdir()
    (path / "old").write_text("x")
    with pytest.raises(UsageError, match="exists"):
        NewFolder(path)
    with NewFolder(path, force=True) as folder:
        (folder.temporary / "new").write_text("x")
    assert [one.name for one in path.iterdir()] == ["new"]
    assert [one.name for one in tmp_path.iterdir()] == ["machine"]


@pytest.mark.parametrize("kind", ["file", "link"])
def test_force_replaces_no_file_and_no_link(kind: str, tmp_path: Path) -> None:
    path = tmp_path / "machine"
    if kind == "file":
        path.write_text("x")
    else:
        (tmp_path / "real").mkdir()
        path.symlink_to(tmp_path / "real")
    with pytest.raises(UsageError, match="exists"):
        NewFolder(path, force=True)


def test_somebody_else_was_faster(tmp_path: Path) -> None:
    path = tmp_path / "machine"
    with pytest.raises(UsageError, match="exists"), NewFolder(path):
        path.mkdir()
        (path / "theirs").write_text("x")
    assert [one.name for one in path.iterdir()] == ["theirs"]
    assert [one.name for one in tmp_path.iterdir()] == ["machine"]


def test_a_folder_where_none_can_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("x")
    with pytest.raises(SourceError, match="cannot create"):
        NewFolder(tmp_path / "file" / "machine")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
def test_a_full_disk_is_told_with_the_name_of_the_file(tmp_path: Path) -> None:
    file = NewFile(tmp_path / "new")
    full = os.open("/dev/full", os.O_WRONLY)
    os.dup2(full, file._fd)
    os.close(full)
    with pytest.raises(OSError, match="No space left") as raised:
        file.pwrite(0, b"x")
    file.discard()
    assert raised.value.filename == str(tmp_path / "new")


@pytest.mark.parametrize(
    ("mode", "copy"),
    [(0o600, 0o600), (0o644, 0o644), (0o755, 0o644), (0o640, 0o640), (0o4777, 0o644), (0, 0o600)],
)
def test_nobody_may_read_a_copy_who_could_not_read_the_file(mode: int, copy: int) -> None:
    assert narrow(mode) == copy
