"""A slice of ``python -m tests.kill``."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.kill.__main__ import VICTIMS, Victim, trials
from tests.oracles import needs


@needs("strace")
@pytest.mark.slow
@pytest.mark.parametrize("victim", VICTIMS, ids=lambda victim: victim.name)
def test_a_writing_call_that_fails_leaves_old_or_new(victim: Victim, tmp_path: Path) -> None:
    found = dict(trials(victim, tmp_path, 17))
    assert found
    assert {name: wrong for name, wrong in found.items() if wrong} == {}
