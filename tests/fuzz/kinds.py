"""The kinds of input: how a sound one is made, what in it is worth changing, and who reads it."""

from __future__ import annotations

import contextlib
import functools
import io
import itertools
import json
import os
import shutil
import tarfile
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, NamedTuple

from tests.fuzz.edits import MAX_GROWN, Content, Place
from tests.fuzz.trial import Probe
from tests.oracles import PATH, run

ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "sample_images"
MIB = 1 << 20
USERDATA = "/var/lib/boot2docker/userdata.tar"


class Kind(NamedTuple):
    """A kind of input.

    Attributes:
        name: Of the kind.
        make: Fills an empty folder with a sound input and returns the file to change.
        probes: Who reads it. The first is the quickest, and takes four inputs of five.
        is_text: Whether it is short, so that it may also grow.
        needs: Programs that make it.
        most: Bytes to which it may grow. A packed one grows a thousandfold, and to unpack it takes as long.
    """

    name: str
    make: Callable[[Path], Path]
    probes: Sequence[Probe]
    is_text: bool = False
    needs: tuple[str, ...] = ()
    most: int = MAX_GROWN

    @property
    def is_possible(self) -> bool:
        """Whether the programs are here."""
        return all(shutil.which(program, path=PATH) for program in self.needs)


# --- who reads ----------------------------------------------------------------------------------------------


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


IMAGE = (
    Probe("inspect", _inspected),
    *(_cli("show", "@"), _cli("show", "--headers", "@"), _cli("show", "--json", "--headers", "@")),
    *(_cli("keys", "@", raw=True), _cli("keys", "--fingerprints", "@"), _cli("diff", "@")),
    *(_cli("verify", "@"), _cli("verify", "--json", "@"), _cli("doctor", "@"), _cli("choice", "@")),
    *(_cli("logs", "@"), _cli("hexdump", "@"), _cli("hexdump", "--json", "@"), _cli("map", "@")),
    *(_cli("map", "--svg", "+", "@"), _cli("report", "@"), _cli("report", "--markdown", "@")),
    *(_cli("ls", "@"), _cli("ls", "@", "/var/lib/boot2docker"), _cli("cat", "@", USERDATA, raw=True)),
    *(_cli("get", "@", "/var/lib", "+"), _cli("show", "--prefer-redundant", "@")),
)
MACHINE = (_cli("doctor", "%"), _cli("doctor", "--json", "%"), _cli("show", "%"), _cli("report", "%"))
KEY = (
    _cli("diff", "@", str(ROOT / "b2dinspect/provisioning/samples/keys/owner.pub")),
    _cli("diff", "@", "@"),
)


def _parsed(name: str, read: Callable[[bytes], object]) -> Probe:
    """Return a reader alone, which is a hundred times as fast as a command."""
    return Probe(name, lambda folder: read((folder / (folder / ".target").read_text()).read_bytes()))


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
    from b2dinspect.provisioning.simulated.sshd import Commands

    guest = Commands(folder, ("docker", "staff", 1000, 50), "demo")
    data = (folder / "requests").read_bytes()
    for line in data.split(b"\n")[:40]:
        status, output = guest.run(line.decode("utf-8", "replace"))
        assert isinstance(status, int)
        output.encode()  # what cannot be sent ends the connection


# --- what they read -----------------------------------------------------------------------------------------


@functools.cache
def _disk(guest: str, state: str) -> bytes:
    """Return a small raw disk, made once for each process that makes inputs."""
    import tempfile

    from b2dinspect.cli.provision.main import app

    with tempfile.TemporaryDirectory() as folder:
        out = Path(folder, "disk.img")
        words = ["build", str(out), "--format", "raw", "--size", "24MiB", "--guest", guest, "--state", state]
        with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):
            app([*words, "--seed", "fuzz"], standalone_mode=False)
        return out.read_bytes()


def _write(path: Path, data: bytes) -> Path:
    with path.open("wb") as file:
        for at in range(0, len(data), 4096):
            if data[at : at + 4096].strip(b"\0"):
                file.seek(at)
                file.write(data[at : at + 4096])
        file.truncate(len(data))
    return path


def _raw(folder: Path, guest: str = "minikube", state: str = "provisioned") -> Path:
    return _write(folder / "disk.img", _disk(guest, state))


