"""What was there before a repair in place: written and synced before the first byte changes, and put back."""

from __future__ import annotations

import base64
import hashlib
import itertools
import json
import os
from collections.abc import Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from b2dinspect.errors import SourceError, UsageError
from b2dinspect.newfile import NewFile
from b2dinspect.provisioning.disk.claims import claim
from b2dinspect.provisioning.repair.place import HostFolder, read_at, write_at
from b2dinspect.records import NamedTuple

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
    def of(cls, path: Path, ending: str, new: NewFile) -> NewImage:
        """Return the exchange of an image for one that is written, but not yet in its place.

        The old one is kept under its name and ``ending``; those that earlier repairs kept stay, too.
        """
        numbers = itertools.chain([""], (f".{number}" for number in itertools.count(2)))
        names = (path.with_name(f"{path.name}{number}{ending}") for number in numbers)
        new.flush()
        return cls(path, next(one for one in names if not os.path.lexists(one)), _sha256(new.temporary))


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
    is_whole = not change.existed or _is_whole([patch.old for patch in change.patches], change.old_size)
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
                # what is written in place may be half written; of a new key no copy is left here
                **({} if is_whole else {"new": base64.b64encode(patch.new).decode()}),
            }
            for patch in change.patches
        ],
    }


def _leaves(name: str) -> bool:
    """Tell whether a name in a backup leads out of the backup's folder."""
    return Path(name).is_absolute() or ".." in Path(name).parts


def check(change: FileChange, place: HostFolder) -> None:
    """Make sure that a file is what it was when the change was planned.

    Raises:
        UsageError: It is not, or it is a link.
        SourceError: It cannot be read.
    """
    name = os.path.relpath(change.path, place.base)
    changed = UsageError(f"{change.path} has changed since it was looked at: nothing is written")
    if not change.existed:
        if place.exists(name):
            raise changed
        return
    try:
        fd = place.open(name)
    except FileNotFoundError:
        raise changed from None
    try:
        if os.fstat(fd).st_size != change.old_size:
            raise changed
        if any(read_at(fd, patch.offset, len(patch.old)) != patch.old for patch in change.patches):
            raise changed
    finally:
        os.close(fd)


def apply(change: FileChange, place: HostFolder | None = None) -> None:
    """Change one file as planned: a small one is replaced at once, in an image bytes are written.

    Args:
        change: The plan.
        place: Where nobody else changes files; by default the file's folder, which is one of ours.

    Raises:
        UsageError: It is a link, or somebody else has it open.
        SourceError: It cannot be written.
    """
    with HostFolder(change.path.parent, is_ours=True) if place is None else nullcontext(place) as place:
        name = os.path.relpath(change.path, place.base)
        pieces = [(patch.offset, patch.new) for patch in change.patches]
        is_whole = not change.existed or _is_whole([patch.old for patch in change.patches], change.old_size)
        _put(place, name, pieces, is_whole=is_whole, existed=change.existed, mode=change.new_mode)


def _is_whole(old: Sequence[bytes], size: int) -> bool:
    """Tell whether the ranges of a file are all of it."""
    return len(old) == 1 and len(old[0]) == size


def _put(
    place: HostFolder, name: str, pieces: list[tuple[int, bytes]], *, is_whole: bool, existed: bool, mode: int
) -> None:
    """Write a file, or some bytes of it, and set its mode."""
    try:
        if not existed:
            place.write(name, b"".join(data for _, data in pieces), mode, None)
            return
        fd = place.open(name, os.O_RDWR if pieces and not is_whole else os.O_RDONLY)
        try:
            if pieces and is_whole:
                place.write(name, pieces[0][1], mode, os.fstat(fd))
                return
            if pieces:
                claim(fd, place.base / name)
                for offset, data in pieces:
                    write_at(fd, offset, data)
                os.fsync(fd)
            if os.fstat(fd).st_mode & 0o777 != mode:
                place.chmod(fd, name, mode)
        finally:
            os.close(fd)
    except OSError as error:
        raise SourceError(f"{place.base / name}: {error.strerror}") from error


