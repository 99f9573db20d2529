"""What comes out of disks that were made to do harm or lost their table, and what Windows types."""

from __future__ import annotations

import json
import re
import shlex
import subprocess
import sys
import tarfile
import time
from pathlib import Path

import pytest

from b2dinspect.docker.facts import ContainerState, DockerContainer, DockerVolume, Mount
from b2dinspect.docker.layers import chain_ids
from b2dinspect.docker.rescue import Rescued, RescuedPart
from b2dinspect.render.rescue import readme
from b2dinspect.render.shell import System
from tests.cli.helpers import PROGRAM, document, invoke, is_harmless
from tests.disks import MIB, make_disk
from tests.docker.handmade import ROOT, Tree, as_json, container, disk, graph, identity
from tests.docker.test_hostile import WEB, overlay2
from tests.oracles import PATIENCE, needs, run

pytestmark = needs("mke2fs")
WHOLE = 10 << 20


def in_a_circle() -> Tree:
    """Return a data-root with a container on a layer that stands on itself, and with a volume."""
    upper = chain_ids([f"sha256:{identity(name)}" for name in ("base", "top")])[1]
    mount = f"{ROOT}/image/overlay2/layerdb/mounts/{identity('web')}"
    return overlay2("upper", parent=upper) | {
        f"{mount}/mount-id": b"lower",
        f"{mount}/parent": f"sha256:{upper}".encode(),
        f"{WEB}/config.v2.json": as_json(container("web", "", "overlay2")),
        f"{ROOT}/volumes/kept/_data/file": b"kept",
    }


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("export", "web"), "name each other"),
        (("diff", "web"), "name each other"),
        (("cp", "web:/file", "-"), "name each other"),
        (("save", "evil:1"), "gets the id"),
    ],
)
def test_layers_that_stand_on_each_other_have_an_end(words: tuple[str, ...], reason: str) -> None:
    command, *rest = words
    start = time.monotonic()
    done = invoke("docker", command, disk(in_a_circle()), *rest)
    assert (done.returncode, reason in done.stderr.decode()) == (1, True)
    assert is_harmless(done.stderr.decode())
    assert time.monotonic() - start < 20


def test_a_rescue_past_layers_that_stand_on_each_other(tmp_path: Path) -> None:
    done = invoke("docker", "rescue", disk(in_a_circle()), tmp_path / "all")
    assert done.returncode == 1
    assert "name each other" in (tmp_path / "all/README.md").read_text()
    with tarfile.open(tmp_path / "all/volumes/kept.tar") as tar:
        assert tar.getnames() == [".", "file"]


@pytest.mark.parametrize(
    "place",
    [
        f"{WEB}/hostconfig.json",
        f"{ROOT}/repositories-aufs",
        f"{ROOT}/graph/{identity('top')}/json",
        f"{ROOT}/graph/{identity('base')}/json",
    ],
)
def test_ten_megabytes_of_json_cost_themselves(place: str, tmp_path: Path) -> None:
    start = time.monotonic()
    image = disk(graph() | {place: b'{"a": "' + b"x" * WHOLE + b'"}'})
    done = invoke("docker", "rescue", image, tmp_path / "all")
    said = done.stderr.decode()
    assert done.returncode == 1
    assert "where at most" in said
    assert max(map(len, said.splitlines())) < 400
    assert (tmp_path / f"all/volumes/{identity('volume')}.tar").exists()
    assert time.monotonic() - start < 20


@needs("sgdisk")
def test_a_lost_table_keeps_nothing_back(tmp_path: Path) -> None:
    start = 2048 * 512
    inside = disk(graph()).read_bytes()
    whole = make_disk(start + len(inside) + MIB)
    run("sgdisk", "-n", "1:2048:0", whole)
    with whole.open("rb+") as file:
        file.seek(start)
        file.write(inside)
        file.seek(0)
        file.write(bytes(34 * 512))
        file.seek(-33 * 512, 2)
        file.write(bytes(33 * 512))
    done = invoke("docker", "rescue", whole, tmp_path / "all")
    assert done.stderr.decode().startswith(
        "b2dinspect: not whole: old:1 gets the id "
    )  # its layers, made anew
    assert (done.returncode, done.stderr.count(b"\n")) == (1, 1)
    with tarfile.open(tmp_path / f"all/volumes/{identity('volume')}.tar") as tar:
        assert tar.getnames() == [".", "kept"]
    found = json.loads((tmp_path / "all/manifest.json").read_text())
    assert {one["kind"] for one in found["files"]} >= {"volume", "container"}


