"""The daemon's profile, ``/var/lib/boot2docker/profile``: shell assignments that its init script sources.

Source: docker-machine, libmachine/provision/boot2docker.go, GenerateDockerOptions; boot2docker's
/etc/init.d/docker, which sources it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from b2dinspect.records import NamedTuple

MAX_SIZE = 64 << 10
"""Bytes: what docker-machine writes has some 250."""
PATH = "var/lib/boot2docker/profile"
PORT = 2376
"""Of the daemon, behind TLS."""
WRITTEN = ("EXTRA_ARGS", "CACERT", "DOCKER_HOST", "DOCKER_STORAGE", "DOCKER_TLS", "SERVERKEY", "SERVERCERT")
"""What docker-machine assigns, in its order."""
LABEL = "--label"
"""The daemon's argument in front of each of its labels."""
_LABELS = re.compile(LABEL + r" ([\w.=/:@+-]{1,200})")
_ASSIGNED = re.compile(r"(?:export\s+)?(?P<quote>\"?)(?P<name>[A-Za-z_]\w*)=")


class DaemonProfile(NamedTuple):
    """What a profile says.

    Attributes:
        values: Names and what is assigned to them, in order.
        missing: Of ``WRITTEN``, what is not there.
        is_cut: Whether it ends within a quoted value, or before the last of what docker-machine writes.
    """

    values: tuple[tuple[str, str], ...]
    missing: tuple[str, ...]
    is_cut: bool

    def get(self, name: str) -> str:
        """Return what is assigned to a name at last; "" for nothing."""
        return dict(self.values).get(name, "")

    @property
    def labels(self) -> list[str]:
        """The engine's labels, those that every shell takes as they are."""
        return _LABELS.findall(self.get("EXTRA_ARGS"))

    @property
    def has_tls(self) -> bool:
        """Whether the daemon asks for certificates: only ``no`` keeps its init script from it."""
        return self.get("DOCKER_TLS") != "no"


def build_profile(labels: Sequence[str], storage: str, port: int = PORT) -> bytes:
    """Return the profile that docker-machine writes.

    Args:
        labels: Of the engine, ``provider=virtualbox``.
        storage: The storage driver.
        port: Where the daemon is to listen.
    """
    home = "/var/lib/boot2docker"
    arguments = "".join(f"{LABEL} {label}\n" for label in labels)
    return (
        f"\nEXTRA_ARGS='\n{arguments}\n'\nCACERT={home}/ca.pem\nDOCKER_HOST='-H tcp://0.0.0.0:{port}'\n"
        f"DOCKER_STORAGE={storage}\nDOCKER_TLS=auto\nSERVERKEY={home}/server-key.pem\n"
        f"SERVERCERT={home}/server.pem\n\n"
    ).encode()


def parse_profile(data: bytes) -> DaemonProfile:
    """Return what a profile says; what is no assignment is passed over, and nothing is ever run."""
    text = data[:MAX_SIZE].decode("utf-8", "surrogateescape").replace("\r\n", "\n")
    values: list[tuple[str, str]] = []
    at, is_open = 0, False
    while at < len(text):
        found = _ASSIGNED.match(text, at)
        if found is None or text[at] in "\n#":
            at = _next_line(text, at)
            continue
        if found["quote"]:  # export "NAME=VALUE"
            end = text.find('"', found.end())
            value, at, is_open = text[found.end() : end if end >= 0 else None], max(end, at), end < 0
        else:
            value, at, is_open = _value(text, found.end())
        values.append((found["name"], value))
        at = _next_line(text, at)
    names = {name for name, _ in values}
    missing = tuple(name for name in WRITTEN if name not in names)
    is_prefix = bool(names) and missing == WRITTEN[len(WRITTEN) - len(missing) :] and bool(missing)
    return DaemonProfile(tuple(values), missing, is_open or is_prefix)


def _next_line(text: str, at: int) -> int:
    end = text.find("\n", at)
    return len(text) if end < 0 else end + 1


def _value(text: str, at: int) -> tuple[str, int, bool]:
    """Return one shell word from ``at`` on, where it ends, and whether a quote in it is never closed."""
    parts: list[str] = []
    while at < len(text) and not text[at].isspace():
        quote = text[at]
        if quote in "'\"":
            end = text.find(quote, at + 1)
            if end < 0:
                return "".join([*parts, text[at + 1 :]]), len(text), True
            parts.append(text[at + 1 : end])
            at = end + 1
        else:
            parts.append(quote)
            at += 1
    return "".join(parts), at, False
