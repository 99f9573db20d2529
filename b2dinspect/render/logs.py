"""A guest's logs on a terminal and as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from rich.console import RenderableType

from b2dinspect.render import json
from b2dinspect.render.terminal import Line
from b2dinspect.render.text import as_text, moment, size

if TYPE_CHECKING:
    from b2dinspect.views.logs import Logs


def logs(found: Logs) -> Iterator[RenderableType]:
    """Yield each log with its last lines, the deleted names, and what could not be read."""
    if not found.logs:
        yield Line("no log files on the data partition")
    for log in found.logs:
        node = log.entry.node
        head = Line(as_text(log.path), style="bold")
        yield head.append(f"  {size(node.size)}, {moment(node.mtime)}", style="not bold dim")
        for line in log.tail:
            yield Line(f"  {as_text(line)}")
    if found.deleted:
        yield Line("deleted names", style="bold")
        for item in found.deleted:
            inode = f"inode {item.inode}" if item.inode else "its inode is gone"
            yield Line(f"  {as_text(item.path)}  ({inode})")
    for problem in found.problems:
        yield Line.of((problem.severity, "yellow"), f" {problem.message}")


def logs_json(path: str, found: Logs) -> dict[str, Any]:
    """Return the document of ``logs --json``."""
    return {
        "path": path,
        "logs": [
            {
                **json.directory_entry(log.entry),
                "path": json.text(log.path),
                "tail": [json.text(line) for line in log.tail],
            }
            for log in found.logs
        ],
        "deleted": [{"path": json.text(item.path), "inode": item.inode} for item in found.deleted],
        "problems": [json.finding(problem) for problem in found.problems],
    }
