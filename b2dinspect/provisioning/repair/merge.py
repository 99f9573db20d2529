"""Bringing an owner's key into a userdata.tar that holds other people's keys and files too.

Everything that is there stays: entries with their headers, lines with their options, bytes behind the end of
the tar. What does not fit into the bytes that a guest keeps is named, and goes only when it was named before.
"""

from __future__ import annotations

from collections.abc import Collection, Iterator, Sequence
from typing import Literal

from b2dinspect.errors import UsageError
from b2dinspect.provisioning.repair.members import Taken, TarMember, put_together, take_apart
from b2dinspect.records import NamedTuple
from b2dinspect.source import SECTOR
from b2dinspect.userdata.admission import Visit, refusal
from b2dinspect.userdata.authorized_keys import KeyLine, PublicKey, parse
from b2dinspect.userdata.tarball import AUTHORIZED_KEYS, AUTHORIZED_KEYS2, build_userdata, closed

KEY_FILES = (AUTHORIZED_KEYS, AUTHORIZED_KEYS2)
SET_ASIDE = b"# cut by the guest: "
"""Stands before a line of which the guest's cut left only the beginning: sshd reads it as a comment."""
NO_KEY = b"# no key: "
"""Stands before a line that sshd does not accept: it stays to be read, and is no fault any more."""
SHORTEST_PIECE = 40
"""Characters: a broken line of so many that is all in a whole one is a piece of that one."""
REST = "rest"
"""Names the bytes of the old tar that belong to no entry."""


class KeyChange(NamedTuple):
    """What becomes of one line of a key file.

    Attributes:
        what: ``restored`` when pieces of the line make place for the whole one, ``set aside``, as a
            comment, for a line that the guest's cut left unfinished, or that sshd does not accept.
        file: Of which file.
        sha256: Fingerprint; "" for a line that is no key.
        comment: Of the line; its beginning when it is no key.
        is_owner: Whether it is the owner's.
    """

    what: Literal["added", "kept", "restored", "set aside", "dropped"]
    file: str
    sha256: str
    comment: str
    is_owner: bool = False


class EntryChange(NamedTuple):
    """What becomes of one entry of the tar, with its size in bytes afterwards."""

    what: Literal["added", "kept", "changed", "mended", "dropped"]
    name: str
    size: int


class Lost(NamedTuple):
    """What a guest would not keep: the name by which to let it go, and what it is."""

    name: str
    text: str


class MergedTar(NamedTuple):
    """A tar as it is to be: its bytes, and what becomes of every line and every entry."""

    tar: bytes
    keys: tuple[KeyChange, ...]
    entries: tuple[EntryChange, ...]


class WouldLoseError(UsageError):
    """Something of the owner's, or of somebody else's, has no place beside what is to be written.

    Args:
        lost: What would go.
        why: What takes its place away.
    """

    def __init__(self, lost: Sequence[Lost], why: str) -> None:
        names = "; ".join(f"{one.name} ({one.text})" for one in lost)
        super().__init__(f"{why}, so this would be lost: {names}")
        self.lost = tuple(lost)


