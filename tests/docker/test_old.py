"""Data-roots of old Dockers and of Podman, made by hand as their sources document them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from tests.cli.helpers import document, invoke
from tests.docker.handmade import (
    ROOT,
    Tree,
    as_json,
    container,
    disk,
    graph,
    identity,
    podman,
    podman_database,
)
from tests.oracles import needs

pytestmark = needs("mke2fs")


def answer(image: Path, command: str, *words: object, status: int = 0) -> dict[str, Any]:
    done = invoke("docker", command, "--json", image, *words)
    assert (done.returncode, done.stderr) == (status, b"")
    return document(done, f"docker-{command}")


@pytest.mark.parametrize("driver", ["aufs", "overlay", "vfs"])
def test_a_docker_before_1_10(driver: str) -> None:
    image = disk(graph(driver))
    (found,) = answer(image, "ps", "--size")["containers"]
    assert (found["name"], found["image"], found["image_id"]) == ("web", "old:1", identity("top"))
    assert (found["state"], found["exit_code"], found["driver"]) == ("exited", 2, driver)
    ids = [layer["id"] for layer in found["layers"]]
    init = [] if driver == "overlay" else [f"{identity('web')}-init"]
    assert ids == [identity("web"), *init, identity("top"), identity("base")]
    assert found["size"] == (None if driver == "vfs" else 3)
    assert [mount["name"] for mount in found["mounts"]] == [identity("volume")]
    (volume,) = answer(image, "volumes")["volumes"]
    assert (volume["name"], volume["used_by"], volume["size"]) == (identity("volume"), ["web"], 4)
    assert volume["mountpoint"] == f"/mnt/sda1/var/lib/docker/volumes/{identity('volume')}/_data"


def test_its_images_and_their_history() -> None:
    image = disk(graph())
    (found,) = answer(image, "images")["images"]
    assert (found["id"], found["tags"], found["size"]) == (identity("top"), ["old:1", "old:latest"], 6)
    assert found["parent"] == identity("base")
    every = answer(image, "images", "--all")["images"]
    assert [(one["id"], one["intermediate"]) for one in every if one["id"] != found["id"]] == [
        (identity("base"), True)
    ]
    steps = answer(image, "history", "old")["history"]
    assert [(one["id"], one["created_by"], one["size"]) for one in steps] == [
        (identity("top"), "/bin/sh -c rm old", 3),
        (identity("base"), "/bin/sh -c #(nop) ADD file", 3),
    ]


def test_a_docker_before_1_7_keeps_volumes_elsewhere() -> None:
    image = disk(graph(is_first=True))
    (found,) = answer(image, "ps")["containers"]
    assert [(one["type"], one["source"], one["is_writable"]) for one in found["mounts"]] == [
        ("volume", f"/mnt/sda1/var/lib/docker/vfs/dir/{identity('volume')}", True),
        ("bind", "/etc", False),
    ]
    (volume,) = answer(image, "volumes")["volumes"]
    assert (volume["path"], volume["used_by"], volume["size"]) == (
        f"/{ROOT}/vfs/dir/{identity('volume')}",
        ["web"],
        4,
    )


def test_an_upgraded_one_keeps_its_old_configuration_too() -> None:
    """Docker 1.10 wrote config.v2.json beside config.json, and the newer one counts."""
    tree = graph()
    place = f"{ROOT}/containers/{identity('web')}"
    newer = json.loads(tree[f"{place}/config.json"] or b"") | {"Name": "/renamed"}  # type: ignore[arg-type]
    tree[f"{place}/config.v2.json"] = json.dumps(newer).encode()
    (found,) = answer(disk(tree), "ps")["containers"]
    assert found["name"] == "renamed"


def test_a_newer_daemon_that_is_meant_to_use_another_driver_hides_the_old_one() -> None:
    tree = graph() | {f"{ROOT}/overlay2/l": None, "var/lib/boot2docker/profile": b"DOCKER_STORAGE=overlay2\n"}
    image = disk(tree)
    assert answer(image, "ps")["data_roots"][0] | {"partition": 0} == {
        "engine": "docker",
        "path": f"/{ROOT}",
        "partition": 0,
        "drivers": ["aufs", "overlay2"],
        "meant_driver": "overlay2",
        "version": None,
    }
    (line,) = [one for one in invoke("show", image).stdout.decode().splitlines() if one.startswith("Engines")]
    assert "Docker: 1 container, 1 image, 1 volume" in line
    joined = " ".join(invoke("show", image).stdout.decode().split())
    assert "a daemon with overlay2 does not show what aufs holds" in joined


def test_logs() -> None:
    done = invoke("docker", "logs", "--timestamps", disk(graph()), "web")
    assert (done.returncode, done.stdout) == (0, b"2017-03-04T05:06:08.500000000Z hello\n")


@pytest.mark.parametrize("with_database", [True, False])
def test_podman(with_database: bool) -> None:
    tree = podman()
    if with_database:
        tree["var/lib/containers/storage/db.sql"] = podman_database()
    image = disk(tree)
    (found,) = answer(image, "ps", "--size")["containers"]
    assert (found["id"], found["name"], found["engine"]) == (identity("web"), "web", "podman")
    assert [layer["id"] for layer in found["layers"]] == [identity(name) for name in ("own", "top", "base")]
    assert (found["size"], found["image_id"]) == (64, identity("image"))
    known = ("exited", 137, ["/bin/serve"]) if with_database else ("unknown", None, [])
    assert (found["state"], found["exit_code"], found["command"]) == known
    (one,) = answer(image, "images")["images"]
    assert (one["tags"], one["size"]) == (["docker.io/library/old:1"], 7)
    (volume,) = answer(image, "volumes")["volumes"]
    assert (volume["name"], volume["size"], volume["used_by"]) == (
        "kept",
        4,
        ["web"] if with_database else [],
    )
    assert invoke("docker", "logs", image, "web").stdout == b"hello\n"
    assert b"web" in invoke("docker", "ps", image).stdout


def test_podmans_older_database_is_named_as_unread() -> None:
    tree = podman() | {"var/lib/containers/storage/libpod/bolt_state.db": b"x"}
    done = invoke("docker", "ps", disk(tree))
    assert (done.returncode, done.stderr.count(b"\n")) == (1, 1)
    assert b"bolt_state.db: Podman's older database, which is not read" in done.stderr
    assert b"web" in done.stdout


def test_a_driver_whose_layers_are_not_read_is_named() -> None:
    own = f"{ROOT}/containers/{identity('web')}"
    config = container("web", f"sha256:{identity('top')}", "devicemapper")
    tree: Tree = {f"{ROOT}/devicemapper/metadata/base": b"x", f"{own}/config.v2.json": as_json(config)}
    done = invoke("docker", "ps", disk(tree | {f"{ROOT}/volumes/kept/_data/file": b"kept"}))
    assert (done.returncode, done.stderr.count(b"\n")) == (1, 1)
    assert b"its files are kept by the devicemapper driver, which is not read" in done.stderr
    assert b"web" in done.stdout
