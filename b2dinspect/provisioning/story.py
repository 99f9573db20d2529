"""A provision that is over, put together from its events, or from the lines of JSON that told them."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, TypeVar, cast, get_args

from b2dinspect.errors import UsageError
from b2dinspect.fields import Field
from b2dinspect.findings import Space
from b2dinspect.provisioning.events import (
    Console,
    Decoded,
    Done,
    Event,
    Finished,
    Gave,
    Serving,
    StageStatus,
    Started,
    Took,
    Write,
)
from b2dinspect.records import NamedTuple
from b2dinspect.views.annotation import Region, Span
from b2dinspect.views.diskmap import Kind, MapPart

MAX_LINE = 8 << 20
MAX_EVENTS = 20_000
MAX_LENGTH = 1 << 16
"""Bytes of a structure."""
Text = Took | Gave | Console
Found = Mapping[str, Any]
Value = TypeVar("Value", int, str, bool, float, list[Any])


class Scene(NamedTuple):
    """One stage, as it was played.

    Attributes:
        started: What it is.
        lines: What came in, and what came out, in order.
        decoded: What it left where it wrote; None when it wrote nothing, or nobody decoded it.
        done: How it ended; None when it never did.
    """

    started: Started
    lines: tuple[Text, ...] = ()
    decoded: Decoded | None = None
    done: Done | None = None

    @property
    def has_failed(self) -> bool:
        """Whether the guest, or the login, failed here."""
        return self.done is None or self.done.status == "failed"


class Story(NamedTuple):
    """The whole provision.

    Attributes:
        scenes: The stages, in order.
        finished: The end; None when it was broken off.
    """

    scenes: tuple[Scene, ...]
    finished: Finished | None = None

    @property
    def failure(self) -> Scene | None:
        """The stage where the login dies: the first that failed, if nobody could log in at last."""
        if self.finished is not None and self.finished.logged_in:
            return None
        return next((scene for scene in self.scenes if scene.has_failed), None)


def gather(events: Iterable[Event]) -> Story:
    """Return the story that events tell.

    Raises:
        UsageError: What happens belongs to no stage.
    """
    story = Story(())
    for event in events:
        if isinstance(event, Started):
            story = story._replace(scenes=(*story.scenes, Scene(event)))
        elif isinstance(event, Finished):
            story = story._replace(finished=event)
        elif not isinstance(event, Serving):
            if not story.scenes:
                raise UsageError("what happened belongs to no stage: the beginning is missing")
            story = story._replace(scenes=(*story.scenes[:-1], _added(story.scenes[-1], event)))
    return story


def _added(scene: Scene, event: Text | Decoded | Done) -> Scene:
    if isinstance(event, Decoded):
        return scene._replace(decoded=event)
    if isinstance(event, Done):
        return scene._replace(done=event)
    return scene._replace(lines=(*scene.lines, event))


def recorded(lines: Iterable[str]) -> Iterator[Event]:
    """Yield the events of ``run --json`` again; see render/schemas/provision.schema.json.

    Raises:
        UsageError: A line is none of them.
    """
    for number, line in enumerate(lines, 1):
        if number > MAX_EVENTS or len(line) > MAX_LINE:
            raise UsageError(f"line {number}: more than the events of a provision")
        if line.strip():
            try:
                found = json.loads(line)
                event = _event(found if isinstance(found, dict) else {})
            except (ValueError, KeyError, TypeError, RecursionError) as error:
                raise UsageError(f"line {number} is no event of a provision: {_reason(error)}") from None
            if event is not None:
                yield event


def _reason(error: Exception) -> str:
    return f"it has no {error}" if isinstance(error, KeyError) else str(error)


def _event(found: Found) -> Event | None:
    """Return an event; None for one that a later version has."""
    if found["schema_version"] != 1:
        raise ValueError(f"schema version {found['schema_version']}; 1 is read")
    match _get(found, "event", str):
        case "started":
            return Started(
                _get(found, "number", int),
                _get(found, "id", str),
                "host" if _one_of(found, "side", ("host", "guest")) == "host" else "guest",
                _get(found, "sentence", str),
                _get(found, "command", str),
            )
        case "took":
            return Took(_get(found, "text", str))
        case "gave":
            return Gave(_get(found, "text", str))
        case "console":
            return Console(_get(found, "text", str))
        case "decoded":
            return _decoded(found)
        case "done":
            return _done(found)
        case "serving":
            return Serving(tuple(_texts(found, "ssh")))
        case "finished":
            return Finished(
                _get(found, "logged_in", bool),
                _get(found, "folder", str),
                _get(found, "disk", str),
                _get(found, "message", str),
                tuple(_texts(found, "snapshots")),
            )
    return None


def _done(found: Found) -> Done:
    return Done(
        _get(found, "number", int),
        _get(found, "id", str),
        cast(StageStatus, _one_of(found, "status", ("done", "skipped", "failed"))),
        _get(found, "reason", str),
        float(_get(found, "seconds", float)),
        tuple(
            Write(
                _get(one, "virtual_offset", int),
                None if one["file_offset"] is None else _get(one, "file_offset", int),
                _get(one, "length", int),
                _get(one, "head_offset", int),
                _bytes(one, "head"),
            )
            for one in _get(found, "writes", list)
        ),
    )


def _decoded(found: Found) -> Decoded:
    return Decoded(
        _get(found, "size", int),
        tuple(_part(one) for one in _get(found, "parts", list)),
        tuple(_part(one) for one in _get(found, "marks", list)),
        tuple(_region(one) for one in _get(found, "regions", list)),
    )


def _part(found: Found) -> MapPart:
    kind = cast(Kind, _one_of(found, "kind", get_args(Kind)))
    length = _get(found, "length", int)
    return MapPart(kind, _get(found, "name", str), _get(found, "offset", int), length)


def _region(found: Found) -> Region:
    data = _bytes(found, "data")
    return Region(
        _get(found, "title", str),
        cast(Space, _one_of(found, "space", ("file", "virtual"))),
        _get(found, "offset", int),
        data,
        (),
        tuple(_span(one, _get(found, "offset", int)) for one in _get(found, "fields", list)),
        None if found["file_offset"] is None else _get(found, "file_offset", int),
    )


def _span(found: Found, start: int) -> Span:
    value = found["value"]
    if not isinstance(value, int | str):
        raise TypeError("'value' is neither a number nor a text")
    texts = [_get(found, name, str) for name in ("structure", "name", "meaning", "doc")]
    at, size = _get(found, "offset", int), _get(found, "size", int)
    if size > MAX_LENGTH:
        raise ValueError(f"a field of {size} bytes")
    return Span(at, texts[0], Field(at - start, size, texts[1], value, texts[2], texts[3]))


def _get(found: Found, name: str, kind: type[Value]) -> Value:
    if not isinstance(found, dict):
        raise TypeError("a part of it is no object")
    value = found[name]
    is_number = kind is float and isinstance(value, int)
    if not (isinstance(value, kind) or is_number) or (isinstance(value, bool) and kind is not bool):
        raise TypeError(f"{name!r} is no {kind.__name__}")
    if isinstance(value, int) and not 0 <= value < 1 << 63:
        raise ValueError(f"{name!r} is out of range")
    return cast(Value, value)


def _one_of(found: Found, name: str, allowed: tuple[str, ...]) -> str:
    value = _get(found, name, str)
    if value not in allowed:
        raise ValueError(f"{name!r} is none of {', '.join(allowed)}")
    return value


def _texts(found: Found, name: str) -> list[str]:
    texts = _get(found, name, list)
    if not all(isinstance(one, str) for one in texts):
        raise TypeError(f"{name!r} holds what is no text")
    return texts


def _bytes(found: Found, name: str) -> bytes:
    text = _get(found, name, str)
    if len(text) > 2 * MAX_LENGTH:
        raise ValueError(f"{name!r} has more than {MAX_LENGTH} bytes")
    return bytes.fromhex(text)
