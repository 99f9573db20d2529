"""A report as Markdown. Everything from the evidence stands in code spans, which nothing in it can end."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from b2dinspect.render.docker import status
from b2dinspect.render.doctor import healthy, here, remedies
from b2dinspect.render.markup import Markdown
from b2dinspect.render.text import offset, size
from b2dinspect.userdata.certificate import day, told

if TYPE_CHECKING:
    from b2dinspect.docker.facts import Contents
    from b2dinspect.docker.summary import Summary
    from b2dinspect.doctor.diagnosis import Diagnosed, Diagnosis
    from b2dinspect.doctor.report import Report
    from b2dinspect.inspection.facts import Inspection


def page(report: Report) -> str:
    """Return the report."""
    return str(Markdown.join(_lines(report), "\n")) + "\n"


def _lines(report: Report) -> Iterator[Markdown]:
    found, case = report.diagnosis, report.diagnosis.case
    yield Markdown.of("# b2dinspect report: {}\n", case.machine.name if case.machine else case.subject)
    yield from _verdict(found)
    yield Markdown("## The chain\n")
    rows = ((Markdown.prose(one.status), Markdown.prose(one.name), one.text) for one in found.links)
    yield from _table(("status", "link", "what is there"), rows)
    if found.door_links:
        yield from _door(found)
    if found.findings:
        yield Markdown("## Findings\n")
    for one, data in zip(found.findings, report.evidence_bytes, strict=True):
        yield from _finding(one, data, found)
    if case.disk is not None:
        yield from _disk(case.disk)
    for summary, contents in zip(found.engines, report.engines, strict=False):
        yield from _engine(summary, contents)
    yield Markdown("## Evidence\n")
    files = ((one.path, one.size, one.sha256 or one.error) for one in report.evidence)
    yield from _table(("file", "bytes", "SHA-256"), files)
    made = f"{datetime.fromtimestamp(report.made, UTC):%Y-%m-%d %H:%M:%SZ}"
    text = "Made by b2dinspect {} at {}; nothing was written to the evidence."
    yield Markdown.of(text, report.version, made)


def _door(found: Diagnosis) -> Iterator[Markdown]:
    yield Markdown("## The second door\n")
    yield Markdown.of("To a Docker client, through TLS, as of {}.\n", Markdown.prose(day(int(found.door.at))))
    links = ((Markdown.prose(one.status), Markdown.prose(one.name), one.text) for one in found.door_links)
    yield from _table(("status", "link", "what is there"), links)
    rows = (
        (Markdown.prose(whose), held.place, told(held.certificate), held.certificate.sha256)
        for whose, held in found.door.certificates()
        if held.certificate
    )
    yield from _table(("whose", "file", "certificate", "SHA-256"), rows)


def _verdict(found: Diagnosis) -> Iterator[Markdown]:
    if found.is_healthy:
        fine, *rest = healthy(found)
        words = map(Markdown.prose, (fine, " ".join(rest), found.advice))
        yield Markdown.of("**{}**{} Look elsewhere: {}.\n", *words)
        return
    first = found.findings[0].explanation
    word = "BROKEN" if found.findings[0].finding.severity == "error" else "odd"
    yield Markdown.of("**{} at {}:** {}\n", *map(Markdown.prose, (word, first.link, first.title)))
    text, commands = here(found.findings[0])
    yield Markdown.of("Do: {}.\n", Markdown.prose(text))
    yield from (Markdown.of("- {}", line) for line in commands)
    yield Markdown.of("\nSure: {}.\n", Markdown.prose(first.sure))


def _finding(one: Diagnosed, data: bytes, found: Diagnosis) -> Iterator[Markdown]:
    finding, explanation = one.finding, one.explanation
    title = Markdown.prose(explanation.title)
    yield Markdown.of("### {} ({}, {})\n", title, finding.id, Markdown.prose(finding.severity))
    yield Markdown.of("- what: {}", finding.message)
    at = "" if finding.offset is None else f", byte {offset(finding.offset)}"
    yield Markdown.of("- where: {}{}", finding.file or found.case.path, Markdown.prose(at))
    if data:
        yield Markdown.of("- bytes: {}", data.hex(" "))
    yield Markdown.of("- why: {}", Markdown.prose(explanation.why))
    yield Markdown.of("- fix: {}", Markdown.prose(explanation.fix))
    for systems, _, commands in remedies(one):
        where = Markdown.prose(f"{systems}: " if systems else "")
        yield from (Markdown.of("    - {}{}", where, line) for line in commands)
    if explanation.end:
        yield Markdown.of("- then: {}", Markdown.prose(explanation.end))
    yield Markdown.of("- sure: {}\n", Markdown.prose(explanation.sure))


def _disk(disk: Inspection) -> Iterator[Markdown]:
    container = disk.container
    yield Markdown("## The disk\n")
    kind, stored = f"{container.format} {container.variant}", size(container.allocated_size)
    yield Markdown.of("- {}", f"{kind}, {size(container.size)}, {stored} stored")
    yield Markdown.of("- state: **{}**, {}", Markdown.prose(disk.state), disk.reason)
    yield Markdown.of("- guest: {}\n", Markdown.prose(disk.guest.profile))
    rows = (
        (
            one.partition.number,
            Markdown.prose(one.filesystem),
            one.label,
            Markdown.prose(size(one.partition.size)),
        )
        for one in disk.volumes
    )
    yield from _table(("partition", "filesystem", "label", "size"), rows)
    yield Markdown("## Keys\n")
    keys = (
        (
            Markdown.prose(key.source),
            f"{key.file}:{key.line.number}",
            key.line.key.sha256 if key.line.key else "",
        )
        for key in disk.keys
    )
    yield from _table(("source", "file", "fingerprint"), keys)


def _engine(summary: Summary, found: Contents) -> Iterator[Markdown]:
    yield Markdown.of("## Containers\n\n{}\n", summary.text)
    containers = ((one.name, one.image, Markdown.prose(status(one.state))) for one in found.containers)
    yield from _table(("container", "image", "status"), containers)
    images = (
        (" ".join(one.tags) or "<none>", Markdown.prose("" if one.size is None else size(one.size)))
        for one in found.images
        if not one.is_intermediate
    )
    yield from _table(("image", "size"), images)
    volumes = ((one.name, ", ".join(one.used_by), one.path) for one in found.volumes)
    yield from _table(("volume", "used by", "on the filesystem"), volumes)
    yield from (Markdown.of("- {}\n", one.message) for one in found.problems)


def _table(heads: Sequence[str], rows: Iterable[Sequence[object]]) -> Iterator[Markdown]:
    yield _row(Markdown.prose(head) for head in heads)
    yield Markdown("|" + "---|" * len(heads))
    for row in rows:
        yield _row(row)
    yield Markdown("")


def _row(cells: Iterable[object]) -> Markdown:
    joined = Markdown.join((Markdown.of("{}", cell) for cell in cells), " | ")
    return Markdown.of("| {} |", joined)
