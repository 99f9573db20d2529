"""Who has an image in use, as far as locks, open files and the files beside it tell."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

from b2dinspect.errors import UsageError
from b2dinspect.identity import Identities
from b2dinspect.provisioning.disk.claims import claimed
from b2dinspect.provisioning.disk.rework import rework

MIB = 1 << 20
IDS = Identities.from_seed("x")
SAVED = """<VirtualBox><Machine uuid="{{1}}" name="m" {state}><MediaRegistry><HardDisks>
<HardDisk uuid="{{2}}" location="{location}" format="VMDK"/></HardDisks></MediaRegistry></Machine>
</VirtualBox>"""


@pytest.fixture
def image(tmp_path: Path) -> Path:
    path = tmp_path / "machine" / "disk.img"
    path.parent.mkdir()
    path.write_bytes(bytes(MIB))
    return path


def put(path: Path, text: str = "") -> None:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)


def vbox(place: str, location: str, state: str = 'stateFile="Snapshots/1.sav"') -> Callable[[Path], None]:
    return lambda folder: put(folder / place, SAVED.format(location=location, state=state))


USED: dict[str, tuple[Callable[[Path], None], str]] = {
    "disk locked by VMware": (lambda folder: put(folder / "disk.img.lck/M123.lck"), "disk.img.lck beside it"),
    "machine locked by VMware": (lambda folder: put(folder / "m.vmx.lck/M1.lck"), "m.vmx.lck beside it"),
    "suspended by VMware": (lambda folder: put(folder / "m-1.vmss"), "memory of a suspended machine"),
    "saved by VirtualBox": (vbox("m.vbox", "disk.img"), "m.vbox says"),
    "saved, settings in a folder": (vbox("m/m.vbox", "C:\\vm\\disk.img"), "m.vbox says"),
    "saved, settings above": (vbox("../m.vbox", "Snapshots/disk.img"), "m.vbox says"),
}
FREE: dict[str, Callable[[Path], None]] = {
    "an empty lock folder": lambda folder: (folder / "disk.img.lck").mkdir(),
    "another disk's lock": lambda folder: put(folder / "other.vmdk.lck/M1.lck"),
    "a machine that is off": vbox("m.vbox", "disk.img", ""),
    "another machine that was saved": vbox("m.vbox", "other.vmdk"),
    "settings that are none": lambda folder: put(folder / "m.vbox", "<"),
}


@pytest.mark.parametrize("name", USED)
def test_files_beside_an_image_tell_that_it_is_in_use(name: str, image: Path) -> None:
    prepare, said = USED[name]
    prepare(image.parent)
    with pytest.raises(UsageError, match=said), claimed(image):
        pass


@pytest.mark.parametrize("name", FREE)
def test_an_image_that_nobody_uses(name: str, image: Path) -> None:
    FREE[name](image.parent)
    with claimed(image):
        pass


HOLDER = "import sys; file = open(sys.argv[1], 'r+b'); print('open', flush=True); sys.stdin.read()"


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what others have open")
def test_a_boot_in_place_changes_no_image_that_somebody_has_open(image: Path) -> None:
    with subprocess.Popen(
        [sys.executable, "-c", HOLDER, image], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    ) as holder:
        assert holder.stdout is not None
        holder.stdout.readline()
        with pytest.raises(UsageError, match=f"process {holder.pid}"), rework(image, IDS):
            pass
        assert holder.stdin is not None
        holder.stdin.close()


@pytest.mark.skipif(sys.platform == "win32", reason="there it is locked by being open")
def test_two_boots_in_place_do_not_meet(image: Path) -> None:
    with rework(image, IDS), pytest.raises(UsageError, match="in use"), rework(image, IDS):
        pass


def test_what_was_changed_meanwhile_is_not_replaced(image: Path) -> None:
    """By somebody who asks for no lock."""
    with (
        pytest.raises(UsageError, match="was changed by another program meanwhile"),
        rework(image, IDS) as disk,
    ):
        disk.pwrite(0, b"ours")
        image.write_bytes(b"theirs".ljust(MIB, b"\0"))
    assert image.read_bytes()[:6] == b"theirs"
    assert list(image.parent.iterdir()) == [image]
