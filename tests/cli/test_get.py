"""``get``: whole files, in their place, and nothing anywhere else."""

from __future__ import annotations

import errno
import os
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest

from b2dinspect.cli import get
from b2dinspect.extraction import host
from b2dinspect.extraction.wholefile import Look, Maker
from tests.cli.conftest import LINK, TIME, Disk
from tests.cli.helpers import PROGRAM, b2d, invoke, snapshot
from tests.disks import change_ext
from tests.oracles import PATIENCE, needs, run


def names(folder: Path) -> set[str]:
    """Return everything in a folder, links not followed."""
    return {str(path.relative_to(folder)) for path in folder.rglob("*")}


def test_a_file_to_a_name(disk: Disk, tmp_path: Path) -> None:
    done = invoke("get", disk.image, "/docs/sub/deep/b.bin", tmp_path / "copy")
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
    assert (tmp_path / "copy").read_bytes() == (disk.tree / "docs/sub/deep/b.bin").read_bytes()
    assert (tmp_path / "copy").stat().st_mtime == TIME
    assert names(tmp_path) == {"copy"}


def test_a_file_into_a_directory(disk: Disk, tmp_path: Path) -> None:
    assert invoke("get", disk.image, "docs/a.txt", tmp_path).returncode == 0
    assert (tmp_path / "a.txt").read_bytes() == b"hello\n"
    assert names(tmp_path) == {"a.txt"}


def test_a_directory_with_all_in_it(disk: Disk, tmp_path: Path) -> None:
    target = tmp_path / "new" / "copy"
    done = invoke("get", disk.image, "docs", target)
    assert (done.returncode, done.stdout) == (1, b"")
    files = {"a.txt", "empty", "sub", "sub/deep", "sub/deep/b.bin", "sub/sparse"}
    assert names(target) == files | {"link", "abs"}
    assert [os.readlink(target / name) for name in ("link", "abs")] == ["a.txt", "/etc/passwd"]
    for name in ("a.txt", "empty", "sub/deep/b.bin", "sub/sparse"):
        assert (target / name).read_bytes() == (disk.tree / "docs" / name).read_bytes()
        assert (target / name).stat().st_mtime == TIME
    *said, last = done.stderr.decode().splitlines()
    size = sum(path.lstat().st_size for path in target.rglob("*") if not path.is_symlink() and path.is_file())
    assert last.endswith(f"6 files, {size} bytes, 1 left out or not whole")
    assert ["fifo" in line and "a special file" in line for line in said] == [True]


def test_a_directory_without_links_is_copied_whole(disk: Disk, tmp_path: Path) -> None:
    done = invoke("get", disk.image, "docs/sub", tmp_path)
    assert (done.returncode, done.stdout) == (0, b"")
    assert done.stderr.endswith(b" 0 left out\n")
    assert names(tmp_path) == {"deep", "deep/b.bin", "sparse"}


def test_an_empty_directory_is_told(disk: Disk, tmp_path: Path) -> None:
    image = Path(shutil.copy(disk.image, tmp_path))
    change_ext(image, "mkdir docs/void")
    done = invoke("get", image, "docs/void", tmp_path / "saved")
    assert done.stderr == b"b2dinspect: 0 files, 0 bytes, 0 left out\n"


def test_hostile_names_are_kept_byte_for_byte(disk: Disk, tmp_path: Path) -> None:
    done = invoke("get", disk.image, "hostile", tmp_path)
    wanted = set(os.listdir(os.fsencode(disk.tree / "hostile")))
    assert done.returncode == 0
    assert set(os.listdir(os.fsencode(tmp_path))) == wanted
    assert os.readlink(os.fsencode(tmp_path / "link")) == LINK
    for name in wanted - {b"link"}:
        assert Path(os.fsdecode(os.fsencode(tmp_path) + b"/" + name)).read_bytes() == name


