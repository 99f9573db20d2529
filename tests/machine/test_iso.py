"""What the boot medium says of itself, against xorriso."""

from __future__ import annotations

from pathlib import Path

import pytest

from b2dinspect.machine.iso import read_iso
from tests.oracles import needs, run


@needs("xorriso")
@pytest.mark.parametrize(
    ("volume", "version", "guest"),
    [
        ("Boot2Docker-v18.09.1", "18.09.1", "autoformat"),
        ("Boot2Docker-v19.03.12", "19.03.12", "autoformat"),
        ("Boot2Docker-v18.06.1-ce", "18.06.1-ce", "automount"),
        ("Boot2Docker-v1.6.2", "1.6.2", "automount"),
        ("minikube", "", "minikube"),
        ("Debian 12.0", "", None),
    ],
)
def test_what_an_iso_says(volume: str, version: str, guest: str | None, tmp_path: Path) -> None:
    (tmp_path / "content").mkdir()
    run("xorriso", "-as", "mkisofs", "-V", volume, "-o", tmp_path / "boot2docker.iso", tmp_path / "content")
    found = read_iso(tmp_path)
    assert found is not None
    assert (found.volume_id, found.version) == (volume, version)
    assert (found.guest.name if found.guest else None) == guest


def test_an_iso_that_is_none(tmp_path: Path) -> None:
    assert read_iso(tmp_path) is None
    for data in (b"", b"x", bytes(1 << 16)):
        (tmp_path / "boot2docker.iso").write_bytes(data)
        found = read_iso(tmp_path)
        assert found is not None
        assert (found.volume_id, found.guest) == ("", None)
        assert "no ISO 9660" in found.error
