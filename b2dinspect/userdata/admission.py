"""Whether sshd lets somebody in by a line of ``authorized_keys``: what hangs on more than the line.

A line that sshd accepts can still refuse everybody who comes too late (``expiry-time``) or from elsewhere
(``from``), and sshd reads no file that others could have written (StrictModes, its default; boot2docker and
minikube leave it on). Options that only bound what one may do, like ``command``, ``restrict`` or ``tunnel``,
let in.

The facts come from OpenSSH (``auth2-pubkeyfile.c``, ``addrmatch.c``, ``match.c``, ``misc.c``) and were tried
on sshd 9.2. An older one knows fewer options, and passes over a line with one that it does not know: see
:func:`proviso`. boot2docker and minikube set ``UseDNS no``, so a client has no name but its address.
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from b2dinspect.records import NamedTuple
from b2dinspect.userdata.authorized_keys import KeyLine
from b2dinspect.userdata.tarball import TarEntry, plain_name

HOST_ADDRESS = "10.0.2.2"
"""The host, as a guest sees it behind VirtualBox's NAT (by which docker-machine logs in) or QEMU's."""
MAX_PATTERN = 1023
"""Characters of one pattern of a list; a longer one ends the search (match.c)."""
OTHERS_WRITE = 0o022
SSH_FOLDER = b".ssh"


class Visit(NamedTuple):
    """When and from where somebody comes.

    Attributes:
        at: Seconds since 1970, UTC.
        address: IPv4 or IPv6 address, as sshd sees it.
    """

    at: int
    address: str = HOST_ADDRESS


class Owner(NamedTuple):
    """Whose home a guest makes it, when the tar is unpacked.

    Attributes:
        uid: The user.
        gid: The user's group.
        below: What ``chown -R`` gets, from the home: b"" for all of it.
    """

    uid: int
    gid: int
    below: bytes = b""


def refusal(line: KeyLine, visit: Visit) -> str:
    """Return why a line that sshd accepts does not let its key in; "" when it does."""
    if "cert-authority" in _names(line):
        return "it lets in no key itself, only certificates that this key has signed (cert-authority)"
    return _out_of_bounds(line, visit)


def signs(line: KeyLine, visit: Visit) -> bool:
    """Tell whether a line lets in whoever has a certificate that its key has signed."""
    return "cert-authority" in _names(line) and not _out_of_bounds(line, visit)


def _out_of_bounds(line: KeyLine, visit: Visit) -> str:
    """Return why a line lets nobody in at that time or from that address; "" when it does."""
    values: dict[str, list[str]] = {}
    for option in line.options:
        values.setdefault(option.name, []).append(option.value or "")
    ends = [(expiry(value), value) for value in values.get("expiry-time", ())]
    if ends and min(ends)[0] < visit.at:
        end, value = min(ends)
        return (
            f"refused since {_shown_time(end)}, because expiry-time {value} has passed "
            f"(judged at {_shown_time(visit.at)}, with the guest's clock in UTC)"
        )
    for value in values.get("from", ()):
        if not admits(value, visit.address):
            host = ", which is the host as a guest behind NAT sees it" * (visit.address == HOST_ADDRESS)
            return f"refused, because from={value[:64]!a} does not admit {visit.address}{host}"
    return ""


def expiry(value: str) -> int:
    """Return until when ``expiry-time`` lets in, in seconds since 1970 (misc.c, parse_absolute_time).

    Args:
        value: YYYYMMDD, or that and HHMM or HHMMSS; what has no ``Z`` is the guest's own time, which is UTC.
    """
    from calendar import timegm  # imports datetime, which few disks need

    digits = re.sub("[^0-9]", "", value).ljust(14, "0")
    year, *rest = int(digits[:4]), *(int(digits[at : at + 2]) for at in range(4, 14, 2))
    return timegm((year, *rest, 0, 0, 0))


def admits(patterns: str, address: str) -> bool:
    """Tell whether the list of ``from`` admits a client that has no name but its address.

    Each item is an address, a network, or a pattern with ``*`` and ``?``; ``!`` excludes.
    An item that is empty, or a network with bits of a host, makes the whole list admit nobody.
    """
    by_address = _match_addresses(patterns, address)
    return by_address >= 0 and (by_name := _match_names(patterns, address)) >= 0 and by_address + by_name > 0


def _match_addresses(patterns: str, address: str) -> int:
    """Return 1 for a match, 0 for none, a negative number for a refusal (addrmatch.c, addr_match_list)."""
    import ipaddress  # slow to import, and seldom needed

    client, found = ipaddress.ip_address(address), 0
    for item in patterns.split(","):
        pattern = item.removeprefix("!")
        if not pattern:
            return -2
        network = _network(pattern)
        if network == "bad":
            return -2
        is_match = _matches(pattern, address) if network is None else client in ipaddress.ip_network(network)
        if is_match and item.startswith("!"):
            return -1
        found = found or int(is_match)
    return found


def _network(text: str) -> str | None:
    """Return an item as a network, None if it is none, ``bad`` if its length misfits (addr_pton_cidr)."""
    import ipaddress
    import socket

    name, slash, length = text.partition("/")
    if len(text) > 63 or (slash and not re.fullmatch(r"\s*[+]?\d+", length, re.ASCII)):
        return None
    if slash and int(length) > 128:
        return None
    try:
        if re.fullmatch(
            r"[0-9a-fx.]+", name, re.IGNORECASE | re.ASCII
        ):  # also short and octal, as getaddrinfo
            name = socket.inet_ntoa(socket.inet_aton(name))
        address = ipaddress.ip_address(name)
    except (OSError, ValueError):
        return None
    try:
        return str(ipaddress.ip_network(f"{address}/{int(length) if slash else address.max_prefixlen}"))
    except ValueError:
        return "bad"


def _match_names(patterns: str, name: str) -> int:
    """Return 1 for a match, 0 for none, -1 for a refusal (match.c, match_pattern_list)."""
    found = 0
    for item in patterns.lower().split(","):
        pattern = item.removeprefix("!")
        if len(pattern) >= MAX_PATTERN:
            return 0
        if _matches(pattern, name):
            if item.startswith("!"):
                return -1
            found = 1
    return found


def _matches(pattern: str, name: str) -> bool:
    """Match ``*`` and ``?``, in time bounded by the product of both lengths."""
    at, after, star, resume = 0, 0, -1, 0
    while at < len(name):
        if after < len(pattern) and pattern[after] == "*":
            star, resume = after, at
            after += 1
        elif after < len(pattern) and pattern[after] in ("?", name[at]):
            at, after = at + 1, after + 1
        elif star >= 0:
            resume += 1
            at, after = resume, star + 1
        else:
            return False
    return not pattern[after:].strip("*")


# --- StrictModes: misc.c, safe_path -------------------------------------------------------------------------


def mode_fault(entries: Sequence[TarEntry], file: bytes, owner: Owner) -> str:
    """Return why sshd does not read a key file of an unpacked tar; "" when it does.

    ``tar xf`` by root gives each entry the mode that the tar tells, whatever the umask; a folder that the tar
    does not tell of becomes 0755. sshd then wants the file, ``.ssh`` and the home to be the user's or root's,
    and writable by nobody else; and it reads as the user, who must be allowed to.

    Args:
        entries: Of the tar, as far as the guest has them.
        file: The key file.
        owner: Whose all this is in the end.
    """
    ways = ((b"", "home", 0o1), (SSH_FOLDER, "folder .ssh", 0o1), (file, f"file {file.decode()}", 0o4))
    for path, kind, need in ways:
        found = [entry for entry in entries if plain_name(entry.name) == path]
        if not found or (path == file and found[-1].missing):  # cut: 0600 by GNU tar, 0644 by busybox
            continue
        entry = found[-1]
        is_given = path == owner.below or path.startswith(owner.below + b"/") or not owner.below
        uid, gid = (owner.uid, owner.gid) if is_given else (entry.uid, entry.gid)
        shift = 6 if uid == owner.uid else 3 if gid == owner.gid else 0
        if uid not in (0, owner.uid):
            return f"refused by StrictModes, because the {kind} belongs to user {uid}"
        if entry.mode & OTHERS_WRITE:
            return f"refused by StrictModes, because others may write to the {kind} (mode {entry.mode:04o})"
        if not entry.mode >> shift & need:
            return f"sshd cannot read it, because the {kind} is closed to its user (mode {entry.mode:04o})"
    return ""


# --- what only a newer sshd knows ---------------------------------------------------------------------------

_SINCE = {
    "restrict": "7.2",
    **dict.fromkeys(("agent-forwarding", "port-forwarding", "x11-forwarding", "pty", "user-rc"), "7.2"),
    "expiry-time": "7.7",
    "permitlisten": "7.8",
    "no-touch-required": "8.2",
    "verify-required": "8.4",
}


def proviso(line: KeyLine) -> str:
    """Return what the guest's sshd must be for a line to count; "" for any. From OpenSSH's release notes."""
    news = [(tuple(map(int, _SINCE[name].split("."))), name) for name in _names(line) if name in _SINCE]
    if not news:
        return ""
    _, name = max(news)
    return f"an sshd before OpenSSH {_SINCE[name]} does not know {name}, and passes the line over"


def _names(line: KeyLine) -> list[str]:
    return [option.name for option in line.options]


def _shown_time(seconds: int) -> str:
    from datetime import UTC, datetime, timedelta

    return f"{datetime(1970, 1, 1, tzinfo=UTC) + timedelta(seconds=seconds):%Y-%m-%d %H:%M:%SZ}"
