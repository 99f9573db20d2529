"""The b2dprovision program as its users meet it: screens, JSON, statuses, kills, full disks."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from b2dinspect.cli.provision.common import parse_size
from b2dinspect.cli.provision.main import app
from b2dinspect.errors import UsageError
from b2dinspect.inspection.walk import inspect
from b2dinspect.provisioning.faults import FAULTS
from b2dinspect.provisioning.samples.samples import RECIPES
from tests.cli.helpers import SAMPLES, environment, is_harmless, validator
from tests.disks import TAR, patched, provisioned
from tests.opened import keep
from tests.oracles import PATIENCE, needs, qemu_processes, run

pytestmark = needs("ssh")

PROGRAM = (sys.executable, "-m", "b2dinspect.cli.provision")
COMMANDS = ("run", "build", "boot", "convert", "repair", "sweep", "samples", "incidents", "faults")
SMALL = ("--size", "1200MiB", "--format", "vdi")


def invoke(*words: object, columns: int = 80, stdin: str = "") -> Any:
    env = {"COLUMNS": str(columns), "TERM": "xterm-256color"}
    return CliRunner().invoke(
        app,
        [str(word) for word in words],
        env=env,
        input=stdin,
        catch_exceptions=False,
        terminal_width=columns - 2,
    )


def start(*words: object, **more: Any) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [*PROGRAM, *(str(word) for word in words)],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
        **more,
    )


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@pytest.mark.parametrize("columns", [60, 80, 120])
@pytest.mark.parametrize("command", ["", *COMMANDS])
@pytest.mark.slow(but=18)
def test_help_has_an_example_and_fits(command: str, columns: int) -> None:
    done = invoke(*command.split(), "--help", columns=columns)
    text = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout)
    assert done.exit_code == 0
    assert f"Example: b2dprovision {command}" in " ".join(text.split())
    assert max(len(line) for line in text.splitlines()) <= columns


@pytest.mark.slow
def test_a_run_shows_every_stage_and_where_everything_is(tmp_path: Path) -> None:
    folder = tmp_path / "Häuser und Gärten"
    done = invoke("run", "demo", "--dir", folder, *SMALL)
    assert (done.exit_code, done.stderr) == (0, "")
    for words in (
        " 1  Make a key pair",
        "16  Boot again",
        "$ mkfs.ext4 -q -L boot2docker-data -i 8192",
        "Logged in with the key",
    ):
        assert words in done.stdout
    assert "disk 0 (file 0x200000) 4608 bytes  626f6f7432646f63  boot2doc" in done.stdout
    assert f"machine  {folder}/demo\n" in done.stdout
    assert f"b2dprovision boot '{folder}/demo' --serve" in done.stdout
    assert is_harmless(done.stdout)
    assert names_in(folder) == ["demo"]


def test_json_is_one_valid_event_a_line(tmp_path: Path) -> None:
    done = invoke("run", "--dir", tmp_path, *SMALL, "--json", "--fault", "no-magic", "--guest", "minikube")
    events = [json.loads(line) for line in done.stdout.splitlines()]
    for event in events:
        validator("provision").validate(event)
    assert done.exit_code == 1
    assert [event["id"] for event in events if event["event"] == "done" and event["status"] == "failed"] == [
        *("magic", "unpack", "login", "second-boot")
    ]
    assert events[-1]["event"] == "finished"
    assert not events[-1]["logged_in"]


def test_a_screen_of_a_fault_names_what_failed(tmp_path: Path) -> None:
    done = invoke("run", "--dir", tmp_path, *SMALL, "--fault", "key-mode")
    assert done.exit_code == 1
    assert "failed: permissions 0644" in " ".join(done.stdout.split())
    assert "Nobody can log in." in done.stdout


@pytest.mark.slow
def test_step_waits_after_each_stage(tmp_path: Path) -> None:
    done = invoke("run", "--dir", tmp_path, *SMALL, "--step", stdin="\n" * 16)
    assert done.exit_code == 0
    assert done.stderr.count("Enter goes on") == 16


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("run", "../evil"), "is no machine name"),
        (("run", "x", "--size", "1KiB"), "cannot be made"),
        (("run", "x", "--size", "big"), "is no size"),
        (("run", "x", "--format", "floppy"), "cannot write the format 'floppy'"),
        (("run", "x", "--kvm"), "need --engine qemu"),
        (("run", "x", "--engine", "qemu", "--iso", "nowhere.iso"), "no such file"),
        (("run", "x", "--step", "--json"), "choose one"),
        (("run", "x", "--key", "/dev/null"), "no SSH key in it"),
        (("build", "disk.floppy"), "the name tells no format"),
        (("build", "disk.vdi", "--fault", "key-mode"), "does not show on a disk"),
        (("boot", "nothing.vdi"), "nothing.vdi: no such file, directory, or machine"),
        (("boot", "x", "--in-place", "--out", "y.vdi"), "choose one"),
    ],
)
def test_nonsense_is_refused_in_one_line(
    words: tuple[str, ...], message: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    done = invoke(*words)
    assert done.exit_code == 2
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert names_in(tmp_path) == []


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("20000MiB", 20971520000),
        ("20GB", 20 * 10**9),
        ("1.5 GiB", 3 << 29),
        ("1048577", 1048576),
        ("64m", 64 << 20),
    ],
)
def test_sizes_are_read_as_people_write_them(text: str, size: int) -> None:
    assert parse_size(text) == size


@pytest.mark.parametrize("text", ["", "-1", "1e9", "20 parsecs", "9" * 20, "9TiB", "0"])
def test_other_sizes_are_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse_size(text)


@pytest.mark.slow
def test_build_then_boot_in_place_and_on_a_copy(tmp_path: Path) -> None:
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "key")
    disk, kept = tmp_path / "disk.vdi", tmp_path / "kept.raw"
    made = invoke("build", disk, "--key", tmp_path / "key.pub", "--size", "1200MiB")
    assert (made.exit_code, made.stderr) == (0, "")
    before = disk.read_bytes()
    copy = invoke("boot", disk, "--key", tmp_path / "key", "--out", kept, "--guest", "minikube")
    assert copy.exit_code == 0
    assert disk.read_bytes() == before
    assert keep(inspect(str(kept))).guest.profile == "minikube"
    assert invoke("boot", disk, "--key", tmp_path / "key", "--in-place").exit_code == 0
    assert keep(inspect(str(disk))).guest.profile == "autoformat"
    assert invoke("build", disk).exit_code == 2
    assert invoke("build", disk, "--force", "--size", "1200MiB").exit_code == 0


@pytest.mark.slow
def test_boot_takes_a_machine_directory_and_a_packed_sample(tmp_path: Path) -> None:
    assert invoke("run", "demo", "--dir", tmp_path, *SMALL).exit_code == 0
    assert invoke("boot", tmp_path / "demo").exit_code == 0
    done = invoke("boot", SAMPLES / "userdata-missing.vdi.gz")
    assert done.exit_code == 1
    assert "no /var/lib/boot2docker/userdata.tar" in " ".join(done.stdout.split())


def test_boot_without_a_key_says_that_it_had_none_to_try() -> None:
    done = invoke("boot", SAMPLES / "fresh.vdi.gz")
    assert done.exit_code == 1
    assert "No login was tried: no private key was given, and none lies beside the disk." in done.stdout


def test_boot_in_place_keeps_owner_and_mode_and_a_link(tmp_path: Path) -> None:
    disk, link = tmp_path / "kept" / "disk.img", tmp_path / "link.img"
    disk.parent.mkdir()
    assert invoke("build", disk, "--size", "1200MiB").exit_code == 0
    disk.chmod(0o664)
    if os.geteuid() == 0:
        os.chown(disk, 1234, 2345)
    link.symlink_to(disk)
    before = disk.stat()
    invoke("boot", link, "--in-place")
    after = disk.stat()
    assert (after.st_mode, after.st_uid, after.st_gid) == (before.st_mode, before.st_uid, before.st_gid)
    assert after.st_ino != before.st_ino
    assert link.is_symlink()
    assert keep(inspect(str(link))).state == "provisioned"


def test_the_next_run_names_what_a_killed_one_left(tmp_path: Path) -> None:
    (tmp_path / ".0123456789ab.part").write_bytes(b"half")
    done = invoke("build", tmp_path / "disk.img", "--size", "1200MiB")
    assert done.exit_code == 0
    assert f"left .0123456789ab.part; b2dprovision sweep {tmp_path}" in done.stderr
    assert "left by a killed run" in invoke("sweep", tmp_path, "--dry-run").stdout
    assert names_in(tmp_path) == [".0123456789ab.part", "disk.img"]
    asked = invoke("sweep", tmp_path)
    assert (asked.exit_code, asked.stderr) == (
        1,
        "b2dprovision: to remove it, say --force\nb2dprovision: nothing is removed\n",
    )
    assert names_in(tmp_path) == [".0123456789ab.part", "disk.img"]
    assert "removed" in invoke("sweep", tmp_path, "--force").stdout
    assert names_in(tmp_path) == ["disk.img"]
    assert "nothing was left behind" in invoke("sweep", tmp_path).stdout
    assert invoke("sweep", tmp_path / "nowhere").exit_code == 2


def test_work_folders_are_swept_only_when_they_are_asked_for(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    temporary, machines = tmp_path / "temporary", tmp_path / "machines"
    for path in (temporary / "b2dprovision-abc_1234", temporary / "b2dprovision-mine", machines):
        path.mkdir(parents=True, mode=0o700)
    monkeypatch.setattr("tempfile.tempdir", str(temporary))
    assert invoke("sweep", machines, "--force").stdout == "nothing was left behind\n"
    assert names_in(temporary) == ["b2dprovision-abc_1234", "b2dprovision-mine"]
    assert invoke("sweep", machines, "--work-folders", "--force").exit_code == 0
    assert names_in(temporary) == ["b2dprovision-mine"]  # no name that a run gives


def test_boot_in_place_formats_nothing_that_holds_something(tmp_path: Path) -> None:
    disk = patched(provisioned("autoformat"), (0, TAR.ljust(34 * 512, b"\0")))  # only the backup GPT is left
    image = tmp_path / "disk.img"
    with image.open("wb") as file:
        file.truncate(disk.size)
        for extent in disk.extents():
            if extent.kind == "data":
                file.seek(extent.offset)
                file.write(disk.pread(extent.offset, extent.length))
    before = image.stat().st_mtime_ns
    done = invoke("boot", image, "--in-place")
    assert done.exit_code == 2
    assert "would FORMAT a disk that holds something" in done.stderr
    assert image.stat().st_mtime_ns == before


def test_boot_in_place_refuses_what_it_cannot_change(tmp_path: Path) -> None:
    shutil.copy(SAMPLES / "fresh.vdi.gz", tmp_path / "fresh.vdi.gz")
    done = invoke("boot", tmp_path / "fresh.vdi.gz", "--in-place")
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
    assert names_in(tmp_path) == ["fresh.vdi.gz"]


def test_faults_are_explained() -> None:
    text = invoke("faults", columns=120).stdout
    for fault in FAULTS.values():
        assert f"{fault.name} " in text
        assert fault.sentence in text


def test_samples_are_rebuilt_with_their_manifest(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(
        "b2dinspect.provisioning.samples.samples.RECIPES", {"fresh.vdi": RECIPES["fresh.vdi"]}
    )
    shutil.copy(SAMPLES / "manifest.json", tmp_path)
    assert invoke("samples", tmp_path).exit_code == 0
    assert (tmp_path / "fresh.vdi.gz").read_bytes() == (SAMPLES / "fresh.vdi.gz").read_bytes()
    assert (tmp_path / "manifest.json").read_bytes() == (SAMPLES / "manifest.json").read_bytes()


# --- killed, interrupted, out of room ---


def leftovers(folder: Path) -> list[Path]:
    """Return what a killed run may not leave: anything under a final name that is not whole, or readable."""
    bad = []
    for path in folder.rglob("*"):
        is_hidden = any(part.startswith(".") for part in path.relative_to(folder).parts)
        if path.name.startswith("id_rsa") and path.stat().st_mode & 0o077:
            bad.append(path)
        if (
            path.name == "disk.vdi"
            and not is_hidden
            and keep(inspect(str(path))).state not in (*("fresh", "provisioned"),)
        ):
            bad.append(path)
    return bad


def is_gone(group: int) -> bool:
    """Wait until nobody of a process group is left."""
    deadline = time.monotonic() + PATIENCE
    while time.monotonic() < deadline:
        try:
            os.killpg(group, 0)
        except ProcessLookupError:
            return True
        time.sleep(0.1)
    return False


@pytest.mark.no_cover
@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("how", ["SIGKILL", "SIGINT", "SIGTERM"])
@pytest.mark.slow
def test_killed_at_any_moment(how: str, seed: int, tmp_path: Path) -> None:
    process = start("run", "--dir", tmp_path, *SMALL, "--serve", start_new_session=True)
    assert process.stdout is not None
    process.stdout.readline()  # until then the interpreter is starting, and an interrupt is its business
    time.sleep(random.Random(seed).uniform(0, 1.5))
    process.send_signal(getattr(signal, how))
    _, complaint = process.communicate(timeout=PATIENCE)
    assert process.returncode in (-9, -2, -15, 130, 0)
    assert b"Traceback" not in complaint
    assert is_gone(process.pid)
    assert leftovers(tmp_path) == []
    if how != "SIGKILL":
        assert set(names_in(tmp_path)) <= {"default"}
    again = invoke("run", "--dir", tmp_path, *SMALL, "--force")
    assert again.exit_code == 0
    assert keep(inspect(str(tmp_path / "default" / "disk.vdi"))).state == "provisioned"


@needs("qemu-system-x86_64", "sshd", "busybox", "dash")
@pytest.mark.slow
def test_killed_qemu_runs_leave_no_qemu(tmp_path: Path) -> None:
    if not list(Path("/boot").glob("vmlinuz-*")):
        pytest.skip("not installed: a Linux kernel in /boot")
    process = start("run", "--dir", tmp_path, *SMALL, "--engine", "qemu", "--json")
    assert process.stdout is not None
    for line in process.stdout:
        if json.loads(line).get("id") == "find-label":
            break
    assert qemu_processes(tmp_path)
    process.kill()
    process.communicate(timeout=PATIENCE)
    deadline = time.monotonic() + PATIENCE
    while qemu_processes(tmp_path):
        assert time.monotonic() < deadline, "QEMU outlives the program that started it"
        time.sleep(0.2)
    assert leftovers(tmp_path) == []


@pytest.fixture
def small_disk(tmp_path: Path) -> Any:
    folder = tmp_path / "small"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=1m", "tmpfs", folder], capture_output=True)
    if mounted.returncode:
        pytest.skip("a small tmpfs cannot be mounted here: " + mounted.stderr.decode().strip())
    yield folder
    subprocess.run(["umount", folder], check=True)


@pytest.mark.parametrize("words", [("run", "--dir"), ("build",)])
@pytest.mark.slow
def test_a_full_disk_is_one_clear_error(words: tuple[str, ...], small_disk: Path) -> None:
    place = small_disk if words[0] == "run" else small_disk / "disk.vdi"
    extra = () if words[0] == "run" else ("--state", "provisioned", "--guest", "minikube")
    process = start(*words, place, *extra, "--size", "20GiB", "--format", "vdi")
    _, complaint = process.communicate(timeout=PATIENCE)
    assert process.returncode == 2
    assert complaint.count(b"\n") == 1
    assert (b"1 MiB free" if words[0] == "run" else b"No space left on device") in complaint
    assert names_in(small_disk) == []


def test_a_secret_disk_stays_secret(tmp_path: Path) -> None:
    source = tmp_path / "disk.img"
    source.write_bytes(bytes(1 << 20))
    source.chmod(0o600)
    assert invoke("convert", source, tmp_path / "disk.vdi").exit_code == 0
    assert (tmp_path / "disk.vdi").stat().st_mode & 0o777 == 0o600


def test_each_program_signs_with_its_own_name(tmp_path: Path) -> None:
    done = invoke("convert", tmp_path / "nothing.vdi", tmp_path / "disk.img")
    assert done.exit_code == 2
    assert done.stderr.startswith("b2dprovision: ")


@pytest.mark.parametrize("ending", ["vmdk", "vdi", "qcow2"])
def test_what_a_cut_disk_lacks_is_filled_only_when_that_is_asked_for(ending: str, tmp_path: Path) -> None:
    cut, sound, source = (tmp_path / name for name in (f"cut.{ending}", "sound.img", "source.img"))
    data = os.urandom(4 << 20)
    source.write_bytes(data)
    assert invoke("convert", source, cut).exit_code == 0
    os.truncate(cut, cut.stat().st_size - (5 << 18))
    refused = invoke("convert", cut, sound)
    assert (refused.exit_code, sound.exists()) == (2, False)
    done = invoke("convert", cut, sound, "--fill-missing", "--verify")
    assert done.exit_code == 1
    ranges = [
        (int(start), int(end) + 1) for start, end in re.findall(r"bytes (\d+) to (\d+) of", done.stderr)
    ]
    assert ranges
    expected = bytearray(data)
    for start, end in ranges:
        expected[start:end] = bytes(end - start)
    assert sound.read_bytes() == expected
