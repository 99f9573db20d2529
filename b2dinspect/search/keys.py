"""Keys by their own bytes: lines of authorized_keys, private keys as PEM, OpenSSH's and DER; cut ones too.

Sources: OpenSSH's PROTOCOL.key, RFC 4253 section 6.6, RFC 8017 appendix A.1.2, RFC 5915, RFC 8410; the base64
of a public key begins with its type, so a line whose beginning is gone is known by that.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
import struct
from collections.abc import Iterator

from b2dinspect.errors import UserdataError
from b2dinspect.search.facts import Find, Sure
from b2dinspect.search.scene import Scene
from b2dinspect.userdata.authorized_keys import PublicKey, decode_blob
from b2dinspect.userdata.private_key import OPENSSH_MAGIC, is_encrypted, public_line

FIELDS = {
    b"ssh-rsa": 2,
    b"ssh-dss": 4,
    b"ssh-ed25519": 1,
    b"ecdsa-sha2-nistp256": 2,
    b"ecdsa-sha2-nistp384": 2,
    b"ecdsa-sha2-nistp521": 2,
    b"sk-ssh-ed25519@openssh.com": 2,
    b"sk-ecdsa-sha2-nistp256@openssh.com": 3,
}
"""Types of plain keys, and how many fields follow the type in the blob."""
MAX_PUBLIC, MAX_PRIVATE, MAX_COMMENT = 16 << 10, 32 << 10, 256
"""Bytes that are read of a key, and of what follows a public one."""
LONGEST_WORD = 64


def _base64_start(name: bytes) -> bytes:
    """Return how the base64 of each key of a type begins, as far as the type alone decides it."""
    head = struct.pack(">I", len(name)) + name
    return base64.b64encode(head)[: min(len(head) * 8 // 6, 20)]


PUBLIC = tuple(dict.fromkeys(map(_base64_start, FIELDS)))
"""Literals; those of the three curves are one."""

_BASE64 = re.compile(rb"[A-Za-z0-9+/]+")
_TYPE_WORD = re.compile(rb"([a-z0-9@.-]{7,48})[ \t]+$")
_COMMENT = re.compile(rb'[ \t]+([^\x00-\x1f\x7f"\\]{1,%d})' % MAX_COMMENT)


def public_key(scene: Scene, at: int) -> Iterator[Find]:
    """Yield the key whose base64 begins at a byte of the disk."""
    text = scene.read(at, MAX_PUBLIC + MAX_COMMENT)
    run = _BASE64.match(text[:MAX_PUBLIC])
    if run is None:
        return
    raw = run[0]
    data = base64.b64decode(raw + b"=" * (-len(raw) % 4)) if len(raw) % 4 != 1 else base64.b64decode(raw[:-1])
    size = _blob_size(data)
    key = _decoded(data[:size]) if size else None
    end, is_padded = run.end(), False
    if size:
        padding = b"=" * (-size % 3)
        digits = 4 * -(-size // 3) - len(padding)
        is_padded = text.startswith(padding, digits) and (bool(padding) or digits <= len(raw))
        end = digits + len(padding) * is_padded
    word = _TYPE_WORD.search(scene.before(at, LONGEST_WORD))
    name = word[1] if word and word[1] in FIELDS else b""
    start = at - len(word[0]) if word and name else at
    comment = _COMMENT.match(text, end) if size else None
    label = comment[1].rstrip().decode("utf-8", "surrogateescape") if comment else ""
    if key is None:
        kind = _type_of(data)
        what, sure = (
            f"{kind} key, cut" if kind else "public key, cut",
            "likely" if len(data) > 48 else "looks-like",
        )
        yield Find("public-key", start, at + end - start, sure, what, raw[:end])  # type: ignore[arg-type]
        return
    is_line = name.decode() == key.type and is_padded
    length = at + (comment.start(1) + len(comment[1].rstrip()) if comment else end) - start
    yield _of_key("public-key", start, length, "parsed" if is_line else "likely", key, comment=label)


def _of_key(
    kind: str, start: int, length: int, sure: Sure, key: PublicKey, note: str = "", comment: str = ""
) -> Find:
    what = f"{key.type} {key.bits or ''}".rstrip() + note
    return Find(
        kind,  # type: ignore[arg-type]
        start,
        length,
        sure,
        what,
        hashlib.sha256(key.identity).digest(),
        key.sha256,
        key.md5,
        comment,
    )


def _decoded(blob: bytes) -> PublicKey | None:
    try:
        return decode_blob(blob)
    except UserdataError:
        return None


def _type_of(data: bytes) -> str:
    length = int.from_bytes(data[:4], "big")
    name = data[4 : 4 + length]
    return name.decode() if name in FIELDS else ""


def _blob_size(data: bytes) -> int:
    """Return the bytes of a blob of a known type, by its own fields; 0 when it is cut."""
    at = 0
    fields = FIELDS.get(_type_of(data).encode(), 0)
    for _ in range(fields + 1 if fields else 0):
        if at + 4 > len(data):
            return 0
        at += 4 + int.from_bytes(data[at : at + 4], "big")
    return at if at <= len(data) else 0


# --- private keys -------------------------------------------------------------------------------------------

PEM = b"PRIVATE KEY-----"
OPENSSH_BASE64 = base64.b64encode(OPENSSH_MAGIC)[: len(OPENSSH_MAGIC) * 8 // 6 - 1]
RSA_DER = (b"\x02\x01\x00\x02\x82", b"\x02\x01\x00\x02\x81\x81\x00")
"""Version 0, and a modulus whose length has two bytes; or one of 1024 bits."""
EC_DER = b"\x02\x01\x01\x04"
"""Version 1, and the number."""
ED25519_DER = b"\x02\x01\x00\x30\x05\x06\x03\x2b\x65\x70\x04\x22\x04\x20"
EC_PKCS8_DER = b"\x02\x01\x00\x30\x13\x06\x07\x2a\x86\x48\xce\x3d\x02\x01"

_LINE = re.compile(rb"-----(BEGIN|END) ([A-Z0-9 ]{0,24})$")
_BODY = re.compile(rb"(?:[A-Za-z0-9+/=]{4,}(?:\r?\n|\\n|\\r\\n)?)+")
_HEADERS = re.compile(rb"(?:[ \t]*(?:\r?\n|\\n)|[A-Z][A-Za-z-]+: [^\r\n\\]{1,80}(?:\r?\n|\\n))*")
FEWEST = 16
"""Characters of base64 that follow a first line; without, it is a line of somebody's program."""


