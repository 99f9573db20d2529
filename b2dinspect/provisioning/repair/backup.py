"""What was there before a repair in place: written and synced before the first byte changes, and put back."""

from __future__ import annotations

import base64
import hashlib
import json
import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NamedTuple

from b2dinspect.errors import SourceError, UsageError
from b2dinspect.newfile import NewFile, sync_folder

FORMAT = "b2dinspect backup"
VERSION = 1
MAX_SIZE = 1 << 30
MAX_FILE = 1 << 62
"""Bytes: no file is larger, and no offset in one."""


class Patch(NamedTuple):
    """A run of bytes of a file that is to be others.

    Attributes:
        offset: In the file.
        old: What is there; what a longer new content adds has no old bytes.
        new: What is to be there.
    """

    offset: int
    old: bytes
    new: bytes


class FileChange(NamedTuple):
    """Everything that is to change of one file.

    Attributes:
        path: The file.
        existed: Whether it is there.
        old_size: Its size in bytes.
        new_size: Its size afterwards.
        old_mode: Its permission bits.
        new_mode: Those afterwards.
        patches: Runs of bytes, by offset.
    """

    path: Path
    existed: bool
    old_size: int
    new_size: int
    old_mode: int
    new_mode: int
    patches: tuple[Patch, ...]


class NewImage(NamedTuple):
    """An image that takes the place of another one, which is kept under another name.

    Attributes:
        path: The image.
        kept: Where the old one goes.
        sha256: Of the new one.
    """

    path: Path
    kept: Path
    sha256: str

    @classmethod
    def of(cls, path: Path, kept: Path, new: NewFile) -> NewImage:
        """Return the exchange of an image for one that is written, but not yet in its place.

        Raises:
            UsageError: There is a kept one already.
        """
        if os.path.lexists(kept):
            raise UsageError(
                f"{kept} is there already, from an earlier repair: undo that one, or move the file away"
            )
        new.flush()
        return cls(path, kept, _sha256(new.temporary))


def keep_old(image: NewImage) -> None:
    """Give the old image the name that it is kept under. It keeps the other one too, where that can be.

    Raises:
        SourceError: It cannot be done.
    """
    try:
        try:
            os.link(image.path, image.kept)
        except OSError:  # a filesystem without hard links
            image.path.rename(image.kept)
    except OSError as error:
        raise SourceError(f"{image.path}: {error.strerror}") from error


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def write_backup(path: Path, changes: Sequence[FileChange | NewImage]) -> None:
    """Write down what is there now. Paths are kept relative to the backup's folder.

    Raises:
        UsageError: The backup exists, or lies where ``undo`` would not follow it to the files.
    """
    outside = [change.path for change in changes if _leaves(os.path.relpath(change.path, path.parent))]
    if outside:
        raise UsageError(f"{path}: a backup lies beside {outside[0]}, or in a folder above it")
    document = {
        "format": FORMAT,
        "version": VERSION,
        "files": [_described(change, path.parent) for change in changes],
    }
    with NewFile(path, mode=0o600) as file:
        file.pwrite(0, (json.dumps(document, indent=1) + "\n").encode())


def _described(change: FileChange | NewImage, folder: Path) -> dict[str, Any]:
    if isinstance(change, NewImage):
        return {
            "path": os.path.relpath(change.path, folder),
            "kept": os.path.relpath(change.kept, folder),
            "new_sha256": change.sha256,
        }
    return {
        "path": os.path.relpath(change.path, folder),
        "existed": change.existed,
        "size": change.old_size,
        "new_size": change.new_size,
        "mode": change.old_mode,
        "ranges": [
            {
                "offset": patch.offset,
                "old": base64.b64encode(patch.old).decode(),
                "length": len(patch.new),
                "new_sha256": hashlib.sha256(patch.new).hexdigest(),
            }
            for patch in change.patches
        ],
    }


def _leaves(name: str) -> bool:
    """Tell whether a name in a backup leads out of the backup's folder."""
    return Path(name).is_absolute() or ".." in Path(name).parts


def apply(change: FileChange) -> None:
    """Change one file as planned: a new or shorter one as a whole, bytes of an old one where they are.

    Raises:
        SourceError: It cannot be written.
    """
    try:
        if not change.existed:
            with NewFile(change.path, mode=change.new_mode) as file:
                for patch in change.patches:
                    file.pwrite(patch.offset, patch.new)
            return
        _patch(change.path, [(patch.offset, patch.new) for patch in change.patches], change.new_size)
        if change.new_mode != change.old_mode:
            change.path.chmod(change.new_mode)
    except OSError as error:
        raise SourceError(f"{change.path}: {error.strerror}") from error


