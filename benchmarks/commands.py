"""What a command takes from its start to its end, and a list of a thousand machines."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

from benchmarks.measure import Row, seconds, side_by_side

IMPORTS = "import typer, rich.console, construct, pytsk3"
FORMATS = {"vdi": "vdi", "vmdk": "vmdk", "qcow2": "qcow2", "vhd": "vpc", "vhdx": "vhdx"}
MACHINES = 1000
CHAIN = 12
PROGRAM = (sys.executable, "-m", "b2dinspect")


def measured(folder: Path) -> Iterator[Row]:
    """Yield how long each command takes beside the imports alone, and many machines beside one."""
    machine = folder / "store" / "bench"
    made = (sys.executable, "-m", "b2dinspect.cli.provision", "run", "bench", "--dir", str(machine.parent))
    subprocess.run((*made, "--force", "--format", "vdi"), check=True, capture_output=True)
    disk = machine / "disk.vdi"
    yield from _commands(folder, disk)
    yield from _machines(folder, machine)


def _commands(folder: Path, disk: Path) -> Iterator[Row]:
    wanted: dict[str, tuple[str, ...]] = {}
    for name, kind in FORMATS.items():
        image = folder / f"bench.{name}"
        subprocess.run(["qemu-img", "convert", "-O", kind, disk, image], check=True)
        wanted[f"show, {name}"] = ("show", str(image))
    wanted["show --json"] = ("show", "--json", str(disk))
    wanted["keys"] = ("keys", str(disk))
    wanted["cat"] = ("cat", str(disk), "/var/lib/boot2docker/userdata.tar")
    wanted["doctor"] = ("doctor", str(disk))
    wanted["--help"] = ("--help",)
    wanted[f"show, chain of {CHAIN}"] = ("show", str(_chain(folder)))
    imports = (sys.executable, "-c", IMPORTS)
    base, *times = side_by_side(imports, *((*PROGRAM, *words) for words in wanted.values()))
    for name, taken in zip(wanted, times, strict=True):
        yield name, f"{IMPORTS} ({base * 1000:.0f} ms)", f"{taken / base:.2f} x"


def _chain(folder: Path) -> Path:
    below = folder / "bench.qcow2"
    for number in range(CHAIN - 1):
        image = folder / f"chain-{number}.qcow2"
        backing = ("-b", below, "-F", "qcow2")
        subprocess.run(["qemu-img", "create", "-q", "-f", "qcow2", *backing, image], check=True)
        below = image
    return below


def _machines(folder: Path, machine: Path) -> Iterator[Row]:
    store = folder / "machines"
    for number in range(MACHINES):
        place = store / f"bench-{number:04}"
        place.mkdir(parents=True)
        for file in machine.iterdir():
            if file.is_file():
                os.link(file, place / file.name)
    (one,) = side_by_side((*PROGRAM, "show", str(machine / "disk.vdi")), rounds=5)
    words = (*PROGRAM, "machines", str(store))
    whole = seconds(*words)
    yield (
        f"machines, {MACHINES}",
        f"as many times show ({one * 1000:.0f} ms)",
        f"{whole / one / MACHINES:.3f} x",
    )
    start = time.perf_counter()
    with subprocess.Popen(words, stdout=subprocess.PIPE) as process:
        lines = [process.stdout.readline() for _ in range(2)] if process.stdout else []
        first = time.perf_counter() - start
        process.kill()
    if len(lines) == 2:
        yield f"the first line of machines, {MACHINES}", f"show ({one * 1000:.0f} ms)", f"{first / one:.2f} x"
