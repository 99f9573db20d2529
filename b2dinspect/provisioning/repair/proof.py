"""The proof: a guest boots an overlay over the disk, and somebody logs in. The evidence is not touched.

A repair asks whether its owner gets in. ``prove`` tries every key whose private half is at hand, and compares
with what the bytes say: where the two differ, one of them is wrong.
"""

from __future__ import annotations

import importlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Literal

from b2dinspect.doctor.case import Case
from b2dinspect.errors import B2dError, UsageError
from b2dinspect.guests import GuestProfile, profile_for
from b2dinspect.inspection.choice import choose
from b2dinspect.inspection.facts import Choice, Inspection
from b2dinspect.inspection.login import judge
from b2dinspect.inspection.volumes import volumes_of
from b2dinspect.machine.files import read_small
from b2dinspect.machine.keys import MAX_SIZE
from b2dinspect.newfile.hold import scratch
from b2dinspect.partitions import read_table
from b2dinspect.provisioning.client import Credentials, ask
from b2dinspect.provisioning.disk.overlay import Overlay
from b2dinspect.provisioning.disk.rework import write_image
from b2dinspect.provisioning.events import Done
from b2dinspect.provisioning.host.drivers import DRIVERS
from b2dinspect.provisioning.host.host import write_new
from b2dinspect.provisioning.keypair import KeyPair, load_key, make_key
from b2dinspect.provisioning.login import log_in
from b2dinspect.provisioning.repair.certificates import NewCertificates
from b2dinspect.provisioning.simulated.simulate import GUEST_STAGES, root_of
from b2dinspect.provisioning.stages import Plan, QemuOptions, State, perform
from b2dinspect.records import NamedTuple
from b2dinspect.source import ByteSource
from b2dinspect.userdata.authorized_keys import PublicKey, parse
from b2dinspect.userdata.private_key import is_private_key

MAX_FILES = 200
"""Of a machine directory that are looked at for private keys."""


class AtHand(NamedTuple):
    """A private key: where it is, the pair, and whether it is the owner's."""

    place: str
    pair: KeyPair
    is_owner: bool

    @property
    def key(self) -> PublicKey | None:
        """The public half."""
        return next((line.key for line in parse(self.pair.public) if line.valid and line.key), None)


class Tried(NamedTuple):
    """One login.

    Attributes:
        place: Where the private key is.
        sha256: Its fingerprint.
        is_owner: Whether it is the owner's.
        expected: Whether the bytes on the disk say that it gets in.
        works: Whether it did.
        reason: What the client said when it did not.
    """

    place: str
    sha256: str
    is_owner: bool
    expected: bool
    works: bool
    reason: str


class Proof(NamedTuple):
    """What a boot showed.

    Attributes:
        guest: The generation that was booted.
        engine: Who played it.
        action: What it did with the disk.
        tried: Every key that was tried.
        untried: Fingerprints of keys that should get in, of which no private half is at hand.
        is_open: Whether a key that nobody knows was let in: then a login proves nothing.
        failures: What went wrong in the guest.
    """

    guest: str
    engine: str
    action: Literal["mount", "format", "leave"]
    tried: tuple[Tried, ...]
    untried: tuple[str, ...]
    is_open: bool
    failures: tuple[str, ...]

    @property
    def agrees(self) -> bool:
        """Whether what happened is what the bytes on the disk say."""
        return not self.is_open and all(one.expected == one.works for one in self.tried)

    @property
    def owner_is_in(self) -> bool | None:
        """Whether the owner got in; None when no key of the owner's is at hand."""
        owners = [one.works for one in self.tried if one.is_owner]
        return any(owners) if owners else None


class Engine(NamedTuple):
    """Who plays the guest."""

    name: Literal["simulate", "qemu"] = "simulate"
    qemu: QemuOptions = QemuOptions()


SIMULATED = Engine()


def keys_at_hand(case: Case, named: Sequence[Path] = ()) -> list[AtHand]:
    """Return the private keys that were named, and those in the machine's directory and its neighbours'.

    Raises:
        UsageError: What was named holds no private key.
    """
    found = []
    for number, path in enumerate(named):
        pair = load_key(path)
        if not pair.private:
            raise UsageError(f"{path}: the private half is needed to log in")
        found.append(AtHand(str(path), pair, number == 0))
    if case.machine is not None:
        own = case.machine.folder / "id_rsa"
        for path in _key_files(case.machine.folder):
            found += _loaded(path, is_owner=path == own and not named)
    return found


