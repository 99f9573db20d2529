"""What the doctor prints is typed, to the end: then the machine is healthy, or the text said why not."""

from __future__ import annotations

import functools
import json
import os
import re
import shlex
import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from b2dinspect.cli.main import app as inspect_app
from b2dinspect.cli.provision.main import app as provision_app
from b2dinspect.doctor.case import Case, open_case
from b2dinspect.doctor.explanations import SYSTEMS, explain, explanations
from b2dinspect.doctor.remedies import remedy
from tests.disks import TAR, make_disk, make_ext, provisioned
from tests.incidents import NAMES, PACKED, copy_of, incident
from tests.oracles import needs, run

HERE = ("chmod", "ssh-keygen", "tar", "e2fsck", "sgdisk", "sfdisk", "qemu-img")
"""Programs of others that are run as they are."""
GRAMMAR = {
    "docker-machine": r"(--storage-path \S+ )?(start|stop|regenerate-certs) [\w.-]+",
    "minikube": r"(start|stop) -p [\w.-]+",
    "VBoxManage": r"internalcommands sethduuid \S+ [0-9a-f-]{36}|list hdds"
    r"|storageattach \S+ --storagectl SATA --port 1 --device 0 --type hdd --medium \S+",
    "docker": r"ps -a|logs [\w.-]+",
    "podman": r"ps -a|logs [\w.-]+",
    "icacls": r"\S+ /inheritance:r /grant:r \S+:R|\S+ /grant \*S-1-5-83-0:F",
    "ssh": r"-i \S+ \w+@[\w.:]+",
}
"""What other programs take, those that are not on this machine or need one that is up."""


def invoke(app: Any, words: list[str]) -> tuple[int, str]:
    done = CliRunner().invoke(app, words, catch_exceptions=False)
    return done.exit_code, done.stdout


def doctor(folder: Path) -> tuple[int, dict[str, Any], str]:
    status, text = invoke(inspect_app, ["doctor", str(folder), "--json"])
    return status, json.loads(text), invoke(inspect_app, ["doctor", str(folder)])[1]


@functools.cache
def told(name: str) -> tuple[int, dict[str, Any], str]:
    """Return what the doctor says of an incident that is only looked at, once."""
    with pytest.MonkeyPatch.context() as patch:
        settle(incident(name).parents[1], patch)
        return doctor(incident(name))


def replay_journal(folder: Path, scratch: Path) -> None:
    """Do what a kernel does with a filesystem that was not unmounted."""
    with open_case(str(folder)) as case:
        assert case.disk is not None
        assert case.disk.data is not None
        path, offset = Path(case.path), case.disk.data.volume.partition.offset
        image = case.disk.container.format
    run("qemu-img", "convert", "-O", "raw", path, scratch / "raw")
    subprocess.run(["e2fsck", "-fy", f"{scratch / 'raw'}?offset={offset}"], capture_output=True, check=False)
    run("qemu-img", "convert", "-O", image, scratch / "raw", path)
    (scratch / "raw").unlink()


def start(words: list[str], scratch: Path) -> None:
    folder = scratch / "machines" / words[-1]
    with open_case(str(folder)) as case:
        data = case.disk.data if case.disk else None
        is_unclean = data is not None and any(one.is_fault for one in data.volume.findings)
    if is_unclean:
        replay_journal(folder, scratch)
    assert invoke(provision_app, ["boot", str(folder), "--in-place"])[0] == 0


def set_uuid(words: list[str], scratch: Path) -> None:
    path = Path(words[3])
    text = re.sub(
        rb'(ddb\.uuid\.image=")[0-9a-f-]{36}', rb"\g<1>" + words[4].encode(), path.read_bytes(), count=1
    )
    path.write_bytes(text)


PLAYED: dict[tuple[str, str], Callable[[list[str], Path], None]] = {
    ("docker-machine", "start"): start,
    ("minikube", "start"): start,
    ("VBoxManage", "internalcommands"): set_uuid,
}
"""What is done in the place of a program that is not here."""


def type_in(line: str, scratch: Path) -> None:
    """Do what a line says."""
    words = shlex.split(line)
    program = words[0]
    if program in ("b2dinspect", "b2dprovision"):
        status, said = invoke(inspect_app if program == "b2dinspect" else provision_app, words[1:])
        assert status in (0, 1), f"{line}: {said}"
    elif program in HERE:
        done = subprocess.run(words, capture_output=True, stdin=subprocess.DEVNULL, check=False)
        assert done.returncode == 0, f"{line}: {done.stderr!r}"
    else:
        assert re.fullmatch(GRAMMAR[program], " ".join(words[1:])), line
        if play := PLAYED.get((program, words[1])):
            play(words, scratch)


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Return a folder that is home and store, and the current one."""
    settle(tmp_path, monkeypatch)
    monkeypatch.chdir(tmp_path)
    return tmp_path


def settle(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Make a folder home and store."""
    monkeypatch.setenv("HOME", str(folder))
    monkeypatch.setenv("MACHINE_STORAGE_PATH", str(folder))
    monkeypatch.delenv("MINIKUBE_HOME", raising=False)
    monkeypatch.setenv("COLUMNS", "80")


