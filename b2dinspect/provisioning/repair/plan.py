"""Getting the owner back in: what must change, and the proof that it helps. Nothing is written here.

All changes of the disk are made in an overlay. The proof is a simulated boot of it with a real login.
"""

from __future__ import annotations

from collections.abc import Iterator

from b2dinspect.doctor.case import Case
from b2dinspect.doctor.diagnosis import Diagnosed, Diagnosis
from b2dinspect.doctor.explanations import Mend
from b2dinspect.errors import UsageError
from b2dinspect.machine.files import read_small
from b2dinspect.provisioning.disk.overlay import Change, Overlay
from b2dinspect.provisioning.keypair import KeyPair
from b2dinspect.provisioning.repair.certificates import (
    AUTHORITY_KEY,
    NewCertificates,
    plan_certificates,
    put_certificates,
)
from b2dinspect.provisioning.repair.merge import Lost, MergedTar, WouldLoseError
from b2dinspect.provisioning.repair.ondisk import DiskPlan, Wish, plan_disk
from b2dinspect.provisioning.repair.proof import prove_door, prove_login
from b2dinspect.records import NamedTuple
from b2dinspect.source import ByteSource
from b2dinspect.userdata.private_key import public_line

MAX_TAR = 1 << 20
PRIVATE = "id_rsa"
"""Names the host's private key, as one that may go."""
ON_HOST: dict[Mend, str] = {
    "modes": "id_rsa: mode 0600",
    "public-key": "id_rsa.pub made from id_rsa",
    "paths": "config.json names the place where the machine is",
    "encoding": "config.json written as plain UTF-8",
}
"""What a repair does to a machine directory's own files, and how."""


class Action(NamedTuple):
    """One thing to do.

    Attributes:
        id: What it mends.
        why: The findings that ask for it, or the user.
        how: What is done, in a few words.
    """

    id: Mend
    why: str
    how: str


class Repair(NamedTuple):
    """A planned repair.

    Attributes:
        case: The facts.
        actions: What is to be done, disk first.
        changes: What is to change on the disk.
        merged: What becomes of the keys and files in the tar; None when that stays as it is.
        outcome: The disk as it is to be; None when it stays as it is.
        rewrites_image: Whether the image must be written anew, not only changed.
        new_key: A key pair that was made for this; None for none.
        left: Faults that no action mends.
        proof: What came of the simulated login; "" when it was not tried.
        logged_in: Whether it worked; None when it was not tried.
        certificates: New certificates; None for none.
        met: Whether a Docker client came in with them; None when it was not tried.
    """

    case: Case
    actions: tuple[Action, ...]
    changes: tuple[Change, ...]
    merged: MergedTar | None
    outcome: ByteSource | None
    rewrites_image: bool
    new_key: KeyPair | None
    left: tuple[Diagnosed, ...]
    proof: str
    logged_in: bool | None
    certificates: NewCertificates | None = None
    met: bool | None = None

    @property
    def is_proven_wrong(self) -> bool:
        """Whether it was tried, and does not help."""
        return self.logged_in is False or self.met is False

    def has(self, name: Mend) -> bool:
        """Whether there is an action of that name."""
        return any(action.id == name for action in self.actions)


