"""Certificates as docker-machine makes them: an authority and a client for a store, a server for a machine.

All are RSA 2048, signed with SHA-256, good from five minutes ago on for 1080 days, and say no more of anybody
than an organisation. Certificates get mode 0644 and keys 0600. Source: libmachine/cert/{bootstrap,cert}.go,
libmachine/provision/utils.go; Go, crypto/x509 for the order of extensions.
"""

from __future__ import annotations

import getpass
import ipaddress
import os
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from b2dinspect.errors import SourceError, UsageError
from b2dinspect.identity import Identities
from b2dinspect.newfile import NewFile
from b2dinspect.records import NamedTuple
from b2dinspect.userdata.certificate import (
    MAX_SIZE,
    VALID_DAYS,
    is_address,
    read_certificates,
    signature_fault,
)

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey
    from cryptography.hazmat.primitives.asymmetric.rsa import RSAPrivateKey

CERTIFICATES = "certs"
"""Folder of a store that holds what all its machines share."""
AUTHORITY = ("ca.pem", "ca-key.pem")
CLIENT = ("cert.pem", "key.pem")
SERVER = ("server.pem", "server-key.pem")
COPIED = ("ca.pem", "cert.pem", "key.pem")
"""What a machine directory gets a copy of."""
PUBLIC_MODE, PRIVATE_MODE = 0o644, 0o600
EARLIER = timedelta(minutes=5)
BITS = 2048
Role = Literal["authority", "client", "server"]
KEYS = Path(__file__).parents[1] / "samples" / "keys"


class Issued(NamedTuple):
    """A certificate and its private key, both as PEM."""

    certificate: bytes
    key: bytes


class Maker:
    """Makes certificates for one user, now or at a pinned time.

    Args:
        ids: With pinned ones, serials follow from them, the time is theirs, and keys are those for practice.
        user: Whose they are; by default the one who is logged in.
        now: Seconds since 1970; by default the identities' time.
        is_quick: Whether keys are of the quick kind that docker-machine never makes: for what is thrown away.
    """

    def __init__(
        self, ids: Identities, user: str = "", now: float | None = None, *, is_quick: bool = False
    ) -> None:
        self._ids, self._is_quick = ids, is_quick
        self.user = user or ("docker" if ids.is_pinned else _user())
        self._now = datetime.fromtimestamp(ids.time if now is None else now, UTC)

    def authority(self, name: str = "ca") -> Issued:
        """Return an authority of the user's, which signs itself."""
        return self._issue("authority", self.user, name, None, ())

    def again(self, key: bytes) -> Issued:
        """Return an authority that signs itself with a key that is there."""
        return self._issue("authority", self.user, "", None, (), key)

    def client(self, authority: Issued, name: str = "client") -> Issued:
        """Return the certificate with which the user's docker comes to every machine."""
        return self._issue("client", f"{self.user}.<bootstrap>", name, authority, ())

    def server(self, authority: Issued, machine: str, hosts: Sequence[str], name: str = "server") -> Issued:
        """Return a machine's certificate.

        Args:
            authority: Who signs it.
            machine: Its name.
            hosts: Addresses and names that it is to be good for.
            name: Of the key among those for practice.
        """
        return self._issue("server", f"{self.user}.{machine}", name, authority, hosts)

    def _issue(
        self,
        role: Role,
        organisation: str,
        name: str,
        authority: Issued | None,
        hosts: Sequence[str],
        old_key: bytes = b"",
    ) -> Issued:
        from cryptography import x509
        from cryptography.hazmat.primitives.hashes import SHA256
        from cryptography.hazmat.primitives.serialization import (
            Encoding,
            NoEncryption,
            PrivateFormat,
            load_pem_private_key,
        )
        from cryptography.x509.oid import NameOID

        key: Any = (
            load_pem_private_key(old_key, None, unsafe_skip_rsa_key_validation=True)
            if old_key
            else self._key(name)
        )
        subject = x509.Name([x509.NameAttribute(NameOID.ORGANIZATION_NAME, organisation)])
        issuer, signer = subject, key
        if authority is not None:
            issuer = x509.load_pem_x509_certificate(authority.certificate).subject
            loaded: Any = load_pem_private_key(authority.key, None, unsafe_skip_rsa_key_validation=True)
            signer = loaded
        begins = self._now.replace(second=0, microsecond=0) - EARLIER
        builder = (
            x509.CertificateBuilder()
            .subject_name(subject)
            .issuer_name(issuer)
            .public_key(key.public_key())
            .serial_number(self._serial(f"{role} {organisation}"))
            .not_valid_before(begins)
            .not_valid_after(begins + timedelta(days=VALID_DAYS))
        )
        for extension, is_critical in _extensions(role, hosts):
            builder = builder.add_extension(extension, critical=is_critical)
        pem = builder.sign(signer, SHA256()).public_bytes(Encoding.PEM)
        made, above = (
            read_certificates(one)[0] for one in (pem, authority.certificate if authority else pem)
        )
        if fault := signature_fault(made, above):
            raise UsageError(f"what the authority's key signs is no good: {fault}")
        return Issued(
            pem,
            key.private_bytes(Encoding.PEM, PrivateFormat.TraditionalOpenSSL, NoEncryption()),
        )

    def _serial(self, name: str) -> int:
        return self._ids.uuid(f"serial of {name}").int or 1

    def _key(self, name: str) -> RSAPrivateKey | EllipticCurvePrivateKey:
        from cryptography.hazmat.primitives.asymmetric import ec
        from cryptography.hazmat.primitives.asymmetric.rsa import generate_private_key
        from cryptography.hazmat.primitives.serialization import load_pem_private_key

        if self._is_quick:
            return ec.generate_private_key(ec.SECP256R1())
        if not self._ids.is_pinned:
            return generate_private_key(65537, BITS)
        data = (KEYS / f"practice-{name}").read_bytes()
        practice: Any = load_pem_private_key(data, None, unsafe_skip_rsa_key_validation=True)
        return practice  # type: ignore[no-any-return]


