"""The whole provision: host, first boot, login, and a second boot that formats nothing."""

from __future__ import annotations

import functools
import importlib
import threading
from collections.abc import Callable, Generator, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path

from b2dinspect.errors import B2dError
from b2dinspect.newfile import NewFolder
from b2dinspect.newfile.hold import scratch
from b2dinspect.provisioning.disk.rework import keep_snapshot, opened
from b2dinspect.provisioning.events import Console, Done, Event, Finished, Gave, Serving, Took
from b2dinspect.provisioning.host.host import DISK_STAGE, HOST_STAGES
from b2dinspect.provisioning.lessons import BETWEEN_BOOTS
from b2dinspect.provisioning.login import LOGIN, know_host, plain_key, ssh_command
from b2dinspect.provisioning.needs import check_needs
from b2dinspect.provisioning.stages import Plan, Stage, StageFailed, State, Step, perform

Boot = Callable[[State], Generator[Event, None, State]]
Attend = Callable[[State, Sequence[Stage]], Generator[Event, None, State]]


def provision(plan: Plan) -> Iterator[Event]:
    """Make a machine, boot it twice, and log in each time.

    What the plan needs is looked at first. Close the iterator to stop early: what was begun is then cleaned
    up. A run that fails leaves no machine behind, so that the same plan can be tried again.

    Raises:
        UsageError: The machine exists already, or the plan makes no sense.
        ToolError: A program that is needed is missing or failed.
        OSError: The disk is full.
    """
    check_needs(plan, plan.folder)
    boot, attend = _engine(plan)
    _import_ahead(plan)
    with _workplace(plan) as state:
        state = yield from _host(state)
        state = yield from boot(state)
        state = yield from perform(LOGIN, state)
        state = yield from _door(state, attend)
        between = BETWEEN_BOOTS.get(plan.tamper) or BETWEEN_BOOTS.get(plan.fault)
        if between is not None:
            state = yield from perform(between, state)
        state = yield from perform(_second_boot(boot), state)
        yield from _end(state)


def boot_image(plan: Plan, image: Path, folder: Path | None, *, is_kept: bool = True) -> Iterator[Event]:
    """Boot an image that is there, and log in if the plan has a key or the folder is a machine's.

    The image is changed as the guest changes it. With ``plan.docker`` its daemon starts, too, and the
    machine's client comes in.

    Args:
        plan: The guest, the engine, the key, and whether to go on to the daemon; the rest is not used.
        image: A disk that can be written.
        folder: The machine directory that holds it, if it does.
        is_kept: Whether the image is still there afterwards.

    Raises:
        Errors as ``provision`` does, and EvidenceError: the image cannot be read.
    """
    check_needs(plan, image.parent)
    boot, _ = _engine(plan)
    with _workplace(plan) as state:
        key = plan.key or state.key
        state = state._replace(disk_path=image, folder=folder, key=key)
        state = yield from boot(state)
        state = yield from perform(LOGIN, state)
        if plan.docker:
            from b2dinspect.provisioning.door import CONNECT_THERE  # slow imports

            state = yield from perform(CONNECT_THERE, state)
        yield from _end(state, is_kept)


_ENGINES = {
    "simulate": "b2dinspect.provisioning.simulated.simulate",
    "qemu": "b2dinspect.provisioning.real.qemu",
}


def _engine(plan: Plan) -> tuple[Boot, Attend]:
    """Return what boots a guest, and what performs stages of the host while it is up."""
    module = importlib.import_module(_ENGINES[plan.engine])  # each has slow imports
    return module.boot, module.attend


def _door(state: State, attend: Attend) -> Generator[Event, None, State]:
    """Go on behind the login, when the plan says so."""
    if not state.plan.docker:
        return state
    from b2dinspect.provisioning.door import CONTAINER, DOOR_STAGES  # slow imports

    stages = DOOR_STAGES if state.plan.engine == "simulate" else (*DOOR_STAGES, CONTAINER)
    state = yield from attend(state, stages)
    if state.session is not None:
        state.session.close()
    return state._replace(session=None)


def _import_ahead(plan: Plan) -> None:
    """Import asyncssh, which takes a tenth of a second, while other programs make the filesystem."""
    if plan.engine == "simulate":
        threading.Thread(
            target=importlib.import_module, args=("b2dinspect.provisioning.simulated.sshd",)
        ).start()


