"""Repairs: proven by a login, with nothing else on the disk changed, and undone to the byte."""

from __future__ import annotations

import hashlib
import json
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from typer.testing import CliRunner

from b2dinspect.cli.provision.main import app
from b2dinspect.evidence.file import open_evidence
from b2dinspect.filesystems.ext4 import Ext4
from b2dinspect.identity import Identities
from b2dinspect.inspection.walk import inspect
from b2dinspect.provisioning.disk.ext4 import PartitionSpan, editing
from b2dinspect.provisioning.disk.images import stored_chunks
from b2dinspect.provisioning.disk.rework import rework
from b2dinspect.provisioning.samples.incidents import practice_key
from b2dinspect.provisioning.simulated.simulate import USERDATA
from b2dinspect.source import RunsSource
from b2dinspect.userdata.authorized_keys import parse
from tests.cli.helpers import unpacked, validator
from tests.disks import MIB, needs_disks, provisioned
from tests.incidents import MANIFEST, answer, case, copy_of, ids
from tests.machine.helpers import machine
from tests.oracles import needs, run

REPAIRABLE = [name for name, entry in MANIFEST.items() if entry["repair"] == "yes"]
OTHERS = [name for name, entry in MANIFEST.items() if entry["repair"] == "no"]
ON_DISK = ["key-regenerated", "vmware", "userdata-lost", "power-cut", "label-lost", "many-keys", "key-cut"]
IN_BLOCKS = ["key-cut"]
"""Those whose new userdata.tar is no longer than the old one, so that it is rewritten in its own blocks."""


