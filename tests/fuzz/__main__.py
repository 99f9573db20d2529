"""``python -m tests.fuzz``: mutated inputs of every kind through every command that inspects.

Each input is made from a sound one by a few edits, which follow from the seed, the kind and a number. Some of
the commands read it in a forked process: no exception but this package's own may come out, it may take two
seconds and 300 MiB, leave no descriptor open, and print nothing that hides. What fails is made smaller,
written down, and told once.

    python -m tests.fuzz --seconds 600 --state DIR       goes on where the last run with DIR stopped
    python -m tests.fuzz --table --state DIR             how many inputs of each kind, and what was found
    python -m tests.fuzz --again FILE                    tries a find once more
"""

from __future__ import annotations

import argparse
import json
import os
import random
import select
import shutil
import signal
import sys
import tempfile
import time
import zlib
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

from tests.fuzz.edits import (
    Edit,
    applied,
    fewer,
    fixed_checksums,
    from_json,
    mutate_image,
    mutate_text,
    to_json,
)
from tests.fuzz.hot import hot_places, load_hot, save_hot
from tests.fuzz.kinds import KINDS, Kind
from tests.fuzz.readers import COMMAND_NAMES
from tests.fuzz.trial import Find, Probe, attempt, prepare

SILENCE = 40.0
"""Seconds without a word from the child after which it hangs."""


_WARM: set[str] = set()


class Bench:
    """A folder with an input of one kind, which is changed and put back."""

    def __init__(self, kind: Kind, folder: Path) -> None:
        self.kind = kind
        self.folder = folder / kind.name.translate(str.maketrans(" :,'", "____"))
        self._sound = self.folder.with_name(f"{self.folder.name}.sound")
        if not self._sound.exists():
            shutil.rmtree(self.folder, ignore_errors=True)
            self.folder.mkdir(parents=True)
            target = kind.make(self.folder)
            (self.folder / ".target").write_text(str(target.relative_to(self.folder)))
            if not kind.is_text:
                save_hot(hot_places(target), self.folder / ".hot")
            shutil.copy2(target, self._sound)
        self.target = self.folder / (self.folder / ".target").read_text()
        self._hot = None if kind.is_text else load_hot(self.folder / ".hot")
        self._text = self._sound.read_bytes() if kind.is_text else b""
        self._fd = os.open(self._sound, os.O_RDONLY)
        self._size = os.fstat(self._fd).st_size
        self.warm()

    def warm(self) -> None:
        """Let each command read the sound input once: imports are nobody's memory, time or descriptors."""
        for probe in self.kind.probes:
            if probe.name not in _WARM:
                attempt(probe, self.folder)
                _WARM.add(probe.name)

    def close(self) -> None:
        """Close the sound input."""
        os.close(self._fd)

    def edits(self, seed: str, number: int) -> list[Edit]:
        """Return what is done to input ``number``."""
        dice = random.Random(f"{seed}/{self.kind.name}/{number}")
        if self._hot is None:
            return mutate_text(dice, self._text)
        edits = mutate_image(dice, self._hot.fields, self._hot.stretches, self._size, self._sound_pread)
        if dice.random() < 0.5:
            edits += fixed_checksums(
                lambda at, n: self._with(edits, at, n), self._size, self._hot.gpts, edits
            )
        return edits

    def probe(self, seed: str, number: int) -> Probe:
        """Return who reads input ``number``."""
        dice = random.Random(f"{seed}/{self.kind.name}/{number}/probe")
        return dice.choices(self.kind.probes, [one.weight for one in self.kind.probes])[0]

    def _sound_pread(self, offset: int, length: int) -> bytes:
        return os.pread(self._fd, length, offset)

    def _with(self, edits: Sequence[Edit], offset: int, length: int) -> bytes:
        data = bytearray(self._sound_pread(offset, length))
        for edit in edits:
            if edit[0] == "put":
                for at, byte in enumerate(edit[2], edit[1] - offset):
                    if 0 <= at < len(data):
                        data[at] = byte
        return bytes(data)

    def change(self, edits: Sequence[Edit]) -> None:
        """Make the edits."""
        if self.kind.is_text:
            self.target.write_bytes(applied(self._text, edits)[: self.kind.most])
            return
        with self.target.open("r+b") as file:
            for edit in edits:
                if edit[0] == "cut":
                    file.truncate(max(0, edit[1]))
                else:
                    file.seek(edit[1])
                    file.write(edit[2])

    def put_back(self, edits: Sequence[Edit]) -> None:
        """Make the input sound again."""
        if self.kind.is_text:
            return
        if any(edit[0] == "cut" for edit in edits):
            shutil.copy2(self._sound, self.target)
            return
        with self.target.open("r+b") as file:
            for edit in edits:
                file.seek(edit[1])
                file.write(self._sound_pread(edit[1], len(edit[2])))
            file.truncate(self._size)


