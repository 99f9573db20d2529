"""What a killed run leaves: an exchange that shows either folder, names that tell, and a sweep."""

from __future__ import annotations

import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from b2dinspect.errors import SourceError, UsageError
from b2dinspect.newfile import NewFile, NewFolder, exchange
from b2dinspect.newfile.hold import hold_folder, is_held, remove_folder, scratch
from b2dinspect.newfile.leftovers import Leftover, leftovers, scratch_leftovers, sweep

NO_FLOCK = pytest.mark.skipif(os.name != "posix", reason="not here: locks that end with their process")


def machine(path: Path, text: str) -> Path:
    path.mkdir()
    (path / "id_rsa").write_text(text)
    return path


def texts(folder: Path) -> dict[str, str]:
    """Return what every folder below holds as its key."""
    return {path.parent.name: path.read_text() for path in folder.glob("*/id_rsa")}


@pytest.mark.parametrize("can_exchange", [True, False])
def test_the_old_folder_is_whole_until_the_new_one_stands(
    can_exchange: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At every call that changes a name, old or new is there under some name."""
    path = machine(tmp_path / "default", "old")
    if not can_exchange:
        monkeypatch.setattr(exchange, "exchange", lambda *_: False)
    seen: list[dict[str, str]] = []
    real = os.rename

    def watched(*names: object) -> None:
        seen.append(texts(tmp_path))
        real(*names)  # type: ignore[arg-type]
        seen.append(texts(tmp_path))

    monkeypatch.setattr(os, "rename", watched)
    with NewFolder(path, force=True) as folder:
        (folder.temporary / "id_rsa").write_text("new")
    assert all({"old", "new"} <= set(one.values()) for one in seen)
    assert len(seen) == (0 if can_exchange else 4)
    assert texts(tmp_path) == {"default": "new"}
    assert sorted(one.name for one in tmp_path.iterdir()) == ["default"]


@pytest.mark.parametrize("call", [1, 2])
def test_a_rename_that_fails_leaves_the_old_folder(
    call: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = machine(tmp_path / "default", "old")
    monkeypatch.setattr(exchange, "exchange", lambda *_: False)
    real, calls = os.rename, [0]

    def failing(*names: object) -> None:
        calls[0] += 1
        if calls[0] == call:
            raise OSError(5, "Input/output error")
        real(*names)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "rename", failing)
    with pytest.raises(OSError, match="Input/output"), NewFolder(path, force=True) as folder:
        (folder.temporary / "id_rsa").write_text("new")
    assert texts(tmp_path) == {"default": "old"}
    assert sorted(one.name for one in tmp_path.iterdir()) == ["default"]


def test_an_exchange_that_fails_leaves_the_old_folder(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = machine(tmp_path / "default", "old")

    def fail(*_: object) -> bool:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(exchange, "exchange", fail)
    with pytest.raises(OSError, match="No space"), NewFolder(path, force=True) as folder:
        (folder.temporary / "id_rsa").write_text("new")
    assert texts(tmp_path) == {"default": "old"}


@pytest.mark.skipif(sys.platform == "win32", reason="not here: a system that exchanges names")
def test_names_change_places_at_once(tmp_path: Path) -> None:
    one, other = machine(tmp_path / "one", "1"), machine(tmp_path / "other", "2")
    if not exchange.exchange(one, other):
        pytest.skip("not here: a filesystem that exchanges names")
    assert texts(tmp_path) == {"one": "2", "other": "1"}
    with pytest.raises(FileNotFoundError):
        exchange.exchange(one, tmp_path / "nothing")


@pytest.mark.parametrize("can_exchange", [True, False])
@pytest.mark.parametrize("is_replaced", [True, False])
def test_a_folder_that_stood_is_taken_back(
    can_exchange: bool, is_replaced: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not can_exchange:
        monkeypatch.setattr(exchange, "exchange", lambda one, other: False)
    if is_replaced:
        machine(tmp_path / "default", "old")
    new = NewFolder(tmp_path / "default", force=True)
    (new.temporary / "config.json").write_text("new")
    new.commit()
    assert (tmp_path / "default" / "config.json").read_text() == "new"
    new.revert()
    assert texts(tmp_path).get("default") == ("old" if is_replaced else None)
    new.discard()
    assert texts(tmp_path) == ({"default": "old"} if is_replaced else {})
    assert leftovers(tmp_path) == []


KILLED = """
import os, signal, sys
from pathlib import Path
from b2dinspect.newfile import NewFile, NewFolder
from b2dinspect.newfile.hold import scratch
folder = Path(sys.argv[1])
with NewFolder(folder / "machine") as new, NewFile(folder / "disk.img") as file, scratch() as work:
    for place in (new.temporary, work):
        (place / "id_rsa").write_text("secret")
    file.pwrite(0, b"half")
    print("ready", flush=True)
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGKILL)
"""


@NO_FLOCK
def test_what_a_killed_run_leaves_is_named_and_swept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    temporary = tmp_path / "temporary"
    temporary.mkdir()
    monkeypatch.setenv("TMPDIR", str(temporary))
    monkeypatch.setattr("tempfile.tempdir", None)
    folder = tmp_path / "machines"
    folder.mkdir()
    with subprocess.Popen(
        [sys.executable, "-c", KILLED, folder], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        assert process.stdout.readline() == b"ready\n"
        assert leftovers(folder) == scratch_leftovers() == []  # somebody is at work on them
        process.stdin.close()
        assert process.wait() == -signal.SIGKILL
    found = [*scratch_leftovers(), *leftovers(folder)]
    assert [(one.path.is_dir(), one.belongs) for one in found].count((True, None)) == 2
    assert len(found) == 3
    for one in found:
        sweep(one)
    assert [*folder.iterdir(), *temporary.iterdir()] == []


def left_pair(folder: Path, *, is_named: bool) -> Path:
    """Make what is there when the data have their name, and the file that names them perhaps its own."""
    data = folder / "disk-1-flat.vmdk"
    data.write_text("data")
    (folder / ".0123456789ab.data.part").hardlink_to(data)
    (folder / ("disk.vmdk" if is_named else ".0123456789ab.part")).write_text(data.name)
    return data


@NO_FLOCK
def test_data_that_nothing_names_go_with_their_temporary_name(tmp_path: Path) -> None:
    left_pair(tmp_path, is_named=False)
    (tmp_path / "disk-flat.vmdk").write_text("data")
    found = leftovers(tmp_path)
    assert len(found) == 2
    for one in found:
        sweep(one)
    assert [path.name for path in tmp_path.iterdir()] == ["disk-flat.vmdk"]


@NO_FLOCK
def test_data_that_are_named_stay(tmp_path: Path) -> None:
    data = left_pair(tmp_path, is_named=True)
    (found,) = leftovers(tmp_path)
    sweep(found)
    assert {path.name for path in tmp_path.iterdir()} == {data.name, "disk.vmdk"}


@NO_FLOCK
def test_data_are_held_by_who_names_them(tmp_path: Path) -> None:
    with NewFile(tmp_path / "disk.vmdk") as namer:
        data = NewFile(tmp_path / "disk-flat.vmdk", named_in=namer)
        data.commit()
        assert data.path.samefile(data.temporary)
        assert leftovers(tmp_path) == []
    assert {path.name for path in tmp_path.iterdir()} == {"disk.vmdk", "disk-flat.vmdk"}


@pytest.mark.parametrize("links", [True, False], ids=["links", "a filesystem without links"])
def test_data_go_when_what_names_them_fails(
    links: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not links:
        monkeypatch.setattr(os, "link", no_link)
    with pytest.raises(KeyboardInterrupt), NewFile(tmp_path / "disk.vmdk") as namer:
        NewFile(tmp_path / "disk-flat.vmdk", named_in=namer).commit()
        raise KeyboardInterrupt
    assert [path.name for path in tmp_path.iterdir()] == ([] if links else ["disk-flat.vmdk"])


def no_link(*_: object) -> None:
    raise PermissionError


UNPACKING = """
import os, signal, sys
from b2dinspect.doctor.case import open_case
with open_case(sys.argv[1]) as case:
    print(case.machine.folder, flush=True)
    sys.stdin.read()
    os.kill(os.getpid(), signal.SIGKILL)