def test_holes_stay_holes(disk: Disk, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    assert invoke("get", disk.image, "docs/sub/sparse", copy).returncode == 0
    assert copy.stat().st_size == 5 << 20
    assert copy.stat().st_blocks * 512 <= 64 << 10


def test_nothing_is_overwritten_unless_forced(disk: Disk, tmp_path: Path) -> None:
    target = tmp_path / "a.txt"
    target.write_bytes(b"mine")
    for destination in (target, tmp_path):
        done = invoke("get", disk.image, "docs/a.txt", destination)
        assert (done.returncode, target.read_bytes()) == (2, b"mine")
        assert b"--force" in done.stderr
    assert invoke("get", disk.image, "docs", tmp_path).returncode == 1
    assert target.read_bytes() == b"mine"
    assert invoke("get", "--force", disk.image, "docs/a.txt", target).returncode == 0
    assert target.read_bytes() == b"hello\n"


def test_force_replaces_a_link_and_not_what_it_points_to(disk: Disk, tmp_path: Path) -> None:
    (tmp_path / "precious").write_bytes(b"mine")
    (tmp_path / "link").symlink_to("precious")
    assert invoke("get", "--force", disk.image, "docs/a.txt", tmp_path / "link").returncode == 0
    assert (tmp_path / "precious").read_bytes() == b"mine"
    assert (tmp_path / "link").read_bytes() == b"hello\n"


def test_names_that_lead_elsewhere_are_refused(disk: Disk, tmp_path: Path) -> None:
    target = tmp_path / "in" / "here"
    done = invoke("get", disk.image, "evil", target)
    assert done.returncode == 1
    good = {"good", "back\\slash", "C:drive"}
    assert names(tmp_path) == {"in", "in/here", *(f"in/here/{name}" for name in good)}
    assert (target / "good").read_bytes() == b"good"
    assert done.stderr.decode().count("its name leads elsewhere") == 2


@pytest.mark.parametrize("name", ["back\\slash", "C:drive"])
def test_a_file_whose_name_leads_elsewhere_needs_a_name(
    disk: Disk, tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(get, "IS_WINDOWS", True)
    assert invoke("get", disk.image, f"evil/{name}", tmp_path).returncode == 2
    assert names(tmp_path) == set()
    assert invoke("get", disk.image, f"evil/{name}", tmp_path / "named").returncode == 0
    assert (tmp_path / "named").read_bytes() == name.lower().encode()


@pytest.mark.parametrize("name", ["link", "abs"])
def test_a_link_alone_is_copied_as_a_link(disk: Disk, tmp_path: Path, name: str) -> None:
    assert invoke("get", disk.image, f"docs/{name}", tmp_path / "copy").returncode == 0
    assert os.readlink(tmp_path / "copy") == os.readlink(disk.tree / "docs" / name)


def test_a_special_file_alone_is_not_copied(disk: Disk, tmp_path: Path) -> None:
    done = invoke("get", disk.image, "docs/fifo", tmp_path / "copy")
    assert (done.returncode, names(tmp_path)) == (2, set())
    assert b"left out" in done.stderr


def test_nothing_is_copied_through_a_link_to_a_directory(disk: Disk, tmp_path: Path) -> None:
    (tmp_path / "real").mkdir()
    (tmp_path / "target").symlink_to("real")
    assert invoke("get", disk.image, "docs/sub", tmp_path / "target").returncode == 2
    (tmp_path / "outer").mkdir()
    (tmp_path / "outer" / "deep").symlink_to(tmp_path / "real")
    done = invoke("get", disk.image, "docs/sub", tmp_path / "outer")
    assert (done.returncode, names(tmp_path / "real")) == (1, set())
    assert b"left out: deep: a symbolic link is there" in done.stderr
    assert (tmp_path / "outer" / "sparse").exists()


@pytest.mark.parametrize("destination", ["missing/copy", "file/copy", "n" * 300])
@pytest.mark.slow
def test_a_place_that_cannot_be_written_is_trouble(disk: Disk, tmp_path: Path, destination: str) -> None:
    (tmp_path / "file").write_bytes(b"mine")
    done = b2d("get", disk.image, "docs/a.txt", tmp_path / destination)
    assert (done.returncode, done.stdout, names(tmp_path)) == (2, b"", {"file"})
    assert done.stderr.startswith(b"b2dinspect: ")
    assert done.stderr.count(b"\n") == 1


@pytest.mark.parametrize(
    ("fault", "status"), [(KeyboardInterrupt(), 130), (OSError(errno.ENOSPC, "No space left on device"), 2)]
)
@pytest.mark.parametrize("path", ["docs", "docs/sub/deep/b.bin"])
def test_stopped_halfway_leaves_no_part_of_a_file(
    disk: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: BaseException, status: int, path: str
) -> None:
    size = (disk.tree / "docs/sub/deep/b.bin").stat().st_size

    def fails(self: Maker, fd: int, look: Look) -> None:
        if os.fstat(fd).st_size == size:
            raise fault

    monkeypatch.setattr(Maker, "_seal", fails)
    done = invoke("get", disk.image, path, tmp_path / "copy")
    assert done.returncode == status
    assert not [name for name in names(tmp_path) if "b.bin" in name or ".part" in name or name == "copy/copy"]
    assert not (tmp_path / "copy").is_file()


def test_hard_links_are_links_again(disk: Disk, tmp_path: Path) -> None:
    image = Path(shutil.copy(disk.image, tmp_path))
    change_ext(image, "ln docs/a.txt docs/sub/twin", "set_inode_field docs/a.txt links_count 2")
    for options in ((), ("--force",)):
        done = invoke("get", *options, image, "docs", tmp_path / "copy")
        assert b"7 files" in done.stderr
        first, second = (tmp_path / "copy" / name for name in ("a.txt", "sub/twin"))
        assert first.samefile(second)
        assert (first.stat().st_nlink, second.read_bytes()) == (2, b"hello\n")
        assert not [name for name in names(tmp_path) if ".part" in name]


def test_a_hard_link_is_copied_where_there_are_none(
    disk: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuses(*_: object, **__: object) -> None:
        raise PermissionError(errno.EPERM, "Operation not permitted")

    image = Path(shutil.copy(disk.image, tmp_path))
    change_ext(image, "ln docs/a.txt docs/sub/twin", "set_inode_field docs/a.txt links_count 2")
    monkeypatch.setattr(os, "link", refuses)
    invoke("get", image, "docs", tmp_path / "copy")
    assert not (tmp_path / "copy/a.txt").samefile(tmp_path / "copy/sub/twin")
    assert (tmp_path / "copy/sub/twin").read_bytes() == b"hello\n"


def test_no_link_is_made_to_what_this_run_did_not_make(disk: Disk, tmp_path: Path) -> None:
    image = Path(shutil.copy(disk.image, tmp_path))
    change_ext(image, "ln docs/a.txt docs/sub/twin", "set_inode_field docs/a.txt links_count 2")
    (tmp_path / "copy").mkdir()
    (tmp_path / "copy/a.txt").write_bytes(b"mine")
    assert b"left out: a.txt" in invoke("get", image, "docs", tmp_path / "copy").stderr
    assert (tmp_path / "copy/sub/twin").read_bytes() == b"hello\n"
    assert (tmp_path / "copy/a.txt").read_bytes() == b"mine"


@needs("debugfs")
def test_a_file_that_is_not_all_there_is_left_out(disk: Disk, tmp_path: Path) -> None:
    blocks = run("debugfs", "-R", "blocks docs/sub/deep/b.bin", disk.image).stdout.split()
    cut = tmp_path / "cut.img"
    shutil.copy(disk.image, cut)
    os.truncate(cut, int(blocks[-1]) * 1024)
    target = tmp_path / "target"
    done = invoke("get", cut, "docs/sub", target)
    assert done.returncode == 1
    assert "b.bin" in done.stderr.decode()
    assert "deep/b.bin" not in names(target)
    assert not [name for name in names(target) if ".part" in name]
    assert invoke("get", cut, "docs/sub/deep/b.bin", target / "alone").returncode == 2
    assert not (target / "alone").exists()


def test_the_disk_image_itself_is_never_replaced(disk: Disk, tmp_path: Path) -> None:
    evidence = tmp_path / "good"  # the name of a file on the disk
    shutil.copy(disk.image, evidence)
    before = snapshot(evidence)
    done = invoke("get", "--force", evidence, "docs/a.txt", evidence)
    assert (done.returncode, snapshot(evidence)) == (2, before)
    assert b"the disk image itself" in done.stderr
    assert invoke("get", "--force", evidence, "evil", tmp_path).returncode == 1
    assert snapshot(evidence) == before
    with evidence.open("rb") as stream:
        command = [*PROGRAM, "get", "--force", "-", "docs/a.txt", str(evidence)]
        done = subprocess.run(command, stdin=stream, capture_output=True, timeout=PATIENCE)
    assert (done.returncode, snapshot(evidence)) == (2, before)


def test_the_disk_may_come_from_standard_input(disk: Disk, tmp_path: Path) -> None:
    done = b2d("get", "-", "docs/a.txt", tmp_path / "copy", stdin=disk.image.read_bytes())
    assert (done.returncode, done.stderr) == (0, b"")
    assert (tmp_path / "copy").read_bytes() == b"hello\n"


def test_cat_and_get_agree(disk: Disk, tmp_path: Path) -> None:
    done: subprocess.CompletedProcess[bytes] = invoke("cat", disk.image, "docs/sub/sparse")
    invoke("get", disk.image, "docs/sub/sparse", tmp_path / "copy")
    assert (tmp_path / "copy").read_bytes() == done.stdout


def test_a_secret_file_stays_secret(disk: Disk, tmp_path: Path) -> None:
    umask = os.umask(0o022)
    try:
        assert invoke("get", disk.image, "docs/a.txt", tmp_path / "copy").returncode == 0
    finally:
        os.umask(umask)
    assert (disk.tree / "docs/a.txt").stat().st_mode & 0o777 == 0o640
    assert (tmp_path / "copy").stat().st_mode & 0o777 == 0o640


def test_a_copy_keeps_modes_and_directories_their_times(disk: Disk, tmp_path: Path) -> None:
    image = Path(shutil.copy(disk.image, tmp_path))
    change_ext(
        image, "set_inode_field docs/a.txt mode 0104755", "set_inode_field docs/sub mode 040550",
        "set_inode_field docs/sub mtime @1000000000",
    )  # fmt: skip
    target = tmp_path / "copy"
    assert invoke("get", image, "docs", target).returncode == 1
    assert (target / "a.txt").stat().st_mode & 0o7777 == 0o755  # set-user-ID would now be yours
    status = (target / "sub").stat()
    assert (status.st_mode & 0o7777, status.st_mtime) == (0o750, 1_000_000_000)


@pytest.mark.skipif(getattr(os, "geteuid", lambda: -1)() != 0, reason="only root can give files away")
def test_owners_are_kept_on_request(disk: Disk, tmp_path: Path) -> None:
    image = Path(shutil.copy(disk.image, tmp_path))
    change_ext(
        image, "set_inode_field docs/a.txt mode 0104755", "set_inode_field docs/a.txt uid 1234",
        "set_inode_field docs/link gid 77",
    )  # fmt: skip
    assert invoke("get", "--owners", image, "docs", tmp_path / "copy").returncode == 1
    status = (tmp_path / "copy/a.txt").stat()
    assert (status.st_uid, status.st_mode & 0o7777) == (1234, 0o4755)
    assert (tmp_path / "copy/link").lstat().st_gid == 77


def test_names_that_differ_in_case_only(disk: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    image = Path(shutil.copy(disk.image, tmp_path))
    change_ext(image, f"write {__file__} docs/sub/SPARSE")
    monkeypatch.setattr(host, "_is_caseless", lambda _: True)
    done = invoke("get", image, "docs/sub", tmp_path / "copy")
    assert done.returncode == 1
    assert b"left out: sparse: this folder does not tell it from SPARSE" in done.stderr


def test_a_file_that_is_not_all_there_can_be_filled(disk: Disk, tmp_path: Path) -> None:
    blocks = [*map(int, run("debugfs", "-R", "blocks docs/sub/deep/b.bin", disk.image).stdout.split())]
    cut = Path(shutil.copy(disk.image, tmp_path))
    os.truncate(cut, blocks[-1] * 1024)
    done = invoke("get", "--fill-missing", cut, "docs/sub/deep/b.bin", tmp_path / "copy")
    whole = (disk.tree / "docs/sub/deep/b.bin").read_bytes()
    lost = sum(block >= blocks[-1] for block in blocks)
    kept = len(blocks) * 1024 - lost * 1024
    assert done.returncode == 2
    assert f"does not hold bytes {kept}-{len(whole) - 1} of it: zeros in their place" in done.stderr.decode()
    assert (tmp_path / "copy").read_bytes() == whole[:kept].ljust(len(whole), b"\0")


@needs("tar")
def test_a_tar_keeps_everything(disk: Disk, tmp_path: Path) -> None:
    image, value = Path(shutil.copy(disk.image, tmp_path)), tmp_path / "value"
    value.write_bytes(b"\1\0\0\2\0 caps")
    change_ext(
        image, f"ea_set -f {value} docs/a.txt security.capability", "ea_set docs/sub user.note hello",
        "ln docs/a.txt docs/twin", "set_inode_field docs/a.txt links_count 2", "cd docs", "mknod null c 1 3",
        "cd /",
        "set_inode_field docs/a.txt uid 3000000", "set_inode_field docs/a.txt mtime_extra 493827156",
    )  # fmt: skip
    done = invoke("get", image, "docs", "--tar", tmp_path / "docs.tar")
    assert (done.returncode, done.stdout) == (0, b"")
    with tarfile.open(tmp_path / "docs.tar") as tar:
        found = {member.name: member for member in tar}
        content = tar.extractfile(found["./sub/sparse"] if "./sub/sparse" in found else found["sub/sparse"])
        assert content is not None
        assert content.read() == (disk.tree / "docs/sub/sparse").read_bytes()
    a = found["a.txt"]
    assert (a.uid, a.mode, a.mtime) == (3_000_000, 0o640, TIME + 0.123456789)
    assert a.pax_headers["SCHILY.xattr.security.capability"].encode() == value.read_bytes()
    assert found["sub"].pax_headers["SCHILY.xattr.user.note"] == "hello"
    assert (found["twin"].type, found["twin"].linkname) == (tarfile.LNKTYPE, "a.txt")
    assert (found["null"].type, found["null"].devmajor, found["null"].devminor) == (tarfile.CHRTYPE, 1, 3)
    assert found["fifo"].isfifo()
    assert (tmp_path / "docs.tar").stat().st_size < 4 << 20  # 3 MiB of b.bin; the hole of 5 MiB is none
    listed = run("tar", "-tvf", tmp_path / "docs.tar").stdout.decode()
    assert "twin link to a.txt" in listed and "1,3" in listed


@needs("tar")
def test_tar_unpacks_what_was_there(disk: Disk, tmp_path: Path) -> None:
    command = [*PROGRAM, "get", str(disk.image), "/", "--tar", "-"]
    done = subprocess.run(command, capture_output=True, timeout=PATIENCE)
    run("tar", "-xf", "-", "-C", tmp_path, input=done.stdout)
    for path in disk.tree.rglob("*"):
        copy = tmp_path / path.relative_to(disk.tree)
        if path.is_file() and not path.is_symlink() and path.name not in ("QZQZQ", "QXQX"):
            assert copy.read_bytes() == path.read_bytes()
    assert done.returncode == 1
    assert done.stderr.count(b"its name leads elsewhere") == 2


def test_names_that_windows_cannot_take_are_left_out(
    disk: Disk, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(host, "_IS_WINDOWS", True)
    done = invoke("get", disk.image, "evil", tmp_path / "copy")
    assert (done.returncode, names(tmp_path / "copy")) == (1, {"good"})
    assert (
        rb"left out: back\\slash: Windows has no \\ in names" in done.stderr
    )  # escaped as all that is printed
    assert b"left out: C:drive: Windows has no : in names" in done.stderr
