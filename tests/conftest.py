"""What holds for all tests: no property test fails because the machine is slow."""

from __future__ import annotations

import pytest
from hypothesis import settings

settings.register_profile("any-machine", deadline=None)
settings.load_profile("any-machine")


def pytest_addoption(parser: pytest.Parser) -> None:
    help_ = "Write what the commands print today into tests/transcripts, to be reviewed as a diff."
    parser.addoption("--update-transcripts", action="store_true", help=help_)
