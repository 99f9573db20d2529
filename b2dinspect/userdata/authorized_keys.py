r"""An ``authorized_keys`` file, read exactly as sshd reads it.

Bytes in, facts out: :func:`parse` gives one :class:`KeyLine` per line of the file, :func:`decode_blob` takes
the binary public key (the *blob*) inside one. Where sshd passes a line over in silence, the KeyLine says why.

::

    no-pty,command="uptime" ssh-ed25519 AAAAC3NzaC1lZDI1NTE5AAAAI... alice@laptop
    └─ options ───────────┘ └─ type ──┘ └─ blob, in base64 ────────┘ └─ comment ─┘

The facts come from OpenSSH (``auth2-pubkeyfile.c`` for lines, ``sshkey.c`` for keys, ``auth-options.c`` for
options), RFC 4253 section 6.6, PROTOCOL.certkeys and PROTOCOL.u2f, and were tried on sshd 9.2. Some surprise:

* Only ``\n`` ends a line; a ``\r`` before it does no harm. A NUL ends what sshd sees of the line.
* ``\r``, ``\v`` and ``\f`` inside the base64 are skipped; a blank or tab ends it.
* Empty options (``,,``) are skipped; any other fault in the options costs the whole line.
* A certificate lets nobody in: sshd wants the plain key, or the key of its CA with ``cert-authority``.

What hangs on more than the line is not judged here: whether ``from`` matches or ``expiry-time`` has passed
(see ``admission``), which algorithms the server allows (by default no ssh-dss since 7.0), and whether a
certificate's signature is good.
"""

from __future__ import annotations

import binascii
import re
import struct
from functools import partial
from typing import TYPE_CHECKING, Literal

from b2dinspect.errors import UserdataError
from b2dinspect.records import NamedTuple

if TYPE_CHECKING:
    from collections.abc import Callable
    from typing import TypeAlias

    # Reads the fields behind the key type; gives the key's size in bits, and those fields.
    _Decoder: TypeAlias = Callable[["_Reader"], tuple[int, list[bytes]]]


class PublicKey(NamedTuple):
    """One public key, decoded from its blob.

    Attributes:
        type: The type that the blob itself names.
        blob: The key as stored.
        bits: Its size as ``ssh-keygen -l`` prints it; None for a type that sshd does not know.
        identity: The plain key's blob in its one canonical spelling: no certificate around it, no needless
            zeros in its numbers. sshd takes two keys for one when this is the same.
        certified: The blob is a certificate.
    """

    type: str
    blob: bytes
    bits: int | None
    identity: bytes
    certified: bool = False

    @property
    def sha256(self) -> str:
        """Fingerprint as ``ssh-keygen -l`` prints it: for a certificate, that of the plain key."""
        import hashlib

        digest = hashlib.sha256(self.identity).digest()
        return "SHA256:" + binascii.b2a_base64(digest, newline=False).decode().rstrip("=")

    @property
    def md5(self) -> str:
        """Fingerprint as ``ssh-keygen -E md5 -l`` prints it."""
        import hashlib

        return "MD5:" + hashlib.md5(self.identity, usedforsecurity=False).digest().hex(":")


class Option(NamedTuple):
    r"""One option of a key line.

    Attributes:
        name: In lower case: sshd does not tell the cases apart.
        value: Without its quotes, ``\"`` made into ``"``; None for a flag.
    """

    name: str
    value: str | None = None

    def __str__(self) -> str:
        if self.value is None:
            return self.name
        return '{}="{}"'.format(self.name, self.value.replace('"', '\\"'))


class KeyLine(NamedTuple):
    r"""One line of the file, whatever it holds.

    Attributes:
        number: Counted from 1.
        kind: ``broken`` is a line that is neither blank nor a comment, and lets nobody in.
        raw: The line without its ``\n``; a ``\r`` before that is kept.
        type: The key type as the line writes it; ``""`` if it names none.
        key: The key, also on a broken line if its blob can be decoded.
        options: In order, up to the first faulty one.
        comment: All that follows the key, even behind a NUL.
        error: Why sshd does not accept the line; ``""`` if it does.
    """

    number: int
    kind: Literal["blank", "comment", "key", "broken"]
    raw: bytes
    type: str = ""
    key: PublicKey | None = None
    options: tuple[Option, ...] = ()
    comment: str = ""
    error: str = ""

    @property
    def valid(self) -> bool:
        """True if the line holds a key and sshd accepts it."""
        return self.kind == "key"


