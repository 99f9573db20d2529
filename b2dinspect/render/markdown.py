"""A report as Markdown. Everything from the evidence stands in code spans, which nothing in it can end."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Sequence
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from b2dinspect.render.doctor import SYSTEM_NAMES, command_for
from b2dinspect.render.text import offset, size, visible

if TYPE_CHECKING:
    from b2dinspect.doctor.report import Report
    from b2dinspect.inspection.facts import Inspection


def code(found: object) -> str:
    """Return a value as a code span, whatever is in it; a table's bar is kept from ending its cell."""
    shown = visible(found if isinstance(found, str | bytes) else str(found)).replace("|", "\\|")
    if not shown:
        return ""
    fence = "`" * (max((len(run) for run in re.findall("`+", shown)), default=0) + 1)
    pad = " " if shown.startswith("`") or shown.endswith("`") else ""
    return f"{fence}{pad}{shown}{pad}{fence}"


def page(report: Report) -> str:
    """Return the report."""
    return "\n".join(_lines(report)) + "\n"


def _lines(report: Report) -> Iterator[str]:
    found, case = report.diagnosis, report.diagnosis.case
    yield f"# b2dinspect report: {code(case.machine.name if case.machine else case.subject)}\n"
    if found.is_healthy:
        yield f"**Nothing wrong found.** Look elsewhere: {found.advice}.\n"
    else:
        first = found.findings[0]
        yield f"**Broken at {first.explanation.link}:** {first.explanation.title}\n"
        yield f"Do: {code(command_for(first.explanation.fix_for(), found))}\n"
    yield "## The chain\n"
    yield from _table(
        ("status", "link", "what is there"), ((one.status, one.name, code(one.text)) for one in found.links)
    )
    if found.findings:
        yield "## Findings\n"
    for one, data in zip(found.findings, report.evidence_bytes, strict=True):
        finding, explanation = one
        yield f"### {explanation.title} (`{finding.id}`, {finding.severity})\n"
        yield f"- what: {code(finding.message)}"
        where = finding.file or case.path
        at = "" if finding.offset is None else f", byte {offset(finding.offset)}"
        yield f"- where: {code(where)}{at}"
        if data:
            yield f"- bytes: `{data.hex(' ')}`"
        yield f"- why: {explanation.why}"
        for system, fix in explanation.fix.items():
            yield f"- fix, {SYSTEM_NAMES[system]}: {code(command_for(fix, found))}"
        yield f"- sure: {explanation.sure}\n"
    if case.disk is not None:
        yield from _disk(case.disk)
    yield "## Evidence\n"
    rows = (
        (code(one.path), str(one.size), f"`{one.sha256}`" if one.sha256 else code(one.error))
        for one in report.evidence
    )
    yield from _table(("file", "bytes", "SHA-256"), rows)
    made = f"{datetime.fromtimestamp(report.made, UTC):%Y-%m-%d %H:%M:%SZ}"
    yield f"Made by b2dinspect {report.version} at {made}; nothing was written to the evidence."


def _disk(disk: Inspection) -> Iterator[str]:
    container = disk.container
    yield "## The disk\n"
    stored = size(container.allocated_size)
    yield f"- {container.format} {container.variant}, {size(container.size)}, {stored} stored"
    yield f"- state: **{disk.state}**, {code(disk.reason)}"
    yield f"- guest: {disk.guest.profile}\n"
    rows = (
        (str(one.partition.number), one.filesystem, code(one.label), size(one.partition.size))
        for one in disk.volumes
    )
    yield from _table(("partition", "filesystem", "label", "size"), rows)
    yield "## Keys\n"
    keys = (
        (key.source, code(f"{key.file}:{key.line.number}"), code(key.line.key.sha256 if key.line.key else ""))
        for key in disk.keys
    )
    yield from _table(("source", "file", "fingerprint"), keys)


def _table(heads: Sequence[str], rows: Iterable[Sequence[str]]) -> Iterator[str]:
    yield f"| {' | '.join(heads)} |"
    yield f"|{'---|' * len(heads)}"
    for row in rows:
        yield f"| {' | '.join(row)} |"
    yield ""
