"""Every incident is what it says, and can be made again."""

from __future__ import annotations

import io
import json
import tarfile
from pathlib import Path

import pytest

from b2dinspect.errors import SourceError, UsageError
from b2dinspect.machine.packed import MAX_UNPACKED
from b2dinspect.provisioning.samples.incidents import INCIDENTS, make, pack, unpack
from tests.incidents import MANIFEST, NAMES, PACKED, answer, ids, incident
from tests.oracles import needs, run


def test_every_incident_is_packed_and_expected() -> None:
    assert {path.name.removesuffix(".tar.xz") for path in PACKED.glob("*.tar.xz")} == set(NAMES)
    assert {name: found.row for name, found in INCIDENTS.items()} == {
        name: entry["row"] for name, entry in MANIFEST.items()
    }


def test_every_row_that_a_directory_can_show_has_one() -> None:
    assert {entry["row"] for entry in MANIFEST.values()} == set(range(18))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.slow
def test_the_doctor_finds_the_cause_first_and_nothing_false(name: str) -> None:
    assert ids(incident(name)) == MANIFEST[name]["findings"]


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.slow
def test_the_first_finding_is_of_the_incidents_row(name: str) -> None:
    found = answer(incident(name)).findings
    if found:
        assert found[0].explanation.row == MANIFEST[name]["row"]


@needs("ssh")
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.slow
def test_each_can_be_made_again(name: str, tmp_path: Path) -> None:
    made = make(INCIDENTS[name], tmp_path / "one" / "machines")
    packed = tmp_path / f"{name}.tar.xz"
    packed.write_bytes(pack(made, ("id_rsa",) if name == "key-mode" else ()))
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
    assert [path.name for path in tmp_path.iterdir()] == ["key-mode"]


def packed(tmp_path: Path, *members: tuple[tarfile.TarInfo, bytes]) -> Path:
    path = tmp_path / "bomb.tar.xz"
    with tarfile.open(path, "w:xz", preset=0) as tar:
        for member, data in members:
            member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return path


@pytest.mark.slow
def test_no_more_is_unpacked_than_the_bound(tmp_path: Path) -> None:
    bomb = packed(tmp_path, (tarfile.TarInfo("bomb/disk.vmdk"), bytes(MAX_UNPACKED)))
    assert bomb.stat().st_size < 100_000
    with pytest.raises(SourceError, match="unpacks to more than 64 MiB"):
        unpack(bomb, tmp_path / "machines")
    assert list((tmp_path / "machines").iterdir()) == []


@pytest.mark.slow
def test_headers_count_too(tmp_path: Path) -> None:
    member = tarfile.TarInfo("bomb/id_rsa")
    member.pax_headers = {"comment": "x" * MAX_UNPACKED}
    with pytest.raises(SourceError, match="unpacks to more than 64 MiB"):
        unpack(packed(tmp_path, (member, b"")), tmp_path / "machines")


@needs("tar", "xz")
def test_holes_stay_holes(tmp_path: Path) -> None:
    disk = tmp_path / "holes" / "disk.img"
    disk.parent.mkdir()
    with disk.open("wb") as file:
        file.truncate(20_000 << 20)
        file.seek(10_000 << 20)
        file.write(b"data")
    run("tar", "-cJSf", tmp_path / "holes.tar.xz", "-C", tmp_path, "holes/disk.img")
    found = unpack(tmp_path / "holes.tar.xz", tmp_path / "machines") / "disk.img"
    assert found.stat().st_size == 20_000 << 20
    assert found.stat().st_blocks * 512 < 1 << 20
    with found.open("rb") as file:
        file.seek(10_000 << 20)
        assert file.read(5) == b"data\0"


@pytest.mark.parametrize("name", ["other/id_rsa", "bomb", "bomb/../x", "/bomb/x", "bomb//x", "bomb/a/./x"])
def test_a_name_outside_is_refused(name: str, tmp_path: Path) -> None:
    with pytest.raises(SourceError, match="no file or folder in bomb"):
        unpack(packed(tmp_path, (tarfile.TarInfo(name), b"x")), tmp_path / "machines")
    assert list((tmp_path / "machines").iterdir()) == []


@pytest.mark.parametrize("kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.FIFOTYPE, tarfile.CHRTYPE])
def test_what_is_neither_file_nor_folder_is_refused(kind: bytes, tmp_path: Path) -> None:
    member = tarfile.TarInfo("bomb/x")
    member.type, member.linkname = kind, "/etc/passwd"
    with pytest.raises(SourceError, match="no file or folder in bomb"):
        unpack(packed(tmp_path, (member, b"")), tmp_path / "machines")


@pytest.mark.parametrize("length", [0, 40, 5000])
def test_a_damaged_one_is_an_error(length: int, tmp_path: Path) -> None:
    path = tmp_path / "key-mode.tar.xz"
    path.write_bytes((PACKED / "key-mode.tar.xz").read_bytes()[:length])
    with pytest.raises(SourceError, match="cannot be unpacked"):
        unpack(path, tmp_path / "machines")
    assert list((tmp_path / "machines").iterdir()) == []


@pytest.mark.parametrize("folder", ["machines", "broken"])
def test_a_machine_knows_its_place_in_any_folder(tmp_path: Path, folder: str) -> None:
    made = unpack(PACKED / "healthy-virtualbox.tar.xz", tmp_path / folder)
    driver = json.loads((made / "config.json").read_text())["Driver"]
    assert Path(driver["SSHKeyPath"]) == made / "id_rsa"
    assert Path(driver["StorePath"]) == (tmp_path if folder == "machines" else tmp_path / folder)
    assert answer(made).findings == ()
