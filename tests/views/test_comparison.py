"""Sets of keys from every kind of side, and how two of them differ."""

from __future__ import annotations

import functools
import gzip
import shutil
from pathlib import Path

import pytest

from b2dinspect.errors import B2dError, UsageError, UserdataError
from b2dinspect.userdata.tarball import build_userdata
from b2dinspect.views.comparison import (
    Comparison,
    KeySet,
    compare,
    disk_side,
    key_set,
    machine_sides,
    within_disk,
)
from tests.disks import (
    MIB,
    OTHER_PUB,
    PUB,
    PUB4096,
    TAR,
    as_vdi,
    fresh,
    look,
    make_disk,
    needs_disks,
    new_path,
    provision,
    provisioned,
    userdata_tar,
)
from tests.oracles import needs, run

KEY, OTHER = PUB.rstrip(b"\n"), OTHER_PUB.rstrip(b"\n")


def written(tmp_path: Path, content: bytes, name: str = "keys") -> str:
    path = tmp_path / name
    path.write_bytes(content)
    return str(path)


def side(tmp_path: Path, content: bytes, name: str = "keys") -> KeySet:
    return key_set(written(tmp_path, content, name))


def raws(keys: KeySet) -> list[bytes]:
    return [key.line.raw for key in keys.keys]


def both(tmp_path: Path, left: bytes, right: bytes) -> Comparison:
    return compare(side(tmp_path, left, "left"), side(tmp_path, right, "right"))


def counts(result: Comparison) -> tuple[int, int, int, int]:
    return len(result.same), len(result.changed), len(result.only_left), len(result.only_right)


# --- two sets -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("left", "right", "expected"),
    [
        (PUB, PUB, (1, 0, 0, 0)),
        (PUB, b"", (0, 0, 1, 0)),
        (b"", PUB, (0, 0, 0, 1)),
        (b"", b"", (0, 0, 0, 0)),
        (PUB, PUB4096, (0, 0, 1, 1)),
        (PUB + PUB4096, PUB4096 + OTHER_PUB, (1, 0, 1, 1)),
        (PUB + PUB4096, PUB4096 + PUB, (2, 0, 0, 0)),  # the order does not matter
        (PUB, b"# a comment\n\n" + KEY, (1, 0, 0, 0)),
        (PUB, KEY + b"\r\n", (1, 0, 0, 0)),
        (PUB, PUB + PUB, (1, 0, 0, 0)),  # a key twice is one key
        (PUB, KEY + b" someone\n", (0, 1, 0, 0)),
        (KEY + b" a\n", KEY + b" b\n", (0, 1, 0, 0)),
        (PUB, b"no-pty " + PUB, (0, 1, 0, 0)),
        (b'command="a" ' + PUB, b'command="b" ' + PUB, (0, 1, 0, 0)),
        (b"NO-PTY " + PUB, b"no-pty " + PUB, (1, 0, 0, 0)),
        (b"ssh-rsa  " + KEY.split()[1], PUB, (1, 0, 0, 0)),
    ],
)
def test_two_sets(tmp_path: Path, left: bytes, right: bytes, expected: tuple[int, int, int, int]) -> None:
    result = both(tmp_path, left, right)
    assert counts(result) == expected
    assert result.differs == any(expected[1:])
    assert counts(both(tmp_path, right, left)) == (*expected[:2], expected[3], expected[2])


def test_of_equal_keys_the_first_counts(tmp_path: Path) -> None:
    keys = side(tmp_path, KEY + b" first\n" + KEY + b" second\n")
    assert [key.line.comment for key in keys.keys] == ["first"]


def test_broken_lines_are_kept_aside(tmp_path: Path) -> None:
    keys = side(tmp_path, b"ssh-rsa AAAA\n" + PUB + b"hello\n")
    assert raws(keys) == [KEY]
    assert [key.line.number for key in keys.broken] == [1, 3]


def test_broken_lines_alone_do_not_differ(tmp_path: Path) -> None:
    result = both(tmp_path, PUB + b"junk\n", PUB)
    assert not result.differs
    assert len(result.left.broken) == 1


def test_a_certificate_is_not_its_key(tmp_path: Path) -> None:
    ca = new_path("ca")
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", ca)
    run("ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", tmp_path / "id")
    run("ssh-keygen", "-q", "-s", ca, "-I", "me", tmp_path / "id.pub")
    keys = key_set(str(tmp_path / "id-cert.pub"))
    assert keys.keys == ()
    assert len(keys.broken) == 1


# --- every kind of side ---------------------------------------------------------------------------------


