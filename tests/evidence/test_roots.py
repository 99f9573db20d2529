"""Names that an image gives to other files: what is followed, and what is refused unopened."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from b2dinspect.evidence import chain
from b2dinspect.evidence.chain import open_disk
from tests.evidence.handmade import SIZE, create, ids
from tests.oracles import needs, run


@pytest.fixture
def traps(tmp_path: Path) -> Iterator[dict[str, str]]:
    """Names that an image may have for its parent, and that must not be opened."""
    folder = tmp_path / "evidence"
    folder.mkdir()
    secret = tmp_path / "secret"
    secret.write_bytes(b"secret" * 100_000)
    os.mkfifo(folder / "fifo")
    (folder / "link").symlink_to(secret)
    yield {
        "absolute": str(secret),
        "passwd": "/etc/passwd",
        "relative": "../secret",
        "device": "/dev/zero",
        "fifo": "fifo",
        "folder": ".",
        "link": "link",
        "url": "http://127.0.0.1:9/disk",
        "nbd": "nbd://127.0.0.1/disk",
        "json": 'json:{"driver":"host_device","filename":"/dev/zero"}',
        "file url": f"file://{secret}",
        "itself": "image",
        "other machine": "file://server/share/disk",
        "windows": "C:\\Users\\me\\secret",
    }


TRAPS = (
    "absolute",
    "passwd",
    "relative",
    "device",
    "fifo",
    "folder",
    "link",
    "url",
    "nbd",
    "json",
    "file url",
    "itself",
    "other machine",
    "windows",
)


@needs("qemu-img")
@pytest.mark.parametrize("trap", TRAPS)
@pytest.mark.parametrize("role", ["parent", "extent", "data file"])
def test_a_trap_is_refused_unopened(
    traps: dict[str, str], trap: str, role: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name, path = traps[trap], tmp_path / "evidence" / "image"
    if role == "parent":
        create(path, name)
    elif role == "extent":
        lines = (
            "# Disk DescriptorFile",
            "version=1",
            "CID=1",
            "parentCID=ffffffff",
            'createType="monolithicFlat"',
        )
        path.write_text("\n".join((*lines, f'RW 64 FLAT "{name}" 0'.replace('"driver"', "driver"))))
    else:
        run("qemu-img", "create", "-q", "-f", "qcow2", "-o", f"data_file={tmp_path / 'data'}", path, SIZE)
        path.write_bytes(with_data_file_name(path.read_bytes(), name))
    opened_files: list[str] = []
    real = chain.open_evidence
    monkeypatch.setattr(
        chain, "open_evidence", lambda path, *rest: opened_files.append(path) or real(path, *rest)
    )
    with open_disk(str(path)) as opened:
        assert opened_files == [str(path)]
        assert opened.links == []
        assert {"chain-refused", "vmdk-extent-missing"} & {*ids(opened)}
        assert b"secret" not in b"".join(
            opened.container.pread(one.offset, one.length)
            for one in opened.container.extents()
            if one.kind != "missing"
        )


def with_data_file_name(data: bytes, name: str) -> bytes:
    """Return a qcow2 image whose header extensions are only a data file's name."""
    length = int.from_bytes(data[100:104], "big")
    raw = name.encode()
    extension = (
        (0x44415441).to_bytes(4, "big")
        + len(raw).to_bytes(4, "big")
        + raw.ljust(-(-len(raw) // 8) * 8, b"\0")
    )
    return (data[:length] + extension + bytes(8)).ljust(65536, b"\0") + data[65536:]
