"""What a stage is, and how one is performed: a function from state to state that yields events."""

from __future__ import annotations

import time
from collections.abc import Callable, Generator
from contextlib import ExitStack
from pathlib import Path
from typing import TYPE_CHECKING, Literal, Protocol

from b2dinspect.containers.writers import suffix
from b2dinspect.identity import Identities
from b2dinspect.provisioning.events import Done, Event, StageStatus, Started, Write
from b2dinspect.provisioning.keypair import KeyPair, KeyType
from b2dinspect.records import NamedTuple

if TYPE_CHECKING:
    from b2dinspect.guests import GuestProfile
    from b2dinspect.inspection.facts import Choice
    from b2dinspect.partitions.base import Partition
    from b2dinspect.provisioning.disk.overlay import Writable
    from b2dinspect.provisioning.host.drivers import Driver
    from b2dinspect.provisioning.session import Session
    from b2dinspect.userdata.tarball import TarEntry

DEFAULT_SIZE = 20000 << 20
"""Bytes: what docker-machine asks of every driver."""


class QemuOptions(NamedTuple):
    """How QEMU is started.

    Attributes:
        kernel: A bzImage instead of the newest one in /boot.
        initrd: A whole system instead of the guest that is assembled here.
        iso: The same, as a CD: a real boot2docker or minikube ISO.
        uses_kvm: Whether KVM is used instead of emulation.
        script: A first-boot script that is run instead of ours: a copy of an original, for instance.
    """

    kernel: Path | None = None
    initrd: Path | None = None
    iso: Path | None = None
    uses_kvm: bool = False
    script: Path | None = None


class Plan(NamedTuple):
    """What is to be made.

    Attributes:
        name: Of the machine.
        driver: Whose disk it is.
        profile: The guest generation that boots it.
        format: Container format.
        size: Virtual size in bytes.
        folder: Where the machine directory is made.
        key: A key pair to use, or None to make one.
        key_kind: What to make.
        fault: Name of what is to go wrong, or "".
        tamper: ``delete-keys``, ``replace-userdata``, or "".
        ids: Identities of the new disk.
        engine: Who plays the guest.
        mkfs: What makes the filesystem for the simulated one: this program, or the mke2fs of this machine.
        keeps_stages: Whether a copy of the disk is kept after each stage that changed it.
        serves: Whether the guest stays up after the login.
        force: Replace an existing machine directory.
        qemu: For that engine.
        docker: Whether it goes on behind the login, to a daemon behind TLS.
        decodes: Whether the structures that a stage wrote are told too.
    """

    name: str
    driver: Driver
    profile: GuestProfile
    format: str
    folder: Path
    size: int = DEFAULT_SIZE
    key: KeyPair | None = None
    key_kind: KeyType = "rsa"
    fault: str = ""
    tamper: str = ""
    ids: Identities = Identities()
    engine: Literal["simulate", "qemu"] = "simulate"
    mkfs: Literal["embedded", "e2fsprogs"] = "embedded"
    keeps_stages: bool = False
    serves: bool = False
    force: bool = False
    qemu: QemuOptions = QemuOptions()
    docker: bool = False
    decodes: bool = False

    @property
    def disk_name(self) -> str:
        """Name of the disk in the machine directory."""
        if self.format == self.driver.format:
            return self.driver.disk.replace("NAME", self.name)
        return f"disk.{suffix(self.format)}"


class RunningGuest(Protocol):
    """A guest that is up.

    Attributes:
        port: Of its sshd, on 127.0.0.1.
        host_key: One line, "" when it is not known.
    """

    port: int
    host_key: str

    @property
    def daemon_port(self) -> int:
        """Of its Docker daemon, on 127.0.0.1; 0 when there is none."""

    @property
    def daemon_words(self) -> str:
        """What the daemon said last when it does not run, as far as that is known."""

    def stop(self) -> None:
        """Switch it off."""


class State(NamedTuple):
    """What stages hand on to each other.

    Attributes:
        plan: What is to be made.
        work: A private temporary folder, gone when all is over.
        cleanup: What is to be undone at the end, however it comes.
        folder: The machine directory, wherever it is right now; None for a disk alone.
        disk_path: The disk image.
        number: Of the last stage.
        key: The owner's key pair.
        userdata: The tar of the host.
        disk: The disk while somebody writes to it.
        choice: What the guest decided about the disk.
        part: The data partition, once there is one.
        saved: ``/userdata.tar`` in the guest's RAM.
        home: The guest's ``/home/docker``: a RAM disk there, a temporary folder here.
        unpacked: The entries of the tar that was unpacked there.
        guest: The guest, once its sshd is up.
        login_key: A private key file to log in with, instead of the machine's.
        is_off: Whether the guest lost its power.
        logged_in: Whether the last login worked.
        session: The provisioner's connection, once it is there.
        has_daemon: Whether a client came in through TLS at last, and strangers did not.
        snapshots: Copies of the disk so far.
    """

    plan: Plan
    work: Path
    cleanup: ExitStack
    folder: Path | None = None
    disk_path: Path | None = None
    number: int = 0
    key: KeyPair = KeyPair(b"", b"")
    userdata: bytes = b""
    disk: Writable | None = None
    choice: Choice | None = None
    part: Partition | None = None
    saved: bytes | None = None
    home: Path | None = None
    unpacked: tuple[TarEntry, ...] = ()
    guest: RunningGuest | None = None
    login_key: Path | None = None
    is_off: bool = False
    logged_in: bool = False
    session: Session | None = None
    has_daemon: bool = False
    snapshots: tuple[str, ...] = ()

    def has_fault(self, name: str) -> bool:
        """Whether this is what is to go wrong."""
        return self.plan.fault == name


Step = Generator[Event | Write, None, State]
"""A stage at work: yields events and writes, returns the new state."""


class SkipStage(Exception):  # noqa: N818 - no error
    """There is nothing to do in this stage."""


class StageFailed(Exception):  # noqa: N818
    """The guest, or the login, fails here; the guest goes on as the real one would.

    Args:
        reason: Why.
        state: The state that the stage leaves behind, if it changed.
    """

    def __init__(self, reason: str, state: State | None = None) -> None:
        super().__init__(reason)
        self.state = state


class Stage(NamedTuple):
    """One stage; see events.Started for the texts. DISK and PART in the command are left to the reader."""

    id: str
    side: Literal["host", "guest"]
    sentence: str
    command: Callable[[State], str]
    perform: Callable[[State], Step]


def perform(stage: Stage, state: State) -> Generator[Event, None, State]:
    """Perform one stage: yields Started, what happens, and Done; returns the new state."""
    state = state._replace(number=state.number + 1)
    yield Started(state.number, stage.id, stage.side, stage.sentence, stage.command(state))
    begin = time.perf_counter()
    status: StageStatus = "done"
    reason = ""
    writes: list[Write] = []
    step = stage.perform(state)
    try:
        while True:
            happened = next(step)
            if isinstance(happened, Write):
                writes.append(happened)
            else:
                yield happened
    except StopIteration as end:
        state = end.value
    except SkipStage as skip:
        status, reason = "skipped", str(skip)
    except StageFailed as failure:
        status, reason = "failed", str(failure)
        state = failure.state or state
    finally:
        step.close()
    if state.disk is not None:
        writes += state.disk.changes()
    if writes and state.plan.decodes:
        from b2dinspect.provisioning.disk.decoding import decoded_at  # slow imports, for those who ask

        yield decoded_at(state.disk or state.disk_path, writes)
    yield Done(state.number, stage.id, status, reason, time.perf_counter() - begin, tuple(writes))
    return state
