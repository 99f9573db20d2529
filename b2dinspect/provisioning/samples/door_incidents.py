"""Machines into which ssh comes and a Docker client does not: one for each thing that goes wrong.

Each is made by a whole provision, to the daemon, and one change behind it. Its certificates are of a pinned
time, which is over: what the doctor is expected to find, and as of when, is written by hand in
``sample_images/incidents/second-door/manifest.json``.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

from b2dinspect.identity import PINNED_TIME, Identities
from b2dinspect.newfile import NewFile
from b2dinspect.provisioning.disk.ext4 import PartitionSpan, Placed, editing, put
from b2dinspect.provisioning.disk.rework import rework
from b2dinspect.provisioning.host.certificates import (
    AUTHORITY,
    CERTIFICATES,
    CLIENT,
    SERVER,
    Issued,
    Maker,
    write_pair,
)
from b2dinspect.provisioning.samples.incidents import Incident, Tweak, make, move_config, pack
from b2dinspect.provisioning.simulated.root import HOME
from b2dinspect.provisioning.simulated.simulate import find_data_partition

FOLDER = "second-door"
ADDRESS = "192.168.99.100"
OLD_ADDRESS = "192.168.99.103"
DAY = 24 * 60 * 60
EARLIER = PINNED_TIME - 1100 * DAY
"""When a certificate was made that is over at the pinned time."""
SMALL_DISK = 1042 << 20
LOG_SIZE = 31 << 20
CONTAINER = "4f" * 32
LOG_LINE = b'{"log":"nobody reads this\\n","stream":"stdout","time":"2019-01-01T00:00:00Z"}\n'
LAST_WORDS = (
    b'time="2019-01-01T00:00:00Z" level=info msg="Starting up"\n'
    b'time="2019-01-01T00:00:01Z" level=fatal msg="Error starting daemon: write /var/lib/docker/tmp: '
    b'no space left on device"\n'
)
IncidentEdit = Callable[["Bench"], None]


class Bench:
    """A machine at work: the files of its directory, and those that go onto its disk.

    Args:
        folder: The machine directory.
        ids: For the time of what is written.
    """

    def __init__(self, folder: Path, ids: Identities) -> None:
        self.folder, self.ids = folder, ids
        self.authority = Issued(*(self.read(name) for name in AUTHORITY))
        self._files: dict[str, bytes] = {}
        self._folders: list[str] = []

    def read(self, name: str) -> bytes:
        """Return a file of the machine directory."""
        return (self.folder / name).read_bytes()

    def maker(self, now: float = PINNED_TIME) -> Maker:
        """Return what makes certificates at a time."""
        return Maker(self.ids, "docker", now)

    def server(self, address: str = ADDRESS, now: float = PINNED_TIME) -> None:
        """Give the machine a server certificate, in its directory and on its disk."""
        issued = self.maker(now).server(self.authority, self.folder.name, (address, "localhost"))
        write_pair(self.folder, SERVER, issued, force=True)
        for name, data in zip(SERVER, issued, strict=True):
            self.put(name, data)

    def put(self, name: str, data: bytes, folders: Sequence[str] = ()) -> None:
        """Put a file on the disk, by its path there or its name in boot2docker's folder."""
        self._files[name if "/" in name else f"{HOME}/{name}"] = data
        self._folders += folders

    def finish(self) -> None:
        """Write all of it to the disk."""
        with rework(self.folder / "disk.vmdk", self.ids) as disk:
            part = find_data_partition(disk)
            if part is not None and (self._files or self._folders):
                with editing(PartitionSpan(disk, part.offset, part.size), self.ids) as edits:
                    put(edits, [Placed(*item) for item in self._files.items()], self._folders)


def _server_expired(bench: Bench) -> None:
    bench.server(now=EARLIER)


def _authority_expired(bench: Bench) -> None:
    bench.authority = bench.maker(EARLIER).authority()
    write_pair(bench.folder, AUTHORITY, bench.authority, force=True)
    write_pair(bench.folder, CLIENT, bench.maker().client(bench.authority), force=True)
    bench.put("ca.pem", bench.authority.certificate)
    bench.server()


def _client_expired(bench: Bench) -> None:
    write_pair(bench.folder, CLIENT, bench.maker(EARLIER).client(bench.authority), force=True)


def _other_address(bench: Bench) -> None:
    bench.server(OLD_ADDRESS)


def _other_authority(bench: Bench) -> None:
    """Let the host have an authority that was made for another machine, of the same name."""
    other = bench.maker().authority("2")
    write_pair(bench.folder, AUTHORITY, other, force=True)
    write_pair(bench.folder, CLIENT, bench.maker().client(other), force=True)


def _other_key(bench: Bench) -> None:
    bench.put(SERVER[1], bench.read(CLIENT[1]))


