"""A report as one page of HTML that loads nothing. Everything from the evidence is escaped."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from html import escape
from typing import TYPE_CHECKING

from b2dinspect.render import style, svg
from b2dinspect.render.doctor import SYSTEM_NAMES, command_for
from b2dinspect.render.hexdump import ROW, owner_colours, value
from b2dinspect.render.text import offset, size, visible
from b2dinspect.views.annotation import Region, all_headers

if TYPE_CHECKING:
    from b2dinspect.doctor.diagnosis import Diagnosed
    from b2dinspect.doctor.report import Report
    from b2dinspect.inspection.facts import Inspection


def text(found: object) -> str:
    """Return any value as text that a page shows and never obeys."""
    return escape(visible(found if isinstance(found, str | bytes) else str(found)))


def page(report: Report) -> str:
    """Return the report."""
    case = report.diagnosis.case
    subject = case.machine.name if case.machine else case.subject
    title = f"b2dinspect report: {text(subject)}"
    body = "".join(_sections(report))
    return (
        f'<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        f'<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{title}</title><style>{style.PAGE}</style></head>\n"
        f"<body><main><h1>{title}</h1>{body}</main></body></html>\n"
    )


def _sections(report: Report) -> Iterator[str]:
    disk = report.diagnosis.case.disk
    yield _verdict(report)
    yield _section("The chain", _chain(report))
    if report.diagnosis.findings:
        found = zip(report.diagnosis.findings, report.evidence_bytes, strict=True)
        yield _section("Findings", "".join(_finding(one, data, report) for one, data in found))
    if disk is not None:
        yield _section("The disk", _disk(disk))
        yield _section("Keys", _keys(disk))
    if report.map is not None:
        yield _section("Map", f'<div class="scroll">{svg.picture(report.map, "map of the disk")}</div>')
    if report.regions:
        yield _section("Annotated bytes", "".join(_region(one) for one in report.regions))
    if disk is not None:
        yield _section("Headers", "".join(_headers(disk)))
    yield _section("Evidence", _evidence(report))


def _section(title: str, body: str) -> str:
    return f"<section><h2>{title}</h2>{body}</section>\n"


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """Return a table; the cells are HTML already."""
    head = "".join(f'<th scope="col">{name}</th>' for name in heads)
    body = "".join(f"<tr>{''.join(f'<td>{cell}</td>' for cell in row)}</tr>" for row in rows)
    return f"<table><thead><tr>{head}</tr></thead><tbody>{body}</tbody></table>"


def _pairs(rows: Iterable[tuple[str, str]]) -> str:
    body = "".join(f'<tr><th scope="row">{name}</th><td>{cell}</td></tr>' for name, cell in rows)
    return f"<table><tbody>{body}</tbody></table>"


def _verdict(report: Report) -> str:
    found = report.diagnosis
    if found.is_healthy:
        said = f"Nothing wrong found. Look elsewhere: {text(found.advice)}."
        return f'<p class="verdict ok">{said}</p>'
    first = found.findings[0]
    kind = first.finding.severity
    word = "BROKEN" if kind == "error" else "odd"
    fix = text(command_for(first.explanation.fix_for(), found))
    return (
        f'<div class="verdict {kind}"><p><strong class="{kind}">{word} at {first.explanation.link}</strong>: '
        f"{text(first.explanation.title)}</p><p>{text(first.finding.message)}</p>"
        f"<p>Do: <code>{fix}</code></p></div>"
    )


def _chain(report: Report) -> str:
    rows = (
        (f'<span class="{link.status}">{link.status}</span>', link.name, text(link.text))
        for link in report.diagnosis.links
    )
    return _table(("status", "link", "what is there"), rows)


def _finding(one: Diagnosed, data: bytes, report: Report) -> str:
    finding, explanation = one
    where = text(finding.file or report.diagnosis.case.path)
    if finding.offset is not None:
        where += f", byte {offset(finding.offset)} of the {'file' if finding.space == 'file' else 'disk'}"
    fixes: dict[str, list[str]] = {}
    for system, fix in explanation.fix.items():
        fixes.setdefault(command_for(fix, report.diagnosis), []).append(SYSTEM_NAMES[system])
    rows = [
        (f'<span class="{finding.severity}">{finding.severity}</span>', text(finding.message)),
        ("where", f"<code>{where}</code>"),
        *([("bytes", f"<code>{data.hex(' ')}</code>")] if data else []),
        ("why", text(explanation.why)),
        *((f"fix, {', '.join(systems)}", f"<code>{text(fix)}</code>") for fix, systems in fixes.items()),
        ("sure", text(explanation.sure)),
    ]
    return f"<h3>{text(explanation.title)} <code>{finding.id}</code></h3>{_pairs(rows)}"


def _disk(disk: Inspection) -> str:
    container = disk.container
    described = [(text(name), text(found)) for name, found in container.describe().items()]
    rows = [
        ("file", f"<code>{text(disk.path)}</code>"),
        ("container", text(f"{container.format} {container.variant}")),
        ("virtual size", f"{size(container.size)} ({container.size} bytes)"),
        ("stored", f"{size(container.allocated_size)} in {size(disk.file_size)}"),
        *described,
        ("state", f"<strong>{disk.state}</strong>: {text(disk.reason)}"),
        ("guest", text(f"{disk.guest.profile}: {'; '.join(disk.guest.evidence)}")),
        ("table", disk.table.kind),
    ]
    parts = (
        (
            str(one.partition.number),
            text(one.filesystem),
            f"<code>{text(one.label)}</code>",
            size(one.partition.size),
            f"{one.partition.start} to {one.partition.end - 1}",
        )
        for one in disk.volumes
    )
    return _pairs(rows) + _table(("partition", "filesystem", "label", "size", "sectors"), parts)


def _keys(disk: Inspection) -> str:
    if not disk.keys:
        return "<p>None.</p>"
    rows = (
        (
            key.source,
            f"<code>{text(key.file)}:{key.line.number}</code>",
            text(f"{key.line.key.type} {key.line.key.bits or ''}" if key.line.key else key.line.type),
            f"<code>{text(key.line.key.sha256 if key.line.key else '')}</code>",
            text(key.line.comment),
            "yes" if key.line.valid else f'<span class="error">no: {text(key.line.error)}</span>',
        )
        for key in disk.keys
    )
    return _table(("source", "file", "kind", "fingerprint", "comment", "accepted"), rows)


def _region(region: Region) -> str:
    where = f"{region.space} offset {offset(region.offset)}, {len(region.data)} bytes"
    colours = owner_colours(region)
    owners = region.owners()
    rows = []
    for at in range(0, len(region.data), ROW):
        cells = []
        for i, byte in enumerate(region.data[at : at + ROW]):
            owner = owners[at + i]
            is_missing = any(start <= at + i < end for start, end in region.missing)
            shown = "??" if is_missing else f"{byte:02x}"
            kind = (
                "" if owner is None else f"c{colours[owner]}" + (" x" if region.spans[owner].is_odd else "")
            )
            cells.append(f'<b class="{kind}">{shown}</b>' if kind else shown)
        plain = "".join(chr(byte) if 32 <= byte < 127 else "." for byte in region.data[at : at + ROW])
        gap = "   " * (ROW - len(cells))
        rows.append(f"{region.offset + at:08x}  {' '.join(cells)}{gap}  {escape(plain)}")
    fields = _fields(
        (span.offset, span.field.size, span.field.name, span.field.value, span.field.meaning, span.field.doc)
        for span in sorted(region.spans, key=lambda one: one.offset)
    )
    return (
        f'<details open><summary>{text(region.title)}</summary><p class="dim">{where}</p>'
        f'<div class="bytes scroll" tabindex="0" role="region" aria-label="{text(region.title)}">'
        f"{chr(10).join(rows)}</div>{fields}</details>"
    )


def _fields(rows: Iterable[tuple[int, int, str, object, str, str]]) -> str:
    cells = (
        (
            f"{at:#x}",
            str(length),
            f"<code>{text(name)}</code>",
            escape(value(found)),
            f"{text(meaning)} {text(doc)}",
        )
        for at, length, name, found, meaning, doc in rows
    )
    return _table(("offset", "size", "field", "value", "meaning"), cells)


def _headers(disk: Inspection) -> Iterator[str]:
    for header in all_headers(disk):
        fields = _fields(
            (header.offset + one.offset, one.size, one.name, one.value, one.meaning, one.doc)
            for one in header.fields()
        )
        yield f"<details open><summary>{text(header.name)}</summary>{fields}</details>"


def _evidence(report: Report) -> str:
    rows = (
        (
            f"<code>{text(one.path)}</code>",
            str(one.size),
            f"<code>{one.sha256}</code>" if one.sha256 else text(one.error),
            f"<code>{one.md5}</code>",
            _time(one.mtime),
        )
        for one in report.evidence
    )
    program = f"b2dinspect {text(report.version)}"
    made = f"Made by {program} at {_time(report.made)}; nothing was written to the evidence."
    return _table(("file", "bytes", "SHA-256", "MD5", "changed"), rows) + f"<p>{made}</p>"


def _time(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%SZ}" if seconds > 0 else ""
