"""The doctor's answer, and the explanation of every finding."""

from __future__ import annotations

import functools
import re
import shutil
from pathlib import Path

import pytest

from b2dinspect.containers import FORMATS
from b2dinspect.doctor.diagnosis import ELSEWHERE
from b2dinspect.doctor.explanations import ALL_LINKS, LINKS, SYSTEMS, explain, explanations, families
from b2dinspect.errors import UsageError
from b2dinspect.provisioning.faults import FAULTS
from tests.cli.helpers import MANIFEST as SAMPLES
from tests.cli.helpers import unpacked
from tests.disks import MIB, TAR, make_disk, make_ext, needs_disks, provision, sfdisk
from tests.incidents import answer, copy_of, ids, incident
from tests.machine.helpers import config_of, machine

PACKAGE = Path(__file__).parents[2] / "b2dinspect"
FAMILIES = (
    *(name for name, known in FORMATS.items() if not known.is_last),
    "chain",
    "ova",
    "piece",
    "vbox",
    "gpt",
    "mbr",
    "ext4",
    "tar",
    "logs",
)
OTHERS = ("userdata", "keys", "key", "magic", "table", "partition", "label", "disk", "filesystem", "config")
MORE = ("logs", "marker", "driver", "machine", "leftover", "certificates")
SECOND = ("data", "profile", "server", "authority", "client", "daemon")
ID = re.compile(rf'"((?:{"|".join(FAMILIES + OTHERS + MORE + SECOND)})-[a-z0-9-]+)"')
NO_FINDINGS = {*FAULTS, "data-volume", "ext4-only", "disk-name", "config-2"}


@functools.cache
def all_ids() -> set[str]:
    """Return every finding id in the sources: what looks like one, and is given to Finding or a like."""
    found = set()
    for path in PACKAGE.rglob("*.py"):
        if "provisioning" not in path.parts and "cli" not in path.parts and "render" not in path.parts:
            found |= set(ID.findall(path.read_text()))
    return found - NO_FINDINGS


def test_there_are_many() -> None:
    assert len(all_ids()) > 120


@pytest.mark.parametrize("name", sorted(all_ids()))
def test_every_finding_is_explained(name: str) -> None:
    found = explain(name)
    assert found.link in ALL_LINKS
    assert not found.title.endswith(".")
    assert found.why.endswith((".", '"'))
    assert set(found.commands) == set(SYSTEMS)
    assert found.fix
    assert not found.fix.endswith(".")


@pytest.mark.parametrize("name", [item.id for item in explanations() if "*" not in item.id])
def test_every_explanation_is_of_a_finding(name: str) -> None:
    assert name in all_ids()


def test_every_family_has_members() -> None:
    for item in families():
        pattern = re.compile(item.id.replace("*", ".+"))
        assert any(pattern.fullmatch(name) for name in all_ids()), item.id


def test_every_row_is_explained() -> None:
    assert {item.row for item in explanations()} == set(range(18))


def test_what_is_no_finding() -> None:
    for name in ("nothing", "vdi-*", ""):
        with pytest.raises(UsageError):
            explain(name)


@pytest.mark.parametrize("name", ["healthy-virtualbox", "healthy-hyperv", "healthy-minikube"])
def test_a_healthy_machine_points_elsewhere(name: str) -> None:
    found = answer(incident(name))
    assert found.is_healthy
    assert found.advice == ELSEWHERE
    assert {link.status for link in found.links} == {"ok"}
    assert [link.name for link in found.links] == [*LINKS]


def test_a_container_driver_stops_blaming_the_disk() -> None:
    found = answer(incident("container"))
    assert found.is_healthy
    assert found.advice.endswith(": docker logs container")


@pytest.mark.parametrize(
    ("name", "link"),
    [
        ("key-mode", "host key"),
        ("moved", "config"),
        ("interrupted", "container"),
        ("never-formatted", "offset 0"),
        ("mkfs-failed", "filesystem"),
        ("userdata-lost", "userdata.tar"),
        ("key-cut", "authorized_keys"),
        ("key-regenerated", "login"),
    ],
)
def test_the_chain_shows_where_it_breaks(name: str, link: str) -> None:
    states = {one.name: one.status for one in answer(incident(name)).links}
    assert states[link] == "BROKEN"
    assert states["login"] == "BROKEN"
    before = LINKS[: LINKS.index(link)]
    assert {states[one] for one in before} <= {"ok", "unseen"}


@pytest.mark.parametrize(
    ("one", "change", "both"),
    [
        ("userdata-lost", "mode", ["key-permissions", "userdata-missing"]),
        ("key-regenerated", "mode", ["key-permissions", "key-mismatch"]),
        ("label-lost", "config", ["config-broken", "label-missing"]),
        ("never-formatted", "config", ["config-broken", "disk-not-formatted"]),
        ("moved", "mode", ["key-permissions", "config-moved"]),
        ("switched-off", "key", ["key-empty", "ext4-unclean"]),
    ],
)
def test_two_faults_are_both_named(one: str, change: str, both: list[str], tmp_path: Path) -> None:
    folder = copy_of(one, tmp_path)
    if change == "mode":
        (folder / "id_rsa").chmod(0o644)
    elif change == "config":
        (folder / "config.json").write_bytes(b"")
    else:
        (folder / "id_rsa").write_bytes(b"")
    assert ids(folder) == both


@pytest.mark.parametrize("name", [name for name in SAMPLES if name.startswith("provisioned")])
@pytest.mark.slow
def test_a_healthy_disk_alone(name: str) -> None:
    assert answer(unpacked(name)).is_healthy


def test_a_disk_beside_its_config_is_taken_with_its_machine() -> None:
    assert ids(incident("key-mode") / "disk.vmdk") == ["key-permissions"]


def test_the_stale_disk_itself_says_so() -> None:
    found = answer(incident("snapshot") / "disk.vmdk")
    assert [one.finding.id for one in found.findings] == ["disk-stale"]
    assert not found.is_healthy


def test_what_is_not_there() -> None:
    with pytest.raises(UsageError, match="no such file, directory, or machine"):
        answer("no-such-machine")


def small(kind: str) -> Path:
    """Return a small disk: somebody's ext4 on a partition or on all of it, a guest's, or a fresh one."""
    if kind == "fresh":
        return make_disk(48 * MIB, (0, TAR))
    if kind == "a guest's":
        return provision("minikube", size=48 * MIB)
    path = make_disk(48 * MIB)
    if kind == "partition":
        sfdisk(path, "label: dos\nstart=2048\n")
    offset = MIB if kind == "partition" else 0
    make_ext(path, 48 * MIB - offset, offset=offset, label="photos", files={"a.jpg": b"mine"})
    return path


@needs_disks
@pytest.mark.parametrize(
    ("kind", "first"),
    [
        ("partition", "disk-foreign"),
        ("whole", "disk-foreign"),
        ("a guest's", "key-mismatch"),
        ("fresh", "disk-too-small"),
    ],
)
def test_only_an_unused_disk_is_an_interrupted_create(kind: str, first: str, tmp_path: Path) -> None:
    folder = tmp_path / "machines" / "v1"
    machine(folder, config_of(folder, "kvm2"))
    shutil.copy(small(kind), folder / "v1.rawdisk")
    found = [one for one in answer(folder).findings if one.finding.severity == "error"]
    assert found[0].finding.id == first
    assert ("disk-too-small" in [one.finding.id for one in found]) == (kind == "fresh")
    assert not any("no data" in one.explanation.why for one in found)