# --- the child ----------------------------------------------------------------------------------------------


def _forked(work: Callable[[Callable[[dict[str, Any]], None]], None]) -> Iterator[dict[str, Any]]:
    """Run ``work`` in a forked process of its own group; yield what it tells, and how it ended if badly."""
    ours, theirs = os.pipe()
    child = os.fork()
    if not child:
        os.close(ours)
        os.setpgid(0, 0)
        status = 1
        try:
            prepare()
            work(lambda said: _say(theirs, said))
            status = 0
        except BaseException as error:
            _say(theirs, {"broken": repr(error)})
        finally:
            os._exit(status)
    os.close(theirs)
    try:
        yield from _heard(ours)
        _, status = os.waitpid(child, 0)
        if status and os.WIFSIGNALED(status):
            yield {"end": f"died of signal {os.WTERMSIG(status)}"}
    except TimeoutError:
        os.killpg(child, signal.SIGKILL)
        os.waitpid(child, 0)
        yield {"end": "hang"}
    finally:
        os.close(ours)


def _say(fd: int, said: dict[str, Any]) -> None:
    os.write(fd, (json.dumps(said) + "\n").encode())


def _heard(fd: int) -> Iterator[dict[str, Any]]:
    rest = b""
    while True:
        if not select.select([fd], [], [], SILENCE)[0]:
            raise TimeoutError
        data = os.read(fd, 1 << 16)
        if not data:
            return
        *lines, rest = (rest + data).split(b"\n")
        for line in lines:
            yield json.loads(line)


def _try_all(
    bench: Bench, seed: str, numbers: range, until: float, say: Callable[[dict[str, Any]], None]
) -> None:
    for number in numbers:
        if time.monotonic() > until:
            return
        edits = bench.edits(seed, number)
        bench.change(edits)
        probe = bench.probe(seed, number)
        say({"at": number, "command": probe.name})
        finds = attempt(probe, bench.folder)
        bench.put_back(edits)
        say({"done": number, "finds": finds})


def try_once(bench: Bench, edits: Sequence[Edit], command: str) -> list[Find]:
    """Try one command on one input, in a process of its own."""
    probe = next(one for one in bench.kind.probes if one.name == command)
    finds: list[Find] = []
    bench.change(edits)
    try:
        for said in _forked(lambda say: say({"finds": attempt(probe, bench.folder)})):
            if "end" in said:
                finds.append(Find("hang" if said["end"] == "hang" else "died", command, "", said["end"]))
            finds += [Find(*one) for one in said.get("finds", ())]
    finally:
        bench.put_back(edits)
    return finds


# --- the whole ----------------------------------------------------------------------------------------------


class Log:
    """What was tried and found, kept in a folder."""

    def __init__(self, folder: Path, seed: str) -> None:
        self.folder = folder
        self._path = folder / "state.json"
        self.state: dict[str, Any] = {"seed": seed, "kinds": {}}
        if self._path.exists():
            self.state = json.loads(self._path.read_text())
        (folder / "finds").mkdir(parents=True, exist_ok=True)

    @property
    def seed(self) -> str:
        """What everything follows from."""
        return str(self.state["seed"])

    def of(self, kind: str) -> dict[str, Any]:
        """Return what is known of a kind."""
        found: dict[str, Any] = self.state["kinds"].setdefault(
            kind, {"inputs": 0, "commands": 0, "finds": {}}
        )
        return found

    def kinds(self) -> list[tuple[str, dict[str, Any]]]:
        """Return all that is known, by kind."""
        return list(self.state["kinds"].items())

    def save(self) -> None:
        """Write it down."""
        part = self._path.with_suffix(".part")
        part.write_text(json.dumps(self.state, indent=1))
        part.replace(self._path)

    def note(self, bench: Bench, number: int, find: Find) -> bool:
        """Count a find; return whether it is a new one, made small and written down."""
        finds = self.of(bench.kind.name)["finds"]
        known = finds.setdefault(find.signature, {"times": 0, "number": number, "detail": find.detail})
        known["times"] += 1
        if known["times"] > 1:
            return False
        edits = bench.edits(self.seed, number)
        if not _fails_alike(bench, edits, find):
            known["detail"] += " (not a second time)"
            known["again"] = False
        else:
            edits = fewer(edits, lambda candidate: _fails_alike(bench, candidate, find))
            known["again"] = True
        name = f"{bench.folder.name}-{number}-{find.what}-{zlib.crc32(find.signature.encode()):08x}.json"
        document = {"kind": bench.kind.name, "find": find._asdict(), "edits": to_json(edits)}
        (self.folder / "finds" / name).write_text(json.dumps(document, indent=1))
        return True