@functools.cache
def pair() -> Path:
    """Return a private key with its public half beside it."""
    path = new_path("id_rsa")
    run("ssh-keygen", "-q", "-t", "rsa", "-b", "2048", "-m", "PEM", "-N", "", "-C", "me@host", "-f", path)
    return path


@needs("ssh-keygen")
def test_a_private_key_equals_its_public_half_whatever_the_comment() -> None:
    derived, public = key_set(str(pair())), key_set(f"{pair()}.pub")
    assert [key.derived for key in derived.keys] == [True]
    assert public.keys[0].line.comment == "me@host"
    assert counts(compare(derived, public)) == counts(compare(public, derived)) == (1, 0, 0, 0)


@needs("ssh-keygen")
def test_options_are_compared_with_a_private_key_too(tmp_path: Path) -> None:
    public = Path(f"{pair()}.pub").read_bytes()
    assert counts(compare(key_set(str(pair())), side(tmp_path, b"no-pty " + public))) == (0, 1, 0, 0)


@needs("ssh-keygen")
def test_a_broken_private_key_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UserdataError):
        side(tmp_path, pair().read_bytes()[:500])


@pytest.mark.parametrize("padding", [0, 5632, 64 << 10])
def test_a_userdata_tar(tmp_path: Path, padding: int) -> None:
    keys = side(tmp_path, TAR + bytes(padding))
    assert raws(keys) == [KEY]
    assert keys.keys[0].origin.endswith(": .ssh/authorized_keys")


def test_a_tar_that_the_guest_cut(tmp_path: Path) -> None:
    assert raws(side(tmp_path, TAR[:4096])) == [KEY]


@needs("tar")
def test_any_tar_with_a_ssh_folder(tmp_path: Path) -> None:
    (tmp_path / ".ssh").mkdir()
    (tmp_path / ".ssh" / "authorized_keys").write_bytes(OTHER_PUB)
    run("tar", "-cf", tmp_path / "t", "-C", tmp_path, "./.ssh")
    assert raws(key_set(str(tmp_path / "t"))) == [OTHER]


def test_a_gzip_of_a_tar(tmp_path: Path) -> None:
    assert raws(side(tmp_path, gzip.compress(TAR))) == [KEY]


def test_a_tar_with_much_behind_it_is_a_fresh_disk() -> None:
    keys = key_set(str(fresh()))
    assert raws(keys) == [KEY]
    assert keys.keys[0].origin == "fresh userdata: .ssh/authorized_keys"


@needs_disks
def test_a_provisioned_disk() -> None:
    keys = key_set(str(provisioned("autoformat")))
    assert [key.origin for key in keys.keys] == ["data userdata: .ssh/authorized_keys"]


@needs("qemu-img")
def test_a_vdi_whose_comment_looks_like_nothing_else() -> None:
    assert raws(key_set(str(as_vdi(fresh())))) == [KEY]


@needs_disks
def test_a_disk_with_only_a_residue() -> None:
    path = make_disk(8 * MIB, (1024, TAR[1024:]))
    keys = key_set(str(path))
    assert keys.keys[0].origin == "residue userdata: .ssh/authorized_keys"


@needs_disks
def test_a_residue_is_no_all_clear(tmp_path: Path) -> None:
    """The key is the same, and nobody can log in with it."""
    keys = key_set(str(provisioned("automount", tar=None)))
    assert keys.is_left_over
    assert compare(keys, keys).differs


def test_a_disk_without_keys(tmp_path: Path) -> None:
    assert side(tmp_path, bytes(MIB)).keys == ()


def test_a_text_without_keys_has_only_broken_lines(tmp_path: Path) -> None:
    keys = side(tmp_path, b"to whom it may concern\n")
    assert (keys.keys, len(keys.broken)) == ((), 1)


@pytest.mark.parametrize("content", [b"", b"\n", b"# nothing\n"])
def test_an_empty_side(tmp_path: Path, content: bytes) -> None:
    assert side(tmp_path, content)[1:] == ((), (), False)


def test_what_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="no such file, directory, or machine"):
        key_set(str(tmp_path / "nothing"))
    with pytest.raises(UsageError, match="no machine directory"):
        key_set(str(tmp_path))


def open_files() -> int:
    return len([*Path("/proc/self/fd").iterdir()])


@needs_disks
def test_no_file_stays_open(tmp_path: Path) -> None:
    before = open_files()
    for path in (written(tmp_path, PUB), written(tmp_path, TAR, "t"), str(provisioned("minikube"))):
        key_set(path)
    machine_sides(str(machine(tmp_path)))
    assert open_files() == before


# --- a machine directory --------------------------------------------------------------------------------


