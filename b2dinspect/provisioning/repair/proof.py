"""The proof of a repair: a simulated guest boots the disk as it would be, and somebody logs in."""

from __future__ import annotations

import tempfile
from contextlib import ExitStack
from pathlib import Path

from b2dinspect.doctor.case import Case
from b2dinspect.guests import GuestProfile, profile_named
from b2dinspect.inspection.choice import choose
from b2dinspect.inspection.facts import DiskState
from b2dinspect.inspection.volumes import volumes_of
from b2dinspect.partitions import read_table
from b2dinspect.provisioning.disk.overlay import Overlay
from b2dinspect.provisioning.events import Done
from b2dinspect.provisioning.host.drivers import DRIVERS
from b2dinspect.provisioning.keypair import KeyPair
from b2dinspect.provisioning.login import LOGIN
from b2dinspect.provisioning.simulated.simulate import GUEST_STAGES
from b2dinspect.provisioning.stages import Plan, State, perform
from b2dinspect.source import ByteSource


def prove_login(case: Case, overlay: Overlay | None, pair: KeyPair | None) -> tuple[bool | None, str]:
    """Boot a simulated guest from the disk as it would be, and log in with the key.

    Args:
        case: The disk, and what is known of its guest.
        overlay: The disk as it would be; None when it stays as it is.
        pair: The key pair to log in with.

    Returns:
        Whether the login worked, None when it was not tried, and a sentence about it.

    Raises:
        ToolError: ssh does not come to an end.
    """
    if case.disk is None:
        return None, "there is no disk to boot"
    if pair is None or not pair.private:
        return None, "not tried: the private key is not at hand"
    guest = case.disk.guest.profile
    profile = profile_named("autoformat" if guest == "unknown" else guest)
    if danger := _formats(profile, overlay or case.disk.container, case.disk.state):
        return False, danger
    plan = Plan(
        name="proof",
        driver=DRIVERS["vfkit"],
        profile=profile,
        format="raw",
        folder=Path(),
    )
    with ExitStack() as cleanup:
        work = Path(cleanup.enter_context(tempfile.TemporaryDirectory(prefix="b2dprovision-")))
        disk = Overlay(overlay or case.disk.container)
        state = State(plan, work, cleanup, disk=disk, key=pair)
        failures: list[str] = []
        for stage in (*GUEST_STAGES, LOGIN):
            steps = perform(stage, state)
            try:
                while True:
                    happened = next(steps)
                    if isinstance(happened, Done) and happened.status == "failed":
                        failures.append(f"{happened.id}: {happened.reason}")
            except StopIteration as end:
                state = end.value
        if state.logged_in:
            return True, f"a simulated {plan.profile.name} guest let the key in, and refused another one"
        return False, "; ".join(failures) or "the simulated guest let nobody in"


def _formats(profile: GuestProfile, disk: ByteSource, state: DiskState) -> str:
    """Return why a login would prove nothing: the guest would format what is on the disk; "" if it would not.

    A key that the marker lets in is no proof that the data is found.
    """
    if state in ("fresh", "blank"):
        return ""
    table = read_table(disk)
    choice = choose(profile, disk, table, volumes_of(disk, table))
    if choice.action != "format":
        return ""
    return f"nothing is proven: {profile.name} would FORMAT this disk ({choice.reason})"
