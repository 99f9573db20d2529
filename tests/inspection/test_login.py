"""Who could log in with which key: line by line, before and behind a cut, as tar and ssh-keygen have it."""

from __future__ import annotations

import subprocess
from pathlib import Path

import pytest

from b2dinspect.inspection.login import deciding_keys, in_force, lets_in
from b2dinspect.provisioning.keypair import sample_key
from b2dinspect.userdata.authorized_keys import parse
from b2dinspect.userdata.tarball import AUTHORIZED_KEYS, MAGIC, build_userdata
from tests.disks import (
    DATA_START,
    MIB,
    OLD_DATA_START,
    OTHER_PUB,
    PUB,
    TAR4096,
    USERDATA,
    change_ext,
    fresh,
    look,
    make_disk,
    make_ext,
    needs_disks,
    provision,
    provisioned,
    userdata_tar,
)
from tests.oracles import needs

IDENTITY, OTHER = (line.key.identity for pub in (PUB, OTHER_PUB) for line in parse(pub) if line.key)


def rows(facts: object) -> list[tuple[str, bool]]:
    return [(f"{key.source} {key.file}:{key.line.number}", key.in_force) for key in facts.keys]  # type: ignore[attr-defined]


def test_a_fresh_disk_lets_both_files_in() -> None:
    facts = look(fresh())
    assert rows(facts) == [("fresh .ssh/authorized_keys:1", True), ("fresh .ssh/authorized_keys2:1", True)]
    assert [key.why_not for key in facts.keys] == ["", ""]
    assert lets_in(facts, IDENTITY)
    assert not lets_in(facts, OTHER)


def test_a_key_of_the_second_file_counts_too() -> None:
    facts = look(fresh(userdata_tar(PUB, OTHER_PUB)))
    assert lets_in(facts, OTHER)
    assert [key.identity for key in deciding_keys(facts, AUTHORIZED_KEYS)] == [IDENTITY]


def test_what_the_guest_will_cut_of_rsa_4096() -> None:
    facts = look(fresh(TAR4096))
    first, second = facts.keys
    assert first.in_force
    assert not second.in_force
    assert "only 4096 bytes" in second.why_not
    assert second.line.valid  # as the host wrote it, the line is whole


@needs_disks
@pytest.mark.parametrize("profile", ["automount", "autoformat", "minikube"])
def test_of_a_provisioned_disk_the_data_partition_decides(profile: str) -> None:
    facts = look(provisioned(profile))
    assert all(key.in_force == (key.source == "data") for key in facts.keys)
    assert {key.source for key in in_force(facts)} == {"data"}


@needs_disks
def test_a_marker_beside_the_label_is_not_read() -> None:
    facts = look(provisioned("autoformat"), (0, MAGIC))
    assert all(key.in_force for key in facts.keys if key.source == "data")


@needs_disks
def test_without_the_label_the_generation_that_made_it_does_not_come_to_it() -> None:
    facts = look(provisioned("autoformat", label="data"))
    assert not in_force(facts)
    assert facts.keys[0].why_not.startswith("autoformat would not take this disk: no label and no marker")
    assert lets_in(facts, IDENTITY)  # once it has its label again


@needs_disks
def test_before_a_format_the_tar_at_the_start_counts_and_the_data_does_not() -> None:
    facts = look(provisioned("autoformat"), (0, build_userdata(OTHER_PUB).ljust(34 * 512, b"\0")))
    by_source = {key.source: key for key in facts.keys}
    assert by_source["fresh"].in_force
    assert "would FORMAT the disk" in by_source["data"].why_not


@needs_disks
def test_what_no_guest_mounts_lets_nobody_in() -> None:
    facts = look(provisioned("autoformat"), (DATA_START * 512 + 1024, bytes(1024)))
    assert facts.keys
    assert not in_force(facts)


def test_a_line_that_sshd_passes_over() -> None:
    facts = look(fresh(build_userdata(b"ssh-rsa AAAA broken\n" + PUB)))
    broken, sound = facts.keys[:2]
    assert (broken.in_force, broken.is_accepted, sound.in_force) == (False, False, True)
    assert broken.why_not.startswith("sshd passes it over: ")


