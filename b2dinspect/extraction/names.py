"""Names that Windows cannot take."""

from __future__ import annotations

RESERVED = frozenset(
    {"con", "prn", "aux", "nul", *(f"{port}{number}" for port in ("com", "lpt") for number in range(1, 10))}
)
"""Names that Windows keeps for devices, whatever comes behind a dot."""
NOT_ON_WINDOWS = frozenset('<>:"|?*\\') | {chr(number) for number in range(32)}


def windows_obstacle(name: str) -> str:
    """Return why Windows cannot take a name; "" when it can.

    >>> windows_obstacle("aux.c"), windows_obstacle("a:b"), windows_obstacle("fine")
    ('Windows keeps this name for itself', 'Windows has no : in names', '')
    """
    if char := next((char for char in name if char in NOT_ON_WINDOWS), ""):
        return f"Windows has no {char} in names"
    if name.endswith((".", " ")):
        return f"Windows has no {name[-1]} at the end of names"
    return "Windows keeps this name for itself" if name.split(".")[0].casefold() in RESERVED else ""
