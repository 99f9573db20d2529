"""A container's root: the layers of an image or container put together, each storage driver by its own rules.

aufs hides a name below with a file ``.wh.NAME``, all of a directory with ``.wh..wh..opq`` in it; its other
``.wh..wh.`` files are its own. overlay and overlay2 hide a name with a character device 0/0, or an empty file
that has the attribute ``overlay.whiteout``; a directory with ``overlay.opaque`` hides all that is below it.
A directory that was moved says in ``overlay.redirect`` where it was; a file with ``overlay.metacopy`` has its
content below. vfs has whole copies.

Source: aufs(5) and Docker's pkg/archive/whiteouts.go; Linux, Documentation/filesystems/overlayfs.rst, and
fs/overlayfs/namei.c for how redirects are followed.
"""

from __future__ import annotations

import stat
from collections.abc import Iterator, Sequence

from b2dinspect.docker.facts import Layer
from b2dinspect.errors import EvidenceError, FilesystemError, NotFoundError
from b2dinspect.extraction.members import OVERLAY, Directories, Fault, Member, Twins, join
from b2dinspect.filesystems.ext4 import DirectoryEntry, Ext4, show
from b2dinspect.records import NamedTuple

MAX_REDIRECTS = 20_000
"""Directories that were moved, and are looked up below: each may lead to others, in every layer again."""
WHITEOUT, META, OPAQUE = b".wh.", b".wh..wh.", b".wh..wh..opq"


class LayerPart(NamedTuple):
    """What one layer has under a name.

    Attributes:
        level: Which layer: 0 is the top.
        entry: The name and its inode.
    """

    level: int
    entry: DirectoryEntry


class MergedName(NamedTuple):
    """A name as it is seen through all layers.

    Attributes:
        entry: The topmost, which counts.
        parts: Of a directory: what each layer has of it, top to bottom.
        body: Of a file whose content is in a lower layer: that.
        is_lost: Whether its content is in a layer that is not there.
    """

    entry: DirectoryEntry
    parts: tuple[LayerPart, ...] = ()
    body: DirectoryEntry | None = None
    is_lost: bool = False


class _Name:
    """A name while the layers are gone through.

    Attributes:
        top: The topmost entry; None for a name that is only hidden.
        parts: Of a directory, what each layer has of it.
        body: The content of a file whose ``top`` has only metadata.
        is_closed: Whether nothing below counts.
        is_metacopy: Whether ``top`` has only metadata.
        wants_body: Whether a lower layer is to give the content.
    """

    def __init__(self) -> None:
        self.top: DirectoryEntry | None = None
        self.parts: list[LayerPart] = []
        self.body: DirectoryEntry | None = None
        self.is_closed = self.is_metacopy = self.wants_body = False

    def close(self) -> None:
        """Let nothing below count."""
        self.is_closed, self.wants_body = True, False


