"""Which files may be opened because an image names them: regular ones below a root, and nothing else.

The names are the image's, and so its maker's. They are judged as text first: what lies outside by its name
is not even looked for. Paths are text here, since pathlib resolves no ".." as text.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterator

from b2dinspect.errors import EvidenceError, UsageError
from b2dinspect.evidence.urls import is_url


class RefusedError(EvidenceError):
    """A file that an image names and that is not read: says why."""

    layer = "chain"


class Roots:
    """The folders below which files may be opened.

    Args:
        path: The image that the user gave, whose folder is the first root; ``-`` and a URL have none.
        folders: More roots.

    Raises:
        UsageError: One of the folders is none.
    """

    def __init__(self, path: str, folders: tuple[str, ...]) -> None:
        for folder in folders:
            if not os.path.isdir(folder):
                raise UsageError(f"{folder} is not a folder")
        own = [] if path == "-" or is_url(path) else [os.path.dirname(os.path.abspath(path))]
        given = [*own, *(os.path.abspath(folder) for folder in folders)]
        self.folders = tuple(dict.fromkeys([*given, *(os.path.realpath(folder) for folder in given)]))
        self._names: dict[str, list[str]] = {}

    def resolve(self, path: str) -> str:
        """Return where a path really is.

        Raises:
            RefusedError: Not a regular file below a root.
        """
        path = os.path.normpath(path)
        if not self._holds(path):
            outside = RefusedError(f"{path} is outside of the image's folder, and its own was not allowed")
            raise outside.naming("folders")
        try:
            real = os.path.realpath(path)
        except (OSError, ValueError) as error:
            raise RefusedError("a name that no file can have") from error
        if not self._holds(real):
            raise RefusedError(f"{path} is a link to {real}, outside of the image's folder")
        try:
            mode = os.stat(real).st_mode
        except (OSError, ValueError) as error:
            raise RefusedError(f"{path} is not there") from error
        if not stat.S_ISREG(mode):
            raise RefusedError(f"{path} is not a regular file")
        return real

    def _holds(self, path: str) -> bool:
        return any(path.startswith(os.path.join(root, "")) for root in self.folders)

    def places(self, name: str, image: str) -> Iterator[str]:
        """Yield where a file may be that an image names, the likeliest place first.

        Args:
            name: As written in the image.
            image: Path of the image; "" when it is no file.

        Raises:
            RefusedError: It is no file name.
        """
        name = _plain(name)
        base = os.path.dirname(image)
        slashed = name.replace("\\", "/")
        if image or os.path.isabs(name):
            yield os.path.join(base, name)
            if slashed != name and os.path.sep == "/" and ":" not in name:
                yield os.path.join(base, slashed)
        if last := slashed.rsplit("/", 1)[-1].rsplit(":", 1)[-1]:
            for folder in self._folders_for(image):
                yield os.path.join(folder, last)

    def siblings(self, image: str, suffix: str, limit: int) -> Iterator[str]:
        """Yield files beside an image and in the roots whose names end so, of the first ``limit`` names."""
        for folder in self._folders_for(image):
            found = [name for name in self._names_in(folder, limit) if name.lower().endswith(suffix)]
            yield from (path for name in found if (path := os.path.join(folder, name)) != image)

    def _names_in(self, folder: str, limit: int) -> list[str]:
        """Return the first ``limit`` names of a folder, sorted; each folder is listed once."""
        if folder not in self._names:
            try:
                self._names[folder] = sorted(os.listdir(folder)[:limit])
            except OSError:
                self._names[folder] = []
        return self._names[folder]

    def _folders_for(self, image: str) -> tuple[str, ...]:
        return tuple(dict.fromkeys([*([os.path.dirname(image)] if image else []), *self.folders]))


def real_path(path: str) -> str:
    """Return where an image really is; "" for standard input, and on another machine."""
    return "" if path == "-" or is_url(path) else os.path.realpath(path)


def identity(path: str) -> object:
    """Return what tells a file from another one, whatever its name."""
    try:
        status = os.stat(path)
    except (OSError, ValueError):
        return path
    return (status.st_dev, status.st_ino) if status.st_ino else path


def _plain(name: str) -> str:
    """Return the name of a file, out of a file: URL if it is one.

    Raises:
        RefusedError: It is something else.
    """
    if not name or "\0" in name:
        raise RefusedError("a name that no file can have")
    if name.startswith("file:"):
        from urllib.parse import unquote, urlsplit

        try:
            found = urlsplit(name)
        except ValueError as error:
            raise RefusedError(f"{name} is no URL") from error
        if found.netloc not in ("", "localhost"):
            raise RefusedError(f"{name} is on another machine")
        return unquote(found.path)
    if name.startswith("json:") or "://" in name:
        raise RefusedError(f"{name} is no file name, but tells a program where to connect")
    return name
