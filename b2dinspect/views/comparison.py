"""Sets of keys from anywhere, and how two of them differ. Keys are matched by blob, never by text."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from b2dinspect.containers import FORMATS
from b2dinspect.errors import UsageError, UserdataError
from b2dinspect.evidence.chain import Rules, open_disk
from b2dinspect.evidence.file import Progress, about, open_evidence
from b2dinspect.inspection.facts import FoundKey, Inspection, Userdata
from b2dinspect.inspection.keys import key_file
from b2dinspect.inspection.walk import inspect_disk
from b2dinspect.machine.folder import open_machine
from b2dinspect.machine.naming import disk_named, machine_named
from b2dinspect.records import NamedTuple
from b2dinspect.source import SECTOR, ByteSource
from b2dinspect.userdata.authorized_keys import KeyLine, parse
from b2dinspect.userdata.private_key import is_private_key, public_line
from b2dinspect.userdata.tarball import AUTHORIZED_KEYS, AUTHORIZED_KEYS2, Tarball, is_header, read_tar

MAX_TEXT = 1 << 20
TAR_PADDING = 64 << 10
"""Bytes of zeros that may follow a tar in a file of its own; more, and the file is a disk."""


class Key(NamedTuple):
    """A key and where it is from.

    Attributes:
        origin: The file or layer that holds it.
        line: The line itself.
        derived: Computed from a private key, so that it has no comment to compare.
    """

    origin: str
    line: KeyLine
    derived: bool = False

    @property
    def match(self) -> tuple[bytes, bool]:
        """What makes two keys the same key: the plain blob, and whether it is a certificate."""
        key = self.line.key
        return (key.identity, key.certified) if key else (self.line.raw, False)


class KeySet(NamedTuple):
    """The keys of one side.

    Attributes:
        label: What the side is.
        keys: Lines that sshd would accept; of equal keys the first.
        broken: Lines that it would not.
        is_left_over: No guest reads them: they are the residue on a disk on which nothing decides.
    """

    label: str
    keys: tuple[Key, ...]
    broken: tuple[Key, ...] = ()
    is_left_over: bool = False


@dataclass(frozen=True, slots=True)
class Comparison:
    """How two sides differ."""

    left: KeySet
    right: KeySet
    same: list[tuple[Key, Key]] = field(default_factory=list)
    changed: list[tuple[Key, Key]] = field(default_factory=list)
    only_left: list[Key] = field(default_factory=list)
    only_right: list[Key] = field(default_factory=list)

    @property
    def differs(self) -> bool:
        """Whether anything but equal keys was found, or keys that let nobody in."""
        is_left_over = self.left.is_left_over or self.right.is_left_over
        return bool(self.changed or self.only_left or self.only_right or is_left_over)


def compare(left: KeySet, right: KeySet) -> Comparison:
    """Match the keys of two sides; ``changed`` are equal keys with other options or another comment."""
    result = Comparison(left, right)
    there = {key.match: key for key in right.keys}
    for key in left.keys:
        other = there.pop(key.match, None)
        if other is None:
            result.only_left.append(key)
        elif _is_same_line(key, other):
            result.same.append((key, other))
        else:
            result.changed.append((key, other))
    result.only_right.extend(there.values())
    return result


def _is_same_line(left: Key, right: Key) -> bool:
    if left.line.options != right.line.options:
        return False
    return left.derived or right.derived or left.line.comment == right.line.comment


def key_set(path: str, progress: Progress | None = None, rules: Rules | None = None) -> KeySet:
    """Return the keys of a disk image, authorized_keys or .pub file, private key, tar, or a machine's disk.

    A machine stands for its disk: the keys in its directory are the host's, and let nobody in by themselves.

    Raises:
        UsageError: There is nothing of that name, or a machine without a disk.
        EvidenceError: The file cannot be read as any of these.
    """
    if machine_named(path) is not None:
        return _machine_disk(path, rules, progress)
    with about(path), open_evidence(path, progress) as file:
        head = file.pread(0, MAX_TEXT)
        if is_private_key(head):
            return _joined(path, [Key(path, line, derived=True) for line in parse(public_line(head))])
        if is_header(head[:SECTOR]) and not _is_container(file):
            tar = read_tar(file)
            if file.size - tar.size <= TAR_PADDING:
                return _joined(path, list(_tar_keys(path, file, tar)))
        if file.size <= MAX_TEXT and b"\0" not in head:
            return _joined(path, [Key(path, line) for line in parse(head)])
    if path == "-":
        raise UsageError("standard input holds no keys; give a disk image by its name")
    return _disk_at(path, rules, progress)


def _is_container(file: ByteSource) -> bool:
    return any(known.probe(file).matched for known in FORMATS.values() if not known.is_last)


def _disk_at(path: str, rules: Rules | None, progress: Progress | None) -> KeySet:
    with about(path), open_disk(path, rules=rules, progress=progress) as opened:
        return disk_side(inspect_disk(opened.container, path, origin=opened.origin))


def _machine_disk(path: str, rules: Rules | None, progress: Progress | None) -> KeySet:
    named = disk_named(path)
    allowed = rules or Rules()
    allowed = allowed._replace(folders=(*allowed.folders, str(named.folder)))
    return _disk_at(named.path, allowed, progress)


def disk_side(facts: Inspection) -> KeySet:
    """Return the keys that decide who may log in to this disk's machine, or what is left of older ones.

    What a cut takes of a line, or a line that sshd passes over, is among the broken ones.

    Raises:
        UserdataError: The disk is damaged or incomplete, so that nobody can tell which keys were on it.
    """
    item = facts.effective or facts.of_source("residue")
    is_read = facts.data is not None and not (facts.data.volume.obstacle or facts.problems)
    if item is None and facts.state in ("damaged", "incomplete") and not is_read:
        raise UserdataError(f"no key can be read from this disk: {facts.reason}")
    found = [
        Key(f"{key.source} userdata: {key.file}", _as_the_guest_has_it(key))
        for key in facts.keys
        if key.tar is item
    ]
    if facts.effective or item is None:
        return _joined(facts.path, found)
    return _joined(f"{facts.path} (residue, which no guest reads)", found)._replace(is_left_over=True)


def _as_the_guest_has_it(key: FoundKey) -> KeyLine:
    line = key.line
    return line if key.is_accepted or line.error else line._replace(kind="broken", error=key.why_not)


def within_disk(facts: Inspection) -> Iterator[Comparison]:
    """Compare what one disk holds: the two key files with each other, and the original tar with today's."""
    item = facts.effective
    if item is not None:
        first, second = (_file_side(item, name) for name in (AUTHORIZED_KEYS, AUTHORIZED_KEYS2))
        if first and second:
            yield compare(first, second)
    for source in ("fresh", "residue"):
        other = facts.of_source(source)
        if other is not None and item is not None and other is not item:
            yield compare(
                _joined(f"{source} userdata", list(_userdata_keys(other))),
                _joined(f"{item.source} userdata", list(_userdata_keys(item))),
            )


