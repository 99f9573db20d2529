"""The public half of a private key, against ssh-keygen and openssl."""

from __future__ import annotations

import base64
import functools
import random
import struct
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from b2dinspect.errors import UserdataError
from b2dinspect.userdata import private_key
from b2dinspect.userdata.authorized_keys import parse
from b2dinspect.userdata.private_key import is_private_key, public_line
from tests.disks import new_path
from tests.oracles import needs, run

pytestmark = needs("ssh-keygen", "openssl")

FORMS = {
    "rsa, OpenSSH": ("-t", "rsa", "-b", "2048"),
    "rsa, encrypted OpenSSH": ("-t", "rsa", "-b", "2048", "-N", "secret"),
    "ed25519": ("-t", "ed25519"),
    "ed25519, encrypted": ("-t", "ed25519", "-N", "secret"),
    "ecdsa 256": ("-t", "ecdsa", "-b", "256"),
    "ecdsa 521": ("-t", "ecdsa", "-b", "521"),
    "dsa": ("-t", "dsa"),
    "dsa, PEM": ("-t", "dsa", "-m", "PEM"),
    "rsa, PKCS#1": ("-t", "rsa", "-b", "2048", "-m", "PEM"),
    "rsa, PKCS#8": ("-t", "rsa", "-b", "2048", "-m", "PKCS8"),
    "ecdsa, SEC1": ("-t", "ecdsa", "-b", "384", "-m", "PEM"),
    "ecdsa, PKCS#8": ("-t", "ecdsa", "-b", "256", "-m", "PKCS8"),
}


@functools.cache
def generate(*options: str) -> Path:
    path = new_path("id_key")
    secret = [] if "-N" in options else ["-N", ""]
    run("ssh-keygen", "-q", "-C", "someone@somewhere", "-f", path, *secret, *options)
    return path


def private(form: str) -> bytes:
    return generate(*FORMS[form]).read_bytes()


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.slow(but=3)
def test_is_what_ssh_keygen_wrote_beside_it(form: str) -> None:
    path = generate(*FORMS[form])
    told = path.with_suffix(".pub").read_bytes().split()[:2]
    assert public_line(path.read_bytes()).split(b" ") == told
    assert is_private_key(path.read_bytes())
    assert not is_private_key(path.with_suffix(".pub").read_bytes())


@pytest.mark.parametrize("form", [form for form in FORMS if "encrypted" not in form])
def test_is_what_ssh_keygen_y_derives(form: str) -> None:
    told = run("ssh-keygen", "-y", "-f", generate(*FORMS[form])).stdout.split()[:2]
    assert public_line(private(form)).split(b" ") == told


def test_ed25519_in_pkcs8() -> None:
    path = new_path("key.pem")
    run("openssl", "genpkey", "-algorithm", "ed25519", "-out", path)
    raw = run("openssl", "pkey", "-in", path, "-pubout", "-outform", "DER").stdout[-32:]
    kind, blob = public_line(path.read_bytes()).split(b" ")
    assert kind == b"ssh-ed25519"
    assert base64.b64decode(blob)[-32:] == raw


@pytest.mark.parametrize("form", ["rsa, OpenSSH", "rsa, PKCS#1"])
@pytest.mark.parametrize(
    "change",
    [
        lambda data: data.replace(b"\n", b"\r\n"),
        lambda data: b"\n \n" + data,
        lambda data: data + b"\n\nsome more\n",
        lambda data: data.rstrip(b"\n"),
    ],
)
def test_line_ends_and_text_around_the_key_do_no_harm(form: str, change: object) -> None:
    data = change(private(form))  # type: ignore[operator]
    assert is_private_key(data)
    assert public_line(data) == public_line(private(form))


@pytest.mark.parametrize("form", ["PEM", "PKCS8"])
def test_an_encrypted_pem_says_what_to_do(form: str) -> None:
    path = generate("-t", "rsa", "-b", "2048", "-N", "secret", "-m", form)
    with pytest.raises(UserdataError, match=r"encrypted; name its \.pub file instead"):
        public_line(path.read_bytes())


@pytest.mark.parametrize("algorithm", ["x25519", "x448", "ed448"])
def test_keys_that_ssh_does_not_use(algorithm: str) -> None:
    path = new_path("key.pem")
    run("openssl", "genpkey", "-algorithm", algorithm, "-out", path)
    with pytest.raises(UserdataError, match="cannot be decoded"):
        public_line(path.read_bytes())


def test_a_diffie_hellman_key_is_no_ssh_key() -> None:
    path = new_path("key.pem")
    run("openssl", "genpkey", "-algorithm", "DH", "-pkeyopt", "group:ffdhe2048", "-out", path)
    with pytest.raises(UserdataError):
        public_line(path.read_bytes())


def test_an_elliptic_curve_that_ssh_does_not_know() -> None:
    path = new_path("key.pem")
    run("openssl", "ecparam", "-name", "secp256k1", "-genkey", "-noout", "-out", path)
    with pytest.raises(UserdataError):
        public_line(path.read_bytes())