MAX_LINES = 1 << 14
"""Lines of a file that are read: more is no file of keys, and each costs memory."""
MAX_LINE = 1 << 19
"""Bytes of a line that is read: one character of its options may cost two hundred. sshd has no such limit."""


def parse(text: bytes) -> tuple[KeyLine, ...]:
    r"""Read a whole file. Never raises; takes time linear in its size.

    The raw lines joined by ``\n`` are the file again, but for a ``\n`` at its very end. All that is left
    behind MAX_LINES stands in one broken line.
    """
    rows = text.split(b"\n", MAX_LINES)
    rest = rows.pop() if len(rows) > MAX_LINES else b""
    if not rest and rows and not rows[-1]:
        rows.pop()
    lines = tuple(_read_line(number, raw) for number, raw in enumerate(rows, 1))
    if not rest:
        return lines
    error = f"this line and what follows, {len(rest)} bytes, are not read: {MAX_LINES} lines are the most"
    return (*lines, KeyLine(len(rows) + 1, "broken", rest.removesuffix(b"\n"), error=error))


def decode_blob(blob: bytes) -> PublicKey:
    """Decode the binary form of a public key or certificate, with the checks of ``sshkey.c``.

    A type that sshd does not know is no error: such a key has no ``bits``.

    Raises:
        UserdataError: The blob is not sound; the offset is in bytes from its start.
    """
    reader = _Reader(blob)
    name = _read_type(reader)
    if name not in _TYPES:
        return PublicKey(name, blob, None, blob)
    plain, certified = _TYPES[name]
    if certified:
        reader.string("nonce")
    bits, fields = _DECODERS[plain](reader)
    if certified:
        _pass_certificate(reader)
    reader.end()
    identity = b"".join(struct.pack(">I", len(field)) + field for field in (plain.encode(), *fields))
    return PublicKey(name, blob, bits, identity, certified)


# --- the line: auth2-pubkeyfile.c ---------------------------------------------------------------------------


class _Found(NamedTuple):
    """What looking for a key at one place of a line came to."""

    rank: int  # 3: sshd reads a key here, 2: it knows the type, 1: a key of unknown type, 0: no key
    type: str
    key: PublicKey | None
    end: int
    error: str


def _read_line(number: int, raw: bytes) -> KeyLine:
    if len(raw) > MAX_LINE:
        error = f"this line, {len(raw)} bytes, is not read: {MAX_LINE} bytes are the most"
        return KeyLine(number, "broken", raw, error=error)
    whole = raw.removesuffix(b"\r").lstrip(b" \t")
    seen = whole.partition(b"\0")[0]
    if not seen:
        return KeyLine(number, "blank", raw)
    if seen.startswith(b"#"):
        return KeyLine(number, "comment", raw)
    found, options, error = _read_entry(seen)
    comment = _text(whole[found.end :]) if found.rank else ""
    return KeyLine(number, "broken" if error else "key", raw, found.type, found.key, options, comment, error)


def _read_entry(text: bytes) -> tuple[_Found, tuple[Option, ...], str]:
    """Look for a key at the start of the line and, if there is none, behind options."""
    first = _read_key(text, 0)
    end = _options_end(text)
    second = first if end is None else _read_key(text, _word(text, end)[1])
    if first.rank == 3 or (first.rank and first.rank >= second.rank):
        return first, (), first.error
    options, fault = _read_options(text[:end])
    if end is None:
        return first, options, "a quote in the options is not closed"
    if second.rank:
        return second, options, second.error or fault
    return first, options, (fault or "no key after the options") if options else first.error


def _read_key(text: bytes, at: int) -> _Found:
    """Read type and base64 at one place (sshkey_read)."""
    word, data_at = _word(text, at)
    data, end = _word(text, data_at)
    name = _text(word)
    known = _TYPES.get(name)
    try:
        key = decode_blob(_decode_base64(data))
    except UserdataError as fault:
        if known:
            return _Found(2, name, None, end, str(fault))
        return _Found(0, "", None, end, f"expected a key type or options, found {_shown(word)}")
    if known is None:
        return _Found(1, name, key, end, f"unknown key type {_shown(word)} (in the key data: {key.type!a})")
    if known != _TYPES.get(key.type):
        return _Found(2, name, key, end, f"key type {name!a} differs from {key.type!a} in the key data")
    error = "a certificate lets nobody in: expected the plain key, or its CA's" if key.certified else ""
    return _Found(3, name, key, end, error)