def merge(
    old: bytes | None,
    owner: bytes,
    *,
    drop: Collection[str] = (),
    limit: int | None = None,
    visit: Visit | None = None,
) -> MergedTar:
    """Return a userdata tar that lets in the owner and everybody whom the old one let in.

    Args:
        old: The tar that is there, as far as it is; None for none.
        owner: The owner's public key file: one authorized_keys line, or several.
        drop: Fingerprints of keys, and names of entries, that are to go.
        limit: Bytes that a guest will keep of the tar; None for all of them.
        visit: When and from where the owner logs in: a line that refuses the owner then does not count as the
            owner's. It stays; None to look at no time and no address.

    Raises:
        UsageError: What is to be dropped is not there, or is the owner's.
        WouldLoseError: The limit takes what ``drop`` does not name.
    """
    taken = take_apart(build_userdata(owner) if old is None else old)
    files = {member.plain_name: member for member in taken.members if _is_key_file(member)}
    lines = _Lines(files, owner, frozenset(drop), visit, at_front=limit is not None)
    members, entries = [], []
    for member in taken.members:
        name = visible_name(member)
        if name in drop:
            entries.append(EntryChange("dropped", name, 0))
            continue
        new = member
        if files.get(member.plain_name) is member:
            new = member._replace(content=lines.contents[member.plain_name], is_cut=False)
        if _is_key_file(member) or (member.type == "directory" and member.plain_name in (b"", b".ssh")):
            needs = 0o400 if _is_key_file(member) else 0o700  # or sshd (StrictModes) reads no key file
            new = new._replace(header=new.header[:-SECTOR] + closed(new.header[-SECTOR:], needs))
        members.append(new)
        entries.append(EntryChange(_what(member, new, old), name, len(new.content)))
    for member in _lacking(taken, files, lines, owner):
        members.append(member)
        entries.append(EntryChange("added", visible_name(member), len(member.content)))
    rest = b"" if REST in drop else taken.rest
    known = {one.name for one in entries} | {one.sha256 for one in lines.changes} | {REST}
    if unknown := sorted(set(drop) - known):
        raise UsageError(f"nothing called {unknown[0]} is in userdata.tar, so it cannot be dropped")
    tar = put_together(Taken(tuple(members), rest))
    if limit is not None and (lost := [*_lost(tar, limit, len(rest))]):
        raise WouldLoseError(lost, f"the guest keeps only {limit} bytes")
    changes = lines.changes
    if old is None:
        changes = [one._replace(what="added") for one in changes]
    return MergedTar(tar, tuple(changes), tuple(entries))


def visible_name(member: TarMember) -> str:
    """Return the name by which an entry is shown, and dropped."""
    return member.plain_name.decode("utf-8", "backslashreplace")


def _is_key_file(member: TarMember) -> bool:
    return member.type == "file" and member.plain_name in KEY_FILES


def _what(
    before: TarMember, after: TarMember, old: bytes | None
) -> Literal["added", "kept", "changed", "mended", "dropped"]:
    if old is None:
        return "added"
    if (before.content, before.header) != (after.content, after.header):
        return "changed"
    return "mended" if before.is_mended else "kept"


def _lacking(taken: Taken, files: dict[bytes, TarMember], lines: _Lines, owner: bytes) -> Iterator[TarMember]:
    """Yield the entries that a tar without a first key file needs."""
    if AUTHORIZED_KEYS in files:
        return
    names = {member.plain_name for member in taken.members}
    for member in take_apart(build_userdata(owner)).members:
        if member.plain_name == b".ssh" and b".ssh" not in names:
            yield member
        elif member.plain_name == AUTHORIZED_KEYS:
            yield member._replace(content=lines.contents[AUTHORIZED_KEYS])


