"""Disks for the tests, made by the programs that make real ones: fdisk, mkswap, mke2fs, debugfs, qemu-img.

Every disk is a sparse file, made once a run (``tests/shared``). A test that wants a fault in it does not
copy it but looks at it through a patch: see ``look``.
"""

from __future__ import annotations

import atexit
import base64
import functools
import hashlib
import subprocess
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from b2dinspect.containers.raw.reader import RawContainer
from b2dinspect.containers.vdi.reader import VdiContainer
from b2dinspect.evidence.file import open_evidence
from b2dinspect.inspection.facts import Inspection
from b2dinspect.inspection.walk import inspect_disk
from b2dinspect.source import ByteSource, FileSource, PatchedSource, SliceSource
from b2dinspect.userdata.tarball import build_userdata
from tests.oracles import needs, run
from tests.shared import SHARED, new_path, once

GOLDEN = Path(__file__).parent / "data" / "golden"
PUB, PUB4096 = ((GOLDEN / f"rsa{bits}.pub").read_bytes() for bits in (2048, 4096))
TAR, TAR4096 = ((GOLDEN / f"rsa{bits}.userdata.tar").read_bytes() for bits in (2048, 4096))
OTHER_PUB = b"ssh-ed25519 " + base64.b64encode(b"\0\0\0\x0bssh-ed25519\0\0\0 " + bytes(32)) + b"\n"

MIB = 1 << 20
SWAP_START, DATA_START = 2048, 2050048
"""Sectors, as util-linux's fdisk lays out the two partitions of boot2docker from 18.09 on."""
OLD_SWAP_START, OLD_DATA_START, CYLINDER = 63, 1975995, 255 * 63
"""Sectors, as busybox's fdisk lays them out on a SATA disk for boot2docker up to 18.06."""
MINIKUBE_START = 2048
STARTS = {
    "automount": OLD_DATA_START,
    "by-hand": DATA_START,
    "autoformat": DATA_START,
    "minikube": MINIKUBE_START,
}
"""Where the data partition begins."""
Answers = tuple[tuple[str, ...], ...]
AUTOMOUNT_ANSWERS: Answers = (
    ("n", "p", "2", "", "+1000M", "w"),
    ("t", "82", "w"),
    ("n", "p", "1", "", "", "w"),
)
"""What automount types into fdisk, session by session (boot2docker v1.7.1 to v18.06)."""

LABEL = "boot2docker-data"
USERDATA = "var/lib/boot2docker/userdata.tar"
MINIKUBE_NAMES = ("minikube", "kubelet", "cni", "toolbox", "minishift", "containerd", "buildkit")

needs_disks = needs("fdisk", "busybox", "sfdisk", "mkswap", "mke2fs", "debugfs")


def make_disk(size: int, *pieces: tuple[int, bytes]) -> Path:
    """Return a sparse raw disk with ``pieces`` at their byte offsets."""
    path = new_path("disk.img")
    with path.open("wb") as file:
        file.truncate(size)
        for offset, data in pieces:
            file.seek(offset)
            file.write(data)
    return path


def make_ext(
    path: Path,
    size: int,
    *options: str,
    offset: int = 0,
    kind: str = "ext4",
    label: str = LABEL,
    files: Mapping[str, bytes | None] | None = None,
) -> None:
    """Make a filesystem of ``size`` bytes at ``offset`` of a file; a file of None is a directory."""
    if not path.exists():
        path.touch()
    with tempfile.TemporaryDirectory(dir=SHARED) as tree:
        for name, content in (files or {}).items():
            place = Path(tree, name)
            (place if content is None else place.parent).mkdir(parents=True, exist_ok=True)
            if content is not None:
                place.write_bytes(content)
        where = ["-E", f"offset={offset}"] if offset else []
        fixed = ["-q", "-F", "-t", kind, "-L", label, "-d", tree]
        run("mke2fs", *fixed, *where, *options, path, f"{size // 1024}k")


def change_ext(path: Path, *commands: str, offset: int = 0) -> None:
    """Run debugfs commands that write."""
    run("debugfs", "-w", "-f", "-", f"{path}?offset={offset}", input="\n".join(commands).encode() + b"\n")


def debugfs(path: Path, command: str, offset: int = 0) -> bytes:
    """Return what one debugfs command prints."""
    return run("debugfs", "-R", command, f"{path}?offset={offset}").stdout


def fdisk(path: Path, *commands: str) -> None:
    """Type commands into fdisk as the guests do."""
    run("fdisk", path, input="\n".join((*commands, "w", "")).encode())


def busybox_fdisk(path: Path, *sessions: tuple[str, ...], heads: int = 255, sectors: int = 63) -> None:
    """Type commands into busybox's fdisk as automount does, one session after the other.

    From 1.30 on it is told to reckon as it did before: in cylinders, and a million bytes to an M.
    """
    command = ["busybox", "fdisk", "-H", str(heads), "-S", str(sectors)]
    listed = run(*command, "-l", path).stdout
    cylinders = (1000 * 10**6 + heads * sectors * 256) // (heads * sectors * 512)
    for answers in sessions:
        typed = list(answers)
        if b"Units: sectors" in listed:
            typed = ["u", *(answer.replace("+1000M", f"+{cylinders}") for answer in answers)]
        text = "\n".join((*typed, "")).encode()
        subprocess.run(
            [*command, path], input=text, capture_output=True, check=False
        )  # a file is not read again


