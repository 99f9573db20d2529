"""A repair on a terminal and as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from rich.console import RenderableType

from b2dinspect.render.terminal import Line, Verbatim
from b2dinspect.render.text import offset

if TYPE_CHECKING:
    from b2dinspect.provisioning.repair.backup import FileChange
    from b2dinspect.provisioning.repair.plan import Repair

SHOWN = 32
MAX_CHANGES = 24


def plan(item: Repair) -> Iterator[RenderableType]:
    """Yield what is to be done, the proof, and what is left."""
    if not item.actions:
        yield Line("nothing to repair", style="bold green")
    for action in item.actions:
        yield Line.of((action.id, "bold"), f"  {action.how} ", (f"[{action.why}]", "dim"))
    if item.proof:
        style = {True: "green", False: "bold red", None: "yellow"}[item.logged_in]
        yield Line.of(("proof", "bold"), "  ", (item.proof, style))
    if item.left:
        text = f"{', '.join(item.left)}: `b2dinspect explain {item.left[0]}` tells what to do"
        yield Line.of(("left", "bold"), f"  {text}")


def changes(item: Repair, files: list[FileChange]) -> Iterator[RenderableType]:
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
        yield Line(str(file.path), style="bold")
        if file.old_mode != file.new_mode and file.existed:
            yield Line(f"  mode {file.old_mode:04o} to {file.new_mode:04o}")
        if file.patches:
            size = (
                f"{file.old_size} to {file.new_size} bytes" if file.existed else f"new, {file.new_size} bytes"
            )
            yield Line(f"  {size}")


def repair_json(
    item: Repair, files: list[FileChange], written: str, backup: str, healthy: bool | None
) -> dict[str, Any]:
    """Return the document of ``repair --json``; ``healthy`` is what the doctor says of the outcome."""
    return {
        "subject": item.case.subject,
        "actions": [action._asdict() for action in item.actions],
        "left": [*item.left],
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
        "files": [
            {
                "path": str(file.path),
                "existed": file.existed,
                "old_mode": f"{file.old_mode:04o}",
                "new_mode": f"{file.new_mode:04o}",
                "ranges": [{"offset": patch.offset, "length": len(patch.new)} for patch in file.patches],
            }
            for file in files
        ],
        "written": written or None,
        "backup": backup or None,
        "healthy": healthy,
    }
