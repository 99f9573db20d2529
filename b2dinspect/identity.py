"""Where UUIDs, serial numbers and times of a new disk come from: at random, or pinned by a seed."""

from __future__ import annotations

import time
import uuid

NAMESPACE = uuid.UUID("b2d00000-0000-4000-8000-000000000000")
PINNED_TIME = 1546300800
"""2019-01-01 00:00:00 UTC: the time of everything on a disk with pinned identities."""


class Identities:
    """Every identity that a new disk needs, by name.

    Args:
        namespace: Names in it always give the same identities; None makes all of them at random.
    """

    def __init__(self, namespace: uuid.UUID | None = None) -> None:
        self._namespace = namespace
        self._made: dict[str, uuid.UUID] = {}
        self.time = int(time.time()) if namespace is None else PINNED_TIME

    @classmethod
    def from_seed(cls, seed: str | None) -> Identities:
        """Return the identities that belong to a seed, or random ones."""
        return cls(None if seed is None else uuid.uuid5(NAMESPACE, f"seed {seed}"))

    @property
    def is_pinned(self) -> bool:
        """Whether they are always the same ones."""
        return self._namespace is not None

    def uuid(self, name: str) -> uuid.UUID:
        """Return the UUID of that name, always the same one."""
        if name not in self._made:
            self._made[name] = uuid.uuid4() if self._namespace is None else uuid.uuid5(self._namespace, name)
        return self._made[name]

    def number(self, name: str) -> int:
        """Return 32 bits for that name."""
        return self.uuid(name).fields[0]
