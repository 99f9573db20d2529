"""The whole command line on systems that lack something, and on consoles of every encoding."""

from __future__ import annotations

import functools
import io
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from b2dinspect.cli import main as inspecting
from b2dinspect.cli.provision import main as provisioning
from b2dinspect.render import shell
from tests.cli.helpers import unpacked
from tests.doors import door
from tests.incidents import copy_of, incident
from tests.shared import SHARED

INSPECTING = (
    *("show {disk}", "show {disk} --headers", "show {disk} --json", "query {disk} header"),
    *("keys {disk}", "keys {disk} --fingerprints", "diff {disk}", "diff {disk} {containers}"),
    *("ls -R {disk}", "cat {disk} /var/lib/boot2docker/userdata.tar", "logs {disk}", "choice {disk}"),
    *("get {disk} /var/lib/boot2docker/userdata.tar got", "get {containers} /var/lib/docker tree"),
    *("get {containers} /var/lib/docker --tar tree.tar", "verify {disk}", "hexdump {disk}", "map {disk}"),
    *("hexdump {disk} --html page.html", "map {disk} --svg map.svg", "report {machine} -o report.html"),
    *(
        "doctor {machine}",
        "doctor {machine} --json --at 2019-06-01",
        "doctor {door} --at 2019-06-01",
        "machines {store}",
    ),
    *(
        "explain",
        "explain server-certificate-expired",
        "docker ps {containers}",
        "docker images {containers}",
    ),
    *(
        "docker volumes {containers}",
        "docker inspect {containers} shop_db_1",
        "docker logs {containers} shop_db_1",
    ),
    *("docker history {containers} shop/web:1.0", "docker diff {containers} shop_web_1"),
    *("docker export {containers} shop_web_1 -o out.tar", "docker rescue {containers} rescued"),
)
PROVISIONING = (
    *("run demo --docker --size 1200MiB", "env machines/demo", "boot machines/demo --docker", "faults"),
    *("build new.vdi --seed a", "convert new.vdi new.qcow2 --verify", "prove machines/demo", "sweep ."),
    *("incidents broken key-mode", "repair machines/demo --certs --in-place"),
)
ENCODINGS = ("cp936", "cp1252", "ascii")


@functools.cache
def store() -> Path:
    """Return a store of one's own: to the shared one other workers add machines."""
    return copy_of("key-regenerated", Path(tempfile.mkdtemp(dir=SHARED))).parent


def words(line: str) -> list[str]:
    """Return a command's words, with places of disks and machines."""
    places = {
        "disk": unpacked("keys-differ.vdi"),
        "containers": unpacked("containers.vdi"),
        "machine": incident("key-regenerated"),
        "store": store(),
        "door": door("server-expired"),
    }
    return [word.format(**places) for word in line.split()]


def told(line: str) -> tuple[int, bytes]:
    done = CliRunner().invoke(inspecting.app, words(line), catch_exceptions=False)
    return done.exit_code, done.stdout_bytes


@functools.cache
def usual() -> dict[str, tuple[int, bytes]]:
    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        incident("healthy-virtualbox")
        return {line: told(line) for line in INSPECTING}


@pytest.fixture(autouse=True, scope="module")
def asked_before() -> None:
    """Ask everything once before anything is taken away."""
    assert {status for status, _ in usual().values()} == {0, 1}


@pytest.mark.slow
def test_every_inspecting_command_tells_the_same(
    platform: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for line, answer in usual().items():
        assert told(line) == answer, line


@pytest.mark.slow
def test_every_provisioning_command_comes_to_its_end(
    platform: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for line in PROVISIONING:
        done = CliRunner().invoke(provisioning.app, line.split(), catch_exceptions=False)
        assert done.exit_code == 0, (line, done.output[-2000:])
        assert not line.startswith("run") or "0600 id_rsa\n" in done.output


def said(run: Callable[[], None], line: str, encoding: str, patch: pytest.MonkeyPatch) -> tuple[int, str]:
    """Return what a program says on a console, which refuses what it cannot show."""
    screen = io.TextIOWrapper(io.BytesIO(), encoding=encoding, errors="strict")
    patch.setattr(sys, "stdout", screen)
    patch.setattr(sys, "argv", ["program", *words(line)])
    with pytest.raises(SystemExit) as ended:
        run()
    screen.flush()
    written = screen.buffer.getvalue()  # type: ignore[attr-defined]
    return int(ended.value.code or 0), written.decode(encoding if line.split()[0] != "cat" else "latin-1")


@pytest.mark.slow
@pytest.mark.parametrize("encoding", ENCODINGS)
def test_every_command_speaks_on_every_console(
    encoding: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for line, (status, _) in usual().items():
        assert said(inspecting.run, line, encoding, monkeypatch)[0] == status, line
    assert "Logged in" in said(provisioning.run, "run demo --size 1200MiB", encoding, monkeypatch)[1]


@pytest.mark.slow
def test_every_printed_command_is_quoted_for_windows(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(shell, "this_system", lambda: "windows")
    monkeypatch.chdir(tmp_path)
    done = CliRunner().invoke(provisioning.app, ["run", "demo", "--dir", "Ann Lee", "--size", "1200MiB"])
    assert 'log in   b2dprovision boot "' in done.stdout
    assert "'" not in done.stdout.partition("Logged in")[2]
