"""The whole provision by the simulated guest: stages, faults, lessons, and what it leaves behind."""

from __future__ import annotations

import json
import os
import shutil
import socket
import threading
from pathlib import Path

import pytest

from b2dinspect.containers.writers import written_formats
from b2dinspect.errors import ToolError, UsageError
from b2dinspect.identity import Identities
from b2dinspect.inspection.walk import inspect
from b2dinspect.provisioning import login, programs
from b2dinspect.provisioning.build import STATES, build
from b2dinspect.provisioning.events import Serving, Started
from b2dinspect.provisioning.faults import FAULTS
from b2dinspect.provisioning.host.drivers import DRIVERS
from b2dinspect.provisioning.keypair import KeyPair
from b2dinspect.provisioning.pipeline import boot_image, provision
from b2dinspect.provisioning.simulated import simulate
from b2dinspect.userdata.tarball import MAGIC
from tests.disks import PUB, PUB4096, TAR, TAR4096
from tests.opened import keep
from tests.oracles import needs, run
from tests.provisioning.plans import GUESTS, MIB, SIZE, key_pair, plan, tell

pytestmark = needs("ssh")

HOST = ["key", "tar", "disk", "machine"]
GUEST = ["find-label", "choose-disk", "magic", "save", "partition", "swap", "mkfs", "fill", "unpack", "sshd"]
NO_KEY = ["unpack", "login", "second-boot"]


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir()) if folder.exists() else []


@pytest.mark.parametrize("image_format", sorted(written_formats()))
@pytest.mark.parametrize("guest", GUESTS)
@pytest.mark.slow
def test_a_machine_lets_its_key_in_twice(guest: str, image_format: str, tmp_path: Path) -> None:
    story = tell(provision(plan(tmp_path, guest, format=image_format)))
    assert [event.id for event in story.events if isinstance(event, Started)] == [
        *HOST,
        *GUEST,
        "login",
        "second-boot",
    ]
    assert story.failed == []
    assert story.end.logged_in
    assert story.texts.count("logged in without a password; whoami says: docker") == 2
    assert sum(text.startswith("a wrong key is refused") for text in story.texts) == 2
    assert story.done["second-boot"].writes == ()
    facts = keep(inspect(story.end.disk))
    assert (facts.state, facts.guest.profile, facts.container.format) == ("provisioned", guest, image_format)
    modes = {path.name: path.stat().st_mode & 0o777 for path in (tmp_path / "default").iterdir()}
    assert set(modes.values()) == {0o600}
    assert set(modes) == {"config.json", "id_rsa", "id_rsa.pub", Path(story.end.disk).name}


@needs("qemu-img")
@pytest.mark.slow
def test_the_hyperv_disk_is_a_resized_vhd(tmp_path: Path) -> None:
    story = tell(provision(plan(tmp_path, driver=DRIVERS["hyperv"], format="vhd", size=20000 * MIB)))
    assert story.end.logged_in
    assert Path(story.end.disk).name == "disk.vhd"
    said = json.loads(run("qemu-img", "info", "--output=json", "-f", "vpc", story.end.disk).stdout)
    assert said["virtual-size"] == 20000 * MIB
    footer = (
        keep(inspect(story.end.disk))
        .container.headers[0]
        .layout.parse(Path(story.end.disk).read_bytes()[:512])
    )
    assert (footer.original_size, footer.current_size) == (10 * MIB, 20000 * MIB)


@needs("e2fsck", "sfdisk", "sgdisk", "qemu-img", "dumpe2fs")
@pytest.mark.parametrize("guest", GUESTS)
@pytest.mark.slow
def test_other_programs_accept_the_disk(guest: str, tmp_path: Path) -> None:
    disk = Path(tell(provision(plan(tmp_path, guest))).end.disk)
    run("qemu-img", "check", disk)
    raw = tmp_path / "raw"
    run("qemu-img", "convert", "-O", "raw", disk, raw)
    assert b"No errors detected" in run("sfdisk", "--verify", raw).stdout
    if guest != "automount":
        assert b"No problems found" in run("sgdisk", "-v", raw).stdout
    part = keep(inspect(str(raw))).volumes[0].partition
    with raw.open("rb") as file, (tmp_path / "ext4").open("wb") as out:
        file.seek(part.offset)
        while data := file.read(MIB):
            out.seek(len(data), os.SEEK_CUR) if not data.strip(b"\0") else out.write(data)
        out.truncate(part.size)
    run("e2fsck", "-fn", tmp_path / "ext4")


