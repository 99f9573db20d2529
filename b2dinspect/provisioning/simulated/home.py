"""The guest's home directory: a RAM disk in the guest, a private folder here.

What is unpacked into it comes from a disk: only plain files and folders, and never outside the home.
"""

from __future__ import annotations

import os
from pathlib import Path

from b2dinspect.records import NamedTuple
from b2dinspect.source import MemorySource
from b2dinspect.userdata.tarball import MAGIC, TarEntry, read_tar

MAX_CONTENT = 1 << 20
KEY_FILES = (".ssh/authorized_keys", ".ssh/authorized_keys2")
"""Where sshd looks for keys."""


class Unpacked(NamedTuple):
    """What ``tar xf userdata.tar -C /home/docker`` did.

    Attributes:
        names: What it made, as ``mode name``.
        complaint: What tar says, "" for nothing.
        entries: What it unpacked, for the modes that sshd looks at: this machine may keep others.
    """

    names: tuple[str, ...]
    complaint: str
    entries: tuple[TarEntry, ...] = ()


def unpack_home(userdata: bytes, home: Path) -> Unpacked:
    """Unpack a userdata tar, remove the marker file, and keep the rest to its owner.

    A cut file is unpacked as far as it goes and keeps mode 0600, as GNU tar 1.34 leaves it.
    """
    tar = read_tar(MemorySource(userdata))
    names, refused = [], []
    for entry in tar.entries:
        parts = [part for part in entry.name.split(b"/") if part not in (b"", b".")]
        if not parts or entry.name == MAGIC:
            continue
        if b".." in parts or entry.name.startswith(b"/") or entry.type not in ("file", "directory"):
            refused.append(entry.name)
            continue
        try:
            mode = _make(home.joinpath(*map(os.fsdecode, parts)), entry, userdata)
            names.append(f"{mode:04o} {entry.name.decode('utf-8', 'backslashreplace')}")
        except (OSError, ValueError):  # a name that no file can have, or one that something else has
            refused.append(entry.name)
    complaint = "tar: Unexpected EOF in archive" if tar.truncated else ""
    if not complaint and tar.trailer == "a lone zero block":
        complaint = "tar: A lone zero block at the end"
    if refused:
        complaint = f"not unpacked here, since no plain file of this home: {refused[0]!a}"
    return Unpacked(tuple(names), complaint, tar.entries)


def _make(path: Path, entry: TarEntry, userdata: bytes) -> int:
    """Make one file or folder, and return the mode that it has in the guest; here we can always read it."""
    if entry.type == "directory":
        path.mkdir(parents=True, exist_ok=True)
    else:
        path.parent.mkdir(parents=True, exist_ok=True)
        content = userdata[entry.offset : entry.offset + min(entry.available, MAX_CONTENT)]
        path.touch(mode=0o600)
        path.write_bytes(content)
    if not entry.missing:
        path.chmod((entry.mode & 0o777) | (0o700 if entry.type == "directory" else 0o600))
    return 0o600 if entry.missing else entry.mode & 0o777
