"""The played daemon, met by openssl, by Python and by real docker clients."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from b2dinspect.identity import PINNED_TIME, Identities
from b2dinspect.provisioning.client import Credentials, _read, ask, docker
from b2dinspect.provisioning.host.certificates import AUTHORITY, CLIENT, Issued, Maker, write_pair
from b2dinspect.provisioning.simulated.daemon import DaemonFiles, DoesNotStartError, PlayedDaemon
from b2dinspect.userdata.daemon_profile import build_profile
from tests.certificates import authority, client, maker, server
from tests.oracles import needs

PROFILE = build_profile(["provider=virtualbox"], "overlay2")
QUICK = Maker(Identities(), "ann", is_quick=True)


@pytest.fixture(scope="module")
def chain() -> tuple[Issued, Issued, Issued]:
    """An authority, a client and a server that are good today."""
    ca = QUICK.authority()
    return ca, QUICK.client(ca), QUICK.server(ca, "default", ("127.0.0.1", "localhost"))


@pytest.fixture
def files(chain: tuple[Issued, ...]) -> DaemonFiles:
    return DaemonFiles(PROFILE, chain[0].certificate, *chain[2])


@pytest.fixture
def daemon(files: DaemonFiles, tmp_path: Path) -> Iterator[PlayedDaemon]:
    up = PlayedDaemon(files, tmp_path, "default")
    yield up
    up.stop()


@pytest.fixture
def credentials(chain: tuple[Issued, ...], tmp_path: Path) -> Credentials:
    write_pair(tmp_path, AUTHORITY, chain[0])
    write_pair(tmp_path, CLIENT, chain[1])
    return Credentials.of(tmp_path)


def test_it_answers_and_says_that_it_is_played(daemon: PlayedDaemon, credentials: Credentials) -> None:
    met = ask(daemon.port, credentials)
    assert met.works
    assert "played" in met.answer["Platform"]["Name"]
    info = ask(daemon.port, credentials, "info")
    assert info.answer["Labels"] == ["provider=virtualbox"]
    assert info.answer["Name"] == "default"
    assert "played" in ask(daemon.port, credentials, "containers/json").reason


@needs("docker")
def test_a_real_docker_client_comes_in(
    daemon: PlayedDaemon, credentials: Credentials, tmp_path: Path
) -> None:
    said = docker(daemon.port, credentials, "version", "--format", "{{json .Server}}", work=tmp_path)
    assert said is not None and said.works, said
    assert json.loads(said.answer["said"])["Version"] == "18.09.1"
    said = docker(daemon.port, credentials, "info", "--format", "{{.OperatingSystem}}", work=tmp_path)
    assert said is not None and "played" in said.answer["said"]
    said = docker(daemon.port, credentials, "pull", "busybox", work=tmp_path)
    assert said is not None and "not in the simulated guest" in said.reason


@needs("openssl")
def test_openssl_shakes_hands(daemon: PlayedDaemon, credentials: Credentials) -> None:
    words = ["openssl", "s_client", "-connect", f"127.0.0.1:{daemon.port}", "-verify_return_error"]
    words += ["-CAfile", str(credentials.authority), "-verify_ip", "127.0.0.1"]
    shown = ["-cert", str(credentials.certificate), "-key", str(credentials.key)]
    asked = b"GET /_ping HTTP/1.0\r\n\r\n"
    done = subprocess.run([*words, *shown, "-ign_eof"], input=asked, capture_output=True, check=True)
    assert b"Verify return code: 0 (ok)" in done.stdout
    refused = subprocess.run([*words, "-ign_eof"], input=asked, capture_output=True, check=False)
    assert b"certificate required" in refused.stderr


def test_strangers_are_refused(
    daemon: PlayedDaemon, credentials: Credentials, chain: tuple[Issued, ...], tmp_path: Path
) -> None:
    assert ask(daemon.port, Credentials(credentials.authority)).reason == "alert certificate required"
    other = Maker(Identities(), "eve", is_quick=True)
    write_pair(tmp_path, ("o.pem", "o.key"), other.client(other.authority()))
    stranger = Credentials(credentials.authority, tmp_path / "o.pem", tmp_path / "o.key")
    assert ask(daemon.port, stranger).reason == "alert unknown ca"
    earlier = Maker(Identities(), "ann", 1e9, is_quick=True)
    write_pair(tmp_path, ("e.pem", "e.key"), earlier.client(chain[0]))
    expired = Credentials(credentials.authority, tmp_path / "e.pem", tmp_path / "e.key")
    assert ask(daemon.port, expired).reason == "alert certificate expired"


def test_a_client_refuses_what_is_wrong_with_the_server(
    chain: tuple[Issued, ...], credentials: Credentials, tmp_path: Path
) -> None:
    expired = Maker(Identities(), "ann", 1e9, is_quick=True).server(chain[0], "default", ("127.0.0.1",))
    elsewhere = QUICK.server(chain[0], "default", ("192.168.99.103",))
    reasons = []
    for issued in (expired, elsewhere):
        up = PlayedDaemon(DaemonFiles(PROFILE, chain[0].certificate, *issued), tmp_path, "default")
        reasons.append(ask(up.port, credentials).reason)
        up.stop()
    assert reasons[0] == "certificate has expired"
    assert "IP address mismatch" in reasons[1]


def test_pinned_certificates_are_judged_by_the_pinned_clock(tmp_path: Path) -> None:
    ours = maker().server(authority(), "default", ("127.0.0.1",))
    clock = float(PINNED_TIME)
    up = PlayedDaemon(DaemonFiles(PROFILE, authority().certificate, *ours), tmp_path, "default", clock)
    write_pair(tmp_path, AUTHORITY, authority())
    write_pair(tmp_path, CLIENT, client())
    credentials = Credentials.of(tmp_path)
    assert ask(up.port, credentials, clock=clock).works
    assert "expired" in ask(up.port, credentials, clock=clock * 2).reason
    assert not ask(up.port, credentials).works
    up.stop()
    late = PlayedDaemon(DaemonFiles(PROFILE, authority().certificate, *ours), tmp_path, "x", clock * 2)
    assert not ask(late.port, credentials, clock=clock).works
    late.stop()


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"profile": None}, "there is no profile"),
        ({"profile": PROFILE[:100]}, "it is cut"),
        ({"profile": PROFILE.replace(b"TLS=auto", b"TLS=no")}, "without TLS"),
        ({"authority": None}, r"open /var/lib/boot2docker/ca\.pem: no such file"),
        ({"certificate": b"nothing"}, "Could not load X509 key pair"),
        ({"key": server().key}, "private key does not match public key"),
        ({"authority": b"nothing"}, "Could not load"),
    ],
)
def test_it_does_not_start_with_what_dockerd_refuses(
    change: dict[str, bytes | None], said: str, files: DaemonFiles, tmp_path: Path
) -> None:
    with pytest.raises(DoesNotStartError, match=said):
        PlayedDaemon(files._replace(**change), tmp_path, "default")
    assert list(tmp_path.iterdir()) == []  # no key is left behind


@pytest.mark.parametrize("body", [b"[" * 100_000, b"[]", b"7", b"{", b'{"a": ' * 50_000])
def test_an_answer_of_a_guest_that_means_harm_is_one_line(
    body: bytes, daemon: PlayedDaemon, credentials: Credentials, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("b2dinspect.provisioning.client._read", lambda *_: b"HTTP/1.1 200 OK\r\n\r\n" + body)
    met = ask(daemon.port, credentials)
    assert not met.works
    assert met.reason


def test_an_answer_without_end_has_one() -> None:
    """A byte now and then keeps the limit of one read from being reached."""
    trickle: Any = SimpleNamespace(recv=lambda _: b"x")
    with pytest.raises(TimeoutError, match="no end"):
        _read(trickle, time.monotonic() - 1)


def test_an_encrypted_key_is_refused_and_nobody_is_asked(
    daemon: PlayedDaemon, credentials: Credentials
) -> None:
    from cryptography.hazmat.primitives.serialization import (
        BestAvailableEncryption,
        Encoding,
        PrivateFormat,
        load_pem_private_key,
    )

    assert credentials.key is not None
    key = load_pem_private_key(credentials.key.read_bytes(), None)
    kept = key.private_bytes(
        Encoding.PEM, PrivateFormat.TraditionalOpenSSL, BestAvailableEncryption(b"secret")
    )
    credentials.key.write_bytes(kept)
    assert not ask(daemon.port, credentials).works
