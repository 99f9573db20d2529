"""The disk as a picture: nothing overlaps, nothing is left out."""

from __future__ import annotations

from itertools import pairwise

import pytest

from b2dinspect.containers.raw.reader import RawContainer
from b2dinspect.inspection.walk import inspect, inspect_disk
from b2dinspect.source import MemorySource
from b2dinspect.views.diskmap import MAX_RUNS, DiskMap, MapPart, _joined, draw
from tests.cli.helpers import MANIFEST, unpacked
from tests.incidents import NAMES, case, incident
from tests.opened import keep


def check(found: DiskMap, size: int) -> None:
    for strip in (found.file, found.disk, found.start):
        position = 0
        for part in strip.parts:
            assert part.offset == position
            assert part.length > 0
            position = part.end
        assert position == strip.length
        for part in (*strip.stored, *strip.marks):
            assert 0 <= part.offset < strip.length
    assert found.disk.length == size
    assert found.start.length == min(size, 1 << 20)


@pytest.mark.parametrize("name", MANIFEST)
@pytest.mark.slow(but=5)
def test_every_sample(name: str) -> None:
    facts = keep(inspect(str(unpacked(name))))
    found = draw(facts)
    check(found, facts.container.size)
    stored = sum(part.length for part in found.disk.stored)
    assert stored == sum(extent.length for extent in facts.container.extents() if extent.kind != "zero")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.slow
def test_every_incident(name: str) -> None:
    disk = case(incident(name)).disk
    if disk is not None:
        check(draw(disk), disk.container.size)


def test_what_is_on_a_provisioned_disk() -> None:
    found = draw(keep(inspect(str(unpacked("provisioned-automount.vdi")))))
    assert [part.kind for part in found.disk.parts] == ["table", "gap", "swap", "data", "gap"]
    assert [part.kind for part in found.disk.marks] == ["userdata", "userdata", "residue"]
    assert [part.kind for part in found.file.parts] == ["metadata", "stored"]
    assert [part.kind for part in found.start.marks] == ["userdata", "residue"]


def test_a_fresh_disk() -> None:
    found = draw(keep(inspect(str(unpacked("fresh.vdi")))))
    assert [part.kind for part in found.disk.parts] == ["gap"]
    assert {part.name for part in found.disk.marks} == {
        "the marker",
        "the tar with the key",
        "what a guest keeps",
    }


def test_a_tiny_disk() -> None:
    check(draw(inspect_disk(RawContainer(MemorySource(b"x")), "x")), 1)


def test_many_runs_are_joined() -> None:
    parts = [MapPart("stored", "", n * 10, 5) for n in range(3 * MAX_RUNS)]
    joined = _joined(parts)
    assert len(joined) <= MAX_RUNS
    assert (joined[0].offset, joined[-1].end) == (0, parts[-1].end)
    assert all(one.end <= other.offset for one, other in pairwise(joined))