@pytest.fixture(autouse=True)
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Copies of machines from a store go into the current folder."""
    monkeypatch.chdir(tmp_path)


def repair(*words: object) -> tuple[int, str, str]:
    done = CliRunner().invoke(app, ["repair", *(str(word) for word in words)], catch_exceptions=False)
    return done.exit_code, done.stdout, done.stderr


def boot(folder: Path) -> int:
    return CliRunner().invoke(app, ["boot", str(folder)], catch_exceptions=False).exit_code


def only_start_is_left(folder: Path) -> bool:
    """Tell whether nothing is wrong, or nothing but that the guest has not formatted the disk yet."""
    faults = [one for one in answer(folder).findings if one.finding.is_fault]
    return all(one.explanation.mends == "start" for one in faults)


def content(folder: Path) -> dict[str, tuple[str, int]]:
    """Return hash and mode of every file of a machine directory."""
    return {
        str(path.relative_to(folder)): (hashlib.sha256(path.read_bytes()).hexdigest(), path.stat().st_mode)
        for path in folder.rglob("*")
        if path.is_file()
    }


def other_files(machine: Path) -> dict[bytes, tuple[str, int]]:
    """Return hash and mode of every file on the data partition but userdata.tar."""
    facts = case(machine).disk
    assert facts is not None
    assert facts.data is not None
    files = Ext4(facts.data.volume.source)
    found: dict[bytes, tuple[str, int]] = {}

    def walk(path: bytes) -> None:
        for entry in files.list(files.find(path)):
            inner = path.rstrip(b"/") + b"/" + entry.name
            if entry.type == "directory":
                walk(inner)
            elif entry.type == "file" and inner != b"/" + USERDATA.encode():
                data = files.content(entry).pread(0, entry.node.size)
                found[inner] = (hashlib.sha256(data).hexdigest(), entry.node.mode)

    walk(b"/")
    files.close()
    return found


def add_docker_data(machine: Path) -> None:
    """Put something on the disk that must survive."""
    with on_disk(machine) as (place, ids), editing(place, ids) as edits:
        edits.write(b"volume.db", os.urandom(300_000))


@contextmanager
def on_disk(machine: Path) -> Iterator[tuple[PartitionSpan, Identities]]:
    """Give the data partition to write on."""
    facts = case(machine).disk
    assert facts is not None
    assert facts.data is not None
    part, ids = facts.data.volume.partition, Identities()
    with rework(Path(case(machine).path), ids) as disk:
        yield PartitionSpan(disk, part.offset, part.size), ids


def tamper(machine: Path, *commands: str) -> None:
    """Let debugfs change the data partition."""
    path = machine.parent / "bench"
    with on_disk(machine) as (place, _):
        with path.open("wb") as file:
            file.truncate(place.size)
            for start, data in stored_chunks(place.storage()):
                file.seek(start)
                file.write(data)
        for command in commands:
            run("debugfs", "-w", "-R", command, path)
        with open_evidence(str(path)) as changed:
            for start, data in stored_chunks(changed):
                place.storage().pwrite(start, data)
    path.unlink()


@needs("debugfs")
@pytest.mark.slow
def test_a_block_that_another_file_claims_is_not_written(tmp_path: Path) -> None:
    folder = copy_of("key-regenerated", tmp_path)
    add_docker_data(folder)
    facts = case(folder).disk
    assert facts is not None
    assert facts.data is not None
    with Ext4(facts.data.volume.source) as files:
        entry = files.find(USERDATA.encode())
        data = files.content(entry)
        assert isinstance(data, RunsSource)
        block = (data.parent_offset(0) or 0) // 4096
    tamper(folder, f"set_inode_field /volume.db block[5] {block}")  # where its first extent begins
    before = content(folder)
    status, _, complaint = repair(folder, "--in-place")
    assert status == 2
    assert "claims blocks of it too" in complaint
    assert content(folder) == before


@needs("debugfs", "e2fsck")
@pytest.mark.slow
def test_a_twin_of_userdata_keeps_its_content(tmp_path: Path) -> None:
    folder = copy_of("key-regenerated", tmp_path)
    tamper(folder, f"ln /{USERDATA} /twin.tar", f"set_inode_field /{USERDATA} links_count 2")
    before = other_files(folder)
    assert b"/twin.tar" in before
    assert repair(folder)[0] == 0
    copy = tmp_path / "key-regenerated-repaired"
    assert other_files(copy)[b"/twin.tar"] == before[b"/twin.tar"]
    assert answer(copy).is_healthy


@pytest.mark.parametrize("name", REPAIRABLE)
@pytest.mark.slow
def test_a_repaired_copy_lets_its_owner_in(name: str, tmp_path: Path) -> None:
    folder = copy_of(name, tmp_path)
    before = content(folder)
    status, said, complaint = repair(folder)
    assert (status, complaint) == (0, ""), said
    copy = tmp_path / f"{name}-repaired"
    assert only_start_is_left(copy)
    assert boot(copy) == 0
    assert content(folder) == before
    assert (copy / "id_rsa").stat().st_mode & 0o777 == 0o600


@needs("e2fsck", "qemu-img", "debugfs")
@pytest.mark.parametrize("name", ON_DISK)
@pytest.mark.slow
@pytest.mark.no_cover
def test_nothing_else_on_the_disk_changes(name: str, tmp_path: Path) -> None:
    folder = copy_of(name, tmp_path)
    add_docker_data(folder)
    before = other_files(folder)
    assert b"/volume.db" in before
    assert repair(folder)[0] == 0
    copy = tmp_path / f"{name}-repaired"
    assert other_files(copy) == before
    facts = case(copy)
    assert facts.disk is not None
    assert facts.disk.data is not None
    raw = tmp_path / "raw"
    run("qemu-img", "convert", "-O", "raw", facts.path, raw)
    run("e2fsck", "-fn", f"{raw}?offset={facts.disk.data.volume.partition.offset}")


@pytest.mark.parametrize("name", REPAIRABLE)
@pytest.mark.slow
@pytest.mark.no_cover
def test_a_repair_in_place_is_undone_to_the_byte(name: str, tmp_path: Path) -> None:
    folder = copy_of(name, tmp_path)
    before = content(folder)
    backup = folder / "backup"
    status, said, complaint = repair(folder, "--in-place", "--backup", backup)
    assert (status, complaint) == (0, ""), said
    assert backup.stat().st_mode & 0o777 == 0o600
    kept = [path.name for path in folder.iterdir() if path.suffix == ".before-repair"]
    assert not kept or name not in IN_BLOCKS
    assert only_start_is_left(folder)
    assert repair("--undo", backup)[0] == 0
    backup.unlink()
    assert content(folder) == before


@pytest.mark.slow
def test_in_place_changes_only_the_files_own_blocks(tmp_path: Path) -> None:
    folder = copy_of("key-cut", tmp_path)
    old = (folder / "disk.vmdk").read_bytes()
    assert repair(folder, "--in-place")[0] == 0
    new = (folder / "disk.vmdk").read_bytes()
    assert len(new) == len(old)
    differing = {at // 512 for at in range(0, len(old), 512) if old[at : at + 512] != new[at : at + 512]}
    facts = case(folder).disk
    assert facts is not None
    item = facts.of_source("data")
    assert item is not None
    assert item.file_offset is not None
    assert differing <= set(range(item.file_offset // 512, item.file_offset // 512 + 8))
    assert facts.magic.found is False


@needs_disks
@pytest.mark.parametrize("image_format", ["raw", "vdi", "vhd", "vmdk", "qcow2"])
@pytest.mark.slow
def test_in_place_in_every_format(image_format: str, tmp_path: Path) -> None:
    image, key = tmp_path / f"disk.{image_format}", tmp_path / "id_rsa"
    small = provisioned("minikube", size=64 * MIB)  # a repair hashes all of it, before and after
    words = ["convert", str(small), str(image)]
    assert CliRunner().invoke(app, words, catch_exceptions=False).exit_code == 0
    key.write_bytes(practice_key(2).private)
    key.chmod(0o600)
    with inspect(str(image)) as facts:
        before = {one.line.key.sha256 for one in facts.keys if one.line.key}
    old = hashlib.sha256(image.read_bytes()).digest()
    assert repair(image, "--key", key, "--in-place", "--backup", tmp_path / "b")[0] == 0
    with inspect(str(image)) as facts:
        found = {one.line.key.sha256 for one in facts.keys if one.line.key}
    assert found == before | {line.key.sha256 for line in parse(practice_key(2).public) if line.key}
    assert repair("--undo", tmp_path / "b")[0] == 0
    assert hashlib.sha256(image.read_bytes()).digest() == old


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.slow(but=2)
def test_what_cannot_be_repaired_is_said_and_nothing_is_written(name: str, tmp_path: Path) -> None:
    folder = copy_of(name, tmp_path)
    before = content(folder)
    status, said, _ = repair(folder)
    assert status == (0 if only_start_is_left(folder) else 1)
    assert "left" in said
    assert [path.name for path in folder.parent.iterdir()] == [name]
    assert content(folder) == before


@pytest.mark.slow
def test_a_dry_run_shows_the_bytes_and_writes_nothing(tmp_path: Path) -> None:
    folder = copy_of("key-regenerated", tmp_path)
    before = content(folder)
    status, said, _ = repair(folder, "--dry-run")
    assert status == 0
    facts = case(folder).disk
    assert facts is not None
    item = facts.of_source("data")
    assert item is not None
    assert item.virtual_offset is not None
    assert f"disk byte {item.virtual_offset + 1536:#x}" in said  # where the size of authorized_keys stands
    assert "kept      SHA256:uVcALUZsDxV2a9JbaLU3Xhh3mQivNmgcHk1leumBtZo" in said
    assert "added     SHA256:QIi1kTMPuf518CxdQC4kd2sCJQ2kYnYhyEaWRNDzwhQ (the owner's)" in said
    assert content(folder) == before
    assert len(list(folder.parent.iterdir())) == 1


@pytest.mark.slow
def test_json(tmp_path: Path) -> None:
    folder = copy_of("key-regenerated", tmp_path)
    for words in (("--dry-run",), ("--in-place", "--backup", folder / "b")):
        status, said, _ = repair(folder, "--json", *words)
        assert status == 0
        document = json.loads(said)
        validator("repair").validate(document)
        assert document["logged_in"] is True
        assert document["changes"]
        assert {(one["what"], one["is_owner"]) for one in document["keys"]} == {
            ("kept", False),
            ("added", True),
        }
    validator("repair").validate(json.loads(repair("--undo", folder / "b", "--json")[1]))


def test_an_unclean_filesystem_is_refused_with_what_to_run(tmp_path: Path) -> None:
    folder = copy_of("switched-off", tmp_path)
    key = tmp_path / "key"
    key.write_bytes(practice_key(2).private)
    before = content(folder)
    status, _, complaint = repair(folder, "--key", key)
    assert status == 2
    assert "e2fsck -f 'COPY?offset=" in complaint
    assert content(folder) == before


def test_a_fresh_disk_gets_the_key_beside_the_others(tmp_path: Path) -> None:
    key, out = tmp_path / "key", tmp_path / "out.vdi"
    key.write_bytes(practice_key(2).private)
    status, said, _ = repair(unpacked("fresh.vdi"), "--key", key, "--out", out)
    assert status == 0, said
    with inspect(str(out)) as facts:
        assert facts.state == "fresh"
        assert len({one.line.key.sha256 for one in facts.keys if one.in_force and one.line.key}) == 2


@pytest.mark.parametrize("has_tar", [True, False])
def test_where_the_old_layout_is_automounts_key_goes_there(has_tar: bool, tmp_path: Path) -> None:
    disk, key, out = tmp_path / "disk.vdi", tmp_path / "key", tmp_path / "out.vdi"
    shutil.copy(unpacked("provisioned-automount.vdi"), disk)
    key.write_bytes(practice_key(2).private)
    with inspect(str(disk)) as facts:
        assert facts.data is not None
        assert facts.effective is not None
        part, tar = facts.data.volume.partition, facts.effective.content.pread(0, 4096)
    span = (part.offset, part.size)
    with rework(disk, Identities()) as image, editing(PartitionSpan(image, *span), Identities()) as edits:
        edits.make_directory(b"vm")
        if has_tar:
            edits.write(b"vm/userdata.tar", tar)
    assert ids(disk) == ([] if has_tar else ["userdata-missing"])
    status, said, _ = repair(disk, "--key", key, "--out", out)
    assert status == 0, said
    assert set(ids(out)) <= {"key-replaced"}
    with inspect(str(out)) as facts:
        assert facts.effective is not None
        assert facts.effective.path == "/vm/userdata.tar"
        own = next(one for one in facts.userdata if one.path == f"/{USERDATA}")
        assert own.content.pread(0, 4096) == tar
        assert {key.tar.path for key in facts.keys if key.in_force} == {"/vm/userdata.tar"}


@pytest.mark.slow
def test_of_many_inodes_only_those_that_were_used_count(tmp_path: Path) -> None:
    """minikube's mke2fs -i 2048 makes ten millions of them on a disk of the usual size."""
    key = tmp_path / "key"
    key.write_bytes(practice_key(2).private)
    status, said, error = repair(unpacked("provisioned-minikube.vdi"), "--key", key, "--dry-run")
    assert status == 0, error
    assert "the key in" in said


