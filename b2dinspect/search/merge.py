"""The same thing in many places, told once with its places."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from b2dinspect.records import NamedTuple
from b2dinspect.search.facts import Hit, Kind

MAX_THINGS, MAX_PLACES = 20_000, 100
"""Different things that are remembered, and places of each; all are counted."""


class Thing(NamedTuple):
    """One thing.

    Attributes:
        first: Where it was found first.
        places: That and others.
        times: How often it was found.
    """

    first: Hit
    places: Sequence[Hit]
    times: int


class Merger:
    """Takes hits, tells which are the same, and keeps what a person wants of them.

    Attributes:
        counts: Hits by kind.
        unkept: Hits of things that were too many to be remembered.
    """

    def __init__(self) -> None:
        self._things: dict[tuple[str, bytes], list[Hit]] = {}
        self._times: dict[tuple[str, bytes], int] = {}
        self.counts: dict[Kind, int] = {}
        self.unkept = 0

    def take(self, hit: Hit) -> Hit:
        """Count a hit, and return it with where the same was found first."""
        find = hit.find
        key = (find.kind, find.identity)
        self.counts[find.kind] = self.counts.get(find.kind, 0) + 1
        known = self._things.get(key)
        if known is None:
            if len(self._things) >= MAX_THINGS:
                self.unkept += 1
                return hit
            self._things[key], self._times[key] = [hit], 1
            return hit
        self._times[key] += 1
        if len(known) < MAX_PLACES:
            known.append(hit)
        return hit._replace(same_as=known[0].find.offset)

    def things(self) -> Iterable[Thing]:
        """Yield each thing, in the order in which they were found."""
        for key, hits in self._things.items():
            yield Thing(_surest(hits), hits, self._times[key])


def _surest(hits: Sequence[Hit]) -> Hit:
    order = ("parsed", "likely", "looks-like")
    return min(hits, key=lambda hit: order.index(hit.find.sure))
