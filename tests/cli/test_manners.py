"""How the program behaves among others: streams, statuses, pipes, terminals, widths, completion."""

from __future__ import annotations

import gzip
import os
import re
import signal
import subprocess
import sys
from inspect import cleandoc
from pathlib import Path
from typing import Any

import pytest
import typer
from rich.cells import cell_len

import b2dinspect
from b2dinspect.cli.main import app as inspecting
from b2dinspect.cli.provision.main import app as making
from b2dinspect.userdata.tarball import build_userdata
from tests.cli.conftest import Disk
from tests.cli.helpers import (
    COMMANDS,
    PROGRAM,
    USERDATA_PATH,
    b2d,
    document,
    environment,
    invoke,
    is_harmless,
    on_terminal,
    raw_disk,
    unpacked,
)
from tests.disks import PUB
from tests.oracles import PATIENCE, needs, run

READING = (
    ("show", "fresh.vdi"),
    ("show", "--json", "blank.vdi"),
    ("show", "--headers", "provisioned-automount.vdi"),
    ("keys", "fresh.vdi"),
    ("keys", "--fingerprints", "keys-differ.vdi"),
    ("keys", "--json", "userdata-cut.vdi"),
    ("diff", "fresh.vdi", "key-replaced.vdi"),
    ("diff", "--json", "keys-differ.vdi"),
    ("ls", "provisioned-minikube.vdi", "/var/lib"),
    ("ls", "--json", "provisioned-minikube.vdi", "/var/lib"),
    ("cat", "provisioned-minikube.vdi", USERDATA_PATH),
)

FOR_PEOPLE = tuple(row for row in READING if "--json" not in row and row[0] != "cat" and len(row) > 2)
WRITERS = tuple(READING[index] for index in (0, 1, 3, -1))
"""One for each way of writing, with and without findings."""


def arguments(words: tuple[str, ...]) -> list[object]:
    """Return the words with the samples' names made into paths."""
    return [unpacked(word) if word.endswith(".vdi") else word for word in words]


# --- help and usage ----------------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", [60, 80, 120])
@pytest.mark.parametrize("command", ["", *COMMANDS])
def test_help_has_an_example_and_fits(command: str, columns: int) -> None:
    done = invoke(*command.split(), "--help", columns=columns)
    text = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout.decode())  # typer colours it on GitHub, pipe or not
    assert (done.returncode, done.stderr) == (0, b"")
    assert f"Example: b2dinspect {command}" in " ".join(text.split())
    assert max(cell_len(line) for line in text.splitlines()) <= columns
    assert "Usage: b2dinspect" in text


def test_short_help_and_version() -> None:
    assert invoke("-h").stdout == invoke("--help").stdout != b""
    assert invoke("show", "-h").stdout == invoke("show", "--help").stdout != b""
    assert invoke("--version").stdout.decode() == f"b2dinspect {b2dinspect.__version__}\n"


@pytest.mark.parametrize(
    "words",
    [
        ["nonsense"],
        ["--nonsense"],
        *([name, "--nonsense", "x", "y", "z"] for name in COMMANDS),
        *([name] for name in COMMANDS if name != "doctor"),
        ["show", "one", "two"],
        ["ls", "--partition", "one", "disk"],
        ["keys", "--from"],
    ],
    ids=" ".join,
)
def test_bad_usage(words: list[str]) -> None:
    done = invoke(*words)
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"Error" in done.stderr


@pytest.mark.slow
def test_no_command_at_all_is_answered_with_help() -> None:
    done = b2d()
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.strip() == b2d("--help").stdout.strip() != b""


@pytest.mark.parametrize("command", [name for name in COMMANDS if name != "diff"])
@pytest.mark.parametrize(
    "case",
    ["missing", "folder", "fifo", "empty", "qcow2", "cut gzip", "bad gzip", "cut VDI", "no\nline", "n" * 300],
)
@pytest.mark.slow
def test_unreadable_evidence(tmp_path: Path, command: str, case: str) -> None:
    path = tmp_path / case
    packed = gzip.compress(bytes(range(256)) * 100)
    contents = {
        "empty": b"",
        "qcow2": b"QFI\xfb\0\0\0\3" + bytes(1000),
        "cut gzip": packed[:-20],
        "bad gzip": packed[:20] + b"\xff" * 20 + packed[40:],
        "cut VDI": unpacked("fresh.vdi").read_bytes()[:300],
    }
    if case in contents:
        path.write_bytes(contents[case])
    elif case == "folder":
        path.mkdir()
    elif case == "fifo":
        os.mkfifo(path)
    more = {"cat": ["x"], "get": ["x", tmp_path / "copy"], "query": ["state"]}
    done = invoke(command, path, *more.get(command, []))
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.startswith(b"b2dinspect: ")
    assert done.stderr.count(b"\n") == 1
    assert is_harmless(done.stderr.decode())


# --- streams -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("words", READING, ids=" ".join)
def test_results_go_to_stdout_and_nothing_else_does(words: tuple[str, ...]) -> None:
    done = invoke(*arguments(words))
    assert done.returncode in (0, 1)
    assert done.stdout
    assert bool(done.stderr) == (words[0] == "keys" and "cut" in words[-1] and "--json" not in words)