@pytest.mark.slow
def test_a_packed_sample_is_repaired_into_a_copy(tmp_path: Path) -> None:
    sample = tmp_path / "userdata-missing.vdi.gz"
    shutil.copy(Path(__file__).parents[3] / "sample_images" / sample.name, sample)
    key = tmp_path / "key"
    key.write_bytes(practice_key(1).private)
    key.chmod(0o600)
    assert repair(sample, "--key", key, "--in-place")[0] == 2
    assert repair(sample, "--key", key)[0] == 0
    assert ids(tmp_path / "userdata-missing-repaired.vdi") == []


def test_an_undo_refuses_what_was_changed_since(tmp_path: Path) -> None:
    folder = copy_of("imported", tmp_path)
    assert repair(folder, "--in-place", "--backup", folder / "b")[0] == 0
    (folder / "id_rsa.pub").write_bytes(b"something else")
    status, _, complaint = repair("--undo", folder / "b")
    assert status == 2
    assert "was changed since the repair" in complaint
    assert (folder / "id_rsa.pub").read_bytes() == b"something else"


@pytest.mark.parametrize(
    "data", [b"", b"{}", b"[]", b"null", b'{"format": "b2dinspect backup", "version": 1}']
)
def test_what_is_no_backup(data: bytes, tmp_path: Path) -> None:
    path = tmp_path / "b"
    path.write_bytes(data)
    status, _, complaint = repair("--undo", path)
    assert status == 2
    assert "is no backup" in complaint


