"""What holds for all tests: a slow machine is no fault, nothing stays open, programs can be interrupted."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator

import pytest
from hypothesis import settings

from tests import shared
from tests.opened import KEPT

settings.register_profile("any-machine", deadline=None)
settings.load_profile("any-machine")

assert shared.SHARED.is_dir()  # made before the workers start

# Hundreds of programs are started, and each would compile the whole package anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts what runs in its background so, and every program of the tests would inherit it.
    signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture(autouse=True)
def nothing_stays_open() -> Iterator[None]:
    """Close what the test kept open."""
    yield
    KEPT.close()


def pytest_addoption(parser: pytest.Parser) -> None:
    help_ = "Write what the commands print today into tests/transcripts, to be reviewed as a diff."
    parser.addoption("--update-transcripts", action="store_true", help=help_)
