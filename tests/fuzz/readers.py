"""Who reads an input: a command, or the readers that it is made of."""

from __future__ import annotations

import contextlib
import functools
import itertools
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from tests.fuzz.edits import Content
from tests.fuzz.trial import Probe

ROOT = Path(__file__).parents[2]
OWNER = ROOT / "b2dinspect/provisioning/samples/keys/owner.pub"
USERDATA = "/var/lib/boot2docker/userdata.tar"


@functools.cache
def _command() -> Any:
    from typer.main import get_command

    from b2dinspect.cli.main import app

    return get_command(app)


def _cli(*words: str, raw: bool = False) -> Probe:
    """Return a command; ``@`` stands for the input, ``%`` for the folder that it lies in."""

    def perform(folder: Path) -> None:
        names = {
            "@": str(folder / (folder / ".target").read_text()),
            "%": str(folder),
            "+": str(folder / ".out"),
        }
        try:
            _command().main([names.get(word, word) for word in words], "b2dinspect", standalone_mode=False)
        finally:
            shutil.rmtree(folder / ".out", ignore_errors=True)
            (folder / ".out").unlink(missing_ok=True)

    return Probe(" ".join(words), perform, raw)


def _layers(folder: Path) -> None:
    """Read the container, its tables, the partition table and the superblocks: all below the files."""
    from b2dinspect.evidence.chain import open_disk
    from b2dinspect.inspection.volumes import volumes_of
    from b2dinspect.partitions import read_table
    from b2dinspect.source import read_lenient

    with open_disk(str(folder / (folder / ".target").read_text())) as opened:
        disk = opened.container
        disk.describe()
        for header in disk.headers:
            header.fields()
        for extent in itertools.islice(disk.extents(), 1000):
            if extent.kind == "data" and not extent.offset % 0x10000:
                read_lenient(disk, extent.offset, 512)
        volumes_of(disk, read_table(disk))


def _inspected(folder: Path) -> None:
    """Read all that there is to read of a disk, and draw nothing."""
    from b2dinspect.doctor.disk import examine
    from b2dinspect.inspection.walk import inspect
    from b2dinspect.views.annotation import all_headers

    with inspect(str(folder / (folder / ".target").read_text())) as facts:
        examine(facts)
        for header in all_headers(facts):
            header.fields()
        for _ in itertools.islice(facts.container.extents(), 10_000):
            pass


def _parsed(name: str, read: Callable[[bytes], object], weight: float) -> Probe:
    """Return a reader alone, which is a hundred times as fast as a command."""

    def perform(folder: Path) -> None:
        read((folder / (folder / ".target").read_text()).read_bytes())

    return Probe(name, perform, weight=weight)


def _lines(data: bytes) -> None:
    from b2dinspect.userdata.authorized_keys import parse

    parse(data)


def _private(data: bytes) -> None:
    from b2dinspect.userdata.private_key import is_private_key, public_line

    if is_private_key(data):
        public_line(data)


def _tar(data: bytes) -> None:
    from b2dinspect.userdata.tarball import read_tar

    read_tar(Content(data))


def _settings(data: bytes) -> None:
    from b2dinspect.evidence.vbox import read_settings

    found = read_settings(Content(data))
    found.live, found.stale  # noqa: B018


def _machine(folder: Path) -> None:
    from b2dinspect.machine.config import read_config
    from b2dinspect.machine.folder import open_machine
    from b2dinspect.machine.keys import read_keys

    found = read_config(folder)
    list(found.key_candidates())
    read_keys(folder)
    open_machine(folder)


def _backup(folder: Path) -> None:
    from b2dinspect.provisioning.repair.backup import undo

    for name in ("disk", "config.json"):
        (folder / name).write_bytes(b"NEW!" * 64)
    undo(folder / "repair.b2dbackup")


def _requests(folder: Path) -> None:
    from b2dinspect.provisioning.simulated.sshd import GuestCommands

    guest = GuestCommands(folder, ("docker", "staff", 1000, 50), "demo")
    data = (folder / "requests").read_bytes()
    for line in data.split(b"\n")[:40]:
        status, output = guest.run(line.decode("utf-8", "replace"))
        assert isinstance(status, int)
        output.encode()  # what cannot be sent ends the connection


def _bolt(data: bytes) -> None:
    from b2dinspect.docker.bolt import Bolt, Bucket

    def walk(bucket: Bucket) -> None:
        for _, value in bucket.items():
            if isinstance(value, Bucket):
                walk(value)

    walk(Bolt(data).root)


def _document(data: bytes) -> None:
    from b2dinspect.docker.files import parse_json

    with contextlib.suppress(ValueError):
        parse_json(data)


def _log(kind: str, data: bytes) -> None:
    from b2dinspect.docker.logs import DECODERS, timestamp

    class Nowhere:
        def complain(self, reason: str) -> None:
            assert reason

    for line in DECODERS[kind]([data[:1000], data[1000:]], Nowhere()):  # type: ignore[arg-type]
        timestamp(line.time)


def _notes(data: bytes) -> None:
    import binascii

    from b2dinspect.docker.tarsplit import _part

    for line in data.splitlines():
        with contextlib.suppress(ValueError, TypeError, KeyError, RecursionError, binascii.Error):
            _part(line)