def test_a_backup_names_nothing_outside_of_its_folder(tmp_path: Path) -> None:
    victim = tmp_path / "victim"
    victim.write_bytes(b"precious")
    for place in (str(victim), "../victim"):
        document = {
            "format": "b2dinspect backup",
            "version": 1,
            "files": [{"path": place, "existed": False, "size": 0, "new_size": 8, "mode": 0, "ranges": []}],
        }
        (tmp_path / "in").mkdir(exist_ok=True)
        (tmp_path / "in" / "b").write_text(json.dumps(document))
        assert repair("--undo", tmp_path / "in" / "b")[0] == 2
    assert victim.read_bytes() == b"precious"


@pytest.mark.slow
def test_two_faults_are_both_named_and_both_mended(tmp_path: Path) -> None:
    folder = copy_of("userdata-lost", tmp_path)
    (folder / "id_rsa").chmod(0o640)
    assert ids(folder) == ["key-permissions", "userdata-missing"]
    assert repair(folder)[0] == 0
    assert boot(tmp_path / "userdata-lost-repaired") == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ((), "name a machine"),
        (("nothing",), "no such file, directory, or machine"),
        (("x", "--in-place", "--out", "y"), "choose one"),
        (("x", "--undo", "y"), "name nothing else"),
    ],
)
def test_bad_usage(words: tuple[str, ...], said: str) -> None:
    status, _, complaint = repair(*words)
    assert status == 2
    assert said in complaint


