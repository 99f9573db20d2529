"""The notebook API: facts in attributes, HTML in Jupyter, text elsewhere."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest

import b2dinspect as b2d
from b2dinspect.errors import UsageError
from b2dinspect.notebook import View
from tests.cli.helpers import MANIFEST, is_harmless, unpacked
from tests.doctor.test_report import checked
from tests.incidents import NAMES, incident
from tests.oracles import needs


def check(view: View) -> None:
    text = repr(view)
    assert is_harmless(text)
    assert all(len(line) <= 120 or line.lstrip().startswith(("Do:", "fix")) for line in text.splitlines())
    bundle = view._repr_mimebundle_()
    assert bundle["text/plain"] == text
    checked(bundle["text/html"])
    assert is_harmless(bundle["text/html"])


@pytest.mark.parametrize("name", MANIFEST)
@pytest.mark.slow
@pytest.mark.no_cover
def test_every_sample_shows_itself(name: str) -> None:
    with b2d.open(unpacked(name)) as disk:
        for view in (disk, disk.header, disk.userdata, disk.keys, disk.map, disk.hexdump()):
            check(view)
        assert disk.state == disk.facts.state
        assert len(disk.keys) == len(list(disk.keys))
        assert disk.size == disk.facts.container.size


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.slow
@pytest.mark.no_cover
def test_every_incident_is_diagnosed(name: str) -> None:
    found = b2d.diagnose(incident(name))
    check(found)
    assert found.healthy == (not any(one.finding.is_fault for one in found.diagnosis.findings))


def test_bytes() -> None:
    with b2d.open(unpacked("fresh.vdi")) as disk:
        assert bytes(disk.hexdump("magic"))[:29] == b"boot2docker, please format-me"
        assert bytes(disk.hexdump(0, 29)) == disk.read(0, 29)
        assert bytes(disk.hexdump(2 << 20, 29, space="file")) == disk.read(0, 29)
        assert b'name = "boot2docker, please format-me"' in repr(disk.hexdump("magic")).encode()
        with pytest.raises(UsageError):
            disk.hexdump("gpt")


def test_files_and_findings() -> None:
    with b2d.open(unpacked("userdata-missing.vdi")) as disk:
        assert [finding.id for finding in disk.findings] == ["userdata-missing"]
    with b2d.open(unpacked("provisioned-minikube.vdi")) as disk:
        assert disk.cat("/var/lib/boot2docker/userdata.tar")[:11] == b"boot2docker"


def test_a_difference() -> None:
    found = b2d.diff(unpacked("provisioned-automount.vdi"), unpacked("key-replaced.vdi"))
    check(found)
    assert found.differs
    assert not b2d.diff(unpacked("fresh.vdi"), unpacked("provisioned-minikube.vdi")).differs


@needs("mke2fs", "debugfs", "ssh")
@pytest.mark.slow
def test_a_provision(tmp_path: Path) -> None:
    made = b2d.provision(tmp_path, seed="x")
    check(made)
    assert made.logged_in
    assert [begun.id for begun, _ in made][:3] == ["key", "tar", "disk"]
    with b2d.open(made.disk) as disk:
        assert disk.state == "provisioned"
        names = disk.ls("/var/lib/boot2docker")
        check(names)
        assert [one.name for one in names] == [b"userdata.tar"]
    replay = made.replay("zh")
    replay.save(tmp_path / "replay.html")
    assert (tmp_path / "replay.html").read_text(encoding="utf-8") == replay.page
    shown = replay._repr_html_()
    assert shown.startswith('<iframe sandbox="allow-scripts"')
    assert shown.count('"') == 8  # the page ends none of them
    broken = b2d.provision(tmp_path, "broken", fault="userdata-lost")
    assert not broken.logged_in
    with pytest.raises(UsageError):
        b2d.provision(tmp_path, "x", fault="nonsense")


def test_the_api_is_imported_when_it_is_used() -> None:
    script = "import sys, b2dinspect as b; assert 'b2dinspect.notebook' not in sys.modules; "
    script += "b.open; import b2dinspect.provisioning.disk.images; assert callable(b.provision)"
    subprocess.run([sys.executable, "-c", script], check=True)
    with pytest.raises(AttributeError):
        b2d.nothing  # noqa: B018
