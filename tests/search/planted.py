"""Disks with pieces planted at every alignment, and what programs of others say of where they are.

``python -m tests.search.planted 500`` makes and searches that many.
"""

from __future__ import annotations

import os
import random
import re
import subprocess
import sys
import tempfile
import time
from functools import cache
from pathlib import Path
from typing import NamedTuple

from b2dinspect.inspection.walk import inspect
from b2dinspect.provisioning.keypair import SAMPLE_KEYS
from b2dinspect.search.engine import EngineName
from b2dinspect.search.facts import Hit, Kind
from b2dinspect.search.patterns import parse
from b2dinspect.search.scan import Search, Wanted
from tests.disks import PUB, TAR
from tests.oracles import run

MIB = 1 << 20
SIZE = 12 * MIB
FORMATS: dict[str, tuple[str, ...]] = {
    "raw": (),
    "vdi": ("-O", "vdi"),
    "vmdk": ("-O", "vmdk"),
    "streamOptimized": ("-O", "vmdk", "-o", "subformat=streamOptimized"),
    "qcow2": ("-O", "qcow2"),
    "qcow2-512": ("-O", "qcow2", "-o", "cluster_size=512"),
    "qcow2-packed": ("-c", "-O", "qcow2"),
    "qcow2-zstd": ("-c", "-O", "qcow2", "-o", "compression_type=zstd"),
    "vhd": ("-O", "vpc", "-o", "force_size=on"),
    "vhdx": ("-O", "vhdx"),
}
EDGES = (512, 4096, 64 << 10, 512 << 10, MIB, 2 * MIB)
"""Sectors, blocks, clusters and grains, windows of the search, blocks of VDI and VHD."""
PATTERN = b"planted by hand\0!"


class Piece(NamedTuple):
    """What is planted: its kind, its bytes, and how far into them the search says that it begins."""

    kind: Kind
    data: bytes
    token: bytes


@cache
def pieces() -> tuple[Piece, ...]:
    key = (SAMPLE_KEYS / "practice-1").read_bytes()
    config = b'{"ConfigVersion": 3, "Driver": {"MachineName": "planted"}, "DriverName": "virtualbox"}'
    return (
        Piece("marker", b"boot2docker, please format-me", b"boot2docker, please format-me"),
        Piece("marker", b"greenbox, please format-me", b"greenbox, please format-me"),
        Piece("public-key", b"\n" + PUB, PUB[:40]),
        Piece("public-key", b"\n" + PUB[:200] + b"\0", PUB[:40]),
        Piece("private-key", key, key[:31]),
        Piece("private-key", key[:500] + b"\0", key[:31]),
        Piece("config", config, config),
        Piece("tar-entry", TAR[1024:3072], TAR[1024:1124]),
        Piece("pattern", PATTERN, PATTERN),
    )


def plant(seed: int, path: Path) -> dict[tuple[str, int], bytes]:
    """Make a sparse raw disk; return kind and offset of each piece, and its token."""
    source = random.Random(seed)
    planted: dict[tuple[str, int], bytes] = {}
    taken: list[tuple[int, int]] = []
    with path.open("wb") as file:
        file.truncate(SIZE)
        for at in range(0, SIZE, MIB):  # noise, and holes
            if source.random() < 0.6:
                length = source.choice((512, 4096, 70_000, MIB))
                file.seek(at)
                file.write(source.randbytes(length))
        for piece in pieces():
            for _ in range(3):
                edge = source.choice(EDGES)
                at = source.randrange(1, SIZE // edge) * edge - source.randrange(len(piece.data))
                at = source.choice((at, source.randrange(SIZE - 8192)))
                end = at + len(piece.data)
                if any(at < stop + 64 and start < end + 64 for start, stop in taken) or at < 0 or end > SIZE:
                    continue
                taken.append((at, end))
                file.seek(at)
                file.write(piece.data)
                planted[piece.kind, at + piece.data.index(piece.token)] = piece.token
    return planted


def searched(path: Path, engine: EngineName | None = None) -> list[Hit]:
    """Return what a search for all kinds and PATTERN finds."""
    with inspect(str(path)) as facts:
        wanted = Wanted(patterns=(parse("0x" + PATTERN.hex()),), engine=engine)
        search = Search(facts, wanted)
        found = [*search.hits()]
        assert search.totals.is_complete
    return found


def grepped(raw: Path, token: bytes) -> set[int]:
    """Return what ``grep -abo`` says of where a token is."""
    pattern = "".join(f"\\x{byte:02x}" for byte in token)
    words = ["grep", "-aboP", pattern, raw]
    env = {**os.environ, "LC_ALL": "C"}
    done = subprocess.run(words, capture_output=True, env=env, timeout=600, check=False)
    return {int(line[0]) for line in re.finditer(rb"(?m)^\d+(?=:)", done.stdout)}


def check(seed: int, name: str, folder: Path, grep: bool = True) -> int:
    """Plant a disk in a container and search it; return how many pieces were found, all of them."""
    raw = folder / f"{seed}.raw"
    planted = plant(seed, raw)
    image = raw if name == "raw" else folder / f"{seed}.img"
    if name != "raw":
        run("qemu-img", "convert", "-f", "raw", *FORMATS[name], raw, image)
    found = searched(image)
    kinds = {kind for kind, _ in planted}
    hits = {(hit.find.kind, hit.find.offset): hit for hit in found if hit.find.kind in kinds}
    if grep:
        flat = raw
        if name != "raw":
            flat = folder / f"{seed}.flat"
            run("qemu-img", "convert", "-O", "raw", image, flat)
        told = {
            (kind, offset)
            for kind, token in {(kind, token) for (kind, _), token in planted.items()}
            for offset in grepped(flat, token)
        }
        assert {*planted} <= told <= {*planted} | inner(planted), (seed, name, told ^ {*planted})
    missed, invented = {*planted} - {*hits}, {*hits} - {*planted} - inner(planted)
    assert not missed and not invented, (seed, name, sorted(missed), sorted(invented))
    check_offsets(image, hits.values())
    return len(planted)


def inner(planted: dict[tuple[str, int], bytes]) -> set[tuple[str, int]]:
    """Return what is found within pieces: the second entry and the key of the piece of a tar."""
    found = set()
    for kind, at in planted:
        if kind == "tar-entry":
            found |= {("tar-entry", at + 512), ("tar-entry", at + 1536), ("public-key", at + 1024)}
    return found


def check_offsets(image: Path, hits: object) -> None:
    """Check that the file holds what it is said to hold, or a packed block where one is said to be."""
    data = image.read_bytes()
    with inspect(str(image)) as facts:
        for hit in hits:  # type: ignore[attr-defined]
            first = facts.container.pread(hit.find.offset, 1)
            if hit.file_offset is not None:
                assert data[hit.file_offset : hit.file_offset + 1] == first
            elif facts.container.is_packed:
                assert hit.cluster_offset is not None and 0 < hit.cluster_offset < len(data)
            else:
                assert first == b"\0"  # it begins in a hole


def main(count: int) -> None:
    """Search that many disks, in all containers by turns."""
    began, pieces_found = time.monotonic(), 0
    names = [*FORMATS]
    for seed in range(count):
        with tempfile.TemporaryDirectory() as folder:
            pieces_found += check(seed, names[seed % len(names)], Path(folder), grep=True)
    seconds = time.monotonic() - began
    print(f"{count} disks, {pieces_found} pieces, all found, none invented; {seconds:.0f} s")


if __name__ == "__main__":
    main(int(sys.argv[1]))