@needs("qemu-system-x86_64")
@pytest.mark.parametrize("name", ["userdata-lost", "key-regenerated", "label-lost"])
@pytest.mark.slow
@pytest.mark.no_cover
def test_a_real_linux_lets_the_owner_in(name: str, tmp_path: Path) -> None:
    folder = copy_of(name, tmp_path)
    assert repair(folder)[0] == 0
    words = ["boot", str(tmp_path / f"{name}-repaired"), "--engine", "qemu"]
    assert CliRunner().invoke(app, words, catch_exceptions=False).exit_code == 0


@pytest.mark.slow
def test_a_machine_with_a_snapshot_becomes_one_with_a_disk_of_its_own(tmp_path: Path) -> None:
    folder = copy_of("snapshot", tmp_path)
    (folder / "id_rsa").chmod(0o644)
    assert repair(folder)[0] == 0
    copy = tmp_path / "snapshot-repaired"
    assert ids(copy) == []
    assert boot(copy) == 0


@pytest.mark.parametrize("encoding", ["utf-8-sig", "utf-16"])
@pytest.mark.slow
def test_a_config_with_a_byte_order_mark(encoding: str, tmp_path: Path) -> None:
    folder = copy_of("userdata-lost", tmp_path)
    config = folder / "config.json"
    config.write_bytes(config.read_text().encode(encoding))
    assert ids(folder) == ["config-encoding", "userdata-missing"]
    assert repair(folder)[0] == 0
    assert ids(tmp_path / "userdata-lost-repaired") == []


