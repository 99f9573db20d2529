"""What is read from the disk equals what the docker client said of it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from tests.cli.helpers import document, invoke
from tests.docker.scene import Scene
from tests.oracles import needs, run

pytestmark = pytest.mark.slow


def answer(played: Scene, command: str, *words: object) -> dict[str, Any]:
    """Return the JSON of a command on the scene's disk."""
    done = invoke("docker", command, "--json", played.disk, *words)
    assert (done.returncode, done.stderr) == (0, b"")
    return document(done, f"docker-{command}")


def test_ps(played: Scene) -> None:
    found = answer(played, "ps", *(["--size"] if played.driver == "overlay2" else []))
    assert [root["drivers"] for root in found["data_roots"] if root["engine"] == "docker"] == [
        [played.driver]
    ]
    assert found["data_roots"][0]["version"] == played.said["version"]
    assert found["data_roots"][0]["meant_driver"] == played.driver
    for ours, theirs in zip(found["containers"], played.said["ps"], strict=True):
        assert (ours["id"], ours["name"]) == (theirs["ID"], theirs["Names"])
        assert theirs["Image"] in (ours["image"], ours["image_id"], f"sha256:{ours['image_id']}")
        assert ours["state"] == theirs["State"]
        assert ours["labels"] == dict(one.split("=", 1) for one in theirs["Labels"].split(",") if one)
        assert {one["name"] or one["source"] for one in ours["mounts"]} == set(
            filter(None, theirs["Mounts"].split(","))
        )
        known = played.said["inspect"][ours["name"]]
        assert [known["Path"], *known["Args"]] == ours["command"]
        assert ours["created"] == known["Created"]
        if ours["state"] == "exited":
            assert ours["exit_code"] == known["State"]["ExitCode"]
            assert ours["finished"] == known["State"]["FinishedAt"]
        if ours["size"] is not None:
            assert ours["size"] == known["SizeRw"]


def test_the_table_of_ps_has_the_words_of_docker(played: Scene) -> None:
    done = invoke("docker", "ps", "--no-trunc", played.disk, columns=400)
    shown = done.stdout.decode()
    for theirs in played.said["ps"]:
        row = next(line for line in shown.splitlines() if theirs["ID"] in line)
        assert theirs["Command"].strip('"')[:20] in row
        assert theirs["Names"] in row.split()
        assert theirs["Status"].split(")")[0].split(" ")[0] in row


def test_images(played: Scene) -> None:
    for words, said in (([], "images"), (["--all"], "images -a")):
        found = answer(played, "images", *words)
        theirs = {(f"{one['Repository']}:{one['Tag']}", one["ID"]) for one in played.said[said]}
        ours = {
            (tag, f"sha256:{image['id']}")
            for image in found["images"]
            for tag in image["tags"] or ["<none>:<none>"]
        }
        assert ours == theirs
    for image in found["images"]:
        for tag in image["tags"]:
            known = played.said["image inspect"][tag]
            assert image["size"] == known["Size"]
            assert [layer["diff_id"] for layer in reversed(image["layers"])] == known["RootFS"]["Layers"]
            assert (image["created"], image["parent"] or "") == (
                known["Created"],
                known["Parent"].removeprefix("sha256:"),
            )


def test_volumes(played: Scene) -> None:
    found = answer(played, "volumes")
    assert [volume["name"] for volume in found["volumes"]] == sorted(played.said["volumes"])
    for volume in found["volumes"]:
        known = played.said["volume inspect"][volume["name"]]
        assert (volume["driver"], volume["labels"]) == (known["Driver"], known["Labels"] or {})
        assert volume["mountpoint"] == known["Mountpoint"]
    users = {volume["name"]: volume["used_by"] for volume in found["volumes"]}
    for name, known in played.said["inspect"].items():
        for mount in known["Mounts"]:
            assert mount["Type"] != "volume" or name in users[mount["Name"]]
    named = next(volume for volume in found["volumes"] if volume["name"] == "named")
    assert (named["size"], named["files"], named["used_by"]) == (7, 1, ["web"])


SAME = (
    *("Id", "Name", "Created", "Path", "Args", "State", "Image", "Mounts", "Config", "Driver", "Platform"),
    *("LogPath", "HostsPath", "RestartCount", "HostConfig"),
)


def test_inspect(played: Scene) -> None:
    for name, known in played.said["inspect"].items():
        done = invoke("docker", "inspect", played.disk, name)
        (ours,) = json.loads(done.stdout)
        known["Mounts"].sort(key=lambda mount: mount["Destination"])
        assert {key: ours[key] for key in SAME} == {key: known[key] for key in SAME}
        assert ours["NetworkSettings"]["Networks"] == known["NetworkSettings"]["Networks"]
    for kind in ("image", "volume"):
        for name, known in played.said[f"{kind} inspect"].items():
            (ours,) = json.loads(invoke("docker", "inspect", "--type", kind, played.disk, name).stdout)
            ours.pop("CreatedAt", None)
            assert {key: known[key] or ours[key] for key in ours} == ours


def test_history(played: Scene) -> None:
    for name, theirs in played.said["history"].items():
        found = answer(played, "history", name)
        assert [
            (
                f"sha256:{one['id']}" if one["id"] else "<missing>",
                one["created_by"],
                str(one["size"]),
                one["comment"],
            )
            for one in found["history"]
        ] == [(one["ID"], one["CreatedBy"], one["Size"], one["Comment"]) for one in theirs]


@pytest.mark.parametrize(("words", "said"), [((), "logs"), (("-t",), "logs -t"), (("-n", "3"), "logs -n 3")])
def test_logs(played: Scene, words: tuple[str, ...], said: str) -> None:
    for name, (out, err) in played.said[said].items():
        done = invoke("docker", "logs", *words, played.disk, name)
        assert (done.stdout.decode("latin-1"), done.stderr.decode("latin-1")) == (out, err)


def test_logs_since_and_until(played: Scene) -> None:
    stamped = sorted("".join(played.said["logs -t"]["web"]).splitlines())
    first, last = stamped[0].split()[0], stamped[-1].split()[0]
    assert first != last
    done = invoke("docker", "logs", "-t", "--since", last, played.disk, "web")
    assert sorted((done.stdout + done.stderr).decode().splitlines()) == stamped[-1:]
    done = invoke("docker", "logs", "-t", "--until", first, played.disk, "web")
    assert (done.stdout + done.stderr).decode().splitlines() == stamped[:1]


@needs("qemu-img")
@pytest.mark.parametrize("kind", ["vdi", "vmdk", "vpc", "vhdx", "qcow2"])
def test_every_container_format(played: Scene, kind: str) -> None:
    image = played.folder / f"disk.{kind}"
    if not image.exists():
        run("qemu-img", "convert", "-f", "raw", "-O", kind, played.disk, image)
    done = invoke("docker", "ps", "--json", image)
    assert document(done, "docker-ps")["containers"] == answer(played, "ps")["containers"]
