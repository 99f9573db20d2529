"""A damaged backup is refused in one line, and nothing is touched."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from b2dinspect.errors import B2dError
from b2dinspect.provisioning.repair.backup import FileChange, Patch, undo, write_backup


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
