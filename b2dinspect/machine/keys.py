"""The host's key pair: id_rsa and id_rsa.pub. Source: libmachine/ssh/keys.go, libmachine/ssh/client.go."""

from __future__ import annotations

import os
from pathlib import Path

from b2dinspect.errors import UserdataError
from b2dinspect.machine.files import SmallFile, read_small
from b2dinspect.machine.permissions import others
from b2dinspect.records import NamedTuple
from b2dinspect.userdata.authorized_keys import KeyLine, PublicKey, parse
from b2dinspect.userdata.private_key import is_encrypted, is_private_key, public_line

MAX_SIZE = 64 << 10
OTHERS = 0o077
"""Permission bits that ssh and libmachine forbid on a private key."""


class KeyFile(NamedTuple):
    """A key file.

    Attributes:
        file: The file itself.
        line: Its public key; None when it holds none that can be read.
        error: Why not.
        others: Who else may read it, on Windows.
        is_encrypted: Whether a private key needs a passphrase, for which docker-machine cannot ask.
    """

    file: SmallFile
    line: KeyLine | None
    error: str = ""
    others: tuple[str, ...] = ()
    is_encrypted: bool = False

    @property
    def identity(self) -> bytes:
        """The plain key blob; empty when there is none."""
        return self.line.key.identity if self.line and isinstance(self.line.key, PublicKey) else b""

    @property
    def is_open(self) -> bool:
        """Whether others may read it, which is forbidden for a private key."""
        return bool(self.others) or (os.name == "posix" and bool(self.file.mode & OTHERS))


class HostKeys(NamedTuple):
    """The host's half of the key pair; None for a file that is not there."""

    private: KeyFile | None
    public: KeyFile | None

    @property
    def identity(self) -> bytes:
        """The key that the host logs in with: the private file's, else the public one's."""
        for half in (self.private, self.public):
            if half and half.identity:
                return half.identity
        return b""

    @property
    def is_pair(self) -> bool:
        """Whether both files are there and belong together."""
        return bool(self.private and self.public and self.private.identity == self.public.identity)


def read_keys(folder: Path) -> HostKeys:
    """Return the key pair of a machine directory; never raises."""
    private = _private(folder / "id_rsa")
    if private is not None and (found := others(private.file.path)):
        private = private._replace(others=found)
    return HostKeys(private, _public(folder / "id_rsa.pub"))


def _private(path: Path) -> KeyFile | None:
    file = read_small(path, MAX_SIZE)
    if file is None or file.error:
        return file and KeyFile(file, None, file.error)
    if not file.data:
        return KeyFile(file, None, "is empty")
    if not is_private_key(file.data):
        return KeyFile(file, None, "is no private key")
    locked = is_encrypted(file.data)
    try:
        lines = parse(public_line(file.data))
    except UserdataError as error:
        return KeyFile(file, None, error.message, is_encrypted=locked)
    return KeyFile(file, next((line for line in lines if line.valid), None), is_encrypted=locked)


def _public(path: Path) -> KeyFile | None:
    file = read_small(path, MAX_SIZE)
    if file is None or file.error:
        return file and KeyFile(file, None, file.error)
    line = next((line for line in parse(file.data) if line.valid and line.key), None)
    return KeyFile(file, line, "" if line else "holds no public key")
