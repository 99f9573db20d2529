"""The initramfs, against cpio, and a kernel's header."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

from b2dinspect.errors import ToolError
from b2dinspect.provisioning.real.initramfs import CpioEntry, kernel_version, pack
from tests.oracles import needs


@needs("cpio")
def test_the_archive_is_read_by_cpio(tmp_path: Path) -> None:
    nodes = [
        CpioEntry("init", 0o100755, b"#!/bin/sh\n"),
        CpioEntry("a/b/link", 0o120777, b"../x"),
        CpioEntry("a/e", 0o100644),
    ]
    archive = pack(nodes)
    subprocess.run(["cpio", "-id", "--quiet"], input=archive, cwd=tmp_path, check=True)
    assert (tmp_path / "init").read_bytes() == b"#!/bin/sh\n"
    assert os.readlink(tmp_path / "a" / "b" / "link") == "../x"
    assert (tmp_path / "a" / "e").stat().st_size == 0


def test_kernel_version_is_read_from_its_header(tmp_path: Path) -> None:
    head = bytearray(0x400)
    head[0x202:0x206] = b"HdrS"
    head[0x20E:0x210] = (0x100).to_bytes(2, "little")
    head[0x300:0x320] = b"6.1.0-test (builder) #1 SMP".ljust(32, b"\0")
    (tmp_path / "kernel").write_bytes(head)
    assert kernel_version(tmp_path / "kernel") == "6.1.0-test"
    (tmp_path / "other").write_bytes(b"ELF")
    with pytest.raises(ToolError, match="is no x86 Linux kernel"):
        kernel_version(tmp_path / "other")
    with pytest.raises(ToolError, match="No such file"):
        kernel_version(tmp_path / "missing")
