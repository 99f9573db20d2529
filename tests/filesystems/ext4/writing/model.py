"""A filesystem in memory, a model of what is on it, and random changes of both.

``python -m tests.filesystems.ext4.writing.model 1000`` makes so many sequences, with e2fsck after each.
"""

from __future__ import annotations

import random
import stat
import sys
import tempfile
import uuid
from pathlib import Path
from typing import NamedTuple

from b2dinspect.errors import FilesystemError
from b2dinspect.filesystems.ext4.reader import ExtReader
from b2dinspect.filesystems.ext4.writing.edits import Ext4Edits, OwnerIds
from b2dinspect.filesystems.ext4.writing.groups import Storage
from b2dinspect.filesystems.ext4.writing.maker import Identity, make
from b2dinspect.source import MemorySource, RunsSource
from tests.oracles import run

IDENTITY = Identity(b"boot2docker-data", uuid.UUID(int=1), uuid.UUID(int=2), 1546300800)
TIME = 1700000000
SIZES = (0, 1, 100, 4096, 4097, 20_000, 300_000)
LENGTHS = (1, 3, 20, 200, 255)


class Partition(MemorySource):
    """A partition in memory."""

    def __init__(self, data: bytes) -> None:
        super().__init__(data)
        self.bytes = self._data = bytearray(data)  # type: ignore[assignment]

    def pwrite(self, offset: int, data: bytes) -> None:
        self.bytes[offset : offset + len(data)] = data

    def edits(self, time: int = TIME) -> Ext4Edits:
        return Ext4Edits(Storage(self, 0, self.size, self.pwrite), time)


class Item(NamedTuple):
    """What a name stands for. Names of one inode share one Item."""

    mode: int
    uid: int = 0
    gid: int = 0
    content: bytes = b""

    @property
    def kind(self) -> int:
        return stat.S_IFMT(self.mode)


def made(size: int = 64 << 20, inode_ratio: int = 8192) -> Partition:
    """Return a new filesystem."""
    partition = Partition(bytes(size))
    make(partition, size, inode_ratio, IDENTITY)
    return partition


def check(partition: Partition) -> None:
    """Let e2fsck look at it; raises CalledProcessError when it would change anything."""
    with tempfile.NamedTemporaryFile(prefix="b2d-ext4-") as file:
        file.truncate(partition.size)
        for at in range(0, partition.size, 4096):
            page = partition.bytes[at : at + 4096]
            if any(page):
                file.seek(at)
                file.write(page)
        file.flush()
        run("e2fsck", "-fn", file.name)


def tree(partition: Partition) -> dict[bytes, Item]:
    """Return everything on a filesystem, as the reader finds it."""
    reader, found = ExtReader(partition), {}

    def walk(inode: int, path: bytes) -> None:
        for name, number in reader.names(inode):
            node, inner = reader.node(number), path + b"/" + name
            content = node.link
            if stat.S_ISREG(node.mode):
                content = RunsSource(partition, reader.runs(number), node.size).pread(0, node.size)
            found[inner] = Item(node.mode, node.uid, node.gid, content)
            if stat.S_ISDIR(node.mode):
                walk(number, inner)

    walk(reader.root, b"")
    return found


class Changes:
    """Random changes of a filesystem, and of a model of it."""

    def __init__(self, partition: Partition, model: dict[bytes, Item], rng: random.Random) -> None:
        self.model, self._rng = model, rng
        self._edits = partition.edits(TIME + len(model))
        self._actions = (
            *(self._write, self._write, self._write, self._mkdir, self._symlink, self._link),
            *(self._remove, self._remove, self._rmdir, self._chmod, self._many),
        )

    def run(self, steps: int) -> None:
        """Make so many changes, or fewer if the filesystem is full."""
        for _ in range(steps):
            try:
                self._rng.choice(self._actions)()
            except FilesystemError as error:
                if "are needed" not in error.message and "no inode is free" not in error.message:
                    raise
                break
        self._edits.flush()

    def _of(self, kind: int) -> list[bytes]:
        return [path for path, item in self.model.items() if item.kind == kind and path != b"/lost+found"]

    def _new_name(self) -> bytes:
        folder = self._rng.choice([b"", *self._of(stat.S_IFDIR)])
        path = folder + b"/" + bytes([self._rng.choice(b"abc\xff")]) * self._rng.choice(LENGTHS)
        while path in self.model:
            path = path[: len(folder) + 200] + b"%d" % self._rng.randrange(10**9)
        return path

    def _write(self) -> None:
        files = self._of(stat.S_IFREG)
        path = self._rng.choice(files) if files and self._rng.random() < 0.4 else self._new_name()
        content = bytes([self._rng.randrange(256)]) * self._rng.choice(SIZES)
        self._edits.write(path, content)
        old = self.model.get(path, Item(0o100644))
        self.model[path] = old._replace(content=content)

    def _mkdir(self) -> None:
        path = self._new_name()
        self._edits.make_directory(path, 0o750, OwnerIds(1000, 70000))
        self.model[path] = Item(0o40750, 1000, 70000)

    def _symlink(self) -> None:
        path, target = self._new_name(), b"x" * self._rng.choice((1, 59, 60, 61, 500))
        self._edits.symlink(path, target)
        self.model[path] = Item(0o120777, content=target)

    def _link(self) -> None:
        if files := self._of(stat.S_IFREG):
            old, path = self._rng.choice(files), self._new_name()
            self._edits.link(path, old)
            self.model[path] = self.model[old]

    def _remove(self) -> None:
        if files := self._of(stat.S_IFREG) + self._of(stat.S_IFLNK):
            path = self._rng.choice(files)
            self._edits.remove(path)
            del self.model[path]

    def _rmdir(self) -> None:
        empty = [
            path
            for path in self._of(stat.S_IFDIR)
            if not any(other.startswith(path + b"/") for other in self.model)
        ]
        if empty:
            path = self._rng.choice(empty)
            self._edits.remove(path)
            del self.model[path]

    def _chmod(self) -> None:
        if folders := self._of(stat.S_IFDIR):
            path = self._rng.choice(folders)
            self._edits.set_mode(path, 0o1777)
            self._edits.set_owner(path, OwnerIds(5, 6))
            self.model[path] = Item(0o41777, 5, 6)

    def _many(self) -> None:
        """Fill more than one block of a directory."""
        folder = self._rng.choice([b"", *self._of(stat.S_IFDIR)])
        for _ in range(20):
            path = folder + b"/%03d" % self._rng.randrange(1000) + b"n" * self._rng.randrange(250)
            if path not in self.model:
                self._edits.write(path, b"z")
                self.model[path] = Item(0o100644, content=b"z")


def main(count: int, base: str = "") -> None:
    """Make sequences of changes, on a filesystem that grows fuller and is replaced now and then."""
    partition: Partition | None = None
    for number in range(count):
        rng = random.Random(number)
        if partition is None or rng.random() < 0.1:
            partition = Partition(Path(base).read_bytes()) if base else made()
            model = tree(partition)
        Changes(partition, model, rng).run(rng.randrange(1, 15))
        check(partition)
        assert tree(partition) == model, f"sequence {number}"
    print(f"{count} sequences, e2fsck clean after each")  # noqa: T201


if __name__ == "__main__":
    main(int(sys.argv[1]), *sys.argv[2:])
