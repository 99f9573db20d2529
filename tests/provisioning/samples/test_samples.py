"""Every sample shows what its recipe put there, and is rebuilt byte for byte."""

from __future__ import annotations

import gzip
import hashlib
import json
import shutil
from pathlib import Path

import pytest

from b2dinspect.doctor.disk import examine
from b2dinspect.inspection.walk import inspect
from b2dinspect.provisioning.keypair import SAMPLE_KEYS
from b2dinspect.provisioning.samples.samples import RECIPES, build_sample, digest
from tests.opened import keep
from tests.oracles import needs, run

HERE = Path(__file__).parents[3] / "sample_images"
MANIFEST = json.loads((HERE / "manifest.json").read_text())["samples"]


def test_every_recipe_has_a_sample_and_a_row_in_the_readme() -> None:
    readme = (HERE / "README.md").read_text()
    assert set(MANIFEST) == set(RECIPES)
    for name in RECIPES:
        assert (HERE / f"{name}.gz").is_file()
        assert f"`{name}.gz`" in readme


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.slow
def test_sample_shows_what_the_manifest_says(name: str) -> None:
    expected = MANIFEST[name]["expected"]
    facts = keep(inspect(str(HERE / f"{name}.gz")))
    findings = examine(facts)
    assert facts.state == expected["state"]
    assert facts.guest.profile == expected["guest"]
    assert facts.container.size == expected["virtual_size"]
    assert facts.magic.found == expected["magic"]
    assert [item.source for item in facts.userdata] == expected["userdata"]
    assert [key.line.key and key.line.key.sha256 for key in facts.keys] == expected["keys"]
    assert [finding.id for finding in findings] == expected["findings"]
    assert any(finding.is_fault for finding in findings) == bool(expected["exit"])


@pytest.mark.parametrize("name", RECIPES)
@pytest.mark.slow(but=5)
def test_sample_is_the_one_in_the_manifest(name: str, tmp_path: Path) -> None:
    with gzip.open(HERE / f"{name}.gz") as packed, (tmp_path / name).open("wb") as file:
        shutil.copyfileobj(packed, file)
    image = tmp_path / name
    assert (digest(image), image.stat().st_size) == (MANIFEST[name]["sha256"], MANIFEST[name]["size"])


@pytest.mark.parametrize("name", RECIPES)
def test_recipe_rebuilds_the_sample_byte_for_byte(name: str, tmp_path: Path) -> None:
    build_sample(name, tmp_path / name)
    assert hashlib.sha256((tmp_path / name).read_bytes()).hexdigest() == MANIFEST[name]["sha256"]


@needs("ssh-keygen")
@pytest.mark.parametrize("name", ["owner", "new-owner", "large"])
def test_manifest_fingerprints_are_those_of_ssh_keygen(name: str) -> None:
    fingerprint = run("ssh-keygen", "-lf", str(SAMPLE_KEYS / f"{name}.pub")).stdout.decode().split()[1]
    uses = sum(entry["expected"]["keys"].count(fingerprint) for entry in MANIFEST.values())
    assert uses > 0 or name == "large"


@needs("qemu-img", "e2fsck")
@pytest.mark.parametrize("name", [name for name in RECIPES if name.startswith(("provisioned", "out-of"))])
def test_other_programs_accept_the_sample(name: str, tmp_path: Path) -> None:
    image, raw = tmp_path / name, tmp_path / "raw"
    build_sample(name, image)
    run("qemu-img", "check", str(image))
    run("qemu-img", "convert", "-O", "raw", str(image), str(raw))
    data = keep(inspect(str(image))).data
    assert data is not None
    run("e2fsck", "-fn", f"{raw}?offset={data.volume.partition.offset}")
    run("sfdisk", "--verify", str(raw))