def machine_sides(path: str, progress: Progress | None = None, rules: Rules | None = None) -> list[KeySet]:
    """Return the host's keys and the disk's keys of a machine, as far as they are there.

    Raises:
        UsageError: No machine, or neither is there.
    """
    folder = machine_named(path)
    if folder is None:
        raise UsageError(f"{path} is a file, no machine directory")
    machine = open_machine(folder)
    halves = (machine.keys.private, machine.keys.public)
    host = [key for half in halves if half and not half.file.error for key in _all_keys(half.file.path)]
    sides = [_joined(f"{path} (host)", host)] if host else []
    if machine.disk:
        sides.append(_machine_disk(path, rules, progress))
    return sides


def _all_keys(file: Path) -> tuple[Key, ...]:
    found = key_set(str(file))
    return (*found.keys, *found.broken)


def _userdata_keys(item: Userdata) -> Iterator[Key]:
    return _tar_keys(f"{item.source} userdata", item.content, item.tar)


def _tar_keys(label: str, content: ByteSource, tar: Tarball) -> Iterator[Key]:
    for name in (AUTHORIZED_KEYS, AUTHORIZED_KEYS2):
        if entry := tar.find(name):
            for line in parse(content.pread(entry.offset, min(entry.available, MAX_TEXT))):
                yield Key(f"{label}: {name.decode()}", line)


def _file_side(item: Userdata, name: bytes) -> KeySet | None:
    entry = item.tar.find(name)
    if entry is None:
        return None
    label = f"{item.source} {name.decode()}"
    return _joined(label, [Key(label, line) for line in parse(key_file(item, entry))])


def _joined(label: str, keys: list[Key]) -> KeySet:
    valid: dict[tuple[bytes, bool], Key] = {}
    for key in keys:
        if key.line.valid and key.line.kind == "key":
            valid.setdefault(key.match, key)
    return KeySet(label, tuple(valid.values()), tuple(key for key in keys if key.line.kind == "broken"))
