"""A repair on a terminal and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import RenderableType

from b2dinspect.records import NamedTuple
from b2dinspect.render.shell import command_line
from b2dinspect.render.terminal import Line, Typed, Verbatim
from b2dinspect.render.text import offset

if TYPE_CHECKING:
    from b2dinspect.provisioning.repair.backup import FileChange, NewImage
    from b2dinspect.provisioning.repair.merge import KeyChange, MergedTar
    from b2dinspect.provisioning.repair.plan import Repair
    from b2dinspect.provisioning.repair.use import Use

SHOWN = 32
MAX_CHANGES = 24
KEY_STYLES = {"added": "green", "restored": "green", "dropped": "bold red", "set aside": "yellow", "kept": ""}


class RepairOutcome(NamedTuple):
    """What a repair wrote, or would write.

    Attributes:
        files: The files of the host.
        written: What was written; "" for nothing.
        backup: The backup of what was there.
        healthy: What the doctor says of the outcome; None when there is none.
        use: What to do next.
    """

    files: list[FileChange | NewImage]
    written: str
    backup: str
    healthy: bool | None
    use: Use | None


def plan(item: Repair) -> Iterator[RenderableType]:
    """Yield what is to be done, what becomes of each key and file, the proof, and what is left."""
    if not item.actions:
        yield Line("nothing to repair", style="bold green")
    for action in item.actions:
        yield Line.of((action.id, "bold"), f"  {action.how} ", (f"[{action.why}]", "dim"))
    if item.merged is not None:
        yield from _merged(item.merged)
    if item.proof:
        told = False if item.is_proven_wrong else item.logged_in or item.met
        style = {True: "green", False: "bold red", None: "yellow"}[told]
        yield Line.of(("proof", "bold"), "  ", (item.proof, style))
    for other in item.certificates.shut_out if item.certificates else ():
        again = command_line(("b2dprovision", "repair", str(other), "--certs", "--in-place"))
        yield Line.of(
            ("then", "bold"), f"  {other.name} has certificates of the old authority; it needs new ones:"
        )
        yield Typed(again, indent=6)
    for one in item.left:
        end = one.explanation.end or f"{one.explanation.fix}."
        yield Line.of(("left", "bold"), f"  {one.finding.id}: {end}")


def _merged(item: MergedTar) -> Iterator[RenderableType]:
    """Yield a line for each key, whichever of the two files it is in, and one for each other file."""
    files: dict[tuple[str, str, str, bool], list[str]] = {}
    for one in item.keys:
        files.setdefault((one.what, one.sha256, one.comment, one.is_owner), []).append(one.file)
    for (what, sha256, comment, is_owner), names in files.items():
        whose = "the owner's" if is_owner else comment if sha256 else ""
        key = sha256 or f"a line that is no key: {comment}…"
        where = " and ".join(name for name in dict.fromkeys(names))
        line = Verbatim("  key   ").append(f"{what:9}", style=KEY_STYLES[what])
        yield line.append(f" {key}{f' ({whose})' if whose else ''} in {where}")
    for entry in item.entries:
        yield Verbatim(f"  file  {entry.what:9} {entry.name}, {entry.size} bytes")


def changes(item: Repair, files: list[FileChange | NewImage]) -> Iterator[RenderableType]:
    """Yield the byte changes: of the disk, by virtual offset, and of the host's files."""
    found = item.changes
    for change in found[:MAX_CHANGES]:
        yield Line(f"disk byte {offset(change.offset)}, {len(change.new)} bytes")
        at = next((i for i, (a, b) in enumerate(zip(change.old, change.new, strict=True)) if a != b), 0)
        for mark, style, data in (("-", "red", change.old), ("+", "green", change.new)):
            piece = data[at : at + SHOWN]
            yield Verbatim(f"  {mark} {change.offset + at:#x}  {piece.hex(' ')}", style=style)
    if len(found) > MAX_CHANGES:
        yield Line(f"and {len(found) - MAX_CHANGES} more runs of bytes")
    for file in files:
        yield from _file(file)


def _file(file: Any) -> Iterator[RenderableType]:
    yield Line(str(file.path), style="bold")
    if hasattr(file, "kept"):
        yield Line(f"  written anew; the old one is {file.kept!s}")
        return
    if file.old_mode != file.new_mode and file.existed:
        yield Line(f"  mode {file.old_mode:04o} to {file.new_mode:04o}")
    if file.patches:
        size = f"{file.old_size} to {file.new_size} bytes" if file.existed else f"new, {file.new_size} bytes"
        yield Line(f"  {size}")


def written(
    place: str,
    backup: str,
    found: Sequence[str],
    needs_start: bool,
    is_new: bool,
    new_key: str,
    use: Use | None,
) -> Iterator[RenderableType]:
    """Yield where a new key is, what was written, how to undo it, and what to do next."""
    if new_key:
        yield Verbatim(f"new key: {new_key}; copy it to the machine's directory as id_rsa")
    word = (
        f"the doctor still finds {', '.join(found)}" if found else "the doctor finds nothing wrong any more"
    )
    if found and needs_start:
        word = "now its guest has to format it"
    made = "written" if is_new else "there already"
    yield Verbatim(f"{made}  {place}: {word}")
    if backup:
        yield Typed(f"undo     {command_line(('b2dprovision', 'repair', '--undo', backup))}")
    if use is not None:
        yield Line(f"next     {use.text}{':' if use.commands else ''}")
        yield from (Typed(command_line(words), indent=9) for words in use.commands)


def repair_json(item: Repair, done: RepairOutcome) -> dict[str, Any]:
    """Return the document of ``repair --json``; ``healthy`` is what the doctor says of the outcome."""
    merged, use = item.merged, done.use
    return {
        "subject": item.case.subject,
        "actions": [action._asdict() for action in item.actions],
        "keys": [_key(one) for one in merged.keys] if merged else [],
        "entries": [one._asdict() for one in merged.entries] if merged else [],
        "left": [one.finding.id for one in item.left],
        "logged_in": item.logged_in,
        "proof": item.proof,
        "changes": [
            {
                "virtual_offset": change.offset,
                "length": len(change.new),
                "old": change.old.hex(),
                "new": change.new.hex(),
            }
            for change in item.changes
        ],
        "files": [_file_json(file) for file in done.files],
        "written": done.written or None,
        "backup": done.backup or None,
        "healthy": done.healthy,
        "next": {"text": use.text, "commands": [command_line(words) for words in use.commands]}
        if use
        else None,
    }


def _key(one: KeyChange) -> dict[str, Any]:
    return {**one._asdict(), "sha256": one.sha256 or None}


def _file_json(file: Any) -> dict[str, Any]:
    if hasattr(file, "kept"):
        return {"path": str(file.path), "existed": True, "kept": str(file.kept), "sha256": file.sha256}
    return {
        "path": str(file.path),
        "existed": file.existed,
        "old_mode": f"{file.old_mode:04o}",
        "new_mode": f"{file.new_mode:04o}",
        "ranges": [{"offset": patch.offset, "length": len(patch.new)} for patch in file.patches],
    }