FAILURES = {
    "truncated-key": ["login", "second-boot"],
    "many-keys": ["login", "second-boot"],
    "no-magic": ["magic", *NO_KEY],
    "old-iso": ["find-label", *NO_KEY],
    "interrupted-create": ["partition", *NO_KEY],
    "mkfs-skipped": ["mkfs", "fill", *NO_KEY],
    "wrong-label": ["fill", *NO_KEY],
    "crash-before-move": ["mkfs", "second-boot"],
    "userdata-lost": ["second-boot"],
    "unclean": [],
    "key-regenerated": ["login", "second-boot"],
    "key-mode": ["login", "second-boot"],
    "key-moved": ["login", "second-boot"],
    "config-cut": ["login", "second-boot"],
}


@pytest.mark.parametrize("guest", ["automount", "autoformat"])
@pytest.mark.parametrize("fault", FAULTS)
@pytest.mark.slow
def test_a_fault_shows_where_the_login_dies(fault: str, guest: str, tmp_path: Path) -> None:
    story = tell(provision(plan(tmp_path, guest, fault=fault)))
    assert story.failed == FAILURES[fault]
    assert story.end.logged_in == (not FAILURES[fault])


def test_every_fault_has_its_expectation() -> None:
    assert set(FAILURES) == set(FAULTS)


@pytest.mark.parametrize(
    ("fault", "words"),
    [
        ("key-mode", "permissions 0644 for"),
        ("key-moved", "no such file or directory"),
        ("config-cut", "unexpected end of JSON input"),
        ("key-regenerated", "Permission denied"),
    ],
)
def test_the_login_dies_in_the_words_of_the_original(fault: str, words: str, tmp_path: Path) -> None:
    assert words in tell(provision(plan(tmp_path, fault=fault))).done["login"].reason


def test_autoformat_formats_a_disk_without_marker_and_the_others_leave_it(tmp_path: Path) -> None:
    for guest in GUESTS:
        story = tell(provision(plan(tmp_path / guest, guest, fault="no-magic")))
        assert (story.done["mkfs"].status == "done") == (guest == "autoformat")
        assert story.done["save"].status == "skipped"


def test_deleted_keys_are_back_after_a_reboot(tmp_path: Path) -> None:
    story = tell(provision(plan(tmp_path, tamper="delete-keys")))
    assert any(text.startswith("the login is refused now") for text in story.texts)
    assert story.end.logged_in
    assert story.done["tamper"].writes == ()


@pytest.mark.slow
def test_a_replaced_userdata_tar_rules_after_a_reboot(tmp_path: Path) -> None:
    story = tell(provision(plan(tmp_path, tamper="replace-userdata")))
    assert story.end.logged_in
    assert story.done["tamper"].writes
    private = tmp_path / "default" / "new_id_rsa"
    assert private.stat().st_mode & 0o777 == 0o600
    public = run("ssh-keygen", "-y", "-f", private).stdout.split()[1]
    assert [
        key.line.raw.split()[1] for key in keep(inspect(story.end.disk)).keys if key.source == "data"
    ] == [
        public,
        public,
    ]


def test_each_stage_tells_which_bytes_it_changed(tmp_path: Path) -> None:
    story = tell(provision(plan(tmp_path, "automount")))
    fresh, table = story.done["disk"].writes, story.done["partition"].writes
    assert [(write.virtual_offset, write.length, write.head[:29]) for write in fresh] == [
        (0, 4608 if len(key_pair().public) <= 512 else 5632, MAGIC)
    ]
    assert [(write.virtual_offset, write.length) for write in table] == [(446, 66)]
    assert [write.virtual_offset for write in story.done["swap"].writes] == [32 * 512]
    stored = Path(story.end.disk).read_bytes()
    write = table[0]
    assert write.file_offset is not None
    assert write.head_offset == 448  # busybox's fdisk writes nothing in front of the table: the marker stays
    head = write.file_offset + write.head_offset - write.virtual_offset
    assert stored[head : head + 32] == write.head


