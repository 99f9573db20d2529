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
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

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
    if begin[1] == b"RSA PRIVATE KEY" and (blob := _from_plain_rsa(data[begin.end() : end])):
        return b"ssh-rsa " + base64.b64encode(blob)
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


def _from_plain_rsa(armoured: bytes) -> bytes:
    """Return the public half of a sound RSA key as docker-machine writes it, or nothing.

    That is PKCS#1 (RFC 8017, appendix A.1.2) without a passphrase. Of any other, and of what is wrong, the
    cryptography library knows more, which is slow to import.
    """
    armour = armoured.split()
    if any(len(line) != 64 for line in armour[:-1]):
        return b""
    try:
        der = binascii.a2b_base64(b"".join(armour), strict_mode=True)
    except binascii.Error:
        return b""
    numbers = [*_numbers(der)]
    if len(numbers) != 9 or der != _encoded(0x30, b"".join(_encoded(2, _signed(one)) for one in numbers)):
        return b""
    version, modulus, exponent, *_ = numbers
    is_usual = version == 0 and exponent % 2 == 1 and max(numbers) == modulus
    is_usual = is_usual and 2048 <= modulus.bit_length() <= MAX_BITS
    if not is_usual or not _belong_together(*numbers[1:]):
        return b""
    parts = (b"ssh-rsa", _signed(exponent), _signed(modulus))
    return b"".join(struct.pack(">I", len(part)) + part for part in parts)


def _signed(number: int) -> bytes:
    """Return a number, not negative, as DER and ssh write it: the fewest bytes with room for a sign."""
    return number.to_bytes(number.bit_length() // 8 + 1, "big")


def _encoded(tag: int, body: bytes) -> bytes:
    """Return bytes with their tag and length before them (ITU-T X.690, section 10.1)."""
    if len(body) < 0x80:
        return bytes((tag, len(body))) + body
    length = len(body).to_bytes((len(body).bit_length() + 7) // 8, "big")
    return bytes((tag, 0x80 | len(length))) + length + body


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
            if isinstance(key, RSAPrivateKey) and not _belong_together(*_numbers_of(key)):
                raise ValueError("its numbers do not belong together")
            public = key.public_key()
            return public.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH)
    except TypeError as error:
        raise UserdataError("is encrypted; name its .pub file instead", layer=LAYER) from error
    except (ValueError, UnsupportedAlgorithm) as error:
        raise UserdataError(f"cannot be decoded: {' '.join(str(error).split())}", layer=LAYER) from error


def _numbers_of(key: RSAPrivateKey) -> tuple[int, ...]:
    """Return the eight numbers of an RSA key in the order of its file."""
    private = key.private_numbers()
    public = private.public_numbers
    return public.n, public.e, private.d, private.p, private.q, private.dmp1, private.dmq1, private.iqmp


def _belong_together(n: int, e: int, d: int, p: int, q: int, dp: int, dq: int, inverse: int) -> bool:
    """Tell whether the eight numbers of an RSA key fit each other (RFC 8017, section 3.2)."""
    if min(p, q, d, e) < 2 or p * q != n:
        return False
    rest = d * e - 1
    return (
        rest % (p - 1) == rest % (q - 1) == 0
        and (dp, dq) == (d % (p - 1), d % (q - 1))
        and inverse * q % p == 1
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
    largest = max(map(len, _integers(der)), default=0)
    if largest > MAX_BITS // 8 + 1:
        raise UserdataError(f"has a number of {8 * largest} bits, which no key has", layer=LAYER)


def _numbers(der: bytes) -> Iterator[int]:
    return (int.from_bytes(one, "big") for one in _integers(der))


def _integers(der: bytes, depth: int = 0) -> Iterator[bytes]:
    """Yield each INTEGER, within sequences and octet strings too (ITU-T X.690, section 8)."""
    at = 0
    while at + 2 <= len(der) and depth < 6:
        tag, length, at = der[at], der[at + 1], at + 2
        if length > 0x80:
            width = length & 0x7F
            length, at = int.from_bytes(der[at : at + width], "big"), at + width
        if tag == 0x02:
            yield der[at : at + length]
        elif tag in (0x30, 0x04):
            yield from _integers(der[at : at + length], depth + 1)
        at += length
