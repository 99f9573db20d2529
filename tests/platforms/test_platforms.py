"""Every system does the same: what the commands print does not depend on what the system lacks."""

from __future__ import annotations

import functools
import os
import subprocess
import sys
from pathlib import Path

import pytest
from typer.testing import CliRunner

from b2dinspect.cli.main import app as inspecting
from b2dinspect.cli.provision.main import app as provisioning
from tests.cli.helpers import unpacked
from tests.incidents import copy_of

SAMPLE = "provisioned-automount.vdi"
INSPECTIONS = {
    "show": ("show", str(Path("sample_images") / f"{SAMPLE}.gz")),
    "keys": ("keys", SAMPLE),
    "logs": ("logs", SAMPLE),
    "ls": ("ls", SAMPLE, "/var/lib/boot2docker"),
    "verify": ("verify", SAMPLE),
    "search": ("search", SAMPLE),
    "choice": ("choice", SAMPLE),
}
ROOT = Path(__file__).parents[2]


def told(words: tuple[str, ...]) -> tuple[int, str]:
    """Return the exit status and the output of an inspecting command."""
    places = [str(unpacked(word)) if word == SAMPLE else word for word in words]
    places = [str(ROOT / word) if word.startswith("sample_images") else word for word in places]
    done = CliRunner().invoke(inspecting, places, catch_exceptions=False)
    return done.exit_code, done.stdout


@functools.cache
def as_usual(name: str) -> tuple[int, str]:
    return told(INSPECTIONS[name])


@pytest.fixture(autouse=True, scope="module")
def usual() -> None:
    """Ask everything once before anything is taken away."""
    for name in INSPECTIONS:
        as_usual(name)


@pytest.mark.parametrize("name", INSPECTIONS)
@pytest.mark.slow(but=4)
def test_what_is_told_is_the_same(platform: str, name: str) -> None:
    assert told(INSPECTIONS[name]) == as_usual(name)


def provision(*words: object) -> tuple[int, str]:
    done = CliRunner().invoke(provisioning, [str(word) for word in words], catch_exceptions=False)
    return done.exit_code, done.stdout + done.stderr


@pytest.mark.slow
def test_a_disk_is_repaired(platform: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    machine = copy_of("userdata-lost", tmp_path)
    status, text = provision("repair", machine, "--in-place")
    # where nothing keeps modes, others could read the key that was unpacked here
    assert status == (1 if platform == "no modes" else 0), text


@pytest.mark.slow(but=4)
def test_the_same_disk_is_built(platform: str, tmp_path: Path) -> None:
    out = tmp_path / "disk.vdi"
    assert provision("build", out, "--state", "provisioned", "--seed", "platform")[0] == 0
    assert out.read_bytes() == built()


@functools.cache
def built() -> bytes:
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder) / "disk.vdi"
        provision("build", out, "--state", "provisioned", "--seed", "platform")
        return out.read_bytes()


@pytest.mark.parametrize("encoding", ["cp936", "cp1252", "ascii", "cp437"])
def test_a_console_of_any_encoding_takes_what_is_printed(encoding: str) -> None:
    command = [sys.executable, "-m", "b2dinspect", "show", str(ROOT / "sample_images" / f"{SAMPLE}.gz")]
    environment = {**os.environ, "PYTHONIOENCODING": encoding, "PYTHONUTF8": "0"}
    done = subprocess.run(command, env=environment, capture_output=True, cwd=ROOT)
    assert (done.returncode, done.stderr) == (as_usual("show")[0], b"")
    assert done.stdout.decode(encoding).startswith("File ")


def test_the_other_systems_are_tested_too() -> None:
    workflow = (ROOT / ".github" / "workflows" / "ci.yml").read_text()
    assert "windows-latest" in workflow
    assert 'python: ["3.11", "3.14"]' in workflow
