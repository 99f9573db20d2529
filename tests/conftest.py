"""What holds for all tests: a slow machine is no fault, nothing stays open, programs can be interrupted."""

from __future__ import annotations

import os
import signal
import socket
import sys
import traceback
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import coverage
import pytest
from hypothesis import settings

from tests import shared
from tests.opened import KEPT

settings.register_profile("any-machine", deadline=None, max_examples=50)
settings.register_profile("ci", settings.get_profile("any-machine"), derandomize=True)
settings.load_profile("ci" if "CI" in os.environ else "any-machine")

assert shared.SHARED.is_dir()  # made before the workers start

# Hundreds of programs are started, and each would compile the whole package anew.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
sys.dont_write_bytecode = False

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    # A shell starts what runs in its background so, and every program of the tests would inherit it.
    signal.signal(signal.SIGINT, signal.default_int_handler)

if "PYTEST_XDIST_WORKER" in os.environ:
    # A worker is a child too: measured before pytest-cov begins, and again wherever a test is not.
    while begun := coverage.Coverage.current():
        begun.stop()


@pytest.fixture(autouse=True)
def children_are_measured_as_their_test_is(request: pytest.FixtureRequest) -> Iterator[None]:
    """Measure no child of a test that is not measured: to begin and to save costs as much as a command."""
    with pytest.MonkeyPatch.context() as patch:
        if request.node.get_closest_marker("no_cover"):
            patch.delenv("COVERAGE_PROCESS_CONFIG", raising=False)
        yield


@pytest.fixture(autouse=True)
def nothing_stays_open() -> Iterator[None]:
    """Close what the test kept open."""
    yield
    KEPT.close()


@pytest.hookimpl(tryfirst=True)  # before -m chooses
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Of ``slow(but=N)``, take the mark from N cases, far from each other, and measure no other for coverage.

    What hypothesis draws is not measured either: that would be another coverage every time.
    """
    cases = defaultdict[tuple[str, int], list[pytest.Item]](list)
    for item in items:
        if getattr(getattr(item, "obj", None), "is_hypothesis_test", False):
            item.add_marker(pytest.mark.no_cover)
        if (mark := item.get_closest_marker("slow")) and "but" in mark.kwargs:
            cases[item.nodeid.partition("[")[0], mark.kwargs["but"]].append(item)
    for (_, wanted), found in cases.items():
        quick = found[:: -(-len(found) // wanted)]
        for item in found:
            if item in quick:
                item.own_markers = [mark for mark in item.own_markers if mark.name != "slow"]
            else:
                item.add_marker(pytest.mark.no_cover)


def pytest_addoption(parser: pytest.Parser) -> None:
    help_ = "Write what the commands print today into tests/transcripts, to be reviewed as a diff."
    parser.addoption("--update-transcripts", action="store_true", help=help_)


def _skip_what_is_not_here(error: Exception) -> None:
    """Skip a test that itself calls what this system does not have; what the package calls is its fault."""
    caller = traceback.extract_tb(error.__traceback__)[-1].filename
    if not Path(caller).is_relative_to(Path(__file__).parent):
        return
    if isinstance(error, AttributeError) and error.obj in (os, signal, socket):
        pytest.skip(f"not on this system: {error.obj.__name__}.{error.name}")
    if isinstance(error, ModuleNotFoundError) and error.name in ("fcntl", "pty", "resource"):
        pytest.skip(f"not on this system: {error.name}")


@pytest.hookimpl(wrapper=True)
def pytest_pyfunc_call(pyfuncitem: pytest.Function) -> Iterator[None]:
    """Perform a test, or skip it where this system cannot."""
    try:
        return (yield)
    except (AttributeError, ModuleNotFoundError) as error:
        _skip_what_is_not_here(error)
        raise


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef: object) -> Iterator[None]:
    """Prepare a test, or skip it where this system cannot."""
    try:
        return (yield)
    except (AttributeError, ModuleNotFoundError) as error:
        _skip_what_is_not_here(error)
        raise