def _key_files(folder: Path) -> Iterator[Path]:
    yield folder / "id_rsa"
    yield from sorted(path for path in folder.iterdir() if path.name != "id_rsa")[:MAX_FILES]
    if folder.parent.name == "machines":
        others = sorted(path for path in folder.parent.iterdir() if path.name != folder.name)
        yield from (path / "id_rsa" for path in others[:MAX_FILES])


def _loaded(path: Path, *, is_owner: bool) -> list[AtHand]:
    """Return the key pair in a file; nothing when it is no private key that can be used."""
    file = read_small(path, MAX_SIZE) if path.is_file() else None
    if file is None or not is_private_key(file.data):
        return []
    try:
        return [AtHand(str(path), load_key(path), is_owner)]
    except B2dError:
        return []


def prove(
    case: Case, keys: Sequence[AtHand], profile: GuestProfile | None = None, engine: Engine = SIMULATED
) -> Proof:
    """Boot a disk's guest on an overlay and try every key that may get in, the owner's in any case.

    Raises:
        UsageError: There is no disk to boot.
        ToolError: A program that is needed is missing, or does not come to an end.
    """
    if case.disk is None:
        raise UsageError("there is no disk to boot")
    guest = profile or guest_of(case.disk)
    choice = _choice(guest, case.disk.container)
    expected = _expected(case.disk, guest)
    wanted = list({one.key.identity: one for one in reversed(keys) if one.key}.values())[::-1]
    wanted = [one for one in wanted if one.is_owner or (one.key and one.key.identity in expected)]
    with Booted(case.disk.container, guest, engine) as (state, failures):
        tried = tuple(_try(state, one, expected, number) for number, one in enumerate(wanted))
        stranger = AtHand("", make_key("ed25519"), False)
        is_open = _try(state, stranger, {}, len(wanted)).works
    at_hand = {one.key.identity for one in wanted if one.key}
    untried = tuple(key.sha256 for identity, key in expected.items() if identity not in at_hand)
    return Proof(guest.name, engine.name, choice.action, tried, untried, is_open, tuple(failures))


def guest_of(disk: Inspection) -> GuestProfile:
    """Return the generation that made a disk, or the newest boot2docker when nothing tells."""
    return profile_for(disk.guest.profile)


def _choice(profile: GuestProfile, disk: ByteSource) -> Choice:
    table = read_table(disk)
    return choose(profile, disk, table, volumes_of(disk, table))


def _expected(disk: Inspection, guest: GuestProfile) -> dict[bytes, PublicKey]:
    """Return the keys that the bytes say get in, with this guest."""
    lines = (key.line for key in judge(disk.userdata, disk.choices, guest.name, disk.visit) if key.in_force)
    return {line.key.identity: line.key for line in lines if line.key}


def prove_login(
    case: Case, overlay: Overlay | None, pair: KeyPair | None, *, formats: bool = False
) -> tuple[bool | None, str]:
    """Boot a simulated guest from the disk as a repair leaves it, and log in with the key.

    Args:
        case: The disk, and what is known of its guest.
        overlay: The disk as it would be; None when it stays as it is.
        pair: The key pair to log in with.
        formats: Whether it is right that the guest formats the disk, since nothing is on it yet.

    Returns:
        Whether the login worked, None when it was not tried, and a sentence about it.

    Raises:
        ToolError: ssh does not come to an end, or a program is missing.
    """
    if case.disk is None:
        return None, "there is no disk to boot"
    if pair is None:
        return None, "not tried: there is no key to try"
    if not pair.private:
        return None, "not tried: the private key is not at hand"
    guest = guest_of(case.disk)
    disk = overlay or case.disk.container
    choice = _choice(guest, disk)
    if choice.action == "format" and not (formats or case.disk.state in ("fresh", "blank")):
        return False, f"nothing is proven: {guest.name} would FORMAT this disk ({choice.reason})"
    with Booted(disk, guest, SIMULATED) as (state, failures):
        owner = _try(state, AtHand("id_rsa", pair, True), {}, 0)
        stranger = _try(state, AtHand("", make_key("ed25519"), False), {}, 1)
    if owner.works and not stranger.works:
        return True, f"a simulated {guest.name} guest let the key in, and refused another one"
    if stranger.works:
        return False, "a key that nobody knows was let in too"
    return False, "; ".join([*failures, *([owner.reason] if owner.reason else [])])


