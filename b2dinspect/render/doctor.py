"""The doctor's answer on a terminal, plain enough for a tired person, and as JSON."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

from rich.console import Console, ConsoleOptions, RenderableType, RenderResult
from rich.padding import Padding

from b2dinspect.render import json
from b2dinspect.render.shell import SYSTEM_NAMES, System, command_line, this_system
from b2dinspect.render.terminal import Line, Table, Typed, Verbatim
from b2dinspect.render.text import offset
from b2dinspect.units import listed
from b2dinspect.userdata.certificate import day

if TYPE_CHECKING:
    from b2dinspect.doctor.desktop import Desktop
    from b2dinspect.doctor.diagnosis import Diagnosed, Diagnosis, Link
    from b2dinspect.doctor.explanations import Explanation
    from b2dinspect.doctor.remedies import Remedy
    from b2dinspect.inspection.choice import Chosen

STATUS_STYLE = {"ok": "green", "odd": "yellow", "BROKEN": "bold red", "unseen": "dim"}
SEVERITY_STYLE = {"error": "bold red", "warning": "yellow", "info": "cyan"}


def remedies(one: Diagnosed) -> Iterator[tuple[str, Remedy, list[str]]]:
    """Yield what to do about a finding: on which systems ("" for all), and the commands as typed there."""
    groups: dict[tuple[str, ...], list[System]] = {}
    for system, found in one.remedies.items():
        lines = tuple(command_line(words, system) for words in found.commands)
        groups.setdefault(lines, []).append(system)
    for lines, systems in groups.items():
        names = "" if len(groups) == 1 else ", ".join(SYSTEM_NAMES[system] for system in systems)
        yield names, one.remedies[systems[0]], [*lines]


def here(one: Diagnosed) -> tuple[str, list[str]]:
    """Return what to do about a finding, and the commands as typed on this system."""
    found = one.remedies[this_system()]
    return found.text, [command_line(words) for words in found.commands]


def diagnosis(item: Diagnosis, evidence: Sequence[bytes]) -> Iterator[RenderableType]:
    """Yield the verdict and what to do, the chain, and each finding in full.

    Args:
        item: The diagnosis.
        evidence: For each finding the bytes that it points at.
    """
    yield from _verdict(item)
    yield Line()
    yield _chain(item.links)
    yield from _lives(item)
    if item.door_links:
        yield Line()
        yield Line(f"The second door, to a Docker client, as of {day(int(item.door.at))}:")
        yield _chain(item.door_links)
    for number, (one, data) in enumerate(zip(item.findings, evidence, strict=True), 1):
        yield Line()
        yield from _finding(number, one, data, item)


def _lives(item: Diagnosis) -> Iterator[RenderableType]:
    yield from (Line.of(("Lives on it: ", "bold"), one.text) for one in item.engines)
    if item.engines and not item.case.is_packed:
        yield Line("Before anybody deletes the machine or makes it anew, this saves all of it:")
        yield Typed(command_line(("b2dinspect", "docker", "rescue", item.case.subject, "rescued")), indent=6)


def _verdict(item: Diagnosis) -> Iterator[RenderableType]:
    case = item.case
    driver = f" ({case.machine.driver})" if case.machine and case.machine.driver else ""
    name = case.machine.name if case.machine else case.subject
    where = f": {case.subject if case.is_packed else str(case.machine.folder)}" if case.machine else ""
    yield Verbatim(name, style="bold").append(f"{driver}{where}", style="not bold")
    if item.is_healthy:
        fine, rest, *beside = healthy(item)
        yield Line.of((fine, "bold green"), rest)
        yield from map(Line, beside)
        for one in item.engines:
            if one.hidden:
                yield Line.of(("Are its containers gone?", "bold yellow"), f" They are here: {one.hidden}.")
        yield Line(f"Look elsewhere: {item.advice}.")
        if case.disk is not None and case.subject != "-":
            yield Line("To see a guest boot the disk in memory, and who gets in:")
            yield Typed(command_line(("b2dprovision", "prove", case.subject)), indent=6)
        return
    first = item.findings[0]
    more = len([one for one in item.findings if one.finding.is_fault]) - 1
    word, style = ("BROKEN", "bold red") if first.finding.severity == "error" else ("odd", "yellow")
    yield Line.of((f"{word} at {first.explanation.link}", style), f": {first.explanation.title}")
    text, commands = here(first)
    if item.keeps_nobody_out and item.is_about_door:
        yield Line("  The login works; this is about the Docker client.")
    elif item.keeps_nobody_out:
        yield Line("  This keeps nobody out; what can be done:")
    yield Padding(Line(f"Do: {text}.", style="bold"), (0, 0, 0, 2))
    for line in commands:
        yield Typed(line, style="bold", indent=6)
    if more:
        yield Line(f"  and {more} more below")
    yield Padding(Line(first.finding.message), (0, 0, 0, 2))
    owner = case.disk.ownership if case.disk is not None else None
    if owner is not None and owner.owner in ("other", "unknown") and first.finding.id != "disk-foreign":
        yield Padding(Line(f"Whose disk: {owner.text}"), (0, 0, 0, 2))
    yield Padding(Line(f"Sure: {first.explanation.sure}", style="dim"), (0, 0, 0, 2))


def healthy(item: Diagnosis) -> tuple[str, ...]:
    """Return the verdict on what has no fault, as far as it was seen: first words, then lines."""
    if item.case.machine is None:
        beside = "name the machine's directory to have these looked at, too."
        return "The disk is fine", "; no key and no settings were seen:", beside
    return "Nothing wrong found", f" with {_seen(item)}."


def _seen(item: Diagnosis) -> str:
    names = {"host key": "the key", "config": "the settings", "container": "the disk"}
    return listed([names[link.name] for link in item.links if link.name in names and link.status != "unseen"])


def _chain(links: Sequence[Link]) -> Table:
    grid = Table.grid(padding=(0, 2))
    grid.add_column(no_wrap=True)
    grid.add_column(no_wrap=True)
    grid.add_column(overflow="fold")
    for link in links:
        status = Line(link.status, style=STATUS_STYLE[link.status])
        grid.add_row(status, Line(link.name, style="bold"), Line(link.text))
    return grid


def _finding(number: int, one: Diagnosed, data: bytes, item: Diagnosis) -> Iterator[RenderableType]:
    finding, explanation = one.finding, one.explanation
    title = Line.of((f"{number}. {explanation.title} ", "bold"), (f"[{finding.id}]", "dim"))
    yield title
    yield _line(finding.severity, finding.message, SEVERITY_STYLE[finding.severity])
    if place := _place(one, item):
        yield _line("where", place)
    if data:
        yield _line("bytes", _dump(data))
    yield _line("why", explanation.why)
    yield from _fixes(one)
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


def _fixes(one: Diagnosed) -> Iterator[RenderableType]:
    yield _line("fix", one.explanation.fix)
    for systems, _, commands in remedies(one):
        if systems and commands:
            yield _line("", f"{systems}:")
        yield from (Typed(line, indent=11) for line in commands)
    if one.explanation.end:
        yield _line("then", one.explanation.end)


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
    yield Line(f"Fix: {item.fix}")
    for systems, commands in by_system(item):
        if commands:
            yield Line(f"{systems}:" if systems else "")
        yield from (Verbatim(f"  {line}") for line in commands)
    if item.end:
        yield Line(f"Then: {item.end}")
    yield Line(f"Sure: {item.sure}")


def by_system(item: Explanation) -> Iterator[tuple[str, tuple[str, ...]]]:
    """Yield an explanation's commands: on which systems ("" for all), and what to type there."""
    groups: dict[tuple[str, ...], list[System]] = {}
    for system, commands in item.commands.items():
        groups.setdefault(commands, []).append(system)
    for commands, systems in groups.items():
        yield "" if len(groups) == 1 else ", ".join(SYSTEM_NAMES[system] for system in systems), commands
    for driver, commands in item.for_drivers.items():
        yield f"the driver {driver}", commands