def test_standard_input_is_refused() -> None:
    assert repair("-")[0] == 2


def test_a_backup_from_which_nothing_could_be_undone_is_refused(tmp_path: Path) -> None:
    folder = copy_of("imported", tmp_path)
    before = content(folder)
    (tmp_path / "elsewhere").mkdir()
    status, _, complaint = repair(folder, "--in-place", "--backup", tmp_path / "elsewhere" / "b")
    assert status == 2
    assert "a backup lies beside" in complaint
    assert content(folder) == before


def test_key_files_alone_are_not_repaired(tmp_path: Path) -> None:
    folder = machine(tmp_path / ".ssh")
    before = content(folder)
    status, _, complaint = repair(folder, "--new-key", "--in-place")
    assert status == 2
    assert "is no machine directory" in complaint
    assert content(folder) == before


@pytest.mark.slow
def test_a_sound_private_key_is_replaced_only_when_it_is_named(tmp_path: Path) -> None:
    folder = copy_of("key-regenerated", tmp_path)
    before = content(folder)
    status, _, complaint = repair(folder, "--new-key", "--in-place")
    assert status == 2
    assert "--drop id_rsa" in complaint
    assert "SHA256:" in complaint
    assert content(folder) == before
    assert repair(folder, "--new-key", "--in-place", "--drop", "id_rsa")[0] == 0
    assert content(folder)["id_rsa"] != before["id_rsa"]


@pytest.mark.slow
def test_a_copy_does_not_become_a_machine_of_the_store(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = copy_of("imported", tmp_path / "store")
    monkeypatch.chdir(folder.parent)  # not even from inside of it
    status, said, _ = repair(folder)
    assert (status, [path.name for path in folder.parent.iterdir()]) == (0, ["imported"])
    assert f"written  {tmp_path / 'imported-repaired'}: " in said
    assert "this is a copy outside of the store" in " ".join(said.split())


@pytest.mark.parametrize("words", [(), ("--in-place",)])
@pytest.mark.slow
def test_the_new_key_of_a_lone_disk_is_named_first(words: tuple[str, ...], tmp_path: Path) -> None:
    disk = shutil.copy(copy_of("userdata-lost", tmp_path) / "disk.vmdk", tmp_path / "k.vmdk")
    status, said, _ = repair(disk, "--new-key", *words)
    key = tmp_path / ("k.id_rsa" if words else "k-repaired.id_rsa")
    assert status == 0
    assert f"new key: {key}; copy it to the machine's directory as id_rsa" in said
    assert key.stat().st_mode & 0o777 == 0o600


def test_what_is_still_found_is_named_and_comes_next(tmp_path: Path) -> None:
    folder = copy_of("userdata-lost", tmp_path)
    (folder / "id_rsa.pub").unlink()
    (folder / "disk.vmdk").unlink()
    status, said, _ = repair(folder, "--in-place")
    assert status == 1
    assert "the doctor still finds disk-none" in said
    assert f"b2dinspect doctor {folder}" in said
    assert "start the machine" not in said


@pytest.mark.slow
def test_a_machine_outside_of_a_store_is_told_where_it_must_lie(tmp_path: Path) -> None:
    folder = copy_of("imported", tmp_path).rename(tmp_path / "imported")
    said = " ".join(repair(folder, "--in-place")[1].split())
    assert "move the directory into a folder called machines" in said


def test_a_label_is_mended_without_a_key(tmp_path: Path) -> None:
    disk = shutil.copy(copy_of("label-lost", tmp_path) / "disk.vmdk", tmp_path / "l.vmdk")
    status, said, complaint = repair(disk)
    assert (status, complaint) == (1, ""), said
    assert "not tried: there is no key to try" in said
    assert "the doctor still finds userdata-missing" in said  # a key is needed for that
    assert ids(tmp_path / "l-repaired.vmdk") == ["userdata-missing"]
