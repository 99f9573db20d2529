"""prove: who gets in, and whether that is what the bytes say. The machine is not touched."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from b2dinspect.cli.provision.main import app
from b2dinspect.guests import profile_named
from b2dinspect.provisioning.repair.proof import AtHand, Proof, Tried, keys_at_hand, prove
from b2dinspect.provisioning.samples.incidents import practice_key
from tests.cli.helpers import unpacked, validator
from tests.incidents import case, copy_of, incident
from tests.oracles import needs
from tests.provisioning.repair.test_repair import content

PRACTICE = "SHA256:uVcALUZsDxV2a9JbaLU3Xhh3mQivNmgcHk1leumBtZo"


def run(*words: object) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, ["prove", *map(str, words)], catch_exceptions=False)
    return done.exit_code, done.stdout, done.stderr


@needs("ssh")
@pytest.mark.parametrize(
    ("name", "status"),
    [
        *(("healthy-hyperv", 0), ("healthy-minikube", 0), ("snapshot", 0), ("key-mode", 0)),
        *(("key-regenerated", 1), ("userdata-lost", 1), ("key-cut", 1), ("many-keys", 1), ("label-lost", 1)),
    ],
)
@pytest.mark.slow(but=2)
def test_the_guest_does_what_the_bytes_say(name: str, status: int) -> None:
    folder = incident(name)
    before = content(folder)
    found = run(folder, "--json")
    document = json.loads(found[1])
    validator("prove").validate(document)
    assert found[0] == status
    assert document["agrees"]
    assert document["stranger_refused"]
    assert document["owner_is_in"] == (status == 0)
    assert content(folder) == before


@needs("ssh")
@pytest.mark.slow
def test_every_key_at_hand_that_may_get_in_is_tried(tmp_path: Path) -> None:
    folder = copy_of("key-regenerated", tmp_path)
    assert f"untried  {PRACTICE}" in run(folder)[1]
    old = folder / "id_rsa.old"
    old.write_bytes(practice_key(1).private)
    old.chmod(0o600)
    status, said, _ = run(folder)
    assert status == 1
    assert f"let in   {PRACTICE}  {old}" in said
    assert "refused  SHA256:QIi1kTMPuf518CxdQC4kd2sCJQ2kYnYhyEaWRNDzwhQ (the owner's)" in said
    assert run(folder, "--key", old)[0] == 0


def test_a_machine_beside_it_lends_its_key(tmp_path: Path) -> None:
    folder = copy_of("key-regenerated", tmp_path)
    other = copy_of("healthy-virtualbox", tmp_path)
    assert str(other / "id_rsa") in [one.place for one in keys_at_hand(case(folder))]


@needs("ssh")
def test_a_fresh_disk_is_formatted_in_memory_only() -> None:
    folder = incident("never-formatted")
    before = content(folder)
    status, said, _ = run(folder)
    assert status == 0
    assert "FORMATTED" in said
    assert content(folder) == before


@needs("ssh")
def test_a_disk_without_a_private_key_at_hand() -> None:
    status, said, _ = run(unpacked("provisioned-minikube.vdi"))
    assert status == 1
    assert "untried" in said
    assert "so it was not tried" in said


@needs("ssh")
def test_another_guest_falls_back_to_what_has_no_label(tmp_path: Path) -> None:
    found = prove(case(incident("label-lost")), [], profile_named("minikube"))
    assert found.action == "mount"
    assert found.agrees


def test_a_difference_is_a_defect() -> None:
    tried = Tried("id_rsa", PRACTICE, True, expected=True, works=False, reason="refused")
    proof = Proof("minikube", "simulate", "mount", (tried,), (), is_open=False, failures=())
    assert not proof.agrees
    assert not proof._replace(tried=(), is_open=True).agrees
    assert proof._replace(tried=(tried._replace(works=True),)).agrees


def test_what_cannot_be_tried(tmp_path: Path) -> None:
    public = tmp_path / "key.pub"
    public.write_bytes(practice_key(1).public)
    assert run(incident("healthy-hyperv"), "--key", public)[0] == 2
    assert run(incident("container"))[0] == 2
    assert run("nothing")[0] == 2
    assert AtHand("", practice_key(1), True).key
