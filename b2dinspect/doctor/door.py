"""The second door: why a Docker client does not come in though ssh does. Functions from facts to findings.

In the order in which a user meets them: the daemon must have room, a profile and a pair that fit; then the
client looks at the server's certificate, and the daemon at the client's. Messages are those of Go's
crypto/x509 and crypto/tls.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

from b2dinspect.doctor.case import Case
from b2dinspect.findings import Finding
from b2dinspect.inspection.daemon import DaemonFacts, read_daemon
from b2dinspect.machine.certificates import HostCertificates, is_open, read_certificates_of
from b2dinspect.records import NamedTuple
from b2dinspect.units import size as shown
from b2dinspect.userdata.certificate import day, signature_fault, told
from b2dinspect.userdata.pem import PemFile

NO_HOST = HostCertificates(None, None, None, None, None, None)
EXPIRED = "x509: certificate has expired or is not yet valid"
SOON = 30 * 24 * 60 * 60
"""Seconds before its end from which a certificate is worth a word."""
FATAL = (b"level=fatal", b"Error starting daemon", b"failed to start daemon", b"panic:", b"no space left")
IGNORES_AUFS = "autoformat"
"""The guest generation that does not use aufs, whatever the profile says: boot2docker 18.09 and later."""


class Door(NamedTuple):
    """The facts about the second door.

    Attributes:
        case: The machine and the disk.
        host: Certificates of the host.
        disk: What lies on the disk; None when there is no data partition that can be read.
        at: The time for which certificates are judged, seconds since 1970.
    """

    case: Case
    host: HostCertificates
    disk: DaemonFacts | None
    at: float

    @property
    def is_there(self) -> bool:
        """Whether anybody has ever built this door."""
        has_disk = self.disk is not None and self.disk.is_provisioned
        return has_disk or self.host.server is not None

    @property
    def server(self) -> PemFile | None:
        """The server's certificate: the disk's, or where no disk is at hand the machine directory's."""
        return self.disk.server if self.disk else self.host.server

    @property
    def address(self) -> str:
        """Where the client looks for the machine; "" when config.json does not say."""
        return self.case.machine.config.ip if self.case.machine else ""

    def certificates(self) -> Iterator[tuple[str, PemFile]]:
        """Yield every certificate that was found, and whose it is."""
        disk = self.disk
        for name, found in (
            ("the authority, on the host", self.host.authority),
            ("the client, on the host", self.host.client),
            ("the server, on the host", self.host.server),
            ("the authority, on the disk", disk.authority if disk else None),
            ("the server, on the disk", disk.server if disk else None),
        ):
            if found is not None and found.certificate is not None:
                yield name, found


Check = Callable[[Door], Iterator[Finding]]


def open_door(case: Case, at: float | None = None) -> Door:
    """Return the facts, which are read here.

    Args:
        case: The machine and its disk, open.
        at: Seconds since 1970; None for now.
    """
    host = read_certificates_of(case.machine.folder) if case.machine else NO_HOST
    disk = read_daemon(case.disk) if case.disk else None
    return Door(case, host, disk, time.time() if at is None else at)


def space(door: Door) -> Iterator[Finding]:
    """Say when nothing fits on the data partition any more, and what takes the room."""
    if door.disk is None or not door.disk.space.is_full:
        return
    found = door.disk.space
    most = ", ".join(
        f"{path.decode('utf-8', 'surrogateescape')} ({shown(taken)})" for path, taken in found.consumers
    )
    partly = "" if found.is_complete else ", as far as it was looked at"
    text = f"no space left on device: {shown(found.free)} of {shown(found.size)} are free"
    yield Finding("data-full", "error", f"{text}; most is taken by {most}{partly}" if most else text)


def profile(door: Door) -> Iterator[Finding]:
    """Say what is wrong with the daemon's profile."""
    disk = door.disk
    if disk is None or not door.is_there or disk.trouble:
        return
    if disk.profile is None:
        own = "; the daemon makes certificates of its own, which no client trusts" if disk.has_own else ""
        text = f"there is no /var/lib/boot2docker/profile: the daemon knows nothing of the certificates{own}"
        yield Finding("profile-missing", "error", text)
    elif disk.profile.is_cut:
        missing = f": {', '.join(disk.profile.missing)} missing" if disk.profile.missing else ""
        text = f"the daemon's profile was cut{missing}; its init script stops there, or starts without TLS"
        yield Finding("profile-cut", "error", text, disk.profile_offset)
    elif not disk.profile.has_tls:
        text = (
            "the profile says DOCKER_TLS=no: the daemon lets in everybody, and a client with certificates "
            "meets 'server gave HTTP response to HTTPS client'"
        )
        yield Finding("profile-without-tls", "error", text, disk.profile_offset)


