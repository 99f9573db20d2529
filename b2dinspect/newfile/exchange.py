"""Two names change places in one step: at no moment is one of them missing.

Source: Linux, rename(2): renameat2 with RENAME_EXCHANGE; macOS, renamex_np(2): RENAME_SWAP.
"""

from __future__ import annotations

import ctypes
import errno
import os
import sys
from pathlib import Path

AT_FDCWD = -100
RENAME_EXCHANGE = 2
"""The same number in both systems."""
CANNOT = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP)
"""What a system or filesystem says that knows no exchange."""


def exchange(one: Path, other: Path) -> bool:
    """Let two names of one filesystem change places, and return whether that can be done here at all.

    Raises:
        OSError: It can, and it failed.
    """
    names = os.fsencode(one), os.fsencode(other)
    try:
        failed = _call(*names)
    except AttributeError:  # an older C library, or Windows
        return False
    if not failed:
        return True
    number = ctypes.get_errno()
    if number in CANNOT:
        return False
    raise OSError(number, os.strerror(number), str(other))


def _call(one: bytes, other: bytes) -> int:
    if sys.platform == "win32":
        raise AttributeError
    library = ctypes.CDLL(None, use_errno=True)
    if sys.platform == "darwin":
        return int(library.renamex_np(one, other, ctypes.c_uint(RENAME_EXCHANGE)))
    return int(library.renameat2(AT_FDCWD, one, AT_FDCWD, other, ctypes.c_uint(RENAME_EXCHANGE)))
