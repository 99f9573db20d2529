"""doctor, explain, machines and choice, as a tired person meets them."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import typer

from tests.cli.helpers import b2d, document, invoke, is_harmless, unpacked
from tests.containers.handmade import make_vhd
from tests.disks import MIB
from tests.incidents import MANIFEST, NAMES, copy_of, incident

BROKEN = [name for name, entry in MANIFEST.items() if entry["findings"] and entry["repair"] != "nothing"]
WARNED = [name for name in BROKEN if name != "imported"]


@pytest.mark.parametrize("name", WARNED)
@pytest.mark.slow
def test_the_first_lines_are_enough_to_act(name: str) -> None:
    done = invoke("doctor", incident(name))
    assert done.returncode == 1
    lines = done.stdout.decode().splitlines()
    verdict, action = lines[1], next(line for line in lines[:6] if line.startswith("  Do: "))
    assert verdict.startswith(("BROKEN at ", "odd at "))
    assert len(action) > len("  Do: ")
    assert not any(word in action.split() for word in ("FOLDER", "KEY", "DISK", "NAME"))


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("columns", [60, 80, 120])
@pytest.mark.slow
@pytest.mark.no_cover
def test_it_fits_the_screen(name: str, columns: int) -> None:
    text = invoke("doctor", incident(name), columns=columns).stdout.decode()
    assert is_harmless(text)
    folded = [line for line in text.splitlines() if not line.lstrip().startswith(("Do: ", "fix "))]
    assert max(len(line) for line in folded) <= columns or str(incident(name)) in text


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.slow
def test_json(name: str) -> None:
    done = invoke("doctor", incident(name), "--json")
    found = document(done, "doctor")
    assert [one["id"] for one in found["findings"]] == MANIFEST[name]["findings"]
    assert found["healthy"] == (done.returncode == 0)
    for one in found["findings"]:
        assert not any("FOLDER" in line for line in one["commands"]["linux"])


def test_the_bytes_at_fault_are_shown() -> None:
    text = invoke("doctor", incident("marker-damaged")).stdout.decode()
    assert "37 64 6f 63 6b 65 72" in text.replace("\n", " ")


def test_a_healthy_machine() -> None:
    done = invoke("doctor", incident("healthy-minikube"))
    assert done.returncode == 0
    assert b"Nothing wrong found" in done.stdout
    assert b"Look elsewhere" in done.stdout


def test_a_disk_alone() -> None:
    done = invoke("doctor", unpacked("userdata-missing.vdi"))
    assert done.returncode == 1
    assert b"--new-key" in done.stdout


def test_a_sound_disk_alone_says_nothing_of_what_was_not_seen() -> None:
    text = invoke("doctor", unpacked("provisioned-minikube.vdi")).stdout.decode()
    assert "The disk is fine; no key and no settings were seen:\nname the machine's directory" in text
    assert "Nothing wrong" not in text


@pytest.mark.parametrize("name", ["too-small", "switched-off"])
def test_what_keeps_nobody_out_is_said_to(name: str) -> None:
    lines = invoke("doctor", incident(name), columns=200).stdout.decode().splitlines()
    assert lines[2].startswith("  This keeps nobody out; ")
    assert lines[3].startswith("  Do: ")


@pytest.mark.parametrize("name", ["key-cut", "key-mode", "moved", "interrupted"])
def test_what_keeps_somebody_out_is_not_called_harmless(name: str) -> None:
    assert b"This keeps nobody out" not in invoke("doctor", incident(name)).stdout


def test_the_names_of_findings_are_kept_whole() -> None:
    folders = [incident("key-mode"), incident("never-formatted"), incident("power-cut")]
    text = invoke("machines", *folders, columns=80).stdout.decode()
    for one in ("key-permissions", "disk-not-formatted"):
        assert one in text
    assert max(map(len, text.splitlines())) <= 80


def test_a_refused_header_is_told_with_what_to_do(tmp_path: Path) -> None:
    path = tmp_path / "disk.vhd"
    path.write_bytes(bytes(1536) + make_vhd([b"x" * MIB])[1536:])
    done = invoke("doctor", path)
    assert done.returncode == 2
    assert b"cookie makes no sense" in done.stderr
    assert b"takes none of it away: keep the file as it is" in done.stderr


def test_on_a_narrow_screen_the_columns_that_matter_are_left() -> None:
    folders = [incident("label-lost"), incident("healthy-virtualbox")]
    lines = invoke("machines", *folders, columns=80).stdout.decode().splitlines()
    assert [line.split() for line in lines[1:]] == [
        ["label-lost", "virtualbox", "damaged", "untold", "label-missing"],
        ["healthy-virtualbox", "virtualbox", "provisioned", "fits", "none"],
    ]


def test_hostile_names(tmp_path: Path) -> None:
    folder = copy_of("config-cut", tmp_path)
    evil = {"Driver": {"MachineName": "\x1b[2J[red]x", "SSHKeyPath": "/\u202e\x07"}, "DriverName": "[b]\x1b"}
    (folder / "config.json").write_text(json.dumps(evil))
    for words in (("doctor", folder), ("machines", folder), ("doctor", folder, "--json")):
        done = invoke(*words)
        assert is_harmless(done.stdout.decode())
        assert b"Traceback" not in done.stderr


@pytest.mark.slow
def test_machines() -> None:
    for name in NAMES:
        incident(name)
    store = incident("key-mode").parent
    done = invoke("machines", store, columns=120)
    assert done.returncode == 1
    lines = {line.split()[0]: line for line in done.stdout.decode().splitlines()[1:]}
    assert set(lines) == set(NAMES)
    assert "key-permissions" in lines["key-mode"]
    assert "differs" in lines["key-regenerated"]
    found = document(invoke("machines", store, "--json"), "machines")
    assert {one["name"]: one["first"] for one in found["machines"]} == {
        name: (entry["findings"] or [""])[0]
        if entry["repair"] in ("yes", "no") and name != "imported"
        else ""
        for name, entry in MANIFEST.items()
    }
    assert invoke("machines", incident("healthy-hyperv")).returncode == 0


def test_many_machines_are_listed_while_the_rest_is_looked_at(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    from b2dinspect.cli import doctor

    for number in range(doctor.FEW + 2):
        (tmp_path / f"machine-{number:02}").mkdir()
        (tmp_path / f"machine-{number:02}" / "config.json").write_text("{" if number == 3 else "{}")
    monkeypatch.setattr(doctor, "SHOWN_EVERY", 1e-9)  # each machine is a part of its own
    with pytest.raises(typer.Exit):
        doctor.machines([str(tmp_path)])
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines] == ["name", *(f"machine-{number:02}" for number in range(18))]
    assert {line.index("-  ", 11) for line in lines[1:]} == {lines[0].index("driver")}


def test_no_machines(tmp_path: Path) -> None:
    env = {"HOME": str(tmp_path), "MACHINE_STORAGE_PATH": "", "MINIKUBE_HOME": ""}
    done = b2d("machines", env=env)
    assert (done.returncode, done.stdout) == (0, b"")
    assert b"no machines found" in done.stderr
    done = b2d("doctor", env=env)
    assert done.returncode == 2
    assert b"no machine on this host" in done.stderr


@pytest.mark.slow
def test_a_machine_by_its_name(tmp_path: Path) -> None:
    folder = copy_of("userdata-lost", tmp_path / "store")
    env = {"HOME": str(tmp_path), "MACHINE_STORAGE_PATH": str(folder.parent.parent)}
    assert b2d("doctor", env=env).returncode == 1
    assert b"userdata-missing" in b2d("doctor", "userdata-lost", env=env).stdout
    for words in (("show",), ("verify",), ("ls",), ("keys", "--fingerprints")):
        done = b2d(words[0], "userdata-lost", *words[1:], env=env)
        assert b"no such file" not in done.stderr.lower(), words


def test_a_machine_with_a_snapshot_shows_the_live_disk() -> None:
    done = document(invoke("show", incident("snapshot"), "--json"), "show")
    assert done["state"] == "provisioned"
    assert [link["role"] for link in done["container"]["files"]] == ["parent"]


def test_explain() -> None:
    done = invoke("explain", "userdata-missing")
    assert done.returncode == 0
    assert b"row 8" in done.stdout
    assert invoke("explain", "nothing").returncode == 2
    listed = invoke("explain", columns=120).stdout.decode()
    assert "key-permissions" in listed
    found = document(invoke("explain", "--json"), "explain")
    assert len(found["explanations"]) > 50
    document(invoke("explain", "vdi-map-cut", "--json"), "explain")


@pytest.mark.parametrize(
    ("names", "actions", "status"),
    [
        (["fresh.vdi"], ["format", "format", "format"], 0),
        (["provisioned-minikube.vdi"], ["mount", "mount", "mount"], 0),
        (["magic-damaged.vdi"], ["leave", "format", "leave"], 1),
        (["blank.vdi"], ["leave", "format", "leave"], 1),
        (["fresh.vdi", "provisioned-autoformat.vdi"], ["mount", "mount", "mount"], 0),
        (["magic-damaged.vdi", "fresh.vdi"], ["leave", "format", "format"], 0),
    ],
)
def test_choice(names: list[str], actions: list[str], status: int) -> None:
    done = invoke("choice", *(unpacked(name) for name in names), "--json")
    assert [one["action"] for one in document(done, "choice")["choices"]] == actions
    assert done.returncode == status
    assert invoke("choice", *(unpacked(name) for name in names)).returncode == status


def test_choice_of_a_vmware_disk() -> None:
    done = invoke("choice", "--vmware", unpacked("blank.vdi"), "--json")
    assert [one["action"] for one in document(done, "choice")["choices"]] == ["format", "format", "format"]
    assert done.returncode == 0