@contextmanager
def _workplace(plan: Plan) -> Iterator[State]:
    """Give a first state whose work folder and guests are gone at the end, however it comes."""
    with ExitStack() as cleanup:
        work = cleanup.enter_context(scratch())
        yield State(plan, work, cleanup)


def _host(state: State) -> Generator[Event, None, State]:
    plan = state.plan
    final = plan.folder.absolute() / plan.name
    folder = NewFolder(final, force=plan.force)
    state.cleanup.push(functools.partial(_settle, folder))
    state = state._replace(folder=folder.temporary)
    for stage in HOST_STAGES:
        state = yield from perform(stage, state)
    folder.commit()
    state = state._replace(folder=final, disk_path=final / plan.disk_name)
    with opened(final / plan.disk_name) as disk:
        fresh = keep_snapshot(state._replace(number=DISK_STAGE), "disk", disk)
    return fresh._replace(number=state.number)


def _settle(folder: NewFolder, kind: object, error: object, trace: object) -> None:
    """Take away a machine whose making failed, and put back the one that it replaced; else that goes now.

    A machine stays where somebody interrupted its boot.
    """
    try:
        if isinstance(error, B2dError | OSError):
            folder.revert()
    finally:
        folder.discard()


def _second_boot(boot: Boot) -> Stage:
    def work(state: State) -> Step:
        if state.guest is not None:
            state.guest.stop()
        number = state.number
        again = state._replace(guest=None, home=None, part=None, choice=None, is_off=False, logged_in=False)
        again = again._replace(has_daemon=False)
        failures: list[str] = []
        again = yield from _within(boot(again), failures)
        again = yield from _within(perform(LOGIN, again), failures)
        if again.plan.docker and again.logged_in:
            from b2dinspect.provisioning.door import CONNECT_AGAIN

            again = yield from _within(perform(CONNECT_AGAIN, again), failures)
        again = again._replace(number=number)
        if not again.logged_in or (again.plan.docker and not again.has_daemon):
            raise StageFailed("; ".join(failures) or "no login", again)
        return again

    return Stage(
        "second-boot",
        "guest",
        "Boot again: find the label, format nothing, unpack the key, log in.",
        lambda state: "reboot",
        work,
    )


def _within(steps: Generator[Event, None, State], failures: list[str]) -> Step:
    """Perform stages as parts of another one: their writes are its own."""
    try:
        while True:
            happened = next(steps)
            if isinstance(happened, Done):
                yield from happened.writes
                if happened.status == "failed":
                    failures.append(happened.reason)
            elif isinstance(happened, Took | Gave | Console):
                yield happened
    except StopIteration as end:
        state: State = end.value
        return state
    finally:
        steps.close()


def _end(state: State, is_kept: bool = True) -> Iterator[Event]:
    if state.plan.serves and state.guest is not None:
        key = state.login_key or (state.folder / "id_rsa" if state.folder else state.work / "id_rsa")
        user = state.plan.profile.owner[0]
        shown = plain_key(key.absolute(), state.work)
        ssh = ssh_command(state.guest, user, shown, know_host(state.guest, state.work))
        yield Serving(ssh, _docker(state))
    if state.guest is not None:
        state.guest.stop()
    disk = str(state.disk_path) if is_kept and state.disk_path else ""
    is_in = state.logged_in and (state.has_daemon or not state.plan.docker)
    folder = str(state.folder or "")
    yield Finished(is_in, folder, disk, _outcome(state), state.snapshots, state.has_daemon)


def _docker(state: State) -> tuple[str, ...]:
    """Return the command of a Docker client that is let in, by the name that every machine answers to."""
    if not state.has_daemon or state.guest is None or state.folder is None:
        return ()
    from b2dinspect.provisioning.client import Credentials, command

    credentials = Credentials.of(state.folder.absolute())
    return command(state.guest.daemon_port, credentials, "version", host="localhost")


def _outcome(state: State) -> str:
    if state.has_daemon:
        return "logged in with the key alone, and a Docker client came in through TLS"
    if state.logged_in and state.plan.docker:
        return "logged in with the key alone, but no Docker client comes in"
    if state.logged_in:
        return "logged in with the key alone"
    has_key = state.folder is not None or state.login_key is not None or bool(state.key.private)
    if state.guest is not None and not has_key:
        return "no login was tried: no private key was given, and none lies beside the disk"
    return "nobody can log in"