def _sqlite(data: bytes) -> None:
    from types import SimpleNamespace

    from b2dinspect.docker.files import Files
    from b2dinspect.docker.podman import _Database

    class OneFile(Files):
        def __init__(self) -> None:
            super().__init__(None)  # type: ignore[arg-type]

        def read(self, path: bytes, most: int = 0) -> bytes | None:
            return data

        def entry(self, path: bytes) -> None:
            return None

    _Database(OneFile(), SimpleNamespace(path=b""))  # type: ignore[arg-type]


def _door(folder: Path) -> None:
    from b2dinspect.machine.certificates import is_open, read_certificates_of
    from b2dinspect.userdata.certificate import signature_fault

    found = read_certificates_of(folder)
    certificates = [one.certificate for one in found if one is not None and one.certificate is not None]
    for one in certificates:
        for other in certificates:
            signature_fault(one, other)
    [is_open(one) for one in found if one is not None]


def _certificates(folder: Path) -> None:
    import base64

    from b2dinspect.userdata.certificate import read_certificates, signature_fault, told

    def pem(name: str) -> bytes:
        body = base64.encodebytes((folder / name).read_bytes())
        return b"-----BEGIN CERTIFICATE-----\n" + body + b"-----END CERTIFICATE-----\n"

    (authority,) = read_certificates(pem("authority"))
    (found,) = read_certificates(pem((folder / ".target").read_text()))
    signature_fault(found, authority), signature_fault(authority, found)
    found.wrong_name("192.168.99.100"), found.is_good_at(1_600_000_000)
    told(found).encode("ascii", "backslashreplace")


COMMANDS = (
    *(_cli("show", "@"), _cli("show", "--headers", "@"), _cli("show", "--json", "--headers", "@")),
    *(_cli("keys", "@", raw=True), _cli("keys", "--fingerprints", "@"), _cli("diff", "@")),
    *(_cli("verify", "@"), _cli("verify", "--json", "@"), _cli("doctor", "@"), _cli("choice", "@")),
    *(_cli("logs", "@"), _cli("hexdump", "@"), _cli("hexdump", "--json", "@"), _cli("map", "@")),
    *(_cli("map", "--svg", "+", "@"), _cli("report", "@"), _cli("report", "--markdown", "@")),
    *(_cli("ls", "@"), _cli("ls", "@", "/var/lib/boot2docker"), _cli("cat", "@", USERDATA, raw=True)),
    *(_cli("get", "@", "/var/lib", "+"), _cli("show", "--prefer-redundant", "@")),
)
LAYERS, INSPECT = Probe("layers", _layers), Probe("inspect", _inspected)
IMAGE = (LAYERS._replace(weight=1000), INSPECT._replace(weight=60), *COMMANDS)
"""A command reads what ``inspect`` reads, and draws it: most inputs go to the readers alone."""
FILES = (LAYERS._replace(weight=100), INSPECT._replace(weight=100), *COMMANDS)
"""Of disks whose files are the point."""
DOCKER = (
    INSPECT._replace(weight=2),
    *(_cli("docker", name, "@") for name in ("ps", "images", "volumes")),
    *(_cli("docker", "ps", "@", "--json"), _cli("docker", "images", "@", "--json")),
    *(_cli("docker", "inspect", "@", "quiet_turing"), _cli("docker", "inspect", "@", "busybox")),
    *(_cli("docker", "rescue", "@", "+"), _cli("docker", "diff", "@", "quiet_turing")),
    *(_cli("docker", "history", "@", "busybox"), _cli("docker", "logs", "@", "quiet_turing", raw=True)),
)
PACKED = (LAYERS._replace(weight=4), _cli("show", "@"), _cli("keys", "@", raw=True))
MACHINE = (
    Probe("read machine", _machine, weight=200),
    *(_cli("doctor", "%"), _cli("doctor", "--json", "%"), _cli("show", "%"), _cli("report", "%")),
)
DOOR = (
    Probe("read machine's certificates", _door, weight=50),
    *(_cli("doctor", "%"), _cli("doctor", "--json", "%"), _cli("report", "%")),
)
KEY = (_cli("diff", "@", str(OWNER)), _cli("diff", "@", "@"))
PRIVATE, LINES = (_parsed("read key", _private, 40),), (_parsed("read lines", _lines, 40),)
TAR, SETTINGS = (_parsed("read tar", _tar, 2000),), (_parsed("read settings", _settings, 2000),)
DOCKER_FILES = {
    "config.v2.json": (_parsed("read JSON", _document, 1),),
    "sqlite": (_parsed("read SQLite", _sqlite, 1),),
    "bolt": (_parsed("read BoltDB", _bolt, 1),),
    "-json.log": (_parsed("read JSON log", functools.partial(_log, "json-file"), 1),),
    "local log": (_parsed("read local log", functools.partial(_log, "local"), 1),),
    "tar-split": (_parsed("read tar-split", _notes, 1),),
}
"""Files of a data-root, and who reads each alone."""
CERTIFICATE = (Probe("read certificate", _certificates),)
BACKUP, REQUESTS = (Probe("undo", _backup),), (Probe("requests", _requests),)
COMMAND_NAMES = frozenset(one.name for one in (*COMMANDS, *DOCKER[1:], *PACKED[1:], *MACHINE[1:], *KEY))
"""Probes that are a whole command."""
