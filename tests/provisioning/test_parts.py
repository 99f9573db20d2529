"""Key pairs, partition layout, ext4 workbench, initramfs and leash, against programs of others."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from b2dinspect.containers.writers import new_disk
from b2dinspect.errors import SourceError, ToolError, UsageError, UserdataError
from b2dinspect.evidence.file import open_evidence
from b2dinspect.filesystems.ext4 import Ext4
from b2dinspect.guests import GEOMETRIES, PROFILES, SATA, Geometry, GuestProfile, data_sectors, swap_area
from b2dinspect.identity import Identities
from b2dinspect.newfile import NewFile
from b2dinspect.provisioning.disk.images import WorkDisk
from b2dinspect.provisioning.keypair import load_key, make_key
from b2dinspect.provisioning.programs import run_program
from b2dinspect.provisioning.real import leash
from b2dinspect.provisioning.real.initramfs import Node, kernel_version, pack
from b2dinspect.provisioning.simulated.ext4 import Ext4Workbench, Placed
from b2dinspect.provisioning.simulated.layout import fits, swap_writes, table_writes
from tests.disks import MIB, PUB, TAR, busybox_fdisk, fdisk, make_disk, open_file
from tests.oracles import needs, run

by_profile = pytest.mark.parametrize("profile", PROFILES, ids=lambda profile: profile.name)


# --- key pairs ---


@needs("ssh-keygen", "openssl")
def test_rsa_is_what_libmachine_makes(tmp_path: Path) -> None:
    pair, path = make_key("rsa"), tmp_path / "id_rsa"
    assert pair.private.startswith(b"-----BEGIN RSA PRIVATE KEY-----\n")
    assert pair.public.count(b" ") == 1
    path.write_bytes(pair.private)
    path.chmod(0o600)
    assert run("ssh-keygen", "-y", "-f", path).stdout == pair.public
    assert b"RSA key ok" in run("openssl", "rsa", "-in", path, "-check", "-noout").stdout
    assert b"2048 " in run("ssh-keygen", "-lf", path).stdout


@needs("ssh-keygen")
def test_keys_are_loaded_from_either_half(tmp_path: Path) -> None:
    path = tmp_path / "key"
    run("ssh-keygen", "-q", "-t", "ed25519", "-C", "me", "-N", "", "-f", path)
    private, public = path.read_bytes(), path.with_suffix(".pub").read_bytes()
    assert load_key(path) == load_key(path.with_suffix(".pub")) == (private, public)
    path.with_suffix(".pub").unlink()
    assert load_key(path).public.split() == public.split()[:2]
    (tmp_path / "alone.pub").write_bytes(PUB)
    assert load_key(tmp_path / "alone.pub") == (b"", PUB)


@needs("ssh-keygen")
def test_other_files_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "key"
    with pytest.raises(SourceError, match="No such file"):
        load_key(path)
    for content in (b"", b"hello\n", b"ssh-rsa AAAA\n"):
        path.write_bytes(content)
        with pytest.raises(UsageError, match="no SSH key in it"):
            load_key(path)
    path.write_bytes(PUB * 1000)
    with pytest.raises(UsageError, match="larger than any key file"):
        load_key(path)
    path.write_bytes(make_key("rsa").private[:300])
    with pytest.raises(UserdataError):
        load_key(path)


# --- partition tables ---


@needs("fdisk", "busybox", "sfdisk")
@by_profile
@pytest.mark.parametrize("size", [1200 * MIB, 20000 * MIB, 3000 * MIB + 512 * 77])
@pytest.mark.parametrize("geometry", GEOMETRIES, ids=str)
def test_the_table_is_the_one_that_fdisk_makes(profile: GuestProfile, size: int, geometry: Geometry) -> None:
    if profile.fdisk == "util-linux" and geometry != SATA:
        pytest.skip("util-linux's fdisk aligns to MiB and looks at no geometry")
    theirs = make_disk(size, (0, TAR))
    if profile.fdisk == "busybox":
        busybox_fdisk(theirs, *profile.commands.fdisk, heads=geometry.heads, sectors=geometry.sectors)
    else:
        (answers,) = profile.commands.fdisk
        fdisk(theirs, *answers[:-1])
    ours = make_disk(size, (0, TAR), *table_writes(profile, size, geometry, Identities()))
    tables = [json.loads(run("sfdisk", "-J", path).stdout)["partitiontable"] for path in (theirs, ours)]
    rows = [
        sorted((part["node"][-1], part["start"], part["size"], part["type"]) for part in table["partitions"])
        for table in tables
    ]
    assert rows[0] == rows[1]
    assert tables[0]["label"] == tables[1]["label"]
    first, last = data_sectors(profile, size // 512, geometry)
    assert rows[1][0][1:3] == (first, last + 1 - first)
    if profile.fdisk == "busybox":
        assert open_file(ours).pread(0, 8192) == open_file(theirs).pread(0, 8192)


@needs("blkid")
@pytest.mark.parametrize(
    "profile", [profile for profile in PROFILES if profile.swap], ids=lambda profile: profile.name
)
def test_swap_is_known_to_blkid(profile: GuestProfile) -> None:
    start, end = swap_area(profile)
    ((offset, data),) = swap_writes(profile, SATA, Identities())
    path = make_disk((end + 1 - start) * 512, (offset - start * 512, data))
    said = run("blkid", "-p", "-o", "export", path).stdout.decode()
    assert "TYPE=swap" in said
    assert (f"LABEL={profile.swap_label.decode()}" in said) == bool(profile.swap_label)


@by_profile
def test_small_disks_do_not_fit(profile: GuestProfile) -> None:
    assert fits(profile, 1200 * MIB, SATA)
    assert fits(profile, 10 * MIB, SATA) == (not profile.swap)
    assert not fits(profile, 2 * MIB, SATA)


# --- ext4 ---


@needs("mke2fs", "debugfs", "e2fsck")
@by_profile
def test_the_workbench_keeps_e2fsck_content(profile: GuestProfile, tmp_path: Path) -> None:
    image = tmp_path / "ext4"
    bench = Ext4Workbench(image, 200 * MIB, Identities())
    bench.make(profile, "name")
    bench.fill(
        profile.makes, Placed("var/lib/boot2docker/userdata.tar", PUB), open_to_all=profile.open_to_all
    )
    run("e2fsck", "-fn", image)
    assert content_of(image) == PUB
    stat = run("debugfs", "-R", "stat var/lib/boot2docker/userdata.tar", image).stdout.decode()
    assert "Mode:  0644" in stat
    assert "User:     0   Group:     0" in stat
    bench.replace(Placed("var/lib/boot2docker/userdata.tar", PUB * 30))
    run("e2fsck", "-fn", image)
    assert content_of(image) == PUB * 30
    bench.remove("var/lib/boot2docker/userdata.tar")
    run("e2fsck", "-fn", image)
    bench.mark_unclean()
    assert b"not clean" in run("dumpe2fs", "-h", image).stdout


def content_of(image: Path) -> bytes:
    source = open_evidence(str(image))
    files = Ext4(source)
    try:
        return files.content(files.find(b"/var/lib/boot2docker/userdata.tar")).pread(0, 1 << 20)
    finally:
        files.close()
        source.close()


@needs("mke2fs", "debugfs")
def test_only_changed_pages_reach_the_disk(tmp_path: Path) -> None:
    size, offset = 64 * MIB, MIB
    with NewFile(tmp_path / "disk") as file:
        disk = WorkDisk(new_disk("raw", file, size + offset, Identities()))
        bench = Ext4Workbench(tmp_path / "ext4", size, Identities())
        bench.make(PROFILES[0], "name")
        bench.check_in(disk, offset)
        disk.changes()
        bench.check_in(disk, offset)
        assert disk.changes() == ()
        again = Ext4Workbench(tmp_path / "again", size, Identities())
        again.check_out(disk, offset)
        assert (tmp_path / "again").read_bytes() == (tmp_path / "ext4").read_bytes()
        again.fill(["new"])
        again.check_in(disk, offset)
        changes = disk.changes()
        assert 0 < sum(one.length for one in changes) < MIB
        assert all(one.length % 4096 == one.virtual_offset % 4096 == 0 for one in changes)
        assert disk.pread(offset, size) == (tmp_path / "again").read_bytes()


def test_a_program_that_fails_is_quoted() -> None:
    with pytest.raises(ToolError, match=r"mke2fs failed: .+"):
        run_program("mke2fs", "/nonexistent/disk")


# --- initramfs, leash ---


@needs("cpio")
def test_the_archive_is_read_by_cpio(tmp_path: Path) -> None:
    nodes = [
        Node("init", 0o100755, b"#!/bin/sh\n"),
        Node("a/b/link", 0o120777, b"../x"),
        Node("a/e", 0o100644),
    ]
    archive = pack(nodes)
    subprocess.run(["cpio", "-id", "--quiet"], input=archive, cwd=tmp_path, check=True)
    assert (tmp_path / "init").read_bytes() == b"#!/bin/sh\n"
    assert os.readlink(tmp_path / "a" / "b" / "link") == "../x"
    assert (tmp_path / "a" / "e").stat().st_size == 0


def test_kernel_version_is_read_from_its_header(tmp_path: Path) -> None:
    head = bytearray(0x400)
    head[0x202:0x206] = b"HdrS"
    head[0x20E:0x210] = (0x100).to_bytes(2, "little")
    head[0x300:0x320] = b"6.1.0-test (builder) #1 SMP".ljust(32, b"\0")
    (tmp_path / "kernel").write_bytes(head)
    assert kernel_version(tmp_path / "kernel") == "6.1.0-test"
    (tmp_path / "other").write_bytes(b"ELF")
    with pytest.raises(ToolError, match="is no x86 Linux kernel"):
        kernel_version(tmp_path / "other")
    with pytest.raises(ToolError, match="No such file"):
        kernel_version(tmp_path / "missing")


def is_alive(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


def wait_until_gone(pid: int) -> bool:
    deadline = time.monotonic() + 10
    while is_alive(pid) and time.monotonic() < deadline:
        time.sleep(0.05)
    return not is_alive(pid)


SHELL = "echo $$; read line; echo got $line; while true; do sleep 0.1; done"


@pytest.mark.parametrize("end", ["closed", "killed"])
def test_a_leash_ends_the_program_with_its_owner(end: str) -> None:
    script = (
        "import subprocess, sys, time\n"
        "child = subprocess.Popen(sys.argv[1:], stdin=subprocess.PIPE)\n"
        "child.stdin.write(b'hello\\n'); child.stdin.flush()\n"
        "sys.stdin.read(); child.stdin.close(); child.wait()\n"
    )
    command = [sys.executable, "-c", script, sys.executable, leash.__file__, "sh", "-c", SHELL]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as owner:
        assert owner.stdout is not None
        pid = int(owner.stdout.readline())
        assert owner.stdout.readline() == b"got hello\n"
        assert is_alive(pid)
        if end == "killed":
            owner.send_signal(signal.SIGKILL)
        assert owner.stdin is not None
        owner.stdin.close()
        assert wait_until_gone(pid)


def test_a_leash_gives_back_the_exit_status() -> None:
    command = [sys.executable, leash.__file__, "sh", "-c", "exit 7"]
    with subprocess.Popen(command, stdin=subprocess.PIPE) as process:
        assert process.wait(30) == 7  # its standard input is still open: a closed one would end it
