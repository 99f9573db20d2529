"""``repair --certs``: the advice followed to the end, the door open, and all of it taken back."""

from __future__ import annotations

import hashlib
import shlex
import shutil
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from b2dinspect.cli.provision.main import app
from b2dinspect.machine.certificates import read_certificates_of
from b2dinspect.render.doctor import here
from b2dinspect.userdata.certificate import signature_fault
from tests.doors import EXPECTED, answer, copy_of, door, ids
from tests.incidents import incident
from tests.oracles import needs

pytestmark = needs("ssh")
BROKEN = [name for name, entry in EXPECTED.items() if entry["findings"]]
NOT_MENDED = {"disk-full": ["data-full", "daemon-died"], "aufs-hidden": ["profile-aufs"]}


def provision(*words: object) -> tuple[int, str, str]:
    done = CliRunner().invoke(
        app, [str(word) for word in words], catch_exceptions=False, env={"COLUMNS": "240"}
    )
    return done.exit_code, done.stdout, done.stderr


def digests(folder: Path) -> dict[str, tuple[str, int]]:
    return {
        str(path.relative_to(folder)): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mode)
        for path in folder.rglob("*")
        if path.is_file() and path.suffix != ".b2dbackup"
    }


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.slow
def test_the_advice_opens_the_door_and_undo_closes_it(name: str, tmp_path: Path) -> None:
    folder = copy_of(name, tmp_path)
    before = digests(tmp_path)
    key = (folder / "ca-key.pem").read_bytes()
    lines = [one for one in here(answer(folder).findings[0])[1] if one.startswith("b2dprovision ")]
    words = (
        shlex.split(lines[0])
        if name not in NOT_MENDED
        else ["b2dprovision", "repair", str(folder), "--certs"]
    )
    words = [*words, "--in-place"] if "--in-place" not in words else words
    assert words == ["b2dprovision", "repair", str(folder), "--certs", "--in-place"]
    status, text, _ = provision(*words[1:])
    assert status == (1 if name in NOT_MENDED else 0), text
    told = " ".join(text.split())
    assert (
        "a Docker client came in through TLS as 192.168.99.100, and one without a certificate did not" in told
    )
    assert ids(folder, time.time()) == NOT_MENDED.get(name, [])
    assert (folder / "ca-key.pem").read_bytes() == key
    held = read_certificates_of(folder)
    for one in (held.server, held.client):
        assert one and one.certificate and held.authority and held.authority.certificate
        assert signature_fault(one.certificate, held.authority.certificate) == ""
    (backup,) = tmp_path.rglob("*.b2dbackup")
    assert provision("repair", "--undo", backup)[0] == 0
    assert digests(tmp_path) == before


@pytest.fixture(scope="module")
def two(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A store with two machines and its own certificates, all of which are over."""
    store = tmp_path_factory.mktemp("two")
    folder = copy_of("door-open", store)
    other = Path(shutil.copytree(folder, folder.with_name("other")))
    config = (other / "config.json").read_text()
    (other / "config.json").write_text(config.replace(str(folder), str(other)))
    (store / "certs").mkdir()
    for name in ("ca.pem", "ca-key.pem", "cert.pem", "key.pem"):
        shutil.copy2(folder / name, store / "certs" / name)
    return store


@pytest.fixture
def store(two: Path, tmp_path: Path) -> Path:
    made = Path(shutil.copytree(two, tmp_path / "store"))
    for config in made.glob("machines/*/config.json"):
        config.write_text(config.read_text().replace(str(two), str(made)))
    return made


@pytest.mark.slow
def test_a_store_is_renewed_and_the_machines_that_this_shuts_out_are_named(store: Path) -> None:
    key = (store / "certs" / "ca-key.pem").read_bytes()
    before = digests(store)
    status, text, _ = provision("repair", store / "machines" / "door-open", "--certs", "--in-place")
    assert status == 0, text
    assert "signed again with the same ca-key.pem, which stays as it is" in text
    again = f"b2dprovision repair {store / 'machines' / 'other'} --certs --in-place"
    assert again in text
    assert (store / "certs" / "ca-key.pem").read_bytes() == key
    assert ids(store / "machines" / "door-open", time.time()) == []
    assert provision(*shlex.split(again)[1:])[0] == 0
    assert ids(store / "machines" / "other", time.time()) == []
    for backup in sorted(store.glob("*.b2dbackup"), reverse=True):
        assert provision("repair", "--undo", backup)[0] == 0
    assert digests(store) == before


@pytest.mark.slow
def test_an_authoritys_key_goes_only_when_it_is_named(store: Path) -> None:
    folder, place = store / "machines" / "door-open", store / "certs" / "ca-key.pem"
    place.write_bytes((folder / "server-key.pem").read_bytes())
    before = digests(store)
    status, _, complaint = provision("repair", folder, "--certs", "--in-place")
    assert status == 2
    assert "it does not belong to ca.pem" in complaint
    assert "--drop ca-key.pem" in complaint
    assert digests(store) == before
    status, text, _ = provision("repair", folder, "--certs", "--in-place", "--drop", "ca-key.pem")
    assert status == 0, text
    assert "a new authority: ca.pem and ca-key.pem" in text
    assert place.read_bytes() != before
    assert place.stat().st_mode & 0o777 == 0o600


@pytest.mark.slow
def test_a_dry_run_writes_nothing(store: Path) -> None:
    before = digests(store)
    status, text, _ = provision("repair", store / "machines" / "other", "--certs", "--dry-run")
    assert (status, digests(store)) == (0, before)
    assert str(store / "certs" / "cert.pem") in text


@pytest.mark.slow
def test_a_copy_has_all_of_it_and_the_store_stays(store: Path, tmp_path: Path) -> None:
    before = digests(store)
    out = tmp_path / "copy"
    status, text, _ = provision("repair", store / "machines" / "other", "--certs", "--out", out)
    assert status == 1, text
    assert digests(store) == before
    assert ids(out, time.time()) == ["certificates-missing"]  # config.json names a store, and there is none


def test_a_disk_alone_has_no_certificates(tmp_path: Path) -> None:
    disk = Path(shutil.copy(door("door-open") / "disk.vmdk", tmp_path))
    status, _, complaint = provision("repair", disk, "--certs")
    assert status == 2
    assert "certificates belong to a machine" in complaint


def test_a_machine_that_never_booted_gets_none(tmp_path: Path) -> None:
    folder = shutil.copytree(incident("never-formatted"), tmp_path / "never-formatted")
    status, _, complaint = provision("repair", folder, "--certs")
    assert status == 2
    assert "no data partition" in complaint
