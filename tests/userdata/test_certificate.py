"""Certificates as facts; what is none costs one clear error and no time."""

from __future__ import annotations

import time
from contextlib import suppress
from datetime import UTC, datetime

import pytest
from hypothesis import given
from hypothesis import strategies as st

from b2dinspect.errors import UserdataError
from b2dinspect.userdata.certificate import (
    MAX_CERTIFICATES,
    day,
    public_of,
    read_certificates,
    signature_fault,
)
from tests.certificates import authority, client, maker, server


def test_a_servers_certificate_says_all_that_a_client_looks_at() -> None:
    (found,) = read_certificates(server().certificate)
    assert (found.subject, found.issuer) == ("O=ann.default", "O=ann")
    assert found.names == ("192.168.99.100", "localhost")
    assert found.uses == ("serverAuth",)
    assert (found.kind, found.is_authority) == ("rsa 2048", False)
    assert (day(found.begins), found.until) == ("2018-12-31", "2021-12-15")
    assert found.public == public_of(server().key)
    assert found.public != public_of(client().key)


@pytest.mark.parametrize(
    ("host", "said"),
    [
        ("192.168.99.100", ""),
        ("localhost", ""),
        ("192.168.99.103", "x509: certificate is valid for 192.168.99.100, not 192.168.99.103"),
        ("elsewhere", "x509: certificate is valid for localhost, not elsewhere"),
    ],
)
def test_a_wrong_address_is_named_as_go_does(host: str, said: str) -> None:
    assert read_certificates(server().certificate)[0].wrong_name(host) == said


def test_a_certificate_without_addresses_fits_none() -> None:
    found = read_certificates(client().certificate)[0]
    assert "doesn't contain any IP SANs" in found.wrong_name("10.0.0.1")


def test_who_signed_whom() -> None:
    ca, ours, theirs = (read_certificates(one.certificate)[0] for one in (authority(), server(), client()))
    assert signature_fault(ours, ca) == signature_fault(theirs, ca) == signature_fault(ca, ca) == ""
    assert "was signed by O=ann" in signature_fault(ours, theirs)
    other = read_certificates(maker("other").authority("2").certificate)[0]
    assert "another authority of the name O=ann" in signature_fault(ours, other)


def test_two_that_signed_each_other_are_followed_no_further() -> None:
    below = maker()._issue("authority", "ann", "client", maker("other").authority("2"), ())
    above = maker()._issue("authority", "ann", "2", below, ())
    first, second = (read_certificates(one.certificate)[0] for one in (below, above))
    assert signature_fault(first, second) == signature_fault(second, first) == ""
    assert "another authority" in signature_fault(first, first)


def _expect(data: bytes, text: str) -> None:
    begin = time.perf_counter()
    with pytest.raises(UserdataError) as caught:
        read_certificates(data)
    assert text in str(caught.value)
    assert time.perf_counter() - begin < 2


def test_what_is_no_certificate_is_one_error() -> None:
    pem = server().certificate
    _expect(b"", "is empty")
    _expect(b"hello", "no certificate in PEM form")
    _expect(pem[:700], "it was cut")
    _expect(pem * 1000, "which no certificate has")
    _expect(b"-" * (1 << 20), "which no certificate has")
    _expect(pem.replace(b"MII", b"MIA", 1), "cannot be decoded")


def test_only_so_many_of_a_bundle_are_read() -> None:
    assert len(read_certificates(server().certificate * 20)) == MAX_CERTIFICATES


def test_a_key_of_sixty_kilobytes_is_refused_at_once() -> None:
    import base64

    size = 45_000
    number = b"\x02\x82" + size.to_bytes(2, "big") + b"\x00" + b"\xff" * (size - 1)
    body = b"\x02\x01\x00" + number
    der = b"\x30\x82" + len(body).to_bytes(2, "big") + body
    pem = b"-----BEGIN RSA PRIVATE KEY-----\n" + base64.encodebytes(der) + b"-----END RSA PRIVATE KEY-----\n"
    begin = time.perf_counter()
    with pytest.raises(UserdataError, match="which no key has"):
        public_of(pem)
    assert time.perf_counter() - begin < 2


def test_the_last_year_is_a_year() -> None:
    from cryptography import x509
    from cryptography.hazmat.primitives.asymmetric import ec
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import Encoding
    from cryptography.x509.oid import NameOID

    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, "for ever")])
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(datetime(2020, 1, 1, tzinfo=UTC))
        .not_valid_after(datetime(9999, 12, 31, 23, 59, 59, tzinfo=UTC))
        .sign(key, SHA256())
    )
    assert read_certificates(made.public_bytes(Encoding.PEM))[0].until == "9999-12-31"


@given(st.binary(max_size=300), st.integers(0, 1100))
def test_no_bytes_make_it_raise_anything_else(noise: bytes, at: int) -> None:
    pem = bytearray(server().certificate)
    pem[at : at + len(noise)] = noise
    with suppress(UserdataError):
        read_certificates(bytes(pem))