def sfdisk(path: Path, script: str) -> None:
    """Write a table beside what is on the disk already."""
    run("sfdisk", "--wipe", "never", "--quiet", path, input=script.encode())


def make_swap(path: Path, offset: int, size: int, label: str = "") -> None:
    """Make a swap area within a disk."""
    area = new_path("swap")
    with area.open("wb") as file:
        file.truncate(size)
    run("mkswap", *(["-L", label] if label else []), area)
    with area.open("rb") as made, path.open("r+b") as disk:
        disk.seek(offset)
        disk.write(made.read(65536))
    area.unlink()


@functools.cache
def fresh(tar: bytes = TAR) -> Path:
    """Return a disk as docker-machine makes it."""
    return make_disk(64 * MIB, (0, tar))


def provision(
    profile: str,
    *,
    size: int = 1100 * MIB,
    tar: bytes | None = TAR[:4096],
    label: str = LABEL,
    place: str = USERDATA,
    names: tuple[str, ...] | None = None,
    options: tuple[str, ...] = (),
    answers: Answers = AUTOMOUNT_ANSWERS,
) -> Path:
    """Return a fresh disk on which a guest of this generation did its work, by the same programs.

    Args:
        profile: The generation, or ``by-hand`` for somebody who repeats automount's steps with util-linux.
        size: Bytes.
        tar: What is in userdata.tar; None for no such file.
        label: Of the data partition.
        place: Where that file is.
        names: Directories in /var/lib besides.
        options: Of mke2fs, besides those of the generation.
        answers: What automount types into fdisk, session by session.
    """
    path = make_disk(size, (0, TAR))
    first = STARTS[profile]
    space = size - first * 512 - MIB
    if profile == "automount":
        busybox_fdisk(path, *answers)
        make_swap(path, OLD_SWAP_START * 512, (OLD_DATA_START - OLD_SWAP_START) * 512)
        space = (size // 512 // CYLINDER * CYLINDER - first) * 512
    elif profile == "by-hand":
        fdisk(path, "o", "n", "p", "2", "", "+1000M", "t", "82", "n", "p", "1", "", "")
        make_swap(path, SWAP_START * 512, 1000 * MIB)
    elif profile == "autoformat":
        fdisk(path, "g", "n", "2", "", "+1000M", "t", "19", "n", "1", "", "")
        make_swap(path, SWAP_START * 512, 1000 * MIB, "boot2dockerswap")
    else:
        fdisk(path, "g", "n", "1", "", "")
    if names is None:
        names = MINIKUBE_NAMES if profile == "minikube" else ("docker",)
    files = {f"var/lib/{name}": None for name in names} | ({} if tar is None else {place: tar})
    ratio = "2048" if profile == "minikube" else "8192"
    make_ext(path, space, "-i", ratio, *options, offset=first * 512, label=label, files=files)
    return path


@functools.cache
def provisioned(profile: str, **how: Any) -> Path:
    """Return the same, made once: for tests that only read or patch it."""
    told = hashlib.sha256(repr((profile, sorted(how.items()))).encode()).hexdigest()
    return once(f"disk-{told}", lambda: provision(profile, **how))


@functools.cache
def as_vdi(raw: Path) -> Path:
    """Return the disk as a VDI made by qemu-img, once."""

    def convert() -> Path:
        path = raw.with_suffix(".vdi")
        run("qemu-img", "convert", "-f", "raw", "-O", "vdi", raw, path)
        return path

    return once(f"vdi-{raw.parent.name}", convert)


@functools.cache
def open_file(path: Path) -> FileSource:
    """Return the file, opened once a session."""
    source = open_evidence(str(path))
    atexit.register(source.close)
    return source


Patch = tuple[int, bytes]


def patched(path: Path, *patches: Patch, size: int | None = None) -> ByteSource:
    """Return a file with other bytes at some offsets, cut after ``size`` bytes."""
    source: ByteSource = open_file(path)
    for offset, data in patches:
        source = PatchedSource(source, offset, data)
    return source if size is None else SliceSource(source, 0, size)


def look(path: Path, *patches: Patch, size: int | None = None) -> Inspection:
    """Inspect a disk, with patches to its file."""
    file = patched(path, *patches, size=size)
    container = VdiContainer(file) if path.suffix == ".vdi" else RawContainer(file)
    return inspect_disk(container, str(path))


def userdata_tar(first: bytes, second: bytes) -> bytes:
    """Return a userdata tar whose authorized_keys and authorized_keys2 differ."""
    one, two = (2048 + -(-len(content) // 512) * 512 for content in (first, second))
    return build_userdata(first)[:one] + build_userdata(second)[two:]
