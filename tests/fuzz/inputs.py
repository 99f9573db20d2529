"""Sound inputs, small ones: each function fills an empty folder and returns the file to change."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import io
import json
import shutil
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.oracles import run
from tests.packers import zstd

ROOT = Path(__file__).parents[2]
SAMPLES = ROOT / "sample_images"
KEYS = ROOT / "b2dinspect/provisioning/samples/keys"
MIB = 1 << 20


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


def raw(folder: Path, guest: str = "minikube", state: str = "provisioned") -> Path:
    return _write(folder / "disk.img", _disk(guest, state))


def sample(folder: Path, name: str) -> Path:
    import gzip

    return _write(folder / name, gzip.decompress((SAMPLES / f"{name}.gz").read_bytes()))


def _converted(folder: Path, form: str, suffix: str, *options: str, target: str = "") -> Path:
    disk = raw(folder)
    out = folder / f"disk.{suffix}"
    given = [word for option in options for word in ("-o", option)] if options[:1] != ("-c",) else [*options]
    run("qemu-img", "convert", "-f", "raw", "-O", form, *given, disk, out)
    disk.unlink()
    return folder / target if target else out


def descriptor(folder: Path) -> Path:
    """A flat VMDK, whose descriptor is a file of text."""
    return _converted(folder, "vmdk", "vmdk", "subformat=monolithicFlat")


def chain(folder: Path) -> Path:
    base = _converted(folder, "qcow2", "qcow2")
    base.rename(folder / "base.qcow2")
    run("qemu-img", "create", "-q", "-f", "qcow2", "-b", "base.qcow2", "-F", "qcow2", folder / "disk.qcow2")
    return folder / "disk.qcow2"


def pieces(folder: Path) -> Path:
    """A disk cut into three; the first is changed."""
    disk = _disk("minikube", "fresh")[: 3 * MIB]
    for number in range(3):
        _write(folder / f"disk.00{number + 1}", disk[number * MIB : (number + 1) * MIB])
    return folder / "disk.001"


def logical(folder: Path) -> Path:
    """Partitions in an extended one, one behind the other."""
    path = _write(folder / "disk.img", bytes(16 * MIB))
    table = b"label: dos\n2048,2048\n8192,,E\n10240,2048\n14336,2048\n18432,2048,82\n"
    run("sfdisk", "-q", path, input=table)
    return path


def foreign(folder: Path, kind: str) -> Path:
    """A filesystem that is told, and not read."""
    path = folder / "disk.img"
    with path.open("wb") as file:
        file.truncate(320 * MIB if kind == "xfs" else 128 * MIB)
    run(f"mkfs.{kind}", "-q", "-L", "boot2docker", path)
    return path


def old_vdi(folder: Path) -> Path:
    """The oldest header, which no program of today writes."""
    from b2dinspect.containers.vdi.layout import HEADER_0_1
    from tests.containers.handmade import FREE, make_vdi

    disk = _disk("minikube", "fresh")
    blocks = [disk[:MIB], FREE, disk[-MIB:]]
    (folder / "disk.vdi").write_bytes(make_vdi(blocks, layout=HEADER_0_1))
    return folder / "disk.vdi"


def vdi_child(folder: Path) -> Path:
    """A block of its own above a parent in the same folder."""
    from tests.evidence.handmade import base_vdi, differencing_vdi

    base_vdi(folder / "base.vdi")
    differencing_vdi(folder / "child.vdi", folder / "base.vdi")
    return folder / "child.vdi"


def vhd_child(folder: Path) -> Path:
    """Some sectors of its own above a parent that is named twice."""
    from b2dinspect.containers.vhd.layout import DIFFERENCING
    from tests.containers.handmade import FREE, VHD_UUID, make_vhd

    block = _disk("minikube", "fresh")[: 64 << 10]
    (folder / "base.vhd").write_bytes(make_vhd([block, block]))
    name = ".\\base.vhd".encode("utf-16-le")
    places = [(b"W2ru", len(name), 2048), (b"W2ku", len(name), 2560)]
    header: dict[str, Any] = {
        "parent_uuid": VHD_UUID,
        "locators": places,
        "parent_name": "base.vhd".encode("utf-16-be").ljust(512, b"\0"),
    }
    behind = name.ljust(512, b"\0") * 2
    child = make_vhd(
        [block, FREE], bitmaps={0: b"\xaa" * 16}, header=header, behind_table=behind, type=DIFFERENCING
    )
    (folder / "child.vhd").write_bytes(child)
    return folder / "child.vhd"


def vhdx_child(folder: Path) -> Path:
    """The same, of VHDX."""
    from tests.containers.handmade import make_vhdx

    block = _disk("minikube", "fresh")[:MIB]
    (folder / "base.vhdx").write_bytes(make_vhdx([block, block]))
    names = {"relative_path": ".\\base.vhdx", "parent_linkage": "{00000000-0000-0000-0000-000000002222}"}
    child = make_vhdx([block, 0], bitmaps={0: b"\xaa" * 256}, flags=2, parent_names=names)
    (folder / "child.vhdx").write_bytes(child)
    return folder / "child.vhdx"


def ova(folder: Path) -> Path:
    disk = _converted(folder, "vmdk", "vmdk", "subformat=streamOptimized")
    (folder / "box.ovf").write_text("<Envelope/>")
    with tarfile.open(folder / "box.ova", "w", format=tarfile.USTAR_FORMAT) as archive:
        archive.add(folder / "box.ovf", "box.ovf")
        archive.add(disk, "disk.vmdk")
    disk.unlink()
    return folder / "box.ova"


def packed(folder: Path, name: str) -> Path:
    import bz2
    import gzip
    import lzma

    data = _disk("minikube", "fresh")[: 2 * MIB]
    if name == "zst":
        packed = zstd(data)
    else:
        packed = {"gz": gzip.compress, "xz": lzma.compress, "bz2": bz2.compress}[name](data)
    path = folder / f"disk.img.{name}"
    path.write_bytes(packed)
    return path


def _incident(folder: Path, name: str) -> None:
    from b2dinspect.provisioning.samples.incidents import unpack

    unpack(SAMPLES / "incidents" / f"{name}.tar.xz", folder / ".unpacked")
    made = next(path.parent for path in (folder / ".unpacked").rglob("config.json"))
    for path in made.iterdir():
        path.rename(folder / path.name)
    shutil.rmtree(folder / ".unpacked")


def machine(folder: Path, target: str) -> Path:
    """A machine; where its private key is not the point, one of a kind that is proven quickly."""
    _incident(folder, "healthy-virtualbox")
    if target != "id_rsa":
        for name in ("id_rsa", "id_rsa.pub"):
            (folder / name).unlink()
        private_key(folder, "ecdsa", has_public=True)
    return folder / target


def snapshot(folder: Path) -> Path:
    """A machine whose disk has a child."""
    _incident(folder, "snapshot")
    return folder / "snapshot/snapshot.vbox"


def private_key(folder: Path, kind: str, *, has_public: bool = False) -> Path:
    """A key as docker-machine makes it (``pem``), or as ssh-keygen does."""
    path = folder / "id_rsa"
    if kind == "pem":
        path.write_bytes((KEYS / "practice-1").read_bytes())
    else:
        run("ssh-keygen", "-q", "-t", kind, "-N", "", "-C", "fuzz", "-f", path)
        if not has_public:
            path.with_suffix(".pub").unlink()
    return path


def key_lines(folder: Path) -> Path:
    owner = (KEYS / "owner.pub").read_bytes().strip()
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


def userdata(folder: Path) -> Path:
    """A fresh disk that is nothing but its tar."""
    path = folder / "disk.img"
    path.write_bytes(_disk("minikube", "fresh")[:8192])
    return path


def backup(folder: Path) -> Path:
    """Of two files."""
    from b2dinspect.provisioning.repair.backup import FileChange, Patch, write_backup

    changes = []
    for name in ("disk", "config.json"):
        (folder / name).write_bytes(b"OLD." * 64)
        patches = (Patch(0, b"OLD." * 2, b"NEW!" * 2), Patch(64, b"OLD.", b"NEW!"))
        changes.append(FileChange(folder / name, True, 256, 256, 0o644, 0o644, patches))
    write_backup(folder / "repair.b2dbackup", changes)
    return folder / "repair.b2dbackup"


def requests(folder: Path) -> Path:
    """Lines that somebody asks of the simulated guest."""
    (folder / ".ssh").mkdir()
    key_lines(folder / ".ssh")
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


def converted(folder: Path, words: tuple[str, ...]) -> Path:
    form, suffix, *options = words
    with contextlib.chdir(folder):  # a data file is named as it is given
        return _converted(folder, form, suffix, *options)


def extent(folder: Path, words: tuple[str, ...]) -> Path:
    made = converted(folder, words)
    return next(path for path in folder.iterdir() if path != made)


def docker(folder: Path) -> Path:
    """A disk with a data-root of Docker: a container, its log, an image, and volumes."""
    from b2dinspect.filesystems.ext4.writing.edits import Ext4Edits
    from b2dinspect.filesystems.ext4.writing.groups import Storage
    from b2dinspect.inspection.walk import inspect

    path = raw(folder)
    with inspect(str(path)) as facts, path.open("r+b") as file:
        assert facts.data is not None
        part = facts.data.volume.partition

        def pwrite(offset: int, data: bytes) -> None:
            file.seek(offset)
            file.write(data)

        edits = Ext4Edits(Storage(facts.container, part.offset, part.size, pwrite), 1_600_000_000)
        made: set[str] = set()
        for name, content in _data_root():
            *above, _ = name.split("/")
            for depth in range(1, len(above) + 1):
                if (place := "/".join(above[:depth])) not in made and not edits.exists(place.encode()):
                    edits.make_directory(place.encode())
                made.add(place)
            edits.write(name.encode(), content)
        edits.flush()
    disk = path.read_bytes()
    found = [(disk.find(content), len(content), name) for name, content in _data_root() if len(content) > 9]
    (folder / ".places").write_text(json.dumps([one for one in found if one[0] >= 0]))
    return path


def docker_file(folder: Path, name: str) -> Path:
    """One file of a data-root, as its reader gets it."""
    from tests.docker.handmade import podman_database
    from tests.docker.test_hostile import small_bolt

    contents = dict(_data_root())
    if name == "bolt":
        data = small_bolt()
    elif name == "sqlite":
        data = podman_database()
    elif name == "local log":
        data = b"".join(_frame(b"line %d" % number) for number in range(8))
    elif name == "tar-split":
        segment = {"type": 2, "payload": "AAAA", "position": 0}
        file = {"type": 1, "name": "bin/sh", "size": 2, "payload": "AA==", "position": 1}
        raw = {"type": 1, "name_raw": "/w==", "size": 0, "position": 2}
        data = b"".join(json.dumps(one).encode() + b"\n" for one in (segment, file, raw, segment))
    else:
        data = next(content for path, content in contents.items() if path.endswith(name))
    path = folder / "file"
    path.write_bytes(data)
    return path


def _frame(text: bytes) -> bytes:
    """An entry of the log driver ``local``."""
    body = b"\x0a\x06stdout\x10\xac\x02\x1a" + bytes([len(text)]) + text
    length = len(body).to_bytes(4, "big")
    return length + body + length


def certificate(folder: Path) -> Path:
    """A server's certificate, beside the authority that signed it, both without PEM around them."""
    from b2dinspect.userdata.certificate import read_certificates
    from tests.certificates import authority, server

    for name, one in (("authority", authority()), ("server", server())):
        (folder / name).write_bytes(read_certificates(one.certificate)[0].der)
    return folder / "server"