@needs("qemu-img")
@pytest.mark.parametrize("kind", ["vmdk", "vhdx", "vdi", "vpc"])
def test_what_a_cut_container_lacks_is_named_with_its_ranges(kind: str, tmp_path: Path) -> None:
    pieces = [b"%07d\n" % number * 128 for number in range(4096)]  # 1 KiB each
    place = f"{ROOT}/volumes/{identity('volume')}/_data/large"
    image, whole = tmp_path / f"disk.{kind}", disk(graph() | {place: b"".join(pieces)})
    run("qemu-img", "convert", "-f", "raw", "-O", kind, whole, image)
    data = image.read_bytes()
    kept = data.index(pieces[3000])
    with image.open("rb+") as file:
        file.truncate(kept)
    done = invoke("docker", "rescue", image, tmp_path / "all")
    said = re.search(r"does not hold bytes (\d+)-(\d+) of it: zeros", done.stderr.decode())
    assert (done.returncode, said is not None) == (1, True), done.stderr
    first, last = int(said[1]), int(said[2])  # type: ignore[index]
    assert (first, last) == (3000 << 10, (4096 << 10) - 1)
    with tarfile.open(tmp_path / f"all/volumes/{identity('volume')}.tar") as tar:
        content = tar.extractfile("large")
        assert content is not None
        assert content.read() == b"".join(pieces[:3000]).ljust(4096 << 10, b"\0")
        assert "kept" in tar.getnames()
    assert said[0] in (tmp_path / "all/README.md").read_text()  # type: ignore[index]


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux tells what a process has read")
@pytest.mark.slow
def test_an_export_streams_from_its_first_file() -> None:
    tree = graph()
    for number in range(12):
        tree[f"{ROOT}/aufs/diff/{identity('web')}/large{number:02}"] = bytes([number + 1]) * (4 << 20)
    process = subprocess.Popen([*PROGRAM, "docker", "export", disk(tree), "web"], stdout=subprocess.PIPE)
    assert process.stdout is not None
    with process, process.stdout as stream:
        first = stream.read(512)
        read = int(re.search(r"rchar: (\d+)", Path(f"/proc/{process.pid}/io").read_text())[1])  # type: ignore[index]
        assert first[257:262] == b"ustar"
        assert read < 24 << 20  # the libraries, and not the 48 MiB behind the first file
        rest = stream.read()
        assert process.wait(PATIENCE) == 0
    assert len(first) + len(rest) > 48 << 20


def test_a_volume_that_only_a_container_knows(tmp_path: Path) -> None:
    tree = {name: content for name, content in graph().items() if "/volumes/" not in name}
    tree[f"{ROOT}/volumes"] = None
    image, name = disk(tree), identity("volume")
    (found,) = document(invoke("docker", "volumes", "--json", image), "docker-volumes")["volumes"]
    assert (found["name"], found["size"], found["used_by"]) == (name, None, ["web"])
    done = invoke("docker", "rescue", image, tmp_path / "all")
    assert (done.returncode, f"only the name of {name} is on this disk" in done.stderr.decode()) == (1, True)


def test_folders_of_the_host_are_named_as_no_part_of_it() -> None:
    assert (
        "`/c/Users/me`, a folder of the machine or its host, was mounted at `/app`: it is not here"
        in parsed("x")
    )


def arguments(line: str) -> list[str]:
    """Return the words of a command as cmd and a program's start-up code on Windows split them."""
    return [part.replace('"', "") for part in re.findall(r'(?:[^\s"]|"[^"]*")+', line)]


def test_what_windows_types() -> None:
    volume = DockerVolume("pg data & calc", "local", b"", "", {"k": "two words"}, {}, None)
    part = RescuedPart("volume", volume.name, "volumes/pg_data___calc.tar", 2048)
    text = readme("disk.vmdk", Rescued((part,), (), ((volume, part),), (), ()), "windows")
    lines = [line for block in re.findall(r"```sh\n(.*?)```", text, re.DOTALL) for line in block.splitlines()]
    assert [arguments(line) for line in lines] == [
        ["docker", "import", "empty.tar", "b2d-rescue:empty"],
        ["docker", "volume", "create", "--label", "k=two words", "pg_data___calc"],
        ["docker", "create", "--name", "b2d-put-back", "-v", "pg_data___calc:/to", "b2d-rescue:empty", "x"],
        ["cmd", "/c", "docker cp - b2d-put-back:/to < volumes\\pg_data___calc.tar"],
        ["docker", "rm", "b2d-put-back"],
    ]
    for line in lines:
        assert not re.search(r"['`$%^&|<>]", re.sub(r'"[^"]*"', "", line)), "one of the two shells acts on it"


def test_what_a_shell_types_is_what_the_disk_says() -> None:
    words = ["printf", r"a\n\\", "it's $5 \N{EURO SIGN}", "two  blanks"]
    found = parsed(*words)
    line = next(line for line in found.splitlines() if line.startswith("docker create "))
    assert shlex.split(line)[-4:] == words


@pytest.mark.parametrize("word", ["a\nb", "\x1b[2J", "\N{RIGHT-TO-LEFT OVERRIDE}", "\udcff"])
def test_what_cannot_be_typed_is_not_printed(word: str) -> None:
    assert "what cannot be typed" in parsed("printf", word)
    assert "docker create" not in parsed("printf", word)


def test_double_quotes_are_not_printed_for_windows() -> None:
    assert "docker create" not in parsed("sh", "-c", 'echo "x"', system="windows")
    assert "not every PowerShell" in parsed("sh", "-c", 'echo "x"', system="windows")
    assert "'echo $X'" in parsed("sh", "-c", "echo $X", system="windows")
    assert "typed in PowerShell in this folder" in parsed("x", system="windows")


def parsed(*words: str, system: System = "linux") -> str:
    """Return the README of a rescue with one container that runs these words."""
    state = ContainerState(*(None,) * len(ContainerState._fields))
    own = DockerContainer(
        "c" * 64, "web", "app:1", "", words, "", state, {},
        (Mount("bind", "", "/c/Users/me", "/app", "", True),), "overlay2", (), (), "json-file", b"",
        {"Config": {"Image": "app:1", "Cmd": list(words)}},
    )  # fmt: skip
    part = RescuedPart("container", "web", "containers/web.tar", 2048)
    return readme("disk.vmdk", Rescued((part,), (), (), ((own, part),), ()), system)
