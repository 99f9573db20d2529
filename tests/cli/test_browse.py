"""``ls`` and ``cat``: the files of the data partition as debugfs sees them."""

from __future__ import annotations

import json
import os
import shutil
import stat
from datetime import UTC, datetime
from pathlib import Path

import pytest

from b2dinspect.provisioning.keypair import sample_key as key
from b2dinspect.userdata.tarball import GUEST_KEEPS, build_userdata
from tests.cli.conftest import TIME, Disk
from tests.cli.helpers import USERDATA_PATH, b2d, document, evidence_bytes, invoke, on_terminal, unpacked
from tests.disks import change_ext
from tests.oracles import needs, run

KINDS = {stat.S_IFREG: "file", stat.S_IFDIR: "directory", stat.S_IFLNK: "symlink", stat.S_IFIFO: "special"}
FOLDERS = ("/", "docs", "/docs/sub/deep/", "//docs/./sub", "hostile", "empty")


@pytest.mark.parametrize("folder", FOLDERS)
def test_ls_json_is_what_the_folder_was_made_of(disk: Disk, folder: str) -> None:
    done = invoke("ls", "--json", disk.image, folder)
    found = document(done, "ls")
    assert (done.returncode, done.stderr, found["path"]) == (0, b"", folder)
    entries = {evidence_bytes(entry["name"]): entry for entry in found["entries"]}
    entries.pop(b"lost+found", None)
    place = os.fsencode(disk.tree) + b"/" + folder.encode()
    assert list(entries) == sorted(os.listdir(place))
    for name, entry in entries.items():
        status = os.lstat(place + b"/" + name)
        kind = KINDS[stat.S_IFMT(status.st_mode)]
        assert entry["type"] == kind
        assert (entry["uid"], entry["gid"], entry["mtime"]) == (status.st_uid, status.st_gid, TIME)
        if kind == "file":
            assert (entry["size"], entry["mode"]) == (status.st_size, f"{status.st_mode & 0o7777:04o}")
        target = os.readlink(place + b"/" + name) if kind == "symlink" else None
        assert target == (entry["target"] and evidence_bytes(entry["target"]))


def test_ls_text(disk: Disk) -> None:
    lines = [line.rstrip() for line in invoke("ls", disk.image, "docs").stdout.decode().splitlines()]
    time = f"{datetime.fromtimestamp(TIME, UTC):%Y-%m-%d %H:%M:%SZ}"
    owner = f"{disk.tree.stat().st_uid}:{disk.tree.stat().st_gid}"
    assert ["-rw-r-----", owner, "6", *time.split(), "a.txt"] in [line.split() for line in lines]
    assert any(line.endswith(f"{time} link -> a.txt") for line in lines)
    assert any(line.endswith(f"{time} abs -> /etc/passwd") for line in lines)
    assert any(line.startswith("drwxr-xr-x") and line.endswith(f"{time} sub/") for line in lines)


def test_ls_of_one_thing(disk: Disk) -> None:
    for path in ("docs/a.txt", "docs/link"):
        done = invoke("ls", "--json", disk.image, path)
        assert [entry["name"] for entry in document(done, "ls")["entries"]] == [path.split("/")[1]]
    assert invoke("ls", disk.image, "empty").stdout == b""


@needs("debugfs")
def test_ls_gives_the_inodes_of_debugfs(disk: Disk) -> None:
    rows = run("debugfs", "-R", "ls -p /docs", disk.image).stdout.decode().split()
    by_debugfs = {row.split("/")[5]: int(row.split("/")[1]) for row in rows}
    found = document(invoke("ls", "--json", disk.image, "docs"), "ls")["entries"]
    assert {entry["name"]: entry["inode"] for entry in found} == {
        name: inode for name, inode in by_debugfs.items() if name not in (".", "..")
    }


@needs("debugfs")
@pytest.mark.parametrize("path", ["/docs/a.txt", "docs/sub/deep/b.bin", "docs/sub/sparse", "docs/empty"])
def test_cat_is_debugfs_cat(disk: Disk, path: str) -> None:
    done = b2d("cat", disk.image, path)
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout == run("debugfs", "-R", f"cat {path}", disk.image).stdout
    assert done.stdout == (disk.tree / path.lstrip("/")).read_bytes()


