"""The real thing: QEMU boots a Linux whose init performs the guest's steps with the real programs.

Software emulation unless KVM is asked for: a /dev/kvm that is there can still abort or hang on nested
machines. Every wait has a limit, and QEMU is kept on a leash: it never outlives this process.
"""

from __future__ import annotations

import json
import os
import queue
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Generator, Iterator, Sequence
from contextlib import ExitStack, suppress
from pathlib import Path
from typing import IO

from b2dinspect.containers import FORMATS, Container, Format
from b2dinspect.errors import ToolError, UsageError
from b2dinspect.evidence.file import open_evidence
from b2dinspect.newfile import NewFile
from b2dinspect.provisioning.commands import PORT
from b2dinspect.provisioning.disk.claims import claimed
from b2dinspect.provisioning.disk.images import stored_chunks
from b2dinspect.provisioning.disk.pages import Pages
from b2dinspect.provisioning.disk.rework import alone, keep_snapshot, opened
from b2dinspect.provisioning.events import Console, Done, Event, Gave, StageStatus, Started, Took, Write
from b2dinspect.provisioning.keypair import make_key
from b2dinspect.provisioning.programs import need_program
from b2dinspect.provisioning.real import leash
from b2dinspect.provisioning.real.guestscript import MARK
from b2dinspect.provisioning.real.initramfs import build_initramfs, find_kernel
from b2dinspect.provisioning.simulated.simulate import DAEMON_STAGE, GUEST_STAGES
from b2dinspect.provisioning.stages import Plan, QemuOptions, Stage, State, perform
from b2dinspect.source import SECTOR

BOOT_LIMIT = 300.0
"""Seconds from power-on to sshd, on a slow machine without KVM."""
OFF_LIMIT = 60.0
MAX_CYLINDERS = 65535
"""QEMU tells no more of a virtio disk; Linux counts them itself."""
SILENCE = 3.0
HAS_DESCRIPTORS = os.name == "posix"
"""Whether a program can be given files that are open already."""
KERNEL_COMMAND = "console=ttyS0 panic=-1 no_timer_check quiet nokaslr mitigations=off"
"""Linux without a processor for a moment takes its timer for broken and panics, unless told not to look."""
STAGES = {stage.id: stage for stage in (*GUEST_STAGES, DAEMON_STAGE)}
DOCKER_MEMORY = "2048"
"""MiB of the guest, where a daemon or a whole system is to run."""


def boot(state: State) -> Generator[Event, None, State]:
    """Boot a real guest from a copy of the state's disk image, which takes its place at power-off.

    Raises:
        ToolError: QEMU, a kernel or a program for the guest is missing, or the guest does not come up.
    """
    if state.disk_path is None:
        raise UsageError("there is no disk to boot from")
    guest = QemuGuest(state)
    state.cleanup.callback(guest.kill)
    state = yield from (_follow(guest, state) if guest.host_key else _wait_for_sshd(guest, state))
    if guest.is_up:
        return state._replace(guest=guest)
    guest.stop()
    return state._replace(is_off=True)


def attend(state: State, stages: Sequence[Stage]) -> Generator[Event, None, State]:
    """Perform stages of the host while the guest is up, and tell what each changed on its disk."""
    guest = state.guest
    if not isinstance(guest, QemuGuest):
        for stage in stages:
            state = yield from perform(stage, state)
        return state
    pages = Pages()
    pages.update(guest.image)
    for stage in stages:
        steps = perform(stage, state)
        try:
            while True:
                happened = next(steps)
                if isinstance(happened, Done):
                    if state.session is not None:
                        state.session.run("sync")
                    happened = happened._replace(writes=pages.update(guest.image))
                    yield from _decoded(state, guest, happened.writes)
                yield happened
        except StopIteration as end:
            state = end.value
    return state


