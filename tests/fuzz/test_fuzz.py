"""A slice of the harness: inputs of every kind, always the same; and that it finds what can be found."""

from __future__ import annotations

import sys
import time
from pathlib import Path

import pytest

from tests.fuzz.__main__ import Bench, Log, round_of, table, try_once
from tests.fuzz.edits import applied, fewer, from_json, to_json
from tests.fuzz.kinds import KINDS, Kind
from tests.fuzz.trial import Probe

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="needs fork and /proc")


@pytest.fixture(scope="module")
def scratch(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("fuzz")


@pytest.mark.parametrize("name", KINDS)
@pytest.mark.slow
@pytest.mark.no_cover
def test_a_few_inputs_of_every_kind(name: str, scratch: Path) -> None:
    kind = KINDS[name]
    if not kind.is_possible:
        pytest.skip(f"not installed: {', '.join(kind.needs)}")
    bench, log = Bench(kind, scratch), Log(scratch / "log", "slice")
    round_of(bench, log, 4, time.monotonic() + 60)
    bench.close()
    assert log.of(name)["inputs"] == 4
    assert not log.of(name)["finds"]


def broken(folder: Path) -> None:
    data = (folder / "input").read_bytes()
    if b"X" in data:
        raise ZeroDivisionError
    if b"slow" in data:
        until = time.process_time() + 2.5
        while time.process_time() < until:
            pass
    if b"big" in data:
        bytearray(b"x") * (330 << 20)  # once, and quickly: it must not take long as well
    if b"left" in data:
        open("/dev/null")  # noqa: SIM115 - that is the fault
    if b"hidden" in data:
        print("\u202e")  # noqa: T201


def made(folder: Path) -> Path:
    (folder / "input").write_bytes(b"sound " * 10)
    return folder / "input"


@pytest.mark.parametrize(
    ("text", "what"),
    [(b"X", "exception"), (b"slow", "time"), (b"big", "memory"), (b"hidden", "text"), (b"fine", "")],
)
@pytest.mark.slow(but=1)
def test_what_goes_wrong_is_seen(text: bytes, what: str, tmp_path: Path) -> None:
    kind = Kind("broken", made, (Probe("broken", broken),), True)
    bench = Bench(kind, tmp_path)
    finds = try_once(bench, [("splice", 0, 0, text, 1)], "broken")
    bench.close()
    assert [find.what for find in finds] == ([what] if what else [])


def test_edits_are_the_same_again_and_can_be_written_down(tmp_path: Path) -> None:
    bench = Bench(Kind("broken", made, (), True), tmp_path)
    for number in range(50):
        edits = bench.edits("seed", number)
        assert from_json(to_json(edits)) == edits == bench.edits("seed", number)
    bench.close()


def test_a_find_is_made_smaller() -> None:
    edits = [("splice", 0, 0, b"a", 1), ("splice", 3, 3, b"X", 512), ("cut", 5000), ("splice", 1, 2, b"b", 9)]
    left = fewer(edits, lambda some: b"X" in applied(b"abcdef", some))
    assert left == [("splice", 3, 3, b"X", 1)]


def test_a_run_goes_on_where_it_stopped(tmp_path: Path) -> None:
    bench = Bench(Kind("broken", made, (Probe("broken", broken),), True), tmp_path)
    for _ in range(2):
        log = Log(tmp_path / "log", "1")
        round_of(bench, log, 5, time.monotonic() + 60, ignored=("exception",))
    bench.close()
    assert log.of("broken")["inputs"] == 10
    assert "broken" in "\n".join(table(log))
