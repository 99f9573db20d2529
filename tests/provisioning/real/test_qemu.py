"""The real guest: QEMU boots Linux, and both engines must come to the same disk and the same home."""

from __future__ import annotations

import contextlib
import json as json_text
import shutil
from pathlib import Path
from typing import Any

import pytest

from b2dinspect.containers import FORMATS
from b2dinspect.doctor.disk import examine
from b2dinspect.errors import ToolError, UsageError
from b2dinspect.identity import Identities
from b2dinspect.inspection.walk import inspect
from b2dinspect.partitions import Partition
from b2dinspect.provisioning.build import build
from b2dinspect.provisioning.events import Gave, Started
from b2dinspect.provisioning.host.drivers import DRIVERS
from b2dinspect.provisioning.keypair import make_key
from b2dinspect.provisioning.pipeline import boot_image, provision
from b2dinspect.provisioning.real import initramfs, qemu
from b2dinspect.provisioning.real.initramfs import build_initramfs, find_kernel
from b2dinspect.provisioning.stages import QemuOptions
from b2dinspect.render import json
from tests.disks import debugfs
from tests.opened import keep
from tests.oracles import needs, qemu_processes, run
from tests.provisioning.disk.test_rework import pieces
from tests.provisioning.plans import plan, tell

has_kernel = pytest.mark.skipif(
    not list(Path("/boot").glob("vmlinuz-*")), reason="not installed: a Linux kernel in /boot"
)
pytestmark = [
    needs("qemu-system-x86_64", "ssh", "sshd", "busybox", "dash", "blkid", "fdisk", "mke2fs", "debugfs"),
    has_kernel,
    pytest.mark.slow,
    pytest.mark.timeout(900),
]

PLACES = {"virtual_offset", "file_offset", "uuid", "partition_uuid", "path"}
"""Where a filesystem puts a file, and what it is called by the machine, are its own business."""


def without_places(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: without_places(item) for name, item in value.items() if name not in PLACES}
    return [without_places(item) for item in value] if isinstance(value, list) else value


def facts_of(path: str) -> dict[str, Any]:
    facts = keep(inspect(path))
    document = json.show(facts, examine(facts))
    del document["container"]  # how much a kernel stores for the same files
    return without_places(document)  # type: ignore[no-any-return]


def home_of(story_texts: list[str]) -> set[str]:
    return {text for text in story_texts if text.startswith("0") and ".ssh" in text}


def tree_of(path: str) -> dict[str, tuple[int, int, int, int]]:
    """Return mode with type, owner, group and size of all on the data partition, as debugfs lists it."""
    found: dict[str, tuple[int, int, int, int]] = {}
    part = part_of(path)
    waiting = ["/"]
    while waiting:
        folder = waiting.pop()
        listed = debugfs(Path(path), f"ls -p {folder}", part.offset).decode().splitlines()
        for line in filter(None, listed):
            _, _, mode, owner, group, name, size, _ = line.split("/")
            if name not in (".", ".."):
                found[folder + name] = (int(mode, 8), int(owner), int(group), int(size or 0))
                if mode.startswith("04") and name != "lost+found":
                    waiting.append(f"{folder}{name}/")
    return found


def part_of(path: str) -> Partition:
    with inspect(path) as facts:
        assert facts.data is not None
        return facts.data.volume.partition


def front_of(path: str) -> bytes:
    """Return all in front of the first partition of an MBR: what identifies a GPT is its own business."""
    with inspect(path) as facts:
        first = min(volume.partition.offset for volume in facts.volumes)
        return facts.container.pread(0, first) if facts.table.kind == "mbr" else b""


@needs("sfdisk")
@pytest.mark.parametrize(
    ("guest", "driver"), [("automount", "virtualbox"), ("autoformat", "vfkit"), ("minikube", "vfkit")]
)
def test_both_engines_come_to_the_same(guest: str, driver: str, tmp_path: Path) -> None:
    made = {"format": "raw", "driver": DRIVERS[driver], "ids": Identities.from_seed("same")}
    stories = {
        engine: tell(provision(plan(tmp_path / engine, guest, engine=engine, **made)))
        for engine in ("simulate", "qemu")
    }
    simulated, real = stories["simulate"], stories["qemu"]
    assert simulated.failed == real.failed == []
    assert simulated.end.logged_in
    assert real.end.logged_in
    started = [
        [(event.number, event.id) for event in story.events if isinstance(event, Started)]
        for story in stories.values()
    ]
    assert started[0] == started[1]
    assert facts_of(simulated.end.disk) == facts_of(real.end.disk)
    assert part_of(simulated.end.disk)[:6] == part_of(real.end.disk)[:6]
    assert front_of(simulated.end.disk) == front_of(real.end.disk)
    assert tree_of(simulated.end.disk) == tree_of(real.end.disk)
    assert home_of(simulated.texts) == home_of(real.texts) != set()
    assert [write.head_offset for write in real.done["swap"].writes] == [
        write.head_offset for write in simulated.done["swap"].writes
    ]
    assert names(tmp_path / "qemu" / "default") == names(tmp_path / "simulate" / "default")


