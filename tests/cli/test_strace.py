"""What every inspecting command opens, as the kernel sees it."""

from __future__ import annotations

import json
import os
import re
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

from b2dinspect.cli.docker import FAMILY
from b2dinspect.cli.main import COMMANDS
from tests.cli.helpers import PROGRAM, USERDATA_PATH, environment
from tests.cli.many import MARK
from tests.fuzz import inputs
from tests.fuzz.kinds import CONVERTED
from tests.incidents import copy_of
from tests.oracles import PATIENCE, needs

pytestmark = needs("strace")

CALL = re.compile(
    r'(?:open|openat|openat2|creat)\((?:AT_FDCWD|\d+)?(?:<([^>]*)>)?(?:, )?"((?:[^"\\]|\\.)*)", ([A-Z_|]+)'
)
WRITES = ("O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC", "O_APPEND")
TRIED = re.compile(rf'unlink\("({re.escape(tempfile.gettempdir())}/[a-z0-9_]{{8}})"\)')
"""What Python makes and removes at once, to find out whether it may write among the temporary files."""
CHANGES = "unlink,unlinkat,rename,renameat,renameat2,truncate,ftruncate,chmod,fchmod,fchmodat,chown,fchown"
CHANGES += ",fchownat,utimensat,mkdir,mkdirat,rmdir,link,linkat,symlink,symlinkat,setxattr,fsetxattr,mknodat"


def traced(program: list[str], log: Path, given: bytes = b"") -> list[str]:
    """Run a program, and return what it asks of the system that opens or changes a file."""
    follow = ["strace", "-f", "-qq", "-y", "-s", "4096", "-o", str(log)]
    calls = ["-e", f"trace=open,openat,openat2,creat,{CHANGES}"]
    env = environment({"PYTHONDONTWRITEBYTECODE": "1"})
    # A measuring of coverage follows into children and writes its own file: that is not the program's.
    env = {name: value for name, value in env.items() if not name.startswith("COVERAGE_")}
    done = subprocess.run(
        [*follow, *calls, *program], input=given, capture_output=True, env=env, timeout=PATIENCE
    )
    if b"ptrace" in done.stderr.lower():
        pytest.skip("strace may not trace here")
    assert done.returncode in (0, 1), done.stderr
    return log.read_text(errors="replace").splitlines()


def allowed() -> list[str]:
    """Return where Python and its libraries look for themselves, and what every program reads."""
    own = [sys.prefix, sys.base_prefix, sys.exec_prefix, *sysconfig.get_paths().values(), *sys.path]
    system = ["/usr", "/lib", "/lib64", "/etc", "/proc", "/sys", "/dev/null", "/dev/urandom", "/dev/tty"]
    return [os.path.realpath(one) for one in (*own, *system) if one] + [one for one in own if one]


def harmless(lines: list[str], places: list[str], out: str = "\0") -> int:
    """Return how many files were opened; none of them to be written, and none outside of some places.

    Args:
        lines: Of a trace.
        places: Where files may be read.
        out: The folder for what was asked for; what is done there alone is its own business.
    """
    opened = 0
    tried = {found[1] for line in lines if (found := TRIED.search(line))}
    for line in lines:
        call = re.search(r"^\d+ +(\w+)\(", line)
        if out in line and not any(place in line for place in places[-1:]):
            continue
        if call is None or " ENOENT " in line or MARK in line or any(name in line for name in tried):
            continue
        if not call[1].startswith(("open", "creat")):
            assert call[1] == "ftruncate" and "(deleted)" in line, line
            continue
        found = CALL.search(line)
        assert found, line
        folder, name, flags = found.groups()
        opened += 1
        path = os.path.normpath(os.path.join(folder or os.getcwd(), name))
        if any(flag in flags.split("|") for flag in WRITES):
            assert path == "/dev/null" or "O_TMPFILE" in flags or "(deleted)" in line, line
        elif "O_PATH" not in flags:
            real = os.path.realpath(path)
            assert any(
                at == place or at.startswith(f"{place}/") for place in places for at in (path, real)
            ), line
    return opened


Seen = dict[Path, tuple[int, ...]]


def seen(folder: Path) -> Seen:
    """Return what the system knows of each file, with when it was read last."""
    return {
        path: (at.st_atime_ns, at.st_mtime_ns, at.st_mode, at.st_size)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and (at := path.stat())
    }


def unread(folder: Path) -> Seen:
    """Make every file one that was read long ago."""
    for path in seen(folder):
        os.utime(path, ns=(1_000_000_000, path.stat().st_mtime_ns))
    return seen(folder)


@pytest.mark.slow
def test_nothing_is_opened_for_writing_or_outside(tmp_path: Path) -> None:
    machine = copy_of("snapshot", tmp_path)
    before = unread(machine)
    program = [*PROGRAM, "show", "--headers", str(machine / "disk.vmdk")]
    lines = traced(program, tmp_path / "log")
    assert harmless(lines, [*allowed(), os.path.realpath(machine)]) > 20
    assert seen(machine) == before


