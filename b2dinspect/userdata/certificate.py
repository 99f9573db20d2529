"""X.509 certificates in PEM form, as facts: what docker-machine keeps on both sides of the daemon's door.

Source: RFC 5280 through the cryptography library; docker-machine's libmachine/cert for what it puts into
them; Go's crypto/x509 for how a client names what it refuses.
"""

from __future__ import annotations

import ipaddress
import re
import warnings
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING, Any

from b2dinspect.errors import UserdataError
from b2dinspect.records import NamedTuple
from b2dinspect.userdata.private_key import MAX_BITS, public_line

if TYPE_CHECKING:
    from cryptography import x509

LAYER = "certificate"
MAX_SIZE = 64 << 10
"""Bytes of a PEM file: a certificate of docker-machine's has some 1100."""
MAX_CERTIFICATES = 8
"""That are read of one file."""
MAX_NAMES = 64
"""Names of one certificate that are kept."""
VALID_DAYS = 1080
"""That docker-machine gives every certificate. Source: libmachine/cert/cert.go."""
_USES = {"1.3.6.1.5.5.7.3.1": "serverAuth", "1.3.6.1.5.5.7.3.2": "clientAuth"}
_PEM = re.compile(rb"-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class Certificate(NamedTuple):
    """One certificate.

    Attributes:
        subject: Whom it is for, ``O=ann.default``.
        issuer: Who signed it, as it says itself.
        serial: Its number.
        begins: Seconds since 1970 from which it is good.
        ends: The last second at which it is.
        names: Addresses and names that it is good for, addresses first (subjectAltName).
        uses: ``serverAuth``, ``clientAuth`` and others, by what extendedKeyUsage says; () for all.
        is_authority: Whether it may sign others.
        kind: Of its key, ``rsa 2048``.
        public: The public key as ssh writes it, to compare.
        sha256: Fingerprint, hexadecimal.
        der: All of it.
    """

    subject: str
    issuer: str
    serial: int
    begins: int
    ends: int
    names: tuple[str, ...]
    uses: tuple[str, ...]
    is_authority: bool
    kind: str
    public: bytes
    sha256: str
    der: bytes

    @property
    def until(self) -> str:
        """The day on which it ends, ``2021-12-15``."""
        return day(self.ends)

    def is_good_at(self, when: float) -> bool:
        """Tell whether it is good at a time (seconds since 1970)."""
        return self.begins <= when <= self.ends

    def wrong_name(self, host: str) -> str:
        """Return what a Go client says of this certificate at a host; "" when that is a name of it.

        Source: Go, crypto/x509, HostnameError.
        """
        if any(_fits(name, host) for name in self.names):
            return ""
        addresses = [name for name in self.names if is_address(name)]
        if is_address(host) and not addresses:
            return f"x509: cannot validate certificate for {host} because it doesn't contain any IP SANs"
        valid = addresses if is_address(host) else [name for name in self.names if not is_address(name)]
        return f"x509: certificate is valid for {', '.join(valid) or 'no name'}, not {host}"


def read_certificates(data: bytes) -> tuple[Certificate, ...]:
    """Return the certificates in a PEM file, ``MAX_CERTIFICATES`` at most.

    Raises:
        UserdataError: There is none, one of them is broken, or the file is too large for what it should be.
    """
    if len(data) > MAX_SIZE:
        raise UserdataError(f"{len(data)} bytes, which no certificate has", layer=LAYER)
    blocks = _PEM.findall(data)[:MAX_CERTIFICATES]
    if not blocks:
        is_cut = b"-----BEGIN CERTIFICATE-----" in data
        what = "the end is missing: it was cut" if is_cut else "is no certificate in PEM form"
        raise UserdataError(what if data else "is empty", layer=LAYER)
    return tuple(_read(block) for block in blocks)


def _read(pem: bytes) -> Certificate:
    from cryptography import x509  # slow to import, and only for machines that have certificates
    from cryptography.exceptions import UnsupportedAlgorithm

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that a serial or a kind of key is odd is not news here
            return _facts(x509.load_pem_x509_certificate(pem))
    except (
        ValueError,
        TypeError,
        OverflowError,
        UnsupportedAlgorithm,
        x509.DuplicateExtension,
        x509.UnsupportedGeneralNameType,
    ) as error:
        raise UserdataError(
            f"cannot be decoded: {' '.join(str(error).split())[:200]}", layer=LAYER
        ) from error


def _facts(certificate: x509.Certificate) -> Certificate:
    from cryptography import x509
    from cryptography.hazmat.primitives.hashes import SHA256
    from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

    key: Any = certificate.public_key()
    bits = int(getattr(key, "key_size", 256))
    if bits > MAX_BITS:
        raise UserdataError(f"has a key of {bits} bits, which no key has", layer=LAYER)
    extensions = certificate.extensions
    names: list[str] = []
    uses: list[str] = []
    is_authority = False
    for extension in extensions:
        value = extension.value
        if isinstance(value, x509.SubjectAlternativeName):
            names += [str(name) for name in value.get_values_for_type(x509.IPAddress)]
            names += value.get_values_for_type(x509.DNSName)
        elif isinstance(value, x509.ExtendedKeyUsage):
            uses += [_USES.get(use.dotted_string, use.dotted_string) for use in value]
        elif isinstance(value, x509.BasicConstraints):
            is_authority = value.ca
    kind = type(key).__name__.removeprefix("_").removesuffix("PublicKey").lower()
    return Certificate(
        _named(certificate.subject),
        _named(certificate.issuer),
        certificate.serial_number,
        _seconds(certificate.not_valid_before_utc),
        _seconds(certificate.not_valid_after_utc),
        tuple(names[:MAX_NAMES]),
        tuple(uses[:MAX_NAMES]),
        is_authority,
        f"{kind} {bits}",
        key.public_bytes(Encoding.OpenSSH, PublicFormat.OpenSSH),
        certificate.fingerprint(SHA256()).hex(),
        certificate.public_bytes(Encoding.DER),
    )


def _named(name: x509.Name) -> str:
    """Return a name as openssl shows it, without the escapes of RFC 4514."""
    return ", ".join(f"{one.rfc4514_attribute_name}={_text(one.value)}" for one in name)


def _text(value: str | bytes) -> str:
    return value if isinstance(value, str) else value.hex()


def signature_fault(certificate: Certificate, authority: Certificate) -> str:
    """Return why an authority has not signed a certificate; "" when it has. No further chain is followed."""
    from cryptography import x509
    from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm

    if certificate.issuer != authority.subject:
        return f"it was signed by {certificate.issuer or 'nobody'}, this authority is {authority.subject}"
    if not authority.is_authority:
        return f"{authority.subject} is no authority: it may sign nothing"
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            below = x509.load_der_x509_certificate(certificate.der)
            below.verify_directly_issued_by(x509.load_der_x509_certificate(authority.der))
    except InvalidSignature:
        return f"another authority of the name {authority.subject} signed it: this one has another key"
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        return f"its signature cannot be checked: {' '.join(str(error).split())[:200]}"
    return ""


def public_of(private: bytes) -> bytes:
    """Return the public half of a private key in PEM form, as ``Certificate.public`` has it.

    Raises:
        UserdataError: It is none, or it is too large, broken or encrypted.
    """
    if len(private) > MAX_SIZE:
        raise UserdataError(f"{len(private)} bytes, which no key has", layer=LAYER)
    if not private:
        raise UserdataError("is empty", layer=LAYER)
    return public_line(private)


def is_address(host: str) -> bool:
    """Tell whether a host is named by its address.

    >>> is_address("192.168.99.100"), is_address("localhost")
    (True, False)
    """
    try:
        ipaddress.ip_address(host)
    except ValueError:
        return False
    return True


def _fits(name: str, host: str) -> bool:
    if is_address(name) and is_address(host):
        return ipaddress.ip_address(name) == ipaddress.ip_address(host)
    name, host = name.lower().rstrip("."), host.lower().rstrip(".")
    return name == host or (name.startswith("*.") and host.partition(".")[2] == name[2:] != "")


def _seconds(when: datetime) -> int:
    return (when - _EPOCH) // timedelta(seconds=1)


def day(seconds: int) -> str:
    """Return the day of a time, as UTC has it.

    >>> day(0), day(253402300799)
    ('1970-01-01', '9999-12-31')
    """
    return f"{_EPOCH + timedelta(seconds=seconds):%Y-%m-%d}"


def told(certificate: Certificate) -> str:
    """Return a certificate in one line."""
    names = f", for {', '.join(certificate.names)}" if certificate.names else ""
    return f"{certificate.subject}, {day(certificate.begins)} to {certificate.until}{names}"
