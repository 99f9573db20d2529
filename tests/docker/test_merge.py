"""Layers put together by hand-made rules: aufs, overlay with all that it can, and layers made to do harm."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Sequence
from pathlib import Path

import pytest

from b2dinspect.docker.changes import changes, compared
from b2dinspect.docker.facts import ContainerState, DataRoot, DockerContainer, Layer
from b2dinspect.docker.merge import MergedLayers
from b2dinspect.errors import B2dError, NotFoundError
from b2dinspect.extraction.members import walk
from b2dinspect.filesystems.ext4 import Ext4
from b2dinspect.filesystems.superblock import parse_superblock
from tests.cli.helpers import invoke
from tests.disks import MIB, change_ext, debugfs, make_ext, new_path, open_file
from tests.oracles import needs

pytestmark = needs("mke2fs", "debugfs")
Told = list[tuple[bytes, str]]


def opened(files: dict[str, str], *commands: str) -> Ext4:
    """Return a filesystem with these files, changed by debugfs."""
    path = new_path("layers.img")
    make_ext(path, 8 * MIB, files={name: content.encode() for name, content in files.items()})
    if commands:
        change_ext(path, *commands)
    return Ext4(open_file(path))


def layers(driver: str, *names: str) -> tuple[Layer, ...]:
    return tuple(Layer(name, f"/{name}".encode(), driver) for name in names)


def seen(files: Ext4, stack: Sequence[Layer], told: Told | None = None) -> dict[str, str]:
    """Return what is seen through layers: files and their content, directories as ""."""
    faults: Told = [] if told is None else told
    merged = MergedLayers(files, stack, lambda path, error: faults.append((path, str(error))))
    found = {}
    for member in merged.members(merged.root()):
        if member.type == "file":
            content = member.content()
            found[member.path.decode()] = content.pread(0, content.size).decode()
        elif member.path:
            found[member.path.decode()] = "" if member.type == "directory" else member.type
    assert told is not None or not faults
    return found


def test_aufs_hides_names_and_whole_directories() -> None:
    files = opened(
        {
            "top/.wh.gone": "", "top/.wh..wh.plnk/77.1": "x", "top/.wh..wh.aufs": "", "top/new": "new",
            "top/dir/.wh..wh..opq": "", "top/dir/again": "again", "top/deep/.wh.two": "",
            "mid/kept": "mid", "mid/dir/middle": "m", "mid/deep/three": "3",
            "low/kept": "low", "low/gone": "g", "low/dir/old": "o", "low/deep/one": "1", "low/deep/two": "2",
        }
    )  # fmt: skip
    assert seen(files, layers("aufs", "top", "mid", "low")) == {
        "new": "new",
        "kept": "mid",
        "dir": "",
        "dir/again": "again",
        "deep": "",
        "deep/one": "1",
        "deep/three": "3",
    }


def test_diff_of_aufs_is_in_the_layer() -> None:
    files = opened(
        {"top/.wh.gone": "", "top/.wh..wh.plnk/1": "", "top/kept": "changed", "top/deep/new": "n",
         "low/gone": "g", "low/kept": "low", "low/deep/one": "1"}
    )  # fmt: skip
    own, base = layers("aufs", "top", "low")
    root = DataRoot("docker", b"", None, files, ("aufs",))  # type: ignore[arg-type]
    state = ContainerState("exited", 0, "", "")
    container = DockerContainer(
        "c", "c", "", "", (), "", state, {}, (), "aufs", (own, base), (base,), "json-file", b"", {}
    )
    found = changes(root, container, lambda *_: None)
    assert [(one.kind, one.path) for one in found] == [
        ("C", b"/deep"),
        ("A", b"/deep/new"),
        ("D", b"/gone"),
        ("C", b"/kept"),
    ]


def test_overlay_hides_by_devices_and_attributes() -> None:
    files = opened(
        {
            "top/new": "new", "top/opaque/again": "a", "top/user/again": "a", "top/marked/hidden": "",
            "low/gone": "g", "low/.wh.odd": "kept", "low/opaque/old": "o", "low/user/old": "o",
            "low/marked/hidden": "h", "low/marked/shown": "s",
        },
        "cd top", "mknod gone c 0 0", "mknod never c 0 0", "mknod null c 1 3", "cd /",
        "ea_set top/opaque trusted.overlay.opaque y", "ea_set top/user user.overlay.opaque y",
        "ea_set top/marked trusted.overlay.opaque x", "ea_set top/marked/hidden trusted.overlay.whiteout y",
    )  # fmt: skip
    assert seen(files, layers("overlay2", "top", "low")) == {
        "new": "new",
        "null": "special",
        ".wh.odd": "kept",
        "opaque": "",
        "opaque/again": "a",
        "user": "",
        "user/again": "a",
        "marked": "",
        "marked/shown": "s",
    }


def test_overlays_own_attributes_are_no_part_of_a_file() -> None:
    files = opened(
        {"top/dir/f": "f"}, "ea_set top/dir trusted.overlay.opaque y", "ea_set top/dir user.note kept"
    )
    merged = MergedLayers(files, layers("overlay2", "top"), lambda *_: None)
    found = {member.path: member.xattrs() for member in merged.members(merged.root())}
    assert found[b"dir"] == {b"user.note": b"kept"}
    raw = {member.path: member.xattrs() for member in walk(files, files.find(b"top"), lambda *_: None)}
    assert raw[b"dir"][b"trusted.overlay.opaque"] == b"y"


def test_redirects_are_followed() -> None:
    files = opened(
        {"top/moved/new": "n", "top/a/renamed/x": "x", "low/was/here/old": "o", "low/a/before/y": "y"},
        "ea_set top/moved trusted.overlay.redirect /was/here",
        "ea_set top/a/renamed trusted.overlay.redirect before",
        "cd top/a", "mknod before c 0 0", "cd /",
    )  # fmt: skip
    assert seen(files, layers("overlay2", "top", "low")) == {
        "a": "",
        "a/renamed": "",
        "a/renamed/x": "x",
        "a/renamed/y": "y",
        "moved": "",
        "moved/new": "n",
        "moved/old": "o",
        "was": "",
        "was/here": "",
        "was/here/old": "o",
    }


def test_metadata_alone_finds_its_content_below() -> None:
    files = opened(
        {"top/same": "", "top/moved": "", "top/lost": "", "mid/same": "", "low/same": "content"}
        | {"low/was": "w"},
        *(f"ea_set {name} trusted.overlay.metacopy y" for name in ("top/same", "mid/same")),
        "ea_set top/moved trusted.overlay.metacopy y", "ea_set top/moved trusted.overlay.redirect /was",
        "ea_set top/lost trusted.overlay.metacopy y",
    )  # fmt: skip
    told: Told = []
    found = seen(files, layers("overlay2", "top", "mid", "low"), told)
    assert found == {"same": "content", "moved": "w", "was": "w"}
    assert [path for path, _ in told] == [b"lost"]
    assert "in a layer that is not on this disk" in told[0][1]


def test_vfs_is_its_top_alone() -> None:
    files = opened({"top/a": "a", "low/b": "b"})
    own, low = layers("vfs", "top", "low")
    assert seen(files, (own._replace(is_whole=True), low)) == {"a": "a"}


def test_a_directory_over_a_file_and_a_file_over_a_directory() -> None:
    files = opened({"top/one/x": "x", "top/two": "2", "low/one": "1", "low/two/y": "y", "base/one/z": "z"})
    assert seen(files, layers("overlay2", "top", "low", "base")) == {"one": "", "one/x": "x", "two": "2"}


@pytest.mark.parametrize(
    "redirect", ["/loop", "/loop/loop/loop", "../../..", "/../../etc", "loop", "", "/", "x" * 200]
)
def test_redirects_that_lead_nowhere_have_an_end(redirect: str) -> None:
    value = new_path("value")
    value.write_text(redirect)
    names = [f"l{number}" for number in range(12)]
    files = opened(
        {f"{name}/loop/f": name for name in names},
        *(f"ea_set -f {value} {name}/loop trusted.overlay.redirect" for name in names),
    )
    told: Told = []
    found = seen(files, layers("overlay2", *names), told)
    assert found["loop/f"] == "l0"


@pytest.mark.slow
def test_redirects_that_multiply_have_an_end() -> None:
    """Two in each of forty layers: a million million, if each were followed."""
    names = [f"l{number}" for number in range(40)]
    moved = [f"{name}/{folder}" for name in names for folder in ("a", "b")]
    files = opened(
        {f"{place}/f": "" for place in moved},
        *(f"ea_set {place} trusted.overlay.redirect /{place[-1]}" for place in moved),
    )
    told: Told = []
    assert "a/f" in seen(files, layers("overlay2", *names), told)
    assert any("no more are followed" in why for _, why in told)


def test_layers_that_are_no_directories_are_named() -> None:
    files = opened({"low/a": "a"}, "symlink top /etc")
    told: Told = []
    assert seen(files, layers("overlay2", "top", "gone", "low"), told) == {"a": "a"}
    assert len(told) == 2
    merged = MergedLayers(files, layers("overlay2", "low"), lambda *_: None)
    for path in (b"../low/a", b"a/b", b"nothing"):
        with pytest.raises(NotFoundError):
            merged.find(path)


def test_what_is_deleted_is_told_once() -> None:
    files = opened(
        {"top/other": "o", "low/dir/one": "1", "low/dir/two": "2"}, "cd top", "mknod dir c 0 0", "cd /"
    )
    own, base = layers("overlay2", "top", "low")

    def quiet(*_: bytes | B2dError) -> None:
        pass

    found = compared(MergedLayers(files, (own, base), quiet), MergedLayers(files, (base,), quiet), quiet)
    assert [(one.kind, one.path) for one in found] == [("A", b"/other"), ("D", b"/dir")]


# --- made to do harm ----------------------------------------------------------------------------------------

ID = "c" * 64


def hostile(*commands: str, name: str = "/web", mount: str = "vol") -> Path:
    """Return a disk with a data-root that is made to do harm."""
    path = new_path("hostile.img")
    config = {
        "ID": ID, "Name": name, "Driver": "overlay2", "Image": "sha256:" + "d" * 64, "Path": "sh", "Args": [],
        "Config": {"Image": "base`$(rm -rf /)`", "Cmd": ["[red]$(touch /tmp/owned)"], "Env": ["A=`id`"]},
        "MountPoints": {
            "/data": {"Name": mount, "Type": "volume", "Destination": "/data", "Driver": "local"}
        },
    }  # fmt: skip
    root = "var/lib/docker"
    make_ext(
        path,
        16 * MIB,
        files={
            f"{root}/containers/{ID}/config.v2.json": json.dumps(config).encode(),
            f"{root}/containers/{ID}/hostconfig.json": b"{}",
            f"{root}/image/overlay2/layerdb/mounts/{ID}/mount-id": b"own",
            f"{root}/image/overlay2/layerdb/mounts/{ID}/init-id": b"own-init",
            f"{root}/overlay2/own/diff/file": b"content",
            f"{root}/overlay2/own/lower": b"../../../../../../etc",
            f"{root}/overlay2/own-init/diff/etc/hosts": b"",
            f"{root}/volumes/vol/_data/inside": b"inside",
            f"{root}/volumes/$(rm -rf x)/_data/odd": b"odd",
        },
    )
    change_ext(path, *commands) if commands else None
    return path


def names(folder: Path) -> set[str]:
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_a_rescue_of_hostile_names_writes_nothing_elsewhere(tmp_path: Path) -> None:
    image = hostile(name="/$(touch owned)")
    target = tmp_path / "in" / "here"
    done = invoke("docker", "rescue", image, target)
    assert (done.returncode, done.stderr.decode().count("Traceback")) == (0, 0)
    assert names(tmp_path) - {"in"} == {
        f"in/{name}"
        for name in (
            "here", "here/README.md", "here/manifest.json", "here/empty.tar", "here/volumes",
            "here/containers",
            "here/volumes/vol.tar", "here/volumes/__rm_-rf_x_.tar", "here/containers/__touch_owned_.tar",
            "here/containers/__touch_owned_.json",
        )
    }  # fmt: skip
    readme = (target / "README.md").read_text()
    assert "volume create rm_-rf_x_" in readme
    assert "'A=`id`'" in readme
    assert "'[red]$(touch /tmp/owned)'" in readme


def test_a_volume_that_is_a_link_is_not_followed(tmp_path: Path) -> None:
    image = hostile(
        "cd var/lib/docker/volumes/vol", "rm _data/inside", "rmdir _data", "symlink _data /etc", "cd /"
    )
    done = invoke("docker", "volume", image, "vol", "-o", tmp_path / "v.tar")
    assert (done.returncode, done.stderr.count(b"\n"), names(tmp_path)) == (2, 1, set())
    done = invoke("docker", "rescue", image, tmp_path / "all")
    assert done.returncode == 1
    assert b"a symbolic link to /etc, which is not followed" in done.stderr
    assert "all/volumes/vol.tar" not in names(tmp_path)


def test_names_that_lead_elsewhere_stay_out_of_tars_and_folders(tmp_path: Path) -> None:
    image = hostile()
    data = image.read_bytes()
    assert data.count(b"inside") >= 1
    for before, after in ((b"inside", b"../out"),):
        data = data.replace(before, after)
    image.write_bytes(data)
    done = invoke("docker", "volume", image, "vol", "-o", tmp_path / "v.tar")
    assert (done.returncode, done.stderr.count(b"its name leads elsewhere")) == (1, 1)
    assert b"../out" not in (tmp_path / "v.tar").read_bytes()
    done = invoke("docker", "cp", image, "web:/data", tmp_path / "copy")
    assert (done.returncode, names(tmp_path)) == (1, {"v.tar", "copy"})


# --- through damage -----------------------------------------------------------------------------------------


def test_what_is_missing_of_a_volume_is_named_with_its_ranges(tmp_path: Path) -> None:
    image = hostile()
    big = tmp_path / "big"
    big.write_bytes(bytes(range(1, 256)) * 12_000)
    place = "/var/lib/docker/volumes/vol/_data/big"
    change_ext(image, f"write {big} big.tmp", f"ln big.tmp {place}", "rm big.tmp")
    blocks = [*map(int, debugfs(image, f"blocks {place}").split())]
    assert parse_superblock(open_file(image))[0].log_block_size == 0  # 1 KiB
    kept = blocks[len(blocks) // 2]
    with image.open("rb+") as file:
        file.truncate(kept * 1024)
    lost = next(at for at, block in enumerate(blocks) if block >= kept) * 1024
    done = invoke("docker", "rescue", image, tmp_path / "all")
    said = f"this evidence does not hold bytes {lost}-{big.stat().st_size - 1} of it: zeros in their place"
    assert (done.returncode, said in done.stderr.decode()) == (1, True)
    assert said in (tmp_path / "all/README.md").read_text()
    found = json.loads((tmp_path / "all/manifest.json").read_text())
    assert [one["name"] for one in found["files"] if not one["is_complete"]] == ["vol"]
    with tarfile.open(tmp_path / "all/volumes/vol.tar") as tar:
        content = tar.extractfile("./big" if "./big" in tar.getnames() else "big")
        assert content is not None
        assert content.read() == big.read_bytes()[:lost].ljust(big.stat().st_size, b"\0")
        assert "inside" in tar.getnames()


def test_a_lost_superblock_keeps_nothing_back(tmp_path: Path) -> None:
    image = hostile()
    with image.open("rb+") as file:
        file.seek(1024)
        file.write(bytes(1024))
    done = invoke("docker", "volume", image, "vol", "-o", tmp_path / "v.tar")
    assert done.returncode == 0
    with tarfile.open(tmp_path / "v.tar") as tar:
        assert tar.getnames() == [".", "inside"]