def machine(tmp_path: Path, public: bytes | None = PUB, tar: bytes | None = TAR) -> Path:
    folder = tmp_path / "default"
    folder.mkdir()
    if public is not None:
        (folder / "id_rsa.pub").write_bytes(public)
    if tar is not None:
        (folder / "default.rawdisk").write_bytes(tar.ljust(MIB, b"\0"))
    return folder


def test_host_and_disk_of_a_machine(tmp_path: Path) -> None:
    host, disk = machine_sides(str(machine(tmp_path)))
    assert host.label.endswith("default (host)")
    assert raws(host) == raws(disk) == [KEY]
    assert not compare(host, disk).differs


def test_a_disk_of_another_key(tmp_path: Path) -> None:
    host, disk = machine_sides(str(machine(tmp_path, tar=build_userdata(OTHER_PUB))))
    assert counts(compare(host, disk)) == (0, 0, 1, 1)


@needs("ssh-keygen")
def test_private_and_public_half_are_one_key(tmp_path: Path) -> None:
    folder = machine(tmp_path, Path(f"{pair()}.pub").read_bytes())
    shutil.copy(pair(), folder / "id_rsa")
    host, _ = machine_sides(str(folder))
    assert [key.derived for key in host.keys] == [True]


@needs("ssh-keygen")
def test_halves_that_do_not_belong_together_are_two_keys(tmp_path: Path) -> None:
    folder = machine(tmp_path)
    shutil.copy(pair(), folder / "id_rsa")
    host, disk = machine_sides(str(folder))
    assert counts(compare(host, disk)) == (1, 0, 1, 0)


def test_only_one_half_of_a_machine(tmp_path: Path) -> None:
    folder = machine(tmp_path, tar=None)
    (folder / "config.json").write_text("{}")
    (only,) = machine_sides(str(folder))
    assert only.label.endswith("(host)")
    shutil.rmtree(tmp_path / "default")
    (only,) = machine_sides(str(machine(tmp_path, public=None)))
    assert only.keys[0].origin.startswith("fresh userdata")


def test_a_machine_as_one_side(tmp_path: Path) -> None:
    keys = key_set(str(machine(tmp_path, tar=build_userdata(OTHER_PUB + b"junk\n"))))
    assert raws(keys) == [OTHER]  # the host's own key is not what the disk holds
    assert len(keys.broken) == 2


def test_a_machine_without_a_disk_is_no_side(tmp_path: Path) -> None:
    folder = machine(tmp_path, tar=None)
    (folder / "config.json").write_text("{}")
    with pytest.raises(UsageError, match="no disk in this machine directory"):
        key_set(str(folder))


def test_what_the_guest_will_cut_is_no_key_of_the_disk(tmp_path: Path) -> None:
    keys = key_set(
        str(machine(tmp_path, tar=build_userdata((KEY + b"\n") * 5 + b"#" * 2000 + b"\n" + OTHER_PUB)))
    )
    assert raws(keys) == [KEY]
    assert [key.line.kind for key in keys.broken] == ["broken"] * len(keys.broken)


def test_an_empty_private_key_is_no_key(tmp_path: Path) -> None:
    """The host's disk was full: facts.md, section 4, number 3."""
    folder = machine(tmp_path)
    (folder / "id_rsa").touch()
    host, _ = machine_sides(str(folder))
    assert raws(host) == [KEY]


# --- within one disk ------------------------------------------------------------------------------------


def test_the_two_key_files_of_a_fresh_disk() -> None:
    (files,) = within_disk(look(fresh()))
    assert (files.left.label, files.right.label) == (
        "fresh .ssh/authorized_keys",
        "fresh .ssh/authorized_keys2",
    )
    assert not files.differs
    (files,) = within_disk(look(fresh(userdata_tar(PUB, OTHER_PUB))))
    assert counts(files) == (0, 0, 1, 1)


@needs_disks
def test_residue_and_userdata() -> None:
    files, tars = within_disk(look(provision("automount", tar=build_userdata(OTHER_PUB)[:4096])))
    assert not files.differs
    assert (tars.left.label, tars.right.label) == ("residue userdata", "data userdata")
    assert (raws(tars.left), raws(tars.right)) == ([KEY], [OTHER])
    assert counts(tars) == (0, 0, 1, 1)


def test_nothing_to_compare() -> None:
    facts = look(make_disk(MIB))
    assert [*within_disk(facts)] == []
    assert disk_side(facts).keys == ()


@pytest.mark.slow
def test_any_small_file_gives_keys_or_a_b2d_error(tmp_path: Path) -> None:
    seen = set()
    for number in range(256):
        content = bytes([number]) * 600 + TAR[number:2000]
        try:
            seen.add(len(side(tmp_path, content).keys))
        except B2dError as error:
            seen.add(type(error))
    assert seen