def _extensions(role: Role, hosts: Sequence[str]) -> list[tuple[Any, bool]]:
    """Return what a certificate says besides, and whether that is critical, as Go orders it."""
    from cryptography import x509
    from cryptography.x509.oid import ExtendedKeyUsageOID

    is_client = role == "client"
    usage = x509.KeyUsage(
        digital_signature=True,
        content_commitment=False,
        key_encipherment=not is_client,
        data_encipherment=False,
        key_agreement=not is_client,
        key_cert_sign=role == "authority",
        crl_sign=False,
        encipher_only=False,
        decipher_only=False,
    )
    found: list[tuple[Any, bool]] = [(usage, True)]
    if role != "authority":
        use = ExtendedKeyUsageOID.CLIENT_AUTH if is_client else ExtendedKeyUsageOID.SERVER_AUTH
        found.append((x509.ExtendedKeyUsage([use]), False))
    found.append((x509.BasicConstraints(ca=role == "authority", path_length=None), True))
    if hosts:
        names: list[Any] = [x509.DNSName(host) for host in hosts if not is_address(host)]
        names += [x509.IPAddress(ipaddress.ip_address(host)) for host in hosts if is_address(host)]
        found.append((x509.SubjectAlternativeName(names), False))
    return found


def _user() -> str:
    """Return who is logged in, as docker-machine finds it: the name, without a Windows domain."""
    try:
        name = os.environ.get("USER") or os.environ.get("USERNAME") or getpass.getuser()
    except (KeyError, OSError):
        name = ""
    return name.rsplit("\\", 1)[-1][:64] or "unknown"


def write_pair(folder: Path, names: tuple[str, str], issued: Issued, *, force: bool = False) -> None:
    """Write a certificate and its key into a folder, each with its mode from the first byte on.

    Raises:
        UsageError: One of them exists and ``force`` is not given.
    """
    for name, data, mode in zip(names, issued, (PUBLIC_MODE, PRIVATE_MODE), strict=True):
        with NewFile(folder / name, force=force, mode=mode) as file:
            file.pwrite(0, data)


class Shared(NamedTuple):
    """What all machines of a store share: the authority, the client, and which of them is new."""

    authority: Issued
    client: Issued
    made: tuple[str, ...]


def shared(store: Path, maker: Maker) -> Shared:
    """Return the authority and the client of a store; what is missing is made, and what is there stays.

    Raises:
        UsageError: A key lies there without its certificate: docker-machine replaces none either.
    """
    folder = store / CERTIFICATES
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    made: list[str] = []
    authority = _kept(folder, AUTHORITY)
    if authority is None:
        authority = maker.authority()
        write_pair(folder, AUTHORITY, authority)
        made += AUTHORITY
    client = _kept(folder, CLIENT)
    if client is None:
        client = maker.client(authority)
        write_pair(folder, CLIENT, client)
        made += CLIENT
    return Shared(authority, client, tuple(made))


def _kept(folder: Path, names: tuple[str, str]) -> Issued | None:
    certificate, key = (folder / name for name in names)
    if not certificate.is_file():
        if key.exists():
            raise UsageError(f"{key} is there without {certificate.name}, and is not replaced")
        return None
    if not key.is_file():
        raise UsageError(f"{certificate} is there without {key.name}: nothing can be signed or shown with it")
    return Issued(_small(certificate), _small(key))


def _small(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(MAX_SIZE + 1)
    except OSError as error:
        raise SourceError(f"{path}: {error.strerror}") from error
    if len(data) > MAX_SIZE:
        raise UsageError(f"{path}: larger than any certificate or key")
    return data
