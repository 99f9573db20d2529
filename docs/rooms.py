"""``python docs/rooms.py`` draws ``docs/rooms.svg``: the rooms of the package and who imports whom.

The graph is the one that import-linter judges (grimp), the floors are its layers in ``pyproject.toml``.
An arrow that a longer way implies is left out of the drawing, but not of the data in ``<metadata>``, which a
test compares with the imports.
"""

from __future__ import annotations

import json
import re
import textwrap
import tomllib
from collections.abc import Iterable
from itertools import pairwise
from pathlib import Path
from typing import Any, NamedTuple
from xml.sax.saxutils import escape, unescape

import grimp

HERE = Path(__file__).parent
PACKAGE = "b2dinspect"
ENTRANCES = ("", "__init__", "__main__", "records")
"""The package itself and ``python -m``: doors, no rooms; nor is what every fact is declared with."""

KINDS = {
    "speaks": ("#6d4aa3", ("cli", "notebook", "tui", "render")),
    "makes and changes disks": ("#b4560f", ("provisioning", "newfile", "identity")),
    "judges": ("#2c7a3f", ("doctor", "views")),
    "knows": ("#1d63a8", ("inspection", "machine", "guests", "docker")),
    "reads": ("#0c7077", ("evidence", "containers", "partitions", "filesystems", "userdata")),
    "the ground": ("#55606e", ()),
}
"""Colour and rooms of each kind; the ground is all else."""

WIDTH, HEIGHT, FLOOR, GAP, LANE, MARGIN = 184, 60, 96, 18, 16, 26
"""Pixels: a room's size, from floor to floor, between rooms, of a passing arrow, around everything."""


class Graph(NamedTuple):
    """The rooms.

    Attributes:
        floors: Names, the top floor first.
        texts: What each room is, in its own words.
        imports: Pairs of a room and one that it imports, sorted.
    """

    floors: list[list[str]]
    texts: dict[str, str]
    imports: list[tuple[str, str]]


def graph() -> Graph:
    """Return the rooms as the imports are now."""
    settings = tomllib.loads((HERE.parent / "pyproject.toml").read_text(encoding="utf-8"))["tool"][
        "importlinter"
    ]
    layers = next(found["layers"] for found in settings["contracts"] if found["type"] == "layers")
    floors = [[room for room in layer.split(" | ") if room not in ENTRANCES] for layer in layers]
    found = grimp.build_graph(PACKAGE, exclude_type_checking_imports=True, cache_dir=None)
    imports = {
        (_room(module), _room(imported))
        for module in found.modules
        for imported in found.find_modules_directly_imported_by(module)
    }
    rooms = [room for floor in floors for room in floor]
    return Graph(
        [floor for floor in floors if floor],
        {room: _text(room) for room in rooms},
        sorted((one, two) for one, two in imports if one != two and one in rooms and two in rooms),
    )


def _room(module: str) -> str:
    return module.partition(".")[2].partition(".")[0]


def _text(room: str) -> str:
    """Return the beginning of a room's docstring, up to the first colon or stop."""
    path = HERE.parent / PACKAGE / room
    source = (path / "__init__.py" if path.is_dir() else path.with_suffix(".py")).read_text(encoding="utf-8")
    return re.split(r"[:;.](?:\s|$)", source.removeprefix('"""').partition('"""')[0])[0].replace("`", "")


def direct(imports: Iterable[tuple[str, str]]) -> list[tuple[str, str]]:
    """Return the imports without those that a longer way implies."""
    below: dict[str, set[str]] = {}
    for one, two in imports:
        below.setdefault(one, set()).add(two)

    def reached(room: str) -> set[str]:
        return {room}.union(*(reached(other) for other in below.get(room, ())))

    return [(one, two) for one, two in imports if not any(two in reached(way) for way in below[one] - {two})]


class Place(NamedTuple):
    """A room, or an arrow that passes a floor (its room is ""), and its width in pixels."""

    room: str
    floor: int
    arrow: tuple[str, str] = ("", "")

    @property
    def width(self) -> int:
        """Pixels, with the gap beside it."""
        return WIDTH + GAP if self.room else LANE


