"""How a key's path is told to ssh, which reads more into a path than the system does.

Sources: OpenSSH, ssh.c (``-i`` looks for the file by the name as it stands, and then expands it), and
ssh_config(5), TOKENS and ENVIRONMENT VARIABLES: ``%%`` is a percent sign, ``${`` cannot be written.
"""

from __future__ import annotations

import os


def quoted(path: str) -> str:
    """Return a path as one word of ssh_config."""
    text = path.replace("%", "%%").replace("\\", "\\\\").replace('"', '\\"')
    return f'"{text}"'


def is_tellable(path: str) -> bool:
    """Tell whether there is a way to write a path so that ssh opens that file."""
    return "${" not in path


def identity_words(path: str) -> tuple[str, ...]:
    """Return the arguments that name a private key; nothing when no way to write its path is known.

    >>> identity_words("a b/id_rsa")
    ('-i', 'a b/id_rsa')
    >>> identity_words("100%/id_rsa")
    ('-o', 'IdentityFile="100%%/id_rsa"')
    """
    if not is_tellable(path):
        path = os.path.relpath(path)
    if not is_tellable(path):
        return ()
    return ("-o", f"IdentityFile={quoted(path)}") if "%" in path else ("-i", path)
