"""Who could log in with which key: which key lines on a disk the guest's sshd would read at the next login.

At every boot the guest unpacks one userdata.tar into the home directory, and sshd reads both files that are
its default, ``.ssh/authorized_keys`` and ``.ssh/authorized_keys2`` (OpenSSH, ``servconf.c``). What a cut tar
holds of a file is unpacked all the same, by GNU tar and busybox tar: each line that is whole before the cut
counts, and a cut in the comment loses nothing.

What hangs on more than the line, its time, the client's address and the modes of the files, is judged by
``userdata.admission`` for one visit, which every reason names.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from b2dinspect.guests import PROFILES, GuestProfile, profile_named
from b2dinspect.inspection.facts import Choice, FoundKey, Inspection, Userdata
from b2dinspect.inspection.keys import KEY_FILES, kept_file, key_file, key_lines
from b2dinspect.units import listed
from b2dinspect.userdata.admission import Owner, Visit, mode_fault, proviso, refusal
from b2dinspect.userdata.authorized_keys import KeyLine, PublicKey, parse
from b2dinspect.userdata.tarball import GUEST_KEEPS

_NAMES = [one.name for one in PROFILES]


def judge(
    userdata: Sequence[Userdata],
    choices: Sequence[Choice],
    guest: str,
    visit: Visit,
    has_old_layout: bool = False,
) -> tuple[FoundKey, ...]:
    """Return every key line with whether it is in force, and if not, why.

    Args:
        userdata: All tars found.
        choices: What each generation would do with the disk.
        guest: The generation whose disk it is; any other name when that is not known: then a line is in force
            only if it is for all generations.
        visit: When and from where somebody logs in.
        has_old_layout: Whether the data partition has a directory ``vm``.
    """
    asked = [one for one in choices if one.guest == guest] or [*choices]
    guests = [one for one in PROFILES if guest not in _NAMES or one.name == guest]
    return tuple(
        key
        for item in userdata
        for key in _of_tar(item, _why_not_unpacked(item, userdata, asked, has_old_layout), guests, visit)
    )


def owner_of(guest: GuestProfile) -> Owner:
    """Return to whom a guest gives what it unpacks."""
    return Owner(*guest.owner[2:], guest.owns)


def in_force(facts: Inspection) -> tuple[FoundKey, ...]:
    """Return the key lines that let somebody in at the next login."""
    return tuple(key for key in facts.keys if key.in_force)


def deciding_keys(facts: Inspection, file: bytes | None = None) -> tuple[PublicKey, ...]:
    """Return the keys that sshd would accept from the tar that decides, or from one file of it.

    They are in force, or would be if the guest got to that tar: ``FoundKey.why_not`` tells what is between.
    """
    return tuple(
        key.line.key
        for key in facts.keys
        if key.tar is facts.effective
        and key.is_accepted
        and key.line.key is not None
        and file in (None, key.file.encode())
    )


def lets_in(facts: Inspection, identity: bytes) -> bool:
    """Tell whether the key with this plain blob is among those that decide."""
    return any(key.identity == identity for key in deciding_keys(facts))


def refusal_of(facts: Inspection, identity: bytes) -> str:
    """Return why sshd refuses a key that the deciding tar holds in a sound line; "" when it does not."""
    of_key = (key for key in facts.keys if key.tar is facts.effective and key.line.key and key.refusal)
    return next((key.refusal for key in of_key if key.line.key and key.line.key.identity == identity), "")


def _why_not_unpacked(
    item: Userdata, userdata: Sequence[Userdata], choices: Sequence[Choice], has_old_layout: bool
) -> str:
    """Return which guests do not unpack that tar at their next boot, and why; "" when all do."""
    reasons: dict[str, list[str]] = {}
    for choice in choices:
        path = profile_named(choice.guest).userdata_path(has_old_layout)
        unpacked = _unpacked(userdata, choice, path)
        if unpacked is not item:
            reasons.setdefault(_instead(choice, unpacked, path), []).append(choice.guest)
    return "; ".join(f"{listed(guests)} {reason}" for reason, guests in reasons.items())


def _unpacked(userdata: Sequence[Userdata], choice: Choice, path: str) -> Userdata | None:
    """Return the tar that a guest has in the end; ``path`` is where it looks on a data partition."""
    if choice.fails or choice.action == "leave":
        return None
    if choice.action == "mount":
        return next((one for one in userdata if one.volume is choice.volume and one.path == path), None)
    at_start = (one for one in userdata if one.volume is None and one.virtual_offset == 0)
    return next(at_start, None) if choice.keeps_userdata else None


def _instead(choice: Choice, unpacked: Userdata | None, path: str) -> str:
    if choice.fails:
        return f"would {choice.action}, and fail: {choice.fails}"
    if choice.action == "leave":
        return f"would not take this disk: {choice.reason}"
    if choice.action == "format":
        kept = "unpack the tar at its start" if choice.keeps_userdata else "keep no tar"
        return f"would FORMAT the disk and {kept}"
    if unpacked is None:
        return f"would mount a partition without {path}"
    place = unpacked.volume.partition.place if unpacked.volume else "the disk"
    return f"would unpack {unpacked.path} of {place}"


def _of_tar(item: Userdata, why_not: str, guests: Sequence[GuestProfile], visit: Visit) -> Iterator[FoundKey]:
    for name in KEY_FILES:
        lost, closed = _lost_lines(item, name), _closed_file(item, name, guests)
        for line in key_lines(item, name):
            fault = lost.get(line.number, "") or (f"sshd passes it over: {line.error}" if line.error else "")
            refused = "" if fault else closed or refusal(line, visit)
            why = fault or refused or why_not
            yield FoundKey(
                item, name.decode(), line, not (fault or refused), not why, why, refused, proviso(line)
            )


def _closed_file(item: Userdata, name: bytes, guests: Sequence[GuestProfile]) -> str:
    """Return why sshd would not read a key file at all, and in which guests; "" when it would in all."""
    entries = (item.kept or item.tar).entries
    reasons: dict[str, list[str]] = {}
    for guest in guests:
        if reason := mode_fault(entries, name, owner_of(guest)):
            reasons.setdefault(reason, []).append(guest.name)
    is_common = len(reasons) == 1 and next(iter(reasons.values())) == [one.name for one in guests]
    return "; ".join(
        reason if is_common else f"in {listed(names)} {reason}" for reason, names in reasons.items()
    )


def _lost_lines(item: Userdata, name: bytes) -> dict[int, str]:
    """Return the lines that a cut takes, by number, and how."""
    entry = item.tar.find(name)
    if entry is None:
        return {}
    whole, kept = key_file(item, entry), kept_file(item, name)
    if kept is not None and len(kept) < len(whole):
        left = {line.number: line for line in parse(kept)}
        cut = f"the guest keeps only {GUEST_KEEPS} bytes of the tar, which end before this line does"
        return {one.number: cut for one in parse(whole) if not _is_same(one, left.get(one.number))}
    if entry.missing and whole and (last := parse(whole)[-1]).kind == "broken":
        return {last.number: f"the tar was cut within this line: {last.error}"}
    return {}


def _is_same(line: KeyLine, other: KeyLine | None) -> bool:
    """Tell whether sshd sees the same in both lines: it reads no comment."""
    if line.kind != "key" or other is None:
        return line.kind != "key"
    return (line.key, line.options) == (other.key, other.options) and other.valid
