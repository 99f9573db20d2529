"""The host's key pair: what its files hold, and who may read them."""

from __future__ import annotations

from pathlib import Path

import pytest

from b2dinspect.machine.keys import read_keys
from b2dinspect.provisioning.samples.incidents import practice_key
from tests.incidents import answer, copy_of, ids
from tests.machine.helpers import machine


def test_keys_that_are_none(tmp_path: Path) -> None:
    assert read_keys(tmp_path) == (None, None)
    cases = {b"": "is empty", b"hello": "is no private key", practice_key(1).private[:200]: "cut short"}
    for data, said in cases.items():
        (tmp_path / "id_rsa").write_bytes(data)
        found = read_keys(tmp_path).private
        assert found is not None
        assert said in found.error
    (tmp_path / "id_rsa").write_bytes(bytes(1 << 20))
    found = read_keys(tmp_path).private
    assert found is not None
    assert "too large" in found.error


def test_a_pair_that_does_not_belong_together(tmp_path: Path) -> None:
    machine(tmp_path)
    assert read_keys(tmp_path).is_pair
    (tmp_path / "id_rsa.pub").write_bytes(practice_key(2).public)
    assert not read_keys(tmp_path).is_pair
    folder = copy_of("healthy-virtualbox", tmp_path)
    (folder / "id_rsa.pub").write_bytes(practice_key(2).public)
    assert ids(folder) == ["key-pair-differs"]


@pytest.mark.parametrize("mode", [0o644, 0o640, 0o604, 0o660, 0o601])
def test_modes_that_ssh_refuses(mode: int, tmp_path: Path) -> None:
    folder = copy_of("healthy-virtualbox", tmp_path)
    (folder / "id_rsa").chmod(mode)
    assert ids(folder) == ["key-permissions"]
    assert f"{mode:04o}" in answer(folder).findings[0].finding.message


def test_modes_that_ssh_takes(tmp_path: Path) -> None:
    folder = copy_of("healthy-virtualbox", tmp_path)
    for mode in (0o600, 0o400, 0o700):
        (folder / "id_rsa").chmod(mode)
        assert ids(folder) == []
