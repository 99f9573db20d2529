"""A report as one page of HTML that loads nothing. Everything from the evidence is escaped."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from b2dinspect.render import style, svg
from b2dinspect.render.annotated import annotated, finder, script
from b2dinspect.render.annotated import style as annotated_style
from b2dinspect.render.docker import status
from b2dinspect.render.doctor import healthy, here, remedies
from b2dinspect.render.hexdump import value
from b2dinspect.render.markup import Html
from b2dinspect.render.text import offset, size
from b2dinspect.userdata.certificate import Certificate, day
from b2dinspect.views.annotation import all_headers

if TYPE_CHECKING:
    from b2dinspect.docker.facts import Contents
    from b2dinspect.docker.summary import Summary
    from b2dinspect.doctor.diagnosis import Diagnosed, Link
    from b2dinspect.doctor.report import Report
    from b2dinspect.inspection.facts import Inspection


def page(report: Report) -> str:
    """Return the report."""
    case = report.diagnosis.case
    title = Html.of("b2dinspect report: {}", case.machine.name if case.machine else case.subject)
    document = Html.of(
        '<!DOCTYPE html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">{}'
        "<title>{}</title><style>{}{}</style></head>\n"
        "<body><main><h1>{}</h1>{}</main>{}</body></html>\n",
        Html.policy(script.SCRIPT),
        title,
        Html(style.PAGE),
        Html(annotated_style.PAGE),
        title,
        Html.join(_sections(report)),
        Html(script.ELEMENT),
    )
    return str(document)


def _sections(report: Report) -> Iterator[Html]:
    disk = report.diagnosis.case.disk
    yield _verdict(report)
    yield _section("The chain", _chain(report.diagnosis.links))
    if report.diagnosis.door_links:
        yield _section("The second door", _door(report))
    if report.diagnosis.findings:
        found = zip(report.diagnosis.findings, report.evidence_bytes, strict=True)
        yield _section("Findings", Html.join(_finding(one, data, report) for one, data in found))
    if disk is not None:
        yield _section("The disk", _disk(disk))
        yield _section("Keys", _keys(disk))
    for summary, contents in zip(report.diagnosis.engines, report.engines, strict=False):
        yield _section(f"{summary.text.partition(':')[0]}'s containers", _engine(summary, contents))
    if report.map is not None:
        drawn = svg.drawn(report.map, "map of the disk")
        yield _section("Map", Html.of('<div class="scroll">{}</div>', drawn))
    if report.regions:
        regions = Html.join(annotated(one, f"({number})") for number, one in enumerate(report.regions, 1))
        yield _section("Annotated bytes", finder() + regions)
    if disk is not None:
        yield _section("Headers", Html.join(_headers(disk)))
    yield _section("Evidence", _evidence(report))


def _section(title: str, body: Html) -> Html:
    return Html.of("<section><h2>{}</h2>{}</section>\n", title, body)


def _code(found: object) -> Html:
    return Html.of("<code>{}</code>", found)


def _table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> Html:
    """Return a table."""
    head = Html.join(Html.of('<th scope="col">{}</th>', name) for name in heads)
    body = Html.join(
        Html.of("<tr>{}</tr>", Html.join(Html.of("<td>{}</td>", cell) for cell in row)) for row in rows
    )
    return Html.of("<table><thead><tr>{}</tr></thead><tbody>{}</tbody></table>", head, body)


def _pairs(rows: Iterable[tuple[object, object]]) -> Html:
    body = (Html.of('<tr><th scope="row">{}</th><td>{}</td></tr>', name, cell) for name, cell in rows)
    return Html.of("<table><tbody>{}</tbody></table>", Html.join(body))


def _verdict(report: Report) -> Html:
    found = report.diagnosis
    if found.is_healthy:
        fine, *rest = healthy(found)
        template = '<p class="verdict ok">{}{} Look elsewhere: {}.</p>'
        return Html.of(template, fine, " ".join(rest), found.advice)
    first = found.findings[0]
    kind = first.finding.severity
    word = "BROKEN" if kind == "error" else "odd"
    text, commands = here(first)
    return Html.of(
        '<div class="verdict {}"><p><strong class="{}">{} at {}</strong>: {}</p><p>{}</p><p>Do: {}.{}</p>'
        "<p>Sure: {}.</p></div>",
        kind,
        kind,
        word,
        first.explanation.link,
        first.explanation.title,
        first.finding.message,
        text,
        Html.join(Html.of("<br>{}", _code(line)) for line in commands),
        first.explanation.sure,
    )


def _chain(links: Iterable[Link]) -> Html:
    rows = (
        (Html.of('<span class="{}">{}</span>', link.status, link.status), link.name, link.text)
        for link in links
    )
    return _table(("status", "link", "what is there"), rows)


def _door(report: Report) -> Html:
    """Return the chain to a Docker client, and every certificate."""
    door = report.diagnosis.door
    rows = (
        (
            whose,
            _code(found.place),
            _code(one.subject),
            _code(one.issuer),
            Html.of('<span class="{}">{} to {}</span>', _good(one, door.at), day(one.begins), one.until),
            ", ".join(one.names),
            _code(one.sha256),
        )
        for whose, found in door.certificates()
        if (one := found.certificate)
    )
    heads = ("whose", "file", "for", "signed by", "good from", "names", "SHA-256")
    text = Html.of("<p>To a Docker client, through TLS, as of {}.</p>", day(int(door.at)))
    return text + _chain(report.diagnosis.door_links) + _table(heads, rows)


def _good(certificate: Certificate, at: float) -> str:
    return "ok" if certificate.is_good_at(at) else "error"


def _finding(one: Diagnosed, data: bytes, report: Report) -> Html:
    finding, explanation = one.finding, one.explanation
    where = finding.file or report.diagnosis.case.path
    if finding.offset is not None:
        where += f", byte {offset(finding.offset)} of the {'file' if finding.space == 'file' else 'disk'}"
    typed = [
        (f"type, {systems}" if systems else "type", Html.join(map(_code, lines), "<br>"))
        for systems, _, lines in remedies(one)
        if lines
    ]
    severity = Html.of('<span class="{}">{}</span>', finding.severity, finding.severity)
    rows: list[tuple[object, object]] = [
        (severity, finding.message),
        ("where", _code(where)),
        *([("bytes", _code(data.hex(" ")))] if data else []),
        ("why", explanation.why),
        ("fix", explanation.fix),
        *typed,
        *([("then", explanation.end)] if explanation.end else []),
        ("sure", explanation.sure),
    ]
    return Html.of("<h3>{} {}</h3>{}", explanation.title, _code(finding.id), _pairs(rows))


def _disk(disk: Inspection) -> Html:
    container = disk.container
    rows: list[tuple[object, object]] = [
        ("file", _code(disk.path)),
        ("container", f"{container.format} {container.variant}"),
        ("virtual size", f"{size(container.size)} ({container.size} bytes)"),
        ("stored", f"{size(container.allocated_size)} in {size(disk.file_size)}"),
        *container.describe().items(),
        ("state", Html.of("<strong>{}</strong>: {}", disk.state, disk.reason)),
        ("guest", f"{disk.guest.profile}: {'; '.join(disk.guest.evidence)}"),
        ("table", disk.table.kind),
    ]
    parts = (
        (
            one.partition.number,
            one.filesystem,
            _code(one.label),
            size(one.partition.size),
            f"{one.partition.start} to {one.partition.end - 1}",
        )
        for one in disk.volumes
    )
    return _pairs(rows) + _table(("partition", "filesystem", "label", "size", "sectors"), parts)


def _keys(disk: Inspection) -> Html:
    if not disk.keys:
        return Html("<p>None.</p>")
    rows = (
        (
            key.source,
            _code(f"{key.file}:{key.line.number}"),
            f"{key.line.key.type} {key.line.key.bits or ''}" if key.line.key else key.line.type,
            _code(key.line.key.sha256 if key.line.key else ""),
            key.line.comment,
            "yes" if key.line.valid else Html.of('<span class="error">no: {}</span>', key.line.error),
        )
        for key in disk.keys
    )
    return _table(("source", "file", "kind", "fingerprint", "comment", "accepted"), rows)


def _engine(summary: Summary, found: Contents) -> Html:
    containers = (
        (_code(one.name), _code(one.image), status(one.state), one.created, _code(one.id[:12]))
        for one in found.containers
    )
    images = (
        (_code(" ".join(one.tags) or "<none>"), one.created, "" if one.size is None else size(one.size))
        for one in found.images
        if not one.is_intermediate
    )
    volumes = (
        (_code(one.name), ", ".join(one.used_by), _code(one.path), _code(one.mountpoint))
        for one in found.volumes
    )
    problems = Html.join(Html.of("<p>{}</p>", one.message) for one in found.problems)
    return (
        Html.of("<p>{}, at {}.</p>", summary.text, _code(found.root.path or "/"))
        + _table(("container", "image", "status", "created", "id"), containers)
        + _table(("image", "created", "size"), images)
        + _table(("volume", "used by", "on the filesystem", "in the guest"), volumes)
        + problems
    )


def _fields(rows: Iterable[tuple[int, int, str, object, str, str]]) -> Html:
    cells = (
        (f"{at:#x}", length, _code(name), value(found), f"{meaning} {doc}")
        for at, length, name, found, meaning, doc in rows
    )
    return _table(("offset", "size", "field", "value", "meaning"), cells)


def _headers(disk: Inspection) -> Iterator[Html]:
    for header in all_headers(disk):
        fields = _fields(
            (header.offset + one.offset, one.size, one.name, one.value, one.meaning, one.doc)
            for one in header.fields()
        )
        yield Html.of("<details open><summary>{}</summary>{}</details>", header.name, fields)


def _evidence(report: Report) -> Html:
    rows = (
        (
            _code(one.path),
            one.size,
            _code(one.sha256) if one.sha256 else one.error,
            _code(one.md5),
            _time(one.mtime),
        )
        for one in report.evidence
    )
    made = (
        f"Made by b2dinspect {report.version} at {_time(report.made)}; nothing was written to the evidence."
    )
    return _table(("file", "bytes", "SHA-256", "MD5", "changed"), rows) + Html.of("<p>{}</p>", made)


def _time(seconds: float) -> str:
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%d %H:%M:%SZ}" if seconds > 0 else ""
