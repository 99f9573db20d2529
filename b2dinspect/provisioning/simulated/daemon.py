"""The simulated guest's Docker daemon: a TLS server on loopback with the certificates that lie on the disk.

It is played: it answers the few requests that ``docker version`` and ``docker info`` make, says so in its
answers, and runs nothing. Whoever comes must show a certificate of the authority on the disk.
"""

from __future__ import annotations

import json
import re
import socket
import ssl
import threading
import time
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, cast

from b2dinspect.errors import UserdataError
from b2dinspect.provisioning.client import NO_CHECK_TIME, is_good
from b2dinspect.provisioning.host.host import write_new
from b2dinspect.records import NamedTuple
from b2dinspect.userdata.certificate import public_of, read_certificates
from b2dinspect.userdata.daemon_profile import DaemonProfile, parse_profile

TIME_LIMIT = 10.0
"""Seconds for a client to shake hands, and for each of its requests."""
PARTING = 2.0
"""Seconds that a client has to read why it is refused."""
VERSION, API, OLDEST_API = "18.09.1", "1.39", "1.12"
PLAYED = "played by b2dprovision: no daemon runs here"
_KNOWN = re.compile(r"(?:/v1\.\d{1,2})?/(?P<what>_ping|version|info)")


class DaemonFiles(NamedTuple):
    """What the daemon's init script needs of ``/var/lib/boot2docker``; None for what is not there."""

    profile: bytes | None = None
    authority: bytes | None = None
    certificate: bytes | None = None
    key: bytes | None = None


class DoesNotStartError(Exception):
    """The daemon does not start; says why, as dockerd does."""


class PlayedDaemon:
    """A daemon that is up.

    Args:
        files: What lies on the disk.
        work: A private folder for the key while it is loaded.
        hostname: Of the machine.
        clock: Seconds since 1970 of the guest's clock; None for the system's.

    Attributes:
        port: TCP port on 127.0.0.1.

    Raises:
        DoesNotStartError: With these files dockerd does not start, or would listen without TLS.
    """

    def __init__(self, files: DaemonFiles, work: Path, hostname: str, clock: float | None = None) -> None:
        profile = parse_profile(files.profile or b"")
        context = _context(files, profile, work, clock)
        self._server = _Server(context, _facts(profile, hostname), clock)
        self.port: int = self._server.server_address[1]
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Close the port; stopping twice is harmless."""
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(TIME_LIMIT)


def _context(files: DaemonFiles, profile: DaemonProfile, work: Path, clock: float | None) -> ssl.SSLContext:
    """Return what the server shakes hands by."""
    if files.profile is None:
        raise DoesNotStartError("there is no profile")
    if profile.is_cut:
        raise DoesNotStartError("profile: syntax error: it is cut, and the init script ends there")
    if not profile.has_tls:
        raise DoesNotStartError("DOCKER_TLS=no: the daemon would listen without TLS, open to everybody")
    for name, data in zip(("ca.pem", "server.pem", "server-key.pem"), files[1:], strict=True):
        if data is None:
            raise DoesNotStartError(f"open /var/lib/boot2docker/{name}: no such file or directory")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    chain = work / "daemon.pem"
    chain.unlink(missing_ok=True)
    write_new(chain, b"\n".join((files.key or b"", files.certificate or b"")), 0o600)
    try:
        if read_certificates(files.certificate or b"")[0].public != public_of(files.key or b""):
            raise DoesNotStartError(
                "Could not load X509 key pair: tls: private key does not match public key"
            )
        context.load_cert_chain(chain)
        read_certificates(files.authority or b"")
        context.load_verify_locations(cadata=(files.authority or b"").decode("ascii"))
    except (ssl.SSLError, ValueError, UserdataError) as error:
        raise DoesNotStartError(f"Could not load X509 key pair: tls: {error}") from error
    finally:
        chain.unlink()
    context.verify_mode = ssl.CERT_REQUIRED
    if clock is not None:
        context.verify_flags |= cast(ssl.VerifyFlags, NO_CHECK_TIME)
    return context


class _Server(ThreadingHTTPServer):
    """Hands each client to a thread, which shakes hands with it first."""

    daemon_threads = True
    block_on_close = False

    def __init__(
        self, context: ssl.SSLContext, facts: dict[str, dict[str, Any]], clock: float | None
    ) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.context, self.facts, self.clock = context, facts, clock

    def finish_request(self, request: Any, client_address: Any) -> None:
        """Shake hands, and answer if that comes about."""
        request.settimeout(TIME_LIMIT)
        wrapped = self.context.wrap_socket(request, server_side=True, do_handshake_on_connect=False)
        with suppress(OSError), wrapped as secured:
            try:
                secured.do_handshake()
            except ssl.SSLError:
                _part(secured)
                return
            if self.clock is not None and not is_good(secured.getpeercert(binary_form=True), self.clock):
                return
            super().finish_request(cast(Any, secured), client_address)
            secured.settimeout(PARTING)
            with suppress(ValueError):
                secured.unwrap()

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Say nothing: what a client does wrong is told to that client."""


