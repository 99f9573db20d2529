"""A provision, put together from its events, and from the JSON that told them."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from b2dinspect.errors import UsageError
from b2dinspect.provisioning.events import Decoded, Done, Event, Finished, Gave, Started
from b2dinspect.provisioning.pipeline import provision
from b2dinspect.provisioning.story import gather, recorded
from b2dinspect.render.events import event_json
from tests.cli.helpers import validator
from tests.provisioning.plans import plan


@pytest.fixture(scope="module")
def events(tmp_path_factory: pytest.TempPathFactory) -> list[Event]:
    return list(provision(plan(tmp_path_factory.mktemp("machines"), decodes=True)))


def decoded(events: list[Event], stage: str) -> Decoded:
    scene = next(one for one in gather(events).scenes if one.started.id == stage)
    assert scene.decoded is not None
    return scene.decoded


def test_every_line_is_as_the_schema_says(events: list[Event]) -> None:
    for event in events:
        validator("provision").validate(json.loads(event_json(event)))


def test_what_was_told_is_read_again(events: list[Event]) -> None:
    lines = [event_json(event) for event in events]
    assert [event_json(event) for event in recorded(lines)] == lines


def test_the_stages_in_order(events: list[Event]) -> None:
    story = gather(events)
    assert [scene.started.number for scene in story.scenes] == [*range(1, len(story.scenes) + 1)]
    assert all(scene.done and scene.done.id == scene.started.id for scene in story.scenes)
    assert story.finished == events[-1]
    assert story.failure is None


@pytest.mark.parametrize(
    ("stage", "titles", "parts"),
    [
        ("disk", {"tar header"}, set()),
        ("partition", {"GPT header (primary)"}, {"GPT", "backup GPT"}),
        ("swap", {"swap header"}, {"partition 2: swap 'boot2dockerswap'"}),
        ("mkfs", {"ext4 superblock"}, {"partition 1: ext4 'boot2docker-data'"}),
    ],
)
def test_what_a_stage_wrote_is_decoded(
    events: list[Event], stage: str, titles: set[str], parts: set[str]
) -> None:
    found = decoded(events, stage)
    assert titles <= {region.title for region in found.regions}
    assert parts <= {part.name for part in found.parts}
    for region in found.regions:
        assert all(region.offset <= span.offset < region.offset + len(region.data) for span in region.spans)


def test_the_tar_is_found_where_the_guest_keeps_it(events: list[Event]) -> None:
    start, kept = decoded(events, "disk").marks, decoded(events, "fill").marks
    assert [(mark.name, mark.offset) for mark in start] == [("the tar with the key", 0)]
    assert [mark.name for mark in kept] == ["/var/lib/boot2docker/userdata.tar"]
    at = [region.title for region in decoded(events, "fill").regions if region.offset == kept[0].offset]
    assert at == ["/var/lib/boot2docker/userdata.tar tar header"]


def test_where_the_login_dies(events: list[Event]) -> None:
    refused = next(one for one in events if isinstance(one, Done) and one.id == "login")
    ended = [one._replace(status="failed") if one is refused else one for one in events]  # type: ignore
    lost = [one._replace(logged_in=False) if isinstance(one, Finished) else one for one in ended]
    failure = gather(lost).failure
    assert failure is not None
    assert failure.started.id == "login"
    assert gather(ended).failure is None


def test_a_story_that_was_broken_off() -> None:
    story = gather([Started(1, "key", "host", "Make a key.", "")])
    assert story.finished is None
    assert story.failure is story.scenes[0]


def test_what_happens_before_the_first_stage_is_refused() -> None:
    with pytest.raises(UsageError, match="the beginning is missing"):
        gather([Gave("something")])


def _spoiled(events: list[Event]) -> Iterator[str]:
    for kind, name, value in (
        *(("started", "number", -1), ("started", "number", True), ("started", "side", "moon")),
        *(("started", "id", 7), ("gave", "text", None), ("done", "seconds", "1"), ("done", "writes", {})),
        *(("done", "status", "maybe"), ("decoded", "regions", [1]), ("decoded", "size", 1 << 70)),
        *(("finished", "snapshots", [1]), ("finished", "logged_in", 1), ("finished", "schema_version", 2)),
    ):
        line = next(one for one in map(event_json, events) if json.loads(one)["event"] == kind)
        yield json.dumps(json.loads(line) | {name: value})


def test_a_line_that_is_no_event_is_named(events: list[Event]) -> None:
    for line in _spoiled(events):
        with pytest.raises(UsageError, match=r"^line 1 is no event of a provision"):
            list(recorded([line]))
    missing = json.loads(event_json(events[0]))
    del missing["side"]
    with pytest.raises(UsageError, match="it has no 'side'"):
        list(recorded(["", json.dumps(missing)]))


@settings(max_examples=60)
@given(st.text() | st.recursive(st.none() | st.integers() | st.text(), st.lists).map(json.dumps))
def test_any_text_is_an_event_or_refused(text: str) -> None:
    try:
        list(recorded([text]))
    except UsageError as error:
        assert "\n" not in str(error)


def test_deep_and_long_lines_are_refused() -> None:
    for line in ("[" * 100_000, "x" * (9 << 20)):
        with pytest.raises(UsageError, match="line 1"):
            list(recorded([line]))


def test_an_event_of_a_later_version_is_passed_over() -> None:
    assert list(recorded(['{"schema_version": 1, "event": "sang"}'])) == []


def test_nothing_is_decoded_when_nobody_asks(tmp_path: Path) -> None:
    assert not any(isinstance(event, Decoded) for event in provision(plan(tmp_path, fault="mkfs-skipped")))