"""


@NO_FLOCK
def test_a_machine_that_was_unpacked_is_swept_when_its_doctor_was_killed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    machine = Path(__file__).parents[2] / "sample_images" / "incidents" / "key-empty.tar.xz"
    with subprocess.Popen(
        [sys.executable, "-c", UNPACKING, machine], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as process:
        assert process.stdin is not None
        assert process.stdout is not None
        folder = Path(process.stdout.readline().decode().rstrip("\n"))
        assert (folder / "config.json").is_file()
        assert scratch_leftovers() == []  # somebody looks at it
        process.stdin.close()
        assert process.wait() == -signal.SIGKILL
    for one in scratch_leftovers():
        sweep(one)
    assert list(tmp_path.iterdir()) == []


def test_the_only_copy_gets_its_name_back(tmp_path: Path) -> None:
    old = machine(tmp_path / "default.0123456789ab.old", "old")
    assert leftovers(tmp_path) == [Leftover(old, tmp_path / "default")]
    sweep(leftovers(tmp_path)[0])
    assert texts(tmp_path) == {"default": "old"}


def test_a_replaced_one_is_removed(tmp_path: Path) -> None:
    old = machine(tmp_path / "default.0123456789ab.old", "old")
    machine(tmp_path / "default", "new")
    assert leftovers(tmp_path) == [Leftover(old, None)]
    sweep(leftovers(tmp_path)[0])
    assert texts(tmp_path) == {"default": "new"}


@pytest.mark.parametrize("name", ["a.part", ".0123.part", ".0123456789AB.part", "x.old", ".0123456789ab.old"])
def test_what_others_call_so_is_not_ours(name: str, tmp_path: Path) -> None:
    (tmp_path / name).write_text("theirs")
    assert leftovers(tmp_path) == []


@NO_FLOCK
def test_a_link_is_not_ours(tmp_path: Path) -> None:
    (tmp_path / ".0123456789ab.part").symlink_to(tmp_path)
    assert leftovers(tmp_path) == []


def test_where_nothing_can_be_read_nothing_is_found(tmp_path: Path) -> None:
    assert leftovers(tmp_path / "nothing") == []


def test_keys_go_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = machine(tmp_path / "default", "key")
    (folder / "disk.img").write_bytes(bytes(100_000))
    gone: list[str] = []
    real = os.unlink
    monkeypatch.setattr(os, "unlink", lambda path, **more: (gone.append(str(path)), real(path, **more)))
    remove_folder(folder)
    assert [Path(one).name for one in gone] == ["id_rsa", "disk.img"]


def test_an_interrupt_waits_until_all_is_gone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = machine(tmp_path / "default", "key")
    real, calls = os.unlink, [0]

    def interrupted(path: str, **more: int) -> None:
        calls[0] += 1
        if calls[0] == 1:
            raise KeyboardInterrupt
        real(path, **more)

    monkeypatch.setattr(os, "unlink", interrupted)
    with pytest.raises(KeyboardInterrupt):
        remove_folder(folder)
    assert not folder.exists()


@NO_FLOCK
def test_a_folder_is_held_as_long_as_somebody_works_on_it(tmp_path: Path) -> None:
    held = hold_folder(tmp_path)
    assert held is not None
    assert is_held(tmp_path)
    os.close(held)
    assert not is_held(tmp_path)
    with scratch() as work:
        assert is_held(work)
        assert stat.S_IMODE(work.stat().st_mode) == 0o700
    assert not work.exists()


@pytest.mark.skipif(os.name != "posix", reason="not here: owners and modes")
def test_replacing_keeps_owner_mode_and_link(tmp_path: Path) -> None:
    real, link = tmp_path / "disk.img", tmp_path / "link.img"
    real.write_bytes(b"old")
    real.chmod(0o666)
    if os.geteuid() == 0:
        os.chown(real, 1234, 2345)
    link.symlink_to(real)
    before = real.stat()
    with NewFile.replacing(link) as file:
        file.pwrite(0, b"new")
    assert link.is_symlink()
    assert link.read_bytes() == b"new"
    after = real.stat()
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["disk.img", "link.img"]


def test_an_owner_that_cannot_be_kept_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "disk.img"
    path.write_bytes(b"old")

    def refuse(*_: object) -> None:
        raise PermissionError(1, "Operation not permitted")

    monkeypatch.setattr(NewFile, "take_after", refuse)
    with pytest.raises(UsageError, match="same owner"):
        NewFile.replacing(path)
    assert [one.name for one in tmp_path.iterdir()] == ["disk.img"]
    with pytest.raises(SourceError, match="No such file"):
        NewFile.replacing(tmp_path / "nothing")