class Plan(NamedTuple):
    """Where everything is.

    Attributes:
        floors: Places from left to right, the top floor first.
        middle: Pixels from the left.
        ways: Of each arrow, from room to room.
    """

    floors: list[list[Place]]
    middle: dict[Place, float]
    ways: list[list[Place]]


def plan(found: Graph) -> Plan:
    """Lay the rooms out so that few arrows cross: Sugiyama's way, the same every time."""
    floor_of = {room: number for number, floor in enumerate(found.floors) for room in floor}
    floors = [[Place(room, number) for room in floor] for number, floor in enumerate(found.floors)]
    ways = []
    for one, two in direct(found.imports):
        passed = [Place("", number, (one, two)) for number in range(floor_of[one] + 1, floor_of[two])]
        for place in passed:
            floors[place.floor].append(place)
        ways.append([Place(one, floor_of[one]), *passed, Place(two, floor_of[two])])
    beside: dict[Place, list[Place]] = {place: [] for floor in floors for place in floor}
    for way in ways:
        for upper, lower in pairwise(way):
            beside[upper].append(lower)
            beside[lower].append(upper)
    middle = {place: float(at) for floor in floors for place, at in zip(floor, _spread(floor), strict=True)}
    for turn in range(40):
        for floor in floors if turn % 2 else reversed(floors):
            floor.sort(key=lambda place: (_mean(place, beside, middle), place))
            middle.update(zip(floor, _spread(floor), strict=True))
    for _ in range(60):
        for floor in floors:
            wanted = [_mean(place, beside, middle) for place in floor]
            middle.update(zip(floor, _settled(floor, wanted), strict=True))
    left = min(at - place.width / 2 for place, at in middle.items())
    return Plan(floors, {place: at - left for place, at in middle.items()}, ways)


def _mean(place: Place, beside: dict[Place, list[Place]], middle: dict[Place, float]) -> float:
    near = beside[place]
    return sum(middle[other] for other in near) / len(near) if near else middle[place]


def _spread(floor: list[Place]) -> list[float]:
    """Return middles side by side, around zero."""
    return _settled(floor, [0.0] * len(floor))


def _settled(floor: list[Place], wanted: list[float]) -> list[float]:
    """Return the middles nearest to the wanted ones that keep the order and leave everything its width."""
    starts = [
        sum(place.width for place in floor[:number]) + floor[number].width / 2 for number in range(len(floor))
    ]
    groups: list[list[float]] = []
    for want, start in zip(wanted, starts, strict=True):
        groups.append([want - start])
        while len(groups) > 1 and _average(groups[-2]) > _average(groups[-1]):
            groups[-2:] = [groups[-2] + groups[-1]]
    shifts = [_average(group) for group in groups for _ in group]
    return [start + shift for start, shift in zip(starts, shifts, strict=True)]


def _average(values: list[float]) -> float:
    return sum(values) / len(values)


def draw(found: Graph) -> str:
    """Return the picture."""
    made = plan(found)
    width = max(at + place.width / 2 for place, at in made.middle.items()) + 2 * MARGIN
    height = (len(made.floors) - 1) * FLOOR + HEIGHT + 2 * MARGIN
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height}" width="{width:.0f}" '
        f'height="{height}" font-family="system-ui, Segoe UI, Helvetica, Arial, sans-serif" role="img" '
        'aria-label="The rooms of b2dinspect and who imports whom">',
        f"<metadata>{escape(data(found))}</metadata>",
        f'<rect width="{width:.0f}" height="{height}" rx="10" fill="#fbfaf7"/>',
        *_arrows(made),
        *(
            _box(place, made, found.texts[place.room])
            for floor in made.floors
            for place in floor
            if place.room
        ),
        *_legend(),
        "</svg>",
    ]
    return "\n".join(parts) + "\n"


def data(found: Graph) -> str:
    """Return the whole graph as JSON."""
    return json.dumps(
        {"floors": found.floors, "rooms": found.texts, "imports": found.imports}, sort_keys=True
    )