def _word(text: bytes, at: int) -> tuple[bytes, int]:
    """Give the word at a place, and where the next one begins."""
    parts = re.compile(rb"([^ \t]*)[ \t]*").match(text, at)
    return (parts[1], parts.end()) if parts else (b"", at)


_BASE64 = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/"


def _decode_base64(data: bytes) -> bytes:
    """Decode base64 as strictly as b64_pton: all padding there, no stray bits."""
    packed = data.translate(None, b"\r\v\f")
    if not packed:
        raise UserdataError("none after the type", layer="key data")
    try:
        blob = binascii.a2b_base64(packed)
    except binascii.Error:
        blob = b""
    if binascii.b2a_base64(blob, newline=False) != packed:
        strange = packed.rstrip(b"=").translate(None, _BASE64)
        found = _shown(strange[:1]) if strange else f"{len(packed)}, ending in {_shown(packed[-4:])}"
        raise UserdataError("bad base64", layer="key data", expected="groups of 4 characters", found=found)
    return blob


def _text(data: bytes) -> str:
    return data.decode("utf-8", "surrogateescape")


def _shown(data: bytes) -> str:
    """Evidence for a message: quoted, short, and nothing but ASCII."""
    return ascii(_text(data[:32])) + ("..." if len(data) > 32 else "")


# --- the options: auth-options.c ----------------------------------------------------------------------------

_QUOTED = rb'"((?:[^"\\]|\\"|\\(?!"))*)"'
_PORT_NUMBER = rb"\s*\+?0*(?:[1-9]\d{0,3}|[1-5]\d{4}|6[0-4]\d{3}|65[0-4]\d\d|655[0-2]\d|6553[0-5])"
_PORT = rb"(?:\*|[a-z][\w+.-]*|" + _PORT_NUMBER + rb")"
_HOST = rb"(?:\[[^]]{0,1022}\]|(?!\[)[^:/]{0,1024})[:/]"
_ONCE = ("command", "principals", "from")
_SWITCHES = "agent-forwarding port-forwarding x11-forwarding pty user-rc touch-required verify-required"

# Name -> the values that sshd accepts, in any case; None for a flag. A port may be a name from /etc/services:
# the guest's is not at hand, so any name will do. sshd minds no calendar: it takes 31 February.
_OPTIONS: dict[str, bytes | None] = {
    "restrict": None,
    "cert-authority": None,
    **{prefix + name: None for name in _SWITCHES.split() for prefix in ("", "no-")},
    "command": rb".*",
    "principals": rb".*",
    "from": rb".*",
    "environment": rb"[a-z0-9_]+=.*",
    "expiry-time": rb"(?:19[7-9]|[2-9]\d\d)\d(?:0[1-9]|1[0-2])(?:0[1-9]|[12]\d|3[01])"
    rb"(?:(?:[01]\d|2[0-3])[0-5]\d(?:[0-5]\d|6[01])?)?(?:Z|UTC)?",
    "permitopen": _HOST + _PORT,
    "permitlisten": rb"(?:" + _HOST + rb")?" + _PORT,
    "tunnel": rb"any|\s*\+?0*\d{1,9}",
}


def _options_end(text: bytes) -> int | None:
    """Length of the options: up to the first blank outside quotes; None if a quote stays open."""
    inside = re.match(rb'(?:[^ \t"\\]|\\"|\\(?!")|' + _QUOTED + rb")*", text)
    end = inside.end() if inside else 0
    return None if text.startswith(b'"', end) else end


def _read_options(text: bytes) -> tuple[tuple[Option, ...], str]:
    """Give the options before the first fault, and that fault or ``""`` (sshauthopt_parse)."""
    options: list[Option] = []
    text = text.lstrip(b",")
    pattern = re.compile(rb'([^,="]*)(?:=' + _QUOTED + rb")?,*")
    at = 0
    while (parts := pattern.match(text, at)) and at < len(text):
        name = _text(parts[1].lower())
        value = None if parts[2] is None else parts[2].replace(b'\\"', b'"')
        at = parts.end()
        ended = at == len(text) or text[at - 1 : at] == b","
        fault = _option_fault(name, value, b"" if ended else text[at : at + 33])
        if not fault and name in _ONCE and any(name == option.name for option in options):
            fault = f"option {name} is given twice"
        if fault:
            return tuple(options), fault
        options.append(Option(name, None if value is None else _text(value)))
    names = {option.name for option in options}
    if "principals" in names and "cert-authority" not in names:  # auth_authorise_keyopts refuses all comers
        return tuple(options), "option principals needs option cert-authority"
    return tuple(options), ""


