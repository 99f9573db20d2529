"""What holds for all tests: no property test fails because the machine is slow, and nothing stays open."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests.opened import KEPT

settings.register_profile("any-machine", deadline=None)
settings.load_profile("any-machine")


@pytest.fixture(autouse=True)
def nothing_stays_open() -> Iterator[None]:
    """Close what the test kept open."""
    yield
    KEPT.close()


def pytest_addoption(parser: pytest.Parser) -> None:
    help_ = "Write what the commands print today into tests/transcripts, to be reviewed as a diff."
    parser.addoption("--update-transcripts", action="store_true", help=help_)