def server(door: Door) -> Iterator[Finding]:
    """Say what keeps the daemon from using its certificate, and the client from taking it."""
    if not door.is_there:
        return
    if door.disk is not None and not door.disk.trouble:
        yield from _missing(door.disk)
        yield from _broken(door.disk.server, "server-certificate-broken")
        yield from _broken(door.disk.server_key, "server-key-broken")
        yield from _broken(door.disk.authority, "server-authority-broken")
        if _differ(door.disk.server, door.disk.server_key):
            text = "tls: private key does not match public key: server-key.pem belongs to another server.pem"
            yield _on("server-key-mismatch", "error", text, door.disk.server_key)
    found = door.server
    if found is None or found.certificate is None:
        return
    yield from _dates(door, found, "server-certificate-expired", "server-certificate-ends-soon")
    if door.address and (wrong := found.certificate.wrong_name(door.address)):
        text = f"{wrong}: the machine's address is another one than when its certificate was made"
        yield _on("server-certificate-names", "error", text, found)


def _missing(disk: DaemonFacts) -> Iterator[Finding]:
    names = ("ca.pem", "server.pem", "server-key.pem")
    files = (disk.authority, disk.server, disk.server_key)
    gone = [name for name, file in zip(names, files, strict=True) if file is None]
    if gone:
        text = f"open /var/lib/boot2docker/{gone[0]}: no such file or directory: the daemon does not start"
        yield Finding("server-certificate-missing", "error", text)


def authority(door: Door) -> Iterator[Finding]:
    """Say when the client trusts another authority than the one that signed the server's certificate."""
    trusted, found = door.host.authority, door.server
    if trusted is None or not door.is_there:
        return
    yield from _broken(trusted, "authority-broken")
    yield from _dates(door, trusted, "authority-expired", "authority-ends-soon")
    if found is not None and found.certificate is not None and trusted.certificates:
        faults = [signature_fault(found.certificate, one) for one in trusted.certificates]
        if all(faults):
            text = f"x509: certificate signed by unknown authority: server.pem: {faults[0]}"
            yield _on("authority-unknown", "error", text, trusted)
    key = door.host.authority_key
    if key is not None and is_open(key):
        text = f"ca-key.pem has mode {key.mode:04o}: whoever reads it can make certificates for all machines"
        yield _on("authority-key-open", "warning", text, key)


def client(door: Door) -> Iterator[Finding]:
    """Say what keeps the daemon from taking the client's certificate."""
    shows, key = door.host.client, door.host.client_key
    if shows is None or not door.is_there:
        return
    yield from _broken(shows, "client-certificate-broken")
    yield from _broken(key, "client-key-broken")
    if _differ(shows, key):
        text = "tls: private key does not match public key: key.pem belongs to another cert.pem"
        yield _on("client-key-mismatch", "error", text, key)
    yield from _dates(door, shows, "client-certificate-expired", "client-certificate-ends-soon")
    judges = door.disk.authority if door.disk else None
    if judges is not None and judges.certificates and shows.certificate is not None:
        faults = [signature_fault(shows.certificate, one) for one in judges.certificates]
        if all(faults):
            text = f"remote error: tls: bad certificate: the daemon does not take cert.pem: {faults[0]}"
            yield _on("client-certificate-unknown", "error", text, shows)
    if key is not None and is_open(key):
        text = f"key.pem has mode {key.mode:04o}: whoever reads it is root on every machine of this store"
        yield _on("client-key-open", "warning", text, key)


def daemon(door: Door) -> Iterator[Finding]:
    """Say what the daemon said last, and when it does not see what is there."""
    disk = door.disk
    if disk is None:
        return
    fatal = [line for line in disk.log if any(word in line for word in FATAL)]
    if fatal:
        words = fatal[-1].decode("utf-8", "surrogateescape")[:300]
        yield Finding("daemon-died", "warning", f"the daemon's last words in {disk.log_path}: {words}")
    if disk.profile is not None and "aufs" in (disk.profile.get("DOCKER_STORAGE"), *disk.storages):
        yield from _aufs(door, disk)


