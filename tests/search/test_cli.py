"""``b2dinspect search`` as a command."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import tarfile
import time
from pathlib import Path

import pytest

from tests.cli.helpers import PROGRAM, SAMPLES, environment, invoke, unpacked, validator
from tests.disks import PUB, TAR
from tests.oracles import PATIENCE

KEYS = {
    *("kind", "virtual_offset", "file_offset", "length", "sure"),
    *("fingerprint_sha256", "comment", "in_force", "place"),
}


def test_each_line_is_an_object_and_the_last_sums_up() -> None:
    done = invoke("search", unpacked("fresh.vdi"), "--json")
    assert (done.returncode, done.stderr) == (0, b"")
    *hits, last = map(json.loads, done.stdout.splitlines())
    for one in (*hits, last):
        validator("search").validate(one)
    assert all(set(hit) > KEYS for hit in hits)
    assert [(hit["kind"], hit["virtual_offset"]) for hit in hits][:3] == [
        ("marker", 0),
        ("tar-entry", 0),
        ("marker", 512),
    ]
    assert last["hits"] == len(hits)
    assert last["complete"]


def test_a_table_tells_each_thing_once() -> None:
    done = invoke("search", unpacked("fresh.vdi"), "--kind", "public-key", columns=200)
    assert done.stdout.count(b"ssh-rsa 2048") == 1
    assert b"0x800, 0xc00" in done.stdout
    assert b"2 hits in 1 MiB stored" in done.stderr


def test_the_python_engine_finds_the_same() -> None:
    words = ("search", unpacked("key-replaced.vdi"), "--json", "--kind", "public-key", "--engine")
    found = [invoke(*words, name) for name in ("python", "yara-x")]
    first, second = ([*map(json.loads, done.stdout.splitlines())][:-1] for done in found)
    assert first == second


def test_what_is_carved_is_whole_private_and_never_replaced(tmp_path: Path) -> None:
    folder = tmp_path / "found"
    words = ("search", unpacked("fresh.vdi"), "--carve", folder)
    assert invoke(*words).returncode == 0
    names = {path.name: path for path in folder.iterdir()}
    assert set(names) == {"userdata-0x0.tar", "public-key-0x800.pub"}
    assert all(path.stat().st_mode & 0o777 == 0o600 for path in names.values())
    assert names["userdata-0x0.tar"].read_bytes()[: len(TAR)] == TAR
    with tarfile.open(names["userdata-0x0.tar"]) as tar:
        assert tar.extractfile(".ssh/authorized_keys").read().startswith(b"ssh-rsa ")  # type: ignore[union-attr]
    names["public-key-0x800.pub"].write_bytes(b"mine")
    done = invoke(*words)
    assert done.returncode == 2
    assert b"exists; say --force to replace it" in done.stderr
    assert names["public-key-0x800.pub"].read_bytes() == b"mine"
    assert invoke(*words, "--force").returncode == 0
    assert names["public-key-0x800.pub"].read_bytes().startswith(b"ssh-rsa ")


def test_several_images_and_one_that_is_none(tmp_path: Path) -> None:
    gone = tmp_path / "gone.vdi"
    done = invoke("search", unpacked("fresh.vdi"), gone, unpacked("blank.vdi"), "--json")
    assert done.returncode == 2
    last = json.loads(done.stdout.splitlines()[-1])
    validator("search").validate(last)
    assert [bool(one["error"]) for one in last["images"]] == [False, True, False]
    assert invoke("search", gone).returncode == 2


def test_nothing_found() -> None:
    done = invoke("search", unpacked("fresh.vdi"), "--kind", "pattern", "--pattern", "nowhere")
    assert (done.returncode, done.stdout) == (1, b"")


@pytest.mark.parametrize("words", [("--kind", "keys"), ("--pattern", "/(/"), ("--engine", "grep")])
def test_what_makes_no_sense_is_said(words: tuple[str, ...]) -> None:
    done = invoke("search", unpacked("fresh.vdi"), *words)
    assert (done.returncode, done.stdout) == (2, b"")


def test_an_interrupt_keeps_what_was_found(tmp_path: Path) -> None:
    """The disk is long: the search is stopped when its first line is there."""
    path = tmp_path / "disk.raw"
    with path.open("wb") as file:
        file.write(PUB)
        for _ in range(24):
            file.write(os.urandom(1 << 20))
    command = [*PROGRAM, "search", "--engine", "python", "--json", str(path)]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, env=environment(), **pipes) as process:
        assert process.stdout is not None
        first = process.stdout.readline()
        process.send_signal(signal.SIGINT)
        began = time.monotonic()
        rest, _ = process.communicate(timeout=PATIENCE)
    assert json.loads(first)["kind"] == "public-key"
    last = json.loads(rest.splitlines()[-1])
    assert (last["kind"], last["complete"]) == ("summary", False)
    assert process.returncode == 130
    assert time.monotonic() - began < PATIENCE / 10


def test_a_packed_sample_is_searched_too() -> None:
    done = invoke("search", SAMPLES / "fresh.vdi.gz", "--kind", "marker", "--json")
    assert [json.loads(line)["kind"] for line in done.stdout.splitlines()] == ["marker", "marker", "summary"]
