"""What is changed in place is one file: an image that names others is refused, whatever the names say."""

from __future__ import annotations

from pathlib import Path

import pytest

from b2dinspect.errors import UsageError
from b2dinspect.identity import Identities
from b2dinspect.provisioning.disk.rework import rework
from tests.oracles import needs, run

SIZE = "64M"


def pieces(folder: Path, kind: str) -> tuple[Path, Path]:
    """Return an image that qemu-img has made, and the other file that it stands on."""
    image, other = folder / "image", folder / "other"
    if kind == "backing":
        run("qemu-img", "create", "-f", "raw", other, SIZE)
        run("qemu-img", "create", "-f", "qcow2", "-b", other, "-F", "raw", image)
    elif kind == "data file":
        run("qemu-img", "create", "-f", "qcow2", "-o", f"data_file={other},data_file_raw=on", image, SIZE)
    else:
        other = folder / "image-flat"
        run("qemu-img", "create", "-f", "vmdk", "-o", f"subformat={kind}", image, SIZE)
        other = next(path for path in folder.iterdir() if path != image)
    return image, other


@needs("qemu-img")
@pytest.mark.parametrize("kind", ["backing", "data file", "monolithicFlat", "twoGbMaxExtentSparse"])
def test_an_image_of_several_files_is_not_changed(kind: str, tmp_path: Path) -> None:
    image, other = pieces(tmp_path, kind)
    before = image.read_bytes(), other.read_bytes()
    with pytest.raises(UsageError, match="stands on other files"), rework(image, Identities()) as disk:
        disk.pwrite(0, b"x")
    other.unlink()
    with pytest.raises(UsageError, match="stands on other files"), rework(image, Identities()):
        pass
    other.write_bytes(before[1])
    assert (image.read_bytes(), other.read_bytes()) == before


@needs("qemu-img")
def test_snapshots_are_not_lost(tmp_path: Path) -> None:
    image = tmp_path / "image"
    run("qemu-img", "create", "-f", "qcow2", image, SIZE)
    run("qemu-img", "snapshot", "-c", "before", image)
    before = image.read_bytes()
    with pytest.raises(UsageError, match="snapshots"), rework(image, Identities()):
        pass
    assert image.read_bytes() == before
