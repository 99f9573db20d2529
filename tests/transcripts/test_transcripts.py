"""What a user sees, whole: each transcript beside this file holds a sample's recipe, commands, output.

::

    # What the sample is.                         prose
    + sample fresh.vdi                            recipe, a step a line, see ``STEPS``
      fresh(sample_key('owner'))                  and what it stands for
    $ b2dinspect show fresh.vdi                   a command, what it prints on 80 columns, and its status
    File      fresh.vdi
    [exit 0]

A new one needs only the lines with a sign; ``pytest --update-transcripts`` writes the rest.
"""

from __future__ import annotations

import ast
import difflib
import re
import shlex
import shutil
import tempfile
import textwrap
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import typer
from typer.testing import CliRunner

from b2dinspect.cli.main import app
from b2dinspect.cli.provision.main import app as companion
from b2dinspect.provisioning.keypair import SAMPLE_KEYS
from b2dinspect.provisioning.samples import samples
from b2dinspect.provisioning.samples.incidents import INCIDENTS
from tests.cli.helpers import PLAIN, unpacked
from tests.incidents import copy_of
from tests.oracles import PATH, run

HERE = Path(__file__).parent
TRANSCRIPTS = sorted(HERE.glob("*.txt"))
PROGRAMS: dict[str, typer.Typer] = {"b2dinspect": app, "b2dprovision": companion}
HOME = "/home/me/practice"
"""Stands for the folder, and is as long as its name: so lines are folded at the same words."""
PORT = re.compile(r"\bport \d{5}\b")
MADE_WITH = "1.47.0"
"""Other versions of mke2fs lay ext4 out a little differently."""


@pytest.fixture
def folder(monkeypatch: pytest.MonkeyPatch) -> Iterator[Path]:
    made = Path(tempfile.mkdtemp(prefix="b2d-", dir=Path("/tmp").resolve()))
    if len(str(made)) != len(HOME):
        pytest.skip(f"{made} is not as long as {HOME}: lines would be folded elsewhere")
    monkeypatch.chdir(made)
    monkeypatch.setenv("HOME", str(made / "home"))
    monkeypatch.setattr(time, "perf_counter", lambda: 0.0)  # every stage takes 0 ms
    yield made
    shutil.rmtree(made)


@pytest.mark.parametrize("path", TRANSCRIPTS, ids=lambda path: path.stem)
@pytest.mark.slow(but=1)
def test_the_transcript_is_what_is_printed_today(
    path: Path, folder: Path, request: pytest.FixtureRequest
) -> None:
    kept = path.read_text(encoding="utf-8")
    if re.search(r"^[$+] b2dprovision", kept, re.MULTILINE):
        if mke2fs() != MADE_WITH:
            pytest.skip(f"made with mke2fs {MADE_WITH}; this is {mke2fs() or 'none'}")
        if not shutil.which("ssh"):
            pytest.skip("not installed: ssh")
    today = play(kept, folder)
    if request.config.getoption("--update-transcripts"):
        path.write_text(today, encoding="utf-8")
    elif today != kept:
        names = (f"{path.name} as it is kept", "as it is today")
        changes = difflib.unified_diff(kept.splitlines(), today.splitlines(), *names, lineterm="", n=4)
        hint = "If this is meant: pytest --update-transcripts, and look at git diff."
        pytest.fail("\n".join([*changes, "", hint]), pytrace=False)


def test_every_sample_and_incident_has_one() -> None:
    wanted = {f"+ sample {name}" for name in samples.RECIPES} | {f"+ incident {name}" for name in INCIDENTS}
    assert wanted <= {line for path in TRANSCRIPTS for line in path.read_text(encoding="utf-8").splitlines()}


def play(text: str, folder: Path) -> str:
    """Follow the recipe, run the commands, and return the transcript as it is now."""
    lines = text.splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith("$ "))
    today = [part for line in lines[:start] if line.startswith(("#", "+")) for part in followed(line, folder)]
    for line in lines[start:]:
        if line.startswith(("$ b2dinspect ", "$ b2dprovision ")):
            today += ["", line, *output(line[2:], folder)]
    return "\n".join([*today, ""])


def followed(line: str, folder: Path) -> Iterator[str]:
    """Take a step, and yield its line and what it stands for."""
    yield line
    if line.startswith("+ "):
        step, *words = shlex.split(line[2:])
        told = STEPS[step](folder, *words)
        yield from (f"  {one}" for one in textwrap.wrap(told, 90))


def output(command: str, folder: Path) -> list[str]:
    """Return what a command prints, without what differs from run to run, and its status."""
    program, *words = shlex.split(command)
    done = CliRunner().invoke(PROGRAMS[program], words, catch_exceptions=False, env=PLAIN)
    text = PORT.sub("port 49152", done.output.replace(str(folder), HOME))
    return [*(line.rstrip() for line in text.splitlines()), f"[exit {done.exit_code}]"]


def sample(folder: Path, name: str) -> str:
    """Unpack a disk of sample_images."""
    shutil.copy(unpacked(name), folder)
    tree = ast.parse(Path(samples.__file__).read_text(encoding="utf-8"))
    recipes = next(node.value for node in tree.body if isinstance(node, ast.AnnAssign) and is_recipes(node))
    assert isinstance(recipes, ast.Dict)
    return next(
        ast.unparse(recipe).removeprefix("lambda: ")
        for key, recipe in zip(recipes.keys, recipes.values, strict=True)
        if isinstance(key, ast.Constant) and key.value == name
    )


def is_recipes(node: ast.AnnAssign) -> bool:
    return isinstance(node.target, ast.Name) and node.target.id == "RECIPES"


def incident(folder: Path, name: str) -> str:
    """Unpack a broken machine of sample_images/incidents."""
    copy_of(name, folder)
    made = INCIDENTS[name]
    told = [f"driver {made.driver}", f"guest {made.guest}", f"{made.size >> 20} MiB"]
    told += [f"fault {made.fault}"] * bool(made.fault) + ["other keys first"] * made.strangers
    return ", ".join(told) + (f"; then {made.tweak.__name__}" if made.tweak else "")


def key(folder: Path, name: str) -> str:
    """Copy a key pair that everybody has."""
    for path in (SAMPLE_KEYS / name, SAMPLE_KEYS / f"{name}.pub"):
        if path.is_file():
            shutil.copy(path, folder)
            (folder / path.name).chmod(0o600)
    return ""


def provision(folder: Path, *words: str) -> str:
    """Run b2dprovision, whatever it exits with: a broken machine is wanted as well."""
    CliRunner().invoke(companion, words, catch_exceptions=False, env=PLAIN)
    return ""


def change(folder: Path, name: str, offset: str, data: str) -> str:
    """Write bytes, in hexadecimal, over those at an offset of a file."""
    with (folder / name).open("r+b") as file:
        file.seek(int(offset, 0))
        file.write(bytes.fromhex(data))
    return ""


STEPS = {"sample": sample, "incident": incident, "key": key, "b2dprovision": provision, "change": change}


def mke2fs() -> str:
    """Return the version of mke2fs; "" without one."""
    return run("mke2fs", "-V").stderr.decode().split()[1] if shutil.which("mke2fs", path=PATH) else ""