def plan_repair(diagnosis: Diagnosis, wish: Wish) -> Repair:
    """Work out what must change, in memory, and prove it with a simulated login.

    Raises:
        UsageError: The disk cannot be repaired; says why and what to do.
        WouldLoseError: Somebody's key or file does not fit.
        ToolError: A program that is needed is missing, or failed.
    """
    case = diagnosis.case
    _must_be_ours(case)
    wish = _may_replace_key(case, wish)
    certificates = plan_certificates(case, wish.drop) if wish.certs else None
    wish = wish._replace(drop=tuple(name for name in wish.drop if name != AUTHORITY_KEY))
    pair = wish.key or _own_key(case)
    causes: dict[Mend, list[str]] = {}
    for one in diagnosis.findings:
        if one.finding.is_fault or one.explanation.mends in ON_HOST:
            causes.setdefault(one.explanation.mends, []).append(one.finding.id)
    plan = DiskPlan(None, (), None, False)
    if case.disk is not None:
        size = case.machine.config.disk_size if case.machine else None
        plan = plan_disk(case.disk, causes.keys(), pair, wish, size, _tar_on_host(case))
    asked = "the key that was asked for" if wish.key else "what goes with it"
    steps = [(step.mends, step.how) for step in plan.steps] + [*_on_host(case, causes, wish)]
    if certificates is not None:
        asked = "asked for"
        plan = plan._replace(overlay=_with_certificates(case, plan.overlay, certificates))
        steps += [("certificates", how) for how in certificates.how]
    actions = tuple(Action(name, ", ".join(causes.get(name, [asked])), how) for name, how in steps)
    done = {name for name, _ in steps} | ({"userdata", "label"} if plan.merged else set())
    left = tuple(
        one for one in diagnosis.findings if one.finding.is_fault and one.explanation.mends not in done
    )
    is_unused = bool({"marker", "size"} & {name for name, _ in steps})
    logged_in, proof = prove_login(case, plan.overlay, pair, formats=is_unused)
    met = None
    if certificates is not None and logged_in is not False:
        met, told = prove_door(case, plan.overlay, certificates)
        proof = f"{proof}; {told}" if logged_in else told
    changes = tuple(plan.overlay.differences()) if plan.overlay else ()
    new_key = wish.key if wish.is_new else None
    found = Repair(
        case, actions, changes, plan.merged, plan.overlay, plan.rewrites, new_key, left, proof, logged_in
    )
    return found._replace(certificates=certificates, met=met)


def _with_certificates(case: Case, overlay: Overlay | None, new: NewCertificates) -> Overlay:
    """Put new certificates into the overlay of the disk.

    Raises:
        UsageError: There is no data partition, or one that may not be changed.
    """
    data = case.disk.data if case.disk else None
    if case.disk is None or data is None:
        raise UsageError("there is no data partition to put certificates on")
    overlay = overlay or Overlay(case.disk.container)
    put_certificates(overlay, data.volume, new)
    return overlay


def _tar_on_host(case: Case) -> bytes | None:
    """Return the userdata.tar that VMware's driver keeps in the machine directory; None for none."""
    path = case.machine.folder / "userdata.tar" if case.machine else None
    file = read_small(path, MAX_TAR) if path else None
    return file.data if file and file.data else None


def _must_be_ours(case: Case) -> None:
    """Refuse a disk of somebody else, and one of which nothing tells whose it is, unless a machine has it.

    Raises:
        UsageError: It is not repaired; says whose it seems to be.
    """
    owner = case.disk.ownership if case.disk else None
    if owner is None or owner.owner in ("ours", "nobody"):
        return
    if owner.owner == "other" or owner.evidence or case.machine is None:
        raise UsageError(f"this disk is not repaired: {owner.text}")


def _may_replace_key(case: Case, wish: Wish) -> Wish:
    """Return the wish for the disk alone, once a private key of the host's that may be good is named.

    Raises:
        WouldLoseError: A new pair would take the place of one that nobody named.
    """
    private = case.keys.private
    is_gone = private is None or not (private.identity or private.is_encrypted or private.file.error)
    if not wish.is_new or private is None or is_gone:
        return wish
    if PRIVATE not in wish.drop:
        known = private.line.key.sha256 if private.line and private.line.key else "a private key"
        lost = Lost(PRIVATE, f"{private.file.path}, {known}")
        raise WouldLoseError([lost], "a new key pair takes its place")
    return wish._replace(drop=tuple(name for name in wish.drop if name != PRIVATE))


def _own_key(case: Case) -> KeyPair | None:
    private, public = case.keys.private, case.keys.public
    if private is not None and private.identity:
        return KeyPair(private.file.data, public_line(private.file.data) + b"\n")
    if public is not None and public.identity:
        return KeyPair(b"", public.file.data)
    return None


def _on_host(case: Case, causes: dict[Mend, list[str]], wish: Wish) -> Iterator[tuple[Mend, str]]:
    machine = case.machine
    if machine is None:
        return
    if wish.is_new:
        yield "key", "a new key pair: id_rsa and id_rsa.pub"
    has_key = bool(machine.keys.private and machine.keys.private.identity)
    for name, how in ON_HOST.items():
        if name not in causes or (wish.is_new and name in ("modes", "public-key")):
            continue
        if name != "public-key" or has_key:
            yield name, how
