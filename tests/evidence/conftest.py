"""What the tests of evidence share."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from pathlib import Path

import pytest


@pytest.fixture
def write(tmp_path: Path) -> Callable[[bytes], str]:
    def write(data: bytes) -> str:
        path = tmp_path / "evidence"
        path.write_bytes(data)
        return str(path)

    return write


@pytest.fixture
def no_descriptor_is_lost() -> Iterator[None]:
    folder = Path("/proc/self/fd")
    if not folder.exists():
        pytest.skip("no /proc/self/fd")
    before = len(list(folder.iterdir()))
    yield
    assert len(list(folder.iterdir())) == before
