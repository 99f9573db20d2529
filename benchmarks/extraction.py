"""How fast files come out of a disk, beside the programs that do it in C."""

from __future__ import annotations

import json
import os
import random
import shutil
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

FILES = 60_000
IN_A_FOLDER = 250
SIZES = (100, 900, 3000, 5000, 12_000)
LARGE = 6
LARGE_SIZE = 200 << 20
MANY = 100_000
"""Files, for the memory that their names take."""
IN_A_LARGE_ONE = 4000
"""Names in one directory: ``mke2fs -d`` looks through all of them for each."""
CONTAINERS = 300
ROUNDS = 3


def small_files(folder: Path, count: int) -> int:
    """Make files of some KiB in folders of 250; return their bytes."""
    dice, total = random.Random(1), 0
    for number in range(count):
        place = folder / f"d{number // IN_A_FOLDER}"
        if not number % IN_A_FOLDER:
            place.mkdir(parents=True)
        data = dice.randbytes(dice.choice(SIZES))
        (place / f"file{number}").write_bytes(data)
        total += len(data)
    return total


def large_files(folder: Path) -> int:
    """Make files of 200 MiB; return their bytes."""
    folder.mkdir()
    block = os.urandom(1 << 20)
    for number in range(LARGE):
        with (folder / f"large{number}").open("wb") as file:
            for part in range(LARGE_SIZE >> 20):
                file.write(part.to_bytes(8, "big") + block[8:])
    return LARGE * LARGE_SIZE


def disk(tree: Path, image: Path, size: int) -> Path:
    """Make an ext4 of a folder, which is then gone."""
    inodes = ("-N", str(sum(len(names) for _, _, names in os.walk(tree)) + 5000))
    command = ("mke2fs", "-q", "-F", "-t", "ext4", *inodes, "-d", tree, image, f"{size >> 10}k")
    subprocess.run(command, check=True)
    shutil.rmtree(tree)
    return image


def once(target: Path, *command: str | Path) -> float:
    """Return the seconds that a command takes to fill an empty folder, all of it synced."""
    shutil.rmtree(target, ignore_errors=True)
    os.sync()
    start = time.perf_counter()
    if command[0] != sys.executable:
        target.mkdir()
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    os.sync()
    return time.perf_counter() - start


def in_turns(image: Path, raw: Path, target: Path) -> tuple[float, float, float]:
    """Return the median seconds of get from an image, and of tsk_recover and debugfs from a raw one."""
    commands: tuple[tuple[str | Path, ...], ...] = (
        (sys.executable, "-m", "b2dinspect", "get", image, "/", target),
        ("tsk_recover", "-a", "-f", "ext4", raw, target),
        ("debugfs", "-R", f"rdump / {target}", raw),
    )
    times: list[list[float]] = [[] for _ in commands]
    for _ in range(ROUNDS):
        for command, found in zip(commands, times, strict=True):
            found.append(once(target, *command))
    shutil.rmtree(target, ignore_errors=True)
    ours, theirs, debugfs = (statistics.median(found) for found in times)
    return ours, theirs, debugfs


def rows(folder: Path, count: int = FILES) -> Iterator[tuple[str, str, str]]:
    """Yield what was measured, beside what, and the result."""
    target = folder / "out"
    cases = (
        (f"get, {count} small files", lambda tree: small_files(tree, count)),
        (f"get, {LARGE} files of 200 MiB", large_files),
    )
    for what, make in cases:
        tree, raw = folder / "tree", folder / "raw"
        total = make(tree)
        disk(tree, raw, total * 5 // 4 + count * 2048 + (64 << 20))
        image = folder / "image.vmdk"
        subprocess.run(["qemu-img", "convert", "-f", "raw", "-O", "vmdk", raw, image], check=True)
        for kind, path in (("raw", raw), ("VMDK", image)):
            ours, theirs, debugfs = in_turns(path, raw, target)
            yield f"{what}, {kind}", f"tsk_recover ({theirs:.1f} s)", f"{ours / theirs:.2f} x"
            yield f"{what}, {kind}", f"debugfs rdump ({debugfs:.1f} s)", f"{ours / debugfs:.2f} x"
        image.unlink()
        raw.unlink()


def containers(folder: Path) -> Path:
    """Return a disk with the containers of an old Docker: a configuration and two layers each."""
    place = folder / "tree/var/lib/docker"
    image = "1" * 64
    notes = {"id": image, "created": "2015-01-02T03:04:05Z", "os": "linux"}
    (place / "graph" / image).mkdir(parents=True)
    (place / "graph" / image / "json").write_text(json.dumps(notes))
    (place / "repositories-aufs").write_text(json.dumps({"Repositories": {"old": {"1": image}}}))
    for number in range(CONTAINERS):
        own = f"{number:064x}"
        for layer in (own, f"{own}-init"):
            (place / "aufs/diff" / layer).mkdir(parents=True)
        (place / "aufs/diff" / own / "file").write_bytes(bytes(number))
        (place / "aufs/layers").mkdir(exist_ok=True)
        (place / "aufs/layers" / own).write_text(f"{own}-init\n{image}\n")
        config: dict[str, object] = {
            "ID": own,
            "Name": f"/c{number}",
            "Created": "2017-03-04T05:06:07Z",
            "Image": image,
        }
        config |= {
            "Path": "/bin/sh",
            "State": {"ExitCode": 0},
            "Config": {"Image": "old:1"},
            "Driver": "aufs",
        }
        (place / "containers" / own).mkdir(parents=True)
        (place / "containers" / own / "config.json").write_text(json.dumps(config))
    return disk(folder / "tree", folder / "containers.img", 64 << 20)


def memory(folder: Path) -> Path:
    """Return a disk with 100,000 files in a few large directories."""
    tree = folder / "many"
    for number in range(MANY):
        place = tree / f"d{number // IN_A_LARGE_ONE}"
        if not number % IN_A_LARGE_ONE:
            place.mkdir(parents=True)
        (place / f"a-name-of-some-length-{number:06}").touch()
    return disk(tree, folder / "many.img", 256 << 20)