@pytest.mark.parametrize("words", WRITERS, ids=" ".join)
def test_a_closed_pipe_is_no_trouble(words: tuple[str, ...]) -> None:
    reading, writing = os.pipe()
    os.close(reading)
    try:
        done = b2d(*arguments(words), capture_output=False, stdout=writing, stderr=subprocess.PIPE)
    finally:
        os.close(writing)
    assert (done.returncode, done.stderr) == (0, b"")


@pytest.mark.skipif(not Path("/dev/full").exists(), reason="no /dev/full on this system")
@pytest.mark.parametrize("words", [*WRITERS[:3], ("--help",)], ids=" ".join)
@pytest.mark.slow(but=2)
def test_a_full_disk_is_trouble(words: tuple[str, ...]) -> None:
    with Path("/dev/full").open("wb") as full:
        done = b2d(*arguments(words), capture_output=False, stdout=full, stderr=subprocess.PIPE)
    assert done.returncode == 2
    assert done.stderr == b"b2dinspect: standard output: No space left on device\n"


@pytest.mark.parametrize(
    ("closed", "image", "status", "is_said"),
    [
        ("<&-", "provisioned-minikube.vdi", 0, "stdout"),
        (">&-", "provisioned-minikube.vdi", 0, ""),
        (">&-", "nothing", 2, "stderr"),
        ("2>&-", "nothing", 2, ""),
        ("<&- >&- 2>&-", "provisioned-minikube.vdi", 0, ""),
    ],
)
@pytest.mark.slow(but=3)
def test_closed_streams_do_no_harm(closed: str, image: str, status: int, is_said: str) -> None:
    path = unpacked(image) if image.endswith(".vdi") else image
    command = ["sh", "-c", f'exec "$@" {closed}', "sh", *PROGRAM, "ls", path]
    done = subprocess.run(command, capture_output=True, env=environment(), timeout=PATIENCE)
    assert done.returncode == status
    assert (bool(done.stdout), bool(done.stderr)) == (is_said == "stdout", is_said == "stderr")
    assert b"Traceback" not in done.stderr


def test_closed_standard_input_is_no_evidence() -> None:
    done = subprocess.run(
        ["sh", "-c", 'exec "$@" <&-', "sh", *PROGRAM, "show", "-"],
        capture_output=True,
        env=environment(),
        timeout=PATIENCE,
    )
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.startswith(b"b2dinspect: ")
    assert done.stderr.endswith(b"standard input is closed\n")


