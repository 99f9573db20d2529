"""The events of a provision, as lines on a screen and as JSON."""

from __future__ import annotations

import json
import shlex

from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from b2dinspect.provisioning.events import Console, Done, Event, Finished, Gave, Serving, Started, Took, Write
from b2dinspect.render.ending import ending, places
from b2dinspect.render.text import offset, size, visible

SCHEMA_VERSION = 1
SHOWN_WRITES = 4
SHOWN_BYTES = 8
STATUS_STYLES = {"done": "green", "skipped": "dim", "failed": "bold red"}


def event(happened: Event) -> RenderableType | None:
    """Return the lines for one event, or None when it shows nothing."""
    match happened:
        case Started():
            return _started(happened)
        case Took():
            return _row("in", visible(happened.text))
        case Gave():
            return _row("out", visible(happened.text))
        case Console():
            return _row("", visible(happened.text), "dim")
        case Done():
            return _done(happened)
        case Serving():
            return Text(f"\nThe guest is up until Ctrl-C. Log in with:\n{visible(shlex.join(happened.ssh))}")
        case Finished():
            return _finished(happened)


def _row(name: str, text: str, style: str = "") -> RenderableType:
    table = Table.grid(padding=(0, 1))
    table.add_column(width=5, style="dim", justify="right")
    table.add_column(overflow="fold")
    table.add_row(name, Text(text, style))
    return table


def _started(stage: Started) -> RenderableType:
    title = (
        Text(f"\n{stage.number:>2}  ", "bold")
        .append(stage.sentence, "bold")
        .append(f"  {stage.side}", "cyan")
    )
    return Group(title, _row("$", visible(stage.command), "yellow")) if stage.command else title


def _done(stage: Done) -> RenderableType:
    lines: list[RenderableType] = [_row("disk", _write(write)) for write in stage.writes[:SHOWN_WRITES]]
    if len(stage.writes) > SHOWN_WRITES:
        rest = stage.writes[SHOWN_WRITES:]
        total = sum(write.length for write in rest)
        lines.append(_row("disk", f"and {len(rest)} more places, {size(total)}"))
    text = f"{stage.status}: {visible(stage.reason)}" if stage.reason else stage.status
    style = STATUS_STYLES[stage.status]
    lines.append(_row("", f"{text}  ({stage.seconds * 1000:.0f} ms)", style))
    return Group(*lines)


def _write(write: Write) -> str:
    shown = write.head[:SHOWN_BYTES]
    characters = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in shown)
    place = "" if write.file_offset is None else f" (file {offset(write.file_offset).split()[0]})"
    start = offset(write.virtual_offset).split()[0]
    at = f"at {write.head_offset:#x}: " if write.head_offset != write.virtual_offset else ""
    return f"{start}{place} {write.length} bytes  {at}{shown.hex()}  {characters}"


def _finished(end: Finished) -> RenderableType:
    text = Text(f"\n{ending(end)}\n", "bold green" if end.logged_in else "bold")
    for name, value in places(end):
        text.append(f"  {name:<8} ", "not bold dim").append(f"{value}\n", "not bold default")
    text.right_crop(1)
    return text


def event_json(happened: Event) -> str:
    """Return one event as one line of JSON; see schemas/provision.schema.json."""
    fields = happened._asdict()
    if isinstance(happened, Done):
        fields["writes"] = [write._asdict() | {"head": write.head.hex()} for write in happened.writes]
    name = type(happened).__name__.lower()
    return json.dumps({"schema_version": SCHEMA_VERSION, "event": name, **fields})