def explanation_list(items: Sequence[Explanation]) -> Table:
    """Return all findings, a line each."""
    table = Table(box=None, padding=(0, 1))
    table.add_column("finding", no_wrap=True)
    table.add_column("link", no_wrap=True)
    table.add_column("what is wrong", overflow="fold")
    for item in items:
        table.add_row(item.id, item.link, item.title)
    return table


class MachineList:
    """The list of ``machines``; in parts, one below the other, when there are too many to wait for all.

    Args:
        names: Of machines to come, which tell how wide the first column is; none for a list of one part.
    """

    COLUMNS = ("name", "driver", "state", "disk", "size", "key")
    DISPENSABLE = ("size", "disk", "driver")
    """What is left out, one after the other, where the screen is too narrow for the name of a finding."""
    FINDING = 26
    """Columns that are kept for it."""
    USUAL = ("", "virtualbox", "provisioned", "boot2docker.vhd", "195.3 GiB", "differs")

    def __init__(self, names: Sequence[str] = ()) -> None:
        self._widths = [max(map(len, pair)) for pair in zip(self.COLUMNS, self.USUAL, strict=True)]
        self._widths[0] = max(map(len, ("name", *names)))
        self._is_whole = not names
        self._is_begun = False

    def part(self, items: Sequence[Diagnosis]) -> MachineRows:
        """Return the next lines; heads stand over the first ones, and no column gets narrower again."""
        rows = [machine_row(item) for item in items]
        cells = [_machine_cells(row) for row in rows]
        columns = zip(self._widths, *cells, strict=True)
        self._widths = [max(width, *map(len, column)) for width, *column in columns]
        until = [row["certificates"]["text"] if self._is_whole else "" for row in rows]
        first = [
            Line(row["first"] or "none", style="" if item.is_healthy else "bold red")
            for row, item in zip(rows, items, strict=True)
        ]
        found = MachineRows(cells, until, first, tuple(self._widths), has_heads=not self._is_begun)
        self._is_begun = True
        return found


