"""What an image names is opened where it was found, and nowhere else; access times stay."""

from __future__ import annotations

import os
import sys
from pathlib import Path

import pytest

from b2dinspect.errors import SourceError
from b2dinspect.evidence.file import open_evidence
from b2dinspect.evidence.opening import open_named, open_resolved
from b2dinspect.machine.files import read_small

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="needs links and descriptors of folders")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    inside = tmp_path.resolve() / "a/b"
    inside.mkdir(parents=True)
    (inside / "disk").write_bytes(b"inside")
    outside = tmp_path.resolve() / "outside"
    outside.mkdir()
    (outside / "disk").write_bytes(b"outside")
    return inside


def test_a_file_is_opened(folder: Path) -> None:
    with open_evidence(str(folder / "disk"), is_resolved=True) as file:
        assert file.pread(0, 10) == b"inside"


def test_a_link_that_came_since_is_refused(folder: Path) -> None:
    (folder / "disk").unlink()
    (folder / "disk").symlink_to("../../outside/disk")
    with pytest.raises(SourceError, match="symbolic links"):
        open_evidence(str(folder / "disk"), is_resolved=True)
    os.close(open_named(str(folder / "disk")))


def test_a_folder_that_became_a_link_is_refused(folder: Path) -> None:
    folder.rename(folder.with_name("was"))
    folder.symlink_to("../outside")
    with pytest.raises(OSError, match=r"(Not a directory|symbolic links)"):
        open_resolved(str(folder / "disk"))


def test_no_descriptor_is_left(folder: Path) -> None:
    before = len(os.listdir("/dev/fd"))
    os.close(open_resolved(str(folder / "disk")))
    for path in (folder / "nothing", folder / "disk/below", Path("/nowhere/at/all")):
        with pytest.raises(OSError):
            open_resolved(str(path))
    assert len(os.listdir("/dev/fd")) == before


@pytest.mark.skipif(not hasattr(os, "O_NOATIME"), reason="no O_NOATIME here")
def test_access_times_of_small_files_stay(folder: Path) -> None:
    os.utime(folder / "disk", (1, 2))
    found = read_small(folder / "disk", 100)
    assert found
    assert found.data == b"inside"
    assert (folder / "disk").stat().st_atime == 1


def test_a_pipe_is_not_waited_for(folder: Path) -> None:
    os.mkfifo(folder / "pipe")
    found = read_small(folder / "pipe", 100)
    assert found
    assert "regular file" in found.error
