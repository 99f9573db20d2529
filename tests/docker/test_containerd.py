"""containerd itself as the oracle: what ``ctr`` put into it is what is read from the disk."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from b2dinspect.docker.contents import contents
from b2dinspect.docker.facts import Contents
from b2dinspect.docker.layers import chain_ids
from b2dinspect.docker.roots import open_roots
from b2dinspect.inspection.walk import inspect
from tests.docker.handmade import as_json, container, identity
from tests.docker.scene import Scene
from tests.oracles import PATH, needs, run

pytestmark = [pytest.mark.slow, needs("containerd", "ctr", "mke2fs")]
IMAGE = "docker.io/library/app:1"


class Kept(NamedTuple):
    """A disk with containerd's root, and what ctr said."""

    disk: Path
    images: list[list[str]]
    snapshots: list[list[str]]


@pytest.fixture(scope="module")
def kept(overlaid: Scene, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Kept]:
    if os.geteuid():
        pytest.skip("containerd needs root")
    disk = tmp_path_factory.mktemp("containerd") / "disk.img"
    with tempfile.TemporaryDirectory(prefix="b2d-") as place:
        tree, state = Path(place, "tree"), Path(place, "state")
        root = tree / "var/lib/containerd"
        root.mkdir(parents=True)
        docker = tree / "var/lib/docker"
        (docker / "volumes").mkdir(parents=True)
        (docker / "containers" / identity("new")).mkdir(parents=True)
        config = docker / "containers" / identity("new") / "config.v2.json"
        config.write_bytes(as_json(container("new", "", "overlayfs")))
        socket = Path(place, "c.sock")
        process = subprocess.Popen(
            ["containerd", "--root", root, "--state", state, "--address", socket],
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            env={**os.environ, "PATH": PATH},
        )
        try:
            images, snapshots = _fill(socket, overlaid)
        finally:
            process.terminate()
            process.wait(60)
        run("mke2fs", "-q", "-F", "-t", "ext4", "-L", "boot2docker-data", "-d", tree, disk, "64m")
    yield Kept(disk, images, snapshots)
    shutil.rmtree(disk.parent)


def _fill(socket: Path, overlaid: Scene) -> tuple[list[list[str]], list[list[str]]]:
    def ctr(*words: object, namespace: str = "k8s.io") -> list[list[str]]:
        done = run("ctr", "-a", socket, "-n", namespace, *words)
        return [line.split() for line in done.stdout.decode().splitlines()[1:]]

    end = time.monotonic() + 30
    while True:
        try:
            ctr("version")
            break
        except subprocess.CalledProcessError as error:
            if time.monotonic() > end:
                pytest.skip(f"containerd does not come up: {error.stderr.decode()[-200:]}")
            time.sleep(0.1)
    ctr("images", "import", "--snapshotter", "overlayfs", overlaid.folder / "app.tar")
    labels = {
        "io.kubernetes.pod.namespace": "default",
        "io.kubernetes.pod.name": "web-1",
        "io.kubernetes.pod.uid": "1234",
        "io.kubernetes.container.name": "web",
    }
    words = [word for name, value in labels.items() for word in ("--label", f"{name}={value}")]
    ctr("containers", "create", "--snapshotter", "overlayfs", *words, IMAGE, "one", "/bin/sleep", "7")
    pause = ("--label", "io.cri-containerd.kind=sandbox")
    ctr("containers", "create", "--snapshotter", "overlayfs", *pause, IMAGE, "pause", "/bin/sleep", "8")
    ctr("images", "import", "--snapshotter", "overlayfs", overlaid.folder / "app.tar", namespace="moby")
    top = chain_ids(overlaid.said["image inspect"]["app:1"]["RootFS"]["Layers"])[-1]
    own = ("snapshots", "--snapshotter", "overlayfs", "prepare", identity("new"), f"sha256:{top}")
    ctr(*own, namespace="moby")
    return ctr("images", "ls"), ctr("snapshots", "--snapshotter", "overlayfs", "ls")


@pytest.fixture(scope="module")
def found(kept: Kept) -> Contents:
    with inspect(str(kept.disk)) as facts, open_roots(facts) as roots:
        (root,) = [one for one in roots if one.engine == "containerd"]
        assert root.path == b"/var/lib/containerd"
        return contents(root)


def test_nothing_is_amiss(found: Contents) -> None:
    assert found.problems == ()
    assert not any(item.problems for item in (*found.containers, *found.images))


def test_images(found: Contents, kept: Kept, overlaid: Scene) -> None:
    image, twin = found.images
    assert image.id == twin.id, "in both namespaces"
    known = overlaid.said["image inspect"]["app:1"]
    assert (f"sha256:{image.id}", image.tags) == (known["Id"], ("app:1",))
    assert [row[0] for row in kept.images if not row[0].startswith("sha256:")] == [IMAGE]
    assert [layer.diff_id for layer in reversed(image.layers)] == known["RootFS"]["Layers"]
    assert image.history[0].created_by == overlaid.said["history"]["app:1"][0]["CreatedBy"]


def test_containers(found: Contents, kept: Kept) -> None:
    (container,) = found.containers
    assert (container.id, container.name) == ("one", "default/web-1/web")
    assert (container.image, container.command) == ("app:1", ("/bin/sleep", "7"))
    assert container.created.startswith("20")
    above = {row[0]: row[1] for row in kept.snapshots if row[-1] == "Active"}
    assert above.keys() == {"one", "pause"}
    assert len(container.layers) == len(found.images[0].layers) + 1
    assert container.log_places == (b"/var/log/pods/default_web-1_1234/web",)


def test_a_docker_that_leaves_layers_to_containerd(kept: Kept, overlaid: Scene) -> None:
    """As Docker does from 29 on: its containers are its own, their snapshots are in the namespace moby."""
    with inspect(str(kept.disk)) as facts, open_roots(facts) as roots:
        (one,) = contents(next(root for root in roots if root.engine == "docker")).containers
    assert (one.name, one.driver, one.problems) == ("new", "overlayfs", ())
    assert len(one.layers) == len(overlaid.said["image inspect"]["app:1"]["RootFS"]["Layers"]) + 1
    assert {layer.driver for layer in one.layers} == {"overlay2"}
    assert one.base == one.layers[1:]