@needs("e2fsck", "qemu-img", "ssh")
@pytest.mark.slow
@pytest.mark.parametrize("name", NAMES)
@pytest.mark.no_cover
def test_every_command_works_as_printed(name: str, place: Path) -> None:
    folder = copy_of(name, place)
    _, found, text = doctor(folder)
    for one in found["findings"]:
        for line in one["commands"]["linux"]:
            assert f" {line}\n" in text
            type_in(line, place)
    status, after, text = doctor(folder)
    if status:
        ends = [one["end"] for one in after["findings"] if one["severity"] != "info"]
        assert all(ends), [one["id"] for one in after["findings"]]
        assert all(end in " ".join(text.split()) for end in ends)


@needs("ssh")
@pytest.mark.slow
@pytest.mark.parametrize(
    ("name", "options", "program"),
    [
        ("key-regenerated", (), "b2dprovision"),
        ("key-regenerated", ("--in-place",), "docker-machine"),
        ("snapshot", ("--new-key", "--drop", "id_rsa"), "VBoxManage"),
    ],
)
def test_what_a_repair_says_to_do_next_is_typed(
    name: str, options: tuple[str, ...], program: str, place: Path
) -> None:
    folder = copy_of(name, place)
    status, text = invoke(provision_app, ["repair", str(folder), *options, "--json"])
    assert status == 0, text
    lines = json.loads(text)["next"]["commands"]
    assert [line.split()[0] for line in lines] == [program]
    for line in lines:
        type_in(line, place)
    assert doctor(folder)[0] == 0


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.slow(but=8)
def test_what_is_to_be_done_stands_in_the_first_five_lines(name: str) -> None:
    status, found, text = told(name)
    lines = text.splitlines()[:5]
    if status:
        assert lines[1].startswith(("BROKEN at ", "odd at "))
        assert any(line.startswith("  Do: ") for line in lines)
        commands = found["findings"][0]["commands"]["linux"]
        assert all(f"      {line}" in lines for line in commands)
    for one in found["findings"]:
        typed = " ".join([one["fix"], *one["commands"]["linux"]])
        assert not re.search(r"\b(rm|delete|del|create|build)\b", typed), typed


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.no_cover
@pytest.mark.slow(but=5)
def test_a_packed_machine_opens(name: str, place: Path) -> None:
    shutil.copy(PACKED / f"{name}.tar.xz", place)
    status, found, _ = doctor(Path(f"{name}.tar.xz"))
    expected = told(name)
    assert (status, [one["id"] for one in found["findings"]]) == (
        expected[0],
        [one["id"] for one in expected[1]["findings"]],
    )
    for one in found["findings"]:
        lines = one["commands"]["linux"]
        assert not lines or lines[0] == f"tar -xkf {name}.tar.xz"


@pytest.mark.slow
def test_what_was_unpacked_and_mended_is_not_unpacked_again(place: Path) -> None:
    name = "key-empty"
    shutil.copy(PACKED / f"{name}.tar.xz", place)
    lines = doctor(Path(f"{name}.tar.xz"))[1]["findings"][0]["commands"]["linux"]
    for line in lines:
        type_in(line, place)
    mended = (place / name / "id_rsa").read_bytes()
    subprocess.run(shlex.split(lines[0]), capture_output=True, check=False)
    assert (place / name / "id_rsa").read_bytes() == mended
    again = doctor(Path(f"{name}.tar.xz"))[1]["findings"]
    assert {line for one in again for line in one["commands"]["linux"]} == {f"b2dinspect doctor ./{name}"}


@needs("tar", "xz")
@pytest.mark.parametrize("name", ["moved", "key-mode", "userdata-lost", "snapshot", "healthy-minikube"])
@pytest.mark.slow(but=1)
def test_a_machine_that_was_unpacked_by_hand(name: str, place: Path) -> None:
    run("tar", "-xf", PACKED / f"{name}.tar.xz", "-C", place)
    _, found, _ = doctor(Path(name))
    assert [one["id"] for one in found["findings"]] == [one["id"] for one in told(name)[1]["findings"]]
    invoke(provision_app, ["repair", name, "--in-place"])
    assert invoke(provision_app, ["prove", name])[0] == 0


@pytest.fixture(scope="module")
def known() -> Iterator[Case]:
    """Return a machine of which everything is known."""
    with open_case(str(incident("other-uuid"))) as case:
        yield case


