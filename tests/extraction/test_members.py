"""What comes out of a filesystem, as a stream: each directory once, whatever their names say."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from b2dinspect.errors import B2dError
from b2dinspect.extraction.members import MAX_DEPTH, Directories, walk
from b2dinspect.filesystems.ext4 import Ext4
from b2dinspect.inspection.walk import inspect
from b2dinspect.views.logs import read_logs
from tests.docker.handmade import disk, in_two_places
from tests.oracles import needs


@pytest.fixture(scope="module")
def image() -> Path:
    """A disk with forty directories in each other, each of two names, and one of them inside itself."""
    return in_two_places(disk({"var/log/" + "deep/" * 40 + "a.log": b"x"}), "var/log", 40)


@needs("mke2fs", "debugfs")
def test_a_directory_of_two_names_is_entered_once(image: Path) -> None:
    told: dict[bytes, str] = {}
    start = time.monotonic()
    with inspect(str(image)) as facts, Ext4(facts.volumes[0].source) as files:
        found = [
            member.path
            for member in walk(files, files.find(b"/var"), lambda path, why: told.update({path: str(why)}))
        ]
    assert time.monotonic() - start < 10
    assert len(found) == 1 + 1 + 40 + 1
    assert len(told) == 41
    assert told[b"log/again"] == "filesystem: a directory inside itself"
    assert "that is log/deep too" in told[b"log/twin"]


@needs("mke2fs", "debugfs")
def test_logs_are_looked_for_once(image: Path) -> None:
    with inspect(str(image)) as facts:
        assert read_logs(facts, 1).logs == ()  # deeper than logs are


def test_an_end_to_directories_in_each_other() -> None:
    told: list[B2dError] = []
    places = Directories(lambda path, why: told.append(why))
    assert places.enter(b"/".join([b"d"] * MAX_DEPTH), 1)
    assert not places.enter(b"/".join([b"d"] * (MAX_DEPTH + 1)), 2)
    assert str(told[0]) == "filesystem: too many directories in each other"