def test_the_tree_is_the_one_that_the_originals_make(tmp_path: Path) -> None:
    """The directories, by hand from the original scripts: all of root's, /tmp open to everybody."""
    disk = tell(provision(plan(tmp_path, "automount", format="raw"))).end.disk
    folders = {path: mode for path, (mode, *_) in tree_of(disk).items() if mode >> 12 == 4}
    assert folders == {
        "/lost+found": 0o40700,
        "/tmp": 0o41777,
        "/var": 0o40755,
        "/var/lib": 0o40755,
        "/var/lib/docker": 0o40755,
        "/var/lib/boot2docker": 0o40755,
        "/var/lib/boot2docker/etc": 0o40755,
    }
    assert tree_of(disk)["/var/lib/boot2docker/userdata.tar"] == (0o100644, 0, 0, 4096)


SCRIPT = """#!/bin/sh
# Not a line of this is from an original: it only needs what they need, at the places where they need it.
local found=$(fdisk -l | sed -n "s/^Disk \\(.*\\) doesn't contain a valid partition table/\\1/p")
echo "called with $1, found $found"
if [ -n "$found" ]; then
  dd if="$found" of=/userdata.tar bs=4096 count=1
  printf 'n\\np\\n2\\n\\n+1000M\\nw\\n' | fdisk "$found"
  printf 't\\n82\\nw\\n' | fdisk "$found"
  printf 'n\\np\\n1\\n\\n\\nw\\n' | fdisk "$found"
  partprobe
  mkswap "${found}2"
  mkfs.ext4 -i 8192 -L boot2docker-data "${found}1"
fi
part=$(blkid -o device -l -t LABEL=boot2docker-data)
mkdir -p /mnt/data
mount "$part" /mnt/data
mkdir -p /mnt/data/var/lib/boot2docker
ln -s /mnt/data/var/lib/boot2docker /var/lib/boot2docker
[ ! -e /userdata.tar ] || mv /userdata.tar /var/lib/boot2docker/
"""


@needs("partprobe")
def test_a_script_of_ones_own_takes_the_place_of_the_first_boot(tmp_path: Path) -> None:
    script = tmp_path / "my 'first' boot"
    script.write_text(SCRIPT)
    options = QemuOptions(script=script)
    made = plan(tmp_path, "automount", engine="qemu", driver=DRIVERS["virtualbox"], qemu=options)
    story = tell(provision(made))
    assert story.failed == []
    assert story.end.logged_in
    assert "called with start, found /dev/vda" in story.texts
    assert "called with start, found " in story.texts  # the second boot
    started = [event.id for event in story.events if isinstance(event, Started)]
    assert started[4:] == ["script", "unpack", "sshd", "login", "second-boot"]
    with inspect(story.end.disk) as facts:
        assert facts.guest.profile == "automount"
        assert [(one.partition.start, one.partition.end) for one in facts.volumes] == [
            (1975995, 2441880),
            (63, 1975995),
        ]
        assert facts.of_source("residue") is not None


