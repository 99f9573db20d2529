"""Unpacking the userdata tar: as GNU tar does it, and never outside of the home."""

from __future__ import annotations

import io
import os
import subprocess
import tarfile
import tempfile
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from b2dinspect.provisioning.simulated.home import unpack_home
from b2dinspect.userdata.tarball import GUEST_KEEPS, MAGIC, build_userdata
from tests.disks import PUB, TAR, TAR4096
from tests.oracles import needs


def tree(folder: Path) -> dict[str, tuple[int, bytes | bool]]:
    return {
        str(path.relative_to(folder)): (
            path.stat().st_mode & 0o777,
            None if path.is_dir() else path.read_bytes(),
        )
        for path in folder.rglob("*")
        if path.name != MAGIC.decode()
    }


@needs("tar")
@pytest.mark.parametrize(
    "userdata", [TAR, TAR[:GUEST_KEEPS], TAR4096[:GUEST_KEEPS], build_userdata(PUB * 8)[:GUEST_KEEPS]]
)
def test_the_home_is_what_gnu_tar_makes_of_it(userdata: bytes, tmp_path: Path) -> None:
    ours, theirs = tmp_path / "ours", tmp_path / "theirs"
    ours.mkdir()
    theirs.mkdir()
    unpack_home(userdata, ours)
    subprocess.run(["tar", "xf", "-", "-C", theirs], input=userdata, capture_output=True, check=False)
    assert tree(ours) == tree(theirs)


@pytest.mark.parametrize(
    ("userdata", "complaint"),
    [
        (TAR, ""),
        (TAR[:GUEST_KEEPS], "tar: A lone zero block at the end"),
        (TAR4096[:GUEST_KEEPS], "tar: Unexpected EOF in archive"),
    ],
)
def test_tar_complains(userdata: bytes, complaint: str, tmp_path: Path) -> None:
    assert unpack_home(userdata, tmp_path).complaint == complaint


def evil(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> bytes:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as tar:
        entry = tarfile.TarInfo(name)
        entry.type, entry.linkname, entry.size = kind, target, 0 if kind != tarfile.REGTYPE else 4
        tar.addfile(entry, io.BytesIO(b"evil"))
    return out.getvalue()


@pytest.mark.parametrize(
    "userdata",
    [
        evil("/etc/passwd"),
        evil("../escaped"),
        evil(".ssh/../../escaped"),
        evil("link", tarfile.SYMTYPE, "/etc/passwd"),
        evil("hard", tarfile.LNKTYPE, "/etc/passwd"),
        evil("device", tarfile.CHRTYPE),
        evil("pipe", tarfile.FIFOTYPE),
        evil("x" * 300),
    ],
)
def test_nothing_leaves_the_home(userdata: bytes, tmp_path: Path) -> None:
    home = tmp_path / "home"
    home.mkdir()
    assert unpack_home(userdata, home).complaint.startswith("not unpacked here")
    assert list(tmp_path.rglob("*")) == [home]


@settings(max_examples=60)
@given(noise=st.binary(max_size=3000), at=st.integers(0, 4096))
def test_any_bytes_are_unpacked_harmlessly(noise: bytes, at: int) -> None:
    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder) / "home"
        home.mkdir()
        unpack_home(TAR[:at] + noise + TAR[at + len(noise) :], home)
        assert [path.name for path in Path(folder).iterdir()] == ["home"]
        assert all(path.is_file() or path.is_dir() for path in home.rglob("*"))


def test_what_is_unpacked_is_private_where_the_tar_forgets_it(tmp_path: Path) -> None:
    unpack_home(evil("file"), tmp_path)
    assert os.access(tmp_path / "file", os.R_OK)
