"""New certificates for a machine whose second door is shut: on its disk, in its directory, and in its store.

The server's certificate is always made anew; the client's and the authority's only when they are not good any
more. An authority that has only expired is signed again with the same key, so that what it signed elsewhere
stays its own.
"""

from __future__ import annotations

import re
import time
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path
from typing import Literal

from b2dinspect.doctor.case import Case
from b2dinspect.doctor.door import Door, open_door
from b2dinspect.errors import FilesystemError, NotFoundError, UsageError
from b2dinspect.filesystems.ext4 import Ext4
from b2dinspect.filesystems.ext4.claims import other_claims
from b2dinspect.identity import Identities
from b2dinspect.inspection.volumes import Volume
from b2dinspect.machine.certificates import FOLDER, read_certificates_of, store_certificates
from b2dinspect.machine.folder import looks_like_machine
from b2dinspect.machine.places import find_machines
from b2dinspect.provisioning.disk.ext4 import PartitionSpan, Placed, editing, put
from b2dinspect.provisioning.disk.overlay import Overlay
from b2dinspect.provisioning.host.certificates import PRIVATE_MODE, PUBLIC_MODE, Issued, Maker
from b2dinspect.provisioning.repair.backup import FileChange
from b2dinspect.provisioning.repair.hostfiles import whole_file
from b2dinspect.provisioning.repair.merge import Lost, WouldLoseError
from b2dinspect.provisioning.repair.replace import check_writable
from b2dinspect.provisioning.simulated.root import HOME
from b2dinspect.records import NamedTuple
from b2dinspect.userdata.certificate import read_certificates, signature_fault
from b2dinspect.userdata.daemon_profile import WRITTEN, DaemonProfile, build_profile
from b2dinspect.userdata.pem import PemFile

AUTHORITY_KEY = "ca-key.pem"
"""Names the authority's key, as one that may go."""
STORAGE = "overlay2"


class HostFile(NamedTuple):
    """A file of the host's.

    Attributes:
        where: Whether it is the store's, ``certs/``, or the machine directory's.
        name: Of the file.
        data: Its new content.
    """

    where: Literal["store", "machine"]
    name: str
    data: bytes

    @property
    def mode(self) -> int:
        """Permission bits that it must have."""
        return PRIVATE_MODE if self.name.endswith("key.pem") else PUBLIC_MODE


class NewCertificates(NamedTuple):
    """What is to lie where.

    Attributes:
        on_disk: Files of the data partition.
        on_host: Files of the store and the machine directory.
        how: What is done, a line for each thing.
        shut_out: Other machines of the store whose certificates do not fit any more.
        authority: Whom the client is to trust.
        client: What it is to show.
        address: Where it looks for the machine.
    """

    on_disk: tuple[Placed, ...]
    on_host: tuple[HostFile, ...]
    how: tuple[str, ...]
    shut_out: tuple[Path, ...]
    authority: bytes
    client: Issued
    address: str


def plan_certificates(case: Case, drop: tuple[str, ...] = (), now: float | None = None) -> NewCertificates:
    """Work out which certificates a machine needs, and make them.

    Args:
        case: The machine and its disk.
        drop: What may go; ``ca-key.pem`` among it, where a new authority must take its place.
        now: Seconds since 1970; None for the clock.

    Raises:
        UsageError: There is no machine directory, no address, or no data partition.
        WouldLoseError: A key of the authority's would go that nobody named.
    """
    if case.machine is None:
        raise UsageError("certificates belong to a machine: name its directory, not only its disk")
    now = time.time() if now is None else now
    door = open_door(case, now)
    work = _Work(door, Maker(Identities(), _user(door), now), now)
    authority = work.authority(drop)
    client = work.client(authority)
    work.server(authority)
    work.profile()
    return NewCertificates(
        tuple(work.on_disk),
        tuple(work.on_host),
        tuple(work.how),
        tuple(_shut_out(case.machine.folder, authority, now)) if work.has_new_authority else (),
        authority.certificate,
        client,
        door.address or work.hosts()[0],
    )


