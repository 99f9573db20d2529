"""The doctor at the second door: each incident's cause first, in the words that Go has for it."""

from __future__ import annotations

import json
import time
from pathlib import Path

import pytest
from typer.testing import CliRunner

from b2dinspect.cli.main import app
from b2dinspect.doctor.explanations import DOOR
from b2dinspect.provisioning.samples.door_incidents import DOOR_INCIDENTS, make_door
from b2dinspect.provisioning.samples.incidents import pack
from tests.cli.helpers import validator
from tests.doors import AT, EXPECTED, PACKED, answer, copy_of, door, ids
from tests.incidents import incident
from tests.oracles import needs

DAY = 24 * 60 * 60
SAID = {
    "server-expired": "x509: certificate has expired or is not yet valid: server.pem was good from "
    "2015-12-27 to 2018-12-11, and it is 2019-06-01",
    "other-address": "x509: certificate is valid for 192.168.99.103, not 192.168.99.100",
    "other-authority": "x509: certificate signed by unknown authority",
    "other-key": "tls: private key does not match public key",
    "disk-full": "no space left on device: 3.6 MiB of 40 MiB are free; most is taken by /var/lib/docker/",
    "without-tls": "server gave HTTP response to HTTPS client",
    "aufs-hidden": "an overlay2 folder beside it says that it ran",
    "profile-cut": "DOCKER_HOST, DOCKER_STORAGE, DOCKER_TLS, SERVERKEY, SERVERCERT missing",
}


def run(*words: object) -> tuple[int, str]:
    done = CliRunner().invoke(
        app, [str(word) for word in words], catch_exceptions=False, env={"COLUMNS": "240"}
    )
    return done.exit_code, done.stdout


def test_every_one_is_packed_and_expected() -> None:
    assert {path.name.removesuffix(".tar.xz") for path in PACKED.glob("*.tar.xz")} == set(EXPECTED)
    assert set(DOOR_INCIDENTS) == set(EXPECTED)


@pytest.mark.parametrize("name", EXPECTED)
def test_the_doctor_finds_the_cause_first_and_nothing_false(name: str) -> None:
    found = answer(door(name))
    assert [one.finding.id for one in found.findings] == EXPECTED[name]["findings"]
    assert {link.status for link in found.links} == {"ok"}, "the login works"
    assert [link.name for link in found.door_links] == [*DOOR]
    first = next((link.name for link in found.door_links if link.status != "ok"), None)
    assert first == EXPECTED[name]["link"]
    if name in SAID:
        assert SAID[name] in found.findings[0].finding.message
    if found.findings:
        assert found.is_about_door
        assert found.keeps_nobody_out


def test_today_all_of_them_are_over() -> None:
    assert ids(door("door-open"), time.time()) == [
        "server-certificate-expired",
        "authority-expired",
        "client-certificate-expired",
    ]
    assert ids(door("door-open"), AT + 914 * DAY) == [
        "server-certificate-ends-soon",
        "authority-ends-soon",
        "client-certificate-ends-soon",
    ]
    assert ids(door("door-open"), AT - 155 * DAY)[0] == "server-certificate-expired"


def test_a_machine_that_never_had_that_door_is_not_asked_for_it() -> None:
    found = answer(incident("healthy-virtualbox"))
    assert found.door_links == ()
    assert found.is_healthy


def test_the_findings_come_as_a_user_meets_them(tmp_path: Path) -> None:
    """More than one thing wrong: first what keeps the daemon down, then what the client says, and so on."""
    folder = copy_of("other-key", tmp_path)
    (folder / "cert.pem").write_bytes(b"")
    (folder / "id_rsa").chmod(0o644)
    assert ids(folder, time.time()) == [
        "key-permissions",
        "server-key-mismatch",
        "server-certificate-expired",
        "authority-expired",
        "client-certificate-broken",
    ]


