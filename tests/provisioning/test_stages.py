"""One stage performed: what it yields, what it leaves behind, however it ends."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from b2dinspect.provisioning.events import Done, Event, Gave, Started, Took, Write
from b2dinspect.provisioning.host.drivers import DRIVERS
from b2dinspect.provisioning.stages import SkipStage, Stage, StageFailed, State, Step, perform
from tests.provisioning.plans import plan

WRITE = Write(512, None, 4, 0, b"abcd")


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    with ExitStack() as cleanup:
        yield State(plan(tmp_path), tmp_path, cleanup, number=4)


def told(state: State, does: Callable[[State], Step]) -> tuple[list[Event], State]:
    stage = Stage("id", "guest", "Does it.", lambda state: f"command {state.number}", does)
    events, steps = [], perform(stage, state)
    while True:
        try:
            events.append(next(steps))
        except StopIteration as end:
            return events, end.value


def test_what_goes_in_and_comes_out_lies_between_its_start_and_its_end(state: State) -> None:
    def does(state: State) -> Step:
        yield Took("in")
        yield WRITE
        yield Gave("out")
        return state._replace(logged_in=True)

    events, after = told(state, does)
    assert events[0] == Started(5, "id", "guest", "Does it.", "command 5")
    assert events[1:3] == [Took("in"), Gave("out")]
    done = events[3]
    assert isinstance(done, Done)
    assert (done.number, done.status, done.reason, done.writes) == (5, "done", "", (WRITE,))
    assert (after.number, after.logged_in) == (5, True)


def test_a_stage_without_work_leaves_the_state(state: State) -> None:
    def does(state: State) -> Step:
        yield Took("in")
        raise SkipStage("there is no disk")

    events, after = told(state, does)
    done = events[-1]
    assert isinstance(done, Done)
    assert (done.status, done.reason) == ("skipped", "there is no disk")
    assert after == state._replace(number=5)


@pytest.mark.parametrize("leaves", [True, False])
def test_a_stage_that_fails_may_leave_a_state(leaves: bool, state: State) -> None:
    def does(state: State) -> Step:
        yield WRITE
        raise StageFailed("the power is gone", state._replace(is_off=True) if leaves else None)

    events, after = told(state, does)
    done = events[-1]
    assert isinstance(done, Done)
    assert (done.status, done.reason, done.writes) == ("failed", "the power is gone", (WRITE,))
    assert after.is_off is leaves


def test_a_step_that_nobody_hears_to_its_end_is_closed(state: State) -> None:
    closed = []

    def does(state: State) -> Step:
        try:
            yield Took("in")
            return state
        finally:
            closed.append(True)

    steps = perform(Stage("id", "host", "Does it.", lambda state: "", does), state)
    assert isinstance(next(steps), Started)
    assert next(steps) == Took("in")
    steps.close()
    assert closed == [True]


@pytest.mark.parametrize(
    ("driver", "format_name", "name"),
    [
        ("virtualbox", "vmdk", "disk.vmdk"),
        ("virtualbox", "vdi", "disk.vdi"),
        ("hyperv", "vhd", "disk.vhd"),
        ("kvm2", "raw", "default.rawdisk"),
        ("qemu2", "qcow2", "disk.qcow2"),
        ("vfkit", "raw", "disk.img"),
    ],
)
def test_the_disk_is_named_as_the_driver_names_it(
    driver: str, format_name: str, name: str, tmp_path: Path
) -> None:
    assert plan(tmp_path, driver=DRIVERS[driver], format=format_name).disk_name == name


def test_only_the_fault_of_the_plan_happens(state: State) -> None:
    faulty = state._replace(plan=state.plan._replace(fault="no-magic"))
    assert faulty.has_fault("no-magic")
    assert not faulty.has_fault("key-mode")
    assert not state.has_fault("no-magic")