def _user(door: Door) -> str:
    """Return whose the certificates are: the name that the old ones have."""
    held = door.host.authority
    subject = held.certificate.subject if held and held.certificate else ""
    return subject.removeprefix("O=") if re.fullmatch(r"O=[\w .@+-]{1,64}", subject) else ""


class _Work:
    """Certificates in the making. Each method decides about one pair and notes what it did."""

    def __init__(self, door: Door, maker: Maker, now: float) -> None:
        self._door, self._maker, self._now = door, maker, now
        self.on_disk: list[Placed] = []
        self.on_host: list[HostFile] = []
        self.how: list[str] = []
        self.has_new_authority = False

    def authority(self, drop: tuple[str, ...]) -> Issued:
        """Return the authority: the store's own while it is good, else signed again, else a new one."""
        held, key = self._door.host.authority, self._door.host.authority_key
        fits = bool(held and key and held.public and held.public == key.public)
        if held is not None and key is not None and fits:
            if self._is_good(held) and held.certificate and held.certificate.is_authority:
                issued = Issued(held.data, key.data)
                self._keep(issued, ("ca.pem",))
                return issued
            self.has_new_authority = True
            issued = self._maker.again(key.data)
            self.how.append("ca.pem signed again with the same ca-key.pem, which stays as it is")
            self._place(issued, ("ca.pem",))
            return issued
        if key is not None and AUTHORITY_KEY not in drop:
            why = key.error or "it does not belong to ca.pem"
            raise WouldLoseError(
                [Lost(AUTHORITY_KEY, f"{key.place}: {why}")], "a new authority takes its place"
            )
        self.has_new_authority = True
        issued = self._maker.authority()
        self.how.append("a new authority: ca.pem and ca-key.pem")
        self._place(issued, ("ca.pem", AUTHORITY_KEY))
        return issued

    def client(self, authority: Issued) -> Issued:
        """Return the client's certificate: the store's own while it is good, else a new one."""
        held, key = self._door.host.client, self._door.host.client_key
        if held is not None and key is not None and self._is_good(held) and held.certificate:
            above = read_certificates(authority.certificate)[0]
            if held.public == key.public and not signature_fault(held.certificate, above):
                issued = Issued(held.data, key.data)
                self._keep(issued, ("cert.pem", "key.pem"))
                return issued
        issued = self._maker.client(authority)
        self.how.append("a new client certificate: cert.pem and key.pem")
        self._place(issued, ("cert.pem", "key.pem"))
        return issued

    def server(self, authority: Issued) -> None:
        """Make the server's certificate, and put it with its authority on the disk."""
        machine = self._door.case.machine
        name = machine.name if machine else ""
        hosts = self.hosts()
        issued = self._maker.server(authority, name, hosts)
        self.how.append(f"a new server certificate for {', '.join(hosts)}: server.pem and server-key.pem")
        for file, data in zip(("server.pem", "server-key.pem"), issued, strict=True):
            self.on_host.append(HostFile("machine", file, data))
        files = {
            "ca.pem": authority.certificate,
            "server.pem": issued.certificate,
            "server-key.pem": issued.key,
        }
        self.on_disk += [Placed(f"{HOME}/{file}", data) for file, data in files.items()]

    def profile(self) -> None:
        """Write the daemon's profile, where it is missing, cut, or without TLS."""
        disk = self._door.disk
        if disk is None or disk.trouble:
            raise UsageError(
                "there is no data partition that can be read, to put certificates on"
                + (f": {disk.trouble}" if disk else "")
            )
        old = disk.profile
        if old is not None and not old.is_cut and old.has_tls:
            return
        machine = self._door.case.machine
        labels = [f"provider={machine.driver}"] if machine and machine.driver else []
        self.on_disk.append(
            Placed(f"{HOME}/profile", build_profile((old.labels if old else []) or labels, _storage(old)))
        )
        lost = [name for name, _ in old.values if name not in WRITTEN] if old else []
        gone = f"; without {', '.join(lost[:5])}, which were in it" if lost else ""
        self.how.append(f"the daemon's profile anew{gone}")

    def hosts(self) -> list[str]:
        """Return the names of the server: its address, localhost, and those of its old certificate."""
        held = self._door.server or self._door.host.server
        old = held.certificate.names if held and held.certificate else ()
        found = [name for name in dict.fromkeys((self._door.address, *old, "localhost")) if name]
        named = [name for name in found if re.fullmatch(r"[A-Za-z0-9.:*-]{1,253}", name)]
        if named == ["localhost"]:
            raise UsageError(
                "config.json knows no address of this machine: nothing to make a certificate for"
            )
        return named

    def _is_good(self, held: PemFile) -> bool:
        return held.certificate is not None and held.certificate.is_good_at(self._now)

    def _place(self, issued: Issued, names: tuple[str, ...]) -> None:
        """Note new files of the store, and copies in the machine directory but of the authority's key."""
        for name, data in zip(names, issued, strict=False):
            self.on_host.append(HostFile("store", name, data))
            if name != AUTHORITY_KEY:
                self.on_host.append(HostFile("machine", name, data))

    def _keep(self, issued: Issued, names: tuple[str, ...]) -> None:
        """Note the machine directory's copies of files that stay."""
        self.on_host += [HostFile("machine", name, data) for name, data in zip(names, issued, strict=False)]


