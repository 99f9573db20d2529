"""The docker commands among others: help, usage, names, statuses."""

from __future__ import annotations

import io
import json
import re
from pathlib import Path

import pytest
from rich.cells import cell_len

from b2dinspect.cli.docker import FAMILY
from b2dinspect.render.docker import Sheet, drawn, plain
from b2dinspect.render.terminal import Screen
from tests.cli.helpers import document, invoke, is_harmless, unpacked
from tests.docker.handmade import disk, graph, identity
from tests.oracles import needs

COMMANDS = tuple(FAMILY.places)


@pytest.fixture(scope="module")
def image() -> Path:
    return disk(graph())


@pytest.mark.parametrize("columns", [60, 80, 120])
@pytest.mark.parametrize("command", ["", *COMMANDS])
@pytest.mark.slow(but=17)
def test_help_has_an_example_and_fits(command: str, columns: int) -> None:
    done = invoke("docker", *command.split(), "--help", columns=columns)
    text = re.sub(r"\x1b\[[0-9;]*m", "", done.stdout.decode())
    assert (done.returncode, done.stderr) == (0, b"")
    assert f"Example: b2dinspect docker {command or 'ps'}" in " ".join(text.split())
    assert max(cell_len(line) for line in text.splitlines()) <= columns


@pytest.mark.parametrize("words", [["nonsense"], *([name] for name in COMMANDS), ["ps", "--nonsense", "x"]])
def test_bad_usage(words: list[str]) -> None:
    done = invoke("docker", *words)
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"Error" in done.stderr


@needs("mke2fs")
@pytest.mark.parametrize(
    ("words", "message"),
    [
        (("inspect", "wab"), "did you mean web?"),
        (("logs", "wep"), "did you mean web?"),
        (("history", "olt:1"), "did you mean old:1?"),
        (("inspect", "--type", "network", "web"), "--type network is not one of"),
        (("logs", "--tail", "many", "web"), "--tail many is no number"),
        (("logs", "--since", "yesterday", "web"), "--since yesterday is no time"),
        (("ps", "--data-root", "/srv/docker"), "no data-root at /srv/docker on this disk"),
    ],
)
def test_what_it_does_not_know(image: Path, words: tuple[str, ...], message: str) -> None:
    command, *rest = words
    place = len(rest) - 1 if command in ("inspect", "logs", "history") else len(rest)
    done = invoke("docker", command, *rest[:place], image, *rest[place:])
    assert (done.returncode, done.stdout) == (2, b"")
    assert message in done.stderr.decode()
    assert done.stderr.count(b"\n") == 1


@needs("mke2fs")
@pytest.mark.parametrize("name", ["web", identity("web"), identity("web")[:12], identity("web")[:3]])
def test_a_container_by_name_and_by_id(image: Path, name: str) -> None:
    (found,) = json.loads(invoke("docker", "inspect", image, name).stdout)
    assert found["Name"] == "/web"


@needs("mke2fs")
def test_a_data_root_elsewhere(image: Path) -> None:
    tree = {f"srv/{name}": content for name, content in graph().items()}
    moved = disk(tree)
    for words in ((), ("--data-root", "/srv/var/lib/docker"), ("--data-root", "srv/var/lib/docker/")):
        found = document(invoke("docker", "ps", "--json", *words, moved), "docker-ps")
        assert [one["path"] for one in found["data_roots"]] == ["/srv/var/lib/docker"]
        assert [one["name"] for one in found["containers"]] == ["web"]


def test_a_pipe_gets_what_a_wide_terminal_shows() -> None:
    row = ["caf\u00e9 \u65e5\u672c", "a\x1b[31m", "", "back\\slash"]
    sheets = [Sheet("docker: /a", ["ONE", "TWO", "THREE", "FOUR"], [row, ["x", "y", "z", "w"]])]
    screen = Screen(width=200, file=io.StringIO())
    for part in drawn(sheets):
        screen.print(part)
    assert screen.file.getvalue().splitlines() == [*plain(sheets)]  # type: ignore[attr-defined]
    assert is_harmless("\n".join(plain(sheets)))


@pytest.mark.parametrize("name", ["fresh.vdi", "provisioned-minikube.vdi"])
@pytest.mark.parametrize("command", ["ps", "images", "volumes"])
def test_a_disk_without_any(name: str, command: str) -> None:
    done = invoke("docker", command, unpacked(name))
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"no container engine left anything" in done.stderr
    assert is_harmless(done.stderr.decode())


@needs("mke2fs")
def test_a_report_has_a_page_of_it(image: Path) -> None:
    page = invoke("report", image).stdout.decode()
    assert "Docker&#x27;s containers</h2>" in page
    assert f"<code>{identity('volume')}</code>" in page
    markdown = invoke("report", "--markdown", image).stdout.decode()
    assert "| `web` | `old:1` | Exited (2), 2017-03-04 05:06:09Z |" in markdown
    assert "Lives on it: Docker: 1 container" in invoke("doctor", image).stdout.decode()
