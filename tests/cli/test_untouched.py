"""No command changes the evidence, leaves anything beside it, or needs more than to read it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from b2dinspect.provisioning.keypair import SAMPLE_KEYS
from tests.cli.helpers import COMMANDS, MANIFEST, SAMPLES, USERDATA_PATH, invoke, snapshot, unpacked


def every_command(image: Path, folder: Path) -> list[tuple[object, ...]]:
    return [
        ("show", image),
        ("show", "--json", "--headers", image),
        ("show", "--format", "raw", image),
        ("keys", image),
        ("keys", "--fingerprints", image),
        ("diff", image),
        ("diff", image, SAMPLE_KEYS / "owner.pub"),
        ("verify", image),
        ("doctor", image),
        ("doctor", "--json", image),
        ("logs", image),
        ("choice", image),
        ("query", image, "state"),
        ("hexdump", image),
        ("map", image),
        ("report", image),
        ("ls", "--json", image, "/var/lib"),
        ("cat", image, USERDATA_PATH),
        ("get", image, "/", folder / "copy"),
    ]


def listing(folder: Path) -> list[tuple[str, int, int]]:
    return sorted((str(path), path.lstat().st_mtime_ns, path.lstat().st_size) for path in folder.iterdir())


@pytest.mark.parametrize("name", MANIFEST)
@pytest.mark.slow
@pytest.mark.no_cover
def test_the_evidence_is_the_same_after_every_command(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    image = unpacked(name)
    for other in MANIFEST:
        unpacked(other)
    (tmp_path / "work").mkdir()
    monkeypatch.chdir(tmp_path / "work")
    before, around = snapshot(image), (listing(image.parent), listing(SAMPLES))
    commands = every_command(image, tmp_path)
    assert {command for command, *_ in commands} == set(COMMANDS)
    for words in commands:
        assert invoke(*words).returncode in (0, 1, 2)
        assert (listing(image.parent), listing(SAMPLES)) == around, words
    assert snapshot(image) == before
    assert list((tmp_path / "work").iterdir()) == []
    assert before[0] == MANIFEST[name]["sha256"]


@contextmanager
def without_root() -> Iterator[None]:
    """Be somebody for whom permissions count."""
    if os.geteuid():
        yield
        return
    os.seteuid(65534)
    try:
        yield
    finally:
        os.seteuid(0)


@pytest.mark.parametrize("name", ["fresh.vdi", "provisioned-automount.vdi"])
def test_a_file_that_may_only_be_read_in_a_folder_that_may_only_be_read(name: str, tmp_path: Path) -> None:
    folder = tmp_path / "evidence"
    folder.mkdir()
    image = folder / "disk.vdi"
    image.write_bytes(unpacked(name).read_bytes())
    for module in ("pytsk3", "resource"):
        pytest.importorskip(module)  # loaded while it can be
    invoke("show", image)
    if not os.geteuid():
        os.chown(image, 65534, -1)
        for parent in list(tmp_path.parents)[:-2]:
            parent.chmod(parent.stat().st_mode | 0o111)
        tmp_path.chmod(0o755)
    image.chmod(0o400)
    folder.chmod(0o555)
    before = snapshot(image)
    with without_root():
        with pytest.raises(PermissionError):
            (folder / "new").touch()
        with pytest.raises(PermissionError):
            image.open("r+b")
        statuses = [
            invoke(*words).returncode for words in (("show", image), ("keys", image), ("diff", image))
        ]
        listed = invoke("ls", image).returncode
    assert (statuses, listed) == ([0, 0, 0], 2 if name == "fresh.vdi" else 0)
    assert snapshot(image) == before
    folder.chmod(0o755)