@pytest.mark.parametrize("form", FORMS)
def test_a_cut_key_is_cut_short(form: str) -> None:
    data = private(form)
    for length in (0, 20, 40, len(data) // 2, len(data) - 10):
        with pytest.raises(UserdataError, match="cut short"):
            public_line(data[:length])


@pytest.mark.parametrize("form", FORMS)
def test_a_key_with_lines_lost_is_an_error(form: str) -> None:
    lines = private(form).splitlines(keepends=True)
    with pytest.raises(UserdataError):
        public_line(b"".join(lines[:2] + lines[-1:]))


NUMBERS = ("n", "e", "d", "p", "q", "dmp1", "dmq1", "iqmp")


@pytest.mark.parametrize("number", NUMBERS)
def test_an_rsa_key_with_one_damaged_number_is_an_error(number: str) -> None:
    before, name, body, *after = private("rsa, PKCS#1").split(b"-----")
    der = bytearray(base64.b64decode(body))
    end = 7  # behind the head of the sequence, and the version
    for _ in range(NUMBERS.index(number) + 1):
        wide = der[end + 1] & 0x7F if der[end + 1] > 0x7F else 0
        length = int.from_bytes(der[end + 2 : end + 2 + wide], "big") if wide else der[end + 1]
        end += 2 + wide + length
    der[end - 1] ^= 2
    damaged = b"-----".join((before, name, b"\n" + base64.encodebytes(der), *after))
    with pytest.raises(UserdataError, match="cannot be decoded"):
        public_line(damaged)


def string(data: bytes) -> bytes:
    return struct.pack(">I", len(data)) + data


def openssh(blob: bytes, magic: bytes = b"openssh-key-v1\0") -> bytes:
    data = magic + string(b"none") + string(b"none") + string(b"") + struct.pack(">I", 1) + string(blob)
    text = base64.encodebytes(data)
    return b"-----BEGIN OPENSSH PRIVATE KEY-----\n" + text + b"-----END OPENSSH PRIVATE KEY-----\n"


ED25519 = string(b"ssh-ed25519") + string(bytes(32))


def test_a_key_made_by_hand() -> None:
    assert public_line(openssh(ED25519)) == b"ssh-ed25519 " + base64.b64encode(ED25519)


@pytest.mark.parametrize(
    "blob",
    [
        b"",
        b"\0\0\0",
        string(b""),
        string(b"ssh-ed25519"),
        ED25519 + b"x",
        b"\xff\xff\xff\xff",
        string(b"ssh-rsa x\nssh-ed25519") + string(bytes(32)),
        string(b"a\x1b[31m") + string(b""),
    ],
)
def test_a_blob_that_is_no_key_is_an_error(blob: bytes) -> None:
    with pytest.raises(UserdataError):
        public_line(openssh(blob))


def test_another_magic_is_an_error() -> None:
    with pytest.raises(UserdataError, match="no openssh-key-v1"):
        public_line(openssh(ED25519, b"openssh-key-v2\0"))


def test_many_beginnings_without_an_end_take_linear_work() -> None:
    data = b"-----BEGIN RSA PRIVATE KEY-----\n" * 100_000
    with pytest.raises(UserdataError, match="cut short"):
        public_line(data)


def attempt(data: bytes) -> None:
    """Whatever it is: one sound line, or a UserdataError."""
    is_private_key(data)
    try:
        line = public_line(data)
    except UserdataError:
        return
    (parsed,) = parse(line)
    assert parsed.key is not None


@given(st.binary(max_size=300))
@example(b"-----BEGIN PRIVATE KEY----------END PRIVATE KEY-----")
@example(b"-----BEGIN OPENSSH PRIVATE KEY----------END OPENSSH PRIVATE KEY-----")
def test_any_bytes(data: bytes) -> None:
    attempt(data)
    attempt(b"-----BEGIN OPENSSH PRIVATE KEY-----" + data + b"-----END OPENSSH PRIVATE KEY-----")
    attempt(b"-----BEGIN EC PRIVATE KEY-----\n" + base64.encodebytes(data) + b"-----END EC PRIVATE KEY-----")


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.slow
def test_any_byte_changed(form: str) -> None:
    dice = random.Random(form)
    for _ in range(60):
        data = bytearray(private(form))
        for _ in range(dice.randrange(1, 4)):
            data[dice.randrange(len(data))] = dice.choice((dice.randrange(256), ord("A"), ord("=")))
        attempt(bytes(data))
        first, *body, last = private(form).splitlines(keepends=True)
        inside = bytearray(base64.b64decode(b"".join(body)))
        inside[dice.randrange(64)] = dice.randrange(256)
        attempt(first + base64.encodebytes(bytes(inside)) + last)


@pytest.mark.parametrize("bits", ["2048", "3072"])
def test_what_is_read_quickly_is_what_the_library_reads(bits: str) -> None:
    key = generate("-t", "rsa", "-b", bits, "-m", "PEM").read_bytes()
    assert quickly(key) == private_key._from_pem(key)
    dice = random.Random(bits)
    for _ in range(200):
        changed = bytearray(key)
        changed[dice.randrange(len(key))] = dice.choice((dice.randrange(256), ord("A"), ord("\n"), ord("=")))
        if quick := quickly(bytes(changed)):
            assert quick == private_key._from_pem(bytes(changed))


def quickly(data: bytes) -> bytes:
    """Return what is read without the cryptography library, which must not be called then."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(private_key, "_from_pem", lambda data: b"")
        try:
            return public_line(data)
        except UserdataError:
            return b""