def _storage(old: DaemonProfile | None) -> str:
    found = old.get("DOCKER_STORAGE") if old else ""
    return found if re.fullmatch(r"[a-z0-9]{2,20}", found) else STORAGE


def _shut_out(folder: Path, authority: Issued, now: float) -> Iterator[Path]:
    """Yield the other machines of a store whose certificates the authority makes worthless."""
    if folder.absolute().parent.name != "machines":
        return
    above = read_certificates(authority.certificate)[0]
    for other in find_machines((str(folder.absolute().parent),)):
        if other.resolve() == folder.resolve() or not looks_like_machine(other):
            continue
        held = read_certificates_of(other)
        server = held.server.certificate if held.server else None
        if server is not None and (signature_fault(server, above) or not server.is_good_at(now)):
            yield other


def put_certificates(
    overlay: Overlay, volume: Volume, new: NewCertificates, ids: Identities | None = None
) -> None:
    """Put new certificates into the data partition.

    Raises:
        UsageError: The filesystem cannot be changed, or another file claims the same blocks; says why.
    """
    check_writable(volume)
    part = volume.partition
    place = PartitionSpan(overlay, part.offset, part.size)
    try:
        with Ext4(place.storage()) as files:
            for file in new.on_disk:
                with suppress(NotFoundError):
                    inode = files.find(file.path.encode()).node.inode
                    if other := next(other_claims(place.storage(), inode), ""):
                        text = f"/{file.path} is not written: {other} claims blocks of it too"
                        raise UsageError(f"{text}; run e2fsck on a copy")
        with editing(place, ids or Identities()) as edits:
            for file in new.on_disk:
                if edits.exists(file.path.encode()):
                    edits.check_marked(file.path.encode())
            put(edits, new.on_disk)
    except FilesystemError as error:
        raise UsageError(f"{part.place}: {error.message}") from error


def host_files(new: NewCertificates, folder: Path, at: Path | None = None) -> Iterator[FileChange]:
    """Yield the changes of files on the host.

    Args:
        new: What is to lie there.
        folder: The machine directory.
        at: A copy of it, where everything is to go; None for the machine and its store.
    """
    store = (store_certificates(folder) if at is None else None) or at or folder
    done: set[Path] = set()
    for file in new.on_host:
        path = (store if file.where == "store" else at or folder) / file.name
        if path in done:
            continue
        done.add(path)
        change = whole_file(path, file.data, file.mode)
        yield change._replace(new_mode=file.mode)


def backup_folder(folder: Path) -> Path:
    """Return where a backup lies that covers a machine directory and its store's certificates."""
    store = store_certificates(folder)
    return store.parent if store is not None and store.name == FOLDER else folder
