"""The doctor on one disk: for every finding a disk that has it, and healthy ones that have none."""

from __future__ import annotations

import functools
import re
from collections.abc import Callable
from pathlib import Path

import pytest

from b2dinspect.doctor import disk as doctor
from b2dinspect.doctor.disk import examine
from b2dinspect.findings import Finding
from b2dinspect.inspection.facts import Inspection
from b2dinspect.userdata.tarball import MAGIC, build_userdata
from tests.disks import (
    DATA_START,
    MIB,
    MINIKUBE_START,
    OLD_DATA_START,
    OTHER_PUB,
    PUB,
    PUB4096,
    TAR,
    TAR4096,
    USERDATA,
    as_vdi,
    fresh,
    look,
    make_disk,
    make_ext,
    make_swap,
    needs_disks,
    provision,
    provisioned,
    sfdisk,
    userdata_tar,
)
from tests.oracles import needs

pytestmark = needs_disks

BROKEN = b"ssh-rsa AAAA broken\n"
START = MINIKUBE_START * 512


def ids(facts: Inspection) -> list[str]:
    return [finding.id for finding in examine(facts)]


def find(facts: Inspection, name: str) -> Finding:
    (found,) = [finding for finding in examine(facts) if finding.id == name]
    return found


@functools.cache
def with_userdata(tar: bytes | None, label: str = "boot2docker-data") -> Path:
    """Return a small provisioned disk of the minikube kind whose userdata.tar holds these bytes."""
    names = ("minikube", "kubelet", "cni", "toolbox", "minishift", "boot2docker")
    return provision("minikube", size=64 * MIB, tar=tar, names=names, label=label)


@functools.cache
def beside_table(label: str | None) -> Path:
    path = make_disk(40 * MIB, (0, TAR))
    sfdisk(path, "label: dos\nstart=2048, type=83\n")
    if label is not None:
        files = {USERDATA: TAR[:4096]}
        make_ext(path, 32 * MIB, offset=MIB, label=label, files=files)
    return path


@functools.cache
def two_labels() -> Path:
    path = make_disk(64 * MIB)
    sfdisk(path, "label: gpt\nsize=20MiB\nsize=20MiB\n")
    for number in range(2):
        make_ext(path, 20 * MIB, offset=(1 + 20 * number) * MIB, files={USERDATA: TAR[:4096]})
    return path


@functools.cache
def empty_table() -> Path:
    path = make_disk(8 * MIB)
    sfdisk(path, "label: gpt\nsize=2MiB\n")
    return path


@functools.cache
def swap_alone() -> Path:
    path = make_disk(40 * MIB)
    sfdisk(path, "label: gpt\n2 : start=2048, size=32M, type=S\n")
    make_swap(path, MIB, 32 * MIB, "boot2dockerswap")
    return path


@functools.cache
def replaced() -> Path:
    """Return a disk whose gap holds another key than its userdata.tar."""
    return provision("automount", tar=build_userdata(OTHER_PUB)[:4096])


HEALTHY: dict[str, Callable[[], Inspection]] = {
    "fresh": lambda: look(fresh()),
    **{
        name: functools.partial(lambda n: look(provisioned(n)), name)
        for name in ("automount", "by-hand", "autoformat", "minikube")
    },
    "old layout": lambda: look(provision("automount", place="vm/userdata.tar")),
    "small": lambda: look(with_userdata(TAR[:4096])),
    "as many lines as are shown": lambda: look(with_userdata(userdata_tar(PUB + b"\n" * 1999, PUB))),
    "a whole tar": lambda: look(with_userdata(TAR)),
}


@pytest.mark.parametrize("name", HEALTHY)
def test_a_healthy_disk_has_nothing_odd(name: str) -> None:
    assert examine(HEALTHY[name]()) == []


def test_a_marker_that_busybox_left_may_be_damaged() -> None:
    assert ids(look(provisioned("automount"), (3, b"X"))) == []


@needs("qemu-img")
@pytest.mark.parametrize("profile", ["automount", "autoformat", "minikube"])
def test_a_healthy_vdi_has_nothing_odd(profile: str) -> None:
    assert examine(look(as_vdi(provisioned(profile)))) == []


def sparse_no_more(size: int) -> Path:
    """Return a disk of zeros, each of them stored."""
    path = make_disk(size)
    path.write_bytes(bytes(size))
    return path