def _aufs(door: Door, disk: DaemonFacts) -> Iterator[Finding]:
    """Say when the images and containers of aufs are out of sight: boot2docker 18.09 ignores the profile."""
    said = disk.profile.get("DOCKER_STORAGE") if disk.profile else ""
    has_other = "overlay2" in disk.storages
    is_newer = _is_newer(door)
    if said != "aufs" or not (has_other or is_newer):
        return
    why = "an overlay2 folder beside it says that it ran"
    if is_newer and door.case.machine and door.case.machine.iso:
        why = f"the machine boots {door.case.machine.iso.volume_id}"
    text = (
        f"the profile says DOCKER_STORAGE=aufs, which boot2docker 18.09 and later ignore ({why}): images and "
        "containers of aufs are invisible to the daemon, and still on the disk"
    )
    yield Finding("profile-aufs", "warning", text, disk.profile_offset)


def _is_newer(door: Door) -> bool:
    iso = door.case.machine.iso if door.case.machine else None
    return iso is not None and iso.guest is not None and iso.guest.name == IGNORES_AUFS


def _dates(door: Door, found: PemFile, expired: str, soon: str) -> Iterator[Finding]:
    """Judge a certificate's dates, by the ids of what can be found."""
    certificate = found.certificate
    if certificate is None:
        return
    what = found.place.replace("\\", "/").rsplit("/", 1)[-1]
    if not certificate.is_good_at(door.at):
        span = f"{day(certificate.begins)} to {certificate.until}"
        text = f"{EXPIRED}: {what} was good from {span}, and it is {day(int(door.at))}"
        yield _on(expired, "error", text, found)
    elif certificate.ends - door.at < SOON:
        yield _on(soon, "info", f"{what} is good until {certificate.until} only", found)


def _broken(found: PemFile | None, name: str) -> Iterator[Finding]:
    if found is not None and found.error:
        yield _on(name, "error", f"{found.place} cannot be used: {found.error}", found)


def _differ(shown_file: PemFile | None, key: PemFile | None) -> bool:
    return bool(shown_file and key and shown_file.public and key.public and shown_file.public != key.public)


def _on(name: str, severity: str, text: str, found: PemFile | None) -> Finding:
    """Return a finding about a file, on the disk or on the host."""
    if found is None or found.place.startswith("/var/lib/boot2docker/"):
        return Finding(name, severity, text, found.offset if found else None)  # type: ignore[arg-type]
    return Finding(name, severity, text, None, "file", found.place)  # type: ignore[arg-type]


def until(found: PemFile | None) -> str:
    """Return the day on which a file's certificate ends; "" when it holds none."""
    return found.certificate.until if found and found.certificate else ""


CHECKS: tuple[Check, ...] = (space, profile, server, authority, client, daemon)
"""In the order in which a user meets what they find."""


def _space_seen(door: Door) -> str:
    found = door.disk.space if door.disk else None
    return f"{shown(found.free)} of {shown(found.size)} free" if found else ""


def _profile_seen(door: Door) -> str:
    found = door.disk.profile if door.disk else None
    if found is None:
        return ""
    storage, tls = found.get("DOCKER_STORAGE") or "no storage", found.get("DOCKER_TLS") or "auto"
    return f"{found.get('DOCKER_HOST') or 'no DOCKER_HOST'}, {storage}, DOCKER_TLS={tls}"


def _seen(found: PemFile | None) -> str:
    return told(found.certificate) if found and found.certificate else ""


def _daemon_seen(door: Door) -> str:
    disk = door.disk
    if disk is None or not (disk.hostname or disk.storages or disk.log):
        return ""
    parts = [f"hostname {disk.hostname}" if disk.hostname else "", ", ".join(disk.storages)]
    return ", ".join(part for part in (*parts, f"log {disk.log_path}" if disk.log else "") if part)


SEEN: dict[str, Callable[[Door], str]] = {
    "disk space": _space_seen,
    "profile": _profile_seen,
    "server certificate": lambda door: _seen(door.server),
    "authority": lambda door: _seen(door.host.authority or (door.disk.authority if door.disk else None)),
    "client certificate": lambda door: _seen(door.host.client),
    "daemon": _daemon_seen,
}
"""What is there, by link; "" for what could not be looked at."""
