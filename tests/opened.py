"""What a test opens and has no other place to close: closed when the test has ended."""

from __future__ import annotations

from contextlib import AbstractContextManager, ExitStack
from typing import Any, TypeVar

Opened = TypeVar("Opened", bound=AbstractContextManager[Any])
KEPT = ExitStack()


def keep(opened: Opened) -> Opened:
    """Return it, open until the end of the test."""
    KEPT.push(opened)
    return opened