def in_a_partition() -> Path:
    path = make_disk(8 * MIB, (MIB, TAR))
    sfdisk(path, "label: dos\nstart=2048, type=83\n")
    return path


def beside(start: int, table: str) -> Path:
    """Return a disk whose filesystem begins at a sector that its table does not name."""
    path = make_disk(60 * MIB)
    make_ext(path, 38 * MIB, offset=start * 512, files={USERDATA: TAR[:4096]})
    sfdisk(path, table)
    return path


MAGIC_PLACE, LABEL_PLACE = 1024 + 0x38, 1024 + 0x78
"""Bytes of an ext4 at which its superblock has its magic number and its label."""

ODD: dict[str, tuple[Callable[[], Inspection], list[str], str, int | None]] = {
    # case: how to make it, all findings, a piece of the first message, its offset
    "blank": (lambda: look(make_disk(MIB)), ["disk-blank"], "no key is on it", 0),
    "blank, as far as it was looked at": (
        lambda: look(sparse_no_more(65 * MIB)),
        ["disk-seems-blank"],
        f"{64 * MIB} of {65 * MIB} stored bytes were read",
        0,
    ),
    "a marker and a line's end": (
        lambda: look(make_disk(5 * MIB, (0, b"boot2docker, please format-me\n"))),
        ["marker-alone"],
        "no tar is behind it",
        0,
    ),
    "a marker alone": (lambda: look(make_disk(MIB, (0, TAR[:29]))), ["marker-alone"], "no login by key", 0),
    "foreign": (
        lambda: look(make_disk(MIB, (0, b"hello"))),
        ["disk-foreign"],
        "no boot2docker disk: no marker",
        None,
    ),
    "empty table": (lambda: look(empty_table()), ["disk-foreign"], "nothing says that this is", None),
    "marker over a used GPT disk": (
        lambda: look(provisioned("autoformat"), (0, TAR)),
        ["gpt-only-backup", "magic-over-data"],
        "no guest uses",
        None,
    ),
    "marker over a used MBR disk": (
        lambda: look(provisioned("automount"), (0, TAR)),
        ["table-gone"],
        "will format it at the next boot",
        OLD_DATA_START * 512 + MAGIC_PLACE,
    ),
    "first sector of a used MBR disk gone": (
        lambda: look(provisioned("automount"), (0, bytes(512))),  # the tar behind it is what busybox left
        ["table-gone"],
        "autoformat will format it at the next boot",
        OLD_DATA_START * 512 + MAGIC_PLACE,
    ),
    "marker gone, its tar left": (
        lambda: look(fresh(), (0, bytes(512))),
        ["magic-damaged"],
        "its copy at byte 512",
        0,
    ),
    "marker damaged": (
        lambda: look(fresh(), (3, b"X")),
        ["magic-damaged"],
        "byte 3 is 0x58 instead of 0x74",
        3,
    ),
    "marker beside a labelled partition": (
        lambda: look(beside_table("boot2docker-data")),
        ["magic-inert"],
        "the label is looked for first",
        0,
    ),
    "swap alone": (lambda: look(swap_alone()), ["partition-none"], "there is no partition 1", None),
    "marker beside an empty table": (
        lambda: look(beside_table(None)),
        ["filesystem-none", "magic-beside-table"],  # the table is in the tar's first header
        "or mkfs failed",
        None,
    ),
    "marker beside another label": (
        lambda: look(beside_table("other")),
        ["label-missing", "magic-beside-table"],
        "not 'boot2docker-data'; only automount and minikube would mount it",
        MIB + LABEL_PLACE,
    ),
    "label missing": (
        lambda: look(with_userdata(TAR[:4096], "data")),
        ["label-missing"],
        "is labelled 'data', not 'boot2docker-data'",
        START + LABEL_PLACE,
    ),
    "two labels": (lambda: look(two_labels()), ["label-several"], "(1, 2)", MIB + LABEL_PLACE),
    "no userdata": (
        lambda: look(with_userdata(None)),
        ["userdata-missing"],
        "no key is unpacked",
        START + MAGIC_PLACE,
    ),
    "a disk in a partition": (
        lambda: look(in_a_partition()),
        ["magic-in-partition"],
        "at the start of partition 1, not at byte 0",
        MIB,
    ),
    "a GPT without its MBR": (
        lambda: look(provisioned("autoformat"), (0, bytes(512))),
        ["table-unseen", "gpt-mbr-missing"],
        "autoformat will format the disk at the next boot",
        0,
    ),
    "another table": (
        lambda: look(beside(40953, "label: dos\nstart=2048, size=38912, type=83\n")),
        ["table-differs"],
        "no partition table lists ext4 at sector 40953",
        40953 * 512 + MAGIC_PLACE,
    ),
    "a table over a whole-disk filesystem": (
        lambda: look(beside(0, "label: dos\nstart=2048, type=83\n")),
        ["filesystem-overwritten"],
        "the whole disk was ext4, and something was written over its beginning",
        MAGIC_PLACE,
    ),
    "first key file cut": (
        lambda: look(with_userdata(build_userdata(b"#" * 2100 + b"\n" + PUB)[:4096])),
        ["userdata-cut-login", "key-none"],
        f".ssh/authorized_keys lacks its last {2101 + len(PUB) - 2048} bytes, as the tar was cut after 4096",
        None,
    ),
    "second key file cut": (
        lambda: look(with_userdata(TAR4096[:4096])),
        ["key-broken", "userdata-cut"],
        "authorized_keys2 line 1 of the data userdata is not accepted",
        None,
    ),
    "fresh, first key file will be cut": (
        lambda: look(fresh(build_userdata(PUB * 6 + OTHER_PUB))),
        ["userdata-cut-login", "userdata-cut"],
        f"loses its last {6 * len(PUB) + len(OTHER_PUB) - 2048} bytes: the keys in them cannot log in",
        4096,
    ),
    "fresh, only copies of a key will be cut": (
        lambda: look(fresh(build_userdata(PUB * 6))),
        ["userdata-cut", "userdata-cut"],
        f"loses its last {6 * len(PUB) - 2048} bytes, which is harmless",
        4096,
    ),
    "fresh, second key file will be cut": (
        lambda: look(fresh(TAR4096)),
        ["userdata-cut"],
        "keeps only 4096 bytes: .ssh/authorized_keys2 loses its last 221 bytes, which is harmless",
        4096,
    ),
    "no key": (
        lambda: look(with_userdata(build_userdata(b"# nothing\n"))),
        ["key-none"],
        "nobody can log in",
        None,
    ),
    "broken keys only": (
        lambda: look(fresh(build_userdata(BROKEN))),
        ["key-none", "key-broken", "key-broken"],
        "no line of authorized_keys",
        0,
    ),
    "key only in the second file": (
        lambda: look(with_userdata(userdata_tar(b"", PUB))),
        ["key-only-in-second", "keys-differ"],
        "login depends on .ssh/authorized_keys2",
        None,
    ),
    "one line has expired": (
        lambda: look(fresh(userdata_tar(b'expiry-time="20200101" ' + OTHER_PUB + PUB, PUB))),
        ["key-refused"],
        "line 1 of the fresh userdata: refused since 2020-01-01 00:00:00Z, because expiry-time 20200101",
        None,
    ),
    "one broken line": (
        lambda: look(fresh(userdata_tar(PUB + BROKEN, PUB))),
        ["key-broken"],
        ".ssh/authorized_keys line 2 of the fresh userdata is not accepted",
        None,
    ),
    "many lines": (
        lambda: look(with_userdata(userdata_tar(PUB + b"\n" * 1999 + OTHER_PUB, PUB))),
        ["keys-many"],
        ".ssh/authorized_keys has more than 2000 lines",
        None,
    ),
    "different keys": (
        lambda: look(fresh(userdata_tar(PUB, OTHER_PUB))),
        ["keys-differ"],
        "hold different keys",
        0,
    ),
    "key replaced": (lambda: look(replaced()), ["key-replaced"], "was replaced since its creation", 0),
    "tar damaged": (
        lambda: look(with_userdata(TAR[:1536] + b"X" + TAR[1537:])),
        ["tar-checksum", "key-none"],
        "no tar header here",
        None,
    ),
}