def _profile_cut(bench: Bench) -> None:
    bench.put(
        "profile",
        b"\nEXTRA_ARGS='\n--label provider=virtualbox\n\n'\nCACERT=/var/lib/boot2docker/ca.pem\nDOCK",
    )


def _profile(old: bytes, new: bytes) -> IncidentEdit:
    def change(bench: Bench) -> None:
        from b2dinspect.userdata.daemon_profile import build_profile

        bench.put("profile", build_profile(["provider=virtualbox"], "overlay2").replace(old, new))

    return change


def _aufs(bench: Bench) -> None:
    _profile(b"overlay2", b"aufs")(bench)
    root = "var/lib/docker"
    layers = [f"{root}/{name}" for name in ("aufs", "aufs/diff", "aufs/layers", "overlay2", "overlay2/l")]
    bench.put(f"{root}/aufs/layers/{CONTAINER}", b"", layers)


def _full(bench: Bench) -> None:
    folders = [f"var/lib/docker/containers{end}" for end in ("", f"/{CONTAINER}")]
    log = LOG_LINE * (LOG_SIZE // len(LOG_LINE))
    bench.put(f"{folders[-1]}/{CONTAINER}-json.log", log, folders)
    bench.put(f"{HOME}/log/docker.log", LAST_WORDS, [f"{HOME}/log"])


def _tweak(change: IncidentEdit | None) -> Tweak:
    """Return what makes a machine one that lies by itself, with all its certificates, and then changes it."""

    def tweak(folder: Path) -> None:
        store = folder.parent.parent / CERTIFICATES
        shutil.copy2(store / AUTHORITY[1], folder / AUTHORITY[1])
        path = folder / "config.json"
        config = json.loads(path.read_bytes())
        config["Driver"]["IPAddress"] = ADDRESS
        options = config["HostOptions"]["AuthOptions"]
        for name, place in options.items():
            if isinstance(place, str) and place.startswith(str(store)):
                options[name] = str(folder / place.removeprefix(str(store)).lstrip("/\\"))
        path.write_text(json.dumps(config, indent=4))
        bench = Bench(folder, Identities.from_seed(f"incident {folder.name}"))
        bench.server()
        if change is not None:
            change(bench)
        bench.finish()

    return tweak


def _incident(name: str, story: str, change: IncidentEdit | None = None, **plan: int) -> Incident:
    return Incident(name, 0, story, tweak=_tweak(change), docker=True, **plan)  # type: ignore[arg-type]


DOOR_INCIDENTS = {
    incident.name: incident
    for incident in (
        _incident("door-open", "Nothing was wrong with this one, at its time."),
        _incident("server-expired", "x509: certificate has expired or is not yet valid", _server_expired),
        _incident("authority-expired", "regenerate-certs did not help.", _authority_expired),
        _incident("client-expired", "remote error: tls: bad certificate", _client_expired),
        _incident(
            "other-address",
            "x509: certificate is valid for 192.168.99.103, not 192.168.99.100",
            _other_address,
        ),
        _incident("other-authority", "x509: certificate signed by unknown authority", _other_authority),
        _incident("other-key", "tls: private key does not match public key", _other_key),
        _incident("profile-cut", "Cannot connect to the Docker daemon.", _profile_cut),
        _incident(
            "without-tls",
            "http: server gave HTTP response to HTTPS client",
            _profile(b"TLS=auto", b"TLS=no"),
        ),
        _incident("aufs-hidden", "My containers are gone since the upgrade.", _aufs),
        _incident("disk-full", "no space left on device", _full, size=SMALL_DISK),
    )
}


def make_door(incident: Incident, folder: Path) -> Path:
    """Make the machine directory of such an incident below ``folder``, and return it.

    Raises:
        UsageError: It exists.
        ToolError: ssh is missing.
    """
    from b2dinspect.newfile import NewFolder

    final = folder.absolute() / incident.name
    with NewFolder(final) as new, tempfile.TemporaryDirectory(prefix="b2d-incident-") as scratch:
        made = make(incident, Path(scratch) / "machines")
        move_config(made / "config.json", str(made), str(made.parent.parent), final)
        for path in made.iterdir():
            shutil.move(path, new.temporary / path.name)
    return final


def rebuild_door(folder: Path, names: tuple[str, ...] = ()) -> Iterator[tuple[str, int]]:
    """Make the packed ones again in a folder of ``folder``, and yield each file's name and size."""
    (folder / FOLDER).mkdir(parents=True, exist_ok=True)
    for incident in (DOOR_INCIDENTS[name] for name in names or DOOR_INCIDENTS):
        with tempfile.TemporaryDirectory(prefix="b2d-incident-") as scratch:
            packed = pack(make(incident, Path(scratch) / "machines"))
        with NewFile(folder / FOLDER / f"{incident.name}.tar.xz", force=True) as file:
            file.pwrite(0, packed)
        yield f"{FOLDER}/{incident.name}.tar.xz", len(packed)