# --- the cut, against the programs that unpack and read it ----------------------------------------------


def cut_files(tar: bytes, tmp_path: Path, program: tuple[str, ...]) -> dict[str, bytes]:
    """Return what a program unpacks of the first 4096 bytes of a tar."""
    (tmp_path / "userdata.tar").write_bytes(tar[:4096])
    home = tmp_path / "home"
    home.mkdir()
    subprocess.run([*program, "-C", home, "-f", tmp_path / "userdata.tar"], capture_output=True, check=False)
    return {f".ssh/{path.name}": path.read_bytes() for path in (home / ".ssh").iterdir() if path.is_file()}


def key_line(name: str, comment: bytes) -> bytes:
    return b" ".join(sample_key(name).split()[:2]) + b" " + comment + b"\n"


MANY = b"".join(key_line("owner", b"copy %d" % i) for i in range(4)) + OTHER_PUB + PUB * 3
CASES = {
    "RSA 2048": PUB,
    "RSA 4096": (Path(__file__).parents[1] / "data" / "golden" / "rsa4096.pub").read_bytes(),
    "several keys": MANY,
    "a long comment": PUB.rstrip(b"\n") + b" " + b"c" * 3000 + b"\n" + OTHER_PUB,
    "comments before the keys": b"#" * 2030 + b"\n" + PUB,
    "one large key": sample_key("large"),
}


@needs("ssh-keygen", "tar", "busybox")
@pytest.mark.parametrize("program", [("tar", "-x"), ("busybox", "tar", "-x")], ids=["GNU tar", "busybox"])
@pytest.mark.parametrize("case", CASES)
def test_what_is_whole_before_the_cut_still_logs_in(
    case: str, program: tuple[str, ...], tmp_path: Path
) -> None:
    tar = build_userdata(CASES[case])
    files = cut_files(tar, tmp_path, program)
    expected = []
    for name in (".ssh/authorized_keys", ".ssh/authorized_keys2"):
        for number, raw in enumerate(files.get(name, b"").split(b"\n"), 1):
            (tmp_path / "line").write_bytes(raw + b"\n")
            listed = subprocess.run(
                ["ssh-keygen", "-l", "-f", tmp_path / "line"], capture_output=True, check=False
            )
            if listed.returncode == 0:
                expected.append((name, number))
    facts = look(fresh(tar))
    assert [(key.file, key.line.number) for key in in_force(facts)] == expected


@needs_disks
def test_a_cut_tar_on_the_data_partition() -> None:
    facts = look(provision("autoformat", tar=build_userdata(MANY)[:4096]))
    accepted = [key for key in facts.keys if key.in_force]
    assert len(accepted) == MANY[:2048].count(b"\n")
    lost = [key for key in facts.keys if not key.in_force]
    assert all(key.why_not.startswith(("the tar was cut within this line", "sshd passes")) for key in lost)


@needs_disks
def test_of_two_places_automount_unpacks_the_old_one_and_the_others_the_new() -> None:
    path = make_disk(64 * MIB)
    files = {USERDATA: build_userdata(PUB), "vm/userdata.tar": build_userdata(OTHER_PUB)}
    make_ext(path, 64 * MIB, files=files)
    facts = look(path)
    assert not any(key.in_force for key in facts.keys)
    assert "automount would unpack /vm/userdata.tar of the whole disk" in facts.keys[0].why_not
    text = "autoformat and minikube would unpack /var/lib/boot2docker/userdata.tar of the whole disk"
    assert text in facts.keys[2].why_not


@needs_disks
def test_with_the_old_layout_it_is_the_old_place_that_decides() -> None:
    path = provision("automount")
    old = make_disk(0, (0, build_userdata(OTHER_PUB)))
    change_ext(path, "mkdir vm", f"write {old} vm/userdata.tar", offset=OLD_DATA_START * 512)
    facts = look(path)
    assert facts.effective is not None
    assert facts.effective.path == "/vm/userdata.tar"
    assert [key.in_force for key in facts.keys if key.source == "data"] == [False, False, True, True]