def test_an_interrupt_ends_it_with_130() -> None:
    process = subprocess.Popen(
        [*PROGRAM, "show", "-"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(),
    )
    assert process.stdin is not None
    process.stdin.write(bytes(1 << 20))  # more than a pipe holds: once it is written, the program is reading
    process.stdin.flush()
    process.send_signal(signal.SIGINT)
    out, err = process.communicate(timeout=PATIENCE)
    assert (process.returncode, out) == (130, b"")
    assert b"Traceback" not in err


@pytest.mark.parametrize(
    ("name", "is_packed"), [("fresh.raw", True), ("fresh.vdi", False), ("provisioned-automount.vdi", True)]
)
@pytest.mark.slow
def test_standard_input_is_read_like_a_file(name: str, is_packed: bool) -> None:
    content = unpacked(name).read_bytes()
    stdin = gzip.compress(content, 1) if is_packed else content
    done = b2d("show", "--json", "-", stdin=stdin)
    found, by_name = document(done, "show"), document(invoke("show", "--json", unpacked(name)), "show")
    assert (done.returncode, done.stderr) == (0, b"")
    assert (found.pop("path"), found.pop("read_from")) == ("-", "stream")
    assert (by_name.pop("path"), by_name.pop("read_from")) == (str(unpacked(name)), "file")
    for facts in (found, by_name):  # what a file system stores for holes differs between the two
        facts["container"].pop("allocated_size")
        facts["container"].pop("variant")
    assert found == by_name


def test_keys_from_standard_input() -> None:
    content = unpacked("fresh.vdi").read_bytes()
    assert b2d("keys", "-", stdin=content).stdout == invoke("keys", unpacked("fresh.vdi")).stdout != b""


# --- the look ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("columns", [60, 80, 120])
@pytest.mark.parametrize("words", FOR_PEOPLE, ids=" ".join)
@pytest.mark.slow(but=4)
def test_no_line_is_longer_than_the_screen(words: tuple[str, ...], columns: int) -> None:
    lines = invoke(*arguments(words), columns=columns).stdout.decode().splitlines()
    assert lines
    assert max(cell_len(line) for line in lines) <= columns


@pytest.mark.parametrize("columns", [60, 80, 120])
def test_names_are_folded_and_never_cropped(disk: Disk, columns: int) -> None:
    for folder in ("docs", "hostile"):
        wide, narrow = (
            invoke("ls", disk.image, folder, columns=width).stdout.decode() for width in (500, columns)
        )
        assert max(cell_len(line) for line in narrow.splitlines()) <= columns
        assert sorted("".join(wide.split())) == sorted("".join(narrow.split()))


@pytest.mark.slow
def test_colour_only_on_a_terminal_that_wants_it() -> None:
    words = ("show", unpacked("magic-damaged.vdi"))
    coloured = rb"\x1b\[(\d+;)*(38;[25]|[349][0-7])(;\d+)*m"
    assert re.search(coloured, on_terminal(*words)[1])
    assert not re.search(coloured, on_terminal(*words, env={"NO_COLOR": "1"})[1])
    assert b"\x1b" not in b2d(*words).stdout


def test_json_on_a_terminal_is_plain() -> None:
    words = ("show", "--json", unpacked("blank.vdi"))
    assert on_terminal(*words) == (1, invoke(*words).stdout)


@pytest.mark.parametrize("words", [("ls", "hostile"), ("--help",)], ids=" ".join)
@pytest.mark.slow
def test_an_encoding_without_the_character_is_no_trouble(disk: Disk, words: tuple[str, ...]) -> None:
    command, *rest = words
    done = b2d(
        command, *([disk.image, *rest] if rest else []), env={"PYTHONIOENCODING": "ascii", "LC_ALL": "C"}
    )
    assert (done.returncode, done.stderr) == (0, b"")
    assert done.stdout.isascii()
    assert ("caf\\xe9" in done.stdout.decode()) == (words[0] == "ls")


@pytest.mark.parametrize(
    "name", [b"with space.img", "caf\u00e9 \u65e5\u672c.img".encode(), b"not\xffutf-8.img", b"-dash"]
)
def test_any_path_will_do(tmp_path: Path, name: bytes) -> None:
    path = raw_disk(tmp_path / os.fsdecode(name), build_userdata(PUB))
    done = b2d("show", "--json", "--", path)
    assert (done.returncode, done.stderr) == (0, b"")
    assert os.fsencode(document(done, "show")["path"]) == os.fsencode(path)
    done = invoke("show", "--", path, columns=300)
    assert done.returncode == 0
    assert name.replace(b"\xff", b"\\xff").decode() in done.stdout.decode()
    assert is_harmless(done.stdout.decode())
    assert invoke("keys", "--", path).stdout == PUB


# --- completion --------------------------------------------------------------------------------------------


@needs("bash")
@pytest.mark.slow
def test_the_shell_completes_commands_and_options(tmp_path: Path) -> None:
    program = tmp_path / "b2dinspect"
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m b2dinspect "$@"\n')
    program.chmod(0o755)
    ask = """
        complete() { echo "$*"; }
        eval "$(_B2DINSPECT_COMPLETE=source_bash b2dinspect)"
        COMP_WORDS=(b2dinspect k); COMP_CWORD=1; _b2dinspect_completion b2dinspect; echo "${COMPREPLY[*]}"
        COMP_WORDS=(b2dinspect show --j); COMP_CWORD=2; _b2dinspect_completion b2dinspect
        echo "${COMPREPLY[*]}"
    """
    env = environment({"PATH": f"{tmp_path}{os.pathsep}{os.environ['PATH']}"})
    done = subprocess.run(["bash", "-c", ask], capture_output=True, env=env, timeout=PATIENCE)
    assert done.stderr == b""
    assert done.stdout.decode().splitlines() == [
        "-o default -F _b2dinspect_completion b2dinspect",
        "keys",
        "--json",
    ]


@needs("bash")
def test_show_completion_prints_the_script() -> None:
    command = f'"{sys.executable}" -m b2dinspect --show-completion; exit $?'
    done = subprocess.run(["bash", "-c", command], capture_output=True, env=environment(), timeout=PATIENCE)
    assert done.returncode == 0
    assert b"_B2DINSPECT_COMPLETE=complete_bash" in done.stdout


def test_another_shell_has_a_script_too() -> None:
    done = b2d(env={"_B2DINSPECT_COMPLETE": "source_zsh"})
    assert (done.returncode, done.stderr) == (0, b"")
    assert b"_B2DINSPECT_COMPLETE=complete_zsh" in done.stdout


@needs("gzip", "head")
def test_in_a_pipeline(tmp_path: Path) -> None:
    command = 'set -o pipefail; gzip -c "$1" | "$2" -m b2dinspect show - | head -n 1'
    done = run("bash", "-c", command, "bash", unpacked("fresh.vdi"), sys.executable)
    assert done.stdout.split() == [b"File", b"-"]


# --- what stands beside the names of commands --------------------------------------------------------------


@pytest.mark.parametrize("program", [inspecting, making], ids=["b2dinspect", "b2dprovision"])
def test_a_list_of_commands_says_what_each_says_of_itself(program: typer.Typer) -> None:
    group: Any = typer.main.get_command(program)
    groups = [group, *(one for one in group.commands.values() if hasattr(one, "commands"))]
    for one in groups:
        helps = {name: cleandoc(command.help).split("\n\n")[0] for name, command in one.commands.items()}
        typer.Context(one, info_name="program").get_help()
        assert helps
        assert {name: command.short_help for name, command in one.commands.items()} == {
            name: " ".join(text.split()) for name, text in helps.items()
        }
