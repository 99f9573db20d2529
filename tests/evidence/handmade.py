"""Images that stand on each other, and what opening them gave."""

from __future__ import annotations

import contextlib
from pathlib import Path

from b2dinspect.containers import open_container
from b2dinspect.containers.vdi.layout import DIFFERENCING
from b2dinspect.containers.vdi.writer import Identity, VdiWriter
from b2dinspect.evidence.chain import OpenDisk
from b2dinspect.newfile import NewFile
from b2dinspect.source import FileSource, MemorySource
from tests.oracles import run

MIB = 1 << 20
SIZE = 4 * MIB


def create(path: Path, backing: str | Path, backing_format: str = "raw") -> Path:
    """A qcow2 whose backing file's name is not looked at when it is made."""
    run("qemu-img", "create", "-q", "-u", "-f", "qcow2", "-F", backing_format, "-b", backing, path, SIZE)
    return path


def ids(opened: OpenDisk) -> list[str]:
    return [one.id for one in opened.container.findings]


def told(opened: OpenDisk) -> str:
    return "\n".join(one.message for one in opened.container.findings)


def differencing_vdi(path: Path, parent: Path, at: int = MIB) -> None:
    """A child with one block of its own, made of a dynamic image by changing its header."""
    base = open_container(MemorySource(parent.read_bytes()), "vdi")
    with NewFile(path) as file:
        writer = VdiWriter(file, base.size)
        writer.pwrite(at, b"child" * 100)
        writer.flush()
    data = bytearray(path.read_bytes())
    header = open_container(MemorySource(bytes(data)), "vdi").headers[1]
    places = {field.name: header.offset + field.offset for field in header.fields()}
    data[places["type"] : places["type"] + 4] = DIFFERENCING.to_bytes(4, "little")
    for field, value in (
        ("uuid_linkage", base.header.uuid_create),
        ("uuid_parent_modify", base.header.uuid_modify),
    ):
        data[places[field] : places[field] + 16] = value.bytes_le
    path.write_bytes(data)


def base_vdi(path: Path, identity: Identity | None = None) -> None:
    with NewFile(path) as file:
        writer = VdiWriter(file, SIZE, identity=identity)
        writer.pwrite(0, b"parent" * 1000)
        writer.pwrite(MIB, b"old")
        writer.flush()


def content(source: FileSource) -> bytes:
    with contextlib.closing(source):
        return source.pread(0, source.size)