def undo(path: Path) -> list[Path]:
    """Put back what a backup holds, and return the files. Nothing is touched unless all of it fits.

    Raises:
        SourceError: The backup cannot be read, or is none; or a file cannot be read or written.
        UsageError: A file is not as the repair left it, nor as it was, nor anything between; or it is a link.
    """
    files = _read(path)
    with HostFolder(path.parent) as place:
        for one in files:
            _check_left(place, one)
        for one in files:
            _put_back(place, one)
    return [path.parent / one["path"] for one in files]


def _put_back(place: HostFolder, one: dict[str, Any]) -> None:
    name = one["path"]
    try:
        if "kept" in one:
            if place.exists(one["kept"]):
                place.rename(one["kept"], name)
        elif not one["existed"]:
            place.remove(name)
        else:
            old = [base64.b64decode(piece["old"]) for piece in one["ranges"]]
            pieces = list(zip([piece["offset"] for piece in one["ranges"]], old, strict=True))
            is_whole = _is_whole(old, one["size"])
            _put(place, name, pieces, is_whole=is_whole, existed=True, mode=one["mode"])
    except OSError as error:
        raise SourceError(f"{place.base / name}: {error.strerror}") from error


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
            base64.b64decode(piece.get("new", ""), validate=True)
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


def _check_left(place: HostFolder, one: dict[str, Any]) -> None:
    """Refuse a file that is neither as the repair left it, nor as before, nor what a kill makes between."""
    name = one["path"]
    for path in (name, one.get("kept", name)):
        if _leaves(path):
            raise UsageError(f"{path} is outside of the backup's folder")
    try:
        if "kept" in one:
            fits = not place.exists(one["kept"]) or not place.exists(name) or _is_image(place, one)
        else:
            fits = _fits(place, one)
    except OSError as error:
        raise SourceError(f"{place.base / name}: {error.strerror}") from error
    if not fits:
        raise UsageError(f"{place.base / name} was changed since the repair: it is not touched")


def _is_image(place: HostFolder, one: dict[str, Any]) -> bool:
    """Tell whether an image is the new one, or still the old one, of which the kept one is another name."""
    new, kept = place.open(one["path"]), place.open(one["kept"])
    with os.fdopen(new, "rb") as file, os.fdopen(kept, "rb") as old:
        if os.path.samestat(os.fstat(file.fileno()), os.fstat(old.fileno())):
            return True
        return hashlib.file_digest(file, "sha256").hexdigest() == str(one["new_sha256"])


def _fits(place: HostFolder, one: dict[str, Any]) -> bool:
    name = one["path"]
    if not one["existed"] and not place.exists(name):
        return True
    fd = place.open(name)
    try:
        size = os.fstat(fd).st_size
        if size in (one["size"], one["new_size"]) and all(_is_known(fd, piece) for piece in one["ranges"]):
            return True
        # older repairs wrote small files in place: what a full disk left of one is its beginning
        old = [base64.b64decode(piece["old"]) for piece in one["ranges"]]
        return _is_whole(old, one["size"]) and old[0].startswith(read_at(fd, 0, size + 1))
    finally:
        os.close(fd)


def _is_known(fd: int, piece: dict[str, Any]) -> bool:
    """Tell whether a range is new or old, or new up to somewhere and old from there on."""
    old = base64.b64decode(piece["old"])
    now = read_at(fd, piece["offset"], max(piece["length"], len(old)))
    is_new = hashlib.sha256(now[: piece["length"]]).hexdigest() == piece["new_sha256"]
    if is_new or now[: len(old)] == old:
        return True
    new = base64.b64decode(piece.get("new", ""))
    if not len(new) == len(old) == len(now):
        return False
    return all(byte in pair for byte, *pair in zip(now, old, new, strict=True))
