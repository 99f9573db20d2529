"""Key pairs for a machine: made as libmachine makes them, or given.

Source: libmachine/ssh/keys.go: RSA 2048, the private half as PKCS#1 PEM, the public half as one line without
a comment. ed25519 in OpenSSH's own format is what ssh-keygen makes by itself.
"""

from __future__ import annotations

from pathlib import Path
from typing import Literal

from b2dinspect.errors import SourceError, UsageError
from b2dinspect.records import NamedTuple
from b2dinspect.userdata.authorized_keys import parse
from b2dinspect.userdata.private_key import is_private_key, public_line

MAX_SIZE = 64 << 10
SAMPLE_KEYS = Path(__file__).parent / "samples" / "keys"
KeyType = Literal["rsa", "ed25519"]


class KeyPair(NamedTuple):
    """A key pair as the bytes of its two files; ``private`` is empty when only the public half is known."""

    private: bytes
    public: bytes


def make_key(kind: KeyType = "rsa") -> KeyPair:
    """Return a new key pair."""
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
    from cryptography.hazmat.primitives.serialization import (
        Encoding,
        NoEncryption,
        PrivateFormat,
        PublicFormat,
    )

    key = generate_private_key(65537, 2048) if kind == "rsa" else Ed25519PrivateKey.generate()
    form = PrivateFormat.TraditionalOpenSSL if kind == "rsa" else PrivateFormat.OpenSSH
    private = key.private_bytes(Encoding.PEM, form, NoEncryption())
    public = key.public_key().public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    return KeyPair(private, public + b"\n")


def load_key(path: Path) -> KeyPair:
    """Return the key pair in a private key file, or beside a public one; any authorized_keys text will do.

    Raises:
        SourceError: The file cannot be read.
        UsageError: There is no key in it.
        UserdataError: The private key is broken or encrypted.
    """
    data = _read(path)
    if is_private_key(data):
        beside = path.with_name(f"{path.name}.pub")
        return KeyPair(data, _read(beside) if beside.is_file() else public_line(data) + b"\n")
    if not any(line.valid for line in parse(data)):
        raise UsageError(f"{path}: no SSH key in it")
    private = path.with_suffix("") if path.suffix == ".pub" else None
    return KeyPair(_read(private) if private and private.is_file() else b"", data)


def sample_key(name: str) -> bytes:
    """Return one of the public keys on the sample disks; nobody kept the private ones."""
    return (SAMPLE_KEYS / f"{name}.pub").read_bytes()


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_SIZE + 1)
    except OSError as error:
        raise SourceError(f"{path}: {error.strerror}") from error
    if len(data) > MAX_SIZE:
        raise UsageError(f"{path}: larger than any key file")
    return data
