"""A slice of ``python -m tests.kill``, and that it finds what can go wrong."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from tests.kill import traced
from tests.kill.__main__ import Bench, trials
from tests.kill.layer import Layer
from tests.kill.victims import VICTIMS, Victim, state_of, two_disks
from tests.oracles import needs

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs fork")


@pytest.mark.slow
@pytest.mark.parametrize("victim", VICTIMS, ids=lambda victim: victim.name)
def test_a_writing_call_that_fails_leaves_old_or_new(victim: Victim, tmp_path: Path) -> None:
    found = dict(trials(victim, tmp_path, 211))
    assert found
    assert {name: wrong for name, wrong in found.items() if wrong} == {}


@needs("strace")
@pytest.mark.slow
@pytest.mark.parametrize("victim", traced.VICTIMS, ids=lambda victim: victim.name)
def test_the_same_of_whole_programs(victim: traced.Victim, tmp_path: Path) -> None:
    found = dict(traced.trials(victim, tmp_path, 43))
    assert found
    assert {name: wrong for name, wrong in found.items() if wrong} == {}


def test_what_is_not_whole_is_seen(tmp_path: Path) -> None:
    """A convert whose new file is the final one from the beginning would be found out at its first write."""
    victim = next(one for one in VICTIMS if one.name == "convert")
    (tmp_path / "sound").mkdir()
    two_disks(tmp_path / "sound")
    with Bench(victim, tmp_path / "sound", tmp_path / "trial") as bench:
        status, calls = bench.run(Layer())
        assert status == 0
        assert {"open", "fsync", "replace"} < set(calls)
        new = state_of(bench.place)
        assert bench.wrong(new, "write", "EIO") == ""
        with (bench.place / "disk.img").open("r+b") as file:
            file.truncate(100)
        (bench.place / ".0123456789ab.part").write_text("half")
        assert bench.wrong(new, "write", "EIO") == (
            "left: .0123456789ab.part; neither old nor new: .0123456789ab.part, disk.img"
        )
