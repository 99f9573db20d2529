"""Opening a disk with all the files that it stands on: parents, extents, data files.

An image names its parent; whoever made the image chose that name. So a name is followed only to a regular
file below a *root*: the folder of the image that the user gave, or one given with ``--allow-chain``.
Everything else is refused and reported, unopened, and what it would have held is missing.

A name is tried as it is written; then by its last part alone, beside the image that has it and in each root,
since images are moved together. VDI keeps no names: its parent is searched in the same places by its UUID.
Given VirtualBox's NAME.vbox, the disk is the one that the machine writes to now. Given the first
piece of a disk that was cut into files, those beside it are joined to it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, TypeVar

from b2dinspect.containers import Container, Format, format_of
from b2dinspect.containers.base import ParentLink
from b2dinspect.errors import B2dError, SourceError, UsageError
from b2dinspect.evidence.file import Progress, open_evidence
from b2dinspect.evidence.ova import first_disk
from b2dinspect.evidence.pieces import FIRST, PieceName, behind, first_of, is_whole_image, named
from b2dinspect.evidence.roots import RefusedError, Roots, identity, real_path
from b2dinspect.findings import Finding
from b2dinspect.records import NamedTuple
from b2dinspect.source import ByteSource, Closing, FileSource, JoinedSource, Piece

MAX_DEPTH = 64
MAX_FILES = 4096
"""Files of one disk, parents and extents together."""
MAX_SEARCHED = 1000
"""Files of a folder that are looked at for a UUID."""

Loaded = TypeVar("Loaded")


class Rules(NamedTuple):
    """What the user allows.

    Attributes:
        folders: Where parents, extents and data files may be, beside the image's own folder.
        prefer_redundant: Read a VMDK through its redundant grain tables.
    """

    folders: tuple[str, ...] = ()
    prefer_redundant: bool = False


class LinkedFile(NamedTuple):
    """A further file of a disk.

    Attributes:
        role: ``parent``, ``extent``, ``data file`` or ``piece``.
        name: As written in the image, or the identity by which it was found.
        path: The file that was opened.
        format: Its container format; "" for what is no container.
        of: Path of the image that names it.
    """

    role: str
    name: str
    path: str
    format: str
    of: str


class OpenDisk(Closing):
    """A disk, and the files that stay open for it. A context manager; or call ``close()``.

    Attributes:
        path: As the user gave it.
        file: What the container was read from.
        origin: ``file``, ``block device``, ``gzip``, ``xz``, …, ``stream``, ``ova`` or ``pieces``.
        container: The disk.
        links: Its further files, nearest first.
    """

    container: Container

    def __init__(self, path: str, file: FileSource) -> None:
        self.path = path
        self.file: ByteSource = file
        self.origin = file.origin
        self.links: list[LinkedFile] = []
        self._files: list[FileSource] = [file]

    def keep(self, file: FileSource) -> None:
        """Close this file too when the disk is closed."""
        self._files.append(file)

    def close(self) -> None:
        """Close every file; closing twice is harmless."""
        for file in self._files:
            file.close()


def open_disk(
    path: str,
    format_name: str | None = None,
    *,
    rules: Rules | None = None,
    progress: Progress | None = None,
) -> OpenDisk:
    """Open an image and what it stands on; what is refused or not found is a finding of the container.

    Args:
        path: The image; ``-`` for standard input.
        format_name: Read it as this format.
        rules: What the user allows; without, only files in the image's own folder.
        progress: Told of unpacking.

    Raises:
        UsageError: No file, no such format, a folder of the rules that is none, or no redundant tables.
        SourceError: The image itself cannot be read.
        ContainerError: No disk can be made out of it.
    """
    file = open_evidence(path, progress)
    opened = OpenDisk(path, file)
    try:
        _Opener(opened, rules or Rules(), progress).open_top(file, format_name)
    except BaseException:
        opened.close()
        raise
    return opened


class _Opener:
    """Opens images and what they name, each file once, and collects what it opened and what it refused."""

    def __init__(self, opened: OpenDisk, rules: Rules, progress: Progress | None) -> None:
        self._opened = opened
        self._rules = rules
        self._progress = progress
        self._roots = Roots(opened.path, rules.folders)
        self._files: dict[object, FileSource] = {}
        self._identities: dict[str, str] = {}
        self._found: list[Finding] = []

    def open_top(self, file: FileSource, format_name: str | None) -> None:
        """Open the image that the user gave."""
        opened, path = self._opened, real_path(self._opened.path)
        if inner := first_disk(file):
            opened.file, opened.origin = inner.file, "ova"
            self._found += inner.findings
        elif file.origin == "file" and (piece := named(opened.path)):
            self._join(file, piece)
        if path.endswith(".vbox"):
            path = self._open_live(file, path)
        else:
            self._files[identity(path)] = file
        known = format_of(opened.file, format_name)
        if self._rules.prefer_redundant and "prefer_redundant" not in known.takes:
            raise UsageError("only a VMDK has redundant tables").naming("prefer_redundant")
        container = self._open(opened.file, known, path, (identity(path),))
        container.findings = (*self._found, *container.findings)
        opened.container = container

    def _open_live(self, file: FileSource, path: str) -> str:
        """Open the disk that VirtualBox's settings call the live one instead of them, and return its path.

        Raises:
            RefusedError: It is not there, or in another folder.
            SourceError: The settings cannot be read, or name no disk.
        """
        from b2dinspect.evidence.vbox import read_settings  # an image has none

        settings = read_settings(file)
        file.close()
        live = settings.live
        if live is None:
            raise SourceError("names no hard disk that is attached now", layer="VirtualBox settings")

        def load(place: str, real: str) -> str:
            with self._file_at(real) as self._opened.file:
                return real

        found = self._first(self._roots.places(live.location, path), load)
        text = f"the machine's disk is {live.location} now"
        if settings.stale:
            names = ", ".join(one.location for one in settings.stale)
            text += f"; {names} is stale: it has not changed since the snapshot"
        self._found.append(Finding("vbox-live", "info", text, None, "file"))
        return found

    def _join(self, file: FileSource, piece: PieceName) -> None:
        """Put the pieces behind the first one to it, when it is one; say so when it is a later one."""
        if first := first_of(piece):
            text = f"this is one piece of a disk: name the first, {first}, to read them all"
            self._found.append(Finding("piece-alone", "warning", text, 0, "file"))
            return
        pieces = [Piece(piece.other(piece.number), file.size, file)]
        for path, is_there in behind(piece, MAX_FILES) if piece.number in FIRST and file.size else ():
            source = self._try("piece", partial(self._piece, path, file)) if is_there else None
            if source is not None and (source.size > file.size or is_whole_image(file, source)):
                text = f"{path} is no piece of this disk, but an image by itself: not joined"
                self._found.append(Finding("pieces-not-joined", "info", text, None, "file"))
                return
            pieces.append(Piece(path, file.size, source))
        if len(pieces) == 1:
            return
        last = pieces[-1]
        if last.source is not None:
            pieces[-1] = last._replace(size=last.source.size)
        self._opened.file, self._opened.origin = JoinedSource(pieces), "pieces"
        self._opened.links += [
            LinkedFile("piece", one.name, one.name, "", pieces[0].name)
            for one in pieces[1:]
            if one.source is not None
        ]
        self._note_gaps(pieces)

    def _note_gaps(self, pieces: list[Piece]) -> None:
        offset = 0
        for one in pieces:
            there = one.source.size if one.source else 0
            if there < one.size:
                why = f"ends after {there} of {one.size} bytes" if one.source else "is not there"
                text = f"the piece {one.name} {why}: {one.size - there} bytes of the disk are missing"
                self._found.append(Finding("piece-missing", "error", text, offset + there, "file"))
            offset += one.size

    def _piece(self, path: str, first: FileSource) -> FileSource:
        with self._file_at(self._roots.resolve(path), unpacks=False) as file:
            if file is first:
                raise RefusedError(f"{path} is the first piece itself")
            return file

    def _open(self, file: ByteSource, known: Format, path: str, above: tuple[object, ...]) -> Container:
        """Return a container with all it stands on.

        What it stands on is written in it: it is read and surveyed once, and that is attached then.

        Args:
            file: The image.
            known: Its format.
            path: Its path; "" when it has none.
            above: Identities of this image and of all that stand on it.
        """
        given: dict[str, Any] = {
            "open_extent": lambda name: self._file("extent", name, path),
            "prefer_redundant": self._rules.prefer_redundant or None,
        }
        container = known.read(file, **given)
        name, link = container.data_file_name, container.parent_link
        data_file = self._try("data file", lambda: self._file("data file", name, path)) if name else None
        parent = self._try("parent", lambda: self._parent(link, known, path, above)) if link else None
        container.attach(parent=parent, data_file=data_file)
        return container

    def _try(self, role: str, load: Callable[[], ByteSource]) -> ByteSource | None:
        try:
            return load()
        except RefusedError as error:
            self._found.append(Finding("chain-refused", "error", f"{role}: {error.message}", None, "file"))
        except B2dError as error:
            self._found.append(Finding("chain-unreadable", "error", f"{role}: {error}", None, "file"))
        return None

    def _first(self, places: Iterator[str], load: Callable[[str, str], Loaded]) -> Loaded:
        """Return what is loaded from the first place, and the file that it really is, where that succeeds.

        Raises:
            RefusedError: It does nowhere; says why for each.
        """
        reasons: dict[str, str] = {}
        for place in places:
            real = place
            try:
                real = self._roots.resolve(place)
                if real not in reasons:
                    return load(place, real)
            except RefusedError as error:
                reasons[real] = error.message
            except B2dError as error:
                reasons[real] = f"{place}: {error}"
        where = ", ".join(self._roots.folders) or "no folder: none was allowed"
        raise RefusedError("; ".join(dict.fromkeys(reasons.values())) or f"not found in {where}")

    def _parent(self, link: ParentLink, child: Format, path: str, above: tuple[object, ...]) -> Container:
        if len(above) > MAX_DEPTH:
            raise RefusedError(f"the chain has more than {MAX_DEPTH} images")
        by_name = (place for name in link.names for place in self._roots.places(name, path))
        places = by_name if link.names else self._by_identity(link.identity, child, path)

        def load(place: str, real: str) -> Container:
            if identity(real) in above:
                raise RefusedError(f"{place} is the image itself, or one that stands on it")
            with self._file_at(real) as file:
                known = format_of(file, link.format)
                found = self._identities.get(place) or (known.identity(file) if link.identity else "")
                if found and found != link.identity:
                    raise RefusedError(f"{place} is another image (expected {link.identity}, found {found})")
                parent = self._open(file, known, real, (*above, identity(real)))
            self._note_parent(link, parent, real, path)
            return parent

        return self._first(places, load)

    def _note_parent(self, link: ParentLink, parent: Container, real: str, path: str) -> None:
        name = "; ".join(link.names) or link.identity
        self._opened.links.insert(0, LinkedFile("parent", name, real, parent.format, path))
        for one in parent.findings:
            where = "" if one.offset is None else f" (byte {one.offset} of that file)"
            message = f"parent {real}: {one.message}{where}"
            self._found.append(one._replace(message=message, offset=None))

    def _by_identity(self, wanted: str, known: Format, path: str) -> Iterator[str]:
        """Yield the images beside this one and in the roots that carry an identity."""
        for place in self._roots.siblings(path, f".{known.suffixes[0]}", MAX_SEARCHED):
            with suppress(B2dError):
                if self._identity_at(place, known) == wanted:
                    yield place

    def _identity_at(self, place: str, known: Format) -> str:
        """Return the identity in an image's headers, which are read once; "" when it has none."""
        if place not in self._identities:
            self._identities[place] = ""
            with open_evidence(self._roots.resolve(place), self._progress, is_resolved=True) as file:
                self._identities[place] = known.identity(file)
        return self._identities[place]

    def _file(self, role: str, name: str, path: str) -> FileSource:
        """Return a file that is no container by itself: an extent, or a data file."""

        def load(place: str, real: str) -> FileSource:
            if identity(real) == identity(path):
                raise RefusedError(f"{place} is the image itself")
            with self._file_at(real) as file:
                link = LinkedFile(role, name, real, "", path)
            if link not in self._opened.links:
                self._opened.links.append(link)
            return file

        return self._first(self._roots.places(name, path), load)

    @contextmanager
    def _file_at(self, real: str, *, unpacks: bool = True) -> Iterator[FileSource]:
        """Give a file, opened once; the disk keeps it, unless what is done with it here fails."""
        who = identity(real)
        if who in self._files:
            yield self._files[who]
            return
        if len(self._files) >= MAX_FILES:
            raise RefusedError(f"the disk has more than {MAX_FILES} files")
        file = open_evidence(real, self._progress, is_resolved=True, unpacks=unpacks)
        try:
            if file.origin in ("block device", "stream"):
                raise RefusedError(f"{real} is not a regular file")
            yield file
        except BaseException:
            file.close()
            raise
        self._files[who] = file
        self._opened.keep(file)