class _Lines:
    """The key files, line by line: what they are to hold, and what becomes of each line.

    sshd reads both files, so that a key of one may be written into the other: nobody gains or loses by it.
    """

    def __init__(
        self,
        files: dict[bytes, TarMember],
        owner: bytes,
        drop: frozenset[str],
        visit: Visit | None,
        *,
        at_front: bool,
    ) -> None:
        self.changes: list[KeyChange] = []
        self.contents: dict[bytes, bytes] = {}
        self._drop, self._visit, self._at_front = drop, visit, at_front
        self._owners = _by_identity(owner)
        if any(_fingerprint(line) in drop for line in self._owners.values()):
            raise UsageError("the owner's own key is not dropped")
        self._whole = dict(self._owners)
        for member in files.values():
            for identity, line in _by_identity(member.content).items():
                if _fingerprint(line) not in drop:
                    self._whole.setdefault(identity, line)
        for name in dict.fromkeys((AUTHORIZED_KEYS, *sorted(files))):
            old = files.get(name)
            content, is_cut = (old.content, old.is_cut) if old else (b"", False)
            self.contents[name] = self._merged(name.decode(), content, is_cut)

    def _merged(self, file: str, content: bytes, is_cut: bool) -> bytes:
        rows = parse(content)
        before = [line.raw for line in rows]
        kept, pieces = [], set[bytes]()
        for line in rows:
            if line.valid and _fingerprint(line) in self._drop:
                self._note("dropped", file, line)
            elif line.kind != "broken":
                kept.append(line.raw)
                if line.valid:
                    self._note("kept", file, line)
            elif (identity := self._piece_of(line, is_last=line is rows[-1] and is_cut)) is not None:
                pieces.add(identity)
            else:
                kept.append((SET_ASIDE if is_cut and line is rows[-1] else NO_KEY) + line.raw)
                self._note("set aside", file, line)
        present = _by_identity(b"\n".join(kept), self._owners, self._visit)
        for identity, line in self._whole.items():
            if identity not in present:
                self._note("restored" if identity in pieces else "added", file, line)
        new = [line.raw for identity, line in self._whole.items() if identity not in present]
        if kept == before and not new:
            return content
        at = 0 if self._at_front else len(kept)
        return b"\n".join((*kept[:at], *new, *kept[at:], b""))

    def _piece_of(self, line: KeyLine, *, is_last: bool) -> bytes | None:
        """Return the identity of the whole line that a broken one is a piece of."""
        text = line.raw.strip()
        for identity, whole in self._whole.items():
            if is_last and whole.raw.startswith(text) and len(text) > len(whole.type):
                return identity
            if len(text) >= SHORTEST_PIECE and text in whole.raw and _is_telling(text, whole):
                return identity
        return None

    def _note(
        self, what: Literal["added", "kept", "restored", "set aside", "dropped"], file: str, line: KeyLine
    ) -> None:
        if line.key is None or not line.valid:
            text = line.raw[:SHORTEST_PIECE].decode("utf-8", "backslashreplace")
            self.changes.append(KeyChange(what, file, "", text))
        else:
            is_owner = line.key.identity in self._owners
            self.changes.append(KeyChange(what, file, line.key.sha256, line.comment, is_owner))


def _is_telling(text: bytes, whole: KeyLine) -> bool:
    """Tell whether a piece holds more than what every key of its kind and size begins with."""
    return len(text.removeprefix(whole.type.encode()).strip()) > SHORTEST_PIECE


def _fingerprint(line: KeyLine) -> str:
    return line.key.sha256 if line.key else ""


def _by_identity(
    content: bytes, judged: Collection[bytes] = (), visit: Visit | None = None
) -> dict[bytes, KeyLine]:
    """Return the lines of a key file that let a plain key in, by the key; some judged for one visit."""
    return {
        line.key.identity: line
        for line in parse(content)
        if line.valid
        and isinstance(line.key, PublicKey)
        and not any(option.name == "cert-authority" for option in line.options)
        and not (visit and line.key.identity in judged and refusal(line, visit))
    }


def _lost(tar: bytes, limit: int, rest: int) -> Iterator[Lost]:
    """Yield what a guest that keeps only so many bytes of a tar loses, but for second copies."""
    whole, kept = take_apart(tar), take_apart(tar[:limit])
    left = {
        identity
        for member in kept.members
        if _is_key_file(member)
        for identity in _by_identity(member.content)
    }
    keys = {
        identity: line
        for member in whole.members
        if _is_key_file(member)
        for identity, line in _by_identity(member.content).items()
    }
    for identity, line in keys.items():
        if identity not in left:
            yield Lost(_fingerprint(line), f"a key, {line.comment}" if line.comment else "a key")
    names = {(member.name, len(member.content)) for member in kept.members}
    for member in whole.members:
        if not _is_key_file(member) and (member.name, len(member.content)) not in names:
            yield Lost(visible_name(member), f"an entry of {len(member.content)} bytes")
    if rest and len(tar) > limit:
        yield Lost(REST, f"{rest} bytes that belong to no entry")