def _sample(folder: Path, name: str) -> Path:
    import gzip

    return _write(folder / name, gzip.decompress((SAMPLES / f"{name}.gz").read_bytes()))


def _converted(folder: Path, form: str, suffix: str, *options: str, target: str = "") -> Path:
    raw = _raw(folder)
    out = folder / f"disk.{suffix}"
    given = [word for option in options for word in ("-o", option)] if options[:1] != ("-c",) else [*options]
    run("qemu-img", "convert", "-f", "raw", "-O", form, *given, raw, out)
    raw.unlink()
    return folder / target if target else out


def _vmdk_whole(folder: Path) -> Path:
    """A flat VMDK, whose descriptor is a file of text."""
    return _converted(folder, "vmdk", "vmdk", "subformat=monolithicFlat")


def _chain(folder: Path) -> Path:
    base = _converted(folder, "qcow2", "qcow2")
    base.rename(folder / "base.qcow2")
    run("qemu-img", "create", "-q", "-f", "qcow2", "-b", "base.qcow2", "-F", "qcow2", folder / "disk.qcow2")
    return folder / "disk.qcow2"


def _ova(folder: Path) -> Path:
    disk = _converted(folder, "vmdk", "vmdk", "subformat=streamOptimized")
    (folder / "box.ovf").write_text("<Envelope/>")
    with tarfile.open(folder / "box.ova", "w", format=tarfile.USTAR_FORMAT) as archive:
        archive.add(folder / "box.ovf", "box.ovf")
        archive.add(disk, "disk.vmdk")
    disk.unlink()
    return folder / "box.ova"


def _packed(folder: Path, name: str) -> Path:
    import bz2
    import gzip
    import lzma

    data = _disk("minikube", "fresh")[: 2 * MIB]
    if name == "zst":
        import zstandard

        packed = zstandard.ZstdCompressor().compress(data)
    else:
        packed = {"gz": gzip.compress, "xz": lzma.compress, "bz2": bz2.compress}[name](data)
    path = folder / f"disk.img.{name}"
    path.write_bytes(packed)
    return path


def _incident(folder: Path, name: str, target: str) -> Path:
    from b2dinspect.provisioning.samples.incidents import unpack

    unpack(SAMPLES / "incidents" / f"{name}.tar.xz", folder / ".unpacked")
    made = next(path.parent for path in (folder / ".unpacked").rglob("config.json"))
    for path in made.iterdir():
        path.rename(folder / path.name)
    shutil.rmtree(folder / ".unpacked")
    return folder / target


def _key(folder: Path, kind: str) -> Path:
    path = folder / "id_rsa"
    if kind == "pem":
        path.write_bytes((ROOT / "b2dinspect/provisioning/samples/keys/practice-1").read_bytes())
    else:
        run("ssh-keygen", "-q", "-t", kind, "-N", "", "-C", "fuzz", "-f", path)
        path.with_suffix(".pub").unlink()
    return path


def _key_lines(folder: Path) -> Path:
    keys = ROOT / "b2dinspect/provisioning/samples/keys"
    owner = (keys / "owner.pub").read_bytes().strip()
    lines = [
        owner + b" me@host",
        b'from="10.0.0.*",command="echo \\"x\\"",no-pty ' + owner,
        b"# comment",
        b"",
    ]
    lines += [b'expiry-time="20300101",restrict ' + owner, b"ssh-ed25519 AAAA broken", owner + b"\r"]
    path = folder / "authorized_keys"
    path.write_bytes(b"\n".join(lines) + b"\n")
    return path


def _userdata(folder: Path) -> Path:
    """A fresh disk that is nothing but its tar."""
    path = folder / "disk.img"
    path.write_bytes(_disk("minikube", "fresh")[:8192])
    return path


def _backup_file(folder: Path) -> Path:
    from b2dinspect.provisioning.repair.backup import FileChange, Patch, write_backup

    changes = []
    for name in ("disk", "config.json"):
        (folder / name).write_bytes(b"OLD." * 64)
        patches = (Patch(0, b"OLD." * 2, b"NEW!" * 2), Patch(64, b"OLD.", b"NEW!"))
        changes.append(FileChange(folder / name, True, 256, 256, 0o644, 0o644, patches))
    write_backup(folder / "repair.b2dbackup", changes)
    return folder / "repair.b2dbackup"


