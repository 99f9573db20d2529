"""The answers of an audit, as tables and as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from b2dinspect.audit.summary import Summary
from b2dinspect.render.docker import Sheet

SHOWN = 5


def summary_json(found: Summary) -> dict[str, Any]:
    """Return the document of ``audit --summary --json``."""
    return {**found._asdict(), "failed": [{"subject": one, "error": why} for one, why in found.failed]}


def sheets(found: Summary) -> Iterator[Sheet]:
    """Yield a table for each question that has an answer."""
    head = f"{found.subjects} subjects, {len(found.failed)} of them not inspected"
    yield Sheet(head, ["STATE", "DISKS"], [[name, str(count)] for name, count in found.states.items()])
    for title, keys in (
        ("keys that open more than one", found.shared),
        ("keys in force whose private half lies with another one", found.elsewhere),
    ):
        if keys:
            yield Sheet(title, ["KEY", "TIMES", "SUBJECTS"], [_row(*one) for one in keys.items()])
    if found.closed:
        yield Sheet("nobody can enter", ["SUBJECT"], [[one] for one in found.closed])
    if found.findings:
        rows = [[name, str(count)] for name, count in found.findings.items()]
        yield Sheet("findings", ["FINDING", "SUBJECTS"], rows)
    if found.engines:
        names = ("containers", "images", "volumes")
        rows = [[engine, *(str(n[name]) for name in names)] for engine, n in found.engines.items()]
        yield Sheet("engines", ["ENGINE", "CONTAINERS", "IMAGES", "VOLUMES"], rows)
    if found.failed:
        yield Sheet("not inspected", ["SUBJECT", "WHY"], [[one, why] for one, why in found.failed])


def _row(key: str, there: tuple[str, ...]) -> list[str]:
    more = f" and {len(there) - SHOWN} more" if len(there) > SHOWN else ""
    return [key, str(len(there)), ", ".join(there[:SHOWN]) + more]