@pytest.mark.parametrize(
    ("name", "data", "found", "said"),
    [
        ("ca.pem", b"A" * (1 << 20), "authority-broken", "too large"),
        ("ca.pem", b"nothing", "authority-broken", "no certificate in PEM form"),
        ("cert.pem", b"-----BEGIN CERTIFICATE-----\nMII", "client-certificate-broken", "it was cut"),
        ("key.pem", b"-----BEGIN RSA PRIVATE KEY-----\nMII", "client-key-broken", "cut short"),
    ],
)
def test_what_is_none_is_one_clear_line(
    name: str, data: bytes, found: str, said: str, tmp_path: Path
) -> None:
    folder = copy_of("door-open", tmp_path)
    (folder / name).write_bytes(data)
    begin = time.perf_counter()
    first = answer(folder).findings[0].finding
    assert (first.id, said in first.message) == (found, True), first.message
    assert time.perf_counter() - begin < 5


def test_open_keys_are_told(tmp_path: Path) -> None:
    folder = copy_of("door-open", tmp_path)
    for name in ("ca-key.pem", "key.pem"):
        (folder / name).chmod(0o644)
    assert ids(folder) == ["authority-key-open", "client-key-open"]


def test_a_store_goes_before_its_copies(tmp_path: Path) -> None:
    """What docker-machine comes with lies in the store; a machine directory's copies may be older."""
    folder = copy_of("door-open", tmp_path)
    other = door("other-authority")
    (tmp_path / "certs").mkdir()
    for name in ("ca.pem", "cert.pem", "key.pem"):
        (tmp_path / "certs" / name).write_bytes((other / name).read_bytes())
        (tmp_path / "certs" / name).chmod(0o600)
    assert ids(folder) == ["authority-unknown", "client-certificate-unknown"]


def test_a_date_can_be_given() -> None:
    assert run("doctor", door("door-open"), "--at", "2019-06-01")[0] == 0
    status, text = run("doctor", door("door-open"), "--at", "2022-01-01T12:00:00Z")
    assert status == 1
    assert "as of 2022-01-01:" in text
    assert "and it is 2022-01-01" in text
    assert run("doctor", door("door-open"), "--at", "yesterday")[0] == 2


def test_machines_tells_until_when(tmp_path: Path) -> None:
    for name in ("door-open", "server-expired"):
        copy_of(name, tmp_path)
    status, text = run("machines", tmp_path, "--at", "2019-06-01", "--json")
    document = json.loads(text)
    validator("machines").validate(document)
    found = {one["name"]: one["certificates"] for one in document["machines"]}
    assert status == 1
    assert found["door-open"]["text"] == "2021-12-15"
    assert found["server-expired"]["server"] == "2018-12-11"
    assert found["server-expired"]["expired"] == ["server"]
    assert "server 2018-12-11!" in " ".join(run("machines", tmp_path, "--at", "2019-06-01")[1].split())


def test_json_is_of_its_schema() -> None:
    document = json.loads(run("doctor", door("other-authority"), "--at", "2019-06-01", "--json")[1])
    validator("doctor").validate(document)
    assert document["door"]["at"] == AT
    assert [link["name"] for link in document["door"]["chain"]] == [*DOOR]


@pytest.mark.parametrize("options", [(), ("--markdown",)])
def test_a_report_has_a_page_of_it(options: tuple[str, ...]) -> None:
    text = run("report", door("other-address"), "--at", "2019-06-01", *options)[1]
    assert "The second door" in text
    for part in ("192.168.99.103", "the server, on the disk", "O=docker.other-address", "2019-06-01"):
        assert part in text


@needs("ssh")
@pytest.mark.parametrize("name", ["other-authority", "aufs-hidden"])
@pytest.mark.slow
def test_each_can_be_made_again(name: str, tmp_path: Path) -> None:
    made = make_door(DOOR_INCIDENTS[name], tmp_path / "one" / "machines")
    packed = tmp_path / f"{name}.tar.xz"
    packed.write_bytes(pack(made))
    from b2dinspect.provisioning.samples.incidents import unpack

    again, kept = unpack(packed, tmp_path / "two" / "machines"), door(name)
    assert {path.name for path in again.iterdir()} == {path.name for path in kept.iterdir()}
    for path in again.iterdir():
        assert path.stat().st_mode == (kept / path.name).stat().st_mode, path.name
        if path.name != "config.json":
            assert path.read_bytes() == (kept / path.name).read_bytes(), path.name
