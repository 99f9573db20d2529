"""The contract of everybody who opens: as many descriptors, children and temporary files after as before."""

from __future__ import annotations

import os
import shutil
import subprocess
import tarfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

import b2dinspect as b2d
from b2dinspect.errors import B2dError
from b2dinspect.evidence.chain import open_disk
from b2dinspect.identity import Identities
from b2dinspect.provisioning.disk.convert import convert
from tests.cli.helpers import MANIFEST, PROGRAM, SAMPLES, USERDATA_PATH, environment, invoke, unpacked
from tests.disks import MIB, needs_disks, provisioned
from tests.evidence.handmade import differencing_vdi
from tests.incidents import NAMES, incident
from tests.oracles import PATIENCE

DESCRIPTORS = Path("/proc/self/fd")
SOURCE = "provisioned-minikube.vdi"
UNUSED = 5000 << 20
"""Bytes: a place on that disk of which nothing depends."""

pytestmark = pytest.mark.skipif(not DESCRIPTORS.exists(), reason="this system does not list descriptors")


@contextmanager
def nothing_is_left(what: object) -> Iterator[None]:
    before = open_files()
    yield
    assert open_files() == before, what


def open_files() -> set[str]:
    """Return every open descriptor with what it is of."""
    found = set()
    for one in DESCRIPTORS.iterdir():
        with suppress(OSError):  # the one that lists the folder
            found.add(f"{one.name} {one.readlink()}")
    return found


# --- disks ---


def a_packed_sample(folder: Path) -> Path:
    return SAMPLES / f"{SOURCE}.gz"


def a_chain(folder: Path) -> Path:
    shutil.copy(unpacked(SOURCE), folder / "0.vdi")
    for number in range(1, 4):
        differencing_vdi(folder / f"{number}.vdi", folder / f"{number - 1}.vdi", UNUSED)
    return folder / "3.vdi"


def a_chain_without_its_base(folder: Path) -> Path:
    top = a_chain(folder)
    (folder / "0.vdi").unlink()
    return top


def converted(folder: Path, subformat: str) -> Path:
    """Return a small disk as a VMDK: a report hashes every byte of a flat one."""
    with open_disk(str(provisioned("minikube", size=64 * MIB))) as opened:
        convert(opened.container, folder / "disk.vmdk", "vmdk", Identities(), subformat=subformat)
    return folder / "disk.vmdk"


def a_descriptor(folder: Path) -> Path:
    return converted(folder, "monolithicFlat")


def a_descriptor_without_its_extent(folder: Path) -> Path:
    path = converted(folder, "monolithicFlat")
    (folder / "disk-flat.vmdk").unlink()
    return path


def an_ova(folder: Path) -> Path:
    disk = converted(folder, "streamOptimized")
    (folder / "machine.ovf").write_text("<Envelope/>")
    with tarfile.open(folder / "machine.ova", "w", format=tarfile.USTAR_FORMAT) as archive:
        archive.add(folder / "machine.ovf", "machine.ovf")
        archive.add(disk, "disk1.vmdk")
    return folder / "machine.ova"


