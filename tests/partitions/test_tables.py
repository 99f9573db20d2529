"""Tables made by sfdisk, fdisk and sgdisk, read as sfdisk reads them."""

from __future__ import annotations

import contextlib
import json
import subprocess
import uuid
from pathlib import Path
from typing import Any

import pytest

from b2dinspect.containers.vdi.reader import VdiContainer
from b2dinspect.evidence.file import open_evidence
from b2dinspect.partitions import gpt, mbr, read_table
from b2dinspect.partitions.base import PartitionTable
from b2dinspect.source import MemorySource
from tests.containers.handmade import FREE, make_vdi
from tests.oracles import needs, run

MIB = 1 << 20
SECTOR = 512

MBR_SCRIPTS = {
    "empty": "label: dos",
    "one": "label: dos\ntype=83",
    "automount": "label: dos\n2: size=100M, type=82\n1: type=83",
    "four": "label: dos\nsize=1M, type=83, bootable\nsize=2M, type=c\nsize=3M, type=8e\ntype=ef",
    "gap": "label: dos\n1: start=2048, size=100\n4: start=4096, size=1, type=7",
    "logical": "label: dos\nsize=10M, type=82\nsize=100M, type=5\n5: size=10M\n6: size=20M, type=82",
    "logical-lba": "label: dos\nsize=100M, type=f\n" + "".join(f"{n}: size=2M\n" for n in range(5, 25)),
    "logical-then-primary": "label: dos\n1: size=50M, type=5\n2: type=83\n5: size=5M\n6: size=6M, type=fd",
}
GPT_SCRIPTS = {
    "empty": "label: gpt",
    "one": "label: gpt\ntype=L",
    "autoformat": "label: gpt\n2: size=100M, type=S\n1: type=L",
    "named": 'label: gpt\nsize=5M, type=U, name="EFI"\nsize=5M, name="Größe 😀 と"\nname="' + "n" * 36 + '"',
    "attributes": 'label: gpt\nsize=5M, attrs="RequiredPartition LegacyBIOSBootable GUID:60"',
    "not-in-order": "label: gpt\n7: start=200000, size=8\n3: start=100000, size=8\n128: start=2048, size=1",
    "table-length": "label: gpt\ntable-length: 256\n" + "size=1M\n" * 140,
    "first-lba": "label: gpt\nfirst-lba: 34\nstart=34, size=2",
}


def make(path: Path, size: int) -> Path:
    with path.open("wb") as stream:
        stream.truncate(size)
    return path


def read(path: Path) -> PartitionTable:
    with contextlib.closing(open_evidence(str(path))) as disk:
        return read_table(disk)


def as_sfdisk_reads_it(path: Path) -> tuple[str, list[tuple[Any, ...]]]:
    table = json.loads(run("sfdisk", "--json", path).stdout)["partitiontable"]
    found = [
        (
            int(part["node"].removeprefix(str(path))),
            part["start"],
            part["size"],
            part["type"],
            part.get("name", ""),
            part.get("uuid", ""),
        )
        for part in table.get("partitions", [])
    ]
    return {"dos": "mbr", "gpt": "gpt"}[table["label"]], found


def as_we_read_it(path: Path) -> tuple[str, list[tuple[Any, ...]]]:
    table = read(path)
    found = [
        (part.number, part.start, part.sectors, part.type, part.name, part.uuid.upper())
        for part in table.partitions
    ]
    return table.kind, found


@needs("sfdisk")
@pytest.mark.parametrize("name", MBR_SCRIPTS)
def test_mbr_by_sfdisk(tmp_path: Path, name: str) -> None:
    path = make(tmp_path / "disk", 256 * MIB)
    run("sfdisk", "-q", path, input=MBR_SCRIPTS[name].encode())
    assert as_we_read_it(path) == as_sfdisk_reads_it(path)
    assert read(path).findings == ()


@needs("sfdisk")
@pytest.mark.parametrize("name", GPT_SCRIPTS)
def test_gpt_by_sfdisk(tmp_path: Path, name: str) -> None:
    path = make(tmp_path / "disk", 256 * MIB)
    run("sfdisk", "-q", path, input=GPT_SCRIPTS[name].encode())
    assert as_we_read_it(path) == as_sfdisk_reads_it(path)
    assert read(path).findings == ()