class MachineRows:
    """Some lines of ``machines``, as many columns of them as the screen has room for.

    Args:
        cells: Of each machine, as ``MachineList.COLUMNS`` go.
        until: Of each, until when its certificates are good; "" for none, or where nobody asks.
        first: Of each, its first finding.
        widths: Of the columns.
        has_heads: Whether these are the first lines.
    """

    def __init__(
        self,
        cells: Sequence[Sequence[str]],
        until: Sequence[str],
        first: Sequence[Line],
        widths: Sequence[int],
        *,
        has_heads: bool,
    ) -> None:
        self._cells, self._until, self._first, self._has_heads = cells, until, first, has_heads
        self._widths = dict(zip(MachineList.COLUMNS, widths, strict=True))

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        """Draw for a width."""
        names = self._chosen(options.max_width)
        table = Table(box=None, padding=(0, 1, 0, 0), show_header=self._has_heads)
        for name in names:
            table.add_column(name, overflow="fold", min_width=self._widths[name])
        if any(self._until):
            table.add_column("certificates", overflow="fold")
        table.add_column("finding", overflow="fold", no_wrap=True)
        for cells, end, first in zip(self._cells, self._until, self._first, strict=True):
            texts = [Line(dict(zip(MachineList.COLUMNS, cells, strict=True))[name]) for name in names]
            table.add_row(*texts, *([Line(end or "-")] if any(self._until) else []), first)
        yield table

    def _chosen(self, room: int) -> list[str]:
        """Return the columns that leave room for the findings."""
        names, left = [*MachineList.COLUMNS], [*MachineList.DISPENSABLE]
        beside = MachineList.FINDING + (MachineList.FINDING if any(self._until) else 0)
        while left and sum(self._widths[name] + 1 for name in names) + beside > room:
            names.remove(left.pop(0))
        return names


def _machine_cells(row: dict[str, Any]) -> list[str]:
    name = row["name"] + (" (repaired copy)" if row["copy_of"] else "")
    return [name or "-", *(str(row[key] or "-") for key in ("driver", "state", "disk", "size_text", "key"))]


def desktop(items: Sequence[Desktop]) -> Iterator[RenderableType]:
    """Yield what is to be known of Docker Desktop's disks."""
    for item in items:
        yield Verbatim(item.disk.what, style="bold").append(f": {item.disk.path}", style="not bold")
        if item.trouble:
            yield Line(f"  cannot be read: {item.trouble}", style="yellow")
            continue
        yield from (Line(f"  {one.text}") for one in item.engines)
        if item.engines:
            yield Typed(command_line(("b2dinspect", "docker", "ps", str(item.disk.path))), indent=6)
        else:
            yield Line("  no containers, images or volumes are found on it")
        yield Line(
            "  Docker Desktop puts no key on it: it enters over a socket of its own, not by ssh", style="dim"
        )