def _fails_alike(bench: Bench, edits: Sequence[Edit], find: Find) -> bool:
    return any(one.signature == find.signature for one in try_once(bench, edits, find.command))


def round_of(bench: Bench, log: Log, count: int, until: float, ignored: Sequence[str] = ()) -> None:
    """Try the next ``count`` inputs of a kind, or as many as there is time for."""
    known = log.of(bench.kind.name)
    first = known["inputs"]
    at, command = first, ""
    pending: list[tuple[int, Find]] = []
    for said in _forked(lambda tell: _try_all(bench, log.seed, range(first, first + count), until, tell)):
        if "at" in said:
            at, command = said["at"], said["command"]
        elif "done" in said:
            known["inputs"] = said["done"] + 1
            known["commands"] += command in COMMAND_NAMES
            pending += [(said["done"], Find(*one)) for one in said["finds"]]
        else:
            what = said.get("end") or said["broken"]
            pending.append((at, Find("hang" if what == "hang" else "died", command, "", what)))
            known["inputs"] = at + 1
            bench.put_back([("cut", 0)])
    for number, find in pending:
        if find.what not in ignored and log.note(bench, number, find):
            print(
                f"{bench.kind.name} {number}: {find.what} in {find.command}: {find.where} {find.detail}",
                flush=True,
            )
    log.save()


def table(log: Log) -> Iterator[str]:
    """Yield a line for each kind, and one for all."""
    yield f"{'kind':34} {'inputs':>9} {'commands':>9} {'finds':>6}"
    rows = [(name, known["inputs"], known["commands"], len(known["finds"])) for name, known in log.kinds()]
    rows.append(("all", *(sum(column) for column in list(zip(*rows, strict=True))[1:])))
    for name, inputs, commands, finds in rows:
        yield f"{name:34} {inputs:9,} {commands:9,} {finds:6}"


def main(words: Sequence[str] | None = None) -> int:
    """Run; return 1 when something was found."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__.split("\n")[0])
    parser.add_argument("--seconds", type=float, default=60, help="how long (60)")
    parser.add_argument("--seed", default="1", help="what everything follows from (1)")
    parser.add_argument("--state", type=Path, help="folder that keeps what was done and found")
    parser.add_argument("--kind", action="append", help="only kinds whose names hold this; repeatable")
    parser.add_argument("--turn", type=float, default=5, help="seconds for a kind, before the next one (5)")
    parser.add_argument(
        "--ignore", action="append", default=[], help="a sort of find not to look for; repeatable"
    )
    parser.add_argument("--inputs", type=int, help="stop when so many are done in all")
    parser.add_argument("--table", action="store_true", help="only tell what was done and found")
    parser.add_argument("--again", type=Path, metavar="FILE", help="try a find once more")
    given = parser.parse_args(words)
    memory = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
    with tempfile.TemporaryDirectory(prefix="b2dinspect-fuzz-", dir=memory) as scratch:
        if given.again:
            return _again(given.again, Path(scratch))
        log = Log(given.state or Path(scratch), given.seed)
        if not given.table:
            _run(given, log, Path(scratch))
    print("\n".join(table(log)))
    return int(any(known["finds"] for known in log.state["kinds"].values()))


def _run(given: argparse.Namespace, log: Log, scratch: Path) -> None:
    until = time.monotonic() + given.seconds
    wanted = [
        kind for kind in KINDS.values() if not given.kind or any(part in kind.name for part in given.kind)
    ]
    for kind in wanted:
        if not kind.is_possible:
            print(f"not tried: {kind.name}: needs {', '.join(kind.needs)}", file=sys.stderr)
    benches = [Bench(kind, scratch) for kind in wanted if kind.is_possible]
    try:
        while time.monotonic() < until and not _is_enough(log, given.inputs):
            for bench in benches:
                if time.monotonic() < until:
                    turn = min(until, time.monotonic() + given.turn)
                    round_of(bench, log, 100_000, turn, given.ignore)
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
    finally:
        for bench in benches:
            bench.close()


def _is_enough(log: Log, wanted: int | None) -> bool:
    return wanted is not None and sum(known["inputs"] for _, known in log.kinds()) >= wanted


def _again(path: Path, scratch: Path) -> int:
    document = json.loads(path.read_text())
    bench = Bench(KINDS[document["kind"]], scratch)
    finds = try_once(bench, from_json(document["edits"]), document["find"]["command"])
    for find in finds:
        print(f"{find.what} in {find.command}: {find.where} {find.detail}")
    bench.close()
    return int(bool(finds))


if __name__ == "__main__":
    sys.exit(main())
