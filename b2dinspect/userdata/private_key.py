"""The public half of a private key file, as one authorized_keys line.

Source: OpenSSH's PROTOCOL.key, whose public half is readable even when the private one is encrypted; PEM
through the cryptography library.
"""

from __future__ import annotations

import base64
import binascii
import re
import struct
import warnings
from collections.abc import Iterator
from typing import TYPE_CHECKING

from b2dinspect.errors import UserdataError
from b2dinspect.userdata.authorized_keys import decode_blob

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateNumbers

LAYER = "private key"
OPENSSH_MAGIC = b"openssh-key-v1\0"
MAX_BITS = 16384
"""Of an RSA modulus, as in ssh-keygen(1)."""
_BEGIN = re.compile(rb"-----BEGIN ([A-Z0-9 ]*PRIVATE KEY)-----")


def is_private_key(data: bytes) -> bool:
    """Tell whether a file begins like a private key."""
    return data.lstrip()[:64].startswith(b"-----BEGIN ") and b"PRIVATE KEY-----" in data[:256]


def is_encrypted(data: bytes) -> bool:
    """Tell whether a private key file needs a passphrase: PEM's headers say so, or OpenSSH's cipher does."""
    begin = _BEGIN.search(data)
    if begin is None:
        return False
    if begin[1] != b"OPENSSH PRIVATE KEY":
        return begin[1].startswith(b"ENCRYPTED") or b"Proc-Type: 4,ENCRYPTED" in data[begin.end() :][:200]
    try:
        start = binascii.a2b_base64(b"".join(data[begin.end() :][:200].split())[:64])
        cipher, _ = _string(start, len(OPENSSH_MAGIC))
    except (binascii.Error, struct.error):
        return False
    return start.startswith(OPENSSH_MAGIC) and cipher != b"none"


def public_line(data: bytes) -> bytes:
    """Return ``TYPE BASE64`` for a private key file in OpenSSH or PEM form.

    Raises:
        UserdataError: Broken, of a kind that ssh does not use, or encrypted in a form that hides the public
            half.
    """
    begin = _BEGIN.search(data)
    end = data.find(b"-----END " + begin[1] + b"-----", begin.end()) if begin else -1
    if begin is None or end < 0:
        raise UserdataError("no end of the key found: the file is cut short", layer=LAYER)
    if begin[1] == b"OPENSSH PRIVATE KEY":
        return _from_openssh(data[begin.end() : end])
    return _from_pem(data)


def _from_openssh(armoured: bytes) -> bytes:
    try:
        data = binascii.a2b_base64(b"".join(armoured.split()))
        if not data.startswith(OPENSSH_MAGIC):
            raise UserdataError("no openssh-key-v1 in it", layer=LAYER)
        offset = len(OPENSSH_MAGIC)
        for _ in range(3):  # cipher, key derivation, its options
            _, offset = _string(data, offset)
        blob, _ = _string(data, offset + 4)
    except (binascii.Error, struct.error) as error:
        raise UserdataError(f"cannot be decoded: {error}", layer=LAYER) from error
    return decode_blob(blob).type.encode() + b" " + base64.b64encode(blob)


def _string(data: bytes, offset: int) -> tuple[bytes, int]:
    (length,) = struct.unpack_from(">I", data, offset)
    end = offset + 4 + length
    if end > len(data):
        raise struct.error(f"a string of {length} bytes does not fit")
    return data[offset + 4 : end], end


def _from_pem(data: bytes) -> bytes:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat, load_pem_private_key

    _check_sizes(data)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that a kind of key is old is not news to a forensic tool
            # that the factors are primes takes 30 ms to prove, a minute for the largest; damage shows without
            key = load_pem_private_key(data, None, unsafe_skip_rsa_key_validation=True)
            if isinstance(key, RSAPrivateKey) and not _belong_together(key.private_numbers()):
                raise ValueError("its numbers do not belong together")
            public = key.public_key()
            return public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    except TypeError as error:
        raise UserdataError("is encrypted; name its .pub file instead", layer=LAYER) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise UserdataError(f"cannot be decoded: {' '.join(str(error).split())}", layer=LAYER) from error


def _belong_together(key: RSAPrivateNumbers) -> bool:
    """Tell whether the eight numbers of an RSA key fit each other (RFC 8017, section 3.2)."""
    p, q, d = key.p, key.q, key.d
    if min(p, q, d, key.public_numbers.e) < 2 or p * q != key.public_numbers.n:
        return False
    inverse = d * key.public_numbers.e - 1
    return (
        inverse % (p - 1) == inverse % (q - 1) == 0
        and (key.dmp1, key.dmq1) == (d % (p - 1), d % (q - 1))
        and key.iqmp * q % p == 1
    )


def _check_sizes(data: bytes) -> None:
    """Look at the numbers of a key before anybody calculates with them; of an encrypted one none are seen.

    Raises:
        UserdataError: It has more than MAX_BITS.
    """
    body = data.partition(b"PRIVATE KEY-----")[2].partition(b"-----END")[0]
    try:
        der = binascii.a2b_base64(b"".join(body.split()))
    except binascii.Error:
        return  # headers before the base64
    largest = max(_number_sizes(der), default=0)
    if largest > MAX_BITS // 8 + 1:
        raise UserdataError(f"has a number of {8 * largest} bits, which no key has", layer=LAYER)


def _number_sizes(der: bytes, depth: int = 0) -> Iterator[int]:
    """Yield the bytes of each INTEGER, within sequences and octet strings too (ITU-T X.690, section 8)."""
    at = 0
    while at + 2 <= len(der) and depth < 6:
        tag, length, at = der[at], der[at + 1], at + 2
        if length > 0x80:
            width = length & 0x7F
            length, at = int.from_bytes(der[at : at + width], "big"), at + width
        if tag == 0x02:
            yield length
        elif tag in (0x30, 0x04):
            yield from _number_sizes(der[at : at + length], depth + 1)
        at += length
