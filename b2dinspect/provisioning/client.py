"""A Docker client at a guest's TLS port: the real one where there is one, else Python's ssl."""

from __future__ import annotations

import json
import os
import socket
import ssl
import subprocess
import time
from pathlib import Path
from typing import Any, cast

from b2dinspect.errors import UserdataError
from b2dinspect.provisioning.programs import find_program
from b2dinspect.records import NamedTuple
from b2dinspect.userdata.certificate import read_certificates

TIME_LIMIT = 120.0
"""Seconds for one question; a guest in an emulator is slow."""
MAX_ANSWER = 1 << 20
NO_CHECK_TIME = 0x200000
"""X509_V_FLAG_NO_CHECK_TIME of OpenSSL: dates are judged here, by another clock than the system's."""
HOST = "127.0.0.1"


class Credentials(NamedTuple):
    """What a client shows and trusts, as files in PEM form.

    Attributes:
        authority: Who must have signed the server's certificate.
        certificate: The client's; None to show none.
        key: Its private key.
    """

    authority: Path
    certificate: Path | None = None
    key: Path | None = None

    @classmethod
    def of(cls, folder: Path) -> Credentials:
        """Return those of a folder as ``DOCKER_CERT_PATH`` names one."""
        return cls(folder / "ca.pem", folder / "cert.pem", folder / "key.pem")


class Met(NamedTuple):
    """What came of a question.

    Attributes:
        works: Whether the daemon answered.
        answer: What it said.
        reason: Why it did not, as the client says.
    """

    works: bool
    answer: dict[str, Any]
    reason: str = ""


def ask(
    port: int,
    credentials: Credentials,
    what: str = "version",
    *,
    clock: float | None = None,
    host: str = HOST,
) -> Met:
    """Ask a daemon for ``/version`` or ``/info`` through TLS.

    Args:
        port: On 127.0.0.1.
        credentials: The client's.
        what: The question.
        clock: Seconds since 1970 by which the server's dates are judged; None for the system's clock.
        host: For which name or address the server's certificate must be.
    """
    try:
        context = _context(credentials, clock)
        with (
            socket.create_connection((HOST, port), TIME_LIMIT) as plain,
            context.wrap_socket(plain, server_hostname=host) as secured,
        ):
            if clock is not None and not is_good(secured.getpeercert(binary_form=True), clock):
                return Met(False, {}, "certificate has expired or is not yet valid")
            request = f"GET /{what} HTTP/1.1\r\nHost: {HOST}\r\nConnection: close\r\n\r\n"
            secured.sendall(request.encode())
            return _answer(_read(secured, time.monotonic() + TIME_LIMIT))
    except ssl.SSLError as error:
        return Met(False, {}, getattr(error, "verify_message", "") or _alert(error))
    except (OSError, ValueError, RecursionError) as error:
        return Met(False, {}, str(error) or type(error).__name__)


def _context(credentials: Credentials, clock: float | None) -> ssl.SSLContext:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.load_verify_locations(cafile=credentials.authority)
    if credentials.certificate is not None:
        # OpenSSL would ask the terminal for a key's password, and wait
        context.load_cert_chain(credentials.certificate, credentials.key, password="")
    if clock is not None:
        context.verify_flags |= cast(ssl.VerifyFlags, NO_CHECK_TIME)
    return context


def is_good(der: bytes | None, clock: float) -> bool:
    """Tell whether a certificate is good at a time that is not the system's."""
    try:
        return read_certificates(ssl.DER_cert_to_PEM_cert(der or b"").encode())[0].is_good_at(clock)
    except UserdataError:
        return False


def _read(secured: ssl.SSLSocket, end: float) -> bytes:
    """Return what comes until a moment of ``time.monotonic``: a guest may send a byte a second for ever."""
    data = b""
    while len(data) < MAX_ANSWER and (piece := secured.recv(64 << 10)):
        data += piece
        if time.monotonic() > end:
            raise TimeoutError("the daemon's answer has no end")
    return data


def _answer(data: bytes) -> Met:
    head, _, body = data.partition(b"\r\n\r\n")
    if not head:
        return Met(False, {}, "the daemon hangs up without a word")
    if b"chunked" in head.lower():
        body = body.partition(b"\r\n")[2].rpartition(b"\r\n0")[0]
    document = json.loads(body)
    if not isinstance(document, dict):
        raise ValueError("the daemon's answer is no JSON object")
    status = head.split(b" ", 2)[1:2]
    return Met(status == [b"200"], document, "" if status == [b"200"] else str(document))


def _alert(error: ssl.SSLError) -> str:
    reason = error.reason or str(error)
    return (
        reason.lower().replace("_", " ").removeprefix("tlsv13 ").removeprefix("sslv3 ").removeprefix("tlsv1 ")
    )


def docker(
    port: int, credentials: Credentials, *arguments: str, work: Path, seconds: float = TIME_LIMIT
) -> Met | None:
    """Run the system's docker client against a daemon; None where there is no such program.

    Args:
        port: On 127.0.0.1.
        credentials: The client's; all three files.
        arguments: What to do.
        work: Where the client keeps its settings, instead of the user's own folder.
        seconds: The most that it may take.
    """
    program = find_program("docker")
    if program is None:
        return None
    words = command(port, credentials, *arguments)[1:]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("DOCKER_")}
    try:
        done = subprocess.run(
            [program, "--config", str(work / "docker-client"), *words],
            env=environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=seconds,
            check=False,
        )
    except subprocess.TimeoutExpired:
        return Met(False, {}, f"docker did not come to an end in {seconds:.0f} seconds")
    except OSError as error:
        return Met(False, {}, f"docker cannot be started: {error.strerror}")
    said = done.stdout.decode("utf-8", "replace").strip()
    complaint = done.stderr.decode("utf-8", "replace").strip()
    return Met(done.returncode == 0, {"said": said}, "" if done.returncode == 0 else complaint or said)


def command(port: int, credentials: Credentials, *arguments: str, host: str = HOST) -> tuple[str, ...]:
    """Return the docker command that a person can type.

    Args:
        port: On this machine.
        credentials: The client's; all three files.
        arguments: What to do.
        host: By which of this machine's names to come, as the server's certificate must have it.
    """
    return (
        "docker",
        *("-H", f"tcp://{host}:{port}", "--tlsverify"),
        *("--tlscacert", str(credentials.authority)),
        *("--tlscert", str(credentials.certificate)),
        *("--tlskey", str(credentials.key)),
        *arguments,
    )
