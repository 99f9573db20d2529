"""``python -m tests.kill [COMMAND]…``: each writing call of a command is killed, interrupted, or fails once.

The command runs in a forked process, above a file layer of which the n-th call fails. Afterwards the old
state is there or the new one, ``undo`` is possible, what else is left ``sweep`` removes, no process runs on,
and nobody else can read a key. The simulated guest's client is not the real ssh here, which takes most of
the time; ``python -m tests.kill.traced`` has strace do the same to a whole program.

    python -m tests.kill --state DIR              goes on where the last run with DIR stopped
    python -m tests.kill run boot --stride 7      every seventh trial of some commands
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from pathlib import Path

from tests.kill.layer import FAULTS, TEARABLE, Fault, Layer
from tests.kill.victims import VICTIMS, State, Victim, state_of

PATIENCE = 120.0
"""Seconds for one run of a command."""


def main(given: Sequence[str] | None = None) -> int:
    """Run the trials of some commands, and print what was wrong, and how many there were."""
    parser = argparse.ArgumentParser(prog="python -m tests.kill", description=__doc__.split("\n")[0])
    parser.add_argument("names", nargs="*", help="commands (all)")
    parser.add_argument("--stride", type=int, default=1, help="only every so many-th trial (1)")
    parser.add_argument("--state", type=Path, help="folder that keeps what was done")
    words = parser.parse_args(given)
    done = _remembered(words.state)
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="b2d-kill-", dir=memory) as folder:
        for victim in VICTIMS:
            if words.names and not any(name in victim.name for name in words.names):
                continue
            for name, wrong in trials(victim, Path(folder), words.stride, done):
                done[name] = wrong
                if wrong:
                    print(f"{name}: {wrong}", flush=True)  # noqa: T201
                if words.state:
                    with (words.state / "trials.jsonl").open("a") as file:
                        file.write(json.dumps([name, wrong]) + "\n")
    print("\n".join(table(done)))  # noqa: T201
    return int(any(done.values()))


def _remembered(folder: Path | None) -> dict[str, str]:
    if folder is None:
        return {}
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / "trials.jsonl"
    return dict(json.loads(line) for line in path.read_text().splitlines()) if path.exists() else {}


def table(done: dict[str, str]) -> Iterator[str]:
    """Yield a line for each command, and one for all."""
    for victim in VICTIMS:
        mine = [wrong for name, wrong in done.items() if name.startswith(f"{victim.name} | ")]
        yield f"{victim.name:32} {len(mine):6,} trials, {sum(map(bool, mine))} bad"
    yield f"{'all':32} {len(done):6,} trials, {sum(map(bool, done.values()))} bad"


def trials(
    victim: Victim, folder: Path, stride: int = 1, known: Sequence[str] | dict[str, str] = ()
) -> Iterator[tuple[str, str]]:
    """Perform every ``stride``-th trial; yield its name and what was wrong after it, "" for nothing."""
    sound = folder / f"{victim.name}.sound"
    if not sound.exists():
        sound.mkdir()
        victim.prepare(sound)
    with Bench(victim, sound, folder / "trial") as bench:
        status, calls = bench.run(Layer())
        if status not in (0, 1):  # 1: all was done, and something is told
            raise RuntimeError(f"{victim.name} ends with {status} when nothing is wrong")
        new = state_of(bench.place)
        wanted = [
            (n, call, fault)
            for n, call in enumerate(calls, 1)
            for fault in (FAULTS if call in TEARABLE else FAULTS[:-1])
        ]
        for number, call, fault in wanted[::stride]:
            name = f"{victim.name} | {number} {call} {fault}"
            if name not in known:
                bench.run(Layer(number, fault))
                yield name, bench.wrong(new, call, fault)


class Bench:
    """A folder in which a command runs again and again.

    Args:
        victim: The command.
        sound: What it finds.
        folder: Where it runs.

    Attributes:
        place: Its current folder.
    """

    def __init__(self, victim: Victim, sound: Path, folder: Path) -> None:
        self.victim, self._sound, self._folder = victim, sound, folder
        self.place, self._temporary = folder / "place", folder / "temporary"
        self._old: State = state_of(sound)
        self._said = folder.with_name("said")

    def __enter__(self) -> Bench:
        _import_ahead(self.victim)
        return self

    def __exit__(self, *_: object) -> None:
        shutil.rmtree(self._folder, ignore_errors=True)

    def run(self, layer: Layer) -> tuple[int, list[str]]:
        """Run the command in a forked process; return its status, and the calls that it made."""
        shutil.rmtree(self._folder, ignore_errors=True)
        self._temporary.mkdir(parents=True)
        shutil.copytree(self._sound, self.place, symlinks=True)
        answers, told = os.pipe()
        child = os.fork()
        if not child:
            os.close(answers)
            _play(self.victim, self.place, self._temporary, layer, told, self._said)
        os.close(told)
        with os.fdopen(answers, "rb") as pipe:
            calls = pipe.read().decode().split()
        return os.waitstatus_to_exitcode(_waited(child)), calls

    def wrong(self, new: State, call: str, fault: Fault) -> str:
        """Return what is wrong with what a run has left."""
        temporary, tempfile.tempdir = tempfile.tempdir, str(self._temporary)
        try:
            open_keys = ", ".join(_open_keys(self._folder, self._sound))
            # what could not be cleaned up because that failed, or the process was gone, is swept on request
            if fault in ("KILL", "TERM", "TORN") or call in ("unlink", "remove", "rmdir"):
                _sweep(self.place)
            left = [path.name for path in self._temporary.iterdir()]
            left += [path.name for path in self.place.rglob("*.part")]
            left += [path.name for path in self.place.rglob("*.old")]
            reasons = [
                f"a key that others can read: {open_keys}" if open_keys else "",
                f"left: {', '.join(left)}" if left else "",
                self.victim.wrong(self.place, self._old, new),
            ]
        finally:
            tempfile.tempdir = temporary
        return "; ".join(filter(None, reasons))


def _waited(child: int) -> int:
    end = time.monotonic() + PATIENCE
    while time.monotonic() < end:
        pid, status = os.waitpid(child, os.WNOHANG)
        if pid:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child, 0)
                raise RuntimeError("a process runs on")
            return status
        time.sleep(0.002)
    os.killpg(child, signal.SIGKILL)
    os.waitpid(child, 0)
    raise RuntimeError("the command does not come to an end")


def _play(victim: Victim, place: Path, temporary: Path, layer: Layer, told: int, said: Path) -> None:
    """Be the command, with a door that is tried in process, and tell which calls it made; never returns."""
    from b2dinspect.provisioning import login

    status = 70
    try:
        os.setpgid(0, 0)
        os.chdir(place)
        os.environ["TMPDIR"], tempfile.tempdir = str(temporary), str(temporary)
        output = os.open(said, os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        for fd in (1, 2):
            os.dup2(output, fd)
        sys.argv = [victim.program, *victim.words]
        run = _program(victim)
        login.log_in = _let_in  # type: ignore[assignment]
        layer.install()
        run()
        status = 0
    except SystemExit as end:
        status = end.code if isinstance(end.code, int) else 0
    except BaseException as error:
        os.write(2, repr(error).encode())
    finally:
        with contextlib.suppress(BaseException):
            sys.stdout.flush()
        _tell(told, layer)
        os._exit(status)


def _tell(pipe: int, layer: Layer) -> None:
    calls = list(layer.calls)
    with contextlib.suppress(BaseException), os.fdopen(pipe, "wb") as file:
        file.write(" ".join(calls).encode())


def _program(victim: Victim):  # type: ignore[no-untyped-def]
    if victim.program == "b2dinspect":
        from b2dinspect.cli.main import run
    else:
        from b2dinspect.cli.provision.main import run
    return run


def _import_ahead(victim: Victim) -> None:
    """Import here what every run would import."""
    import asyncssh  # noqa: F401

    from b2dinspect.provisioning.repair import plan, proof, writing  # noqa: F401
    from b2dinspect.provisioning.simulated import simulate, sshd  # noqa: F401

    _program(victim)


def _let_in(guest: object, user: str, key: Path, work: Path, command: str = "whoami") -> object:
    """Answer as ssh would: the wrong key is refused, any other is let in."""
    from b2dinspect.provisioning.login import WRONG_KEY, Attempt

    return Attempt(False, "", "Permission denied") if key.name == WRONG_KEY else Attempt(True, user, "")


def _sweep(folder: Path) -> None:
    from b2dinspect.newfile.leftovers import leftovers, scratch_leftovers, sweep

    folders = [folder, *(path for path in folder.rglob("*") if path.is_dir() and path.suffix != ".part")]
    for one in [*scratch_leftovers(), *(found for place in folders for found in leftovers(place))]:
        sweep(one)


def _open_keys(folder: Path, sound: Path) -> Iterator[str]:
    """Yield private keys that others can read, but those that others could read before."""
    before = {path.name for path in sound.rglob("*") if path.is_file() and path.stat().st_mode & 0o77}
    for path in folder.rglob("*"):
        if not path.is_file() or path.is_symlink() or path.name in before or not path.stat().st_mode & 0o77:
            continue
        with path.open("rb") as file:  # a work folder may hold a disk of 20 GB, nearly all of it a hole
            head = file.read(200)
        if b"PRIVATE KEY-----" in head and all(
            above.stat().st_mode & 0o5 for above in path.parents if folder in above.parents
        ):
            yield path.name


if __name__ == "__main__":
    sys.exit(main())
