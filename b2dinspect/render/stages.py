"""The events of a provision, as lines on a screen."""

from __future__ import annotations

from typing import TYPE_CHECKING

from rich.console import Group, RenderableType

from b2dinspect.provisioning.events import (
    Console,
    Decoded,
    Done,
    Event,
    Finished,
    Gave,
    Serving,
    Started,
    Took,
    Write,
)
from b2dinspect.render.ending import ending, places
from b2dinspect.render.shell import command_line
from b2dinspect.render.terminal import Line, Table, lines
from b2dinspect.render.text import offset, size

if TYPE_CHECKING:
    from b2dinspect.provisioning.tries import Try

SHOWN_WRITES = 4
SHOWN_BYTES = 8
STATUS_STYLES = {"done": "green", "skipped": "dim", "failed": "bold red"}


def event(happened: Event) -> RenderableType | None:
    """Return the lines for one event, or None when it shows nothing."""
    match happened:
        case Started():
            return _started(happened)
        case Took():
            return _row("in", happened.text)
        case Gave():
            return _row("out", happened.text)
        case Console():
            return _row("", happened.text, "dim")
        case Decoded():
            return None
        case Done():
            return _done(happened)
        case Serving():
            return _serving(happened)
        case Finished():
            return _finished(happened)


def _row(name: str, text: Line | str, style: str = "") -> RenderableType:
    table = Table.grid(padding=(0, 1))
    table.add_column(width=5, style="dim", justify="right")
    table.add_column(overflow="fold")
    table.add_row(name, Line(text, style) if isinstance(text, str) else text)
    return table


def _started(stage: Started) -> RenderableType:
    title = Line(f"{stage.number:>2}  {stage.sentence}", "bold").append(f"  {stage.side}", "cyan")
    command = [_row("$", stage.command, "yellow")] if stage.command else []
    return Group("", title, *command)


def _done(stage: Done) -> RenderableType:
    lines: list[RenderableType] = [_row("disk", _write(write)) for write in stage.writes[:SHOWN_WRITES]]
    if len(stage.writes) > SHOWN_WRITES:
        rest = stage.writes[SHOWN_WRITES:]
        total = sum(write.length for write in rest)
        lines.append(_row("disk", f"and {len(rest)} more places, {size(total)}"))
    text = f"{stage.status}: {stage.reason}" if stage.reason else stage.status
    style = STATUS_STYLES[stage.status]
    lines.append(_row("", f"{text}  ({stage.seconds * 1000:.0f} ms)", style))
    return Group(*lines)


def _write(write: Write) -> Line:
    shown = write.head[:SHOWN_BYTES]
    place = "" if write.file_offset is None else f" (file {offset(write.file_offset).split()[0]})"
    start = offset(write.virtual_offset).split()[0]
    at = f"at {write.head_offset:#x}: " if write.head_offset != write.virtual_offset else ""
    line = Line(f"{start}{place} {write.length} bytes  {at}{shown.hex()}  ")
    return line.append_column(shown)


def _serving(guest: Serving) -> RenderableType:
    daemon = ["Come in as a Docker client with:", command_line(guest.docker)] if guest.docker else []
    return lines("", "The guest is up until Ctrl-C. Log in with:", command_line(guest.ssh), *daemon)


def _finished(end: Finished) -> RenderableType:
    told = [Line(f"  {name:<8} ", "dim").append(value, "not dim") for name, value in places(end)]
    return lines("", Line(ending(end), "bold green" if end.logged_in else "bold"), *told)


def attempt(tried: Try) -> RenderableType:
    """Return the lines for one way that was tried."""
    word = {True: "it gets in", False: "refused", None: "not tried"}[tried.worked]
    style = {True: "green", False: "bold red", None: "dim"}[tried.worked]
    return Group(
        "",
        Line(tried.sentence, "bold").append(f"  {tried.id}", "cyan"),
        _row("$", tried.command, "yellow"),
        _row("out", tried.said),
        _row("", Line(word, style)),
        _row("", tried.why),
    )
