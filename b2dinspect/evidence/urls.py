"""Which arguments are URLs, and what of a URL may be shown. Light: asked of every argument."""

from __future__ import annotations

import re

from b2dinspect.errors import UsageError

SCHEMES = ("https", "http", "s3", "gs", "gcs", "sftp", "smb", "az", "abfs")
"""Of files that are read by ranges, through fsspec."""
_SCHEME = re.compile(r"([A-Za-z][A-Za-z0-9+.-]+)://")
"""Two letters at least: ``C:`` is a drive."""
_SECRET = re.compile(r"^([a-z0-9+.-]+://)(?:[^/@?#]*@)?([^?#]*)([?#].*)?$", re.IGNORECASE | re.DOTALL)


def is_url(argument: str) -> bool:
    """Tell whether an argument names something on another machine, whatever it is.

    >>> is_url("https://host/disk.vdi"), is_url("C://disk.vdi"), is_url("disk.vdi")
    (True, False, False)
    """
    return _SCHEME.match(argument) is not None


def scheme_of(url: str) -> str:
    """Return how a file is reached.

    Raises:
        UsageError: In no way that is read.
    """
    found = _SCHEME.match(url)
    scheme = found[1].lower() if found else ""
    if scheme not in SCHEMES:
        known = ", ".join(f"{one}://" for one in SCHEMES)
        raise UsageError(f"{shown(url)}: {scheme}:// is not read; {known} are, and files by their names")
    return scheme


def shown(argument: str) -> str:
    """Return an argument as it may be printed: a URL without names, passwords, and signed queries.

    >>> shown("https://me:secret@host/disk.vdi?signature=abc"), shown("disk.vdi")
    ('https://host/disk.vdi?…', 'disk.vdi')
    """
    if not is_url(argument) or not (found := _SECRET.match(argument)):
        return argument
    return f"{found[1]}{found[2].rpartition('@')[2]}{'?…' if found[3] else ''}"
