"""Values out of JSON, taken for what they should be: whatever else is there counts as nothing."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from b2dinspect.docker.facts import Layer

NEVER = "0001-01-01"
"""How Go writes the time that never was."""


def mapping(found: object) -> Mapping[str, Any]:
    """Return a JSON object; an empty one for anything else."""
    return found if isinstance(found, dict) else {}


def sequence(found: object) -> list[Any]:
    """Return a JSON array; an empty one for anything else."""
    return found if isinstance(found, list) else []


def text(found: object) -> str:
    """Return a JSON string; "" for anything else."""
    return found if isinstance(found, str) else ""


def texts(found: object) -> tuple[str, ...]:
    """Return the strings in a JSON array."""
    return tuple(one for one in sequence(found) if isinstance(one, str))


def time(found: object) -> str:
    """Return a time as Go wrote it; "" for one that never was."""
    return "" if text(found).startswith(NEVER) else text(found)


def number(text: str | None) -> int | None:
    """Return a number of bytes; None when it is none."""
    return int(text) if text and text.isascii() and text.isdigit() and len(text) < 20 else None


def strings(found: object) -> Mapping[str, str]:
    """Return the names and values of a JSON object that are text."""
    pairs = found.items() if isinstance(found, dict) else ()
    return {name: value for name, value in pairs if isinstance(value, str)}


def total(layers: tuple[Layer, ...]) -> int | None:
    """Return the bytes of layers together; None when one does not say how many it has."""
    sizes = [layer.size for layer in layers if layer.size is not None]
    return sum(sizes) if len(sizes) == len(layers) else None