def _arrows(made: Plan) -> Iterable[str]:
    leaving, entering = _doors(made, down=True), _doors(made, down=False)
    for way in made.ways:
        colour = _colour(way[0].room)
        x, y = leaving[way[0], way[1]], _top(way[0]) + HEIGHT
        path = f"M{x:.1f} {y}"
        for number, place in enumerate(way[1:], 1):
            is_last = number == len(way) - 1
            to_x = entering[place, way[number - 1]] if is_last else made.middle[place] + MARGIN
            to_y = _top(place) - (6 if is_last else 0)
            bend = (to_y - y) / 2
            path += f"C{x:.1f} {y + bend:.0f} {to_x:.1f} {to_y - bend:.0f} {to_x:.1f} {to_y}"
            x, y = to_x, to_y
            if not is_last:
                y += HEIGHT
                path += f"V{y}"
        yield f'<path d="{path}" fill="none" stroke="{colour}" stroke-width="1.6" stroke-opacity=".7"/>'
        yield f'<path d="M{x - 4:.1f} {y - 2}h8l-4 8z" fill="{colour}"/>'


def _doors(made: Plan, *, down: bool) -> dict[tuple[Place, Place], float]:
    """Return where on a room's lower or upper side the arrow to or from each neighbour has its end."""
    beside: dict[Place, list[Place]] = {}
    for way in made.ways:
        room, other = (way[0], way[1]) if down else (way[-1], way[-2])
        beside.setdefault(room, []).append(other)
    doors = {}
    for room, others in beside.items():
        step = min(26.0, (WIDTH - 30) / len(others))
        for number, other in enumerate(sorted(others, key=lambda place: made.middle[place])):
            doors[room, other] = made.middle[room] + MARGIN + step * (number - (len(others) - 1) / 2)
    return doors


def _top(place: Place) -> int:
    return MARGIN + place.floor * FLOOR


def _box(place: Place, made: Plan, text: str) -> str:
    left, top, colour = made.middle[place] + MARGIN - WIDTH / 2, _top(place), _colour(place.room)
    lines = textwrap.wrap(text, 29, max_lines=2, placeholder=" …")
    return "".join(
        (
            f'<rect x="{left:.1f}" y="{top}" width="{WIDTH}" height="{HEIGHT}" rx="6" fill="#fff" '
            f'stroke="{colour}" stroke-width="1.6"/>',
            f'<rect x="{left:.1f}" y="{top + 4}" width="4" height="{HEIGHT - 8}" fill="{colour}"/>',
            _words(left + 12, top + 21, place.room, 15.5, colour, bold=True),
            *(_words(left + 12, top + 37 + 14 * row, line, 11) for row, line in enumerate(lines)),
        )
    )


def _legend() -> Iterable[str]:
    yield _words(MARGIN, 2 * MARGIN, "The rooms of b2dinspect, and who imports whom", 20, "#222", bold=True)
    yield _words(
        MARGIN, 2 * MARGIN + 24, "Arrows point from a room to one that it imports: always downward.", 12.5
    )
    yield _words(MARGIN, 2 * MARGIN + 42, "Those that a longer way implies are left out.", 12.5)
    for row, (kind, (colour, _)) in enumerate(KINDS.items()):
        y = 2 * MARGIN + 76 + 21 * row
        yield f'<rect x="{MARGIN}" y="{y - 10}" width="11" height="11" rx="2" fill="{colour}"/>'
        yield _words(MARGIN + 19, y, kind, 12.5)


def _words(x: float, y: float, text: str, size: float, colour: str = "#333", *, bold: bool = False) -> str:
    weight = ' font-weight="600"' if bold else ""
    return f'<text x="{x:.1f}" y="{y}" font-size="{size}" fill="{colour}"{weight}>{escape(text)}</text>'


def _colour(room: str) -> str:
    return next((colour for colour, rooms in KINDS.values() if room in rooms), KINDS["the ground"][0])


def kept() -> dict[str, Any]:
    """Return the graph that the picture of today holds."""
    picture = (HERE / "rooms.svg").read_text(encoding="utf-8")
    found = re.search("<metadata>(.*)</metadata>", picture)
    return dict(json.loads(unescape(found[1]))) if found else {}


if __name__ == "__main__":
    (HERE / "rooms.svg").write_text(draw(graph()), encoding="utf-8")
