"""The colours of a terminal that everybody can read, on black and on white.

Renderers name the sixteen colours that every terminal has. What a terminal makes of them is its own: blue on
black has a contrast of 2, cyan on white of 1.3. One that can show any colour is given these instead: their
luminance lies so that both black and white are 4.5 : 1 away (WCAG 2.2, 1.4.3), which leaves little room.
"""

from __future__ import annotations

from functools import lru_cache

from rich.color import Color, ColorType
from rich.style import Style

GREY = "#767676"
READABLE = {
    "black": "default",
    "red": "#ed0000",
    "green": "#008900",
    "yellow": "#b95c00",
    "blue": "#5f5fff",
    "magenta": "#d000d0",
    "cyan": "#008484",
    "white": "default",
    "bright_black": GREY,
    "bright_red": "#ed0000",
    "bright_green": "#428500",
    "bright_yellow": "#7a7a00",
    "bright_blue": "#0073e5",
    "bright_magenta": "#e50073",
    "bright_cyan": "#0073e5",
    "bright_white": "default",
}
_COLOURS = [Color.parse(name) for name in READABLE.values()]
_DEFAULT = Style(color="default")


@lru_cache(1024)
def readable(style: Style) -> Style:
    """Return a style with its colours made readable; what is dim is grey, for who knows how dim dim is."""
    colour = style.color
    if colour is not None and colour.type == ColorType.STANDARD and colour.number is not None:
        style += Style.from_color(_COLOURS[colour.number])
    elif colour is None and style.dim is not None:
        style += Style(color=GREY, dim=False) if style.dim else _DEFAULT
    return style