def _part(secured: ssl.SSLSocket) -> None:
    """Let a client read why it is refused: a port that is closed over unread bytes would take that back."""
    secured.shutdown(socket.SHUT_WR)
    end = time.monotonic() + PARTING
    while time.monotonic() < end and secured.recv(4096):
        pass


class _Handler(BaseHTTPRequestHandler):
    """Answers what ``docker version`` and ``docker info`` ask, and refuses all else."""

    protocol_version = "HTTP/1.1"
    timeout = TIME_LIMIT
    server_version = "Docker/played"
    sys_version = ""

    def do_GET(self) -> None:
        """Answer a question."""
        found = _KNOWN.fullmatch(self.path.partition("?")[0])
        if found is None:
            self._say(501, {"message": f"not in the simulated guest: {PLAYED}"})
        elif found["what"] == "_ping":
            self._send(200, b"OK", "text/plain; charset=utf-8")
        else:
            self._say(200, cast(_Server, self.server).facts[found["what"]])

    do_HEAD = do_GET  # noqa: N815

    def do_POST(self) -> None:
        """Refuse: nothing can be changed here."""
        self.close_connection = True
        self._say(501, {"message": f"not in the simulated guest: {PLAYED}"})

    do_PUT = do_DELETE = do_POST  # noqa: N815

    def _say(self, status: int, document: dict[str, Any]) -> None:
        self._send(status, json.dumps(document).encode(), "application/json")

    def _send(self, status: int, body: bytes, kind: str) -> None:
        self.send_response(status)
        for name, value in (
            ("Api-Version", API),
            ("Ostype", "linux"),
            ("Content-Type", kind),
            ("Content-Length", str(len(body))),
        ):
            self.send_header(name, value)
        self.end_headers()
        if self.command != "HEAD":
            self.wfile.write(body)

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the library's name
        """Write no log."""


def _facts(profile: DaemonProfile, hostname: str) -> dict[str, dict[str, Any]]:
    """Return what the daemon says of itself."""
    engine = {"ApiVersion": API, "MinAPIVersion": OLDEST_API, "Os": "linux", "Arch": "amd64"}
    component = {"Name": "Engine", "Version": VERSION, "Details": {**engine, "Note": PLAYED}}
    return {
        "version": {
            "Platform": {"Name": PLAYED},
            "Components": [component],
            "Version": VERSION,
            **engine,
            "GitCommit": "played",
            "GoVersion": "none",
            "KernelVersion": "played",
        },
        "info": {
            "ID": "PLAYED",
            "Name": hostname,
            "Containers": 0,
            "ContainersRunning": 0,
            "ContainersPaused": 0,
            "ContainersStopped": 0,
            "Images": 0,
            "Driver": profile.get("DOCKER_STORAGE"),
            "DriverStatus": [["Note", PLAYED]],
            "OperatingSystem": f"Boot2Docker {VERSION} ({PLAYED})",
            "OSType": "linux",
            "Architecture": "x86_64",
            "KernelVersion": "played",
            "ServerVersion": VERSION,
            "Labels": profile.labels,
            "NCPU": 1,
            "MemTotal": 0,
            "DockerRootDir": "/var/lib/docker",
            "SystemTime": time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()),
            "SecurityOptions": [],
            "Warnings": None,
        },
    }
