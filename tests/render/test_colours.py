"""Every colour of the terminal can be read, on black and on white."""

from __future__ import annotations

import re
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from rich.color import Color, ColorSystem
from rich.style import Style

import b2dinspect.render
from b2dinspect.render.colours import GREY, READABLE, readable
from b2dinspect.render.hexdump import COLOURS
from b2dinspect.render.terminal import Line, Screen

SHOWN = sorted({*READABLE.values()} - {"default"})


def luminance(colour: Color) -> float:
    """Return the relative luminance (WCAG 2.2)."""
    parts = [part / 255 for part in colour.get_truecolor()]
    red, green, blue = (one / 12.92 if one <= 0.04045 else ((one + 0.055) / 1.055) ** 2.4 for one in parts)
    return 0.2126 * red + 0.7152 * green + 0.0722 * blue


@pytest.mark.parametrize("name", SHOWN)
def test_the_contrast_is_enough_on_black_and_on_white(name: str) -> None:
    found = luminance(Color.parse(name))
    assert (found + 0.05) / 0.05 >= 4.5
    assert 1.05 / (found + 0.05) >= 4.5


@pytest.mark.parametrize("name", SHOWN)
def test_where_there_are_256_colours_it_is_nearly_that(name: str) -> None:
    found = luminance(Color.parse(name).downgrade(ColorSystem.EIGHT_BIT))
    assert min((found + 0.05) / 0.05, 1.05 / (found + 0.05)) >= 3


def test_neighbours_in_a_dump_are_told_apart() -> None:
    named = [READABLE[name] for name in COLOURS]
    assert all(one != other for one, other in zip(named, [*named[1:], named[0]], strict=True))


def test_every_colour_that_a_renderer_names_has_one() -> None:
    words = "|".join(READABLE)
    named = set()
    for path in Path(b2dinspect.render.__file__).parent.rglob("*.py"):
        named.update(re.findall(rf"\"(?:bold |not dim |dim )*({words})\"", path.read_text(encoding="utf-8")))
    assert named
    assert named <= set(READABLE)


@pytest.mark.parametrize(
    ("style", "shown"),
    [
        ("blue", "#5f5fff"),
        ("bold red", "bold #ed0000"),
        ("dim", f"not dim {GREY}"),
        ("not dim", "not dim default"),
        ("not dim cyan", "not dim #008484"),
        ("#123456", "#123456"),
        ("bold", "bold"),
        ("on red", "on red"),
    ],
)
def test_a_style_is_made_readable(style: str, shown: str) -> None:
    assert readable(Style.parse(style)) == Style.parse(shown)


def printed(system: str, colour: str, **options: bool) -> str:
    told = StringIO()
    more: dict[str, Any] = {"color_system": system, "legacy_windows": False, **options}
    Screen(file=told, force_terminal=True, width=80, **more).print(Line("a", colour))
    return told.getvalue()


def test_a_terminal_is_given_what_it_can_show() -> None:
    """Each with a colour of its own: a style of rich remembers how it was first written."""
    assert printed("truecolor", "bold blue") == "\x1b[1;38;2;95;95;255ma\x1b[0m\n"
    assert printed("256", "bold magenta") == "\x1b[1;38;5;164ma\x1b[0m\n"
    assert printed("standard", "bold cyan") == "\x1b[1;36ma\x1b[0m\n"


def test_a_picture_has_its_own_colours() -> None:
    assert "33m" in printed("truecolor", "bold yellow", record=True)