class MergedLayers:
    """Layers of one storage driver, put together.

    Args:
        files: The filesystem that they are on.
        layers: Top to bottom.
        fault: Takes what is damaged, by its path in the container.
    """

    def __init__(self, files: Ext4, layers: Sequence[Layer], fault: Fault) -> None:
        self._files = files
        self._fault = fault
        self._redirects = 0
        whole = next((level for level, layer in enumerate(layers) if layer.is_whole), len(layers))
        self._layers = layers[: whole + 1]
        self._roots: list[LayerPart] = []
        for level, layer in enumerate(self._layers):
            try:
                entry = files.find(layer.path)
            except EvidenceError as error:
                fault(b"", FilesystemError(f"layer {layer.id[:12]}: {error}"))
                continue
            if entry.type == "directory":
                self._roots.append(LayerPart(level, entry))
            else:
                fault(b"", FilesystemError(f"layer {layer.id[:12]} is a {entry.type}, not a directory"))

    def root(self) -> MergedName:
        """Return the root directory.

        Raises:
            FilesystemError: There is no layer of it.
        """
        if not self._roots:
            raise FilesystemError("no layer of it is on this disk", layer="layers")
        return MergedName(self._roots[0].entry._replace(name=b""), tuple(self._roots))

    def find(self, path: bytes) -> MergedName:
        """Return what is at a path; symbolic links are not followed.

        Raises:
            NotFoundError: Nothing is there.
        """
        here, walked = self.root(), b""
        for name in [part for part in path.split(b"/") if part and part != b"."]:
            if name == b"..":
                raise NotFoundError(f"no way up: {show(path)} has a .. in it")
            if here.entry.type == "symlink":
                target = show(here.entry.node.link)
                raise NotFoundError(f"{show(walked)} is a symbolic link to {target}; links are not followed")
            found = self.names(here.parts, walked).get(name) if here.parts else None
            walked = join(walked, name)
            if found is None:
                raise NotFoundError(f"no {show(walked)} in it")
            here = found
        return here

    def names(self, parts: Sequence[LayerPart], path: bytes) -> dict[bytes, MergedName]:
        """Return what is seen in a directory, by name in order.

        Args:
            parts: The directory in each layer.
            path: Of it, for what is said of damage.
        """
        names: dict[bytes, _Name] = {}
        for part in parts:
            driver = self._layers[part.level].driver
            if driver == "aufs":
                is_opaque = self._aufs(part, names, path)
            elif driver in ("overlay", "overlay2") and not self._layers[part.level].is_whole:
                is_opaque = self._overlay(part, names, path, parts)
            else:
                is_opaque = False
                for entry in self._scan(part.entry, path):
                    self._add(names, LayerPart(part.level, entry))
            if is_opaque:
                break
        return {name: _seen(one.top, one) for name, one in sorted(names.items()) if one.top is not None}

    def members(self, top: MergedName, path: bytes = b"") -> Iterator[Member]:
        """Yield a file or directory and all below it: a directory before what is in it, names in order.

        Args:
            top: Where to begin.
            path: Its path.
        """
        twins, places = Twins(), Directories(self._fault)
        levels = [(iter([top]), path, True)]
        while levels:
            entries, prefix, is_top = levels[-1]
            found = next(entries, None)
            if found is None:
                levels.pop()
                continue
            entry = found.entry
            here = path if is_top else join(prefix, entry.name)
            if found.is_lost:
                self._fault(here, FilesystemError("its content is in a layer that is not on this disk"))
            elif not found.parts:
                yield twins.member(here, entry, self._files, found.body)._replace(is_layered=True)
            elif places.enter(here, entry.node.inode):
                yield Member(here, entry, self._files, is_layered=True)
                below = iter(self.names(found.parts, here).values())
                levels.append((below, here, False))

    def _scan(self, directory: DirectoryEntry, path: bytes) -> Iterator[DirectoryEntry]:
        for entry in self._files.scan(directory, lambda name, error: self._fault(join(path, name), error)):
            if b"/" in entry.name or b"\0" in entry.name or entry.name in (b".", b".."):
                self._fault(join(path, entry.name), FilesystemError("its name leads elsewhere"))
            else:
                yield entry

    def _add(self, names: dict[bytes, _Name], part: LayerPart) -> _Name:
        """Put what a layer has under what the layers above it have."""
        one = names.setdefault(part.entry.name, _Name())
        if one.is_closed:
            return one
        is_directory = part.entry.type == "directory"
        if one.top is None:
            one.top = part.entry
        if one.top.type == "directory" and is_directory:
            one.parts.append(part)
        else:
            one.is_closed = True
        return one

    def _aufs(self, part: LayerPart, names: dict[bytes, _Name], path: bytes) -> bool:
        """Add what an aufs layer has in a directory; return whether it hides all below."""
        is_opaque, hidden = False, []
        for entry in self._scan(part.entry, path):
            if entry.name == OPAQUE:
                is_opaque = True
            elif entry.name.startswith(META):
                continue
            elif entry.name.startswith(WHITEOUT):
                hidden.append(entry.name.removeprefix(WHITEOUT))
            else:
                self._add(names, LayerPart(part.level, entry))
        for name in hidden:
            names.setdefault(name, _Name()).close()
        return is_opaque

    def _overlay(
        self, part: LayerPart, names: dict[bytes, _Name], path: bytes, parts: Sequence[LayerPart]
    ) -> bool:
        """Add what an overlay layer has in a directory; return whether it hides all below."""
        opaque = self._attribute(part.entry, b"opaque", path)
        for entry in self._scan(part.entry, path):
            one = names.setdefault(entry.name, _Name())
            if is_whiteout(entry) or (opaque == b"x" and self._is_marked_whiteout(entry, path)):
                one.close()
            elif one.wants_body:
                self._take_body(one, entry, join(path, entry.name), part.level)
            elif not one.is_closed:
                self._add(names, LayerPart(part.level, entry))
                if entry.type == "directory":
                    self._follow_directory(one, entry, part, parts, path)
                elif entry is one.top and entry.type == "file":
                    here = join(path, entry.name)
                    one.is_metacopy = one.wants_body = self._attribute(entry, b"metacopy", here) is not None
                    if one.is_metacopy:
                        self._follow_file(one, entry, here, part.level)
        return opaque == b"y"

    def _take_body(self, one: _Name, entry: DirectoryEntry, path: bytes, level: int) -> None:
        """Take a lower file as the content of one that has only metadata, if it has content itself."""
        if entry.type != "file":
            one.close()
        elif self._attribute(entry, b"metacopy", path) is None:
            one.body = entry
            one.close()
        else:
            self._follow_file(one, entry, path, level)

    def _follow_file(self, one: _Name, entry: DirectoryEntry, path: bytes, level: int) -> None:
        """Take the content of a file with only metadata from where the file was before it was moved."""
        redirect = self._attribute(entry, b"redirect", path)
        if redirect:
            target = redirect if redirect.startswith(b"/") else join(path.rpartition(b"/")[0], redirect)
            below = self._below(level, target)
            if below and below.entry.type == "file" and not below.is_lost:
                one.body = below.body or below.entry
            one.close()

    def _follow_directory(
        self, one: _Name, entry: DirectoryEntry, part: LayerPart, parts: Sequence[LayerPart], path: bytes
    ) -> None:
        """Take what is below a directory that was moved from where it was."""
        redirect = self._attribute(entry, b"redirect", join(path, entry.name))
        if not redirect:
            return
        one.close()
        if redirect.startswith(b"/"):
            below = self._below(part.level, redirect)
        else:
            lower = [other for other in parts if other.level > part.level]
            below = self.names(lower, path).get(redirect)
        if below is None or below.entry.type != "directory":
            text = f"it was moved from {show(redirect)}, which is in no layer on this disk"
            self._fault(join(path, entry.name), FilesystemError(text))
        else:
            one.parts.extend(below.parts)

    def _below(self, level: int, path: bytes) -> MergedName | None:
        """Return what the layers below a level have at a path; None for nothing."""
        self._redirects += 1
        if self._redirects > MAX_REDIRECTS:
            if self._redirects == MAX_REDIRECTS + 1:
                text = (
                    f"more than {MAX_REDIRECTS} directories and files that were moved: no more are followed"
                )
                self._fault(path, FilesystemError(text))
            return None
        roots = tuple(root for root in self._roots if root.level > level)
        here: MergedName | None = MergedName(roots[0].entry, roots) if roots else None
        for name in [part for part in path.split(b"/") if part]:
            here = self.names(here.parts, path).get(name) if here and here.parts else None
        return here

    def capability(self, entry: DirectoryEntry) -> bytes | None:
        """Return the capabilities of a file; None for none, or none that can be read."""
        try:
            return self._files.xattrs(entry).get(b"security.capability")
        except EvidenceError:
            return None

    def _is_marked_whiteout(self, entry: DirectoryEntry, path: bytes) -> bool:
        return (
            entry.type == "file"
            and not entry.node.size
            and self._attribute(entry, b"whiteout", join(path, entry.name)) is not None
        )

    def _attribute(self, entry: DirectoryEntry, name: bytes, path: bytes) -> bytes | None:
        """Return one of overlay's attributes of a file; None when it has none."""
        try:
            found = self._files.xattrs(entry)
        except EvidenceError as error:
            self._fault(path, error)
            return None
        return next((found[space + name] for space in OVERLAY if space + name in found), None)


def _seen(top: DirectoryEntry, name: _Name) -> MergedName:
    if top.type == "directory":
        return MergedName(top, tuple(name.parts))
    return MergedName(top, (), name.body, name.is_metacopy and name.body is None)


def is_whiteout(entry: DirectoryEntry) -> bool:
    """Tell whether this is the character device 0/0, by which overlay hides a name."""
    return stat.S_ISCHR(entry.node.mode) and entry.node.device == (0, 0)
