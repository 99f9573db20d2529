"""Small files of a machine directory: bounded, and no way out of it."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from b2dinspect.machine.files import is_folder, is_there, read_small, real_file


def test_a_file_is_read_with_what_is_known_of_it(tmp_path: Path) -> None:
    path = tmp_path / "id_rsa"
    path.write_bytes(b"key")
    path.chmod(0o640)
    os.utime(path, (1, 1_234_567_890))
    assert read_small(path, 3) == (path, 0o640, 3, b"key", 1_234_567_890.0, "")


def test_one_byte_too_many_and_nothing_is_read(tmp_path: Path) -> None:
    path = tmp_path / "id_rsa"
    path.write_bytes(b"keys")
    found = read_small(path, 3)
    assert found is not None
    assert (found.size, found.data) == (4, b"")
    assert found.error == "4 bytes, which is too large for what it should be (3 at most)"


def test_what_is_not_there_is_none(tmp_path: Path) -> None:
    assert read_small(tmp_path / "id_rsa", 9) is None
    assert not is_there(tmp_path / "id_rsa")


def test_a_link_within_the_folder_is_followed(tmp_path: Path) -> None:
    (tmp_path / "real").write_bytes(b"key")
    (tmp_path / "id_rsa").symlink_to("real")
    found = read_small(tmp_path / "id_rsa", 9)
    assert found is not None
    assert (found.path, found.data) == (tmp_path / "id_rsa", b"key")


@pytest.mark.parametrize("target", ["../secret", "/etc/passwd", "nothing"])
def test_a_link_that_leads_out_or_nowhere_is_there_and_unread(target: str, tmp_path: Path) -> None:
    (tmp_path / "secret").write_bytes(b"secret")
    folder = tmp_path / "dev"
    folder.mkdir()
    (folder / "id_rsa").symlink_to(target)
    found = read_small(folder / "id_rsa", 1 << 20)
    assert is_there(folder / "id_rsa")
    assert found is not None
    assert (found.size, found.data) == (0, b"")
    assert found.error


def test_a_pipe_is_refused_and_nobody_waits(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "id_rsa")
    found = read_small(tmp_path / "id_rsa", 9)
    assert found is not None
    assert found.data == b""
    assert found.error


def test_a_file_deeper_down_must_lie_in_the_machine(tmp_path: Path) -> None:
    folder = tmp_path / "dev"
    (folder / "Snapshots").mkdir(parents=True)
    (folder / "disk.vmdk").touch()
    (tmp_path / "disk.vmdk").touch()
    (folder / "Snapshots" / "inner").symlink_to("../disk.vmdk")
    (folder / "Snapshots" / "outer").symlink_to("../../disk.vmdk")
    assert real_file(folder / "Snapshots" / "inner", folder) == (folder / "disk.vmdk", "")
    found, reason = real_file(folder / "Snapshots" / "outer", folder)
    assert found is None
    assert "image" not in reason


def test_a_name_too_long_is_no_folder(tmp_path: Path) -> None:
    assert is_folder(tmp_path)
    assert not is_folder(tmp_path / ("x" * 5000))
