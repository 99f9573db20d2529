"""Nobody's key and nobody's file is lost by a repair, as GNU tar and ssh-keygen see it."""

from __future__ import annotations

import io
import tarfile
from pathlib import Path

import pytest

from b2dinspect.errors import UsageError
from b2dinspect.provisioning.keypair import make_key, sample_key
from b2dinspect.provisioning.repair.members import put_together, take_apart
from b2dinspect.provisioning.repair.merge import MergedTar, WouldLoseError, merge
from b2dinspect.provisioning.samples.incidents import practice_key
from b2dinspect.source import MemorySource
from b2dinspect.userdata.admission import Owner, Visit, mode_fault
from b2dinspect.userdata.authorized_keys import parse
from b2dinspect.userdata.tarball import AUTHORIZED_KEYS, build_userdata, read_tar
from tests.oracles import needs, run

OWNER, STRANGER = practice_key(1).public, practice_key(2).public
NAME, SECOND = AUTHORIZED_KEYS.decode(), ".ssh/authorized_keys2"


def sha256(line: bytes) -> str:
    return next(one.key.sha256 for one in parse(line) if one.key)


def files(tar: bytes) -> dict[str, bytes]:
    """Return what Python's tarfile finds in it."""
    with tarfile.open(fileobj=io.BytesIO(tar)) as opened:
        return {
            member.name: found.read()
            for member in opened
            if (found := opened.extractfile(member) if member.isfile() else None)
        }


def with_entries(*entries: tuple[str, bytes], base: bytes = STRANGER) -> bytes:
    """Return a userdata.tar with more files than its own."""
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w", format=tarfile.GNU_FORMAT) as tar:
        for name, content in entries:
            member = tarfile.TarInfo(name)
            member.size, member.mode, member.uname = len(content), 0o640, "somebody"
            tar.addfile(member, io.BytesIO(content))
    return build_userdata(base)[:-1024] + buffer.getvalue()


def whats(merged: MergedTar) -> set[tuple[str, str, bool]]:
    return {(one.what, one.sha256, one.is_owner) for one in merged.keys}


def test_without_a_tar_it_is_the_hosts() -> None:
    merged = merge(None, OWNER)
    assert merged.tar == build_userdata(OWNER)
    assert whats(merged) == {("added", sha256(OWNER), True)}


def test_a_tar_with_the_owner_stays_byte_for_byte() -> None:
    old = with_entries((".ssh/rc", b"echo hello\n"), ("x" * 150, b"a long name"), base=OWNER + STRANGER)
    assert merge(old, OWNER).tar.rstrip(b"\0") == old.rstrip(b"\0")


@needs("tar", "ssh-keygen")
def test_strangers_their_options_and_files_stay(tmp_path: Path) -> None:
    lines = b'# the team\nno-pty,command="uptime" ' + STRANGER + b"\n"
    old = with_entries((".ssh/rc", b"echo hello\n"), ("notes/" + "n" * 120, b"long\0"), base=lines)
    merged = merge(old, OWNER)
    before, after = files(old), files(merged.tar)
    assert after[NAME] == after[SECOND] == before[NAME] + OWNER
    assert {name: data for name, data in after.items() if "authorized" not in name} == {
        name: data for name, data in before.items() if "authorized" not in name
    }
    assert whats(merged) == {("kept", sha256(STRANGER), False), ("added", sha256(OWNER), True)}
    (tmp_path / "userdata.tar").write_bytes(merged.tar)
    run("tar", "-xf", tmp_path / "userdata.tar", "-C", tmp_path)
    listed = run("ssh-keygen", "-lf", tmp_path / NAME).stdout.decode()
    assert sha256(STRANGER) in listed
    assert sha256(OWNER) in listed
    again = merge(merged.tar, OWNER)
    assert again.tar == merged.tar
    assert {one.what for one in again.keys} == {"kept"}


def test_headers_of_what_stays_are_not_touched() -> None:
    old = with_entries((".ssh/rc", b"echo hello\n"))
    kept = {one.name: one.header for one in take_apart(old).members}
    for one in take_apart(merge(old, OWNER).tar).members:
        assert "authorized" in one.name.decode() or one.header == kept[one.name]


def test_the_owners_damaged_line_makes_place_for_the_whole_one() -> None:
    for damaged in (OWNER[:190], OWNER[:200] + b"\n" + OWNER[200:]):
        merged = merge(build_userdata(STRANGER + damaged), OWNER)
        assert files(merged.tar)[NAME] == STRANGER + OWNER
        assert whats(merged) == {("kept", sha256(STRANGER), False), ("restored", sha256(OWNER), True)}


def test_a_broken_line_of_somebody_else_stays_as_a_comment() -> None:
    broken = b"ssh-rsa AAAAB3NzaC1yc2EAAAADAQABAAABAQCnotawholekeyatall their@laptop\n"
    assert files(merge(build_userdata(broken), OWNER).tar)[NAME] == b"# no key: " + broken + OWNER


def test_what_the_cut_left_of_a_line_is_kept_as_a_comment() -> None:
    old = build_userdata(sample_key("large") + STRANGER)[:4096]
    merged = merge(old, OWNER)
    first, second = files(merged.tar)[NAME].splitlines(keepends=True)
    assert first.startswith(b"# cut by the guest: ssh-rsa ")
    assert second == OWNER
    assert [one.what for one in merged.keys] == ["set aside", "added"]