class QemuGuest:
    """A virtual machine on a copy of the disk, which is locked until the copy takes its place.

    Args:
        state: Plan, work folder and disk.

    Attributes:
        port: TCP port on 127.0.0.1 that reaches the guest's sshd.
        host_key: The guest's public host key, one line.
        is_up: Whether sshd is up.
        daemon_port: TCP port on 127.0.0.1 that reaches the guest's Docker daemon; 0 for none.
        daemon_words: What the daemon said last.
        image: The copy while the guest writes to it.
    """

    def __init__(self, state: State) -> None:
        path = Path(state.disk_path or "")
        self.host_key = ""
        self.port = _free_port()
        self.is_up = False
        self.daemon_port = _free_port() if state.plan.docker else 0
        self.daemon_words = ""
        system = _foreign_system(state.plan.qemu)
        if not system:
            key = make_key("ed25519")
            self.host_key = key.public.decode().strip()
            system = _our_system(state, key.private)
        self._held = ExitStack()
        self._held.enter_context(claimed(Path(os.path.realpath(path))))
        try:
            self._file, disk = _copy(path)
        except BaseException:
            self._held.close()
            raise
        self.image = self._file.temporary
        node = _node("disk", FORMATS[disk.format], self._file.fileno(), self.image)
        try:
            command = _command(state.plan, [*system, *node], disk.size, (self.port, self.daemon_port))
            self._process = _start(command, (self._file.fileno(),))
        except BaseException:
            self._file.discard()
            self._held.close()
            raise
        self._log = (state.work / f"console-{state.number}.log").open("wb")
        self._lines: queue.Queue[str | None] = queue.Queue()
        self._reader = threading.Thread(target=self._read, args=(self._process.stdout,), daemon=True)
        self._reader.start()

    def lines(self) -> Iterator[str]:
        """Yield the console's lines until the guest is off; an empty one whenever it is silent for a while.

        Raises:
            ToolError: It takes too long.
        """
        end = time.monotonic() + BOOT_LIMIT
        while time.monotonic() < end:
            try:
                line = self._lines.get(timeout=SILENCE)
            except queue.Empty:
                line = ""
            if line is None:
                return
            yield line
        raise ToolError(f"the guest did not come up in {BOOT_LIMIT:.0f} seconds")

    def stop(self) -> None:
        """Switch it off as its own poweroff does, and put the changed disk in the image's place.

        A system that is not ours is not told: the plug is pulled, as ``docker-machine kill`` does.
        """
        if self._process.poll() is None and not self.host_key:
            self._pull_plug()
        if self._process.poll() is None:
            with suppress(OSError):
                self._pipe().write(b"poweroff\n")
                self._pipe().flush()
        try:
            self._process.wait(OFF_LIMIT)
        except subprocess.TimeoutExpired:
            self.kill()
            raise ToolError(f"the guest did not switch off in {OFF_LIMIT:.0f} seconds") from None
        if self.image.exists():
            self._file.commit()
        self._close()

    def kill(self) -> None:
        """Pull the plug and drop the changed disk; does nothing after ``stop``."""
        if self._process.poll() is None:
            self._pull_plug()
        self._file.discard()
        self._close()

    def _close(self) -> None:
        """Let go of the image, and of the pipes of a process that has ended."""
        self._held.close()
        self._reader.join(OFF_LIMIT)
        for stream in (self._process.stdin, self._process.stdout, self._log):
            with suppress(OSError):  # what was still to be written has no reader any more
                if stream is not None:
                    stream.close()

    def _pull_plug(self) -> None:
        with suppress(OSError):
            self._pipe().close()
        try:
            self._process.wait(2 * leash.GRACE)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()

    def _pipe(self) -> IO[bytes]:
        if self._process.stdin is None:
            raise ToolError("QEMU has no standard input")
        return self._process.stdin

    def _read(self, stream: IO[bytes]) -> None:
        for line in stream:
            with suppress(ValueError):  # the log is closed: nobody wants the rest
                self._log.write(line)
                self._log.flush()
            self._lines.put(line.decode("utf-8", "replace").strip("\r\n"))
        self._lines.put(None)

    def answers(self) -> bool:
        """Whether an ssh server answers on the port."""
        with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 2) as connection:
            connection.settimeout(2)
            return connection.recv(4) == b"SSH-"
        return False


def _start(command: list[str], files: tuple[int, ...]) -> subprocess.Popen[bytes]:
    try:
        return subprocess.Popen(
            [sys.executable, leash.__file__, *command],
            pass_fds=files if HAS_DESCRIPTORS else (),
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
        )
    except OSError as error:
        raise ToolError(f"QEMU cannot be started: {error.strerror}") from error


def _copy(path: Path) -> tuple[NewFile, Container]:
    """Return a new file with the image's content, holes kept, and the disk that it is, closed.

    Raises:
        UsageError: The image stands on other files, to which QEMU would write.
    """
    with open_evidence(str(path)) as source:
        disk = alone(source, path)
        if not FORMATS[disk.format].qemu_names:
            raise UsageError(f"{path}: QEMU does not know the format {disk.format}; boot a copy")
        file = NewFile.replacing(path)
        try:
            for offset, data in stored_chunks(source):
                file.pwrite(offset, data)
            file.truncate(source.size)
        except BaseException:
            file.discard()
            raise
    return file, disk


def _node(name: str, known: Format, fd: int, path: Path) -> list[str]:
    """Return QEMU's arguments for an image that is open here.

    QEMU gets the descriptor, the format and no backing file: it guesses nothing, and no name is one that it
    could take for a protocol or find in the image. Without descriptors it gets a path for its file driver.
    Source: qemu, docs/interop/qmp-ref (BlockdevOptions), qemu(1) on -add-fd.
    """
    filename = f"/dev/fdset/{fd}" if HAS_DESCRIPTORS else str(path.absolute())
    node: dict[str, object] = {"driver": known.qemu_names[0], "node-name": name}
    if known.qemu_backs:
        node["backing"] = None
    node["file"] = {"driver": "file", "filename": filename}
    added = ["-add-fd", f"fd={fd},set={fd}"] if HAS_DESCRIPTORS else []
    return [*added, "-blockdev", json.dumps(node)]


def _our_system(state: State, host_key: bytes) -> list[str]:
    """Return QEMU's arguments for the guest that is assembled here."""
    kernel = state.plan.qemu.kernel or find_kernel()
    initramfs = state.work / "initramfs"
    initramfs.write_bytes(build_initramfs(state.plan, kernel, host_key))
    return ["-kernel", str(kernel), "-initrd", str(initramfs), "-append", KERNEL_COMMAND]