def pem_key(scene: Scene, at: int) -> Iterator[Find]:
    """Yield the key whose first line, or last, ends with what stands at a byte of the disk."""
    if at < scene.known_keys:
        return
    front = scene.before(at, 40) or scene.before(at, 11)
    line = _LINE.search(front)
    if line is None:
        return
    start = at - len(line[0])
    if line[1] == b"BEGIN":
        yield from _from_first_line(scene, start, at + len(PEM), line[2])
    elif tail := re.search(rb"(?:[A-Za-z0-9+/=]{16,}(?:\r?\n|\\n))+$", scene.before(start, 4096)):
        end = at + len(PEM)
        begin = start - len(tail[0])
        what = "end of a private key, without its beginning"
        yield Find("private-key", begin, end - begin, "looks-like", what, hashlib.sha256(tail[0]).digest())


def _from_first_line(scene: Scene, start: int, body_at: int, label: bytes) -> Iterator[Find]:
    data = scene.read(start, MAX_PRIVATE)
    first = body_at - start
    last = b"-----END " + label + PEM
    stop = data.find(last, first)
    if stop < 0 or b"\0" in data[first:stop] or b"-----BEGIN " in data[first:stop]:  # another key's last line
        yield from _cut_key(scene, start, data, first, label)
        return
    length = stop + len(last)
    pem = _unescaped(data[:length])
    if not _BODY.search(data, first, stop):
        return
    scene.known_keys = start + length
    kind = (label + b"PRIVATE KEY").decode()
    try:
        key = _of_line(public_line(pem))
    except UserdataError as error:
        is_locked = is_encrypted(pem)
        what = f"{kind}, encrypted" if is_locked else f"{kind}, damaged: {error.message}"
        sure: Sure = "likely" if is_locked else "looks-like"
        yield Find("private-key", start, length, sure, what, hashlib.sha256(pem).digest())
        return
    note = f", as {kind}" + (", encrypted" if is_encrypted(pem) else "")
    yield _of_key("private-key", start, length, "parsed", key, note)


def _cut_key(scene: Scene, start: int, data: bytes, first: int, label: bytes) -> Iterator[Find]:
    """Yield a key whose last line is not there."""
    headers = _HEADERS.match(data, first)
    begin = headers.end() if headers else first
    body = _BODY.match(data, begin)
    if body is None or len(body[0]) < FEWEST:
        return
    scene.known_keys = start + body.end()
    kind = (label + b"PRIVATE KEY").decode()
    yield _half(start, body.end(), body[0], f"{kind}, cut")


def openssh_base64(scene: Scene, at: int) -> Iterator[Find]:
    """Yield the OpenSSH key whose base64 begins at a byte of the disk, and whose first line is not there."""
    if at < scene.known_keys:
        return
    body = _BODY.match(scene.read(at, MAX_PRIVATE))
    if body is not None:
        scene.known_keys = at + body.end()
        yield _half(at, body.end(), body[0], "OPENSSH PRIVATE KEY, without its first line")


