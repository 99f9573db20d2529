"""Facts on a terminal, with rich."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from rich.console import Group, RenderableType

from b2dinspect.fields import Header
from b2dinspect.filesystems.ext4 import DirectoryEntry
from b2dinspect.findings import Finding
from b2dinspect.inspection.facts import FoundKey, Inspection, Ownership, Userdata
from b2dinspect.inspection.volumes import Volume
from b2dinspect.render.terminal import Line, Table, lines
from b2dinspect.render.text import as_text, moment, offset, size
from b2dinspect.userdata.authorized_keys import KeyLine
from b2dinspect.userdata.tarball import MAGIC

if TYPE_CHECKING:
    from b2dinspect.containers import Container
    from b2dinspect.docker.summary import Summary
    from b2dinspect.views.comparison import Comparison, Key

STATE_STYLE = {"fresh": "bold cyan", "provisioned": "bold green", "blank": "bold yellow"}
SEVERITY_STYLE = {"error": "bold red", "warning": "yellow", "info": "cyan"}
MAX_LINKS = 8
MAX_HEADERS = 100
MAX_BROKEN = 100
MAX_KEYS = 1000


def show(
    facts: Inspection,
    findings: Sequence[Finding],
    with_headers: bool = False,
    engines: Sequence[Summary] = (),
) -> RenderableType:
    """Return the one screen of ``show``: file, state, table, magic, userdata, keys, engines, findings."""
    sheet = Table.grid(padding=(0, 2))
    sheet.add_column(style="bold", no_wrap=True)
    sheet.add_column(overflow="fold")
    sheet.add_row("File", _file(facts))
    sheet.add_row("State", _state(facts))
    sheet.add_row("Table", _table(facts))
    if facts.ownership.owner in ("other", "unknown"):
        sheet.add_row("Owner", _owner(facts.ownership))
    sheet.add_row("Guest", _guest(facts))
    sheet.add_row("Magic", _magic(facts))
    sheet.add_row("Userdata", userdata(facts))
    sheet.add_row("Keys", _keys(facts.keys))
    if engines:
        sheet.add_row("Engines", lines(*(one.text for one in engines)))
    sheet.add_row("Odd", _findings(findings))
    if not with_headers:
        return sheet
    from b2dinspect.views.annotation import all_headers  # needed for nothing else

    headers = [*all_headers(facts)]
    parts = [part for header in headers[:MAX_HEADERS] for part in ("", _header(header))]
    if len(headers) > MAX_HEADERS:
        parts += ["", f"and {len(headers) - MAX_HEADERS} more structures: JSON holds all"]
    return Group(sheet, *parts)


def _file(facts: Inspection) -> RenderableType:
    disk = facts.container
    read_from = {"ova": "an OVA", "remote": "another machine", "pieces": "several files"}
    origin = "" if facts.origin == "file" else f", unpacked from {facts.origin}"
    if facts.origin in ("stream", "block device", *read_from):
        origin = f", read from {read_from.get(facts.origin, f'a {facts.origin}')}"
    kind = f"{disk.format} {disk.variant}"
    first = Line(facts.path, style="bold")
    stored = f"{size(facts.file_size)}{origin}, {size(disk.allocated_size)} stored"
    second = f"{kind}: a disk of {size(disk.size)} in {stored}"
    described = ", ".join(f"{name} {value}" for name, value in disk.describe().items() if name != "read from")
    further = [f"with {link.role} {link.path}" for link in facts.links[:MAX_LINKS]]
    if len(facts.links) > MAX_LINKS:
        further.append(f"and {len(facts.links) - MAX_LINKS} more files")
    return lines(first, second, *([Line(described, style="dim")] if described else []), *further)


def _state(facts: Inspection) -> Line:
    state = Line(facts.state, style=STATE_STYLE.get(facts.state, "bold red"))
    return Line.of(state, f": {facts.reason}")


def _table(facts: Inspection) -> RenderableType:
    table = facts.table
    if table.kind in ("none", "damaged", "missing") or not table.partitions:
        whole = [f"{volume.filesystem} on the whole disk{_label(volume)}" for volume in facts.volumes]
        is_told = table.kind in ("mbr", "gpt")
        kind = f"{table.kind.upper()} without partitions" if is_told else table.kind
        return lines(kind, *whole, *_living(facts))
    grid = Table.grid(padding=(0, 2))
    for column in range(4):
        grid.add_column(overflow="fold", no_wrap=column != 1)
    for volume in sorted(facts.volumes, key=lambda volume: volume.partition.start):
        part = volume.partition
        what = volume.filesystem + _label(volume)
        if volume.filesystem in ("none", "unreadable", "missing", "unknown"):
            what += f", type {part.type_name or part.type}"
        place = Line(f"sectors {part.start}-{part.end - 1}", style="dim")
        grid.add_row(f"{part.number}", Line(what), size(part.size), place)
    return Group(Line(table.kind.upper()), grid, *map(Line, _living(facts)))


def _living(facts: Inspection) -> list[str]:
    return [
        f"not in a table: {one.filesystem}{_label(one)} at sector {one.partition.start}, "
        f"byte {one.partition.offset}"
        for one in facts.living
    ]


def _owner(ownership: Ownership) -> RenderableType:
    if not ownership.seems:
        return Line(f"unknown: {ownership.text}")
    head = Line("somebody else's; it seems to be", style="bold")
    return lines(head, *(f"{one.what} ({one.sure}: {one.by})" for one in ownership.seems))


def _label(volume: Volume) -> str:
    return f' "{as_text(volume.label)}"' if volume.label else ""


def _guest(facts: Inspection) -> RenderableType:
    told = ", ".join(facts.guest.releases)
    if facts.guest.profile == "by-hand":
        told = "somebody with util-linux's fdisk, as no guest does it"
    head = Line.of((facts.guest.profile, "bold"), f" ({told})" if told else "")
    evidence = Line("; ".join(facts.guest.evidence), style="dim")
    return lines(head, evidence) if facts.guest.evidence else head


def _magic(facts: Inspection) -> RenderableType:
    magic = facts.magic
    if magic.found:
        place = "byte 0 of the disk" + (
            f", {offset(magic.file_offset)} in the file" if magic.file_offset else ""
        )
        effect = (
            ("without effect: a guest looks for the label first",) if facts.state == "provisioned" else ()
        )
        return lines(f'"{MAGIC.decode()}"', f"at {place}", *effect)
    if magic.damaged_at:
        where = ", ".join(str(at) for at in magic.damaged_at)
        return lines(Line.of(("damaged", "bold red"), f' at byte {where}: "{as_text(magic.data)}"'))
    if not magic.data:
        return Line("byte 0 of the disk cannot be read")
    text = Line("not at byte 0 of the disk")
    if magic.copy_offset is not None:
        text.append(f"; the marker's content survives at {offset(magic.copy_offset)}")
    return text


def userdata(facts: Inspection) -> RenderableType:
    """Return every tar with its entries."""
    if not facts.userdata:
        return Line("none")
    return Group(*(part for item in facts.userdata for part in _one_userdata(item)))


def _one_userdata(item: Userdata) -> Iterator[RenderableType]:
    where = {"fresh": "at the start of the disk", "residue": "left in the first sectors"}.get(item.source, "")
    head = Line.of((item.source, "bold"), f" {where or as_text(item.path)}, {item.size} bytes")
    if item.tar.truncated:
        head.append(", cut", style="yellow")
    yield head
    yield Line(f"disk {offset(item.virtual_offset)}, file {offset(item.file_offset)}", style="dim")
    grid = Table.grid(padding=(0, 1))
    for entry in item.tar.entries[:20]:
        virtual, file = item.locate(entry.header_offset)
        stored = f"{entry.size}" if not entry.missing else f"{entry.available} of {entry.size}"
        grid.add_row(
            f"{entry.mode:04o}",
            Line(stored, justify="right"),
            Line(as_text(entry.name) + ("/" if entry.type == "directory" else ""), overflow="fold"),
            Line(f"disk {virtual:#x}" if virtual is not None else "", style="dim"),
            Line(f"file {file:#x}" if file is not None else "", style="dim"),
        )
    yield grid
    if len(item.tar.entries) > 20:
        yield Line(f"and {len(item.tar.entries) - 20} more entries")


def _keys(keys: Sequence[FoundKey]) -> RenderableType:
    if not keys:
        return Line("none")
    parts: list[RenderableType] = []
    groups = _alike(keys)
    for group in groups[:16]:
        places = ", ".join(f"{key.file}:{key.line.number}" for key in group[:4]) + ", …" * (len(group) > 4)
        parts.append(Line.of((group[0].source, "bold"), f" {places}"))
        parts.append(Line("  ").append_text(_kind(group[0].line)))
        parts += [*_fingerprint(group[0].line), *_why_not(group[0])]
    if len(groups) > 16:
        parts.append(Line(f"and {len(groups) - 16} more; see b2dinspect keys --fingerprints"))
    return Group(*parts)


def _alike(keys: Sequence[FoundKey]) -> list[list[FoundKey]]:
    """Return the lines of each source that say and mean the same, together."""
    groups: dict[tuple[str, bytes, str], list[FoundKey]] = {}
    for key in keys:
        groups.setdefault((key.source, key.line.raw, key.why_not), []).append(key)
    return list(groups.values())


def _why_not(key: FoundKey) -> Iterator[Line]:
    if key.why_not and not key.line.error:
        yield Line(f"  not in force: {key.why_not}", style="yellow")
    if key.proviso and key.line.valid:
        yield Line(f"  likely: {key.proviso}", style="dim")


def _kind(line: KeyLine) -> Line:
    decoded = line.key
    text = Line(decoded.type if decoded else line.type or "no key")
    if decoded and decoded.bits:
        text.append(f" {decoded.bits}")
    if line.comment:
        text.append(f"  {line.comment}", style="dim")
    return text


def _fingerprint(line: KeyLine) -> Iterator[Line]:
    if line.key:
        yield Line(f"  {line.key.sha256}", style="green" if line.valid else "dim")
    if line.options:
        yield Line(f"  options {','.join(str(option) for option in line.options)}", style="dim")
    if line.error:
        yield Line(f"  not accepted: {line.error}", style="red")


def _findings(findings: Sequence[Finding]) -> RenderableType:
    if not findings:
        return Line("nothing")
    return lines(*(_finding(item) for item in findings))


def _finding(item: Finding) -> Line:
    text = Line.of((item.severity, SEVERITY_STYLE[item.severity]), f" {item.message} ")
    where = "" if item.offset is None else f", {item.space} offset {item.offset:#x}"
    return text.append(f"[{item.id}{where}]", style="dim")


def _header(header: Header) -> Table:
    title = f"{header.name} at {header.space} offset {offset(header.offset)}, {len(header.data)} bytes"
    table = Table(
        title=title, title_justify="left", title_style="bold", box=None, padding=(0, 1), expand=False
    )
    for name in ("offset", "size", "field", "value", "meaning"):
        table.add_column(name, overflow="fold", justify="right" if name in ("offset", "size") else "left")
    for field in header.fields():
        meaning = Line(field.meaning or "", style="bold").append(
            f" {field.doc}" if field.meaning else field.doc, "dim"
        )
        table.add_row(f"{field.offset:#x}", str(field.size), field.name, Line(_value(field.value)), meaning)
    return table


def _value(value: object) -> str:
    if isinstance(value, bytes):
        stripped = value.rstrip(b"\0")
        shown = as_text(stripped[:64]) + ("…" if len(stripped) > 64 else "")
        return f'"{shown}"' if stripped else "zeros"
    return f"{value} ({value:#x})" if isinstance(value, int) and value > 9 else str(value)


def verification(path: str, disk: Container) -> Group:
    """Return what a container says of itself: one line, and its findings."""
    kind = f"{disk.format} {disk.variant}, a disk of {size(disk.size)}, {size(disk.allocated_size)} stored"
    sound = Line("sound", "bold green")
    return Group(Line(path, "bold"), Line(kind), _findings(disk.findings) if disk.findings else sound)


def key_list(keys: Sequence[FoundKey]) -> Group:
    """Return every key line with both fingerprints, for ``keys --fingerprints``; fits 80 columns."""
    parts: list[RenderableType] = []
    for key in keys[:MAX_KEYS]:
        head = Line.of((key.source, "bold"), f" {key.file}:{key.line.number}  ")
        sha256, *rest = [*_fingerprint(key.line)] or [Line("  no key")]
        md5 = [Line(f"  {key.line.key.md5}")] if key.line.key else []
        parts += [head.append_text(_kind(key.line)), sha256, *md5, *rest, *_why_not(key)]
    if len(keys) > MAX_KEYS:
        parts.append(Line(f"and {len(keys) - MAX_KEYS} more lines: JSON holds all"))
    return Group(*parts)


def comparison(item: Comparison) -> Group:
    """Return one comparison as lines marked like a diff."""
    marks: list[tuple[str, str, str, Key]] = [
        *((" ", "", "same", left) for left, _ in item.same),
        *(("!", "yellow", "same key, other options or comment", left) for left, _ in item.changed),
        *(("-", "red", "only left", key) for key in item.only_left),
        *(("+", "green", "only right", key) for key in item.only_right),
    ]
    parts: list[RenderableType] = [
        Line(f"--- {item.left.label}", style="bold"),
        Line(f"+++ {item.right.label}", style="bold"),
    ]
    for mark, style, meaning, key in marks:
        decoded = key.line.key
        fingerprint = decoded.sha256 if decoded else ""
        parts.append(Line(f"{mark} {fingerprint}  ", style=style).append_text(_kind(key.line)))
        parts.append(Line(f"  {meaning}; {key.origin} line {key.line.number}", style="dim"))
    for one, right in item.changed:
        parts += [Line(f"  left:  {_tail(one.line)}"), Line(f"  right: {_tail(right.line)}")]
    for side in (item.left, item.right):
        for key in side.broken[:MAX_BROKEN]:
            text = f"  {key.origin} line {key.line.number} is not accepted: {key.line.error}"
            parts.append(Line(text, style="yellow"))
        if len(side.broken) > MAX_BROKEN:
            parts.append(Line(f"  and {len(side.broken) - MAX_BROKEN} more lines that are not accepted"))
    if not marks:
        parts.append(Line("  no keys on either side", style="dim"))
    return Group(*parts)


def _tail(line: KeyLine) -> str:
    options = ",".join(str(option) for option in line.options)
    return f"options {options or 'none'}, comment {line.comment or 'none'}"


def listing(entries: Sequence[DirectoryEntry]) -> Table:
    """Return a directory as ``ls -l`` would show it, times in UTC."""
    grid = Table.grid(padding=(0, 1))
    for column in ("mode", "owner", "size", "time", "name"):
        grid.add_column(
            column, justify="right" if column == "size" else "left", overflow="fold", no_wrap=column != "name"
        )
    for entry in entries:
        node = entry.node
        name = Line(as_text(entry.name), style="bold" if entry.type == "directory" else "")
        if entry.type == "symlink":
            name.append(f" -> {as_text(node.link)}", style="dim")
        elif entry.type == "directory":
            name.append("/")
        grid.add_row(_mode(entry), f"{node.uid}:{node.gid}", str(node.size), moment(node.mtime), name)
    return grid


def listed(path: bytes, entry: DirectoryEntry) -> str:
    """Return one line of a listing of many directories, which is printed as it is found."""
    node = entry.node
    target = f" -> {as_text(node.link)}" if entry.type == "symlink" else ""
    owner = f"{node.uid}:{node.gid}"
    end = "/" if entry.type == "directory" else target
    return f"{_mode(entry)} {owner:>9} {node.size:>12} {moment(node.mtime)} {as_text(path)}{end}"


def _mode(entry: DirectoryEntry) -> str:
    import stat

    return stat.filemode(entry.node.mode) if entry.node.mode & 0o170000 else f"?{entry.node.mode:04o}"
