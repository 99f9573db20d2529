"""Docker Desktop's disks, where each system has them, as each generation of it lays them out."""

from __future__ import annotations

from pathlib import Path

import pytest

from b2dinspect.docker.summary import summaries
from b2dinspect.inspection.walk import inspect
from b2dinspect.machine.desktop import HOME_PLACES, LOCAL_PLACES, PUBLIC_PLACES, SHARED_PLACES, desktop_disks
from tests.cli.helpers import document, invoke
from tests.disks import MIB, make_disk, sfdisk
from tests.docker.handmade import disk, graph
from tests.oracles import needs, run

pytestmark = needs("mke2fs", "qemu-img", "sfdisk")


@pytest.fixture
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Every place is below one folder, and nothing is there."""
    for name in ("MACHINE_STORAGE_PATH", "MINIKUBE_HOME", "MINISHIFT_HOME"):
        monkeypatch.delenv(name, raising=False)
    for name in ("HOME", "USERPROFILE", "LOCALAPPDATA", "ProgramData", "PUBLIC"):
        monkeypatch.setenv(name, str(tmp_path))
    return tmp_path


def at(place: str) -> dict[str, object]:
    """Return the tree of an old Docker, with its data-root elsewhere."""
    return {name.replace("var/lib/docker", place, 1): content for name, content in graph().items()}


def partitioned(filesystem: Path) -> Path:
    """Return a disk whose only partition is this filesystem, as LinuxKit's format makes it."""
    content = filesystem.read_bytes()
    path = make_disk(len(content) + 2 * MIB, (MIB, content))
    sfdisk(path, f"label: dos\n2048,{len(content) // 512},83\n")
    return path


@pytest.mark.parametrize(
    ("image", "kind", "data_root", "is_whole"),
    [
        (HOME_PLACES[0], "raw", "docker", False),
        (HOME_PLACES[2], "qcow2", "docker", False),
        (SHARED_PLACES[0], "vhdx", "docker", False),
        (LOCAL_PLACES[0], "vhdx", "data/docker", True),
        (LOCAL_PLACES[1], "vhdx", "version-pack-data/community/docker", True),
    ],
    ids=lambda value: value[0].rpartition("/")[2] if isinstance(value, tuple) else None,
)
def test_each_is_found_and_opened(
    home: Path, image: tuple[str, str], kind: str, data_root: str, is_whole: bool
) -> None:
    place, what = image
    path = home / place
    path.parent.mkdir(parents=True)
    made = disk(at(data_root))  # type: ignore[arg-type]
    run("qemu-img", "convert", "-f", "raw", "-O", kind, made if is_whole else partitioned(made), path)
    (found,) = desktop_disks()
    assert (found.path, found.what) == (path, what)
    with inspect(str(path)) as facts:
        (summary,) = summaries(facts)
    assert (summary.engine, summary.containers, summary.volumes) == ("docker", 1, 1)
    assert summary.path == f"/{data_root}".encode()
    done = invoke("machines", "--json")
    assert done.returncode == 0
    (row,) = document(done, "machines")["desktop"]
    assert (row["path"], row["what"], row["trouble"]) == (str(path), what, None)
    shown = invoke("machines").stdout.decode()
    assert "Docker: 1 container, 1 image, 1 volume" in shown
    assert "puts no key on it" in shown
    (one,) = document(invoke("docker", "ps", "--json", path), "docker-ps")["containers"]
    assert one["name"] == "web"


def test_one_that_cannot_be_read(home: Path) -> None:
    path = home / PUBLIC_PLACES[0][0]
    path.parent.mkdir(parents=True)
    path.write_bytes(b"vhdxfile" + bytes(4096))
    assert "cannot be read" in invoke("machines").stdout.decode()


def test_none(home: Path) -> None:
    assert desktop_disks() == ()
    done = invoke("machines")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"b2dinspect: no machines found\n")
