"""Where literals stand in bytes: through yara-x, which reads them all at once, or one after the other.

yara-x (VirusTotal's, in Rust; the extra ``search``) finds forty literals at the speed at which a disk is
read. Without it the same places are found by Python's own search, a literal at a time: many times slower.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, Literal, Protocol

from b2dinspect.errors import UsageError
from b2dinspect.search.stored import WINDOW

EngineName = Literal["yara-x", "python"]
SHORTEST = 4
"""Bytes of a literal that yara-x finds fast; shorter ones are left to Python."""

Places = list[tuple[int, int]]
"""Offset in the bytes, and number of the literal; by offset."""


class Engine(Protocol):
    """Finds literals, overlapping ones too.

    Attributes:
        name: Which.
    """

    name: EngineName

    def scan(self, data: bytes) -> Places:
        """Return where the literals stand in at most WINDOW bytes, or twice that."""

    def close(self) -> None:
        """Let go of what belongs to this thread: yara-x's scanner must not be dropped by another."""


def engine_for(literals: Sequence[bytes], name: EngineName | None = None) -> Engine:
    """Return what finds these literals.

    Args:
        literals: None of them empty.
        name: The engine; None for yara-x where it is installed.

    Raises:
        UsageError: yara-x is asked for by name and not installed.
    """
    if name == "python":
        return PythonEngine(literals)
    try:
        return YaraEngine(literals)
    except ImportError:
        if name is not None:
            raise UsageError("yara-x is not installed (pip install 'b2dinspect[search]')") from None
        return PythonEngine(literals)


class PythonEngine:
    """A literal at a time."""

    name: EngineName = "python"

    def __init__(self, literals: Sequence[bytes], numbers: Sequence[int] | None = None) -> None:
        self._literals = [*zip(numbers or range(len(literals)), literals, strict=True)]

    def scan(self, data: bytes) -> Places:
        """Return where the literals stand."""
        found: Places = []
        for number, literal in self._literals:
            at = data.find(literal)
            while at >= 0:
                found.append((at, number))
                at = data.find(literal, at + 1)
        found.sort()
        return found

    def close(self) -> None:
        """Do nothing: this belongs to no thread."""


class YaraEngine:
    """All at once.

    Raises:
        ImportError: yara-x is not installed.
    """

    name: EngineName = "yara-x"

    def __init__(self, literals: Sequence[bytes]) -> None:
        import yara_x

        long = [number for number, one in enumerate(literals) if len(one) >= SHORTEST]
        short = [number for number, one in enumerate(literals) if len(one) < SHORTEST]
        self._rest = PythonEngine([literals[number] for number in short], short) if short else None
        self._scanner: Any = None
        if long:
            strings = " ".join(f"$_{number} = {{{literals[number].hex(' ')}}}" for number in long)
            rules = yara_x.compile(f"rule literals {{ strings: {strings} condition: any of them }}")
            self._scanner = yara_x.Scanner(rules)
            self._scanner.max_matches_per_pattern(2 * WINDOW)

    def scan(self, data: bytes) -> Places:
        """Return where the literals stand."""
        found: Places = self._rest.scan(data) if self._rest else []
        if self._scanner is not None:
            for rule in self._scanner.scan(data).matching_rules:
                for pattern in rule.patterns:
                    number = int(pattern.identifier[2:])
                    found.extend((match.offset, number) for match in pattern.matches)
        found.sort()
        return found

    def close(self) -> None:
        """Drop the scanner, which only the thread that made it may."""
        self._scanner = None