def door(folder: Path, target: str) -> Path:
    """A machine that was provisioned, with certificates."""
    _incident(folder, "second-door/door-open")
    return folder / target


def _data_root() -> Iterator[tuple[str, bytes]]:
    root, driver = "var/lib/docker", "overlay2"
    container, layer, cache = "c" * 64, "b" * 64, "d" * 64
    steps = [{"created": "2020-01-01T00:00:00Z", "created_by": "/bin/sh -c #(nop) CMD [sh]"}]
    config = {
        "architecture": "amd64",
        "config": {"Cmd": ["sh"], "Env": ["PATH=/bin"], "Labels": {"a": "b"}},
        "created": "2020-01-01T00:00:00Z",
        "history": steps,
        "rootfs": {"type": "layers", "diff_ids": [f"sha256:{layer}"]},
    }
    image = hashlib.sha256(json.dumps(config).encode()).hexdigest()
    tags = {"busybox": {"busybox:latest": f"sha256:{image}"}}
    state = {"Running": False, "ExitCode": 137, "StartedAt": "2020-01-02T00:00:00.5Z", "OOMKilled": True}
    mount = {"Type": "volume", "Name": "data", "Destination": "/data", "Driver": "local", "RW": True}
    document = {
        "ID": container,
        "Name": "/quiet_turing",
        "Created": "2020-01-02T00:00:00Z",
        "Path": "sh",
        "Args": ["-c", "true"],
        "Image": f"sha256:{image}",
        "Config": {"Image": "busybox", "Labels": {"x": "y"}},
        "Driver": driver,
        "State": {**state, "FinishedAt": "2020-01-03T00:00:00Z"},
        "MountPoints": {"/data": mount},
    }
    line = {"log": "hello\n", "stream": "stdout", "time": "2020-01-02T00:00:01.5Z"}
    database = f"{root}/image/{driver}"
    contents = {
        f"{root}/containers/{container}/config.v2.json": json.dumps(document),
        f"{root}/containers/{container}/hostconfig.json": json.dumps({"LogConfig": {"Type": "json-file"}}),
        f"{root}/containers/{container}/{container}-json.log": 20 * (json.dumps(line) + "\n"),
        f"{database}/repositories.json": json.dumps({"Repositories": tags}),
        f"{database}/imagedb/content/sha256/{image}": json.dumps(config),
        f"{database}/layerdb/sha256/{layer}/cache-id": cache,
        f"{database}/layerdb/sha256/{layer}/size": "1234",
        f"{database}/layerdb/sha256/{layer}/diff": f"sha256:{layer}",
        f"{database}/layerdb/mounts/{container}/mount-id": "e" * 64,
        f"{database}/layerdb/mounts/{container}/parent": f"sha256:{layer}",
        f"{root}/{driver}/{cache}/diff/bin/sh": "#!",
        f"{root}/{driver}/{'e' * 64}/diff/tmp/new": "text",
        f"{root}/{driver}/{'e' * 64}/lower": f"{cache}",
        f"{root}/volumes/data/_data/file": "content",
        f"{root}/volumes/data/opts.json": json.dumps({"o": "uid=1"}),
    }
    for name, text in contents.items():
        yield name, text.encode()
