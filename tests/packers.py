"""What packs for the tests and is not in every Python."""

from __future__ import annotations

import sys

if sys.version_info >= (3, 14):
    from compression import zstd as _zstd
else:
    from backports import zstd as _zstd


def zstd(data: bytes) -> bytes:
    """Return a zstd frame."""
    return _zstd.compress(data)
