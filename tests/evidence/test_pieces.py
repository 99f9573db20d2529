"""A disk that was cut into files: joined, with what is not there missing."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from typer.testing import CliRunner

from b2dinspect.cli.provision.main import app as provision
from b2dinspect.containers.vdi.writer import VdiWriter
from b2dinspect.errors import MissingDataError, UsageError
from b2dinspect.evidence.chain import open_disk
from b2dinspect.evidence.pieces import PieceName, named
from b2dinspect.inspection.walk import inspect
from b2dinspect.newfile import NewFile
from b2dinspect.source import Extent
from tests.disks import needs_disks, provisioned
from tests.evidence.handmade import MIB, ids, told
from tests.oracles import needs, run

SIZE = 5 * MIB // 2
BYTES = b"".join(number.to_bytes(4, "little") for number in range(1, SIZE // 4 + 1))
"""No two of its words are alike."""


@pytest.fixture
def cut(tmp_path: Path) -> Callable[..., list[Path]]:
    def cut(data: bytes = BYTES, size: int = MIB, first: int = 1, width: int = 3) -> list[Path]:
        pieces = [data[at : at + size] for at in range(0, len(data), size)]
        paths = [tmp_path / f"disk.{first + number:0{width}}" for number in range(len(pieces))]
        for path, piece in zip(paths, pieces, strict=True):
            path.write_bytes(piece)
        return paths

    return cut


@needs_disks
@needs("split", "cmp")
@pytest.mark.parametrize(
    "options", [("-d", "-a", "3"), ("--numeric-suffixes=1", "-a", "3"), ("-d", "-a", "2")]
)
@pytest.mark.slow
def test_what_split_cut_is_the_disk_again(options: tuple[str, ...], tmp_path: Path) -> None:
    whole = provisioned("minikube", size=64 * MIB)
    run("split", "-b", "15M", *options, whole, tmp_path / "disk.img.")
    first = min(tmp_path.glob("disk.img.*"))
    done = CliRunner().invoke(provision, ["convert", str(first), str(tmp_path / "joined.raw"), "--verify"])
    assert done.exit_code == 0, done.stderr
    run("cmp", whole, tmp_path / "joined.raw")
    with inspect(str(first)) as one, inspect(str(whole)) as other:
        assert (one.state, one.origin, one.file_size) == (other.state, "pieces", other.file_size)
        assert [key.line.key for key in one.keys] == [key.line.key for key in other.keys]
        assert [link.role for link in one.links] == ["piece"] * (len(list(tmp_path.glob("disk.img.*"))) - 1)


@pytest.mark.parametrize("first", [0, 1])
@pytest.mark.parametrize("width", [2, 3, 4])
def test_pieces_are_read_as_one(cut: Callable[..., list[Path]], first: int, width: int) -> None:
    paths = cut(first=first, width=width)
    with open_disk(str(paths[0])) as opened:
        disk = opened.container
        assert (disk.size, disk.format, ids(opened)) == (SIZE, "raw", [])
        assert disk.pread(0, SIZE) == BYTES
        assert disk.pread(MIB - 2, MIB + 4) == BYTES[MIB - 2 : 2 * MIB + 2]
        assert list(disk.extents(MIB - 512, 1024)) == [
            Extent(MIB - 512, 512, "data", MIB - 512),
            Extent(MIB, 512, "data", MIB),
        ]
        assert [link.path for link in opened.links] == [str(path) for path in paths[1:]]


def test_a_piece_that_is_not_there_is_missing(cut: Callable[..., list[Path]]) -> None:
    paths = cut()
    paths[1].unlink()
    with open_disk(str(paths[0])) as opened:
        disk = opened.container
        assert ids(opened) == ["piece-missing"]
        assert f"{paths[1]} is not there: {MIB} bytes" in told(opened)
        assert disk.size == SIZE
        assert disk.pread(2 * MIB, MIB) == BYTES[2 * MIB :]
        with pytest.raises(MissingDataError, match=r"disk\.002 is not there"):
            disk.pread(MIB - 1, 2)
        assert [one.kind for one in disk.extents()] == ["data", "missing", "data"]


def test_a_piece_that_ends_too_soon_moves_nothing(cut: Callable[..., list[Path]]) -> None:
    paths = cut()
    os.truncate(paths[1], MIB // 2)
    with open_disk(str(paths[0])) as opened:
        assert ids(opened) == ["piece-missing"]
        assert opened.container.pread(MIB, MIB // 2) == BYTES[MIB : MIB * 3 // 2]
        assert opened.container.pread(2 * MIB, MIB) == BYTES[2 * MIB :]
        with pytest.raises(MissingDataError, match="ends too soon"):
            opened.container.pread(MIB, MIB)


def test_a_later_piece_names_the_first(cut: Callable[..., list[Path]]) -> None:
    paths = cut()
    with open_disk(str(paths[1])) as opened:
        assert ids(opened) == ["piece-alone"]
        assert str(paths[0]) in told(opened)
        assert opened.container.size == MIB


def test_a_piece_that_looks_packed_is_taken_as_it_is(cut: Callable[..., list[Path]]) -> None:
    paths = cut()
    paths[1].write_bytes(b"\x1f\x8b\x08\0" + paths[1].read_bytes()[4:])
    with open_disk(str(paths[0])) as opened:
        assert opened.container.pread(MIB, 4) == b"\x1f\x8b\x08\0"


def test_numbered_copies_are_no_pieces(cut: Callable[..., list[Path]]) -> None:
    first, second, _ = cut()
    second.write_bytes(first.read_bytes())
    with open_disk(str(first)) as opened:
        assert (ids(opened), opened.container.size, opened.links) == (["pieces-not-joined"], MIB, [])


def test_a_bigger_one_is_no_piece(cut: Callable[..., list[Path]]) -> None:
    first, second, _ = cut()
    second.write_bytes(b"x" * (MIB + 1))
    with open_disk(str(first)) as opened:
        assert (ids(opened), opened.container.size) == (["pieces-not-joined"], MIB)


def test_a_link_out_of_the_folder_is_not_followed(cut: Callable[..., list[Path]], tmp_path: Path) -> None:
    paths = cut()
    outside = tmp_path.parent / f"{tmp_path.name} secret"
    outside.write_bytes(b"secret" * 1000)
    paths[1].unlink()
    paths[1].symlink_to(outside)
    with open_disk(str(paths[0])) as opened:
        assert ids(opened) == ["chain-refused", "piece-missing"]
        with pytest.raises(MissingDataError):
            opened.container.pread(MIB, 1)


def test_a_container_in_pieces(cut: Callable[..., list[Path]], tmp_path: Path) -> None:
    with NewFile(tmp_path / "disk.vdi") as file:
        writer = VdiWriter(file, 8 * MIB)
        for at in range(0, 6 * MIB, MIB):
            writer.pwrite(at, b"%07d\n" % at * 1000)
        writer.flush()
    paths = cut((tmp_path / "disk.vdi").read_bytes())
    assert len(paths) > 2
    with open_disk(str(paths[0])) as opened, open_disk(str(tmp_path / "disk.vdi")) as whole:
        assert opened.container.format == "vdi"
        assert opened.container.pread(0, 8 * MIB) == whole.container.pread(0, 8 * MIB)


@needs_disks
@needs("split")
@pytest.mark.slow
def test_pieces_are_not_changed_in_place(tmp_path: Path) -> None:
    whole = provisioned("minikube", size=64 * MIB)
    run("split", "-b", "30M", "-d", "-a", "3", whole, tmp_path / "disk.")
    words = ["repair", str(tmp_path / "disk.000"), "--new-key", "--in-place"]
    before = [path.read_bytes() for path in sorted(tmp_path.glob("disk.*"))]
    done = CliRunner().invoke(provision, words)
    assert done.exit_code == 2, done.stdout
    assert [path.read_bytes() for path in sorted(tmp_path.glob("disk.*"))] == before


@pytest.mark.parametrize("name", ["disk.1", "disk", ".001", "disk.0x1", "disk.001.raw", "001", "a.b/001"])
def test_names_that_no_piece_has(name: str) -> None:
    assert named(name) is None


def test_what_a_name_says() -> None:
    assert named("/a/disk.img.0012") == PieceName("/a/disk.img.", 12, 4)
    assert PieceName("/a/disk.", 9, 3).other(10) == "/a/disk.010"


def test_a_folder_is_no_first_piece(tmp_path: Path) -> None:
    (tmp_path / "disk.001").mkdir()
    with pytest.raises(UsageError):
        open_disk(str(tmp_path / "disk.001"))
