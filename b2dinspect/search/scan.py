"""A search of one disk, a hit at a time, in the order of the disk."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Sequence
from contextlib import closing

from b2dinspect.evidence.file import Progress
from b2dinspect.inspection.facts import Inspection
from b2dinspect.records import NamedTuple
from b2dinspect.search import places
from b2dinspect.search.engine import EngineName, engine_for
from b2dinspect.search.facts import KINDS, Find, Hit, Kind, Place, Totals
from b2dinspect.search.kinds import SECTORS, Looker, lookers_for
from b2dinspect.search.merge import Merger
from b2dinspect.search.owners import Owners
from b2dinspect.search.patterns import Matches, Pattern, found
from b2dinspect.search.scene import Scene
from b2dinspect.search.stored import Stored, Window
from b2dinspect.source import SECTOR

KEYS: tuple[Kind, ...] = ("public-key", "private-key", "host-key")
MAX_LOOKS = 200_000
"""Places that are looked at for one literal: a disk that is full of it would cost hours."""


class Wanted(NamedTuple):
    """What is searched for.

    Attributes:
        kinds: Kinds of finds.
        patterns: The user's own.
        engine: What finds literals; None for the best there is.
    """

    kinds: tuple[Kind, ...] = KINDS
    patterns: tuple[Pattern, ...] = ()
    engine: EngineName | None = None


class Search:
    """One search; ``hits`` is to be walked through once, and what was found by then is in ``merged``.

    Args:
        facts: The disk, open.
        wanted: What is searched for.
        progress: Told how far it is.

    Attributes:
        merged: What was found.
        engine: Name of what finds literals.
    """

    def __init__(self, facts: Inspection, wanted: Wanted, progress: Progress | None = None) -> None:
        self.merged = Merger()
        self._facts = facts
        self._disk = facts.container
        self._kinds = {*wanted.kinds}
        self._progress = progress
        self._scene = Scene(self._disk)
        self._owners = Owners(facts)
        self._in_force = {key.line.key.sha256 for key in facts.keys if key.in_force and key.line.key}
        self._fingerprints = {one.fingerprint: one for one in wanted.patterns if one.fingerprint}
        self._matches = [Matches(one) for one in wanted.patterns if one.regex]
        self._lookers = _by_literal(wanted)
        self._literals = [*self._lookers]
        self._overlap = max(map(len, self._literals), default=1) - 1
        self._engine = engine_for(self._literals, wanted.engine)
        self.engine = self._engine.name
        with_sectors = bool(self._kinds & {"superblock", "table"})
        self._stored = Stored(self._disk, places.sectors if with_sectors else lambda _: ())
        self._looks: dict[bytes, int] = {}
        self._left_out: dict[Kind, int] = {}
        self._searched = 0
        self._is_complete = False
        self._minds_zeros = any(one[0] == 0 or one[-1] == 0 for one in self._literals)
        self._tail, self._tail_end, self._is_before_zeros = b"", -1, False

    @property
    def totals(self) -> Totals:
        """What was searched so far."""
        left = tuple(sorted(self._left_out.items()))
        return Totals(self._searched, self._stored.missing, left, self._is_complete)

    def hits(self) -> Generator[Hit, None, None]:
        """Yield what is found, in the order of the disk but for the matches of regular expressions.

        Close it when you do not walk to its end: threads read ahead for it.
        """
        try:
            with closing(self._stored.windows()) as windows:
                for window in windows:
                    yield from self._of_window(window)
            self._scene.show(Window(0, b""))
            yield from self._looked_at(self._named(self._closed()))
            yield from self._finished(find for one in self._matches for find in one.rest())
            self._is_complete = True
        finally:
            self._engine.close()

    def _of_window(self, window: Window) -> Iterator[Hit]:
        self._scene.show(window)
        yield from self._looked_at(self._places(window))
        yield from self._finished(find for one in self._matches for find in one.of(window))
        self._searched += len(window.data)
        if self._progress:
            self._progress("searching", self._searched, self._disk.allocated_size)

    def _places(self, window: Window) -> list[tuple[int, Looker]]:
        """Return where something begins, in a window and across its beginning, in the order of the disk."""
        found = []
        if window.start != self._tail_end:
            found += self._closed()
            self._tail = bytes(self._overlap) if window.is_behind_zeros and self._minds_zeros else b""
            self._tail_end = window.start
        found += self._seam(window.data)
        found += [(window.start + at, number) for at, number in self._engine.scan(window.data)]
        there = self._named(found)
        if window.signs:
            there += [(window.start + at, SECTORS[name]) for at, name in window.signs]
            there.sort(key=lambda place: place[0])
        self._tail = (self._tail + window.data[-self._overlap :])[-self._overlap :] if self._overlap else b""
        self._tail_end, self._is_before_zeros = window.end, window.is_before_zeros
        return there

    def _closed(self) -> list[tuple[int, int]]:
        """Return what reaches from the last window into the zeros behind it."""
        needs = self._is_before_zeros and self._minds_zeros
        return self._seam(bytes(self._overlap)) if needs else []

    def _seam(self, behind: bytes) -> list[tuple[int, int]]:
        """Return what begins in the last window and ends in what comes behind it."""
        edge = len(self._tail)
        if not edge:
            return []
        start = self._tail_end - edge
        places = self._engine.scan(self._tail + behind[: self._overlap])
        return [
            (start + at, number)
            for at, number in places
            if at < edge < at + len(self._literals[number]) and start + at >= 0
        ]

    def _named(self, found: Sequence[tuple[int, int]]) -> list[tuple[int, Looker]]:
        """Return what looks at each place; what stands where it means nothing is left out."""
        return [
            (at, looker)
            for at, number in found
            for looker in self._lookers[self._literals[number]]
            if looker.within is None or at % SECTOR == looker.within
        ]

    def _looked_at(self, there: Sequence[tuple[int, Looker]]) -> Iterator[Hit]:
        for at, looker in there:
            looks = self._looks[looker.literal] = self._looks.get(looker.literal, 0) + 1
            if looks > MAX_LOOKS:
                kind = looker.kinds[0]
                self._left_out[kind] = self._left_out.get(kind, 0) + 1
                continue
            yield from self._finished(looker.look(self._scene, at))

    def _finished(self, finds: Iterable[Find]) -> Iterator[Hit]:
        """Yield hits out of finds: with their places, and those again that a fingerprint asks for."""
        for find in finds:
            place = self._owners.place(find.offset)
            if find.kind in ("public-key", "private-key") and _is_host_key(place):
                find = find._replace(kind="host-key")
            asked = self._fingerprints.get(find.fingerprint) or self._fingerprints.get(find.md5)
            for one in (find, asked and _as_asked(asked, find)):
                if one and one.kind in self._kinds:
                    yield self.merged.take(self._hit(one, place))

    def _hit(self, find: Find, place: Place) -> Hit:
        in_file = self._disk.locate(find.offset)
        packed = self._disk.packed_at(find.offset) if in_file is None else None
        in_force = find.fingerprint in self._in_force if find.kind in KEYS else None
        return Hit(find, in_file, packed, place, in_force)


def _by_literal(wanted: Wanted) -> dict[bytes, list[Looker]]:
    """Return what looks where each literal stands; a fingerprint needs all that looks for keys."""
    asks_for_keys = any(one.fingerprint for one in wanted.patterns)
    kinds = (*wanted.kinds, *(KEYS if asks_for_keys else ()))
    found: dict[bytes, list[Looker]] = {}
    for looker in (*lookers_for(kinds), *(_of_pattern(one) for one in wanted.patterns if one.literal)):
        found.setdefault(looker.literal, []).append(looker)
    return found


def _of_pattern(pattern: Pattern) -> Looker:
    """Return what tells where a literal of the user's stands, as grep does: no two overlap."""
    end = 0

    def look(scene: Scene, at: int) -> Iterator[Find]:
        nonlocal end
        if at >= end:
            end = at + len(pattern.literal)
            yield found(pattern, at, pattern.literal)

    return Looker(("pattern",), pattern.literal, look)


def _as_asked(pattern: Pattern, find: Find) -> Find:
    return find._replace(kind="pattern", what=f"{pattern.text}: {find.what}")


def _is_host_key(place: Place) -> bool:
    """Tell whether a file is one in which sshd keeps a key of its host's (ssh-keygen -A)."""
    name = (place.path or b"").rpartition(b"/")[2]
    return name.startswith(b"ssh_host_") and name.endswith((b"_key", b"_key.pub"))
