"""The host's half of the second door: the certificates of a store, and a machine directory's copies.

docker-machine comes with those of the store, ``certs/`` beside ``machines/``; a shell that obeyed ``env``,
with the copies in the machine directory. Where the store is not at hand, the copies stand for it. Names in
config.json are not followed: they may lead anywhere. Source: commands/env.go and libmachine/cert.
"""

from __future__ import annotations

import os
from pathlib import Path

from b2dinspect.machine.files import SmallFile, read_small
from b2dinspect.records import NamedTuple
from b2dinspect.userdata.certificate import MAX_SIZE
from b2dinspect.userdata.pem import PemFile, parse_pem

FOLDER = "certs"
OTHERS = 0o077
"""Permission bits that nobody should have on a private key."""


class HostCertificates(NamedTuple):
    """What lies on the host; None for what does not.

    Attributes:
        authority: ca.pem, whom the client trusts.
        authority_key: ca-key.pem, which signs.
        client: cert.pem, which the client shows.
        client_key: key.pem.
        server: server.pem in the machine directory: what was uploaded, as far as the host knows.
        server_key: server-key.pem beside it.
    """

    authority: PemFile | None
    authority_key: PemFile | None
    client: PemFile | None
    client_key: PemFile | None
    server: PemFile | None
    server_key: PemFile | None

    @property
    def is_there(self) -> bool:
        """Whether there is anything of it."""
        return any(self)


def store_certificates(folder: Path) -> Path | None:
    """Return the folder of certificates that a machine directory's store has; None where there is none."""
    there = folder.absolute()
    found = there.parent.parent / FOLDER
    return found if there.parent.name == "machines" and found.is_dir() else None


def read_certificates_of(folder: Path) -> HostCertificates:
    """Return the certificates with which a client comes to a machine; never raises."""
    store = store_certificates(folder)
    places = [store, folder] if store is not None else [folder]

    def first(name: str) -> PemFile | None:
        return next((one for place in places if (one := _read(place / name)) is not None), None)

    return HostCertificates(
        first("ca.pem"),
        first("ca-key.pem"),
        first("cert.pem"),
        first("key.pem"),
        _read(folder / "server.pem"),
        _read(folder / "server-key.pem"),
    )


def _read(path: Path) -> PemFile | None:
    file = read_small(path, MAX_SIZE)
    return None if file is None else _parsed(file)


def _parsed(file: SmallFile) -> PemFile:
    found = PemFile(str(file.path), file.mode, file.data, error=file.error)
    return parse_pem(found, is_key=file.path.name.endswith("key.pem"))


def is_open(key: PemFile) -> bool:
    """Tell whether others may read a private key."""
    return os.name == "posix" and bool(key.mode & OTHERS)
