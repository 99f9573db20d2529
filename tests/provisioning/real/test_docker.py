"""A real dockerd in the guest, behind our certificates and profile, met by the real client."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from b2dinspect.cli.main import app
from b2dinspect.identity import Identities
from b2dinspect.provisioning.host.drivers import DRIVERS
from b2dinspect.provisioning.pipeline import provision
from b2dinspect.provisioning.real.guestscript import DOCKER, ROOT_SHELL, scripts
from b2dinspect.userdata.daemon_profile import PORT
from tests.oracles import needs, run
from tests.provisioning.plans import plan, tell
from tests.provisioning.test_door import files_of

KERNEL = pytest.mark.skipif(not list(Path("/boot").glob("vmlinuz-*")), reason="no kernel in /boot")


@needs("qemu-system-x86_64", "dockerd", "containerd", "runc", "docker", "busybox", "sshd", "fdisk", "ssh")
@KERNEL
@pytest.mark.slow
@pytest.mark.timeout(1800)
def test_a_container_runs_and_what_it_left_is_read_from_the_disk(tmp_path: Path) -> None:
    driver = DRIVERS["virtualbox"]
    story = tell(
        provision(
            plan(tmp_path / "real" / "machines", driver=driver, docker=True, engine="qemu", format="raw")
        )
    )
    assert story.failed == [], story.texts[-20:]
    assert story.end.logged_in
    assert "docker logs: hello from a-container" in story.texts
    assert sum(text.startswith("the daemon answers: version 20.") for text in story.texts) == 2
    done = CliRunner().invoke(app, ["docker", "ps", "--json", story.end.disk], catch_exceptions=False)
    assert done.exit_code == 0, done.stdout
    assert "hello" in json.dumps(json.loads(done.stdout))
    played = tell(provision(plan(tmp_path / "played" / "machines", driver=driver, docker=True, format="raw")))
    ours, theirs = files_of(played.end.disk), files_of(story.end.disk)
    assert set(ours) <= set(theirs)
    for name in ("profile", "etc/hostname"):
        assert ours[name] == theirs[name]


@needs("sh")
def test_the_guests_scripts_are_scripts(tmp_path: Path) -> None:
    made = scripts(plan(tmp_path, docker=True, ids=Identities()))
    assert made["usr/bin/sudo"].startswith(f"#!/{ROOT_SHELL} -p\n")
    assert scripts(plan(tmp_path)) == {}
    for text in made.values():
        run("sh", "-n", input=text.encode())
    assert f":{PORT:04X} " in DOCKER.read_text(encoding="utf-8")
