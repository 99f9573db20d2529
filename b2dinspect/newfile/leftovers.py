"""What a killed run has left behind: named by the next one, and removed when somebody says so."""

from __future__ import annotations

import os
from pathlib import Path

from b2dinspect.errors import SourceError
from b2dinspect.newfile import sync_folder
from b2dinspect.newfile.hold import OLD, PART, SCRATCH_NAME, is_held, named_in, remove_folder
from b2dinspect.records import NamedTuple


class Leftover(NamedTuple):
    """Something that nobody works on any more.

    Attributes:
        path: Where it is.
        belongs: The path that it is the only copy of, since a kill came between two renames; None for what
            was unfinished, or has been replaced.
    """

    path: Path
    belongs: Path | None


def leftovers(folder: Path) -> list[Leftover]:
    """Return what killed runs have left in a folder, by name. It is not looked into folders below."""
    try:
        paths = sorted(folder.iterdir())
    except OSError:
        return []
    return [found for path in paths if (found := _leftover(path)) and not _is_held(found.path)]


def scratch_leftovers() -> list[Leftover]:
    """Return this user's work folders, with keys in them, that killed runs left among temporary files.

    The doctor's, of a machine that was unpacked, are of them.
    """
    import tempfile  # slow to import, and seldom needed

    place = Path(tempfile.gettempdir())
    mine = os.getuid() if hasattr(os, "getuid") else None
    return [
        Leftover(path, None)
        for path in sorted(place.iterdir())
        if SCRATCH_NAME.fullmatch(path.name)
        and path.is_dir()
        and not path.is_symlink()
        and (mine is None or path.stat().st_uid == mine)
        and not is_held(path)
    ]


def _leftover(path: Path) -> Leftover | None:
    if PART.fullmatch(path.name) and not path.is_symlink():
        return Leftover(path, None)
    if found := OLD.fullmatch(path.name):
        final = path.with_name(found["name"])
        return Leftover(path, None if os.path.lexists(final) else final)
    return None


def _is_held(path: Path) -> bool:
    namer = named_in(path)
    return is_held(path) or (namer is not None and is_held(namer))


def _twins(path: Path) -> list[Path]:
    """Return the other names that a file has in its folder."""
    one = path.lstat()
    with os.scandir(path.parent) as entries:
        return [
            Path(entry.path)
            for entry in entries
            if entry.name != path.name
            and not entry.is_symlink()
            and os.path.samestat(one, entry.stat(follow_symlinks=False))
        ]


def sweep(found: Leftover) -> None:
    """Remove what was left behind; but what is the only copy of something gets its name back.

    Raises:
        SourceError: It cannot be removed or renamed.
    """
    try:
        if found.belongs is not None:
            found.path.rename(found.belongs)
        elif (namer := named_in(found.path)) is not None:
            if namer.exists():  # which has not got its name: what it names is nobody's
                for twin in _twins(found.path):
                    twin.unlink()
            found.path.unlink(missing_ok=True)
        elif found.path.is_dir() and not found.path.is_symlink():
            remove_folder(found.path)
            if found.path.exists():
                raise SourceError(f"{found.path}: not all of it can be removed")
        else:
            found.path.unlink(missing_ok=True)
    except OSError as error:
        raise SourceError(f"{found.path}: {error.strerror}") from error
    sync_folder(found.path.parent)