def a_cut_ova(folder: Path) -> Path:
    whole = an_ova(folder)
    os.truncate(whole, whole.stat().st_size // 2)
    return whole


def settings_alone(folder: Path) -> Path:
    """NAME.vbox of a snapshot: without the machine's folder its parent is out of bounds."""
    return next(incident("snapshot").rglob("*.vbox"))


def a_machine(folder: Path) -> Path:
    return incident("snapshot")


def settings_of_nothing(folder: Path) -> Path:
    (folder / "a.vbox").write_text("<VirtualBox/>")
    return folder / "a.vbox"


def a_cut_gzip(folder: Path) -> Path:
    (folder / "cut.vdi.gz").write_bytes((SAMPLES / f"{SOURCE}.gz").read_bytes()[:-1000])
    return folder / "cut.vdi.gz"


def a_broken_header(folder: Path) -> Path:
    data = bytearray(unpacked(SOURCE).read_bytes()[:4096])
    data[72:76] = bytes(4)
    (folder / "broken.vdi").write_bytes(data)
    return folder / "broken.vdi"


SOUND: tuple[Callable[[Path], Path], ...] = (*(a_packed_sample, a_chain, a_descriptor, an_ova, a_machine),)
BROKEN: tuple[Callable[[Path], Path], ...] = (
    *(a_chain_without_its_base, a_descriptor_without_its_extent, a_cut_ova),
    *(settings_alone, settings_of_nothing, a_cut_gzip, a_broken_header),
)
SLOW = (a_packed_sample, a_cut_gzip)
VMDKS = (a_descriptor, a_descriptor_without_its_extent, an_ova, a_cut_ova)
DISKS = [
    pytest.param(
        make,
        id=make.__name__,
        marks=[needs_disks] * (make in VMDKS) + [pytest.mark.slow] * (make in SLOW),
    )
    for make in (*SOUND, *BROKEN)
]


def commands(disk: Path, out: Path) -> Iterator[tuple[object, ...]]:
    yield from ((name, disk) for name in ("show", "keys", "diff", "verify", "logs", "doctor", "choice"))
    yield from ((name, disk) for name in ("hexdump", "map", "report"))
    yield ("hexdump", disk, "--at", "superblock")
    yield ("show", disk, "--json", "--headers")
    yield ("diff", disk, disk)
    yield ("ls", disk, "/var/lib")
    yield ("cat", disk, "/nothing")
    yield ("cat", disk, USERDATA_PATH)
    yield ("get", disk, USERDATA_PATH, out / "got")
    yield ("map", disk, "--svg", out / "map.svg")
    yield ("machines", disk)


# --- the contract ---


@pytest.mark.parametrize("make", DISKS)
@pytest.mark.no_cover
@pytest.mark.slow(but=1)
def test_a_command_leaves_nothing_open(make: Callable[[Path], Path], tmp_path: Path) -> None:
    disk = make(tmp_path)
    statuses = {}
    for words in commands(disk, tmp_path):
        with nothing_is_left(words):
            statuses[words[0]] = invoke(*words).returncode
    if make in SOUND:
        assert [statuses[name] < 2 for name in ("show", "keys", "doctor", "cat", "get", "map")] == [True] * 6
    else:
        assert statuses["keys"] == 2


@pytest.mark.parametrize("name", MANIFEST)
@pytest.mark.no_cover
@pytest.mark.slow(but=1)
def test_a_view_leaves_nothing_open(name: str) -> None:
    with nothing_is_left(name):
        with b2d.open(unpacked(name)) as disk:
            views = [disk, disk.header, disk.userdata, disk.keys, disk.map, disk.hexdump(), disk.hexdump(0)]
            with suppress(B2dError):
                disk.cat("/nothing")
        for view in views:  # what was found stays
            assert repr(view) == repr(view)
            assert view._repr_html_()
        b2d.diagnose(unpacked(name))
        with suppress(B2dError):
            b2d.diff(unpacked(name), unpacked(SOURCE))


@pytest.mark.parametrize("make", DISKS)
@pytest.mark.slow(but=5)
def test_a_view_of_several_files_leaves_nothing_open(make: Callable[[Path], Path], tmp_path: Path) -> None:
    path = make(tmp_path)
    with nothing_is_left(make):
        with suppress(B2dError), b2d.open(path) as disk:
            assert disk.read(0, 512) or disk.map
            repr([disk, disk.map, disk.keys, disk.hexdump()])
        with suppress(B2dError):
            repr(b2d.diagnose(path))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.slow(but=8)
def test_an_answer_leaves_nothing_open(name: str) -> None:
    with nothing_is_left(name):
        assert repr(b2d.diagnose(incident(name)))


def test_what_is_dropped_unclosed_warns_and_is_closed() -> None:
    disk = b2d.open(unpacked(SOURCE))
    before = open_files()
    with pytest.warns(ResourceWarning, match="unclosed file of"):
        del disk
    assert len(open_files()) == len(before) - 1


# --- few descriptors ---


def with_few_descriptors(*words: object) -> tuple[int, bytes, bytes]:
    import resource

    done = subprocess.run(
        [*PROGRAM, *map(str, words)],
        env=environment(),
        capture_output=True,
        timeout=PATIENCE,
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_NOFILE, (40, 40)),
    )
    return done.returncode, done.stdout, done.stderr


@pytest.mark.slow
@pytest.mark.no_cover
def test_sixty_machines_with_forty_descriptors(tmp_path: Path) -> None:
    model = incident("snapshot")
    for number in range(60):
        shutil.copytree(model, tmp_path / f"machine-{number}", copy_function=os.link)
    status, out, err = with_few_descriptors("machines", tmp_path)
    assert (status, err) in ((0, b""), (1, b""))
    assert out.count(b"provisioned") == 60


@pytest.mark.slow
@pytest.mark.parametrize("command", ["doctor", "show", "keys", "diff", "report", "map", "hexdump"])
@pytest.mark.no_cover
def test_a_chain_with_forty_descriptors(command: str, tmp_path: Path) -> None:
    shutil.copy(unpacked(SOURCE), tmp_path / "0.vdi")
    for number in range(1, 12):
        differencing_vdi(tmp_path / f"{number}.vdi", tmp_path / f"{number - 1}.vdi", UNUSED)
    disks = [tmp_path / "11.vdi"] * (2 if command == "diff" else 1)
    status, out, err = with_few_descriptors(command, *disks)
    assert status < 2, err
    assert out