def openssh_binary(scene: Scene, at: int) -> Iterator[Find]:
    """Yield the OpenSSH key that begins at a byte of the disk, bare."""
    data = scene.read(at, MAX_PRIVATE)
    if key := _openssh_public(data):
        yield _of_key("private-key", at, _openssh_size(data), "parsed", key, ", OpenSSH's form, bare")


def _half(start: int, length: int, body: bytes, what: str) -> Find:
    """Return what is left of a key that is not whole: with its public half, where that is in it."""
    digits = re.sub(rb"[^A-Za-z0-9+/]", b"", _unescaped(body))
    data = base64.b64decode(digits[: len(digits) // 4 * 4])
    key = _openssh_public(data) or _rsa_public(data)
    if key is None:
        return Find("private-key", start, length, "looks-like", what, hashlib.sha256(body).digest())
    return _of_key("private-key", start, length, "likely", key, f", {what}")


def _unescaped(text: bytes) -> bytes:
    r"""Return a key with the ends of its lines, where it stands in JSON with ``\n`` for them."""
    return text.replace(b"\\r", b"").replace(b"\\n", b"\n") if b"\\n" in text else text


def _of_line(line: bytes) -> PublicKey:
    return decode_blob(binascii.a2b_base64(line.split(b" ")[1]))


def _openssh_public(data: bytes) -> PublicKey | None:
    """Return the public half of a key in OpenSSH's form, which comes first."""
    if not data.startswith(OPENSSH_MAGIC):
        return None
    at = len(OPENSSH_MAGIC)
    for _ in range(3):  # cipher, key derivation, its options
        at += 4 + int.from_bytes(data[at : at + 4], "big")
    at += 4
    size = int.from_bytes(data[at : at + 4], "big")
    blob = data[at + 4 : at + 4 + size]
    return _decoded(blob) if len(blob) == size else None


def _openssh_size(data: bytes) -> int:
    at = len(OPENSSH_MAGIC)
    for skip in (0, 0, 0, 4, 0):
        at += skip + 4 + int.from_bytes(data[at + skip : at + skip + 4], "big")
    return min(at, len(data))


def _rsa_public(der: bytes) -> PublicKey | None:
    """Return the public half of a PKCS#1 key, whose modulus and exponent come first."""
    head = re.match(rb"\x30\x82..\x02\x01\x00", der, re.DOTALL)
    if head is None:
        return None
    at, numbers = head.end(), []
    for _ in range(2):
        if der[at : at + 1] != b"\x02" or at + 4 > len(der):
            return None
        length, at = der[at + 1], at + 2
        if length > 0x80:
            width = length & 0x7F
            length, at = int.from_bytes(der[at : at + width], "big"), at + width
        number = der[at : at + length]
        if len(number) < length:
            return None
        numbers.append(number)
        at += length
    parts = (b"ssh-rsa", numbers[1], numbers[0])
    return _decoded(b"".join(struct.pack(">I", len(part)) + part for part in parts))


def rsa_der(scene: Scene, at: int) -> Iterator[Find]:
    """Yield the PKCS#1 key whose version stands at a byte of the disk."""
    yield from _der(scene, at, b"RSA PRIVATE KEY")


def ec_der(scene: Scene, at: int) -> Iterator[Find]:
    """Yield the SEC1 key whose version stands at a byte of the disk."""
    yield from _der(scene, at, b"EC PRIVATE KEY")


def pkcs8_der(scene: Scene, at: int) -> Iterator[Find]:
    """Yield the PKCS#8 key whose version stands at a byte of the disk."""
    yield from _der(scene, at, b"PRIVATE KEY")


def _der(scene: Scene, at: int, label: bytes) -> Iterator[Find]:
    """Yield the key in a SEQUENCE whose content begins at a byte, if all of it fits together."""
    front = scene.before(at, 4)
    for width, head in ((4, b"\x30\x82"), (3, b"\x30\x81"), (2, b"\x30")):
        header = front[-width:]
        if not header.startswith(head) or at < width:
            continue
        length = width + int.from_bytes(header[len(head) :], "big")
        data = scene.read(at - width, length)
        if len(data) < length or length > MAX_PRIVATE:
            continue
        lines = base64.encodebytes(data)
        pem = b"-----BEGIN %b-----\n%b-----END %b-----\n" % (label, lines, label)
        try:
            key = _of_line(public_line(pem))
        except UserdataError:
            continue
        yield _of_key("private-key", at - width, length, "parsed", key, f", {label.decode()} as DER")
        return