@pytest.mark.parametrize("case", ODD)
@pytest.mark.slow(but=15)
def test_an_odd_disk_has_just_these_findings(case: str) -> None:
    make, expected, message, offset = ODD[case]
    findings = examine(make())
    assert [finding.id for finding in findings] == expected
    assert message in findings[0].message
    if offset is not None:
        assert (findings[0].offset, findings[0].space) == (offset, "virtual")


def test_every_finding_of_the_doctor_is_made_above() -> None:
    source = Path(doctor.__file__).read_text()
    named = {*re.findall(r'Finding\(\s*"([a-z0-9-]+)"', source), "userdata-cut-login", "userdata-cut"}
    assert len(named) > 14
    assert named <= {name for _, expected, _, _ in ODD.values() for name in expected}


def test_offsets_in_the_userdata_are_of_the_disk() -> None:
    tar = TAR[:1536] + b"X" + TAR[1537:]
    facts = look(with_userdata(tar))
    finding = find(facts, "tar-checksum")
    assert finding.offset is not None
    assert facts.container.pread(finding.offset, 100) == tar[1536:1636]
    cut = look(with_userdata(TAR4096[:4096]))
    finding = find(cut, "userdata-cut")
    assert finding.offset is None  # the byte that is missing is nowhere


def test_a_residue_may_be_broken() -> None:
    facts = look(provisioned("automount"), (2048, b"\xff" * 1500))
    residue = facts.of_source("residue")
    assert residue is not None
    assert residue.tar.findings
    assert examine(facts) == []


