"""Later boots: what mkdir, rm and mv make of the same tree in a folder, and e2fsck of the filesystem."""

from __future__ import annotations

import stat
from collections.abc import Iterable
from pathlib import Path

import pytest

from b2dinspect.errors import FilesystemError
from b2dinspect.guests import PROFILES, GuestProfile, profile_named
from b2dinspect.identity import Identities
from b2dinspect.inspection.volumes import volumes_of
from b2dinspect.partitions import Partition, read_table
from b2dinspect.provisioning.disk.overlay import Overlay
from b2dinspect.provisioning.simulated.later import data_directory, settle
from tests.disks import MIB, change_ext, debugfs, make_disk, make_ext, open_file
from tests.oracles import needs, run

pytestmark = needs("mke2fs", "debugfs", "e2fsck", "sh")
by_profile = pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.name)

TREES: dict[str, dict[str, bytes | None]] = {
    "empty": {},
    "docker's directory is gone": {"var/lib/boot2docker/profile": b"x\n", "tmp": None},
    "tmp is full": {
        "tmp/a/b/c": b"deep\n",
        "tmp/d": b"",
        "tmp/e": None,
        "var/lib/docker": None,
        "data/1": b"1\n",
    },
    "tmp is a file": {"tmp": b"no directory\n"},
    "var is a file": {"var": b"no directory\n"},
    "old layout": {"vm/userdata.tar": b"old\n", "tmp/x": b"x\n", "aufs": None},
}


def shell(folder: Path, profile: GuestProfile) -> None:
    """Do in a folder what the profile's script does on the mounted partition."""
    with_old = profile.name == "automount" and (folder / "vm").is_dir()
    wanted = ["vm/etc"] if with_old else [path for path in profile.makes if path != "tmp"]
    lines = [f"mkdir -p {path} 2>/dev/null" for path in wanted]
    if profile.name != "minikube":
        lines += ["rm -rf tmp", "mkdir -m 1777 ../tmp", "mv ../tmp tmp"]
    run("sh", "-c", f"umask 022; cd '{folder}'; {'; '.join(lines)}; true")


def tree_of_folder(folder: Path) -> dict[str, tuple[int, int]]:
    """Return mode and size of what is below; of a directory its mode alone."""
    found = {}
    for path in folder.rglob("*"):
        seen = path.lstat()
        found[str(path.relative_to(folder))] = (seen.st_mode, 0 if path.is_dir() else seen.st_size)
    return found


def tree_of_disk(path: Path) -> dict[str, tuple[int, int]]:
    """Return the same of a filesystem, as debugfs lists it."""
    found, waiting = {}, [""]
    while waiting:
        folder = waiting.pop()
        for line in filter(None, debugfs(path, f"ls -p /{folder}").decode().splitlines()):
            _, _, mode, owner, group, name, size, _ = line.split("/")
            if name in (".", "..", "lost+found"):
                continue
            assert (owner, group) == ("0", "0")
            is_directory = stat.S_ISDIR(int(mode, 8))
            found[folder + name] = (int(mode, 8), 0 if is_directory else int(size))
            waiting += [f"{folder}{name}/"] if is_directory else []
    return found


def filled(folder: Path, tree: dict[str, bytes | None]) -> Path:
    folder.mkdir()
    for name, content in tree.items():
        place = folder / name
        (place if content is None else place.parent).mkdir(parents=True, exist_ok=True)
        if content is not None:
            place.write_bytes(content)
    return folder


def disk_of(tree: dict[str, bytes | None]) -> Path:
    path = make_disk(16 * MIB)
    make_ext(path, 16 * MIB, "-E", "root_owner=0:0", files=tree)
    return path


def whole(overlay: Overlay) -> Partition:
    return volumes_of(overlay, read_table(overlay))[0].partition


def later(path: Path, profile: GuestProfile) -> tuple[str, ...]:
    """Settle a disk, and write it."""
    overlay = Overlay(open_file(path))
    done = settle(overlay, whole(overlay), profile, Identities())
    write(path, ((change.offset, change.new) for change in overlay.differences()))
    return done


def write(path: Path, pieces: Iterable[tuple[int, bytes]]) -> None:
    with path.open("r+b") as file:
        for offset, data in list(pieces):
            file.seek(offset)
            file.write(data)


@by_profile
@pytest.mark.parametrize("name", TREES)
def test_the_tree_is_what_the_commands_make(name: str, profile: GuestProfile, tmp_path: Path) -> None:
    folder, path = filled(tmp_path / "part", TREES[name]), disk_of(TREES[name])
    shell(folder, profile)
    done = later(path, profile)
    assert tree_of_disk(path) == tree_of_folder(folder)
    assert run("e2fsck", "-fn", path).returncode == 0
    assert done
    assert later(path, profile) == ()


@by_profile
def test_a_disk_as_a_boot_leaves_it_is_not_written(profile: GuestProfile) -> None:
    path = disk_of({})
    later(path, profile)
    overlay = Overlay(open_file(path))
    assert settle(overlay, whole(overlay), profile, Identities()) == ()
    assert overlay.differences() == []


def test_what_cannot_be_changed_is_left_whole() -> None:
    path = disk_of({"tmp/a": b"1", "tmp/b/c": b"2"})
    change_ext(path, "sif tmp/b flags 0x80010")  # extents, immutable
    before = path.read_bytes()
    overlay = Overlay(open_file(path))
    with pytest.raises(FilesystemError, match="immutable"):
        settle(overlay, whole(overlay), profile_named("automount"), Identities())
    assert overlay.differences() == []
    assert path.read_bytes() == before


def test_only_automount_knows_the_old_layout() -> None:
    path = disk_of(TREES["old layout"])
    overlay = Overlay(open_file(path))
    found = {one.name: data_directory(overlay, whole(overlay), one) for one in PROFILES}
    new = "var/lib/boot2docker"
    assert found == {"automount": "vm", "autoformat": new, "minikube": new}