def _request_file(folder: Path) -> Path:
    (folder / ".ssh").mkdir()
    _key_lines(folder / ".ssh")
    lines = [
        "ls -la",
        "cat .ssh/authorized_keys",
        "whoami",
        "id",
        "hostname",
        "true",
        "ls '/home/docker/a b'",
    ]
    (folder / "requests").write_text("\n".join([*lines, "cat ../../etc/passwd", "rm -rf /", "ls ~"]))
    return folder / "requests"


def _vhd_options(kind: str) -> str:
    return f"subformat={kind},force_size=on"


def _kinds() -> Iterator[Kind]:
    mkfs = ("mke2fs", "debugfs")
    make = functools.partial
    yield Kind("raw minikube: GPT, ext4, tar", _raw, IMAGE, needs=mkfs)
    yield Kind("raw fresh: marker, tar", make(_raw, state="fresh"), IMAGE)
    yield Kind("raw partitioned: GPT", make(_raw, state="partitioned"), IMAGE, needs=mkfs)
    for name in ("provisioned-automount", "provisioned-autoformat", "keys-differ", "magic-damaged"):
        what = {"provisioned-automount": ": MBR, swap, ext4", "provisioned-autoformat": ": GPT, swap, ext4"}
        yield Kind(f"VDI {name}{what.get(name, '')}", make(_sample, name=f"{name}.vdi"), IMAGE)
    conversions = {
        "VDI dynamic": ("vdi", "vdi"),
        "VDI static": ("vdi", "vdi", "static=on"),
        "VHD dynamic": ("vpc", "vhd", _vhd_options("dynamic")),
        "VHD fixed": ("vpc", "vhd", _vhd_options("fixed")),
        "VHDX dynamic": ("vhdx", "vhdx", "subformat=dynamic"),
        "VHDX fixed": ("vhdx", "vhdx", "subformat=fixed"),
        "VMDK monolithicSparse": ("vmdk", "vmdk", "subformat=monolithicSparse"),
        "VMDK streamOptimized": ("vmdk", "vmdk", "subformat=streamOptimized"),
        "VMDK twoGbMaxExtentSparse": ("vmdk", "vmdk", "subformat=twoGbMaxExtentSparse"),
        "qcow2 version 3": ("qcow2", "qcow2"),
        "qcow2 version 2": ("qcow2", "qcow2", "compat=0.10"),
        "qcow2 compressed": ("qcow2", "qcow2", "-c"),
        "qcow2 extended L2": ("qcow2", "qcow2", "extended_l2=on"),
        "qcow2 small clusters": ("qcow2", "qcow2", "cluster_size=512"),
        "qcow2 data file": ("qcow2", "qcow2", "data_file=data.raw"),
    }
    for name, words in conversions.items():
        change = make(_converted_as, words=words)
        yield Kind(name, change, IMAGE, needs=(*mkfs, "qemu-img"))
    extent = make(_extent, words=conversions["VMDK twoGbMaxExtentSparse"])
    yield Kind("VMDK extent of two", extent, IMAGE, needs=(*mkfs, "qemu-img"))
    yield Kind("qcow2 with a parent", _chain, IMAGE, needs=(*mkfs, "qemu-img"))
    yield Kind("OVA", _ova, IMAGE, needs=(*mkfs, "qemu-img"))
    yield Kind("VMDK descriptor", _vmdk_whole, IMAGE, True, needs=(*mkfs, "qemu-img"))
    for name in ("gz", "xz", "bz2", "zst"):
        yield Kind(
            f"packed {name}",
            make(_packed, name=name),
            (_cli("show", "@"), _cli("keys", "@", raw=True)),
            True,
            most=64 << 10,
        )
    yield Kind("userdata tar on a disk", _userdata, IMAGE, True)
    machine = Probe("read machine", _machine)
    for target in ("config.json", "id_rsa", "id_rsa.pub"):
        unpacked = make(_incident, name="healthy-virtualbox", target=target)
        yield Kind(f"machine's {target}", unpacked, MACHINE, True)
        yield Kind(f"machine's {target}, read", unpacked, (machine,), True)
    vbox = make(_incident, name="snapshot", target="snapshot/snapshot.vbox")
    yield Kind("machine's NAME.vbox", vbox, MACHINE, True)
    yield Kind("NAME.vbox, read", vbox, (_parsed("read settings", _settings),), True)
    for kind in ("pem", "ed25519", "ecdsa", "rsa"):
        needs = () if kind == "pem" else ("ssh-keygen",)
        private = make(_key, kind=kind)
        yield Kind(f"private key {kind}", private, KEY, True, needs)
        yield Kind(f"private key {kind}, read", private, (_parsed("read key", _private),), True, needs)
    yield Kind("authorized_keys", _key_lines, KEY, True)
    yield Kind("authorized_keys, read", _key_lines, (_parsed("read lines", _lines),), True)
    yield Kind("userdata tar, read", _userdata, (_parsed("read tar", _tar),), True)
    yield Kind("backup of a repair", _backup_file, (Probe("undo", _backup),), True)
    yield Kind("ssh requests", _request_file, (Probe("requests", _requests),), True)


