"""Every incident is what it says, and can be made again."""

from __future__ import annotations

from pathlib import Path

import pytest

from b2dinspect.errors import UsageError
from b2dinspect.provisioning.samples.incidents import INCIDENTS, make, pack, unpack
from tests.incidents import MANIFEST, NAMES, PACKED, answer, ids, incident
from tests.oracles import needs


def test_every_incident_is_packed_and_expected() -> None:
    assert {path.name.removesuffix(".tar.xz") for path in PACKED.glob("*.tar.xz")} == set(NAMES)
    assert {name: found.row for name, found in INCIDENTS.items()} == {
        name: entry["row"] for name, entry in MANIFEST.items()
    }


def test_every_row_that_a_directory_can_show_has_one() -> None:
    assert {entry["row"] for entry in MANIFEST.values()} == set(range(18))


@pytest.mark.parametrize("name", NAMES)
def test_the_doctor_finds_the_cause_first_and_nothing_false(name: str) -> None:
    assert ids(incident(name)) == MANIFEST[name]["findings"]


@pytest.mark.parametrize("name", NAMES)
def test_the_first_finding_is_of_the_incidents_row(name: str) -> None:
    found = answer(incident(name)).findings
    if found:
        assert found[0].explanation.row == MANIFEST[name]["row"]


@needs("mke2fs", "debugfs", "ssh")
@pytest.mark.parametrize("name", NAMES)
def test_each_can_be_made_again(name: str, tmp_path: Path) -> None:
    made = make(INCIDENTS[name], tmp_path / "one" / "machines")
    packed = tmp_path / f"{name}.tar.xz"
    packed.write_bytes(pack(made))
    again, kept = unpack(packed, tmp_path / "two" / "machines"), incident(name)
    names = sorted(str(path.relative_to(kept)) for path in kept.rglob("*"))
    assert sorted(str(path.relative_to(again)) for path in again.rglob("*")) == names
    for file in (kept / path for path in names):
        twin = again / file.relative_to(kept)
        assert twin.stat().st_mode == file.stat().st_mode
        if file.is_file() and file.name != "config.json":
            assert twin.read_bytes() == file.read_bytes(), file.name


def test_nothing_is_overwritten(tmp_path: Path) -> None:
    (tmp_path / "key-mode").mkdir()
    with pytest.raises(UsageError, match="exists"):
        unpack(PACKED / "key-mode.tar.xz", tmp_path)