def test_a_residue_without_a_key_says_nothing_of_a_replaced_one() -> None:
    assert "key-replaced" not in ids(look(replaced(), (2048, bytes(1024))))


def test_the_same_key_with_another_comment_is_no_other_key() -> None:
    assert ids(look(fresh(userdata_tar(PUB, PUB.rstrip() + b" someone\n")))) == []


def test_a_label_from_the_evidence_is_quoted() -> None:
    label = (START + 1024 + 120, b"a\x1b[31m\xff".ljust(16, b"\0"))
    facts = look(with_userdata(TAR[:4096], "data"), label)._replace(state="provisioned")
    message = find(facts, "label-missing").message
    assert r"'a\x1b[31m\xff'" in message
    assert message.isprintable()


def test_what_the_layers_say_is_passed_on() -> None:
    facts = look(
        provisioned("autoformat"),
        (512, bytes(8)),  # the primary GPT
        (DATA_START * 512 + 1024, bytes(1024)),  # the superblock
    )
    assert ids(facts) == ["table-unseen", "gpt-primary-damaged", "ext4-superblock-damaged"]


def test_problems_on_the_way_are_passed_on() -> None:
    facts = look(with_userdata(TAR[:4096]))
    problem = Finding("ext4-unreadable", "error", "cannot be read")
    assert "ext4-unreadable" in ids(facts._replace(problems=(problem,)))


def test_the_gravest_come_first() -> None:
    facts = look(beside_table(None))
    assert [finding.severity for finding in examine(facts)] == ["error", "warning"]
    mixed = look(fresh(build_userdata(PUB * 6 + BROKEN)))
    order = ["error", "warning", "info"]
    ranks = [order.index(finding.severity) for finding in examine(mixed)]
    assert ranks == sorted(ranks)
    assert set(ranks) == {0, 1, 2}


def test_a_marker_is_not_a_key() -> None:
    assert ids(look(make_disk(MIB, (0, MAGIC)))) == ["marker-alone"]
    assert ids(look(make_disk(MIB, (0, MAGIC), (100, b"else")))) == ["tar-checksum", "key-none"]


def test_the_keys_of_rsa4096_fit() -> None:
    facts = look(with_userdata(TAR4096[:4096]))
    assert [key.line.valid for key in facts.keys] == [True, False]
    assert facts.keys[0].line.raw == PUB4096.rstrip(b"\n")


@pytest.mark.parametrize("zeros", [2048, 2 << 20])
def test_a_copy_is_found_where_groups_are_narrow(zeros: int) -> None:
    """With an inode for every 2048 bytes mke2fs makes groups of 16400 blocks."""
    facts = look(provisioned("minikube"), (MINIKUBE_START * 512, bytes(zeros)))
    assert ids(facts)[:1] == ["ext4-superblock-damaged"]
    assert facts.data
    assert facts.data.volume.label == b"boot2docker-data"
    assert bool(facts.userdata) == (zeros == 2048)  # the first inodes are in the two MiB