def _converted_as(folder: Path, words: tuple[str, ...]) -> Path:
    form, suffix, *options = words
    with contextlib.chdir(folder):  # a data file is named as it is given
        return _converted(folder, form, suffix, *options)


def _extent(folder: Path, words: tuple[str, ...]) -> Path:
    made = _converted_as(folder, words)
    return next(path for path in folder.iterdir() if path != made)


KINDS = {kind.name: kind for kind in _kinds()}


# --- what is worth changing ---------------------------------------------------------------------------------


class Hot(NamedTuple):
    """What is worth changing in an image.

    Attributes:
        fields: Of all headers that are stored.
        stretches: Stretches that are not zeros, metadata first.
        gpts: Where GPT headers are.
    """

    fields: tuple[Place, ...]
    stretches: tuple[Place, ...]
    gpts: tuple[int, ...]


def hot_places(image: Path) -> Hot:
    """Return what is worth changing, as the commands themselves see the sound image."""
    from b2dinspect.errors import B2dError

    size = image.stat().st_size
    with image.open("rb") as file:

        def pread(offset: int, length: int) -> bytes:
            return os.pread(file.fileno(), length, offset)

        fields: list[Place] = []
        stretches = [Place(0, min(size, 4096), "head"), Place(max(0, size - 1024), min(size, 1024), "tail")]
        gpts: list[int] = []
        with contextlib.suppress(B2dError):
            found, virtual = _seen(image)
            fields += [one for one in found if one.offset + one.size <= size]
            gpts = [one.offset for one in found if one.name == "GPT signature"]
            stretches += virtual
        step = max(4096, size // 8192 // 4096 * 4096)
        stored = [at for at in range(0, size, step) if pread(at, min(step, 4096)).strip(b"\0")]
        stretches += [Place(at, min(4096, size - at), "stored") for at in stored[:400]]
    return Hot(tuple(fields), tuple(stretches), tuple(gpts))


def _seen(image: Path) -> tuple[list[Place], list[Place]]:
    from b2dinspect.inspection.walk import inspect
    from b2dinspect.views.annotation import all_headers

    places: list[Place] = []
    stretches: list[Place] = []
    with inspect(str(image)) as facts:
        for header in all_headers(facts):
            base = header.offset if header.space == "file" else facts.container.locate(header.offset)
            if base is None:
                continue
            for field in header.fields():
                is_gpt = field.offset == 0 and field.value in (
                    b"EFI PART",
                    int.from_bytes(b"EFI PART", "little"),
                )
                places.append(
                    Place(base + field.offset, max(1, field.size), "GPT signature" if is_gpt else field.name)
                )
            stretches.append(Place(base, len(header.data), header.name))
        for extent in facts.container.extents():
            start = extent.file_offset
            if extent.kind == "data" and start is not None and len(stretches) < 200:
                stretches.append(Place(start, min(extent.length, 4096), "block"))
    return places, 4 * stretches


def save_hot(hot: Hot, path: Path) -> None:
    path.write_text(json.dumps(hot))


def load_hot(path: Path) -> Hot:
    fields, stretches, gpts = json.loads(path.read_text())
    return Hot(tuple(Place(*one) for one in fields), tuple(Place(*one) for one in stretches), tuple(gpts))
