"""``keys``: the file byte for byte, and fingerprints as ssh-keygen gives them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from b2dinspect.provisioning.keypair import SAMPLE_KEYS
from b2dinspect.provisioning.keypair import sample_key as key
from b2dinspect.userdata.tarball import build_userdata
from tests.cli.helpers import b2d, document, invoke, on_terminal, raw_disk, unpacked
from tests.disks import OTHER_PUB, PUB, userdata_tar
from tests.oracles import needs, run

WHOLE = (
    ("fresh.raw", None, "owner"),
    ("fresh.vdi", "fresh", "owner"),
    ("magic-damaged.vdi", "residue", "owner"),
    ("provisioned-automount.vdi", None, "owner"),
    ("provisioned-automount.vdi", "residue", "owner"),
    ("provisioned-autoformat.vdi", "data", "owner"),
    ("provisioned-minikube.vdi", None, "owner"),
    ("out-of-order.vdi", None, "owner"),
    ("keys-differ.vdi", "data", "owner"),
    ("key-replaced.vdi", None, "new-owner"),
    ("key-replaced.vdi", "data", "new-owner"),
    ("key-replaced.vdi", "residue", "owner"),
)


@pytest.mark.parametrize(("name", "source", "owner"), WHOLE)
@pytest.mark.slow(but=6)
def test_the_file_is_printed_byte_for_byte(name: str, source: str | None, owner: str) -> None:
    done = invoke("keys", unpacked(name), *(["--from", source] if source else []))
    assert (done.returncode, done.stdout, done.stderr) == (0, key(owner), b"")


def test_other_keys_of_the_second_file_follow() -> None:
    done = invoke("keys", unpacked("keys-differ.vdi"))
    assert done.returncode == 0
    first, second = done.stdout.splitlines(keepends=True)
    assert first == key("owner")
    shown = document(invoke("keys", unpacked("keys-differ.vdi"), "--json"), "keys")["keys"]
    assert [one["in_force"] for one in shown if one["file"].endswith("2")] == [True]
    assert second != first


def test_a_cut_file_is_printed_as_far_as_it_goes() -> None:
    done = invoke("keys", unpacked("userdata-cut.vdi"))
    assert done.returncode == 1
    assert done.stdout == key("large")[: len(done.stdout)]
    assert len(done.stdout) == 4096 - 2048
    assert f"2048 of {len(key('large'))} bytes" in done.stderr.decode()


@pytest.mark.parametrize(
    ("name", "options", "said"),
    [
        ("blank.vdi", [], "blank"),
        ("blank.vdi", ["--fingerprints"], "blank"),
        ("blank.vdi", ["--from", "data"], "no data key"),
        ("userdata-missing.vdi", [], "provisioned"),
        ("magic-damaged.vdi", [], "residue .ssh/authorized_keys"),
        ("fresh.vdi", ["--from", "data"], "fresh .ssh/authorized_keys"),
        ("fresh.vdi", ["--from", "residue", "--fingerprints"], "fresh .ssh/authorized_keys"),
        ("fresh.vdi", ["--from", "moon"], "fresh, data, residue"),
    ],
)
def test_no_keys_is_trouble_and_says_where_there_are_some(name: str, options: list[str], said: str) -> None:
    done = invoke("keys", unpacked(name), *options)
    assert (done.returncode, done.stdout) == (2, b"")
    assert said in done.stderr.decode()


def test_no_keys_as_json_is_an_empty_list_and_trouble() -> None:
    done = invoke("keys", "--json", unpacked("blank.vdi"))
    assert (done.returncode, document(done, "keys")["keys"]) == (2, [])


@needs("ssh-keygen")
@pytest.mark.parametrize(("name", "source", "owner"), [row for row in WHOLE if row[1]])
def test_fingerprints_are_those_of_ssh_keygen(name: str, source: str, owner: str) -> None:
    public = SAMPLE_KEYS / f"{owner}.pub"
    bits, sha256, *_, kind = run("ssh-keygen", "-lf", public).stdout.decode().split()
    md5 = run("ssh-keygen", "-E", "md5", "-lf", public).stdout.decode().split()[1]
    done = invoke("keys", "--json", "--from", source, unpacked(name))
    found = document(done, "keys")
    assert done.returncode == 0
    assert found["path"] == str(unpacked(name))
    first = found["keys"][0]
    assert (first["source"], first["file"], first["line"]) == (source, ".ssh/authorized_keys", 1)
    assert (first["fingerprint_sha256"], first["fingerprint_md5"]) == (sha256, md5)
    assert (str(first["bits"]), f"({first['type'].removeprefix('ssh-').upper()})") == (bits, kind)
    text = invoke("keys", "--fingerprints", "--from", source, unpacked(name)).stdout.decode()
    assert text.splitlines()[:3] == [
        f"{source} .ssh/authorized_keys:1  {first['type']} {bits}",
        f"  {sha256}",
        f"  {md5}",
    ]


@needs("ssh-keygen")
def test_fingerprints_of_other_kinds_of_key(tmp_path: Path) -> None:
    lines = []
    for kind in ("ed25519", "ecdsa"):
        run("ssh-keygen", "-q", "-t", kind, "-N", "", "-C", f"{kind} of somebody", "-f", tmp_path / kind)
        lines.append((tmp_path / f"{kind}.pub").read_bytes())
    keys = tmp_path / "keys"
    keys.write_bytes(b"# comment\n\nno-pty " + lines[0] + lines[1])
    disk = raw_disk(tmp_path / "disk", build_userdata(keys.read_bytes()))
    by_keygen = [line.split(" ", 2) for line in run("ssh-keygen", "-lf", keys).stdout.decode().splitlines()]
    found = document(invoke("keys", "--json", disk), "keys")["keys"][:2]
    assert [[str(k["bits"]), k["fingerprint_sha256"]] for k in found] == [row[:2] for row in by_keygen]
    assert [k["comment"] for k in found] == [row[2].rpartition(" ")[0] for row in by_keygen]
    assert [(k["line"], k["options"]) for k in found] == [(3, ["no-pty"]), (4, [])]
    assert invoke("keys", disk).stdout == keys.read_bytes()


def test_both_files_and_all_sources_are_listed() -> None:
    found = document(invoke("keys", "--json", unpacked("key-replaced.vdi")), "keys")["keys"]
    files = (".ssh/authorized_keys", ".ssh/authorized_keys2")
    assert [(k["source"], k["file"]) for k in found] == [(s, f) for s in ("data", "residue") for f in files]


def test_a_broken_line_is_a_finding(tmp_path: Path) -> None:
    disk = raw_disk(tmp_path / "disk", build_userdata(b"no key\n" + PUB))
    done = invoke("keys", disk)
    assert (done.returncode, done.stdout) == (1, b"no key\n" + PUB)
    done = invoke("keys", "--fingerprints", disk)
    assert done.returncode == 1
    assert b"not accepted" in done.stdout
    found = document(invoke("keys", "--json", disk), "keys")["keys"]
    assert [k["valid"] for k in found] == [False, True] * 2
    assert [bool(k["error"]) for k in found] == [True, False] * 2


def test_a_broken_line_counts_only_where_it_is_printed(tmp_path: Path) -> None:
    disk = raw_disk(tmp_path / "disk", userdata_tar(PUB, b"no key\n"))
    done = invoke("keys", disk)
    assert (done.returncode, done.stdout) == (0, PUB)
    assert invoke("keys", "--fingerprints", disk).returncode == 1
    assert invoke("keys", "--json", disk).returncode == 1


def test_a_file_without_a_key_is_printed_and_is_trouble(tmp_path: Path) -> None:
    disk = raw_disk(tmp_path / "disk", userdata_tar(b"# nobody\n", b"# nor here\n"))
    done = invoke("keys", disk)
    assert (done.returncode, done.stdout) == (2, b"# nobody\n")
    assert "no deciding key" in done.stderr.decode()


def test_a_key_of_the_second_file_alone_follows_on_a_line_of_its_own(tmp_path: Path) -> None:
    disk = raw_disk(tmp_path / "disk", userdata_tar(b"# nobody", OTHER_PUB))
    done = invoke("keys", disk)
    assert (done.returncode, done.stdout) == (0, b"# nobody\n" + OTHER_PUB)
    only_first = invoke("keys", disk, "--from", "fresh")
    assert (only_first.returncode, only_first.stdout) == (2, b"# nobody")


def test_keys_that_are_not_in_force_say_why() -> None:
    done = invoke("keys", unpacked("magic-damaged.vdi"), "--from", "residue", "--json")
    (first, *_) = document(done, "keys")["keys"]
    assert first["in_force"] is False
    assert "would" in first["why_not"]


@pytest.mark.slow
def test_on_a_terminal_escapes_are_shown_and_elsewhere_kept(tmp_path: Path) -> None:
    content = OTHER_PUB.rstrip() + b" \x1b[31mred\x07 \rover \\ \xff\n" + PUB
    disk = raw_disk(tmp_path / "disk", build_userdata(content))
    status, printed = on_terminal("keys", disk)
    lines = printed.decode().splitlines()
    assert status == 0
    assert lines[0].endswith(r" \x1b[31mred\x07 \rover \\ \xff")
    assert lines[1:] == PUB.decode().splitlines()
    assert not set(printed) & {0x1B, 0x07, 0x0D, 0xFF}
    done = b2d("keys", disk)
    assert (done.returncode, done.stdout) == (0, content)


def test_a_line_is_judged_for_a_time_and_an_address(tmp_path: Path) -> None:
    """The text says for which; without them it is now, and the host as a guest behind NAT sees it."""
    path = tmp_path / "fresh.raw"
    line = b'expiry-time="20200101",from="192.168.99.*" ' + PUB
    path.write_bytes(build_userdata(line).ljust(1 << 20, b"\0"))

    def ask(*options: str) -> tuple[bool, str]:
        found = json.loads(invoke("keys", str(path), "--json", *options).stdout)["keys"][0]
        return found["in_force"], str(found["why_not"])

    good = ("--at", "2019-06-01", "--address", "192.168.99.1")
    assert ask(*good)[0] is True
    assert ask("--at", "2020-01-01T00:00:00Z", *good[2:])[0] is True  # sshd: at that second it still does
    late = ask("--at", "2020-01-01T00:00:01Z", *good[2:])
    assert late[0] is False
    assert "(judged at 2020-01-01 00:00:01Z" in late[1]
    elsewhere = ask(*good[:2])
    assert elsewhere[0] is False
    assert "does not admit 10.0.2.2, which is the host" in elsewhere[1]
    assert invoke("keys", str(path), "--address", "here").returncode == 2


def test_every_command_that_tells_who_gets_in_judges_for_a_time_and_an_address(tmp_path: Path) -> None:
    path = tmp_path / "fresh.raw"
    line = b'expiry-time="20200101",from="192.168.99.*" ' + PUB
    path.write_bytes(build_userdata(line).ljust(1 << 20, b"\0"))
    good = ("--at", "2019-06-01", "--address", "192.168.99.1")

    def keys_of(*options: str) -> list[dict[str, Any]]:
        found: list[dict[str, Any]] = json.loads(invoke("show", str(path), "--json", *options).stdout)["keys"]
        return found

    assert {key["in_force"] for key in keys_of(*good)} == {True}
    assert {key["in_force"] for key in keys_of()} == {False}
    for command in ("show", "doctor", "report"):
        late, then = invoke(command, str(path)), invoke(command, str(path), *good)
        assert b"has passed" in late.stdout, command
        assert b"has passed" not in then.stdout, command
        assert invoke(command, str(path), "--address", "here").returncode == 2
