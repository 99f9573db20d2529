"""convert beside qemu-img convert, both with the new image on the disk at the end; hashes beside memory.

qemu-img by itself syncs nothing (``-t unsafe``): here it is told to (``-t writeback``), as convert does.
"""

from __future__ import annotations

import hashlib
import os
import random
import statistics
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path

from b2dinspect.doctor.report import _hashed
from b2dinspect.evidence.chain import open_disk
from b2dinspect.provisioning.disk.copying import first_difference
from benchmarks.measure import Row, side_by_side

SIZE = 20 * 10**9
STORED = 512 << 20
ROUNDS = 3
CONVERT = (sys.executable, "-m", "b2dinspect.cli.provision", "convert", "--force", "--format")
QEMU = ("qemu-img", "convert", "-t", "writeback", "-f")
SOURCES = {"vdi": ("vdi",), "vmdk": ("vmdk",), "qcow2": ("qcow2",), "compressed qcow2": ("qcow2", "-c")}
TARGETS = {"vdi": "vdi", "vmdk": "vmdk", "qcow2": "qcow2", "vhd": "vpc"}


def measured(folder: Path) -> Iterator[Row]:
    """Yield how long copies take beside qemu-img, and hashing and comparing beside memory."""
    raw, out = folder / "stored.raw", str(folder / "copy")
    _fill(raw)
    for name, (kind, *options) in SOURCES.items():
        image = str(folder / "source")
        subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", kind, *options, raw, image], check=True)
        qemu, ours = (*QEMU, kind, "-O", "raw", image, out), (*CONVERT, "raw", image, out)
        yield _row(f"convert {name} to raw", qemu, ours)
    for name, kind in TARGETS.items():
        qemu, ours = (*QEMU, "raw", "-O", kind, str(raw), out), (*CONVERT, name, str(raw), out)
        yield _row(f"convert raw to {name}", qemu, ours)
    yield from _memory(folder, raw)


def _fill(path: Path) -> None:
    """Write what packs by half, in runs of many lengths with holes between them."""
    chance = random.Random(20)
    text = Path(sys.executable).resolve().read_bytes() * 3
    with path.open("wb") as file:
        file.truncate(SIZE)
        stored = position = 0
        while stored < STORED:
            length = chance.choice((1 << 16, 1 << 20, 1 << 23))
            begin = chance.randrange(len(text) // 2)
            data = chance.randbytes(length) if chance.random() < 0.3 else text[begin : begin + length]
            file.seek(position)
            file.write(data)
            stored, position = stored + len(data), position + length + chance.choice((0, 0, 1 << 16, 1 << 26))


def _row(what: str, qemu: tuple[str, ...], ours: tuple[str, ...]) -> Row:
    theirs, mine = side_by_side(qemu, ours, rounds=ROUNDS)
    return what, f"qemu-img convert -t writeback ({theirs:.2f} s)", f"{theirs / mine:.2f} x as fast"


def _memory(folder: Path, raw: Path) -> Iterator[Row]:
    data = os.urandom(1 << 20) * 256
    same, twin = folder / "same.raw", folder / "twin.raw"
    same.write_bytes(data)
    twin.write_bytes(data)

    def hash_memory() -> None:
        hashes = hashlib.sha256(), hashlib.md5(usedforsecurity=False)
        threads = [threading.Thread(target=one.update, args=(data,)) for one in hashes]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()

    def compare() -> None:
        with open_disk(str(same)) as one, open_disk(str(twin)) as other:
            first_difference(one.container, other.container)

    memory, hashed = _in_turns(hash_memory, lambda: _hashed(str(same), None))
    yield "both hashes of 256 MiB", f"the same in memory ({memory:.2f} s)", f"{memory / hashed:.2f} x as fast"
    theirs, mine = _in_turns(lambda: subprocess.run(["cmp", same, twin], check=True), compare)
    yield "convert --verify: comparing 256 MiB", f"cmp ({theirs:.2f} s)", f"{theirs / mine:.2f} x as fast"


def _in_turns(*works: Callable[[], object]) -> list[float]:
    times: list[list[float]] = [[] for _ in works]
    for _ in range(ROUNDS):
        for work, found in zip(works, times, strict=True):
            start = time.perf_counter()
            work()
            found.append(time.perf_counter() - start)
    return [statistics.median(found) for found in times]