@pytest.mark.slow
def test_snapshots_show_the_disk_after_each_stage(tmp_path: Path) -> None:
    story = tell(provision(plan(tmp_path, "automount", keeps_stages=True)))
    states = {Path(path).stem: keep(inspect(path)).state for path in story.end.snapshots}
    assert states["03-disk"] == "fresh"
    assert states["08-save"] == "fresh"
    assert states["09-partition"] == "partitioned"
    assert states["12-fill"] == "provisioned"


def test_config_is_what_libmachine_reads(tmp_path: Path) -> None:
    tell(provision(plan(tmp_path)))
    config = json.loads((tmp_path / "default" / "config.json").read_text())
    assert config["ConfigVersion"] == 3
    assert config["DriverName"] == "vfkit"
    assert config["Driver"]["SSHUser"] == "docker"
    assert Path(config["Driver"]["SSHKeyPath"]).samefile(tmp_path / "default" / "id_rsa")


@pytest.mark.slow
def test_an_existing_machine_is_kept(tmp_path: Path) -> None:
    tell(provision(plan(tmp_path)))
    before = (tmp_path / "default" / "id_rsa").read_bytes()
    with pytest.raises(UsageError, match="exists"):
        tell(provision(plan(tmp_path, key=None)))
    assert (tmp_path / "default" / "id_rsa").read_bytes() == before
    tell(provision(plan(tmp_path, key=None, force=True)))
    assert (tmp_path / "default" / "id_rsa").read_bytes() != before
    assert names_in(tmp_path) == ["default"]


@pytest.mark.slow
def test_a_seed_pins_the_disk(tmp_path: Path) -> None:
    images = []
    for folder in ("one", "two"):
        ids = Identities.from_seed("lesson")
        story = tell(provision(plan(tmp_path / folder, ids=ids)))
        images.append(Path(story.end.disk).read_bytes())
    assert images[0] == images[1]


@pytest.mark.parametrize("stops_after", range(1, 17))
def test_stopping_anywhere_leaves_nothing_half_done(stops_after: int, tmp_path: Path) -> None:
    threads = threading.active_count()
    events = provision(plan(tmp_path))
    for event in events:
        if isinstance(event, Started) and event.number == stops_after:
            break
    events.close()  # type: ignore[attr-defined]
    assert threading.active_count() == threads
    assert names_in(tmp_path) == ([] if stops_after <= 4 else ["default"])
    if stops_after > 4:
        assert keep(inspect(str(tmp_path / "default" / "disk.vdi"))).state in ("fresh", "provisioned")
        assert not [name for name in names_in(tmp_path / "default") if name.startswith(".")]


def test_serving_lets_people_in_until_the_events_are_closed(tmp_path: Path) -> None:
    events = provision(plan(tmp_path, serves=True))
    serving = next(event for event in events if isinstance(event, Serving))
    assert run(*serving.ssh, "cat", ".ssh/authorized_keys").stdout == key_pair().public
    port = int(serving.ssh[serving.ssh.index("-p") + 1])
    events.close()  # type: ignore[attr-defined]
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(("127.0.0.1", port), 2)


def test_where_the_first_login_was_not_even_tried_the_printed_command_works(tmp_path: Path) -> None:
    """Because config.json names a key that is not there: the guest is up all the same."""
    assert tell(provision(plan(tmp_path))).end.logged_in
    folder = tmp_path / "default"
    config = folder / "config.json"
    config.write_text(config.read_text().replace("id_rsa", "gone"))
    events = boot_image(plan(tmp_path, serves=True), folder / "disk.vdi", folder)
    serving = next(event for event in events if isinstance(event, Serving))
    assert run(*serving.ssh, "whoami").stdout == b"docker\n"
    events.close()  # type: ignore[attr-defined]


