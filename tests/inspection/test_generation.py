"""Who made a disk: every edition of the three generations, and people who repeat their steps by hand."""

from __future__ import annotations

import functools
import subprocess
from pathlib import Path

import pytest

from b2dinspect.doctor.disk import examine
from b2dinspect.inspection.facts import Inspection
from b2dinspect.userdata.tarball import AUTHORIZED_KEYS
from tests.disks import (
    AUTOMOUNT_ANSWERS,
    GOLDEN,
    MIB,
    OLD_DATA_START,
    PUB,
    SWAP_START,
    TAR,
    USERDATA,
    busybox_fdisk,
    fdisk,
    look,
    make_disk,
    make_ext,
    make_swap,
    needs_disks,
    new_path,
    open_file,
    provision,
    provisioned,
)
from tests.oracles import needs

SIZE = 1200 * MIB
FIRST, TYPE, SECOND = AUTOMOUNT_ANSWERS
NO_RATIO = ("-i", "16384")
"""What mke2fs takes without -i on a disk of docker-machine's size; on a small one it would take 4096."""
OLD_NAMES = ("docker", "boot2docker", "localkube", "rkt")


def guest(facts: Inspection) -> tuple[str, tuple[str, ...]]:
    assert facts.state == "provisioned"
    return facts.guest.profile, facts.guest.releases


# --- automount ---


@needs_disks
@pytest.mark.parametrize(
    ("types", "options", "kind", "releases"),
    [
        (TYPE, (), "82", ("boot2docker v1.11 to v18.06",)),
        (TYPE, NO_RATIO, "82", ("boot2docker v1.7.1 to v1.10",)),
        (("t", "2", "82", "w"), NO_RATIO, "2", ("boot2docker v1.6 to v1.7.0",)),
        (
            ("t", "82"),
            NO_RATIO,
            "83",
            ("boot2docker v0.7 to v1.5", "boot2docker v1.6 to v1.7.0", "boot2docker v1.7.1 to v1.10"),
        ),
    ],
    ids=["with -i", "without -i", "type 02", "type 83"],
)
def test_automount(
    types: tuple[str, ...], options: tuple[str, ...], kind: str, releases: tuple[str, ...]
) -> None:
    facts = look(provision("automount", options=options, answers=(FIRST, types, SECOND)))
    assert guest(facts) == ("automount", releases)
    assert {one.partition.number: one.partition.type for one in facts.volumes} == {1: "83", 2: kind}
    assert list(examine(facts)) == []


@needs_disks
@pytest.mark.parametrize(("heads", "sectors", "start"), [(64, 32, 1955840), (16, 63, 1954512)])
def test_automount_with_other_geometries(heads: int, sectors: int, start: int) -> None:
    path = make_disk(SIZE, (0, TAR))
    busybox_fdisk(path, *AUTOMOUNT_ANSWERS, heads=heads, sectors=sectors)
    make_swap(path, sectors * 512, (start - sectors) * 512)
    make_ext(
        path, SIZE - (start + 2048) * 512, "-i", "8192", offset=start * 512, files={USERDATA: TAR[:4096]}
    )
    facts = look(path)
    assert guest(facts) == ("automount", ("boot2docker v1.11 to v18.06",))
    assert facts.volumes[0].partition.start == start
    assert facts.keys[-1].source == "residue"


@needs_disks
def test_the_first_automount_made_no_swap() -> None:
    path = make_disk(SIZE)
    busybox_fdisk(path, SECOND)
    make_ext(path, SIZE - 20 * MIB, *NO_RATIO, offset=63 * 512, files={"var/lib/docker": None})
    assert guest(look(path)) == ("automount", ("boot2docker v0.5 to v0.6",))


# --- minikube ---


@needs_disks
@pytest.mark.parametrize(
    ("ratio", "releases"), [("8192", "minikube v0.12 to v0.18"), ("2048", "minikube v0.19 to v0.35")]
)
def test_minikube_with_an_mbr_and_swap(ratio: str, releases: str) -> None:
    facts = look(provision("by-hand", names=OLD_NAMES, options=("-i", ratio)))
    assert guest(facts) == ("minikube", (releases,))


