"""A damaged backup is refused in one line, and nothing is touched."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from b2dinspect.errors import B2dError, SourceError, UsageError
from b2dinspect.newfile import NewFile
from b2dinspect.provisioning.disk.claims import claimed
from b2dinspect.provisioning.repair.backup import (
    FileChange,
    NewImage,
    Patch,
    apply,
    check,
    keep_old,
    undo,
    write_backup,
)
from b2dinspect.provisioning.repair.place import HostFolder
from tests.oracles import needs


def made(folder: Path) -> tuple[Path, dict[str, Any]]:
    file, backup = folder / "v", folder / "v.b2dbackup"
    file.write_bytes(b"OLD!")
    write_backup(backup, [FileChange(file, True, 4, 4, 0o644, 0o644, (Patch(0, b"OLD!", b"NEW!"),))])
    file.write_bytes(b"NEW!")
    return backup, json.loads(backup.read_text())


DAMAGE: dict[str, tuple[str, Any]] = {
    "a size that no file has": ("size", 1 << 63),
    "a negative size": ("size", -1),
    "a size as text": ("size", "4"),
    "no new size": ("new_size", None),
    "another type of mode": ("mode", "420"),
    "set-user-id": ("mode", 0o4755),
    "a list of modes": ("mode", [420]),
    "existed as text": ("existed", "yes"),
    "a folder": ("path", "."),
    "a name with NUL": ("path", "v\0x"),
    "a name that no file has": ("path", "\ud800"),
    "no name": ("path", ""),
    "a number for a name": ("path", 3),
    "ranges that are none": ("ranges", 7),
    "an offset behind everything": ("offset", 1 << 70),
    "a negative offset": ("offset", -5),
    "half an offset": ("offset", 0.5),
    "an offset as text": ("offset", "0"),
    "a length that is none": ("length", True),
    "no base64": ("old", "T0x?"),
    "no hash": ("new_sha256", None),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_a_damaged_backup_is_refused(what: str, tmp_path: Path) -> None:
    backup, document = made(tmp_path)
    name, value = DAMAGE[what]
    file = document["files"][0]
    (file["ranges"][0] if name in file["ranges"][0] else file)[name] = value
    backup.write_text(json.dumps(document))
    with pytest.raises(B2dError):
        undo(backup)
    assert (tmp_path / "v").read_bytes() == b"NEW!"


@pytest.mark.parametrize(
    "text", ["[" * 100_000, "", "{}", "[]", "null", '{"format": "b2dinspect backup"}', "\0"]
)
def test_what_is_no_backup_is_refused(text: str, tmp_path: Path) -> None:
    backup, _ = made(tmp_path)
    backup.write_text(text)
    with pytest.raises(B2dError):
        undo(backup)


def test_a_sound_one_is_put_back(tmp_path: Path) -> None:
    backup, _ = made(tmp_path)
    assert undo(backup) == [tmp_path / "v"]
    assert (tmp_path / "v").read_bytes() == b"OLD!"


# --- links, locks, and what a kill leaves ---


def change_of(file: Path, old: bytes, new: bytes, mode: int = 0o644) -> FileChange:
    """Return the change of a whole small file."""
    size = file.stat().st_size
    return FileChange(file, True, size, size - len(old) + len(new), 0o644, mode, (Patch(0, old, new),))


@pytest.mark.skipif(os.name != "posix", reason="not here: links that everybody can make")
@pytest.mark.parametrize("is_folder", [False, True])
def test_nothing_is_written_through_a_link(is_folder: bool, tmp_path: Path) -> None:
    outside, folder = tmp_path / "outside", tmp_path / "machine"
    outside.mkdir()
    folder.mkdir()
    (outside / "authorized_keys").write_bytes(b"OLD!")
    if is_folder:
        (folder / "in").symlink_to(outside)
        file = folder / "in" / "authorized_keys"
    else:
        file = folder / "id_rsa.pub"
        file.symlink_to(outside / "authorized_keys")
    change = change_of(file, b"OLD!", b"NEW!", 0o600)
    before = (outside / "authorized_keys").stat()
    with HostFolder(folder) as place, pytest.raises(UsageError, match="is a link to"):
        check(change, place)
    with HostFolder(folder) as place, pytest.raises(UsageError, match="is a link to"):
        apply(change, place)
    write_backup(folder / "v.b2dbackup", [change])
    with pytest.raises(UsageError, match="is a link to"):
        undo(folder / "v.b2dbackup")
    after = (outside / "authorized_keys").stat()
    assert (outside / "authorized_keys").read_bytes() == b"OLD!"
    assert (after.st_mode, after.st_mtime_ns) == (before.st_mode, before.st_mtime_ns)


def test_a_new_file_is_not_put_where_a_link_is(tmp_path: Path) -> None:
    (tmp_path / "id_rsa.pub").symlink_to(tmp_path / "nowhere")
    change = FileChange(tmp_path / "id_rsa.pub", False, 0, 3, 0, 0o600, (Patch(0, b"", b"key"),))
    with HostFolder(tmp_path) as place, pytest.raises(UsageError, match="has changed since"):
        check(change, place)
    with pytest.raises(UsageError, match="exists"):
        apply(change)
    assert not (tmp_path / "nowhere").exists()


def test_a_file_that_changed_since_the_plan_is_not_written(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_bytes(b"OLD!")
    change = change_of(file, b"OLD!", b"NEW!")
    for content in (b"XXXX", b"OLD!!"):
        file.write_bytes(content)
        with HostFolder(tmp_path) as place, pytest.raises(UsageError, match="has changed since"):
            check(change, place)
    file.unlink()
    with HostFolder(tmp_path) as place, pytest.raises(UsageError, match="has changed since"):
        check(change, place)


@pytest.mark.skipif(os.name != "posix", reason="not here: locks on folders")
def test_of_two_repairs_at_once_one_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "config.json"
    file.write_bytes(b"OLD!")
    change = change_of(file, b"OLD!", b"NEW!")
    with HostFolder(tmp_path) as first:
        check(change, first)
        with HostFolder(tmp_path) as second, pytest.raises(UsageError, match="somebody else repairs"):
            apply(change, second)
        apply(change, first)
    assert file.read_bytes() == b"NEW!"


@pytest.mark.parametrize("call", ["write", "fsync", "replace", "open", "fchmod"])
def test_a_full_disk_cuts_no_small_file(call: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    file = tmp_path / "config.json"
    file.write_bytes(b"OLD, and longer")
    change = change_of(file, b"OLD, and longer", b"NEW")
    real, calls = getattr(os, call), [0]

    def full(*words: Any, **more: Any) -> Any:
        calls[0] += 1
        if call != "open" or words[1] & os.O_CREAT:
            raise OSError(28, "No space left on device")
        return real(*words, **more)

    monkeypatch.setattr(os, call, full)
    with pytest.raises(SourceError, match="No space left"):
        apply(change)
    monkeypatch.undo()
    assert calls[0]
    assert file.read_bytes() == b"OLD, and longer"
    assert [path.name for path in tmp_path.iterdir()] == ["config.json"]


@pytest.mark.parametrize("torn", range(5))
def test_undo_takes_a_range_that_is_half_written(torn: int, tmp_path: Path) -> None:
    file, backup = tmp_path / "disk.img", tmp_path / "v.b2dbackup"
    file.write_bytes(b"OLD!" + bytes(100))
    write_backup(backup, [FileChange(file, True, 104, 104, 0o644, 0o644, (Patch(0, b"OLD!", b"NEW?"),))])
    file.write_bytes(b"NEW?"[:torn] + b"OLD!"[torn:] + bytes(100))
    undo(backup)
    assert file.read_bytes() == b"OLD!" + bytes(100)
    file.write_bytes(b"X" + b"OLD!"[1:] + bytes(100))
    with pytest.raises(UsageError, match="was changed"):
        undo(backup)


@pytest.mark.parametrize("left", [b"", b"OLD", b"OLD, and longer"])
def test_undo_takes_what_a_full_disk_left_of_a_small_file(left: bytes, tmp_path: Path) -> None:
    file, backup = tmp_path / "config.json", tmp_path / "v.b2dbackup"
    file.write_bytes(b"OLD, and longer")
    write_backup(backup, [change_of(file, b"OLD, and longer", b"NEW")])
    file.write_bytes(left)
    undo(backup)
    assert file.read_bytes() == b"OLD, and longer"


HOLDER = "import sys; file = open(sys.argv[1], 'r+b'); print('ready', flush=True); sys.stdin.read()"


@pytest.mark.skipif(sys.platform != "linux", reason="not here: /proc")
def test_who_has_an_image_open_is_named(tmp_path: Path) -> None:
    file = tmp_path / "disk.img"
    file.write_bytes(bytes(512))
    words = [sys.executable, "-c", HOLDER, file]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        with pytest.raises(UsageError, match=rf"in use by .*\(process {other.pid}\)"), claimed(file):
            pass
        other.communicate()
    with claimed(file), pytest.raises(UsageError, match="in use by another program"), claimed(file):
        pass


@needs("qemu-io")
@pytest.mark.skipif(sys.platform != "linux", reason="not here: QEMU's locks")
def test_qemu_and_we_heed_each_other(tmp_path: Path) -> None:
    file = tmp_path / "disk.img"
    file.write_bytes(bytes(65536))
    words = ["qemu-io", "-f", "raw", str(file)]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.read(8)  # its prompt: it has the image open
        with pytest.raises(UsageError, match="in use by qemu-io"), claimed(file):
            pass
        other.communicate(b"quit\n")
    with claimed(file):
        refused = subprocess.run([*words, "-c", "write 0 512"], capture_output=True, check=False)
        assert b'Failed to get "write" lock' in refused.stderr


def test_what_an_earlier_repair_kept_stays(tmp_path: Path) -> None:
    path = tmp_path / "disk.vdi"
    for number in range(3):
        path.write_bytes(b"%d" % number)
        with NewFile.replacing(path) as new:
            new.pwrite(0, b"new")
            image = NewImage.of(path, ".before-repair", new)
            keep_old(image)
    names = ["disk.vdi.before-repair", "disk.vdi.2.before-repair", "disk.vdi.3.before-repair"]
    assert [(tmp_path / name).read_bytes() for name in names] == [b"0", b"1", b"2"]