def test_without_an_ssh_program_asyncssh_logs_in(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(login, "find_program", lambda name: None)
    story = tell(provision(plan(tmp_path)))
    assert story.end.logged_in
    assert any(text.startswith("a wrong key is refused") for text in story.texts)


def test_without_an_ssh_program_strange_lines_in_the_public_key_do_no_harm(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(login, "find_program", lambda name: None)
    pair = key_pair()
    story = tell(provision(plan(tmp_path, key=pair._replace(public=PUB + pair.public))))
    assert story.end.logged_in


def test_a_missing_mkfs_is_named_with_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "find_program", lambda name: None)
    with pytest.raises(ToolError, match=r"mke2fs is needed and was not found; install e2fsprogs"):
        tell(provision(plan(tmp_path, mkfs="e2fsprogs")))
    assert names_in(tmp_path) == []


def test_without_any_program_a_machine_is_made(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(login, "find_program", lambda name: None)
    monkeypatch.setattr(programs, "find_program", lambda name: None)
    assert tell(provision(plan(tmp_path))).end.logged_in


def test_what_cannot_end_does_not_begin(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda path: usage._replace(free=1 << 20))
    with pytest.raises(UsageError, match="1 MiB free"):
        next(iter(provision(plan(tmp_path / "machines"))))
    assert names_in(tmp_path) == []


def test_a_run_that_fails_leaves_nothing_and_can_be_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*arguments: object) -> None:
        raise ToolError("the disk is on fire")

    with monkeypatch.context() as patch:
        patch.setattr(simulate, "make_ext4", fail)
        with pytest.raises(ToolError, match="on fire"):
            tell(provision(plan(tmp_path)))
    assert names_in(tmp_path) == []
    assert tell(provision(plan(tmp_path))).end.logged_in


# --- build and boot ---


@pytest.mark.parametrize("wanted", STATES)
@pytest.mark.parametrize("guest", GUESTS)
def test_build_makes_a_disk_in_any_state(guest: str, wanted: str, tmp_path: Path) -> None:
    out = tmp_path / "disk.vdi"
    tell(build(plan(tmp_path, guest), out, wanted))  # type: ignore[arg-type]
    facts = keep(inspect(str(out)))
    assert (facts.state, facts.container.size) == (wanted, SIZE)
    assert names_in(tmp_path) == ["disk.vdi"]


@pytest.mark.parametrize(("public", "tar"), [(PUB, TAR), (PUB4096, TAR4096)])
def test_a_fresh_disk_begins_with_the_golden_tar(public: bytes, tar: bytes, tmp_path: Path) -> None:
    out = tmp_path / "disk.raw"
    tell(build(plan(tmp_path, format="raw", size=64 * MIB, key=KeyPair(b"", public)), out, "fresh"))
    stored = out.read_bytes()
    assert stored[: len(tar)] == tar
    assert not stored[len(tar) :].strip(b"\0")


@pytest.mark.parametrize("fault", [name for name, fault in FAULTS.items() if fault.on_disk])
@pytest.mark.slow(but=3)
def test_build_makes_every_fault_that_a_disk_can_have(fault: str, tmp_path: Path) -> None:
    sound, broken = tmp_path / "sound.vdi", tmp_path / "broken.vdi"
    tell(build(plan(tmp_path, fault=fault), broken))
    tell(build(plan(tmp_path), sound, "provisioned" if keep(inspect(str(broken))).volumes else "fresh"))
    if fault == "old-iso":  # its fault is that nothing happens
        assert keep(inspect(str(broken))).state == "fresh"
        return
    assert sound.read_bytes() != broken.read_bytes()
    assert not tell(boot_image(plan(tmp_path), broken, None)).end.logged_in or fault == "unclean"


def test_a_failed_build_leaves_nothing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(programs, "find_program", lambda name: None)
    with pytest.raises(ToolError):
        tell(build(plan(tmp_path, mkfs="e2fsprogs"), tmp_path / "disk.vdi", "provisioned"))
    assert names_in(tmp_path) == []


@needs("qemu-img")
def test_boot_provisions_a_disk_that_qemu_img_made(tmp_path: Path) -> None:
    raw, disk = tmp_path / "tar.raw", tmp_path / "disk.vdi"
    tell(build(plan(tmp_path, format="raw", size=SIZE), raw, "fresh"))
    run("qemu-img", "convert", "-f", "raw", "-O", "vdi", raw, disk)
    before = keep(inspect(str(disk))).container.describe()["uuid"]
    story = tell(boot_image(plan(tmp_path), disk, None))
    assert story.end.logged_in
    facts = keep(inspect(str(disk)))
    assert facts.state == "provisioned"
    assert facts.container.describe()["uuid"] == before


def test_boot_without_a_private_key_skips_the_login(tmp_path: Path) -> None:
    disk = tmp_path / "disk.vdi"
    pair = KeyPair(b"", key_pair().public)
    tell(build(plan(tmp_path), disk, "fresh"))
    story = tell(boot_image(plan(tmp_path, key=pair), disk, None))
    assert (story.done["login"].status, story.end.logged_in) == ("skipped", False)
