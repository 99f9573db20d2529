"""``python -m benchmarks``: speed and memory of b2dinspect and b2dprovision, beside programs that do less.

Prints ratios, each of two things measured in turns in the same run, so that a busy machine slows both.
``python -m benchmarks PART…`` measures some parts of it only. ``--json FILE`` keeps the rows;
``--before FILE`` warns of what takes a fifth more than there.
Needs qemu-img, mke2fs, debugfs and ssh, for extraction tsk_recover; Linux.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from rich.console import Console
from rich.table import Table

from b2dinspect.containers.vdi.writer import VdiWriter
from b2dinspect.evidence.chain import open_disk
from b2dinspect.newfile import NewFile
from b2dinspect.provisioning.keypair import sample_key
from b2dinspect.provisioning.samples.samples import DISK_SIZE, SampleDisk, kept, provisioned
from b2dinspect.userdata.tarball import build_userdata
from benchmarks import commands, copying, extraction
from benchmarks.measure import ROUNDS, Row, grown, save, seconds, side_by_side

IMPORTS = "import typer, rich.console, construct, pytsk3"
WRITING = "import construct, cryptography"
TERABYTES = 2 << 40


def make_vdi(disk: SampleDisk, path: Path, size: int) -> None:
    """Write a disk's content into a VDI of any size."""
    with NewFile(path) as file:
        writer = VdiWriter(file, size)
        for offset, data in disk.writes:
            writer.pwrite(offset, data)
        writer.flush()


def peak_memory(*command: str) -> int:
    """Return the largest resident size of a command or its children, in bytes."""
    script = "import resource,subprocess,sys; subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL); "
    script += "print(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss)"
    found = subprocess.run([sys.executable, "-c", script, *command], capture_output=True, check=True)
    return int(found.stdout) * 1024


def read_all(path: Path) -> None:
    """Read a whole disk in pieces of 1 MiB."""
    with open_disk(str(path)) as opened:
        for offset in range(0, opened.container.size, 1 << 20):
            opened.container.pread(offset, 1 << 20)


READS = (
    ("vdi",),
    ("vpc", "-o", "force_size=on"),
    ("vmdk",),
    ("vmdk", "-o", "subformat=streamOptimized"),
    ("qcow2",),
    ("qcow2", "-o", "cluster_size=4096"),
    ("qcow2", "-c"),
)
"""Images for the reading test, as qemu-img convert -O takes them."""


def reading(folder: Path) -> Iterator[tuple[str, str, str]]:
    """Yield how fast each format is read, beside qemu-img reading it into nothing."""
    raw, image = folder / "random", folder / "image"
    block = os.urandom(1 << 19) + bytes(range(256)) * 2048
    with raw.open("wb") as file:
        for number in range(384):
            file.write(number.to_bytes(8, "big") + block[8:])
    nothing = f"driver=null-co,size={raw.stat().st_size}"
    for kind, *options in READS:
        subprocess.run(["qemu-img", "convert", "-O", kind, *options, raw, image], check=True)
        convert = ("qemu-img", "convert", "-n", "-f", kind, "--target-image-opts", str(image), nothing)
        theirs, ours = [], []
        for _ in range(3):
            theirs.append(seconds(*convert))
            start = time.perf_counter()
            read_all(image)
            ours.append(time.perf_counter() - start)
        ratio = statistics.median(theirs) / statistics.median(ours)
        what = " ".join((kind, *options))
        yield f"reading 384 MiB, {what}", "qemu-img convert to null-co", f"{ratio:.2f} x as fast"


def rows(folder: Path) -> Iterator[tuple[str, str, str]]:
    """Yield what was measured, beside what, and the result."""
    show = (sys.executable, "-m", "b2dinspect", "show")
    imports = (sys.executable, "-c", IMPORTS)
    small, huge = folder / "20g.vdi", folder / "2t.vdi"
    disk = provisioned("autoformat", kept(sample_key("owner")))
    make_vdi(disk, small, DISK_SIZE)
    make_vdi(provisioned("autoformat", kept(sample_key("owner")), size=TERABYTES), huge, TERABYTES)
    base, one, two, info = side_by_side(
        imports, (*show, str(small)), (*show, str(huge)), ("qemu-img", "info", str(small))
    )
    yield "show, 20 GB VDI", f"{IMPORTS} ({base * 1000:.0f} ms)", f"{one / base:.2f} x"
    yield "show, 2 TB VDI", "the same", f"{two / base:.2f} x"
    yield "show, 20 GB VDI", f"qemu-img info ({info * 1000:.0f} ms)", f"{one / info:.2f} x"
    for name, path in (("20 GB", small), ("2 TB", huge)):
        yield (
            f"peak memory of show, {name} VDI",
            "limit 60 MB",
            f"{peak_memory(*show, str(path)) / 1e6:.1f} MB",
        )


