"""No disk of the museum is taken for another one, none is given up while something lives on it."""

from __future__ import annotations

import functools
import hashlib
import json
import os
import re
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from b2dinspect.cli.main import app as inspecting
from b2dinspect.cli.provision.main import app as provisioning
from b2dinspect.errors import B2dError
from b2dinspect.inspection.facts import Inspection
from b2dinspect.inspection.walk import inspect
from tests.museum import anywhere, foreign, ours, unread
from tests.museum.exhibit import MARKS, MUSEUM, Exhibit
from tests.oracles import needs, run

ROOMS = (anywhere, foreign, ours, unread)
"""Imported for what they put into the museum."""
COMMANDS = (
    *((name,) for name in ("show", "doctor", "keys", "choice", "map")),
    *((name, "--json") for name in ("show", "doctor")),
)
PAGE = 64 << 10
REPAIRS = re.compile(r"b2dprovision repair|b2dprovision build", re.IGNORECASE)
DESTRUCTIVE = re.compile(
    r"b2dprovision build|docker-machine rm|minikube delete|nothing (is )?lost|nothing to lose"
    r"|never formatted|mkfs (never|failed)|make the (disk|machine) (anew|new)|making the machine anew"
    r"|delete the (disk|machine)"
    r"|recreate|create it again|make the filesystem",
    re.IGNORECASE,
)


def of(*owners: str, lives: bool | None = None, refused: bool = False) -> Any:
    """Return the exhibits that are somebody's, as parameters of a test."""
    chosen = [one for one in MUSEUM.values() if one.owner in owners and bool(one.refused) == refused]
    chosen = [one for one in chosen if lives is None or bool(one.lives) == lives]
    return pytest.mark.parametrize("one", [pytest.param(e, id=e.name, marks=MARKS[e.name]) for e in chosen])


@functools.cache
def facts(name: str) -> Inspection:
    with inspect(str(MUSEUM[name].make())) as found:
        return found


def say(app: Any, *words: object) -> tuple[int, str]:
    """Return the status of a command within this process, and all that it says, in one line."""
    env = {"COLUMNS": "80", "NO_COLOR": "1", "TERM": "dumb"}
    result = CliRunner().invoke(app, [str(word) for word in words], catch_exceptions=True, env=env)
    is_clean = result.exception is None or isinstance(result.exception, SystemExit)
    assert is_clean, f"{words}: {result.exception!r}"
    return result.exit_code, " ".join((result.stdout + result.stderr).split())


@functools.cache
def all_said(name: str) -> str:
    """Return what every inspecting command says about an exhibit."""
    path = MUSEUM[name].make()
    return "\n".join(f"{command}: {say(inspecting, *command, path)[1]}" for command in COMMANDS)