@needs("debugfs", "qemu-img")
def test_cat_from_a_vdi_is_debugfs_cat_from_the_raw_disk(tmp_path: Path) -> None:
    image, raw = unpacked("provisioned-automount.vdi"), tmp_path / "raw"
    run("qemu-img", "convert", "-O", "raw", image, raw)
    at = json.loads(invoke("show", "--json", image).stdout)["partitions"]
    offset = next(part["start_sector"] * 512 for part in at if part["number"] == 1)
    content = run("debugfs", "-R", f"cat {USERDATA_PATH}", f"{raw}?offset={offset}").stdout
    assert content == invoke("cat", image, USERDATA_PATH).stdout == build_userdata(key("owner"))[:GUEST_KEEPS]


@pytest.mark.slow
def test_cat_on_a_terminal_shows_escapes_and_obeys_none(disk: Disk) -> None:
    status, printed = on_terminal("cat", disk.image, "hostile/esc\x1b[31mred")
    assert (status, printed) == (0, rb"esc\x1b[31mred")
    status, printed = on_terminal("cat", disk.image, "hostile/cr\rback")
    assert (status, printed) == (0, rb"cr\rback")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("cat", "docs/nothing"), "no /docs/nothing"),
        (("cat", "docs"), "not a file"),
        (("cat", "docs/link"), "not a file but a symlink"),
        (("cat", "docs/fifo"), "not a file but a special"),
        (("cat", "docs/a.txt/b"), "not a directory"),
        (("cat", "docs/../docs/a.txt"), "no way up"),
        (("ls", "docs/link/x"), "links are not followed"),
        (("ls", "nothing"), "no /nothing"),
        (("ls", "--partition", "7"), "no partition 7; this disk has 0"),
        (("ls", "--partition", "-1"), "no partition -1"),
    ],
)
def test_trouble(disk: Disk, arguments: tuple[str, ...], said: str) -> None:
    command, *rest = arguments
    done = invoke(command, disk.image, *rest)
    assert (done.returncode, done.stdout) == (2, b"")
    assert said in done.stderr.decode()
    assert done.stderr.count(b"\n") == 1


def test_partition_is_chosen_by_number(disk: Disk) -> None:
    assert invoke("cat", "--partition", "0", disk.image, "docs/a.txt").stdout == b"hello\n"
    image = unpacked("provisioned-autoformat.vdi")
    assert invoke("ls", "--partition", "1", image).stdout == invoke("ls", image).stdout != b""
    done = invoke("ls", "--partition", "2", image)
    assert (done.returncode, done.stdout) == (2, b"")
    assert "holds swap" in done.stderr.decode()


@pytest.mark.parametrize("name", ["fresh.vdi", "blank.vdi"])
def test_a_disk_without_a_data_partition(name: str) -> None:
    done = invoke("ls", unpacked(name))
    assert (done.returncode, done.stdout) == (2, b"")
    assert "no data partition" in done.stderr.decode()


def test_ls_of_all_that_is_below(disk: Disk) -> None:
    found = document(invoke("ls", "--json", "-R", disk.image, "docs"), "ls")["entries"]
    expected = {str(path.relative_to(disk.tree / "docs")) for path in (disk.tree / "docs").rglob("*")}
    assert {entry["path"] for entry in found} == expected
    done = invoke("ls", "-R", disk.image, "docs")
    assert (done.returncode, done.stderr) == (0, b"")
    lines = done.stdout.decode().splitlines()
    assert [line.split()[5] for line in lines] == [
        entry["path"] + "/" * (entry["type"] == "directory") for entry in found
    ]
    assert any(line.endswith("link -> a.txt") for line in lines)
    done = invoke("ls", "-R", disk.image, "/")
    assert (done.returncode, done.stderr.count(b"its name leads elsewhere")) == (1, 2)


@needs("debugfs")
def test_a_damaged_directory_costs_only_itself(disk: Disk, tmp_path: Path) -> None:
    image = Path(shutil.copy(disk.image, tmp_path))
    change_ext(image, "clri docs/sub/deep", "clri docs/a.txt")
    done = invoke("ls", "--json", "-R", image, "docs")
    assert done.returncode == 1
    found = {entry["path"] for entry in document(done, "ls")["entries"]}
    assert found == {"abs", "empty", "fifo", "link", "sub", "sub/sparse"}
    said = done.stderr.decode()
    assert "sub/deep: filesystem: deep is inode" in said and "a.txt: filesystem: a.txt is inode" in said
    assert invoke("get", image, "docs", tmp_path / "copy").returncode == 1
    assert (tmp_path / "copy/sub/sparse").exists()
