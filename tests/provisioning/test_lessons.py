"""What happens between two boots, on a disk that was built for it, and where there is nothing to do it to."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from b2dinspect.inspection.walk import inspect
from b2dinspect.provisioning.build import build
from b2dinspect.provisioning.events import Done, Event, Gave
from b2dinspect.provisioning.faults import FAULTS
from b2dinspect.provisioning.lessons import ACCIDENTS, BETWEEN_BOOTS, TAMPERS
from b2dinspect.provisioning.login import WRONG_KEY
from b2dinspect.provisioning.stages import State, perform
from b2dinspect.userdata.authorized_keys import parse
from tests.oracles import needs
from tests.provisioning.plans import key_pair, plan, tell
from tests.shared import new_path, once

MIB = 1 << 20
makes = needs("mke2fs", "debugfs")


def small_disk() -> Path:
    path = new_path("disk.img")
    tell(build(plan(path.parent, "minikube", format="raw", size=64 * MIB), path, "provisioned"))
    return path


@pytest.fixture
def state(tmp_path: Path) -> Iterator[State]:
    disk = tmp_path / "disk.img"
    disk.write_bytes(once("lessons-disk", small_disk).read_bytes())
    with ExitStack() as cleanup:
        yield State(plan(tmp_path, "minikube"), tmp_path, cleanup, disk_path=disk, key=key_pair())


def play(name: str, state: State) -> tuple[list[Event], State]:
    events, steps = [], perform(BETWEEN_BOOTS[name], state)
    while True:
        try:
            events.append(next(steps))
        except StopIteration as end:
            return events, end.value


def how(events: list[Event]) -> tuple[str, str]:
    last = events[-1]
    assert isinstance(last, Done)
    return last.status, last.reason


def test_lessons_and_accidents_are_all_that_there_is() -> None:
    assert set(BETWEEN_BOOTS) == {*TAMPERS, *ACCIDENTS}
    assert set(ACCIDENTS) <= set(FAULTS)


@makes
def test_userdata_is_lost(state: State) -> None:
    events, _ = play("userdata-lost", state)
    assert how(events) == ("done", "")
    with inspect(str(state.disk_path)) as found:
        assert found.of_source("data") is None
        assert found.data is not None


@makes
def test_the_power_goes(state: State) -> None:
    with inspect(str(state.disk_path)) as before:
        assert before.data is not None
        assert not [one for one in before.data.volume.findings if one.id == "ext4-unclean"]
    assert how(play("unclean", state)[0]) == ("done", "")
    with inspect(str(state.disk_path)) as found:
        assert found.data is not None
        assert [one.id for one in found.data.volume.findings] == ["ext4-unclean"]
        assert found.of_source("data") is not None


@makes
def test_another_key_takes_the_place_of_the_first(state: State) -> None:
    events, after = play("replace-userdata", state)
    assert how(events) == ("done", "")
    assert after.login_key == state.work / "new_id_rsa"
    assert (state.work / WRONG_KEY).read_bytes() == key_pair().private
    (mine,) = [line.key for line in parse(key_pair().public) if line.key]
    with inspect(str(state.disk_path)) as found:
        on_disk = {key.line.key.identity for key in found.keys if key.line.key and key.tar.source == "data"}
    assert on_disk
    assert mine.identity not in on_disk
    assert any(isinstance(event, Gave) and "new_id_rsa" in event.text for event in events)


@pytest.mark.parametrize("name", ["replace-userdata", "userdata-lost", "unclean"])
def test_without_a_disk_there_is_nothing_to_change(name: str, state: State) -> None:
    assert how(play(name, state._replace(disk_path=None))[0]) == ("skipped", "there is no disk")


def test_a_disk_without_a_data_partition_is_left(state: State, tmp_path: Path) -> None:
    empty = tmp_path / "empty.img"
    empty.write_bytes(bytes(4 * MIB))
    events, _ = play("unclean", state._replace(disk_path=empty))
    assert how(events) == ("skipped", "there is no data partition")
    assert empty.read_bytes() == bytes(4 * MIB)


def test_keys_are_deleted_by_who_is_logged_in(state: State) -> None:
    assert how(play("delete-keys", state)[0]) == ("skipped", "nobody can log in")
