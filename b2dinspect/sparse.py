"""Holes in files on Windows, which makes none unless it is asked, and has no SEEK_DATA to find them by.

Source: Microsoft, FSCTL_SET_SPARSE and FSCTL_QUERY_ALLOCATED_RANGES (winioctl.h). On other systems, and on
filesystems without holes, there is nothing to do, and nothing to be told.
"""

from __future__ import annotations

import struct
import sys

SET_SPARSE, QUERY_RANGES = 0x900C4, 0x940CF
MORE_DATA = 234
RANGES = 64
"""Ranges that are asked for at once."""
_RANGE = struct.Struct("<qq")


def make_sparse(fd: int) -> None:
    """Let a file have holes: what is skipped in writing takes no room."""
    if sys.platform == "win32":
        _control(fd, SET_SPARSE, b"", 0)


def next_data(fd: int, position: int, end: int) -> tuple[int, int] | None:
    """Return where the next stored bytes begin and end, ``end`` twice for none; None where nobody can tell.

    Args:
        fd: A regular file.
        position: Byte to look from.
        end: Byte to look to.
    """
    if sys.platform != "win32":
        return None
    answer = _control(fd, QUERY_RANGES, _RANGE.pack(position, end - position), _RANGE.size * RANGES)
    if answer is None:
        return None
    first = next(_RANGE.iter_unpack(answer[: len(answer) // _RANGE.size * _RANGE.size]), None)
    return (end, end) if first is None else (max(position, first[0]), min(end, sum(first)))


def _control(fd: int, code: int, data: bytes, room: int) -> bytes | None:
    """Ask the filesystem for something, and return its answer; None when it refuses."""
    if sys.platform != "win32":
        return None
    import ctypes
    import msvcrt

    answer = ctypes.create_string_buffer(max(1, room))
    length = ctypes.c_ulong(0)
    kernel = ctypes.WinDLL("kernel32", use_last_error=True)
    handle = ctypes.c_void_p(msvcrt.get_osfhandle(fd))
    done = kernel.DeviceIoControl(
        handle, ctypes.c_ulong(code), data, len(data), answer, room, ctypes.byref(length), None
    )
    if not done and ctypes.get_last_error() != MORE_DATA:
        return None
    return answer.raw[: length.value]