def desktop_row(item: Desktop) -> dict[str, Any]:
    """Return one disk of Docker Desktop for ``machines --json``."""
    return {
        "path": str(item.disk.path),
        "what": item.disk.what,
        "size": item.size,
        "engines": [json.engine(one) for one in item.engines],
        "trouble": item.trouble or None,
    }


def machine_row(item: Diagnosis) -> dict[str, Any]:
    """Return what ``machines`` says of one machine."""
    from b2dinspect.render.text import size

    case = item.case
    disk, machine = case.disk, case.machine
    faults = [one.finding.id for one in item.findings if one.finding.is_fault]
    return {
        "name": machine.name if machine else case.subject,
        "copy_of": machine.copy_of if machine else "",
        "folder": str(machine.folder) if machine else "",
        "driver": machine.driver if machine else "",
        "state": disk.state if disk else ("unreadable" if case.trouble else ""),
        "disk": machine.disk.name if machine and machine.disk else "",
        "size": disk.container.size if disk else None,
        "size_text": size(disk.container.size) if disk else "",
        "key": item.key,
        "certificates": _certificates(item),
        "first": faults[0] if faults else "",
        "findings": faults,
    }


def _certificates(item: Diagnosis) -> dict[str, Any]:
    """Return until when each certificate is good, and the same in one line."""
    door = item.door
    found = {"authority": door.host.authority, "client": door.host.client, "server": door.server}
    good = {name: one.certificate for name, one in found.items() if one and one.certificate}
    expired = [name for name, one in good.items() if not one.is_good_at(door.at)]
    days = {one.until for one in good.values()}
    marks = {name: "!" if name in expired else "" for name in good}
    if len(days) == 1:
        text = f"{days.pop()}{'!' if expired else ''}"
    else:
        text = ", ".join(f"{name} {one.until}{marks[name]}" for name, one in good.items())
    until = {name: good[name].until if name in good else "" for name in found}
    return {**until, "expired": expired, "text": text}


def choices(paths: Sequence[str], found: Sequence[tuple[str, str, Chosen]]) -> Table:
    """Return what each guest generation does with the disks: (name, program, choice) for each."""
    grid = Table.grid(padding=(0, 2))
    for column in range(3):
        grid.add_column(overflow="fold", no_wrap=column < 2)
    for name, program, chosen in found:
        action = chosen.choice.action
        style = {"mount": "green", "leave": "yellow", "format": "bold red"}[action]
        word = "FORMATS" if action == "format" else {"mount": "mounts", "leave": "takes none"}[action]
        where = f"{paths[chosen.disk]}: " if chosen.disk is not None else ""
        kept = ", keeping the key" if chosen.choice.keeps_userdata else ""
        fails = f", and fails: {chosen.choice.fails}" if chosen.choice.fails else ""
        own = "another partition of it"
        others = [own if number == chosen.disk else paths[number] for number in chosen.rivals]
        rivals = f"; {listed(others)} carries it too, and blkid gives the guest any of them" if others else ""
        reason = f"{where}{chosen.choice.reason}{kept}{fails}{rivals} ({program})"
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
                "rivals": [paths[number] for number in chosen.rivals],
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
        "ownership": json.ownership(case.disk.ownership) if case.disk else None,
        "healthy": item.is_healthy,
        "advice": item.advice,
        "chain": [link._asdict() for link in item.links],
        "engines": [json.engine(one) for one in item.engines],
        "door": {"at": int(item.door.at), "chain": [link._asdict() for link in item.door_links]},
        "findings": [
            {
                **json.finding(one.finding),
                "link": one.explanation.link,
                "row": one.explanation.row,
                "title": one.explanation.title,
                "why": one.explanation.why,
                "fix": one.explanation.fix,
                "commands": {
                    system: [command_line(words, system) for words in found.commands]
                    for system, found in one.remedies.items()
                },
                "mends": one.explanation.mends,
                "end": one.explanation.end,
                "by": one.explanation.by,
                "sure": one.explanation.sure,
                "bytes": data.hex(),
            }
            for one, data in zip(item.findings, evidence, strict=True)
        ],
    }


def explanation_json(item: Explanation) -> dict[str, Any]:
    """Return one explanation."""
    return item._asdict()
