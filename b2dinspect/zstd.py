"""zstd (RFC 8878), where each version of Python has it. Imported only when something is packed so.

Python 3.14 has it in its standard library (PEP 784); backports.zstd is the same for those before.
"""

from __future__ import annotations

import importlib
import sys
from typing import Any

WINDOW_LOG = 27
"""128 MiB: what the zstd program takes without being asked."""
_zstd: Any = importlib.import_module("compression.zstd" if sys.version_info >= (3, 14) else "backports.zstd")

ZstdError: type[Exception] = _zstd.ZstdError
"""What a damaged stream raises."""


def decompressor() -> Any:
    """Return what unpacks one frame, as ``lzma.LZMADecompressor`` does."""
    return _zstd.ZstdDecompressor(options={_zstd.DecompressionParameter.window_log_max: WINDOW_LOG})