@needs("fdisk", "sfdisk")
@pytest.mark.parametrize(("create", "kind"), [("o", "mbr"), ("g", "gpt")])
def test_as_the_guests_call_fdisk(tmp_path: Path, create: str, kind: str) -> None:
    path = make(tmp_path / "disk", 20000 * MIB)
    lines = [create, "n", *(["p"] if kind == "mbr" else []), "2", "", "+1000M", "t"]
    lines += ["82"] if kind == "mbr" else ["19"]
    lines += ["n", *(["p"] if kind == "mbr" else []), "1", "", "", "w", ""]
    run("fdisk", path, input="\n".join(lines).encode())
    assert as_we_read_it(path) == as_sfdisk_reads_it(path)
    table = read(path)
    assert (table.kind, table.findings) == (kind, ())
    one, two = table.partitions
    assert (two.start, two.end, one.start) == (2048, 2050048, 2050048)
    assert [part.type_name.split(" / ")[0] for part in (one, two)] == [
        "Linux" if kind == "mbr" else "Linux filesystem",
        "Linux swap",
    ]


@needs("sgdisk", "sfdisk")
def test_gpt_by_sgdisk(tmp_path: Path) -> None:
    path = make(tmp_path / "disk", 64 * MIB)
    run(
        "sgdisk",
        *("-n", "2:0:+8M", "-t", "2:8200", "-c", "2:swap"),
        *("-n", "1:0:0", "-t", "1:8300", "-c", "1:data", "-u", "1:01234567-89AB-CDEF-0123-456789ABCDEF"),
        path,
    )
    assert as_we_read_it(path) == as_sfdisk_reads_it(path)
    table = read(path)
    assert table.findings == ()
    assert [(part.name, part.type_name) for part in table.partitions] == [
        ("data", "Linux filesystem"),
        ("swap", "Linux swap"),
    ]
    assert table.partitions[0].uuid == "01234567-89ab-cdef-0123-456789abcdef"


@needs("sgdisk", "sfdisk")
def test_a_longer_table_by_sgdisk(tmp_path: Path) -> None:
    path = make(tmp_path / "disk", 64 * MIB)
    run("sgdisk", "-S", "1024", "-n", "1000:0:+1M", "-n", "3:0:0", path)
    assert as_we_read_it(path) == as_sfdisk_reads_it(path)
    assert [part.number for part in read(path).partitions] == [3, 1000]


@needs("sgdisk")
def test_a_hybrid_mbr_by_sgdisk_is_a_gpt(tmp_path: Path) -> None:
    path = make(tmp_path / "disk", 64 * MIB)
    run("sgdisk", "-n", "1:0:+8M", "-n", "2:0:0", "-h", "1", path)
    table = read(path)
    assert (table.kind, len(table.partitions), table.findings) == ("gpt", 2, ())


@needs("sgdisk")
def test_a_grown_disk_as_sgdisk_repairs_it(tmp_path: Path) -> None:
    path = make(tmp_path / "disk", 64 * MIB)
    run("sgdisk", "-n", "1:0:0", path)
    with path.open("r+b") as stream:
        stream.truncate(80 * MIB)
    assert [finding.id for finding in read(path).findings] == ["gpt-backup-not-last"]
    run("sgdisk", "-e", path)
    assert read(path).findings == ()


@needs("sfdisk")
@pytest.mark.parametrize("damage", [512, 512 + 16, 1024])
def test_the_backup_serves_where_sfdisk_uses_it_too(tmp_path: Path, damage: int) -> None:
    path = make(tmp_path / "disk", 64 * MIB)
    run("sfdisk", "-q", path, input=GPT_SCRIPTS["named"].encode())
    sound = as_we_read_it(path)
    with path.open("r+b") as stream:
        stream.seek(damage)
        byte = stream.read(1)
        stream.seek(damage)
        stream.write(bytes([byte[0] ^ 0xFF]))
    assert as_we_read_it(path) == as_sfdisk_reads_it(path) == sound
    assert [finding.id for finding in read(path).findings] == ["gpt-primary-damaged"]


@needs("sfdisk")
def test_an_mbr_written_over_a_gpt(tmp_path: Path) -> None:
    path, other = make(tmp_path / "disk", 64 * MIB), make(tmp_path / "other", 64 * MIB)
    run("sfdisk", "-q", path, input=b"label: gpt\nsize=5M\nsize=6M")
    run("sfdisk", "-q", other, input=b"label: dos\nsize=7M")
    with path.open("r+b") as stream:
        stream.write(other.read_bytes()[:SECTOR])
    assert as_we_read_it(path) == as_sfdisk_reads_it(path)
    assert read(path).kind == "mbr"


@needs("sfdisk")
def test_no_table_where_sfdisk_finds_none(tmp_path: Path) -> None:
    path = make(tmp_path / "disk", 4 * MIB)
    assert read(path).kind == "none"
    with pytest.raises(subprocess.CalledProcessError) as caught:
        run("sfdisk", "--dump", path)
    assert b"does not contain a recognized partition table" in caught.value.stderr


# --- names, and tables of our own ---