@needs_disks
def test_minikube_with_an_mbr() -> None:
    path = make_disk(SIZE, (0, TAR))
    fdisk(path, "n", "p", "1", "", "")
    files = {USERDATA: TAR[:4096], "var/lib/kubelet": None}
    make_ext(path, SIZE - 2 * MIB, "-i", "2048", offset=MIB, files=files)
    facts = look(path)
    assert guest(facts) == ("minikube", ("minikube v1.0 to v1.6",))
    item = facts.of_source("residue")
    assert item is not None
    assert item.virtual_offset == 1024


# --- by hand ---


@needs_disks
@pytest.mark.parametrize("options", [(), NO_RATIO])
def test_somebody_with_util_linux_fdisk(options: tuple[str, ...]) -> None:
    facts = look(provision("by-hand", options=options))
    assert guest(facts) == ("by-hand", ())
    assert any("util-linux's fdisk" in text for text in facts.guest.evidence)


@needs_disks
def test_by_hand_and_without_the_label_it_could_be_anybody() -> None:
    facts = look(provision("by-hand", label="data"), (SWAP_START * 512, bytes(8192)))
    assert facts.guest.profile == "unknown"


@needs_disks
@pytest.mark.parametrize("change", [-1, 1])
def test_a_swap_of_another_length_is_no_guests(change: int) -> None:
    entry = 446 + 16 + 12
    sectors = int.from_bytes(open_file(provisioned("automount")).pread(entry, 4), "little")
    facts = look(provisioned("automount"), (entry, (sectors + change).to_bytes(4, "little")))
    assert facts.guest.profile == "unknown"
    assert any("none of the three" in text for text in facts.guest.evidence)


# --- the disk of the original script ---


@functools.cache
def original() -> Path:
    """Return the disk that automount of boot2docker v18.06.1 made in a Linux guest with busybox 1.25.1."""
    folder = new_path("original")
    folder.mkdir()
    subprocess.run(["tar", "-xJf", GOLDEN / "automount-64x32.raw.tar.xz", "-C", folder], check=True)
    return folder / "automount.raw"


@needs("tar", "xz")
def test_the_disk_of_the_original() -> None:
    facts = look(original())
    assert facts.container.size == 20_000 * MIB
    assert (facts.state, facts.magic.found, facts.magic.copy_offset) == ("provisioned", True, None)
    assert guest(facts) == ("automount", ("boot2docker v1.11 to v18.06",))
    assert facts.table.kind == "mbr"
    assert [
        (one.partition.number, one.partition.start, one.partition.end - 1, one.partition.type, one.filesystem)
        for one in facts.volumes
    ] == [(1, 1955840, 40959999, "83", "ext4"), (2, 32, 1955839, "82", "swap")]
    assert [(item.source, item.virtual_offset, item.size) for item in facts.userdata][1:] == [
        ("residue", 0, 4608)
    ]
    assert facts.userdata[0].path == "/" + USERDATA
    assert facts.userdata[0].size == 4096
    assert [(key.source, key.file) for key in facts.keys] == [
        (source, name)
        for source in ("data", "residue")
        for name in (".ssh/authorized_keys", ".ssh/authorized_keys2")
    ]
    assert {key.line.raw for key in facts.keys} == {PUB.rstrip(b"\n")}
    residue = facts.userdata[1]
    entry = residue.tar.find(AUTHORIZED_KEYS)
    assert entry is not None
    assert residue.locate(entry.offset) == (2048, 2048)
    assert facts.problems == ()
    assert list(examine(facts)) == []


@needs_disks
@needs("tar", "xz")
def test_ours_begin_as_the_original_does() -> None:
    """Compare all in front of the swap with the disk that busybox's fdisk of today makes, told to be old."""
    path = make_disk(20_000 * MIB, (0, TAR))
    busybox_fdisk(path, *AUTOMOUNT_ANSWERS, heads=64, sectors=32)
    assert open_file(path).pread(0, 32 * 512) == open_file(original()).pread(0, 32 * 512)
    assert OLD_DATA_START > 32