def _option_fault(name: str, value: bytes | None, rest: bytes) -> str:
    if name not in _OPTIONS:
        return f"unknown option {_shown(name.encode('utf-8', 'surrogateescape'))}"
    accepted = _OPTIONS[name]
    if accepted is None and value is not None:
        return f"option {name} takes no value, found {_shown(value)}"
    if accepted is not None and value is None:
        return f'option {name}: expected ="value", found {_shown(rest)}'
    if rest:
        return f"option {name}: expected a comma or blank behind it, found {_shown(rest)}"
    if accepted and value is not None and not re.fullmatch(accepted, value, re.IGNORECASE):
        return f"option {name} does not take the value {_shown(value)}"
    return ""


# --- the key blob: sshkey.c ---------------------------------------------------------------------------------

_CERT = "-cert-v01@openssh.com"
_MIN_RSA_BITS = 1024  # SSH_RSA_MINIMUM_MODULUS_SIZE, sshkey.h
_MAX_MPINT_BYTES = 2048  # SSHBUF_MAX_BIGNUM, sshbuf.h

# Curve -> bits, p and b of y^2 = x^3 - 3x + b (mod p): FIPS 186-4 D.1.2.
_CURVES = {
    "nistp256": (
        256,
        2**256 - 2**224 + 2**192 + 2**96 - 1,
        0x5AC635D8AA3A93E7B3EBBD55769886BC651D06B0CC53B0F63BCE3C3E27D2604B,
    ),
    "nistp384": (
        384,
        2**384 - 2**128 - 2**96 + 2**32 - 1,
        0xB3312FA7E23EE7E4988E056BE3F82D19181D9C6EFE8141120314088F5013875AC656398D8A2ED19D2A85C8EDD3EC2AEF,
    ),
    "nistp521": (
        521,
        2**521 - 1,
        (0x51953EB9618E1C9A1F929A21A0B68540EEA2DA725B99B315F3B8B489918EF109E1 << 256)
        + 0x56193951EC7E937B1652C0BD3BB1BF073573DF883D2C34F1EF451FD46B503F00,
    ),
}


class _Reader:
    """Takes a blob's fields in order (RFC 4251 section 5), never past its end."""

    def __init__(self, blob: bytes) -> None:
        self.blob = blob
        self.at = 0

    def fault(self, message: str, at: int, expected: object, found: object) -> UserdataError:
        return UserdataError(message, layer="key blob", offset=at, expected=expected, found=found)

    def take(self, size: int, what: str) -> bytes:
        left = len(self.blob) - self.at
        if size > left:
            raise self.fault(f"{what} is cut short", self.at, f"{size} bytes", f"{left} bytes")
        self.at += size
        return self.blob[self.at - size : self.at]

    def string(self, what: str) -> bytes:
        size = int.from_bytes(self.take(4, f"length of {what}"), "big")
        return self.take(size, what)

    def cstring(self, what: str) -> bytes:
        """Take text; sshbuf_get_cstring lets one NUL pass, at its end."""
        at = self.at
        text = self.string(what).removesuffix(b"\0")
        if b"\0" in text:
            raise self.fault(f"{what} holds a NUL byte", at, "text", _shown(text))
        return text

    def mpint(self, what: str) -> bytes:
        """Take a number >= 0, shortened; sshbuf_get_bignum2 lets needless zeros pass."""
        at = self.at
        raw = self.string(what)
        if raw[:1] >= b"\x80":
            raise self.fault(f"{what} is negative", at, "first byte below 0x80", f"{raw[0]:#x}")
        digits = raw.lstrip(b"\0")
        if max(len(raw) - 1, len(digits)) > _MAX_MPINT_BYTES:
            raise self.fault(
                f"{what} is too long", at, f"at most {_MAX_MPINT_BYTES} bytes", f"{len(raw)} bytes"
            )
        return b"\0" + digits if digits[:1] >= b"\x80" else digits

    def end(self) -> None:
        if self.at < len(self.blob):
            raise self.fault("bytes follow the key", self.at, "none", len(self.blob) - self.at)


