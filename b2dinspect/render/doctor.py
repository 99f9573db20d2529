"""The doctor's answer on a terminal, plain enough for a tired person, and as JSON."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import RenderableType
from rich.padding import Padding

from b2dinspect.render import json
from b2dinspect.render.terminal import Line, Table, Verbatim
from b2dinspect.render.text import offset

if TYPE_CHECKING:
    from b2dinspect.doctor.diagnosis import Diagnosed, Diagnosis
    from b2dinspect.doctor.explanations import Explanation
    from b2dinspect.inspection.choice import Chosen

STATUS_STYLE = {"ok": "green", "odd": "yellow", "BROKEN": "bold red", "unseen": "dim"}
SEVERITY_STYLE = {"error": "bold red", "warning": "yellow", "info": "cyan"}
SYSTEM_NAMES = {"linux": "Linux", "macos": "macOS", "windows": "Windows"}
_PLACES = re.compile(r"\b(FOLDER|KEY|DISK|NAME)\b")
_REPAIR = "b2dprovision repair FOLDER"


def _quoted(text: str) -> str:
    return shlex.quote(text)


def command_for(text: str, diagnosis: Diagnosis) -> str:
    """Return a fix with the places of this machine in it."""
    case = diagnosis.case
    machine = case.machine
    if machine is None:
        text = text.replace(f"{_REPAIR} --in-place", _REPAIR).replace(
            _REPAIR, "b2dprovision repair DISK --key KEY"
        )
    places = {
        "FOLDER": _quoted(str(machine.folder)) if machine else "FOLDER",
        "KEY": _quoted(str(machine.folder / "id_rsa")) if machine else "id_rsa",
        "DISK": _quoted(case.path) if case.path else "DISK",
        "NAME": _quoted(machine.name) if machine else "NAME",
    }
    return _PLACES.sub(lambda found: places[found[0]], text)


def diagnosis(item: Diagnosis, evidence: Sequence[bytes], system: str = "") -> Iterator[RenderableType]:
    """Yield the verdict and what to do, the chain, and each finding in full.

    Args:
        item: The diagnosis.
        evidence: For each finding the bytes that it points at.
        system: The system whose fix comes first; "" for this one.
    """
    yield from _verdict(item, system)
    yield Line()
    yield _chain(item)
    for number, (one, data) in enumerate(zip(item.findings, evidence, strict=True), 1):
        yield Line()
        yield from _finding(number, one, data, item)


def _verdict(item: Diagnosis, system: str) -> Iterator[RenderableType]:
    case = item.case
    driver = f" ({case.machine.driver})" if case.machine and case.machine.driver else ""
    name = case.machine.name if case.machine else case.subject
    where = f": {case.machine.folder!s}" if case.machine else ""
    yield Verbatim(name, style="bold").append(f"{driver}{where}", style="not bold")
    if item.is_healthy:
        yield Line.of(("Nothing wrong found", "bold green"), " with the key, the settings or the disk.")
        yield Line(f"Look elsewhere: {item.advice}.")
        return
    first = item.findings[0]
    more = len([one for one in item.findings if one.finding.is_fault]) - 1
    word, style = ("BROKEN", "bold red") if first.finding.severity == "error" else ("odd", "yellow")
    others = f" (and {more} more below)" if more else ""
    yield Line.of((f"{word} at {first.explanation.link}", style), f": {first.explanation.title}{others}")
    yield Padding(Line(first.finding.message), (0, 0, 0, 2))
    yield Verbatim(f"  Do: {command_for(first.explanation.fix_for(system), item)}", style="bold")


def _chain(item: Diagnosis) -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for link in item.links:
        status = Line(link.status, style=STATUS_STYLE[link.status])
        grid.add_row(status, Line(link.name, style="bold"), Line(link.text))
    return grid


def _finding(number: int, one: Diagnosed, data: bytes, item: Diagnosis) -> Iterator[RenderableType]:
    finding, explanation = one
    title = Line.of((f"{number}. {explanation.title} ", "bold"), (f"[{finding.id}]", "dim"))
    yield title
    yield _line(finding.severity, finding.message, SEVERITY_STYLE[finding.severity])
    if place := _place(one, item):
        yield _line("where", place)
    if data:
        yield _line("bytes", _dump(data))
    yield _line("why", explanation.why)
    yield from _fixes(explanation, item)
    yield _line("sure", explanation.sure)


def _dump(data: bytes) -> Line:
    if not data.strip(b"\0"):
        return Line(f"{len(data)} zeros")
    return Line(f"{data.hex(' ')}  ").append_column(data)


def _place(one: Diagnosed, item: Diagnosis) -> str:
    finding = one.finding
    file = finding.file or (item.case.path if finding.offset is not None else "")
    if finding.offset is None:
        return file
    space = "" if finding.file else " of the disk" if finding.space == "virtual" else " of the file"
    return f"{file}, byte {offset(finding.offset)}{space}"


def _fixes(explanation: Explanation, item: Diagnosis) -> Iterator[RenderableType]:
    groups: dict[str, list[str]] = {}
    for system, text in explanation.fix.items():
        groups.setdefault(command_for(text, item), []).append(SYSTEM_NAMES[system])
    for text, systems in groups.items():
        where = "" if len(groups) == 1 else f"{', '.join(systems)}: "
        line = Verbatim()
        line.append("   fix     ", style="dim").append(f"{where}{text}")
        yield line


def _line(name: str, text: Line | str, style: str = "dim") -> Table:
    grid = Table.grid(padding=(0, 1))
    grid.add_column(width=10)
    grid.add_column(overflow="fold")
    grid.add_row(Line(f"   {name}", style=style), text)
    return grid


def explanation(item: Explanation) -> Iterator[RenderableType]:
    """Yield the long text of one finding."""
    row = f", row {item.row} of what goes wrong in real life" if item.row else ""
    yield Line.of((item.id, "bold"), f": {item.title}")
    yield Line(f"at {item.link}{row}", style="dim")
    yield Line()
    yield Line(item.why)
    yield Line()
    for system, text in item.fix.items():
        if system == "linux" or text != item.fix["linux"]:
            name = "Fix" if len(set(item.fix.values())) == 1 else f"Fix on {_systems(item, text)}"
            yield Verbatim(f"{name}: {text}")
    yield Line(f"Sure: {item.sure}")


def _systems(item: Explanation, text: str) -> str:
    return " and ".join(SYSTEM_NAMES[system] for system, one in item.fix.items() if one == text)


def explanation_list(items: Sequence[Explanation]) -> Table:
    """Return all findings, a line each."""
    table = Table(box=None, padding=(0, 1))
    table.add_column("finding", no_wrap=True)
    table.add_column("link", no_wrap=True)
    table.add_column("what is wrong", overflow="fold")
    for item in items:
        table.add_row(item.id, item.link, item.title)
    return table


def machines(items: Sequence[Diagnosis]) -> Table:
    """Return the list of ``machines``."""
    table = Table(box=None, padding=(0, 1, 0, 0))
    for name in ("name", "driver", "state", "disk", "size", "key", "finding"):
        table.add_column(name, overflow="fold")
    for item in items:
        row = machine_row(item)
        wrong = Line(row["first"] or "none", style="" if item.is_healthy else "bold red")
        cells = [str(row[name] or "-") for name in ("name", "driver", "state", "disk", "size_text", "key")]
        table.add_row(*(Line(cell) for cell in cells), wrong)
    return table


def machine_row(item: Diagnosis) -> dict[str, Any]:
    """Return what ``machines`` says of one machine."""
    from b2dinspect.render.text import size

    case = item.case
    disk, machine = case.disk, case.machine
    ids = {one.finding.id for one in item.findings}
    faults = [one.finding.id for one in item.findings if one.finding.is_fault]
    return {
        "name": machine.name if machine else case.subject,
        "folder": str(machine.folder) if machine else "",
        "driver": machine.driver if machine else "",
        "state": disk.state if disk else ("unreadable" if case.trouble else ""),
        "disk": machine.disk.name if machine and machine.disk else "",
        "size": disk.container.size if disk else None,
        "size_text": size(disk.container.size) if disk else "",
        "key": _key_state(item, ids),
        "first": faults[0] if faults else "",
        "findings": faults,
    }


def _key_state(item: Diagnosis, ids: set[str]) -> str:
    disk = item.case.disk
    if not item.case.keys.identity:
        return "none"
    if disk is None or disk.effective is None:
        return "untold"
    return "differs" if ids & {"key-mismatch", "key-none", "userdata-cut-login"} else "fits"


def choices(paths: Sequence[str], found: Sequence[tuple[str, str, Chosen]]) -> Table:
    """Return what each guest generation does with the disks: (name, program, choice) for each."""
    grid = Table.grid(padding=(0, 2))
    for number in range(3):
        grid.add_column(overflow="fold", no_wrap=number < 2)
    for name, program, chosen in found:
        action = chosen.choice.action
        style = {"mount": "green", "leave": "yellow", "format": "bold red"}[action]
        word = "FORMATS" if action == "format" else {"mount": "mounts", "leave": "takes none"}[action]
        where = f"{paths[chosen.disk]}: " if chosen.disk is not None else ""
        kept = ", keeping the key" if chosen.choice.keeps_userdata else ""
        fails = f", and fails: {chosen.choice.fails}" if chosen.choice.fails else ""
        reason = f"{where}{chosen.choice.reason}{kept}{fails} ({program})"
        grid.add_row(Line(name, style="bold"), Line(word, style=style), Line(reason))
    return grid


def choices_json(paths: Sequence[str], found: Sequence[tuple[str, str, Chosen]]) -> dict[str, Any]:
    """Return the document of ``choice --json``."""
    return {
        "paths": [*paths],
        "choices": [
            {
                "guest": name,
                "path": None if chosen.disk is None else paths[chosen.disk],
                "action": chosen.choice.action,
                "keeps_userdata": chosen.choice.keeps_userdata,
                "partition": chosen.choice.volume.partition.number if chosen.choice.volume else None,
                "reason": chosen.choice.reason,
                "fails": chosen.choice.fails or None,
            }
            for name, _, chosen in found
        ],
    }


def diagnosis_json(item: Diagnosis, evidence: Sequence[bytes]) -> dict[str, Any]:
    """Return the document of ``doctor --json``."""
    case = item.case
    return {
        "subject": case.subject,
        "machine": machine_row(item) if case.machine else None,
        "disk": case.path or None,
        "healthy": item.is_healthy,
        "advice": item.advice,
        "chain": [link._asdict() for link in item.links],
        "findings": [
            {
                **json.finding(one.finding),
                "link": one.explanation.link,
                "row": one.explanation.row,
                "title": one.explanation.title,
                "why": one.explanation.why,
                "fix": {system: command_for(text, item) for system, text in one.explanation.fix.items()},
                "sure": one.explanation.sure,
                "bytes": data.hex(),
            }
            for one, data in zip(item.findings, evidence, strict=True)
        ],
    }


def explanation_json(item: Explanation) -> dict[str, Any]:
    """Return one explanation."""
    return item._asdict()
