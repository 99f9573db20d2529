"""Descriptors of files, for reading only: the access time stays, and nobody is waited for.

What the user names may be a link. What an image or a directory names was resolved and judged before
(``Roots``), and is opened from folder to folder: where a link took the place of one since, it is refused.
"""

from __future__ import annotations

import os

_QUIET = (
    os.O_RDONLY
    | getattr(os, "O_BINARY", 0)
    | getattr(os, "O_CLOEXEC", 0)
    | getattr(os, "O_NONBLOCK", 0)  # a FIFO must not make us wait for a writer
)
_NO_LINK = getattr(os, "O_NOFOLLOW", 0)
_FOLDER = getattr(os, "O_PATH", os.O_RDONLY) | getattr(os, "O_DIRECTORY", 0) | _NO_LINK


def open_named(path: str) -> int:
    """Return a descriptor of a file that the user named.

    Raises:
        OSError, ValueError: It cannot be opened.
    """
    return _open(path, 0, None)


def open_resolved(path: str) -> int:
    """Return a descriptor of a file whose absolute path holds no link, and holds none when it is opened.

    Raises:
        OSError, ValueError: It cannot be opened, or there is a link in the path.
    """
    if os.open not in os.supports_dir_fd:
        return _open(path, _NO_LINK, None)
    *folders, name = [part for part in path.split("/") if part]
    here = os.open("/", _FOLDER)
    try:
        for folder in folders:
            below = os.open(folder, _FOLDER, dir_fd=here)
            os.close(here)
            here = below
        return _open(name, _NO_LINK, here)
    finally:
        os.close(here)


def _open(path: str, flags: int, folder: int | None) -> int:
    try:
        return os.open(path, _QUIET | flags | getattr(os, "O_NOATIME", 0), dir_fd=folder)
    except PermissionError:  # another user's file
        return os.open(path, _QUIET | flags, dir_fd=folder)
