"""A proof on a terminal and as JSON."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING, Any

from rich.console import RenderableType

from b2dinspect.render.terminal import Line, Verbatim

if TYPE_CHECKING:
    from b2dinspect.provisioning.repair.proof import Proof

DID = {"mount": "mounted the data partition", "format": "FORMATTED the disk", "leave": "took no disk"}


def proof(item: Proof) -> Iterator[RenderableType]:
    """Yield who got in, key by key."""
    played = "simulated" if item.engine == "simulate" else "real Linux as"
    yield Line(f"A {played} {item.guest} guest {DID[item.action]}; the disk itself was not touched.")
    for one in item.tried:
        word, style = ("let in", "green") if one.works else ("refused", "bold red")
        whose = " (the owner's)" if one.is_owner else ""
        line = Verbatim(f"{word:9}", style=style)
        line.append(f"{one.sha256}{whose}  {one.place}", style="default")
        yield line
        if one.reason:
            yield Line(f"         {one.reason}")
        if one.expected != one.works:
            said = "gets in" if one.expected else "does not get in"
            yield Line(f"         but the bytes on the disk say that it {said}", style="bold red")
    if not item.is_open:
        yield Line("refused  a key that nobody knows", style="green")
    else:
        yield Line("let in   a key that nobody knows: a login proves nothing here", style="bold red")
    for sha256 in item.untried:
        yield Verbatim(f"untried  {sha256}: no private half of it is at hand")
    for failure in item.failures:
        yield Line(f"failed   {failure}")
    if item.owner_is_in is None:
        yield Line("No private key of the owner's was at hand, so it was not tried.")


def proof_json(subject: str, item: Proof) -> dict[str, Any]:
    """Return the document of ``prove --json``."""
    return {
        "subject": subject,
        "guest": item.guest,
        "engine": item.engine,
        "action": item.action,
        "tried": [one._asdict() for one in item.tried],
        "untried": [*item.untried],
        "stranger_refused": not item.is_open,
        "failures": [*item.failures],
        "owner_is_in": item.owner_is_in,
        "agrees": item.agrees,
    }
