"""The questions across all records: who can enter where, which keys are everywhere, what is wrong."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from typing import Any

from b2dinspect.records import NamedTuple

MOST = 1000
"""Subjects that are named for one key."""


class Summary(NamedTuple):
    """The answers.

    Attributes:
        subjects: How many records.
        failed: Subjects that could not be inspected, and why.
        states: How many disks are in which state.
        opens: By fingerprint: the subjects that the key in force opens.
        shared: Those of them that open more than one.
        elsewhere: By fingerprint: subjects that hold the private half of a key that is in force elsewhere.
        closed: Subjects that are ours, or machines, and that nobody can enter.
        findings: How many subjects have each finding.
        engines: Containers, images and volumes, by engine.
    """

    subjects: int
    failed: tuple[tuple[str, str], ...]
    states: dict[str, int]
    opens: dict[str, tuple[str, ...]]
    shared: dict[str, tuple[str, ...]]
    elsewhere: dict[str, tuple[str, ...]]
    closed: tuple[str, ...]
    findings: dict[str, int]
    engines: dict[str, dict[str, int]]


def summarise(records: Iterable[dict[str, Any]]) -> Summary:
    """Return the answers, from records as they come."""
    failed: list[tuple[str, str]] = []
    closed: list[str] = []
    states, findings = Counter[str](), Counter[str]()
    opens: dict[str, dict[str, None]] = {}
    private: dict[str, list[str]] = {}
    engines: dict[str, Counter[str]] = {}
    count = 0
    for record in records:
        count += 1
        subject = record["subject"]
        if record.get("error"):
            failed.append((subject, record["error"]))
        states[record.get("state") or "unreadable"] += 1
        findings.update({*(record.get("findings") or ())})
        for key in record.get("keys") or ():
            if key["in_force"]:
                opens.setdefault(key["fingerprint_sha256"], {})[subject] = None
        if half := record.get("private_key_sha256"):
            private.setdefault(half, []).append(subject)
        if (record.get("owner") == "ours" or record.get("machine")) and not record.get("can_enter"):
            closed.append(subject)
        for engine in record.get("engines") or ():
            numbers = {name: engine[name] for name in ("containers", "images", "volumes")}
            engines.setdefault(engine["engine"], Counter()).update(numbers)
    named = {key: tuple(there)[:MOST] for key, there in sorted(opens.items())}
    elsewhere = {
        key: tuple(one for one in private[key] if one not in opens[key])[:MOST]
        for key in opens
        if key in private
    }
    return Summary(
        count,
        tuple(failed),
        dict(states.most_common()),
        named,
        {key: there for key, there in named.items() if len(there) > 1},
        {key: there for key, there in elsewhere.items() if there},
        tuple(closed),
        dict(findings.most_common()),
        {name: dict(numbers) for name, numbers in sorted(engines.items())},
    )
