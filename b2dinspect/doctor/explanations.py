"""The long text of each finding: what it means, why it matters, and the way out. Data: explanations.toml."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import Any, Literal

from b2dinspect.errors import UsageError
from b2dinspect.findings import Finding
from b2dinspect.records import NamedTuple

DATA = Path(__file__).with_name("explanations.toml")
LINKS = (
    "host key",
    "config",
    "container",
    "offset 0",
    "table",
    "filesystem",
    "userdata.tar",
    "authorized_keys",
    "login",
)
"""The chain from the host's key to the login, in order."""
DOOR = ("disk space", "profile", "server certificate", "authority", "client certificate", "daemon")
"""The second chain, from the daemon's start to a Docker client that comes in, as users meet it."""
ALL_LINKS = (*LINKS, *DOOR)
KEYS = {*("link", "row", "title", "why", "fix", "do", "unix", "windows", "mends", "end", "by", "sure")}
"""Of an explanation in the data file; any other is a driver's name."""
System = Literal["linux", "macos", "windows"]
SYSTEMS: tuple[System, ...] = ("linux", "macos", "windows")
Mend = Literal[
    "",
    "userdata",
    "label",
    "marker",
    "filesystem",
    "size",
    "tables",
    "modes",
    "key",
    "public-key",
    "paths",
    "encoding",
    "certificates",
    "start",
]
"""What mends a finding: a part of a repair, the machine's next start, or nothing that this program does."""
Basis = Literal["bytes", "script", "program", "guess"]
SURE: dict[Basis, str] = {
    "bytes": "certain: the bytes say so",
    "script": "as sure as the guests' own scripts, which were booted to see what they do",
    "program": "as sure as the source of docker-machine and ssh",
    "guess": "likely: it fits what is there",
}
"""What a verdict rests on, in plain words."""


class Explanation(NamedTuple):
    """What a finding means.

    Attributes:
        id: Of the finding, or a pattern with ``*`` for a family of them.
        link: Where in the chain it is.
        row: Its number in the list of what goes wrong in real life; 0 for none of them.
        title: What is wrong, in a few words.
        why: Why it matters, and where it comes from.
        fix: What to do, in one line.
        commands: For each system, what to type; words in capitals stand for the machine's, see ``remedies``.
        for_drivers: Further commands, for the machines of one driver.
        mends: What mends it.
        end: What remains when all is done, where that is not a healthy machine.
        by: What the verdict rests on.
        sure: The same in plain words.
    """

    id: str
    link: str
    row: int
    title: str
    why: str
    fix: str
    commands: dict[System, tuple[str, ...]]
    for_drivers: dict[str, tuple[str, ...]]
    mends: Mend
    end: str
    by: Basis
    sure: str


@functools.cache
def explanations() -> tuple[Explanation, ...]:
    """Return all of them, in the order of the chain."""
    import tomllib  # only needed here

    with DATA.open("rb") as file:
        data = tomllib.load(file)
    found = [_explanation(name, values) for name, values in data.items()]
    return tuple(sorted(found, key=lambda item: ALL_LINKS.index(item.link)))


def _explanation(name: str, values: dict[str, Any]) -> Explanation:
    everywhere, unix = values.get("do", ()), values.get("unix", ())
    own = {"linux": unix, "macos": unix, "windows": values.get("windows", ())}
    by: Basis = values.get("by", "bytes")
    return Explanation(
        name,
        values["link"],
        values.get("row", 0),
        values["title"],
        _one_line(values["why"]),
        _one_line(values["fix"]),
        {system: (*everywhere, *own[system]) for system in SYSTEMS},
        {key: tuple(commands) for key, commands in values.items() if key not in KEYS},
        values.get("mends", ""),
        _one_line(values.get("end", "")),
        by,
        values.get("sure", SURE[by]),
    )


def _one_line(text: str) -> str:
    return " ".join(text.split())


def explain(finding_id: str) -> Explanation:
    """Return the explanation of a finding: its own, or that of its family.

    Raises:
        UsageError: No finding has this id.
    """
    known = {item.id: item for item in explanations()}
    if finding_id in known and "*" not in finding_id:
        return known[finding_id]
    for item in known.values():
        if "*" in item.id and "*" not in finding_id and fnmatchcase(finding_id, item.id):
            return item._replace(id=finding_id)
    raise UsageError(f"no finding is called {finding_id!r}; `b2dinspect explain` lists them")


def explanation_of(finding: Finding) -> Explanation:
    """Return the explanation of a finding that is there; a format from outside may have none of its own."""
    try:
        return explain(finding.id)
    except UsageError:
        sure = "as sure as what reads this format"
        why = "What reads this format says no more about it."
        return Explanation(
            finding.id,
            "container",
            0,
            finding.message,
            why,
            "",
            dict.fromkeys(SYSTEMS, ()),
            {},
            "",
            "",
            "program",
            sure,
        )


def families() -> Iterator[Explanation]:
    """Yield those that explain a family of findings."""
    return (item for item in explanations() if "*" in item.id)