@needs("sfdisk")
@pytest.mark.parametrize(("label", "ours"), [("dos", mbr.TYPES), ("gpt", gpt.TYPES)])
def test_types_are_named_as_sfdisk_names_them(label: str, ours: dict[int | str, str]) -> None:
    lines = run("sfdisk", "--label", label, "--list-types").stdout.decode().splitlines()[2:]
    theirs = dict(line.split(maxsplit=1) for line in lines if line.strip())
    for kind, name in ours.items():
        assert theirs[kind if isinstance(kind, str) else f"{kind:x}"] == name


@needs("sfdisk")
def test_sfdisk_reads_our_mbr(tmp_path: Path) -> None:
    path = make(tmp_path / "disk", 64 * MIB)
    rows = [(0x83, 40960, 81920), (0x82, 2048, 38912)]
    with path.open("r+b") as stream:
        stream.write(mbr.build_mbr(rows, 0x12345678))
    assert as_sfdisk_reads_it(path) == as_we_read_it(path)
    assert [(int(part.type, 16), part.start, part.sectors) for part in read(path).partitions] == rows
    assert json.loads(run("sfdisk", "--json", path).stdout)["partitiontable"]["id"] == "0x12345678"


@needs("sfdisk", "sgdisk")
def test_sfdisk_and_sgdisk_find_no_fault_in_our_gpt(tmp_path: Path) -> None:
    path = make(tmp_path / "disk", 64 * MIB)
    last = 64 * MIB // SECTOR - 1
    guid = uuid.UUID("01234567-89ab-cdef-0123-456789abcdef")
    rows = [
        gpt.NewPartition(gpt.LINUX, uuid.UUID(int=1), 40960, last - 33),
        gpt.NewPartition(gpt.SWAP, uuid.UUID(int=2), 2048, 40959),
    ]
    with path.open("r+b") as stream:
        for offset, data in gpt.build_gpt(last + 1, guid, rows):
            stream.seek(offset)
            stream.write(data)
    assert path.stat().st_size == 64 * MIB
    assert as_sfdisk_reads_it(path) == as_we_read_it(path)
    assert read(path).findings == ()
    table = json.loads(run("sfdisk", "--json", path).stdout)["partitiontable"]
    assert (table["id"], table["firstlba"], table["lastlba"]) == (str(guid).upper(), 2048, last - 33)
    assert b"No problems found" in run("sgdisk", "-v", path).stdout
    with path.open("r+b") as stream:
        stream.seek(SECTOR)
        stream.write(bytes(SECTOR))
    assert as_sfdisk_reads_it(path) == as_we_read_it(path)


# --- what the evidence does not hold ---


def test_a_disk_whose_first_block_is_in_a_missing_parent() -> None:
    disk = VdiContainer(MemorySource(make_vdi([FREE, b"x" * 4096], type=4)))
    table = read_table(disk)
    assert (table.kind, table.partitions) == ("missing", ())
    assert [(finding.id, finding.offset) for finding in table.findings] == [("table-missing", 0)]
    assert "parent" in table.findings[0].message


@needs("sfdisk")
def test_a_chain_of_logical_partitions_that_is_missing(tmp_path: Path) -> None:
    path = make(tmp_path / "disk", 4 * MIB)
    run("sfdisk", "-q", path, input=b"label: dos\n1: start=2048, size=2M, type=5\n5: size=100K")
    disk = VdiContainer(MemorySource(make_vdi([path.read_bytes()[:MIB], FREE, FREE, FREE], type=4)))
    table = read_table(disk)
    assert [part.number for part in table.partitions] == [1]
    assert [(finding.id, finding.offset) for finding in table.findings] == [("mbr-chain-broken", MIB)]


@needs("sfdisk")
def test_a_backup_gpt_that_is_missing(tmp_path: Path) -> None:
    path = make(tmp_path / "disk", 4 * MIB)
    run("sfdisk", "-q", path, input=b"label: gpt\nstart=2048, size=2M")
    disk = VdiContainer(MemorySource(make_vdi([path.read_bytes()[:MIB], FREE, FREE, FREE], type=4)))
    table = read_table(disk)
    assert [part.start for part in table.partitions] == [2048]
    (finding,) = table.findings
    assert (finding.id, finding.offset) == ("gpt-backup-missing", 4 * MIB - SECTOR)
    assert "parent" in finding.message


@needs("fdisk")
def test_the_protective_mbr_is_as_fdisk_writes_it(tmp_path: Path) -> None:
    path = make(tmp_path / "disk", 64 * MIB)
    run("fdisk", path, input=b"g\nw\n")
    assert mbr.build_protective(64 * MIB // SECTOR) == path.read_bytes()[:SECTOR]
