"""What is made, as openssl sees it: subjects, dates, uses and names are docker-machine's."""

from __future__ import annotations

from pathlib import Path

import pytest

from b2dinspect.errors import UsageError
from b2dinspect.identity import Identities
from b2dinspect.provisioning.host.certificates import AUTHORITY, CLIENT, SERVER, Maker, shared, write_pair
from tests.certificates import HOSTS, authority, client, maker, server
from tests.oracles import needs, run

pytestmark = needs("openssl")


@pytest.fixture
def store(tmp_path: Path) -> Path:
    for names, issued in ((AUTHORITY, authority()), (CLIENT, client()), (SERVER, server())):
        write_pair(tmp_path, names, issued)
    return tmp_path


def test_openssl_follows_the_chain(store: Path) -> None:
    at = str(Identities.from_seed("any").time)
    check = ("openssl", "verify", "-attime", at, "-CAfile", store / "ca.pem")
    assert b"server.pem: OK" in run(*check, "-purpose", "sslserver", store / "server.pem").stdout
    assert b"cert.pem: OK" in run(*check, "-purpose", "sslclient", store / "cert.pem").stdout


def test_openssl_tells_the_same_as_of_docker_machines(store: Path) -> None:
    text = run("openssl", "x509", "-noout", "-text", "-in", store / "server.pem").stdout.decode()
    for line in (
        "Issuer: O = ann",
        "Subject: O = ann.default",
        "Not Before: Dec 31 23:55:00 2018 GMT",
        "Not After : Dec 15 23:55:00 2021 GMT",
        "Signature Algorithm: sha256WithRSAEncryption",
        "Public-Key: (2048 bit)",
        "Digital Signature, Key Encipherment, Key Agreement",
        "TLS Web Server Authentication",
        "CA:FALSE",
        "DNS:localhost, IP Address:192.168.99.100",
    ):
        assert line in text
    text = run("openssl", "x509", "-noout", "-text", "-in", store / "cert.pem").stdout.decode()
    assert "ann.<bootstrap>" in text
    assert "TLS Web Client Authentication" in text
    text = run("openssl", "x509", "-noout", "-text", "-in", store / "ca.pem").stdout.decode()
    assert "CA:TRUE" in text
    assert "Digital Signature, Key Encipherment, Key Agreement, Certificate Sign" in text


def test_keys_are_pkcs1_and_closed(store: Path) -> None:
    for name in (AUTHORITY[1], CLIENT[1], SERVER[1]):
        assert (store / name).read_bytes().startswith(b"-----BEGIN RSA PRIVATE KEY-----\n")
        assert (store / name).stat().st_mode & 0o777 == 0o600
    for name in (AUTHORITY[0], CLIENT[0], SERVER[0]):
        assert (store / name).stat().st_mode & 0o777 == 0o644


def test_a_seed_pins_all_of_it() -> None:
    again = Maker(Identities.from_seed("tests"), "ann")
    assert again.server(authority(), "default", HOSTS) == server()
    assert maker("others").server(authority(), "default", HOSTS).certificate != server().certificate


def test_a_store_is_filled_once(tmp_path: Path) -> None:
    first = shared(tmp_path, maker())
    assert first.made == (*AUTHORITY, *CLIENT)
    assert shared(tmp_path, maker("other")) == first._replace(made=())
    (tmp_path / "certs" / "ca.pem").unlink()
    with pytest.raises(UsageError, match=r"ca-key\.pem is there without"):
        shared(tmp_path, maker())