def provisioning(folder: Path) -> Iterator[tuple[str, str, str]]:
    """Yield the same about making disks and machines."""
    program = (sys.executable, "-m", "b2dinspect.cli.provision")
    fresh, machines, key = folder / "fresh.vdi", folder / "machines", folder / "key.pub"
    key.write_bytes(sample_key("owner"))
    build = (*program, "build", str(fresh), "--force", "--size", "20GB", "--key", str(key))
    base, made = side_by_side((sys.executable, "-c", WRITING), build)
    yield "build, fresh 20 GB VDI", f"{WRITING} ({base * 1000:.0f} ms)", f"{made / base:.2f} x"
    yield "disk it touches", "limit 3 MB", f"{fresh.stat().st_blocks * 512 / 1e6:.2f} MB"
    pipe = ("sh", "-c", "head -c 20G /dev/zero | cat")
    source = folder / "fresh.raw"
    with source.open("wb") as file:
        file.write(build_userdata(sample_key("owner")))
        file.truncate(20 * 10**9)
    convert = ("qemu-img", "convert", "-f", "raw", "-O", "vdi", str(source), str(folder / "converted.vdi"))
    zeros, converted = (statistics.median(seconds(*command) for _ in range(3)) for command in (pipe, convert))
    yield "build, fresh 20 GB VDI", f"head -c 20G /dev/zero | cat ({zeros:.1f} s)", f"{made / zeros:.3f} x"
    beside = f"qemu-img convert of a sparse raw ({converted * 1000:.0f} ms)"
    yield "build, fresh 20 GB VDI", beside, f"{made / converted:.2f} x"
    run = (*program, "run", "bench", "--dir", str(machines), "--force", "--format", "vdi", "--json")
    own, whole = _own_share(run)
    yield (
        "run, 20 GB: both boots and logins",
        f"its own mkfs and one login ({own * 1000:.0f} ms)",
        f"{whole / own:.2f} x",
    )
    yield "peak memory of run", "limit 120 MB", f"{peak_memory(*run) / 1e6:.1f} MB"


def _own_share(run: tuple[str, ...]) -> tuple[float, float]:
    """Return the median seconds of mke2fs and one ssh login within a run, and of the whole run."""
    shares, wholes = [], []
    for _ in range(5):
        start = time.perf_counter()
        found = subprocess.run(run, capture_output=True, check=True)
        wholes.append(time.perf_counter() - start)
        events = [json.loads(line) for line in found.stdout.splitlines()]
        shares.append(
            sum(
                event["seconds"]
                for event in events
                if event.get("id") in ("mkfs", "login") and event["event"] == "done"
            )
        )
    return statistics.median(shares), statistics.median(wholes)


def extracting(folder: Path) -> Iterator[tuple[str, str, str]]:
    """Yield how fast files come out of a disk, and in how much memory."""
    yield from extraction.rows(folder)
    stored = str(extraction.containers(folder))
    program = (sys.executable, "-m", "b2dinspect")
    shown, listed = side_by_side((*program, "show", stored), (*program, "docker", "ps", stored))
    beside = f"show ({shown * 1000:.0f} ms)"
    yield f"docker ps, {extraction.CONTAINERS} containers", beside, f"{listed / shown:.2f} x"
    many = extraction.memory(folder)
    for words in (("get", str(many), "/", str(folder / "out")), ("get", str(many), "/", "--tar", os.devnull)):
        command = (sys.executable, "-m", "b2dinspect", *words, *(["--force"] if os.devnull in words else []))
        what = f"peak memory of {words[0]} {'--tar' if '--tar' in words else ''}, {extraction.MANY} files"
        yield what, "limit 100 MB", f"{peak_memory(*command) / 1e6:.1f} MB"


PARTS = {
    "show": rows,
    "commands": commands.measured,
    "copying": copying.measured,
    "reading": reading,
    "provisioning": provisioning,
    "extraction": extracting,
}


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__.split("\n")[0])
    parser.add_argument("parts", nargs="*", metavar="PART", help=f"{', '.join(PARTS)} (all)")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the rows there, too")
    parser.add_argument("--before", type=Path, metavar="FILE", help="warn of what has grown by a fifth since")
    words = parser.parse_args()
    parts = words.parts or [*PARTS]
    if unknown := [part for part in parts if part not in PARTS]:
        parser.error(f"no part {unknown[0]}; there are {', '.join(PARTS)}")
    path = os.pathsep.join([os.environ["PATH"], "/usr/sbin", "/sbin"])
    needed = ["qemu-img", "mke2fs", "debugfs", "ssh", *(["tsk_recover"] if "extraction" in parts else [])]
    missing = [name for name in needed if not shutil.which(name, path=path)]
    if missing:
        sys.exit(f"benchmarks need {', '.join(missing)}")
    rows_found: list[Row] = []
    with tempfile.TemporaryDirectory(prefix="b2d-bench-") as folder:
        for part in parts:
            rows_found += PARTS[part](Path(folder))
    table = Table("measured", "beside", "result")
    for row in rows_found:
        table.add_row(*row)
    Console().print(table)
    print(f"{ROUNDS} rounds in turns (copies fewer), medians")
    if words.json:
        save(rows_found, words.json)
    if words.before and words.before.exists():
        for text in grown(rows_found, words.before):
            print(f"::warning::{text}")  # GitHub shows it beside the commit


main()