def test_each_file_gets_the_keys_of_the_other() -> None:
    old = build_userdata(STRANGER)
    second = take_apart(build_userdata(sample_key("owner"))).members[3]
    taken = take_apart(old)
    old = put_together(taken._replace(members=(*taken.members[:3], second)))
    found = files(merge(old, OWNER).tar)
    for name in (NAME, SECOND):
        keys = {line.key.sha256 for line in parse(found[name]) if line.key}
        assert keys == {sha256(STRANGER), sha256(OWNER), sha256(sample_key("owner"))}


@pytest.mark.parametrize("offset", [0, 1024, 1536, 2560])
def test_a_damaged_header_is_mended(offset: int) -> None:
    old = bytearray(build_userdata(STRANGER))
    old[offset + 110] ^= 1  # the owner's number
    merged = merge(bytes(old), OWNER)
    assert files(merged.tar)[NAME] == STRANGER + OWNER
    assert any(one.what in ("mended", "changed") for one in merged.entries)


def test_what_is_no_header_is_kept_behind_the_end() -> None:
    stray = b"Not a header, but somebody's bytes.".ljust(512, b".")
    old = build_userdata(STRANGER)
    old = old[:1536] + stray + old[1536:]
    merged = merge(old, OWNER)
    assert files(merged.tar)[NAME] == STRANGER + OWNER
    assert merged.tar.endswith(stray)


def test_what_does_not_fit_is_named_and_goes_only_when_it_is_named() -> None:
    strangers = [make_key("rsa").public for _ in range(5)]
    old = build_userdata(b"".join(strangers))
    with pytest.raises(WouldLoseError) as error:
        merge(old, OWNER, limit=4096)
    lost = [one.name for one in error.value.lost]
    assert lost == [sha256(strangers[-1])]
    merged = merge(old, OWNER, limit=4096, drop=lost)
    left = {line.key.sha256 for line in parse(files(merged.tar)[NAME]) if line.key}
    assert left == {sha256(OWNER), *(sha256(one) for one in strangers[:-1])}
    assert ("dropped", lost[0], False) in whats(merged)


def test_a_file_is_dropped_by_its_name() -> None:
    old = with_entries((".ssh/rc", b"echo hello\n"))
    with pytest.raises(WouldLoseError, match=r"\.ssh/rc \(an entry of 11 bytes\)"):
        merge(old, OWNER, limit=4096)
    merged = merge(old, OWNER, limit=4096, drop=[".ssh/rc"])
    assert ".ssh/rc" not in files(merged.tar)


@pytest.mark.parametrize("name", ["SHA256:nobody", ".ssh/nothing"])
def test_what_is_not_there_cannot_be_dropped(name: str) -> None:
    with pytest.raises(UsageError, match="nothing called"):
        merge(build_userdata(STRANGER), OWNER, drop=[name])


def test_the_owner_is_not_dropped() -> None:
    with pytest.raises(UsageError, match="own key"):
        merge(build_userdata(STRANGER), OWNER, drop=[sha256(OWNER)])


@pytest.mark.parametrize("length", [0, 1, 511, 512, 1500, 2047, 2049, 3000, 4095])
def test_any_cut_lets_the_owner_in(length: int) -> None:
    merged = merge(build_userdata(STRANGER)[:length], OWNER)
    assert sha256(OWNER) in {line.key.sha256 for line in parse(files(merged.tar)[NAME]) if line.key}


def test_an_owner_who_is_refused_gets_a_line_more() -> None:
    refused = b'expiry-time="20200101" ' + OWNER
    old = with_entries(base=refused)
    assert files(merge(old, OWNER, visit=Visit(1_700_000_000)).tar)[NAME] == refused + OWNER
    assert files(merge(old, OWNER, visit=Visit(1_500_000_000)).tar)[NAME] == refused
    stranger = with_entries(base=OWNER + b'expiry-time="20200101" ' + STRANGER)
    assert merge(stranger, OWNER, visit=Visit(1_700_000_000)).tar.rstrip(b"\0") == stranger.rstrip(b"\0")


@pytest.mark.parametrize(("at", "mode"), [(1, 0o777), (2, 0o666), (2, 0o000)])
def test_modes_with_which_sshd_reads_nothing_are_mended(at: int, mode: int) -> None:
    out = io.BytesIO()
    old = build_userdata(OWNER)
    with tarfile.open(fileobj=io.BytesIO(old)) as whole, tarfile.open(fileobj=out, mode="w") as tar:
        for number, entry in enumerate(whole.getmembers()):
            entry.mode = mode if number == at else entry.mode
            tar.addfile(entry, whole.extractfile(entry))
    owner = Owner(1000, 50)
    assert mode_fault(read_tar(MemorySource(out.getvalue())).entries, AUTHORIZED_KEYS, owner)
    merged = merge(out.getvalue(), OWNER)
    assert not mode_fault(read_tar(MemorySource(merged.tar)).entries, AUTHORIZED_KEYS, owner)
    assert [one.what for one in merged.entries].count("changed") == 1
