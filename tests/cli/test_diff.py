"""``diff``: every kind of side against every other."""

from __future__ import annotations

import itertools
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from b2dinspect.provisioning.keypair import SAMPLE_KEYS
from b2dinspect.provisioning.keypair import sample_key as key
from b2dinspect.userdata.tarball import build_userdata
from tests.cli.helpers import SAMPLES, b2d, document, invoke, raw_disk, unpacked
from tests.disks import OTHER_PUB, PUB
from tests.oracles import PATH, needs, run

KINDS = ("image", "pub", "private", "pem", "tar", "machine", "authorized_keys")


@pytest.fixture(scope="module")
def sides(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    """The same key in every form in which it can be given."""
    if not shutil.which("ssh-keygen", path=PATH):
        pytest.skip("not installed: ssh-keygen")
    folder = tmp_path_factory.mktemp("sides")
    machine = folder / "machine"
    machine.mkdir()
    private = machine / "id_rsa"
    run("ssh-keygen", "-q", "-t", "rsa", "-b", "2048", "-N", "", "-C", "", "-f", private)
    public = (machine / "id_rsa.pub").read_bytes()
    found = {name: folder / name for name in KINDS}
    shutil.copy(private, found["private"])
    shutil.copy(private, found["pem"])
    run("ssh-keygen", "-q", "-p", "-N", "", "-m", "PEM", "-f", found["pem"])
    found["pub"].write_bytes(public)
    found["authorized_keys"].write_bytes(b"# the only key\n\n" + public)
    found["tar"].write_bytes(build_userdata(public))
    raw_disk(found["image"], build_userdata(public))
    raw_disk(machine / "disk.img", build_userdata(public))
    return found


@pytest.mark.parametrize(("left", "right"), [*itertools.combinations_with_replacement(KINDS, 2)])
def test_equal_sides(sides: dict[str, Path], left: str, right: str) -> None:
    done = invoke("diff", "--json", sides[left], sides[right])
    (found,) = document(done, "diff")["comparisons"]
    by_keygen = run("ssh-keygen", "-lf", sides["pub"]).stdout.decode().split()[1]
    assert (done.returncode, done.stderr) == (0, b"")
    assert [one["fingerprint_sha256"] for one in found["same"]] == [by_keygen]
    assert not (found["differs"] or found["changed"] or found["only_left"] or found["only_right"])


@pytest.mark.parametrize("kind", KINDS)
def test_sides_that_differ(sides: dict[str, Path], kind: str, tmp_path: Path) -> None:
    other = tmp_path / "other.pub"
    other.write_bytes(OTHER_PUB)
    done = invoke("diff", "--json", sides[kind], other)
    (found,) = document(done, "diff")["comparisons"]
    assert done.returncode == 1
    assert [one["type"] for one in found["only_left"]] == ["ssh-rsa"]
    assert [one["type"] for one in found["only_right"]] == ["ssh-ed25519"]
    assert (found["same"], found["changed"], found["differs"]) == ([], [], True)
    swapped = invoke("diff", other, sides[kind], columns=300)
    marks = [line[:9] for line in swapped.stdout.decode().splitlines() if line[:1] in "+-"]
    assert swapped.returncode == 1
    assert marks[2:] == ["- SHA256:", "+ SHA256:"]
    assert swapped.stdout.decode().startswith(f"--- {other}")


@needs("ssh-keygen")
@pytest.mark.parametrize(("kind", "form"), [("ed25519", "RFC4716"), ("ecdsa", "RFC4716"), ("ecdsa", "PEM")])
def test_private_key_of_another_kind(tmp_path: Path, kind: str, form: str) -> None:
    private = tmp_path / "key"
    run("ssh-keygen", "-q", "-t", kind, "-N", "", "-m", form, "-f", private)
    assert invoke("diff", private, tmp_path / "key.pub").returncode == 0


def _appended(line: bytes) -> bytes:
    return line.rstrip(b"\n") + b" another comment\n"


def _restricted(line: bytes) -> bytes:
    return b"no-pty " + line


@pytest.mark.parametrize(("change", "shown"), [(_appended, "another comment"), (_restricted, "no-pty")])
def test_same_key_with_another_line(tmp_path: Path, change: Callable[[bytes], bytes], shown: str) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_bytes(PUB)
    two.write_bytes(change(PUB))
    done = invoke("diff", "--json", one, two)
    (found,) = document(done, "diff")["comparisons"]
    assert done.returncode == 1
    (changed,) = found["changed"]
    assert changed["left"]["fingerprint_sha256"] == changed["right"]["fingerprint_sha256"]
    assert changed["left"] != changed["right"]
    assert shown in invoke("diff", one, two, columns=300).stdout.decode()


def test_broken_lines_are_told_and_not_compared(tmp_path: Path) -> None:
    one, two = tmp_path / "one", tmp_path / "two"
    one.write_bytes(PUB)
    two.write_bytes(b"broken\n" + PUB)
    done = invoke("diff", "--json", one, two)
    (found,) = document(done, "diff")["comparisons"]
    assert done.returncode == 0
    assert [(one["line"], one["valid"]) for one in found["broken_right"]] == [(1, False)]
    assert found["broken_left"] == []
    assert b"line 1 is not accepted" in invoke("diff", one, two, columns=300).stdout


def test_one_machine_directory(sides: dict[str, Path], tmp_path: Path) -> None:
    machine = tmp_path / "machine"
    shutil.copytree(sides["machine"], machine)
    assert invoke("diff", machine).returncode == 0
    raw_disk(machine / "disk.img", build_userdata(OTHER_PUB))
    done = invoke("diff", "--json", machine)
    (found,) = document(done, "diff")["comparisons"]
    assert done.returncode == 1
    assert (found["left"], found["right"]) == (f"{machine} (host)", str(machine / "disk.img"))
    (machine / "disk.img").unlink()
    assert invoke("diff", machine).returncode == 2


@pytest.mark.parametrize(
    ("name", "status", "comparisons"),
    [
        ("fresh.vdi", 0, 1),
        ("provisioned-automount.vdi", 0, 2),
        ("keys-differ.vdi", 1, 1),
        ("key-replaced.vdi", 1, 2),
    ],
)
def test_one_disk_within_itself(name: str, status: int, comparisons: int) -> None:
    done = invoke("diff", "--json", SAMPLES / f"{name}.gz")
    assert (done.returncode, done.stderr) == (status, b"")
    assert len(document(done, "diff")["comparisons"]) == comparisons


def test_samples_against_their_keys() -> None:
    owner, new_owner = (SAMPLE_KEYS / f"{name}.pub" for name in ("owner", "new-owner"))
    assert invoke("diff", owner, unpacked("fresh.vdi")).returncode == 0
    assert invoke("diff", unpacked("key-replaced.vdi"), new_owner).returncode == 0
    assert invoke("diff", unpacked("key-replaced.vdi"), owner).returncode == 1


@pytest.mark.slow
def test_one_side_from_standard_input() -> None:
    assert b2d("diff", "-", unpacked("fresh.vdi"), stdin=key("owner")).returncode == 0
    assert b2d("diff", unpacked("fresh.vdi"), "-", stdin=key("new-owner")).returncode == 1


def test_two_places_without_keys_cannot_be_compared(tmp_path: Path) -> None:
    empty = tmp_path / "empty"
    empty.write_bytes(b"# nobody\n")
    done = invoke("diff", empty, unpacked("blank.vdi"))
    assert (done.returncode, done.stdout.decode().splitlines()[-1].strip()) == (2, "no keys on either side")
    assert b"holds a key that sshd would accept" in done.stderr


def test_a_side_that_is_damaged_is_not_taken_for_empty(tmp_path: Path) -> None:
    cut = tmp_path / "cut.vdi"
    cut.write_bytes(unpacked("provisioned-autoformat.vdi").read_bytes()[: 9 << 20])
    done = invoke("diff", cut, unpacked("fresh.vdi"))
    assert (done.returncode, done.stdout) == (2, b"")
    assert b"no key can be read from this disk" in done.stderr


@pytest.mark.parametrize(
    "case", ["missing", "empty folder", "cut key", "one file", "one blank disk", "no image"]
)
def test_trouble(tmp_path: Path, case: str) -> None:
    public, cut, binary = tmp_path / "id.pub", tmp_path / "cut", tmp_path / "binary"
    public.write_bytes(PUB)
    cut.write_bytes(b"-----BEGIN OPENSSH PRIVATE KEY-----\nAAAA")
    binary.write_bytes(b"QFI\xfb\0\0\0\3" + bytes(600))
    arguments: tuple[object, ...] = {
        "missing": (public, tmp_path / "nothing"),
        "empty folder": (tmp_path, public),
        "cut key": (cut, public),
        "one file": (public,),
        "one blank disk": (unpacked("blank.vdi"),),
        "no image": (public, binary),
    }[case]
    (tmp_path / "folder").mkdir()
    if case == "empty folder":
        arguments = (tmp_path / "folder", public)
    done = invoke("diff", *arguments)
    assert (done.returncode, done.stdout) == (2, b"")
    assert done.stderr.startswith(b"b2dinspect: ")
    assert done.stderr.count(b"\n") == 1
