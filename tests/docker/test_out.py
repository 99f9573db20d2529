"""The way out: what comes out of a disk equals what the daemon gives, and another daemon takes it back."""

from __future__ import annotations

import gzip
import io
import json
import re
import tarfile
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.helpers import document, invoke
from tests.disks import change_ext
from tests.docker.daemon import Daemon
from tests.docker.scene import Scene
from tests.oracles import needs, run

pytestmark = pytest.mark.slow

SAME = ("mode", "uid", "gid", "size", "type", "linkname", "devmajor", "devminor")


@pytest.fixture
def daemon() -> Iterator[Daemon]:
    """Another daemon, with nothing in it."""
    memory = "/dev/shm" if Path("/dev/shm").is_dir() else None
    with tempfile.TemporaryDirectory(prefix="b2d-", dir=memory) as place:
        (Path(place) / "state").mkdir()
        with Daemon(Path(place) / "state", Path(place) / "data", "vfs", Path(place) / "log") as running:
            yield running


def entries(data: bytes) -> dict[str, tuple[object, ...]]:
    """Return what is in a tar, by name: what counts of its header, and a file's content."""
    found: dict[str, tuple[object, ...]] = {}
    with tarfile.open(fileobj=io.BytesIO(data)) as tar:
        for member in tar:
            facts = [getattr(member, name) for name in SAME]
            facts[0] &= 0o7777  # Docker adds the type
            content = tar.extractfile(member) if member.isreg() else None
            found[member.name] = (*facts, int(member.mtime), content.read() if content else None)
    return found


def test_diff(played: Scene) -> None:
    for name, theirs in played.said["diff"].items():
        done = invoke("docker", "diff", played.disk, name)
        assert (done.returncode, done.stderr) == (0, b"")
        assert sorted(done.stdout.decode().splitlines()) == sorted(theirs)
    found = document(invoke("docker", "diff", "--json", played.disk, "web"), "docker-diff")
    assert {f"{one['kind']} {one['path']}" for one in found["changes"]} == set(played.said["diff"]["web"])


def test_export_is_that_of_the_daemon(played: Scene, tmp_path: Path) -> None:
    done = invoke("docker", "export", played.disk, "web")
    assert (done.returncode, done.stderr.count(b"left out")) == (0, 0)
    ours, theirs = entries(done.stdout), entries((played.folder / "web.tar").read_bytes())
    assert ours == theirs
    assert [*ours] == [*theirs]
    assert invoke("docker", "export", played.disk, "web", "-o", tmp_path / "w.tar").returncode == 0
    assert (tmp_path / "w.tar").read_bytes() == done.stdout


@needs("qemu-img")
@pytest.mark.parametrize("kind", ["vdi", "vmdk", "vpc", "vhdx", "qcow2"])
def test_export_from_every_container_format(played: Scene, tmp_path: Path, kind: str) -> None:
    if played.driver == "vfs":
        pytest.skip("the formats are the same below every driver")
    image = tmp_path / f"disk.{kind}"
    run("qemu-img", "convert", "-f", "raw", "-O", kind, played.disk, image)
    assert (
        invoke("docker", "export", image, "web").stdout
        == invoke("docker", "export", played.disk, "web").stdout
    )


def test_cp_of_layers_and_of_volumes(played: Scene, tmp_path: Path) -> None:
    assert invoke("docker", "cp", played.disk, "web:/data", tmp_path / "data").returncode == 0
    assert {path.name for path in (tmp_path / "data").rglob("*")} == {"hard", "one", "old", "again"}
    assert (tmp_path / "data/one").read_text() == "changed\n"
    assert invoke("docker", "cp", played.disk, "web:/data/one", tmp_path).returncode == 0
    assert (tmp_path / "one").read_text() == "changed\n"
    assert invoke("docker", "cp", played.disk, "web:/n/.", tmp_path / "n").returncode == 0
    assert (tmp_path / "n/file").read_text() == "volume\n"
    done = invoke("docker", "cp", played.disk, "web:/n/file", "-")
    assert [(name, found[-1]) for name, found in entries(done.stdout).items()] == [("file", b"volume\n")]
    done = invoke("docker", "cp", played.disk, "web:/new/link/x", tmp_path)
    assert (done.returncode, done.stderr.count(b"\n")) == (2, 1)
    assert b"links are not followed" in done.stderr
    done = invoke("docker", "cp", played.disk, "web:/data/../etc", tmp_path)
    assert (done.returncode, b"no way up" in done.stderr) == (2, True)


def test_a_saved_image_is_loaded_under_its_id_and_runs(played: Scene, tmp_path: Path, daemon: Daemon) -> None:
    known = played.said["image inspect"]["app:1"]["Id"]
    done = invoke("docker", "save", played.disk, "app:1", known[7:20], "-o", tmp_path / "app.tar")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    loaded = daemon.run("load", "-i", tmp_path / "app.tar").stdout
    assert b"app:1" in loaded
    assert daemon.lines("inspect", "-f", "{{.Id}}", "app:1", "registry.local:5000/team/app:2") == [known] * 2
    out = daemon.run("run", "--rm", "--network", "none", "app:1", "/bin/cat", "/data/three").stdout
    assert out == b"three\n"