def _read_type(reader: _Reader) -> str:
    name = reader.cstring("key type")
    if not re.fullmatch(rb"[!-~]{1,64}", name):  # RFC 4251 section 6
        raise reader.fault("no key type", 0, "1 to 64 printable US-ASCII characters", _shown(name))
    return name.decode()


def _rsa(reader: _Reader) -> tuple[int, list[bytes]]:
    exponent = reader.mpint("RSA exponent")
    at = reader.at
    modulus = reader.mpint("RSA modulus")
    bits = int.from_bytes(modulus, "big").bit_length()
    if bits < _MIN_RSA_BITS:
        raise reader.fault("RSA modulus is too short", at, f"{_MIN_RSA_BITS} bits or more", f"{bits} bits")
    return bits, [exponent, modulus]


def _dsa(reader: _Reader) -> tuple[int, list[bytes]]:
    fields = [reader.mpint(f"DSA {name}") for name in ("p", "q", "g", "y")]
    return int.from_bytes(fields[0], "big").bit_length(), fields


def _ed25519(reader: _Reader) -> tuple[int, list[bytes]]:
    at = reader.at
    key = reader.string("Ed25519 key")
    if len(key) != 32:
        raise reader.fault("Ed25519 key has the wrong size", at, "32 bytes", f"{len(key)} bytes")
    return 256, [key]


def _ecdsa(curve: str, reader: _Reader) -> tuple[int, list[bytes]]:
    at = reader.at
    name = reader.cstring("curve name")
    if name != curve.encode():
        raise reader.fault("wrong curve", at, curve, _shown(name))
    bits, prime, b = _CURVES[curve]
    size = (bits + 7) // 8
    at = reader.at
    point = reader.string("curve point")
    if len(point) != 1 + 2 * size or point[0] != 4:
        raise reader.fault("curve point is not uncompressed", at, f"0x04 and {2 * size} bytes", _shown(point))
    x, y = int.from_bytes(point[1 : 1 + size], "big"), int.from_bytes(point[1 + size :], "big")
    if max(x, y) >= prime or (y * y - x * x * x + 3 * x - b) % prime:
        raise reader.fault("point is off the curve", at, f"a point of {curve}", _shown(point))
    return bits, [name, point]


def _security_key(decode: _Decoder, reader: _Reader) -> tuple[int, list[bytes]]:
    """Decode a FIDO key: a plain key, then the application that it is for (PROTOCOL.u2f)."""
    bits, fields = decode(reader)
    return bits, [*fields, reader.cstring("application")]


def _pass_certificate(reader: _Reader) -> None:
    """Walk over what follows the key in a certificate (PROTOCOL.certkeys)."""
    reader.take(8, "serial number")
    at = reader.at
    kind = int.from_bytes(reader.take(4, "certificate kind"), "big")
    if kind not in (1, 2):
        raise reader.fault("unknown certificate kind", at, "1 (user) or 2 (host)", kind)
    reader.cstring("key id")
    reader.string("principals")
    reader.take(16, "validity")
    for what in ("critical options", "extensions", "reserved field", "CA key", "signature"):
        reader.string(what)


_DECODERS: dict[str, _Decoder] = {
    "ssh-rsa": _rsa,
    "ssh-dss": _dsa,
    "ssh-ed25519": _ed25519,
    **{f"ecdsa-sha2-{curve}": partial(_ecdsa, curve) for curve in _CURVES},
    "sk-ssh-ed25519@openssh.com": partial(_security_key, _ed25519),
    "sk-ecdsa-sha2-nistp256@openssh.com": partial(_security_key, partial(_ecdsa, "nistp256")),
}

# Every type name that sshd knows -> its plain type, and whether it is a certificate's. The table in sshkey.c
# holds names of signature algorithms too, so sshd takes those for the key's type.
_TYPES = {
    **{name: (name, False) for name in _DECODERS},
    **{name.removesuffix("@openssh.com") + _CERT: (name, True) for name in _DECODERS},
    **{f"rsa-sha2-{size}": ("ssh-rsa", False) for size in (256, 512)},
    **{f"rsa-sha2-{size}{_CERT}": ("ssh-rsa", True) for size in (256, 512)},
    "webauthn-sk-ecdsa-sha2-nistp256@openssh.com": ("sk-ecdsa-sha2-nistp256@openssh.com", False),
}