def undo(path: Path) -> list[Path]:
    """Put back what a backup holds, and return the files. Nothing is touched unless all of it fits.

    Raises:
        SourceError: The backup cannot be read, or is none.
        UsageError: A file is not as the repair left it.
    """
    files = [_checked(path.parent, one) for one in _read(path)]
    for file, one in files:
        if "kept" in one:
            if (kept := path.parent / one["kept"]).exists():
                kept.replace(file)
                sync_folder(file.parent)
            continue
        if not one["existed"]:
            file.unlink(missing_ok=True)
            sync_folder(file.parent)
            continue
        pieces = [(one_range["offset"], base64.b64decode(one_range["old"])) for one_range in one["ranges"]]
        _patch(file, pieces, one["size"])
        file.chmod(one["mode"])
    return [file for file, _ in files]


def _read(path: Path) -> list[dict[str, Any]]:
    try:
        if path.stat().st_size > MAX_SIZE:
            raise SourceError(f"{path} is too large for a backup")
        document = json.loads(path.read_bytes())
        if document["format"] != FORMAT or document["version"] != VERSION:
            raise ValueError
        files: list[dict[str, Any]] = document["files"]
        for one in files:
            _check_shape(one)
    except OSError as error:
        raise SourceError(f"{path}: {error.strerror}") from error
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise SourceError(f"{path} is no backup of b2dprovision repair") from error
    return files


def _check_shape(one: dict[str, Any]) -> None:
    """Raise ValueError, KeyError or TypeError unless a file of a backup is such as ``_described`` makes."""
    if "kept" in one:
        _check_text(one["kept"], one["new_sha256"])
    else:
        _check_numbers(one["size"], one["new_size"], one["mode"])
        if not isinstance(one["existed"], bool) or one["mode"] > 0o777:
            raise ValueError
        for piece in one["ranges"]:
            _check_numbers(piece["offset"], piece["length"])
            _check_text(piece["new_sha256"])
            if piece["offset"] + len(base64.b64decode(piece["old"], validate=True)) > MAX_FILE:
                raise ValueError
    _check_text(one["path"])


def _check_numbers(*values: Any) -> None:
    if not all(type(value) is int and 0 <= value <= MAX_FILE for value in values):
        raise ValueError


def _check_text(*values: Any) -> None:
    for value in values:
        if not value or "\0" in value or os.fsencode(value) == b".":
            raise ValueError


def _checked(folder: Path, one: dict[str, Any]) -> tuple[Path, dict[str, Any]]:
    """Return a file of a backup when each of its ranges is as the repair left it, or still as before."""
    file = folder / one["path"]
    if _leaves(one["path"]):
        raise UsageError(f"{one['path']} is outside of the backup's folder")
    if "kept" in one:
        _check_kept(folder, file, one)
        return file, one
    if not one["existed"] and not file.exists():
        return file, one
    try:
        size = file.stat().st_size
        with file.open("rb") as opened:
            fits = size in (one["size"], one["new_size"]) and all(
                _is_known(opened.fileno(), piece, one["size"]) for piece in one["ranges"]
            )
    except OSError as error:
        raise SourceError(f"{file}: {error.strerror}") from error
    if not fits:
        raise UsageError(f"{file} was changed since the repair: it is not touched")
    return file, one


def _check_kept(folder: Path, file: Path, one: dict[str, Any]) -> None:
    """Refuse an image that was changed since it took the place of the old one."""
    if _leaves(one["kept"]):
        raise UsageError(f"{one['kept']} is outside of the backup's folder")
    try:
        is_as_left = not file.exists() or _sha256(file) == one["new_sha256"]
    except OSError as error:
        raise SourceError(f"{file}: {error.strerror}") from error
    if (folder / one["kept"]).exists() and not is_as_left:
        raise UsageError(f"{file} was changed since the repair: it is not touched")


def _is_known(fd: int, piece: dict[str, Any], old_size: int) -> bool:
    old = base64.b64decode(piece["old"])
    now = _read_at(fd, piece["offset"], max(piece["length"], len(old)))
    is_new = hashlib.sha256(now[: piece["length"]]).hexdigest() == piece["new_sha256"]
    return is_new or now[: len(old)] == old


def _read_at(fd: int, offset: int, length: int) -> bytes:
    os.lseek(fd, offset, os.SEEK_SET)
    data = b""
    while len(data) < length and (piece := os.read(fd, length - len(data))):
        data += piece
    return data


def _patch(path: Path, pieces: list[tuple[int, bytes]], size: int) -> None:
    with path.open("r+b") as file:
        for offset, data in pieces:
            file.seek(offset)
            file.write(data)
        file.truncate(size)
        file.flush()
        os.fsync(file.fileno())
