"""The long text of each finding: what it means, why it matters, and the way out. Data: explanations.toml."""

from __future__ import annotations

import functools
import sys
from collections.abc import Iterator
from fnmatch import fnmatchcase
from pathlib import Path
from typing import NamedTuple

from b2dinspect.errors import UsageError

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
SYSTEMS = ("linux", "macos", "windows")


class Explanation(NamedTuple):
    """What a finding means.

    Attributes:
        id: Of the finding, or a pattern with ``*`` for a family of them.
        link: Where in the chain it is.
        row: Its number in the list of what goes wrong in real life; 0 for none of them.
        title: What is wrong, in a few words.
        why: Why it matters, and where it comes from.
        fix: What to do, by system; FOLDER, KEY and DISK stand for the machine's.
        sure: How sure the doctor is.
    """

    id: str
    link: str
    row: int
    title: str
    why: str
    fix: dict[str, str]
    sure: str

    def fix_for(self, system: str = "") -> str:
        """Return what to do on a system, by default this one."""
        return self.fix[system or {"win32": "windows", "darwin": "macos"}.get(sys.platform, "linux")]


@functools.cache
def explanations() -> tuple[Explanation, ...]:
    """Return all of them, in the order of the chain."""
    import tomllib  # only needed here

    with DATA.open("rb") as file:
        data = tomllib.load(file)
    found = [_explanation(name, values) for name, values in data.items()]
    return tuple(sorted(found, key=lambda item: LINKS.index(item.link)))


def _explanation(name: str, values: dict[str, str | int]) -> Explanation:
    everywhere = str(values.get("fix", ""))
    fix = {system: str(values.get(system, values.get("unix", everywhere))) for system in SYSTEMS}
    fix["windows"] = str(values.get("windows", everywhere or values.get("unix", "")))
    return Explanation(
        name,
        str(values["link"]),
        int(values.get("row", 0)),
        str(values["title"]),
        " ".join(str(values["why"]).split()),
        {system: " ".join(text.split()) for system, text in fix.items()},
        str(values.get("sure", "certain: the bytes say so")),
    )


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


def families() -> Iterator[Explanation]:
    """Yield those that explain a family of findings."""
    return (item for item in explanations() if "*" in item.id)