@needs("partprobe")
def test_a_script_that_fails_is_told_with_its_status(tmp_path: Path) -> None:
    script = tmp_path / "script"
    script.write_text("#!/bin/sh\nexit 7\n")
    made = plan(tmp_path, "automount", engine="qemu", qemu=QemuOptions(script=script))
    story = tell(provision(made))
    assert story.done["script"].reason == "script ended with status 7"
    assert story.failed == ["script", "unpack", "login", "second-boot"]


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@needs("qemu-img")
def test_the_real_guest_accepts_a_disk_of_qemu_img_at_a_path_that_looks_like_a_protocol(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    raw, folder = tmp_path / "raw", tmp_path / "nbd:x"
    folder.mkdir()
    monkeypatch.chdir(tmp_path)
    disk = Path("nbd:x/d, 100% ${HOME}.vhd")
    tell(build(plan(tmp_path, format="raw"), raw, "fresh"))
    run("qemu-img", "convert", "-f", "raw", "-O", "vpc", "-o", "force_size=on", raw, f"./{disk}")
    story = tell(boot_image(plan(tmp_path, "minikube", engine="qemu"), disk, None))
    assert story.end.logged_in
    facts = keep(inspect(str(disk)))
    assert (facts.state, facts.guest.profile) == ("provisioned", "minikube")
    assert names(folder) == [disk.name]


@pytest.mark.parametrize(
    ("fault", "failed"),
    [
        ("no-magic", ["magic", "unpack", "login", "second-boot"]),
        ("crash-before-move", ["mkfs", "second-boot"]),
        ("interrupted-create", ["partition", "unpack", "login", "second-boot"]),
    ],
)
def test_faults_hurt_the_real_guest_as_the_simulated_one(
    fault: str, failed: list[str], tmp_path: Path
) -> None:
    story = tell(provision(plan(tmp_path, engine="qemu", fault=fault)))
    assert story.failed == failed
    assert not story.end.logged_in


def test_lessons_work_in_the_real_guest(tmp_path: Path) -> None:
    story = tell(provision(plan(tmp_path, engine="qemu", tamper="delete-keys", keeps_stages=True)))
    assert any(text.startswith("the login is refused now") for text in story.texts)
    assert story.end.logged_in
    states = {Path(path).stem: keep(inspect(path)).state for path in story.end.snapshots}
    assert states["08-save"] == "fresh"
    assert states["12-fill"] == "provisioned"


def test_a_kernel_and_an_initrd_of_ones_own_accept_a_disk_of_ours(tmp_path: Path) -> None:
    disk, initrd, kernel = tmp_path / "disk.vdi", tmp_path / "initrd", tmp_path / "kernel, with comma"
    tell(build(plan(tmp_path), disk, "provisioned"))
    initrd.write_bytes(build_initramfs(plan(tmp_path), find_kernel(), make_key("ed25519").private))
    shutil.copy(find_kernel(), kernel)
    options = QemuOptions(kernel=kernel, initrd=initrd)
    story = tell(boot_image(plan(tmp_path, engine="qemu", qemu=options), disk, None))
    assert story.done["boot"].status == "done"
    assert story.end.logged_in


def test_closing_the_events_stops_qemu(tmp_path: Path) -> None:
    disk = tmp_path / "disk.vdi"
    tell(build(plan(tmp_path), disk, "fresh"))
    before = disk.read_bytes()
    with contextlib.closing(boot_image(plan(tmp_path, engine="qemu"), disk, None)) as events:
        assert any(isinstance(event, Gave) for event in events)
        assert qemu_processes(tmp_path)
    assert qemu_processes(tmp_path) == []
    assert disk.read_bytes() == before
    assert names(tmp_path) == ["disk.vdi"]


def test_a_guest_that_never_comes_up_is_given_up(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = tmp_path / "disk.vdi"
    tell(build(plan(tmp_path), disk, "fresh"))
    monkeypatch.setattr(qemu, "BOOT_LIMIT", 1.0)
    monkeypatch.setattr(qemu, "SILENCE", 0.2)
    with pytest.raises(ToolError, match="did not come up"):
        tell(boot_image(plan(tmp_path, engine="qemu"), disk, None))
    assert qemu_processes(tmp_path) == []


def test_qemu_that_cannot_start_says_why(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    disk = tmp_path / "disk.vdi"
    tell(build(plan(tmp_path), disk, "fresh"))
    monkeypatch.setattr(qemu, "KERNEL_COMMAND", "console=ttyS0 panic=-1 no_timer_check rdinit=/nothing")
    with pytest.raises(ToolError, match="went off before its sshd was up"):
        tell(boot_image(plan(tmp_path, engine="qemu"), disk, None))
    assert names(tmp_path) == ["disk.vdi"]


def test_qemu_is_told_no_name_of_an_image(tmp_path: Path) -> None:
    for name in ("raw", "vdi", "vhd", "vmdk", "qcow2"):
        words = qemu._node("disk", FORMATS[name], 7, tmp_path / "disk")
        assert str(tmp_path) not in " ".join(words)
        node = json_text.loads(words[-1])
        assert node["file"] == {"driver": "file", "filename": "/dev/fdset/7"}
        assert node.get("backing", "none") in ("none", None)


@needs("qemu-img")
@pytest.mark.parametrize("kind", ["backing", "data file", "monolithicFlat"])
def test_qemu_never_gets_an_image_of_several_files(kind: str, tmp_path: Path) -> None:
    image, other = pieces(tmp_path, kind)
    before = image.read_bytes(), other.read_bytes()
    with pytest.raises(UsageError, match="stands on other files"):
        tell(boot_image(plan(tmp_path, engine="qemu"), image, None))
    assert (image.read_bytes(), other.read_bytes()) == before


def test_no_kernel_is_said_with_the_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(initramfs, "BOOT", tmp_path)
    with pytest.raises(ToolError, match="install linux-image-cloud-amd64"):
        find_kernel()