@pytest.mark.parametrize("item", explanations(), ids=lambda item: item.id)
def test_every_command_of_an_explanation_is_one(item: Any, known: Case) -> None:
    """Each word has its meaning and each program takes its words."""
    for system in SYSTEMS:
        for command in remedy(known, item, system).commands:
            assert not [word for word in command if re.search(r"\b[A-Z]{4,}\b", word) and word != "SATA"]
            if command[0] in GRAMMAR:
                assert re.fullmatch(GRAMMAR[command[0]], " ".join(command[1:])), command
            else:
                assert command[0] in ("b2dinspect", "b2dprovision", *HERE)


def test_nothing_of_what_a_guest_does_is_certain_by_bytes() -> None:
    for item in explanations():
        assert item.by != "bytes" or "guest" not in item.title
        assert not (item.by != "bytes" and item.sure.startswith("certain: the bytes"))


@pytest.mark.parametrize(
    "name",
    [
        "key-empty",
        "vbox-uuid-mismatch",
        "vmdk-grain-tables-differ",
        "driver-without-disk",
        "leftover-fixed-vhd",
        "leftover-raw",
    ],
)
def test_what_bytes_cannot_say_is_not_certain_by_them(name: str) -> None:
    found = explain(name)
    assert found.by != "bytes"
    assert re.match(r"(that|which) [^;]+: certain[^;]*; .+", found.sure)


@needs("ssh-keygen")
@pytest.mark.parametrize("form", ["PEM", "RFC4716"])
@pytest.mark.slow
def test_a_key_with_a_passphrase_is_opened_as_printed(
    form: str, place: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = copy_of("healthy-virtualbox", place)
    run("ssh-keygen", "-p", "-q", "-P", "", "-N", "secret", "-m", form, "-f", folder / "id_rsa")
    locked = (folder / "id_rsa").read_bytes()
    _, found, text = doctor(folder)
    assert [one["id"] for one in found["findings"]] == ["key-encrypted"]
    status, _ = invoke(provision_app, ["repair", str(folder), "--new-key", "--in-place"])
    assert (status, (folder / "id_rsa").read_bytes()) == (2, locked)  # it is not taken away unasked

    asks = place / "asks"
    asks.write_text('#!/bin/sh\ncase "$1" in *old*) echo secret;; *) echo;; esac\n')
    asks.chmod(0o700)
    monkeypatch.setenv("SSH_ASKPASS", str(asks))
    monkeypatch.setenv("SSH_ASKPASS_REQUIRE", "force")
    (line,) = found["findings"][0]["commands"]["linux"]
    assert f" {line}\n" in text
    type_in(line, place)
    assert doctor(folder)[0] == 0


def test_where_the_store_is_the_default_it_is_not_named(place: Path) -> None:
    folder = copy_of("marker-damaged", place)
    assert "docker-machine start marker-damaged" in doctor(folder)[2]
    os.environ["MACHINE_STORAGE_PATH"] = str(place / "elsewhere")
    assert f"docker-machine --storage-path {place} start marker-damaged" in doctor(folder)[2]


@needs("mke2fs", "split")
def test_a_disk_of_which_a_piece_is_missing(place: Path) -> None:
    disk = make_disk(4 << 20, (0, TAR))
    run("split", "-b", "1M", "-d", "-a", "3", disk, place / "disk.")
    (place / "disk.001").unlink()
    _, found, text = doctor(place / "disk.000")
    assert found["findings"][0]["id"].startswith("piece-")
    assert "put it beside the others" in text


@needs("mke2fs")
def test_what_is_to_be_saved_is_there(place: Path) -> None:
    disk = make_disk(64 << 20)
    make_ext(disk, 60 << 20, offset=333 * 512, label="home", files={"ann/notes": b"n"})
    lines = [line for one in doctor(disk)[1]["findings"] for line in one["commands"]["linux"]]
    assert lines == [f"b2dinspect get {disk} / saved-files"]
    type_in(lines[0], place)
    assert (place / "saved-files" / "ann" / "notes").read_bytes() == b"n"


@needs("e2fsck", "sh")
@pytest.mark.slow
def test_e2fsck_is_told_the_copy_that_it_does_not_find(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Without -B it looks for copies where blocks of 1 KiB have them."""
    monkeypatch.chdir(tmp_path)
    run("cp", "--sparse=always", provisioned("minikube"), "disk.raw")
    with Path("disk.raw").open("r+b") as stream:
        stream.seek(1 << 20)
        stream.write(bytes(4096))
    with open_case("disk.raw") as case:
        found = explain("ext4-superblock-damaged")
        *_, check = remedy(case, found, "linux").commands
    run("cp", "--sparse=always", "disk.raw", "disk-copy.raw")
    assert check[:2] == ("e2fsck", "-f")
    run("sh", "-c", f"{shlex.join((check[0], '-y', *check[1:]))}; test $? -le 1")
    with open_case("disk-copy.raw") as case:
        assert case.disk is not None
        assert case.disk.state == "provisioned"
