"""What every inspecting command opens, as the kernel sees it."""

from __future__ import annotations

import os
import re
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from tests.cli.helpers import PROGRAM, USERDATA_PATH, environment, unpacked
from tests.incidents import copy_of
from tests.oracles import PATIENCE, needs

pytestmark = needs("strace")

CALL = re.compile(
    r'(?:open|openat|openat2|creat)\((?:AT_FDCWD|\d+)?(?:<([^>]*)>)?(?:, )?"((?:[^"\\]|\\.)*)", ([A-Z_|]+)'
)
WRITES = ("O_WRONLY", "O_RDWR", "O_CREAT", "O_TRUNC", "O_APPEND")
CHANGES = "unlink,unlinkat,rename,renameat,renameat2,truncate,ftruncate,chmod,fchmod,fchmodat,chown,fchown"
CHANGES += ",fchownat,utimensat,mkdir,mkdirat,rmdir,link,linkat,symlink,symlinkat,setxattr,fsetxattr,mknodat"


def traced(words: list[str], log: Path) -> str:
    follow = ["strace", "-f", "-qq", "-y", "-s", "4096", "-o", str(log)]
    calls = ["-e", f"trace=open,openat,openat2,creat,{CHANGES}"]
    env = environment({"PYTHONDONTWRITEBYTECODE": "1"})
    # A measuring of coverage follows into children and writes its own file: that is not the program's.
    env = {name: value for name, value in env.items() if not name.startswith("COVERAGE_")}
    done = subprocess.run([*follow, *calls, *PROGRAM, *words], capture_output=True, env=env, timeout=PATIENCE)
    if b"ptrace" in done.stderr.lower():
        pytest.skip("strace may not trace here")
    assert done.returncode in (0, 1), done.stderr
    return log.read_text(errors="replace")


def allowed() -> list[str]:
    """Return where Python and its libraries look for themselves, and what every program reads."""
    own = [sys.prefix, sys.base_prefix, sys.exec_prefix, *sysconfig.get_paths().values(), *sys.path]
    system = ["/usr", "/lib", "/lib64", "/etc", "/proc", "/sys", "/dev/null", "/dev/urandom", "/dev/tty"]
    return [os.path.realpath(one) for one in (*own, *system) if one] + [one for one in own if one]


def commands(machine: Path) -> list[list[str]]:
    disk = str(machine / "disk.vmdk")
    image = str(unpacked("keys-differ.vdi"))
    return [
        *(["show", "--headers", disk], ["keys", disk], ["diff", disk], ["verify", disk], ["logs", image]),
        *(["doctor", str(machine)], ["report", str(machine)], ["map", disk], ["hexdump", disk]),
        *(["choice", image], ["ls", image], ["cat", image, USERDATA_PATH], ["show", str(machine)]),
    ]


@pytest.mark.parametrize(
    "number", [0, *(pytest.param(number, marks=pytest.mark.slow) for number in range(1, 13))]
)
def test_nothing_is_opened_for_writing_or_outside(number: int, tmp_path: Path) -> None:
    machine = copy_of("snapshot", tmp_path)
    words = commands(machine)[number]
    evidence = sorted(path for path in machine.rglob("*") if path.is_file())
    for path in evidence:
        os.utime(path, ns=(1_000_000_000, path.stat().st_mtime_ns))
    before = [path.stat() for path in evidence]
    log = traced(words, tmp_path / "log")
    places = [*allowed(), os.path.realpath(machine), os.path.realpath(unpacked("keys-differ.vdi").parent)]
    opened = 0
    for line in log.splitlines():
        call = re.search(r"^\d+ +(\w+)\(", line)
        if call is None or " ENOENT " in line:
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
    assert opened > 20
    for path, then in zip(evidence, before, strict=True):
        now = path.stat()
        assert (now.st_atime_ns, now.st_mtime_ns, now.st_mode, now.st_size) == (
            *(then.st_atime_ns, then.st_mtime_ns, then.st_mode, then.st_size),
        ), path
