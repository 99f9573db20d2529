"""A PEM file that was found somewhere, and what it turned out to hold."""

from __future__ import annotations

from b2dinspect.errors import UserdataError
from b2dinspect.records import NamedTuple
from b2dinspect.userdata.certificate import Certificate, public_of, read_certificates


class PemFile(NamedTuple):
    """A certificate's file, or a private key's.

    Attributes:
        place: Where it is, as people are told it.
        mode: Permission bits.
        data: Its content.
        certificates: What certificates it holds; () for a key.
        public: The public half of what it holds, as ssh writes it; b"" when that is not known.
        error: Why it cannot be used; "" when it can.
        offset: Of its first byte on the virtual disk; None for a file of the host, or when that is not known.
    """

    place: str
    mode: int
    data: bytes
    certificates: tuple[Certificate, ...] = ()
    public: bytes = b""
    error: str = ""
    offset: int | None = None

    @property
    def certificate(self) -> Certificate | None:
        """The first certificate in it."""
        return self.certificates[0] if self.certificates else None


def parse_pem(found: PemFile, *, is_key: bool) -> PemFile:
    """Return a file with what it holds, or why it cannot be used; never raises."""
    if found.error:
        return found
    try:
        if is_key:
            return found._replace(public=public_of(found.data))
        certificates = read_certificates(found.data)
        return found._replace(certificates=certificates, public=certificates[0].public)
    except UserdataError as error:
        return found._replace(error=error.message)
