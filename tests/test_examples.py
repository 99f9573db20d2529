"""What the help, the README and the pages print as commands is typed as it stands."""

from __future__ import annotations

import functools
import os
import re
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import click
import pytest
import typer
from typer.testing import CliRunner

from b2dinspect.cli.main import app as inspecting
from b2dinspect.cli.provision.main import app as provisioning
from b2dinspect.render.shell import command_line
from tests.disks import TAR, USERDATA, make_ext
from tests.incidents import copy_of
from tests.oracles import PATIENCE, needs, run

ROOT = Path(__file__).parents[1]
PAGES = (
    *("README.md", "sample_images/README.md"),
    *(f"docs/site/{name}.md" for name in ("getting-started", "how-it-works", "the-question", "index")),
)
"""Those of ``docs/site/how-to`` have a test of their own, which makes the machines that they speak of."""
LINE = re.compile(r"^ *((?:\.venv/bin/)?b2d(?:inspect|provision) [^\n]*?)(?: {2,}#[^\n]*)?$", re.MULTILINE)
BLOCK = re.compile(r"```sh\n(.*?)```|((?:^ {4}\S.*\n)+)", re.DOTALL | re.MULTILINE)
EXAMPLE = re.compile(r"Example: (b2d[^\n]*)")
ONLY_READ = re.compile(
    r"b2dinspect (docker|tui) |b2dprovision (tries|samples|boot \S+ --serve|repair default --certs)"
    r"|--engine qemu|--keep-stages|run default|incidents \S+$"
)
"""What asks, serves, needs another program or a data-root, or takes long: only its words are looked at."""


def apps() -> dict[str, Any]:
    return {"b2dinspect": inspecting, "b2dprovision": provisioning}


@functools.cache
def printed() -> tuple[str, ...]:
    help_texts = (ROOT / "docs/site/reference/commands.md").read_text(encoding="utf-8")
    found = EXAMPLE.findall(help_texts)
    for page in PAGES:
        text = (ROOT / page).read_text(encoding="utf-8")
        blocks = "\n".join("".join(pair) for pair in BLOCK.findall(text))
        found += [line.removeprefix(".venv/bin/") for line in LINE.findall(blocks)]
    return tuple(dict.fromkeys(found))


def first(line: str) -> list[str]:
    """Return the words of the first program of a line."""
    words = shlex.split(line)
    end = next((at for at, word in enumerate(words) if word in ("|", ">", "#")), len(words))
    return words[:end]


@pytest.mark.parametrize("line", printed())
def test_its_words_are_understood(line: str) -> None:
    program, *words = first(line)
    group: Any = typer.main.get_command(apps()[program])
    while words and hasattr(group, "commands"):
        group = group.commands[words.pop(0)]
    assert not hasattr(group, "commands")
    group.parse_args(click.Context(group), words)


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """Return a home and current folder with what the examples name."""
    home = tmp_path_factory.mktemp("home")
    store = home / ".docker" / "machine"
    copy_of("healthy-virtualbox", store).rename(store / "machines" / "default")
    shutil.copytree(store / "machines", home / "machines")
    (home / "sample_images").symlink_to(ROOT / "sample_images")
    copy_of("userdata-lost", home / "made").parent.rename(home / "broken")
    (home / ".ssh").mkdir()
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", home / ".ssh" / "id_ed25519")
    disk = home / "disk.raw"
    files = {USERDATA: TAR[:4096], "var/lib/docker/volumes/db/_data/rows": b"1\n"}
    make_ext(disk, 32 << 20, files=files)
    run("qemu-img", "convert", "-f", "raw", "-O", "vdi", disk, home / "disk.vdi")
    disk.unlink()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(home))
        for name in ("MACHINE_STORAGE_PATH", "MINIKUBE_HOME"):
            patch.delenv(name, raising=False)
        patch.setenv("PATH", os.pathsep.join([str(Path(sys.executable).parent), os.environ["PATH"]]))
        patch.chdir(home)
        yield home


@needs("ssh-keygen", "ssh", "mke2fs", "qemu-img", "tar")
@pytest.mark.slow
def test_they_run(place: Path) -> None:
    for line in (one for one in printed() if not ONLY_READ.search(one)):
        typed = line.replace("/tmp/broken", str(place / "broken"))
        if "|" in typed or ">" in typed:
            done = subprocess.run(["sh", "-c", typed], capture_output=True, timeout=PATIENCE, check=False)
            assert done.returncode in (0, 1), (line, done.stderr)
            continue
        program, *words = (str(Path(word).expanduser()) for word in first(typed))
        shutil.rmtree(place / "machines" / "demo", ignore_errors=True)
        if words[0] == "build":
            (place / words[1]).rename(place / "kept")  # the example makes it
        result = CliRunner().invoke(apps()[program], words, catch_exceptions=False)
        assert result.exit_code in (0, 1), (line, result.output)
        if words[0] == "build":
            (place / "kept").replace(place / words[1])


WORDS = (
    "plain",
    r"C:\Users\Ann Lee\.docker\machine\machines\default\disk.vmdk",
    r"\\server\share\a b\\",
    "it costs $5",
    "100%",
    "it's",
    "a&b|c<d>e^f",
    "(x86)",
    "`tick`",
    "",
    "ünïcode…",
    "docker@192.168.99.100",
    "/inheritance:r",
    "*S-1-5-83-0:F",
    "{0}",
    "a;b,c",
    "#",
    "@x",
)


@pytest.mark.parametrize("word", WORDS)
def test_windows_shells_give_the_words_back(word: str) -> None:
    line = command_line(("b2dinspect", word, "end"), "windows")
    assert powershell(line) == ["b2dinspect", word, "end"]
    if "'" not in line:
        assert cmd(line) == ["b2dinspect", word, "end"]


POWERSHELL = re.compile(r"""([^\s"'`$&|;<>(){}@#,][^\s"'`$&|;<>(){},]*|"[^"$`]*"|'(?:[^']|'')*')(?:\s+|$)""")
"""A word as PowerShell takes it (about_Parsing, about_Quoting_Rules)."""


def powershell(line: str) -> list[str]:
    """Return the words of a line as PowerShell hands them to a program."""
    words = POWERSHELL.findall(line)
    assert " ".join(words) == line, f"PowerShell reads something else in {line}"
    return [_unquoted(word) for word in words]


def _unquoted(word: str) -> str:
    if word.startswith("'"):
        return word[1:-1].replace("''", "'")
    return by_c_rules(word)[0] if word else word


def cmd(line: str) -> list[str]:
    """Return the words of a line that cmd hands on as it is, as C programs split them."""
    bare = re.sub(r'"[^"]*"', "", line)
    assert not re.search(r"[&|<>^()]", bare), f"cmd reads something else in {line}"
    assert "%" not in line
    return by_c_rules(line)


def by_c_rules(line: str) -> list[str]:
    """Return words as Microsoft's C runtime splits them: backslashes count only before a quote."""
    words, word, quoted, begun, at = [], "", False, False, 0
    while at < len(line):
        slashes = len(line) - at - len(line[at:].lstrip("\\"))
        at += slashes
        if at < len(line) and line[at] == '"':
            word += "\\" * (slashes // 2)
            if slashes % 2:
                word += '"'
            else:
                quoted = not quoted
            begun = True
        else:
            word += "\\" * slashes
            begun = begun or bool(slashes)
            if at < len(line) and line[at] in " \t" and not quoted:
                if begun:
                    words.append(word)
                word, begun = "", False
            elif at < len(line):
                word, begun = word + line[at], True
        at += 1
    return [*words, word] if begun else words