def prove_door(case: Case, overlay: Overlay | None, new: NewCertificates) -> tuple[bool, str]:
    """Boot a simulated guest from the disk as a repair leaves it, and come in as a Docker client through TLS.

    Args:
        case: The disk, and what is known of its guest.
        overlay: The disk as it would be.
        new: What the client trusts and shows, and where it looks for the machine.

    Returns:
        Whether it came in and a client without a certificate did not, and a sentence about it.
    """
    if case.disk is None:
        return False, "there is no disk to boot"
    with Booted(overlay or case.disk.container, guest_of(case.disk), SIMULATED, docker=True) as (
        state,
        failures,
    ):
        root = root_of(state)
        if root is None:
            return False, "; ".join(failures) or "no guest came up"
        root.start()
        if not root.daemon_port:
            return False, f"the daemon does not start: {root.words}"
        credentials = Credentials.of(state.work)
        for path, data in zip(credentials, (new.authority, *new.client), strict=True):
            write_new(path or state.work, data, 0o600)
        met = ask(root.daemon_port, credentials, host=new.address)
        stranger = ask(root.daemon_port, Credentials(credentials.authority), host=new.address)
    if stranger.works:
        return False, "a client without a certificate was let in too"
    if not met.works:
        return False, f"the Docker client is refused: {met.reason}"
    return (
        True,
        f"a Docker client came in through TLS as {new.address}, and one without a certificate did not",
    )


class Booted:
    """A guest that is up on an overlay: gives its state, and what failed in it; off when it is left."""

    def __init__(
        self, disk: ByteSource, profile: GuestProfile, engine: Engine, *, docker: bool = False
    ) -> None:
        self._disk, self._engine = disk, engine
        self._plan = Plan(
            name="proof",
            driver=DRIVERS["virtualbox"],
            profile=profile,
            format="raw",
            folder=Path(),
            engine=engine.name,
            qemu=engine.qemu,
            docker=docker,
        )
        self._cleanup = ExitStack()

    def __enter__(self) -> tuple[State, list[str]]:
        try:
            return self._boot()
        except BaseException:
            self._cleanup.close()
            raise

    def __exit__(self, *_: object) -> None:
        self._cleanup.close()

    def _boot(self) -> tuple[State, list[str]]:
        work = self._cleanup.enter_context(scratch())
        state = State(self._plan, work, self._cleanup)
        failures: list[str] = []
        if self._engine.name == "simulate":
            state = state._replace(disk=Overlay(self._disk))
            for stage in GUEST_STAGES:
                state = _performed(perform(stage, state), failures)
            return state, failures
        path = work / "disk.img"
        write_image(self._disk, path, self._plan)
        boot = importlib.import_module("b2dinspect.provisioning.real.qemu").boot  # slow to import
        return _performed(boot(state._replace(disk_path=path)), failures), failures


def _performed(steps: Iterator[object], failures: list[str]) -> State:
    """Let stages come to their end, note what failed, and return their state."""
    while True:
        try:
            happened = next(steps)
        except StopIteration as end:
            state: State = end.value
            return state
        if isinstance(happened, Done) and happened.status == "failed":
            failures.append(f"{happened.id}: {happened.reason}")


def _try(state: State, one: AtHand, expected: dict[bytes, PublicKey], number: int) -> Tried:
    """Log in with a key, if there is a guest to log in to."""
    key = one.key
    sha256, is_expected = (key.sha256, key.identity in expected) if key else ("", False)
    if state.guest is None:
        return Tried(one.place, sha256, one.is_owner, is_expected, False, "no sshd is up")
    path = state.work / f"key-{number}"
    write_new(path, one.pair.private, 0o600)
    attempt = log_in(state.guest, state.plan.profile.owner[0], path, state.work)
    return Tried(one.place, sha256, one.is_owner, is_expected, attempt.works, attempt.reason)