def test_a_rescue_is_put_back_as_its_readme_says(played: Scene, tmp_path: Path, daemon: Daemon) -> None:
    folder = tmp_path / "rescued"
    done = invoke("docker", "rescue", "--json", played.disk, folder)
    assert (done.returncode, done.stderr) == (0, b"")
    found = document(done, "docker-rescue")
    assert json.loads((folder / "manifest.json").read_text()) == found
    for one in found["files"]:
        assert run("sha256sum", folder / one["path"]).stdout.split()[0].decode() == one["sha256"]
    blocks = re.findall(r"```sh\n(.*?)```", (folder / "README.md").read_text(), re.DOTALL)
    assert len(blocks) == 1 + 1 + 4 + 6
    done = daemon.type("".join(blocks), folder)
    assert (done.returncode, done.stderr) == (0, b"")
    assert daemon.lines("volume", "inspect", "-f", "{{.Labels.k}}", "named") == ["v"]
    for name in played.said["inspect"]:
        known = played.said["inspect"][name]
        again = json.loads(daemon.run("inspect", name).stdout)[0]
        for key in ("Path", "Args"):
            assert again[key] == known[key]
        assert {*(again["Config"]["Env"] or ())} == {*(known["Config"]["Env"] or ())}
        for key in ("Cmd", "Entrypoint", "WorkingDir", "Labels", "User"):
            assert again["Config"][key] == known["Config"][key]
        assert {(one["Destination"], one.get("Name", one["Source"])) for one in again["Mounts"]} == {
            (one["Destination"], one.get("Name", one["Source"])) for one in known["Mounts"]
        }
    served = daemon.run("run", "--rm", "--network", "none", "-v", "named:/n", "app:1", "/bin/cat", "/n/file")
    assert served.stdout == b"volume\n"
    back = entries(daemon.run("export", "web").stdout)
    there = entries((played.folder / "web.tar").read_bytes())
    gone = {"data/three", "data/old/new"}  # a container that is made anew has them again
    assert set(back) - gone == set(there)
    for name in ("data/one", "data/old/again", "new/link", "new/fifo", "new/zero"):
        assert back[name] == there[name]
    daemon.run("start", "local", "failed", "sleeper")
    assert daemon.lines("wait", "local", "failed") == ["0", "3"]
    assert daemon.run("logs", "local").stdout == played.said["logs"]["local"][0].encode("latin-1")
    assert daemon.lines("inspect", "-f", "{{.State.Running}}", "sleeper") == ["true"]


def test_a_rescue_goes_into_a_new_folder_only(played: Scene, tmp_path: Path) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full/mine").write_text("mine")
    done = invoke("docker", "rescue", played.disk, tmp_path / "full")
    assert (done.returncode, b"--force" in done.stderr) == (2, True)
    assert [path.name for path in (tmp_path / "full").iterdir()] == ["mine"]
    (tmp_path / "link").symlink_to("full")
    assert invoke("docker", "rescue", "--force", played.disk, tmp_path / "link").returncode == 2


def test_without_what_the_daemon_kept_an_image_gets_another_id(
    played: Scene, tmp_path: Path, daemon: Daemon
) -> None:
    disk = tmp_path / "disk.img"
    run("cp", "--sparse=always", played.disk, disk)
    place = f"/var/lib/docker/image/{played.driver}/layerdb"
    listed = document(invoke("ls", "--json", "-R", disk, place), "ls")["entries"]
    notes = [f"{place}/{one['path']}" for one in listed if one["name"] == "tar-split.json.gz"]
    assert len(notes) >= 4
    change_ext(disk, *(f"rm {note}" for note in notes))
    done = invoke("docker", "save", disk, "app:1", "-o", tmp_path / "app.tar")
    assert done.returncode == 1
    found = re.search(r"app:1 gets the id ([0-9a-f]{12}): \d layers cannot be made", done.stderr.decode())
    assert found
    daemon.run("load", "-i", tmp_path / "app.tar")
    assert daemon.lines("inspect", "-f", "{{.Id}}", "app:1")[0].startswith(f"sha256:{found[1]}")
    words = ("run", "--rm", "--network", "none", "app:1", "/bin/ls", "-l", "/data")
    said = daemon.run(*words).stdout.decode()
    assert "-rwsr-xr-x" in said and "two" not in said
    said = daemon.run(*words[:-1], "/data/old").stdout.decode()
    assert said.split("\n")[1].split()[2:4] == ["1000", "1001"]


@needs("debugfs")
@pytest.mark.parametrize(
    "notes",
    [b"", b"no gzip", gzip.compress(b"{]\n" * 9, mtime=0), gzip.compress(bytes(64 << 20), mtime=0)],
    ids=["empty", "no-gzip", "no-json", "bomb"],
)
def test_notes_that_make_no_sense_cost_the_id_alone(played: Scene, tmp_path: Path, notes: bytes) -> None:
    if played.driver == "vfs":
        pytest.skip("the notes are the same with every driver")
    disk, value = tmp_path / "disk.img", tmp_path / "value"
    value.write_bytes(notes)
    run("cp", "--sparse=always", played.disk, disk)
    known = played.said["image inspect"]["base:1"]["RootFS"]["Layers"][0].removeprefix("sha256:")
    place = f"/var/lib/docker/image/{played.driver}/layerdb/sha256/{known}/tar-split.json.gz"
    change_ext(disk, f"rm {place}", f"write {value} notes", f"ln notes {place}")
    done = invoke("docker", "save", disk, "base:1", "-o", tmp_path / "base.tar")
    assert done.returncode == 1
    assert b"tar-split: " in done.stderr
    assert b"base:1 gets the id" in done.stderr
    with tarfile.open(tmp_path / "base.tar") as tar:
        assert sum(name.endswith("layer.tar") for name in tar.getnames()) == 1