MADE: dict[str, Callable[[Path], Path]] = {
    "raw": inputs.raw,
    "pieces": inputs.pieces,
    "vdi": partial(inputs.sample, name="provisioned-autoformat.vdi"),
    "vdi child": inputs.vdi_child,
    "vhd child": inputs.vhd_child,
    "vhdx child": inputs.vhdx_child,
    "gz": partial(inputs.packed, name="gz"),
    "xz": partial(inputs.packed, name="xz"),
    **{name: partial(inputs.converted, words=words) for name, words in CONVERTED.items()},
    "qcow2 child": inputs.chain,
    "ova": inputs.ova,
    "flat vmdk": inputs.descriptor,
    "docker": inputs.docker,
}
QUICK = ("raw", "vdi", "VHD dynamic", "VHDX dynamic", "VMDK monolithicSparse", "qcow2 child", "ova", "xz")
MANY = [sys.executable, "-m", "tests.cli.many"]


def commands_on(image: str) -> list[list[str]]:
    """Return every command that inspects an image and needs no words of its own."""
    plain = ("show", "keys", "diff", "verify", "logs", "doctor", "report", "map", "hexdump", "choice", "ls")
    return [
        *([name, image] for name in plain),
        *(["search", image], ["query", image, "header"]),
        *(["show", "--headers", "--json", image], ["keys", "--fingerprints", image]),
        *(["cat", image, USERDATA_PATH], ["doctor", "--json", image], ["report", "--markdown", image]),
        *(["docker", name, image] for name in ("ps", "images", "volumes")),
    ]


@needs("qemu-img", "mke2fs", "debugfs")
@pytest.mark.parametrize(
    "name", [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in MADE]
)
def test_no_command_opens_more_of_any_format(name: str, tmp_path: Path) -> None:
    """Of the quick ones, one of four commands on each: with the others every command is among them."""
    folder = tmp_path / "evidence"
    folder.mkdir()
    image = str(MADE[name](folder))
    words = commands_on(image)
    if name in QUICK:
        words = words[QUICK.index(name) % 4 :: 4]
    check_all(words, folder, tmp_path / "log")


@pytest.mark.slow
@pytest.mark.parametrize("name", ["snapshot", "healthy-hyperv", "healthy-minikube", "vmware", "container"])
def test_no_command_opens_more_of_a_machine(name: str, tmp_path: Path) -> None:
    folder = copy_of(name, tmp_path)
    words = commands_on(str(folder)) if name != "container" else [["doctor", str(folder)]]
    check_all(words, folder, tmp_path / "log")


def commands_that_copy(image: str, out: Path) -> list[list[str]]:
    """Return every command that writes what was asked for, of a disk with a data-root."""
    return [
        ["get", image, "/var/lib/boot2docker", str(out / "got")],
        ["get", image, "/var/lib/boot2docker", "--tar", str(out / "got.tar")],
        ["report", image, "-o", str(out / "report.html")],
        ["audit", image, "-o", str(out / "audit.ndjson")],
        ["map", image, "--svg", str(out / "map.svg")],
        ["map", image, "--html", str(out / "map.html")],
        ["docker", "export", image, "quiet_turing", "-o", str(out / "root.tar")],
        ["docker", "cp", image, "quiet_turing:/", str(out / "root")],
        ["docker", "volume", image, "data", "-o", str(out / "volume.tar")],
        ["docker", "save", image, "busybox", "-o", str(out / "image.tar")],
        ["docker", "rescue", image, str(out / "rescued")],
    ]


def commands_of_docker(image: str) -> list[list[str]]:
    """Return the commands that read one thing of a data-root."""
    of_container = [["docker", name, image, "quiet_turing"] for name in ("inspect", "logs", "diff")]
    return [*of_container, ["docker", "history", image, "busybox"], ["docker", "inspect", image, "busybox"]]


@needs("mke2fs", "debugfs")
def test_what_is_asked_for_is_written_where_it_was_asked_for(tmp_path: Path) -> None:
    folder, out = tmp_path / "evidence", tmp_path / "out"
    for place in (folder, out):
        place.mkdir()
    image = str(inputs.docker(folder))
    check_all([*commands_that_copy(image, out), *commands_of_docker(image)], folder, tmp_path / "log", out)
    assert len(list(out.iterdir())) == 11


def test_machines_are_listed_and_a_finding_explained(tmp_path: Path) -> None:
    machine = copy_of("healthy-minikube", tmp_path)
    store = machine.parent
    check_all([["machines", str(store)], ["explain", "magic-stale"], ["explain"]], store, tmp_path / "log")


def test_every_inspecting_command_is_traced(tmp_path: Path) -> None:
    """All but ``tui``, which needs a terminal and asks what the others ask."""
    tried = [*commands_on("x"), *commands_that_copy("x", tmp_path), *commands_of_docker("x")]
    names = {words[0] for words in tried} | {"machines", "explain", "tui"}
    assert names == set(COMMANDS)
    assert {words[1] for words in tried if words[0] == "docker"} == set(FAMILY.places)


def check_all(words: list[list[str]], folder: Path, log: Path, out: Path | None = None) -> None:
    before = unread(folder)
    lines = traced(MANY, log, json.dumps(words).encode())
    assert sum(MARK in line for line in lines) == len(words)
    places = [*allowed(), os.path.realpath(folder)]
    assert harmless(lines, places, os.path.realpath(out) if out else "\0") > 20
    assert seen(folder) == before