def digest(path: Path) -> str:
    """Return a hash of what a sparse file stores, of its size, and of its times."""
    if path.is_dir():
        return "".join(digest(one) for one in sorted(path.iterdir()))
    found, status, pages = hashlib.sha256(), path.stat(), set[int]()
    with path.open("rb") as file:
        position = 0
        while position < status.st_size:
            try:
                position = os.lseek(file.fileno(), position, os.SEEK_DATA)
            except OSError:
                break
            end = os.lseek(file.fileno(), position, os.SEEK_HOLE)
            pages.update(range(position // PAGE, -(-end // PAGE)))
            position = end
        for page in sorted(pages):  # where holes are may change by itself: zeros do not count
            data = os.pread(file.fileno(), PAGE, page * PAGE)
            if data.strip(b"\0"):
                found.update(page.to_bytes(8, "big") + data)
    return f"{found.hexdigest()} {status.st_size} {status.st_mtime_ns}"


def test_the_museum_is_large_enough() -> None:
    assert len(MUSEUM) >= 60
    assert all(len(one.line) > 10 for one in MUSEUM.values())


@of("ours", "other", "unknown", "nobody")
@pytest.mark.slow(but=7)
def test_whose_it_is(one: Exhibit) -> None:
    owner = facts(one.name).ownership
    assert owner.owner == one.owner, one.line
    if one.seems:
        described = [(found.what, found.sure) for found in owner.seems]
        assert any(one.seems in what and sure == one.sure for what, sure in described), described
    else:
        assert not owner.seems or one.owner != "other"


@of("ours", "other", "unknown", lives=True)
def test_what_lives_is_found(one: Exhibit) -> None:
    found = facts(one.name)
    there = {volume.partition.offset: volume.filesystem for volume in (*found.volumes, *found.living)}
    for offset in one.lives:
        assert there.get(offset) not in (None, "none", "unknown", "unreadable"), (one.line, there)


@of("ours", "other", "unknown", lives=True)
@pytest.mark.no_cover
@pytest.mark.slow(but=12)
def test_what_lives_can_be_opened(one: Exhibit) -> None:
    for offset in one.lives if one.readable else ():
        status, said = say(inspecting, "ls", one.make(), "/", "--offset", offset, "--json")
        assert status == 0, said
        names = [entry["name"] for entry in json.loads(said)["entries"]]
        assert names != [] or one.name.startswith(("cidata-vfat", "fat-", "unlabelled")), said


@pytest.mark.parametrize("name", [pytest.param("bigalloc", marks=MARKS["bigalloc"])])
def test_keys_come_out_of_larger_clusters(name: str) -> None:
    found, said = facts(name), all_said(name)
    assert found.state == "provisioned"
    assert [finding.id for finding in found.problems if finding.severity == "error"] == []
    assert "is damaged" not in said and "not read here" not in said
    status, listed = say(inspecting, "ls", MUSEUM[name].make(), "/var/lib/docker/volumes/db/_data")
    assert (status, "table" in listed) == (0, True)
    assert say(inspecting, "keys", MUSEUM[name].make())[1].count("ssh-rsa") == 1


@pytest.mark.parametrize("name", [pytest.param("btrfs-ours", marks=MARKS["btrfs-ours"])])
def test_what_is_only_unread_is_not_damaged(name: str) -> None:
    found, said = facts(name), all_said(name)
    assert found.state == "provisioned"
    assert not any("e2fsck" in said or finding.severity == "error" for finding in found.problems)
    assert "only not read here" in said
    assert "is damaged" not in said
    status, listed = say(inspecting, "ls", MUSEUM[name].make(), "/")
    assert status == 2
    assert "not ext2" in listed or "only not read" in listed


@pytest.mark.parametrize(
    ("name", "is_said"),
    [
        ("esp-and-root", "partition 1 seems to be FAT (certain: the signature)"),
        ("photos-zeroed", "Whose disk: nothing says whose it is"),
        ("ntfs-over-ours", "made over a boot2docker disk, whose ext4 still begins at sector 1955840"),
        ("luks-over-data", "a LUKS volume, encrypted was made over a boot2docker disk"),
        ("xfs-over-data", "XFS was made over a boot2docker disk"),
        ("swap-alone", "Do: keep the image, and look for a copy of it"),
        ("btrfs-magic-in-data", "has the signature of btrfs, too, at its byte 0x10040"),
    ],
)
def test_the_doctor_says_of_it(name: str, is_said: str) -> None:
    assert is_said in say(inspecting, "doctor", MUSEUM[name].make())[1]


@needs("blkid", "mke2fs")
def test_two_signatures_are_none_for_blkid_and_for_guests() -> None:
    found = run("sh", "-c", f"blkid -p -O {1 << 20} {MUSEUM['btrfs-magic-in-data'].make()} 2>&1; true").stdout
    assert b"ambivalent" in found
    assert [one.action for one in facts("btrfs-magic-in-data").choices] == ["leave"] * 3


ORPHANS = ("qcow2-without-parent", "vmdk-without-parent")


@pytest.mark.parametrize("name", [pytest.param(name, marks=MARKS[name]) for name in ORPHANS])
def test_what_is_not_in_the_file_is_not_damaged(name: str) -> None:
    said = all_said(name)
    assert facts(name).state == "incomplete"
    wrong = re.search("damaged(?!_at)|no(thing of| sign of) boot2docker|remainder|restore the table", said)
    assert wrong is None, said[wrong.start() - 99 :]


@of("other", "unknown")
@pytest.mark.slow
@pytest.mark.no_cover
def test_no_repair_is_advised_for_what_is_not_ours(one: Exhibit) -> None:
    assert not REPAIRS.search(all_said(one.name)), one.line


@of("other", "unknown")
@pytest.mark.no_cover
@pytest.mark.slow(but=15)
def test_what_is_not_ours_is_not_repaired(one: Exhibit) -> None:
    status, said = say(provisioning, "repair", "--dry-run", one.make())
    assert status == 2, (one.line, said)


@of("ours", "other", "unknown", lives=True)
@pytest.mark.slow
@pytest.mark.no_cover
def test_nothing_destructive_is_advised_over_what_lives(one: Exhibit) -> None:
    found = DESTRUCTIVE.search(all_said(one.name))
    assert found is None, (one.line, all_said(one.name)[found.start() - 200 : found.end() + 200])


@of("ours", "other", "unknown", "nobody")
@pytest.mark.slow
@pytest.mark.no_cover
def test_the_evidence_stays_as_it_is(one: Exhibit) -> None:
    path = one.make()
    before = digest(path)
    for command in COMMANDS:
        say(inspecting, *command, path)
    say(provisioning, "repair", "--dry-run", path)
    assert digest(path) == before


@of("unknown", refused=True)
def test_a_format_that_is_not_read_is_named(one: Exhibit) -> None:
    with pytest.raises(B2dError) as caught:
        inspect(str(one.make()))
    said = str(caught.value)
    assert one.refused in said, said
    assert "raw, foreign" not in said
    assert say(inspecting, "show", one.make())[0] == 2
