"""Every command of the how-to pages is typed as it stands there, on machines that fit the page."""

from __future__ import annotations

import re
import shlex
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from b2dinspect.cli.main import app as inspect_app
from b2dinspect.cli.provision.main import app as provision_app
from tests.disks import MIB, TAR, USERDATA, make_disk, make_ext, sfdisk
from tests.incidents import copy_of, incident
from tests.oracles import needs, run

PAGES = Path(__file__).parent.parent / "docs" / "site" / "how-to"
LINE = re.compile(r"^ *(b2d(?:inspect|provision) .*?)(?: +#.*)?$", re.MULTILINE)
INLINE = re.compile(r"`(b2d(?:inspect|provision) [^`…]* disk\.vmdk[^`]*)`")
PRESSED = "\n" * 40
"""What is typed at the stops of ``--step``."""


def commands(page: str) -> list[str]:
    """Return the commands of a page, in its order: those in blocks, then those in its text."""
    text = (PAGES / page).read_text(encoding="utf-8")
    return [*LINE.findall(text), *INLINE.findall(text)]


def default_machine(folder: Path) -> None:
    """Put a machine whose disk lets another key in where docker-machine looks for it."""
    copy_of("key-regenerated", folder).rename(folder / "machines" / "default")
    moved = invoke("b2dprovision repair default --in-place --backup machines/default/first")
    assert moved == 0


def two_machines(folder: Path) -> None:
    """Put two machines, a disk and a public key into the current folder."""
    home = folder / ".docker" / "machine" / "machines"
    shutil.copytree(incident("healthy-virtualbox"), home / "default")
    for name in ("one", "two"):
        shutil.copytree(incident("healthy-virtualbox"), folder / name)
    for name in ("disk.vmdk", "id_rsa.pub"):
        shutil.copy(folder / "one" / name, folder)


def dead_machine(folder: Path) -> None:
    """Put a VMDK with volumes and logs into the current folder."""
    raw = make_disk(40 * MIB)
    sfdisk(raw, "label: dos\nstart=2048, type=83\n")
    volume = {"var/lib/docker/volumes/db/_data/table": b"rows\n", "var/log/docker.log": b"up\n"}
    folders = {f"var/lib/docker/{name}": None for name in ("containers", "image/overlay2", "overlay2")}
    make_ext(raw, 36 * MIB, offset=MIB, files={**volume, **folders, USERDATA: TAR[:4096]})
    run("qemu-img", "convert", "-O", "vmdk", raw, folder / "disk.vmdk")


def lose_key(folder: Path) -> None:
    (folder / "machines" / "default" / "id_rsa").unlink()


READY: dict[str, Callable[[Path], None]] = {
    "locked-out.md": default_machine,
    "compare.md": two_machines,
    "recover-data.md": dead_machine,
    "classroom.md": lambda folder: None,
}
BEFORE: dict[str, Callable[[Path], None]] = {"b2dprovision repair default --new-key --in-place": lose_key}
"""What the page says is the case when that command is typed."""


def invoke(line: str) -> int:
    words = [str(Path(word).expanduser()) if word[0] == "~" else word for word in shlex.split(line)]
    app = inspect_app if words[0] == "b2dinspect" else provision_app
    return CliRunner().invoke(app, words[1:], input=PRESSED, catch_exceptions=False).exit_code


def test_every_page_is_known() -> None:
    assert {path.name for path in PAGES.glob("*.md")} == set(READY)
    assert all(len(commands(page)) >= 3 for page in READY)


@needs("ssh", "ssh-keygen", "mke2fs", "sfdisk", "qemu-img")
@pytest.mark.parametrize("page", READY)
@pytest.mark.slow
def test_every_command_of_a_page_runs(page: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("MACHINE_STORAGE_PATH", str(tmp_path))
    monkeypatch.delenv("MINIKUBE_HOME", raising=False)
    monkeypatch.chdir(tmp_path)
    READY[page](tmp_path)
    for line in commands(page):
        BEFORE.get(line, lambda folder: None)(tmp_path)
        assert invoke(line) in (0, 1), line
    if page == "locked-out.md":
        assert invoke("b2dprovision prove default") == 0
