"""``b2dinspect verify``: the container and nothing else."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.cli.helpers import document, invoke, unpacked


@pytest.mark.parametrize("name", ["blank.vdi", "out-of-order.vdi", "userdata-missing.vdi", "fresh.raw"])
def test_a_sound_container_is_sound_whatever_is_on_it(name: str) -> None:
    done = invoke("verify", unpacked(name))
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"sound" in done.stdout
    assert document(invoke("verify", unpacked(name), "--json"), "verify")["sound"]


def test_a_map_that_points_outside_is_told(tmp_path: Path) -> None:
    path = tmp_path / "disk.vdi"
    data = bytearray(unpacked("fresh.vdi").read_bytes())
    data[1 << 20 : (1 << 20) + 4] = (12345).to_bytes(4, "little")
    path.write_bytes(data)
    done = invoke("verify", path)
    assert done.returncode == 1
    assert b"vdi-block-outside" in done.stdout
    found = document(invoke("verify", path, "--json"), "verify")
    assert [finding["id"] for finding in found["findings"]] == ["vdi-block-outside"]
    assert not found["sound"]


def test_what_is_no_container_cannot_be_verified(tmp_path: Path) -> None:
    path = tmp_path / "empty"
    path.touch()
    assert invoke("verify", path).returncode == 2