def _foreign_system(options: QemuOptions) -> list[str]:
    """Return QEMU's arguments for a system of the user's own, or none."""
    if options.iso is not None:
        file = {"driver": "file", "filename": str(options.iso.absolute())}
        node = {"driver": "raw", "node-name": "iso", "read-only": True, "file": file}
        return ["-blockdev", json.dumps(node), "-device", "ide-cd,drive=iso", "-boot", "d"]
    if options.initrd is not None:
        kernel = options.kernel or find_kernel()
        return ["-kernel", str(kernel), "-initrd", str(options.initrd), "-append", KERNEL_COMMAND]
    return []


def _command(plan: Plan, system: list[str], size: int, ports: tuple[int, int]) -> list[str]:
    options, geometry = plan.qemu, plan.driver.geometry
    cylinders = max(1, min(size // SECTOR // geometry.cylinder, MAX_CYLINDERS))
    told = f"cyls={cylinders},heads={geometry.heads},secs={geometry.sectors}"
    memory = DOCKER_MEMORY if options.iso is not None or plan.docker else "512"
    network = f"user,id=net,restrict=on,hostfwd=tcp:127.0.0.1:{ports[0]}-:22"
    if ports[1]:
        network += f",hostfwd=tcp:127.0.0.1:{ports[1]}-:{PORT}"
    return [
        need_program("qemu-system-x86_64"),
        *("-machine", "pc", "-accel", "kvm" if options.uses_kvm else "tcg"),
        *("-cpu", "host" if options.uses_kvm else "max", "-smp", "1", "-m", memory),
        *("-nodefaults", "-no-user-config", "-display", "none", "-no-reboot", "-serial", "stdio"),
        *system,
        *("-device", f"virtio-blk-pci,drive=disk,{told}"),
        *("-netdev", network, "-device", "virtio-net-pci,netdev=net,romfile="),
        *("-device", "virtio-rng-pci"),
    ]


def _free_port() -> int:
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        port: int = listener.getsockname()[1]
        return port


def _follow(guest: QemuGuest, state: State) -> Generator[Event, None, State]:
    """Make events of what the guest reports, until its sshd is up or it is off."""
    pages = Pages()
    pages.update(guest.image)
    status: StageStatus = "done"
    begin, reason, last = time.perf_counter(), "", ""
    for line in filter(None, guest.lines()):
        verb, _, text = line.removeprefix(MARK).partition(" ")
        if not line.startswith(MARK):
            last = line
            yield Console(line)
        elif verb == "start":
            state = state._replace(number=state.number + 1)
            yield _started(text, state)
            begin, status, reason = time.perf_counter(), "done", ""
        elif verb in ("in", "out"):
            yield Took(text) if verb == "in" else Gave(text)
        elif verb in ("skip", "fail"):
            status, reason = ("skipped" if verb == "skip" else "failed"), text
        elif verb == "end":
            taken = time.perf_counter() - begin
            writes = pages.update(guest.image)
            yield from _decoded(state, guest, writes)
            yield Done(state.number, text, status, reason, taken, writes)
            with opened(guest.image) as disk:
                state = keep_snapshot(state, text, disk)
        elif verb == "up":
            guest.is_up = True
            return state
    if not state.number or reason != "the power fails":
        raise ToolError(f"the guest went off before its sshd was up; its last words: {last}")
    return state


def _decoded(state: State, guest: QemuGuest, writes: Sequence[Write]) -> Iterator[Event]:
    if writes and state.plan.decodes:
        from b2dinspect.provisioning.disk.decoding import decoded_at  # slow imports, for those who ask

        yield decoded_at(guest.image, writes)


def _started(name: str, state: State) -> Started:
    if name == "script":
        sentence = "Run the given script in place of all stages of the first boot."
        return Started(state.number, name, "guest", sentence, f"{state.plan.qemu.script} start")
    stage = STAGES[name]
    return Started(state.number, stage.id, stage.side, stage.sentence, stage.command(state))


def _wait_for_sshd(guest: QemuGuest, state: State) -> Generator[Event, None, State]:
    """Follow a system that is not ours, whose console says what it likes, until an ssh server answers."""
    options = state.plan.qemu
    state = state._replace(number=state.number + 1)
    sentence = "Boot the given system, and wait until its sshd answers."
    yield Started(state.number, "boot", "guest", sentence, f"qemu {options.iso or options.initrd}")
    begin = time.perf_counter()
    pages = Pages()
    pages.update(guest.image)
    looked = 0.0
    for line in guest.lines():
        if line:
            yield Console(line)
        if time.monotonic() - looked > SILENCE:
            guest.is_up = guest.answers()
            looked = time.monotonic()
        if guest.is_up:
            break
    status: StageStatus = "done" if guest.is_up else "failed"
    reason = "" if guest.is_up else "it went off before its sshd answered"
    writes = pages.update(guest.image)
    yield Done(state.number, "boot", status, reason, time.perf_counter() - begin, writes)
    return state
