"""A data partition with everything in it that a copy can stumble over, made from a folder by mke2fs."""

from __future__ import annotations

import os
import random
import shutil
from pathlib import Path
from typing import NamedTuple

import pytest

from b2dinspect.userdata.tarball import build_userdata
from tests.disks import PUB
from tests.oracles import PATH, run

TIME = 1_234_567_890
LINK = b"bidi\xe2\x80\xae [red] \xff"
HOSTILE = (
    b"[bold red]x",
    b"esc\x1b[31mred",
    b"cr\rback",
    b"line\nfeed",
    b"separator\xe2\x80\xa8here",
    b"bidi\xe2\x80\xaegpj.exe",
    b"not\xff\xfeutf-8",
    b"c1\xc2\x9b31m",
    b"caf\xc3\xa9 \xe6\x97\xa5\xe6\x9c\xac",
    b"back\\x1b",
)


class Disk(NamedTuple):
    """A raw disk that is one ext4, and the folder that it is made of."""

    image: Path
    tree: Path


@pytest.fixture(scope="session")
def disk(tmp_path_factory: pytest.TempPathFactory) -> Disk:
    if not shutil.which("mke2fs", path=PATH):
        pytest.skip("not installed: mke2fs")
    folder = tmp_path_factory.mktemp("disk")
    tree, image = folder / "tree", folder / "disk.img"
    _fill(tree)
    label = ["-L", "boot2docker-data", "-O", "^has_journal", "-b", "1024"]
    run("mke2fs", "-q", "-F", "-t", "ext4", *label, "-d", tree, image, "16384k")
    content = image.read_bytes()
    for before, after in ((b"QZQZQ", b"../up"), (b"QXQX", b"/abs")):
        assert content.count(before) == 1
        content = content.replace(before, after)
    image.write_bytes(content)
    return Disk(image, tree)


def _fill(tree: Path) -> None:
    docs, evil, hostile = tree / "docs", tree / "evil", os.fsencode(tree / "hostile")
    for folder in (
        docs / "sub/deep",
        evil,
        tree / "empty",
        tree / "var/lib/boot2docker",
        Path(tree, "hostile"),
    ):
        folder.mkdir(parents=True)
    (tree / "var/lib/boot2docker/userdata.tar").write_bytes(build_userdata(PUB)[:4096])
    (docs / "a.txt").write_bytes(b"hello\n")
    (docs / "a.txt").chmod(0o640)
    (docs / "empty").touch()
    (docs / "sub/deep/b.bin").write_bytes(random.Random(1).randbytes((3 << 20) + 5))
    (docs / "link").symlink_to("a.txt")
    (docs / "abs").symlink_to("/etc/passwd")
    os.mkfifo(docs / "fifo")
    with (docs / "sub/sparse").open("wb") as file:
        file.seek(1 << 20)
        file.write(b"x" * 4096)
        file.truncate(5 << 20)
    for name in ("QZQZQ", "QXQX", "back\\slash", "C:drive", "good"):
        (evil / name).write_bytes(name.lower().encode())
    for name in HOSTILE:
        Path(os.fsdecode(hostile + b"/" + name)).write_bytes(name)
    Path(tree, "hostile", "link").symlink_to(os.fsdecode(LINK))
    for path in (*tree.rglob("*"), tree):
        os.utime(path, (TIME, TIME), follow_symlinks=False)
